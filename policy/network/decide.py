"""What a plan says about one use of the network or of a model, and why.

Other calls are decided in `policy/decide.py`; the mode of the plan is applied in `policy/answer.py`. A
decision is a search among addresses and a walk along the labels of a name, never a look at every rule.
INVARIANT: what is not in its canonical form is refused before any rule is asked. It is longer than most: each
operation is a few lines.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

from policy.decisions import Allow, Deny, UnknownCallError, steps_to
from policy.errors import quoted
from policy.network.addresses import AddressError, format_address, is_v4, looks_like_address, parse_asked
from policy.network.destinations import name_class, range_of, row_at
from policy.network.names import HostNameError, name_text, parse_name
from policy.network.ports import LAST_PORT
from policy.network.request_paths import TUNNELS, canonical_path, is_method
from policy.network.requests import method_bit, request_class
from policy.network.urls import Asked, UrlError, parse_asked_url
from policy.plan import Plan, RuleKind
from policy.plan_network import NO_RULE, Builtin, Destinations, Listener, PortRow, Row, Scheme, Zone
from policy.plan_temporal import Reach

if TYPE_CHECKING:
    from policy.question import Question

_HINTS = {
    "tcp": "add a rule to permissions.network.tcp for this host and port",
    "udp": "add a rule to permissions.network.udp for this host and port",
    "http": "add a rule to permissions.network.http for this URL and method",
    "resolve": "add the name to permissions.network.dns.names",
    "listen": "add the place to permissions.network.listen",
    "load_model": "add the model to permissions.nn.models",
}


@dataclass(frozen=True, slots=True)
class _Case:
    """What is asked, in words, and what a rule over time or the default would say to it."""

    plan: Plan
    what: str
    reach: Reach | None  # None: a model
    hint: str  # how to allow it where nothing does
    after: tuple[str, ...]
    headers: tuple[str, ...] = ()

    def refused(self, rule: int, because: str = "") -> Deny:
        """The refusal by the rule with this index."""
        found = self.plan.rules[rule]
        is_default = rule == NO_RULE
        summary = "no rule allows it" if is_default else found.summary
        reason = f"{self.what} is not granted: {because or summary}"
        chain = tuple(steps_to(found.kind, found.id, self.what))
        hint = self.hint if is_default else found.hint
        return Deny(found.id, reason, chain, hint, is_final=found.kind.is_final)

    def builtin(self, which: Builtin, because: str) -> Deny:
        """The refusal by a built-in rule."""
        builtins = self.plan.network.builtins
        return self.refused(builtins[which] if builtins else NO_RULE, because)

    def started(self) -> int:
        """The first rule over time that has started and refuses this; `NO_RULE` where there is none."""
        for each in self.plan.temporal:
            is_about = each.denies_nn if self.reach is None else bool(each.reach & self.reach)
            if is_about and self.plan.rules[each.rule].id in self.after:
                return each.rule
        return NO_RULE

    def granted(self, rule: int) -> Allow | Deny:
        """The outcome where nothing before the rules over time refuses; `rule` allows, or is `NO_RULE`."""
        temporal = self.started()
        if temporal != NO_RULE or rule == NO_RULE:
            return self.refused(temporal)
        found = self.plan.rules[rule]
        chain = tuple(steps_to(RuleKind.ALLOW, found.id, self.what))
        return Allow(found.id, f"{self.what} is granted by {found.id}", chain)


def decide_network(plan: Plan, question: Question) -> Allow | Deny:
    """The decision on `connect`, `bind`, `listen`, `resolve`, `http` or `load_model`, as if it were enforced.

    A host without an address stands for a public address that no rule names, to which a permitted lookup of
    the host has led. An address without a host was not looked up.

    Raises:
        UnknownCallError: for another call, or one that lacks what decides it.
    """
    match question.call:
        case "connect":
            return _connect(plan, question)
        case "bind" | "listen":
            return _listen(plan, question)
        case "resolve":
            return _resolve(plan, question)
        case "http":
            return _request(plan, question)
        case "load_model":
            return _load(plan, question)
        case other:
            raise UnknownCallError(f"no operation of the network is named {quoted(other)}")


def _missing(question: Question, what: str) -> UnknownCallError:
    return UnknownCallError(f"{question.call} is decided by {what}: say which")


def _connect(plan: Plan, question: Question) -> Allow | Deny:
    host, port = question.host, question.port
    asked = question.address
    if asked is None and host is not None and looks_like_address(host.strip("[]")):
        asked, host = host.strip("[]"), None
    if (asked is None and host is None) or port is None:
        raise _missing(question, "a host or an address, and a port")
    to = _shown(host, asked, port)
    protocol = question.protocol
    reach = Reach.TCP if protocol == "tcp" else Reach.UDP
    case = _Case(plan, f"{protocol} to {to}", reach, _HINTS[protocol], question.after)
    if not 1 <= port <= LAST_PORT:
        return case.builtin(Builtin.PORT, f"{port} is no port")
    try:
        address = None if asked is None else parse_asked(asked)
        labels = None if host is None else parse_name(host)
    except AddressError as err:
        return case.builtin(Builtin.ADDRESS, f"expected {err.expected}")
    except HostNameError as err:
        return case.builtin(Builtin.NAME, f"expected {err.expected}")
    return _sockets(
        case, plan.network.tcp if protocol == "tcp" else plan.network.udp, (address, labels, port)
    )


def _shown(host: str | None, asked: str | None, port: int) -> str:
    if host is None:
        return f"{asked} port {port}" if asked and ":" in asked else f"{asked}:{port}"
    return f"{host}:{port}" + (f" ({asked})" if asked else "")


def _place(table: Destinations[Row], address: int | None) -> tuple[Zone, tuple[Row, ...]]:
    """The zone of an address and its rows; None is a public address that no rule names."""
    if address is None:
        return Zone.PUBLIC, table.rows[table.elsewhere]
    index = range_of(table, address)
    return Zone(table.zones[index]), table.rows[table.classes[index]]


def _sockets(
    case: _Case, table: Destinations[PortRow], asked: tuple[int | None, tuple[str, ...] | None, int]
) -> Allow | Deny:
    address, labels, port = asked
    zone, rows = _place(table, address)
    own = row_at(rows, port) or _NOTHING
    named = row_at(table.rows[name_class(table.names, labels)], port) if labels is not None else None
    named = named or _NOTHING
    by_name = {Zone.PUBLIC: named.grant, Zone.PRIVATE: named.lift}.get(zone, NO_RULE)
    if own.hard and not by_name:
        return case.refused(own.hard, _kind_of(address, zone))
    refuse = _first(own.refuse, named.refuse)
    return case.refused(refuse) if refuse else case.granted(_first(own.grant, by_name))


_NOTHING = PortRow(0, 0, NO_RULE, NO_RULE, NO_RULE, NO_RULE)


def _first(one: int, other: int) -> int:
    """Of two rules the one that comes first in the evaluation."""
    return min(one, other) if one and other else one or other


_KINDS = {
    Zone.PRIVATE: "an address of a private network",
    Zone.RESERVED: "a reserved address",
    Zone.MULTICAST: "an address of many receivers",
    Zone.LINK_LOCAL: "an address of the local link",
    Zone.LOOPBACK: "an address of the machine itself",
    Zone.METADATA: "an address where clouds hand out credentials",
}


def _kind_of(address: int | None, zone: Zone) -> str:
    text = "it" if address is None else format_address(address)
    hides = address is not None and not is_v4(address) and zone not in {Zone.RESERVED, Zone.MULTICAST}
    return f"{text} is {_KINDS[zone]}" + (", or hides one" if hides else "")


def _request(plan: Plan, question: Question) -> Allow | Deny:
    method, url = question.method, question.url
    if method is None or url is None:
        raise _missing(question, "a method and a URL")
    case = _Case(plan, f"{method} {url}", Reach.HTTP, _HINTS["http"], question.after, question.headers)
    if not is_method(method) or method in TUNNELS:
        return case.builtin(Builtin.METHOD, f"{quoted(method)} is no method that can be granted")
    try:
        asked = parse_asked_url(url)
        segments = canonical_path(asked.path)
    except UrlError as err:
        return case.builtin(Builtin.REQUEST, f"expected {err.expected}")
    try:
        address = None if question.address is None else parse_asked(question.address)
    except AddressError as err:
        return case.builtin(Builtin.ADDRESS, f"expected {err.expected}")
    if asked.address is not None and address not in {None, asked.address}:
        return case.builtin(
            Builtin.ADDRESS, "the URL names another address than the one that is connected to"
        )
    return _requests(case, asked, address if asked.address is None else asked.address, (segments, method))


def _requests(
    case: _Case, asked: Asked, address: int | None, what: tuple[tuple[bytes, ...], str]
) -> Allow | Deny:
    network = case.plan.network
    table = network.http
    slot = Scheme(asked.scheme).slot(asked.port)
    zone, rows = _place(table, address)
    own = row_at(rows, slot)
    named = row_at(table.rows[name_class(table.names, asked.name)], slot) if asked.name is not None else None
    hard = own.hard if own else NO_RULE
    if asked.name is not None:
        # SECURITY: a rule that names an address literally opens it to URLs with that address, not to names
        # that lead there.
        is_open = zone is Zone.PUBLIC or (zone is Zone.PRIVATE and network.is_private_open)
        hard = NO_RULE if is_open or not network.builtins else network.builtins[zone - 1]
    if hard:
        return case.refused(hard, _kind_of(address, zone))
    refuse = _first(own.refuse if own else NO_RULE, named.refuse if named else NO_RULE)
    segments, method = what
    bit = method_bit(method, network.methods)
    grant = NO_RULE
    for row, is_host in ((own, asked.name is None), (named, True)):
        methods, rules = request_class(network.paths, row.start if row else 0, segments)
        if methods >> bit & 1:
            grant = rules[bit] if is_host else grant
        elif bit < len(rules):
            refuse = _first(refuse, rules[bit])
    if refuse:
        return case.refused(refuse)
    found = case.granted(grant)
    denied = _denied_header(case.plan, grant, case.headers) if isinstance(found, Allow) else ""
    return case.refused(grant, f"the rule denies the header {denied}") if denied else found


def _denied_header(plan: Plan, rule: int, headers: tuple[str, ...]) -> str:
    """The first of these headers that the rule which grants a request does not let it have."""
    requests = plan.network.requests
    index = bisect_left(requests, rule, key=lambda each: each.rule)
    terms = requests[index : index + 1]
    return next((name for name in headers if terms and name in terms[0].denied_headers), "")


def _resolve(plan: Plan, question: Question) -> Allow | Deny:
    if question.host is None:
        raise _missing(question, "a host")
    case = _Case(plan, f"a lookup of {question.host}", Reach.DNS, _HINTS["resolve"], question.after)
    try:
        labels = parse_name(question.host)
    except HostNameError as err:
        return case.builtin(Builtin.NAME, f"expected {err.expected}")
    lookups = plan.network.lookups
    row = row_at(lookups.rows[name_class(lookups.names, labels)], 0) or _NOTHING
    case = _Case(plan, f"a lookup of {name_text(labels)}", Reach.DNS, _HINTS["resolve"], question.after)
    return case.refused(row.refuse) if row.refuse else case.granted(row.grant)


def _listen(plan: Plan, question: Question) -> Allow | Deny:
    asked, port, protocol = question.address, question.port, question.protocol
    if asked is None or port is None:
        raise _missing(question, "an address and a port")
    what = f"{question.call} on {protocol} {_shown(None, asked, port)}"
    case = _Case(plan, what, Reach.LISTEN, _HINTS["listen"], question.after)
    if not 0 <= port <= LAST_PORT:
        return case.builtin(Builtin.PORT, f"{port} is no port")
    try:
        address = parse_asked(asked)
    except AddressError as err:
        return case.builtin(Builtin.ADDRESS, f"expected {err.expected}")
    network = plan.network
    if network.no_listening:
        zone, _ = _place(network.tcp, address)
        if not (network.is_loopback_spared and zone is Zone.LOOPBACK):
            return case.refused(network.no_listening)
    place: tuple[str, int, int] = (protocol, address, port)
    index = bisect_left(network.listeners, place, key=_listener_key)
    found = network.listeners[index : index + 1]
    is_listed = [_listener_key(each) for each in found] == [place]
    return case.granted(found[0].rule if is_listed else NO_RULE)


def _listener_key(listener: Listener) -> tuple[str, int, int]:
    return listener.protocol, listener.address, listener.port


def _load(plan: Plan, question: Question) -> Allow | Deny:
    if question.digest is None:
        raise _missing(question, "the digest of a model")
    case = _Case(plan, f"the model {question.digest}", None, _HINTS["load_model"], question.after)
    index = bisect_left(plan.nn.models, question.digest, key=lambda model: model.digest)
    found = plan.nn.models[index : index + 1]
    return case.granted(found[0].rule if found and found[0].digest == question.digest else NO_RULE)
