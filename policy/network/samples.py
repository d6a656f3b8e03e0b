"""Questions about the network and models that are enough to tell two plans apart.

Addresses, names and ports are chosen in `cells.py`, requests in `request_samples.py`. INVARIANT: two plans
decide alike on all questions (allowed or not, refused in mode audit or not) exactly when they do on these.

Why that holds. A decision on a socket depends on what the address says at the port (its zone; whether the
zone, a boundary, a deny rule refuses; whether a rule grants) and on what the name says there. All addresses
between two cuts of the tables, all names that leave the trees at one place, and all ports between two ends of
rows say the same. Every such combination is met once: addresses without a name, names with an address that no
rule names, and each pair of what an address and a name say in both plans, with one witness. Requests add the
path, of which each combination of classes is met by walking the automata together, and the method, of which
one outside all lists stands for the rest. Lookups, listeners and models are finite lists and one thing beside
them. A rule over time refuses by kind, so where its kinds are the same in both plans it tells nothing more;
where they are not, every question is asked once more with that rule started. What is not in its canonical
form every plan refuses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from policy.network.addresses import format_address
from policy.network.cells import Coverage, address_cells, name_cells, port_cells, unnamed_cell
from policy.network.ports import ALL_PORTS
from policy.network.request_samples import RequestSamples
from policy.plan import Plan, RuleKind
from policy.plan_network import Destinations, PortRow
from policy.question import Question

Protocol = Literal["tcp", "udp"]

_EMPTY = PortRow(0, 0, 0, 0, 0, 0)
_NO_MODEL = "sha256:" + "0" * 64


def representatives(plan_a: Plan, plan_b: Plan) -> Iterator[Question]:
    """Questions on which both plans decide alike if and only if they do on all questions about the network.

    Rules over time that only one plan has are not asked about.
    """
    yield from _timeless(plan_a, plan_b)
    for rule in _rules_over_time(plan_a, plan_b):
        for question in _timeless(plan_a, plan_b):
            yield replace(question, after=(rule,))


def _timeless(plan_a: Plan, plan_b: Plan) -> Iterator[Question]:
    plans = plan_a, plan_b
    yield from _sockets(plans, "tcp", (plan_a.network.tcp, plan_b.network.tcp))
    yield from _sockets(plans, "udp", (plan_a.network.udp, plan_b.network.udp))
    yield from RequestSamples(plans).questions()
    for cell in name_cells(plan_a.network.lookups.names, plan_b.network.lookups.names):
        yield Question(call="resolve", host=cell.text)
    yield from _listeners(plans)
    digests = {model.digest for plan in plans for model in plan.nn.models}
    for digest in sorted({*digests, _fresh_digest(digests)}):
        yield Question(call="load_model", digest=digest)


def _rules_over_time(plan_a: Plan, plan_b: Plan) -> list[str]:
    """The ids that both plans have, where what is refused is not the same."""
    kinds: list[dict[str, tuple[int, bool]]] = [
        {str(plan.rules[each.rule].id): (each.reach, each.denies_nn) for each in plan.temporal}
        for plan in (plan_a, plan_b)
    ]
    return sorted(rule for rule in kinds[0].keys() & kinds[1].keys() if kinds[0][rule] != kinds[1][rule])


def _sockets(
    plans: tuple[Plan, Plan], protocol: Protocol, tables: tuple[Destinations[PortRow], Destinations[PortRow]]
) -> Iterator[Question]:
    a, b = tables
    addresses: dict[tuple[int, ...], Coverage[str]] = {}
    for cell in address_cells(a, b):
        for ports, rows in port_cells([a.rows[cell.classes[0]], b.rows[cell.classes[1]]], ALL_PORTS):
            text = str(cell.text)
            says = _said(plans, rows)
            addresses.setdefault((*cell.zones, *says), Coverage[str]()).add(ports, text)
            yield Question(call="connect", protocol=protocol, address=text, port=ports[0])
    names: dict[tuple[int, ...], Coverage[str]] = {}
    unnamed = unnamed_cell(a, b)
    for name in name_cells(a.names, b.names):
        own = [a.rows[name.classes[0]], b.rows[name.classes[1]]]
        elsewhere = [a.rows[unnamed.classes[0]], b.rows[unnamed.classes[1]]]
        for ports, rows in port_cells([*own, *elsewhere], ALL_PORTS):
            names.setdefault(_said(plans, rows[:2]), Coverage[str]()).add(ports, name.text)
            yield Question(call="connect", protocol=protocol, host=name.text, port=ports[0])
    for where in addresses.values():
        for given in names.values():
            met = where.meet(given)
            if met:
                port, address, host = met
                yield Question(call="connect", protocol=protocol, host=host, address=address, port=port)


def _said(plans: tuple[Plan, Plan], rows: list[PortRow | None]) -> tuple[int, ...]:
    """What rows say in both plans, as far as a verdict depends on it."""
    said: list[int] = []
    for plan, row in zip(plans, rows, strict=True):
        found = row or _EMPTY
        is_final = bool(found.refuse) and plan.rules[found.refuse].kind is RuleKind.BOUNDARY
        said += (
            bool(found.hard),
            bool(found.refuse) + is_final,
            bool(found.grant),
            bool(found.lift),
        )
    return tuple(said)


def _listeners(plans: tuple[Plan, Plan]) -> Iterator[Question]:
    """Every place that either plan lists, and for each zone and protocol one that neither lists."""
    listed = {(each.protocol, each.address, each.port) for plan in plans for each in plan.network.listeners}
    tables = plans[0].network.tcp, plans[1].network.tcp
    protocols: tuple[Protocol, ...] = ("tcp", "udp")
    others = {cell.zones: str(cell.text) for cell in address_cells(*tables)}
    for protocol in protocols:
        ports = {port for _, _, port in listed}
        port = next(each for each in range(1, len(ports) + 2) if each not in ports)
        places = [(text, port) for text in others.values()]
        places += [(format_address(at), port) for each, at, port in sorted(listed) if each == protocol]
        for address, number in places:
            yield Question(call="listen", protocol=protocol, address=address, port=number)
            yield Question(call="bind", protocol=protocol, address=address, port=number)


def _fresh_digest(taken: set[str]) -> str:
    digest, number = _NO_MODEL, 0
    while digest in taken:
        number += 1
        digest = f"sha256:{number:064x}"
    return digest
