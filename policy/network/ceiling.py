"""What boundaries leave of the network: rules that refuse, and findings about rules that ask for more.

Other ceilings are in `policy/boundary.py`. A rule that leaves a ceiling is an error with a witness, and what
the ceiling refuses is in the tables all the same. INVARIANT: what a boundary refuses is refused in mode
audit too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from policy.network.addresses import EVERYWHERE, LAST, Span, format_address
from policy.network.drafts import LOOKUP, Draft
from policy.network.listeners import parse_listener
from policy.network.names import Pattern, parse_pattern
from policy.network.places import ANYWHERE, Place, parse_granted, parse_refused
from policy.network.ports import ALL_PORTS, Range
from policy.network.rows import Entry
from policy.network.sources import NETWORK, port_ranges, refuse, said_ports, slots
from policy.network.urls import parse_origin
from policy.network.zones import ZONE_STARTS, ZONES, embeddings, zone_of
from policy.plan import Rule, RuleId, RuleKind
from policy.plan_network import Scheme, Zone

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from policy.document import PolicyDocument
    from policy.errors import Finding
    from policy.places import Path
    from policy.schema_network import NetworkCeiling

ID = "outside-boundary"

NamedCeiling = tuple[str, "NetworkCeiling"]
"""A boundary's name, and what it leaves of the network."""


def take_ceilings(draft: Draft, ceilings: Sequence[NamedCeiling]) -> None:
    """Take what each ceiling refuses, as rules that stand before all of the document."""
    for index, (name, ceiling) in enumerate(ceilings, 1):
        work = _Taker(draft, name, f".{index}" if index > 1 else "")
        work.take(ceiling)


@dataclass(frozen=True, slots=True)
class _Taker:
    draft: Draft
    name: str
    suffix: str  # tells the rules of a second boundary from those of the first

    def take(self, ceiling: NetworkCeiling) -> None:
        everywhere = parse_refused(ANYWHERE)
        missing = [each for each in ("tcp", "udp", "http", "https") if each not in ceiling.schemes]
        if missing:
            rule = self._rule("schemes", f"grants no {', '.join(missing)}")
            self._refuse_schemes(rule, missing)
        closed = complement(port_ranges(ceiling.ports)) if ceiling.ports else (ALL_PORTS,)
        if closed:
            only = said_ports(port_ranges(ceiling.ports)) if ceiling.ports else "none"
            refuse(
                self.draft,
                self._rule("ports", f"leaves these ports: {only}"),
                everywhere,
                closed,
                is_lookup=False,
            )
        if ceiling.never:
            rule = self._rule("never", f"never grants {', '.join(ceiling.never)}")
            for each in ceiling.never:
                refuse(self.draft, rule, parse_refused(each), (ALL_PORTS,), is_lookup=True)
        if ceiling.private == "deny":
            rule = self._rule("private", "grants no private address")
            for span in _private_spans():
                refuse(self.draft, rule, Place(span, None), (ALL_PORTS,), is_lookup=False)
        if ceiling.listen != "any":
            what = "no place to listen at" if ceiling.listen == "none" else "listening on loopback only"
            rule = self._rule("listen", f"grants {what}")
            if not self.draft.no_listening or ceiling.listen == "none":
                self.draft.no_listening = rule
                self.draft.is_loopback_spared = ceiling.listen == "loopback"

    def _rule(self, key: str, what: str) -> int:
        rule_id = RuleId(f"ceiling.network.{key}{self.suffix}")
        field = f"{self.name}: ceiling.network.{key}"
        hint = f"ask the owner of the boundary {self.name} to change its ceiling.network.{key}"
        return self.draft.add(
            Rule(rule_id, RuleKind.BOUNDARY, field, f"the boundary {self.name} {what}", hint)
        )

    def _refuse_schemes(self, rule: int, missing: list[str]) -> None:
        entries = self.draft.entries
        for scheme in missing:
            key: Literal["tcp", "udp", "http"] = (
                "tcp" if scheme == "tcp" else "udp" if scheme == "udp" else "http"
            )
            ranges: tuple[Range, ...] = (ALL_PORTS,)
            if key == "http":
                ranges = slots(ranges, (Scheme[scheme.upper()],))
            entries[key].append(Entry(rule, ranges, is_grant=False, spans=(EVERYWHERE,)))
        if len(missing) == len(("tcp", "udp", "http", "https")):
            entries["dns"].append(Entry(rule, LOOKUP, is_grant=False, pattern=parse_pattern("*")))


def complement(ranges: tuple[Range, ...]) -> tuple[Range, ...]:
    """The ports outside `ranges`, which rise and do not touch."""
    found: list[Range] = []
    at = ALL_PORTS[0]
    for low, high in ranges:
        if at < low:
            found.append((at, low - 1))
        at = high + 1
    return (*found, (at, ALL_PORTS[1])) if at <= ALL_PORTS[1] else tuple(found)


def _private_spans() -> Iterator[Span]:
    ends = (*ZONE_STARTS[1:], LAST + 1)
    for low, beyond, zone in zip(ZONE_STARTS, ends, ZONES, strict=True):
        if zone is Zone.PRIVATE:
            yield Span(low, beyond - 1)


@dataclass(frozen=True, slots=True)
class _Grant:
    """An allow rule as a ceiling looks at it."""

    path: Path
    scheme: str
    place: Place
    ports: tuple[Range, ...]
    port_key: str
    is_lifting: bool


def outside(document: PolicyDocument, ceilings: Sequence[NamedCeiling]) -> Iterator[Finding]:
    """Yield a finding, with a witness, for each allow rule that leaves a ceiling."""
    network = document.model.permissions.network
    grants = list(_grants(document))
    for name, ceiling in ceilings:
        for grant in grants:
            for key, problem in _faults(grant, ceiling):
                path = (*grant.path, key) if key else grant.path
                yield document.source.finding(ID, path, problem=f"the boundary {name} {problem}")
        if network.private == "allow" and ceiling.private != "allow":
            problem = f"the boundary {name} grants private addresses only where a rule names them"
            if ceiling.private == "deny":
                problem = f"the boundary {name} grants no private address (such as 10.0.0.1)"
            yield document.source.finding(ID, (*NETWORK, "private"), problem=problem)
        yield from _other_faults(document, name, ceiling)


def _grants(document: PolicyDocument) -> Iterator[_Grant]:
    network = document.model.permissions.network
    for scheme, rules in (("tcp", network.tcp), ("udp", network.udp)):
        for index, rule in enumerate(rules):
            path: Path = (*NETWORK, scheme, index)
            is_lifting = rule.private == "allow"
            yield _Grant(path, scheme, parse_granted(rule.to), port_ranges(rule.ports), "ports", is_lifting)
    for index, request in enumerate(network.http):
        origin = parse_origin(request.url)
        span = origin.host if isinstance(origin.host, Span) else None
        place = Place(span, origin.host if isinstance(origin.host, Pattern) else None)
        yield _Grant(
            (*NETWORK, "http", index),
            origin.scheme.name.lower(),
            place,
            (origin.ports,),
            "url",
            is_lifting=False,
        )


def _faults(grant: _Grant, ceiling: NetworkCeiling) -> Iterator[tuple[str, str]]:
    to = "url" if grant.port_key == "url" else "to"
    if grant.scheme not in ceiling.schemes:
        yield ("", f"grants no {grant.scheme}")
    closed = complement(port_ranges(ceiling.ports)) if ceiling.ports else (ALL_PORTS,)
    for low, high in grant.ports:
        witness = next((max(low, first) for first, last in closed if first <= high and low <= last), None)
        if witness is not None:
            yield (grant.port_key, f"does not grant port {witness}")
            break
    for text in ceiling.never:
        met = _meeting(grant, parse_refused(text))
        if met:
            yield (to, f"never grants {text}, and this rule would (such as {met})")
    is_private = grant.place.literal_zone is Zone.PRIVATE
    if ceiling.private == "deny" and (grant.is_lifting or is_private):
        witness_text = format_address(grant.place.span.low) if is_private and grant.place.span else "10.0.0.1"
        key = to if is_private else "private"
        yield (key, f"grants no private address (such as {witness_text})")


def _meeting(grant: _Grant, never: Place) -> str:
    """An address or a name that the rule grants and `never` holds; empty where there is none."""
    if grant.place.pattern and never.pattern:
        met = common_name(grant.place.pattern, never.pattern)
        if met:
            return met
    for own in grant.place.spans:
        for span in (each for one in never.spans for each in embeddings(one)):
            witness = _granted_in(grant, Span(max(span.low, own.low), min(span.high, own.high)))
            if witness is not None:
                return format_address(witness)
    return ""


def _granted_in(grant: _Grant, span: Span) -> int | None:
    """An address of `span` that the rule reaches, given what the zones refuse."""
    if span.low > span.high:
        return None
    if grant.place.literal_zone is not None:
        return span.low
    for low in (span.low, *(start for start in ZONE_STARTS if span.low < start <= span.high)):
        zone = zone_of(low)
        if zone is Zone.PUBLIC or (zone is Zone.PRIVATE and grant.is_lifting):
            return low
    return None


def common_name(one: Pattern, other: Pattern) -> str:
    """A name that both patterns match; empty where there is none."""
    longer, shorter = (one, other) if len(one.labels) >= len(other.labels) else (other, one)
    if longer.labels[: len(shorter.labels)] != shorter.labels:
        return ""
    if longer.labels == shorter.labels and longer.is_below != shorter.is_below:
        return ""
    if longer.labels != shorter.labels and not shorter.is_below:
        return ""
    labels = (*longer.labels, "a") if longer.is_below else longer.labels
    return ".".join(reversed(labels))


def _other_faults(document: PolicyDocument, name: str, ceiling: NetworkCeiling) -> Iterator[Finding]:
    network = document.model.permissions.network
    for index, text in enumerate(network.dns.names if network.dns else ()):
        path: Path = (*NETWORK, "dns", "names", index)
        if not ceiling.schemes:
            yield document.source.finding(
                ID, path, problem=f"the boundary {name} grants no network, nor lookups"
            )
        for never in ceiling.never:
            pattern = parse_refused(never).pattern
            met = common_name(parse_pattern(text), pattern) if pattern else ""
            if met:
                problem = f"the boundary {name} never grants {never}, and this rule would (such as {met})"
                yield document.source.finding(ID, path, problem=problem)
    for index, text in enumerate(network.listen):
        _, address, _ = parse_listener(text)
        if ceiling.listen == "none" or (
            ceiling.listen == "loopback" and zone_of(address) is not Zone.LOOPBACK
        ):
            what = "no listening" if ceiling.listen == "none" else "listening on loopback only"
            problem = f"the boundary {name} grants {what}"
            yield document.source.finding(ID, (*NETWORK, "listen", index), problem=problem)
