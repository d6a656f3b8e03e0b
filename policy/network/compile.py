"""The network and the models of a document, compiled into the tables of a plan.

Reading the rules is in `sources.py`, what boundaries add in `ceiling.py`, the tables are made in
`destinations.py` and `requests.py`. INVARIANT: nothing here opens a socket or looks up a name, and a plan
without a network section carries the built-in rules all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from policy.dfa import MAX_STATES
from policy.document import PolicyDocument
from policy.errors import Finding, Severity
from policy.network.builtins import builtin_rules
from policy.network.ceiling import NamedCeiling, outside, take_ceilings
from policy.network.destinations import (
    TooManyMeetingsError,
    compile_destinations,
    name_class,
    row_at,
)
from policy.network.drafts import Draft
from policy.network.names import parse_pattern
from policy.network.requests import MAX_METHODS, Requests, compile_requests, method_names
from policy.network.rows import RequestRows, SocketRows, Standing
from policy.network.sources import (
    NETWORK,
    NN,
    methods_of,
    named_methods,
    take_denies,
    take_listeners,
    take_lookups,
    take_models,
    take_requests,
    take_sockets,
)
from policy.nfa import TooManyNodesError
from policy.places import Path
from policy.plan import UNLIMITED, Rule
from policy.plan_network import Destinations, Lookups, NetworkPlan, NnPlan, PortRow, RequestRow


@dataclass(frozen=True, slots=True)
class NetworkCompiled:
    """The rules of the network and of models, in the order of evaluation, and the tables that name them."""

    rules: tuple[Rule, ...]
    places: tuple[Path | None, ...]  # of each rule in the document; None: built in, or of a boundary
    plan: NetworkPlan
    nn: NnPlan
    findings: tuple[Finding, ...]


def compile_network(
    document: PolicyDocument, *, ceilings: Sequence[NamedCeiling] = (), first_rule: int
) -> NetworkCompiled:
    """The tables of `document`, whose rules stand in the plan from `first_rule` on, which is not 0.

    Where a finding is an error the tables grant nothing.
    """
    network = document.model.permissions.network
    draft = Draft(first_rule)
    builtins = tuple(draft.add(rule) for rule in builtin_rules())
    take_ceilings(draft, ceilings)
    methods = method_names(named_methods(network))
    findings = [*outside(document, ceilings), *_omissions(document), *_too_many_methods(document, methods)]
    take_denies(draft, document, methods)
    take_sockets(draft, document)
    take_requests(draft, document, methods)
    take_lookups(draft, document)
    take_listeners(draft, document)
    take_models(draft, document)
    findings += _repeated(draft, document)
    plan = NetworkPlan(builtins)
    standing = Standing(builtins, network.private == "allow")
    lookups = compile_destinations(draft.entries["dns"], SocketRows(standing))
    findings += _no_lookup(document, lookups)
    if not any(finding.severity is Severity.ERROR for finding in findings):
        try:
            plan = _tables(draft, document, standing, lookups)
        except (TooManyMeetingsError, TooManyNodesError):
            findings.append(_too_large(document))
    section = document.model.permissions.nn
    nn = NnPlan(
        tuple(sorted(draft.models, key=lambda model: model.digest)),
        UNLIMITED if section.max_calls is None else section.max_calls,
        UNLIMITED if section.max_tensor_bytes is None else section.max_tensor_bytes,
    )
    return NetworkCompiled(tuple(draft.rules), tuple(draft.places), plan, nn, tuple(findings))


def _tables(
    draft: Draft, document: PolicyDocument, standing: Standing, lookups: Destinations[PortRow]
) -> NetworkPlan:
    network = document.model.permissions.network
    methods = method_names(named_methods(network))
    sockets = SocketRows(standing)
    http, requests = _requests(draft, standing, len(methods) + 1)
    dns = network.dns
    return NetworkPlan(
        builtins=standing.builtins,
        tcp=compile_destinations(draft.entries["tcp"], sockets),
        udp=compile_destinations(draft.entries["udp"], sockets),
        http=http,
        methods=methods,
        paths=requests.automaton,
        requests=tuple(draft.requests),
        lookups=Lookups(
            lookups.names, lookups.rows, dns.max_queries if dns else 0, pin=dns.pin if dns else True
        ),
        listeners=tuple(sorted(draft.listeners, key=lambda each: (each.protocol, each.address, each.port))),
        is_private_open=standing.is_private_open,
        no_listening=draft.no_listening,
        is_loopback_spared=draft.is_loopback_spared,
    )


def _requests(draft: Draft, standing: Standing, bits: int) -> tuple[Destinations[RequestRow], Requests]:
    """The table of requests: once to learn which origins meet, and once more with their starts."""
    seen = RequestRows(standing)
    compile_destinations(draft.entries["http"], seen)
    requests = compile_requests(draft.request_rules, seen.starts, bits)
    return compile_destinations(draft.entries["http"], RequestRows(standing, requests.starts)), requests


def _omissions(document: PolicyDocument) -> Iterator[Finding]:
    for index, rule in enumerate(document.model.permissions.network.http):
        if not methods_of(rule):
            problem = "this rule grants no method: write `access: read-only` or `methods`"
            yield document.source.finding("bad-method", (*NETWORK, "http", index), problem=problem)


def _too_many_methods(document: PolicyDocument, methods: tuple[str, ...]) -> Iterator[Finding]:
    if len(methods) > MAX_METHODS:
        problem = f"{len(methods)} different methods, more than the {MAX_METHODS} that a plan holds"
        yield document.source.finding("bad-method", (*NETWORK, "http"), problem=problem)


def _repeated(draft: Draft, document: PolicyDocument) -> Iterator[Finding]:
    first: dict[str, Path] = {}
    for rule, path in zip(draft.rules, draft.places, strict=True):
        if path is None:
            first[rule.id] = ()
        elif rule.id in first:
            taken = first[rule.id]
            where = document.source.field(taken) if taken else "a rule that every plan has"
            yield document.source.finding(
                "duplicate-id", path, problem=f"the id {rule.id} is taken by {where}"
            )
        else:
            first[rule.id] = path
    digests: dict[str, int] = {}
    for index, model in enumerate(document.model.permissions.nn.models):
        if digests.setdefault(model.digest, index) != index:
            problem = f"the digest is that of models[{digests[model.digest]}]"
            yield document.source.finding("duplicate-id", (*NN, "models", index), problem=problem)


def _too_large(document: PolicyDocument) -> Finding:
    problem = (
        f"these rules need a table of more than {MAX_STATES} states, or meet each other at too many places; "
        "use fewer rules for wide networks and `*`, and fewer wildcards in one segment of a path"
    )
    return document.source.finding("too-many-states", NETWORK, problem=problem)


def _no_lookup(document: PolicyDocument, lookups: Destinations[PortRow]) -> Iterator[Finding]:
    """Warn about rules by name whose names can't be looked up, so that no address is ever met."""
    network = document.model.permissions.network
    for protocol, rules in (("tcp", network.tcp), ("udp", network.udp)):
        for index, rule in enumerate(rules):
            if rule.to == "*" or "/" in rule.to or ":" in rule.to or rule.to.replace(".", "").isdigit():
                continue
            pattern = parse_pattern(rule.to)
            labels = (*pattern.labels, "*") if pattern.is_below else pattern.labels
            row = row_at(lookups.rows[name_class(lookups.names, labels)], 0)
            if row is None or not row.grant or row.refuse:
                problem = f"no lookup of {rule.to} is granted, so this rule meets no address"
                suggestion = f'add "{rule.to}" to permissions.network.dns.names'
                path: Path = (*NETWORK, protocol, index, "to")
                finding = document.source.finding("no-lookup", path, problem=problem, suggestion=suggestion)
                yield replace(finding, severity=Severity.WARNING)
