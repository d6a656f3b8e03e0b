"""The network section of a document, rule by rule.

What a boundary adds is in `ceiling.py`, what tables are made of it in `compile.py`. Nothing here compares two
rules. INVARIANT: every rule of the document becomes one line of the plan, also one that decides nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy.network.addresses import Span
from policy.network.drafts import LOOKUP, Draft, Protocol, content_id
from policy.network.listeners import parse_listener
from policy.network.names import Pattern, parse_pattern
from policy.network.places import Place, parse_granted, parse_refused
from policy.network.ports import ALL_PORTS, Range, format_ports, joined, parse_ports
from policy.network.request_paths import PRESETS
from policy.network.requests import RequestRule, method_mask
from policy.network.rows import Entry
from policy.network.urls import Origin, parse_origin
from policy.network.zones import embeddings
from policy.plan import UNLIMITED, Rule, RuleId, RuleKind
from policy.plan_network import Listener, Model, Request, Scheme

if TYPE_CHECKING:
    from policy.document import PolicyDocument
    from policy.places import Path
    from policy.schema import Nn
    from policy.schema_network import HttpRule, Network, NetworkDeny, SocketRule

NETWORK: Path = ("permissions", "network")
NN: Path = ("permissions", "nn")
_SOCKETS: tuple[Protocol, ...] = ("tcp", "udp")


def methods_of(rule: HttpRule) -> tuple[str, ...]:
    """The methods that a rule for requests grants; none where it does not say."""
    return PRESETS[rule.access] if rule.access else rule.methods


def port_ranges(texts: tuple[str, ...]) -> tuple[Range, ...]:
    """The ports that `texts` name, joined; none of them means every port."""
    return joined([parse_ports(text) for text in texts]) or (ALL_PORTS,)


def said_ports(ranges: tuple[Range, ...]) -> str:
    """The ports in words: the same for the same ports, however a document lists them."""
    return ", ".join(format_ports(*each) for each in ranges)


def slots(ranges: tuple[Range, ...], schemes: tuple[Scheme, ...] = tuple(Scheme)) -> tuple[Range, ...]:
    """`ranges` of ports for each of `schemes`, as slots."""
    return tuple((scheme.slot(low), scheme.slot(high)) for scheme in schemes for low, high in ranges)


def take_denies(draft: Draft, document: PolicyDocument, methods: tuple[str, ...]) -> None:
    """Take the deny rules; `methods` are those with a bit of their own."""
    for index, deny in enumerate(document.model.permissions.network.deny):
        path: Path = (*NETWORK, "deny", index)
        field = document.source.field(path)
        summary, hint = _deny_texts(deny, field)
        rule_id = RuleId(deny.id) if deny.id else content_id("deny", deny.model_dump())
        rule = draft.add(Rule(rule_id, RuleKind.DENY, field, summary, hint), path)
        if deny.to is not None:
            refuse(draft, rule, parse_refused(deny.to), port_ranges(deny.ports), is_lookup=not deny.ports)
        elif deny.url is not None:
            origin = parse_origin(deny.url)
            mask = method_mask(deny.methods or ("*",), methods)
            number = draft.origin(origin, is_grant=False)
            _request(draft, origin, RequestRule(rule, number, mask, deny.paths, is_grant=False))


def refuse(draft: Draft, rule: int, place: Place, ranges: tuple[Range, ...], *, is_lookup: bool) -> None:
    """Refuse `place` to sockets and requests, and where `is_lookup` also to lookups."""
    spans = tuple(each for span in place.spans for each in embeddings(span))
    for protocol in _SOCKETS:
        entry = Entry(rule, ranges, is_grant=False, spans=spans, pattern=place.pattern)
        draft.entries[protocol].append(entry)
    entry = Entry(rule, slots(ranges), is_grant=False, spans=spans, pattern=place.pattern)
    draft.entries["http"].append(entry)
    if is_lookup and place.pattern:
        draft.entries["dns"].append(Entry(rule, LOOKUP, is_grant=False, pattern=place.pattern))


def _deny_texts(deny: NetworkDeny, field: str) -> tuple[str, str]:
    hint = f"remove or narrow {field}: a deny rule wins over every allow rule"
    if deny.to is not None:
        return f"refuses {deny.to}{_on_ports(deny.ports)}", hint
    methods = "every method" if not deny.methods or "*" in deny.methods else ", ".join(deny.methods)
    return f"refuses {methods} at {deny.url}{_under(deny.paths)}", hint


def _on_ports(ports: tuple[str, ...]) -> str:
    ranges = port_ranges(ports)
    return " on every port" if ranges == (ALL_PORTS,) else f" on port {said_ports(ranges)}"


def _under(paths: tuple[str, ...]) -> str:
    return f", of it {', '.join(paths)}" if paths else ""


def take_sockets(draft: Draft, document: PolicyDocument) -> None:
    """Take the allow rules of TCP and UDP."""
    network = document.model.permissions.network
    for protocol, rules in (("tcp", network.tcp), ("udp", network.udp)):
        for index, section in enumerate(rules):
            path: Path = (*NETWORK, protocol, index)
            rule = draft.add(_socket_rule(protocol, section, document.source.field(path)), path)
            place = parse_granted(section.to)
            entry = Entry(
                rule,
                port_ranges(section.ports),
                is_grant=True,
                spans=place.spans,
                pattern=place.pattern,
                is_literal=place.literal_zone is not None,
                is_lifting=section.private == "allow",
            )
            draft.entries["tcp" if protocol == "tcp" else "udp"].append(entry)


def _socket_rule(protocol: str, section: SocketRule, field: str) -> Rule:
    content = section.model_dump(exclude={"id"})
    rule_id = RuleId(section.id) if section.id else content_id(protocol, content)
    private = ", private addresses too" if section.private == "allow" else ""
    where = "every host" if section.to == "*" else section.to
    summary = f"allows {protocol.upper()} to {where}{_on_ports(section.ports)}{private}"
    return Rule(rule_id, RuleKind.ALLOW, field, summary, "")


def take_requests(draft: Draft, document: PolicyDocument, methods: tuple[str, ...]) -> None:
    """Take the allow rules of requests; `methods` are those with a bit of their own."""
    for index, section in enumerate(document.model.permissions.network.http):
        path: Path = (*NETWORK, "http", index)
        rule = draft.add(_request_rule(section, document.source.field(path)), path)
        origin = parse_origin(section.url)
        mask = method_mask(methods_of(section), methods)
        number = draft.origin(origin, is_grant=True)
        given = RequestRule(rule, number, mask, section.paths, is_grant=True)
        _request(draft, origin, given)
        draft.requests.append(_terms(rule, section))


def _request(draft: Draft, origin: Origin, rule: RequestRule) -> None:
    draft.request_rules.append(rule)
    span = origin.host if isinstance(origin.host, Span) else None
    entry = Entry(
        rule.rule,
        slots((origin.ports,), (origin.scheme,)),
        is_grant=rule.is_grant,
        spans=tuple(embeddings(span)) if span and not rule.is_grant else (span,) if span else (),
        pattern=origin.host if isinstance(origin.host, Pattern) else None,
        is_literal=span is not None and rule.is_grant,
        origin=rule.origin,
    )
    draft.entries["http"].append(entry)


def _terms(rule: int, section: HttpRule) -> Request:
    credential = section.credential
    bounds = (section.max_request_bytes, section.max_response_bytes)
    most = [UNLIMITED if each is None else each for each in bounds]
    return Request(
        rule,
        tuple(sorted({name.lower() for name in section.headers.deny})),
        most[0],
        most[1],
        follows_redirects=section.redirects != "refuse",
        credential=credential.from_ if credential else "",
        credential_as=credential.as_ if credential else "",
    )


def _request_rule(section: HttpRule, field: str) -> Rule:
    content = section.model_dump(exclude={"id", "headers", "credential"})
    content["headers"] = section.headers.deny
    content["credential"] = section.credential and f"{section.credential.from_} {section.credential.as_}"
    rule_id = RuleId(section.id) if section.id else content_id("http", content)
    methods = methods_of(section)
    what = "every method" if "*" in methods else ", ".join(methods)
    summary = f"allows {what} at {section.url}{_under(section.paths)}"
    return Rule(rule_id, RuleKind.ALLOW, field, summary, "")


def take_lookups(draft: Draft, document: PolicyDocument) -> None:
    """Take the names that may be looked up, each as a rule."""
    dns = document.model.permissions.network.dns
    for index, name in enumerate(dns.names if dns else ()):
        path: Path = (*NETWORK, "dns", "names", index)
        pattern = parse_pattern(name)
        what = "every name" if pattern.is_any else str(pattern)
        rule_id = content_id("dns", {"name": str(pattern)})
        rule = Rule(rule_id, RuleKind.ALLOW, document.source.field(path), f"allows to look up {what}", "")
        entry = Entry(draft.add(rule, path), LOOKUP, is_grant=True, pattern=pattern)
        draft.entries["dns"].append(entry)


def take_listeners(draft: Draft, document: PolicyDocument) -> None:
    """Take the places to listen at, each as a rule."""
    for index, text in enumerate(document.model.permissions.network.listen):
        path: Path = (*NETWORK, "listen", index)
        place = parse_listener(text)
        rule_id = content_id("listen", {"at": text})
        rule = Rule(rule_id, RuleKind.ALLOW, document.source.field(path), f"allows to listen at {text}", "")
        draft.listeners.append(Listener(*place, draft.add(rule, path)))


def take_models(draft: Draft, document: PolicyDocument) -> None:
    """Take the models that may be loaded, each as a rule."""
    section: Nn = document.model.permissions.nn
    for index, model in enumerate(section.models):
        path: Path = (*NN, "models", index)
        rule_id = content_id("nn", model.model_dump())
        summary = f"allows to load the model {model.name} ({model.digest}) with {model.backend}"
        rule = Rule(rule_id, RuleKind.ALLOW, document.source.field(path), summary, "")
        draft.models.append(Model(model.digest, model.name, model.backend, draft.add(rule, path)))


def named_methods(network: Network) -> list[tuple[str, ...]]:
    """The lists of methods that the rules name."""
    return [*(methods_of(rule) for rule in network.http), *(deny.methods for deny in network.deny)]
