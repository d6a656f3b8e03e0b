"""What a broker decides: by the plan, of which it gets a part, and by what names led to in this run alone."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from policy.network.addresses import MAPPED, format_address
from policy.plan import Plan, RuleKind
from sandbox.network.brief import Brief, study
from sandbox.network.decider import Decider
from sandbox.network.protocol import Protocol, Verdict
from tests import oracle_network as oracle
from tests.network_plans import plan_of
from tests.runs import policy
from tests.strategies_network import network_documents, questions

PHASES = [Phase.explicit, Phase.reuse, Phase.generate]
ADDRESSES = (
    "127.0.0.1", "10.0.0.1", "192.0.2.1", "203.0.113.9", "169.254.169.254", "224.0.0.1", "0.0.0.0", "::", "::1",
    "fe80::1", "fd00::1", "2001:db8::1", "2606:4700::1", "64:ff9b::7f00:1", "2002:7f00:1::", "::ffff:10.0.0.1",
)  # fmt: skip
NAMES = ("api.example.com", "example.com", "a.b.example.org", "db", "localhost")


def number(text: str) -> int:
    found = ipaddress.ip_address(text)
    return MAPPED | int(found) if found.version == 4 else int(found)


def naive(document: dict[str, Any], protocol: str, address: str, names: list[str], port: int) -> bool:
    """A refusal by a rule for the address, or for what a name led to, wins; else one grant will do."""
    said = [oracle.connect(document, protocol, (address, name), port) for name in (None, *names)]
    if any(each.stage in {"deny", "boundary"} for each in said):
        return False
    return any(each.is_allowed for each in said)


@given(
    network_documents(),
    st.sampled_from(("tcp", "udp")),
    st.sampled_from(ADDRESSES),
    st.lists(st.sampled_from(NAMES), max_size=3, unique=True),
    st.sampled_from((1, 53, 80, 443, 8_000, 65_535)),
)
@settings(max_examples=200, deadline=None, phases=PHASES)
def test_an_address_is_reached_as_the_naive_reading_has_it(document, protocol, address, names, port):
    plan = plan_of(document)
    decider = Decider(study(Brief.from_json(Brief.of(plan).to_json())))
    canonical = format_address(number(address))
    for name in names:
        decider.pin(name, (number(address),))
    found = decider.reach(Protocol.TCP if protocol == "tcp" else Protocol.UDP, number(address), port)
    assert found.happens == naive(document, protocol, canonical, names, port), (found, plan.rules[found.rule])


@given(network_documents(), st.lists(questions(), max_size=10))
@settings(max_examples=60, deadline=None, phases=PHASES)
def test_what_a_broker_is_told_reads_back_as_the_same(document, asked):
    del asked
    brief = Brief.of(plan_of(document))
    assert Brief.from_json(brief.to_json()) == brief


def granting(rules: str, more: str = "") -> Plan:
    return policy(f"{more}permissions: {{network: {{{rules}}}}}\n")


NAMED = "tcp: [{id: api, to: api.example.com, ports: [443]}], dns: {names: [api.example.com]}"


def test_a_name_opens_only_what_it_led_to_in_this_run():
    decider = Decider(granting(NAMED))
    first, second = number("203.0.113.9"), number("198.51.100.7")
    public = number("93.184.216.34")
    assert not decider.reach(Protocol.TCP, public, 443).happens
    decider.pin("api.example.com", (public,))
    assert decider.reach(Protocol.TCP, public, 443).happens
    assert not decider.reach(Protocol.TCP, public, 80).happens
    assert not decider.reach(Protocol.UDP, public, 443).happens
    for other in (first, second):
        assert not decider.reach(Protocol.TCP, other, 443).happens
    decider.pin("other.example.com", (number("93.184.216.35"),))
    assert not decider.reach(Protocol.TCP, number("93.184.216.35"), 443).happens


@pytest.mark.parametrize(
    "led_to", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fe80::1", "64:ff9b::7f00:1"]
)
def test_a_name_that_leads_to_where_nobody_may_go_opens_nothing(led_to):
    plan = granting(NAMED)
    decider = Decider(plan)
    decider.pin("api.example.com", (number(led_to),))
    found = decider.reach(Protocol.TCP, number(led_to), 443)
    assert found.verdict is Verdict.FINAL
    assert plan.rules[found.rule].kind is RuleKind.BUILTIN


def test_a_name_that_is_denied_closes_what_another_opens():
    rules = NAMED + ", deny: [{id: no-evil, to: evil.example.com}]"
    plan = granting(rules.replace("names: [api.example.com]", "names: ['*.example.com']"))
    decider = Decider(plan)
    shared = number("93.184.216.34")
    decider.pin("api.example.com", (shared,))
    assert decider.reach(Protocol.TCP, shared, 443).happens
    decider.pin("evil.example.com", (shared,))
    found = decider.reach(Protocol.TCP, shared, 443)
    assert (found.verdict, plan.rules[found.rule].id) == (Verdict.DENY, "no-evil")


def test_what_is_only_audited_happens_and_what_is_denied_to_all_does_not():
    plan = granting(NAMED, "mode: audit\n")
    decider = Decider(plan)
    assert decider.reach(Protocol.TCP, number("93.184.216.34"), 443).verdict is Verdict.WOULD_DENY
    assert decider.reach(Protocol.TCP, number("127.0.0.1"), 443).verdict is Verdict.FINAL
    assert decider.lookup("elsewhere.example").verdict is Verdict.WOULD_DENY
    assert decider.lookup("0x7f.1").verdict is Verdict.FINAL
    assert Decider(granting(NAMED)).lookup("elsewhere.example").verdict is Verdict.DENY
    assert Decider(granting(NAMED)).lookup("API.example.com").verdict is Verdict.ALLOW


@pytest.mark.parametrize("port", [-1, 0, 65_536, 1 << 40])
def test_what_is_no_port_is_refused(port):
    plan = granting("tcp: [{to: 192.0.2.1, ports: ['1-65535']}]")
    found = Decider(plan).reach(Protocol.TCP, number("192.0.2.1"), port)
    assert (found.verdict, plan.rules[found.rule].id) == (Verdict.FINAL, "builtin.port")
