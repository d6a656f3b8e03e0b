"""From a document to a plan.

Checks of single fields and of the document as a whole live in `fields.py` and `checks/`; storage is
resolved in `storage.py`. Compiling is a function of its arguments: no disk, no clock, and a
document that can't be enforced in full is refused with every reason. It is longer than most: each part of a
plan is named once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from policy import fixed, sections, sections_audit
from policy.builtin_denies import BUILTIN_DENIES
from policy.bundle import ALONE, Bundle
from policy.ceilings import StorageCeilings, learning_mounts, outside_findings, storage_ceilings
from policy.checks.plain_secret import without_secrets
from policy.dead_rules import Compiled, dead_rules, unwatched_rules
from policy.dfa import MAX_CLASSES, MAX_STATES
from policy.digest import plan_digest
from policy.document import PolicyDocument
from policy.errors import Finding, PolicyError, Severity, capped
from policy.fold import Determinised
from policy.network.compile import NetworkCompiled, compile_network
from policy.nfa import TooManyNodesError
from policy.path_rules import compile_paths
from policy.plan import UNIFORM, Mode, Mount, Plan, Right, Rule, RuleKind
from policy.plan_network import NetworkPlan, makes_requests, opens_sockets
from policy.preparation import Circumstances, Prepared, prepare, tenants_of
from policy.storage import Grant, GuestMount, Refusal, Storage, resolve_storage
from policy.subject import ANYONE, Subject
from policy.temporal import Later, OverTime, resolve_temporal
from policy.text import MAX_FINDINGS
from policy.uris import Space

_READ_ONLY = Right.READ | Right.LIST
_OWN_KINDS = frozenset({RuleKind.DENY, RuleKind.ALLOW, RuleKind.TEMPORAL})
_MAX_RULES = 65_000  # an index has 16 bits in a record


def compile_policy(
    document: PolicyDocument,
    *,
    base_dir: str,
    now_ns: int | None,
    is_stored: bool = False,
    bundle: Bundle = ALONE,
    subject: Subject = ANYONE,
    is_study: bool = False,
) -> Plan:
    """The plan of `document`.

    `base_dir` is the absolute folder that `fs:./…` starts from. `now_ns` (UTC) decides whether the
    policy has expired; with None that is not checked. `is_stored` asks for a `match` section. `bundle`
    holds the documents that it extends and must lie in, `subject` is what it is compiled for. With
    `is_study` a part that this version can't enforce is a warning, and the plan says that it may not run.

    Raises:
        PolicyError: with every error and warning, when there is at least one error.
    """
    around = Circumstances(base_dir, now_ns, is_stored, bundle, subject, is_study)
    plan, findings = _compile(document, around)
    if plan is None:
        raise PolicyError(_told(findings))
    if document.model.kind == "Baseline" and not is_study:
        problem = "a Baseline is not run by itself: name it in the `extends` of a policy"
        raise PolicyError((document.source.finding("wrong-kind", ("kind",), problem=problem),))
    return plan


def check_policy(
    document: PolicyDocument,
    *,
    base_dir: str,
    now_ns: int | None,
    is_stored: bool = False,
    bundle: Bundle = ALONE,
    subject: Subject = ANYONE,
    is_study: bool = False,
    real_path: Callable[[str], str | None] | None = None,
) -> tuple[Finding, ...]:
    """Every error and warning about `document`, errors first and not more than people read.

    `real_path` says where a path of the host leads, None when nothing is there; without it links are not
    looked for. The other arguments are those of `compile_policy`.
    """
    around = Circumstances(base_dir, now_ns, is_stored, bundle, subject, is_study, real_path)
    tenants = tenants_of(document, around)
    subjects = [replace(subject, tenant=tenant) for tenant in tenants] or [subject]
    found: dict[Finding, None] = {}
    for each in subjects:
        _, findings = _compile(document, replace(around, subject=each))
        found |= dict.fromkeys(findings)
    return _told(found)


def _told(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors first, no more than people read, and no secret among them."""
    return capped(PolicyError(without_secrets(findings)).findings, most=MAX_FINDINGS)


@dataclass(frozen=True, slots=True)
class _Parts:
    """The sections of a document with rules of their own, and where these begin in the plan."""

    storage: Storage
    ceilings: StorageCeilings
    later: OverTime
    network: NetworkCompiled
    first_allow: int
    first_ceiling: int
    first_later: int


def _compile(document: PolicyDocument, around: Circumstances) -> tuple[Plan | None, tuple[Finding, ...]]:
    if not around.base_dir.startswith("/"):
        raise ValueError(around.base_dir)
    prepared = prepare(document, around)
    document = prepared.document
    parts = _parts(prepared, around.base_dir)
    rules = _rules(document, parts)
    structure = [*parts.storage.findings, *parts.later.findings]
    structure += islice(_duplicates(document, parts, rules), MAX_FINDINGS)
    findings = [*prepared.findings, *parts.network.findings, *structure]
    if _has_error(structure):
        return None, tuple(findings)
    mounts = parts.storage.mounts(parts.first_allow)
    if document.model.mode == "learn":
        mounts = _sorted([*mounts, *learning_mounts(prepared.boundaries, mounts)])
    try:
        paths = compile_paths(
            tuple(each.rules for each in mounts),
            parts.storage.denies(around.base_dir, 1),
            parts.ceilings.ceilings,
            parts.later.watches(around.base_dir, parts.first_later),
        )
    except TooManyNodesError:
        return None, (*findings, _too_many(document))
    starts = {each.guest: start for each, start in zip(mounts, paths.starts, strict=True)}
    compiled = Compiled(parts.storage, rules, parts.first_allow, paths.automaton, starts)
    findings += dead_rules(document, compiled, {each.allow for each in paths.outside})
    findings += unwatched_rules(document, parts.later, paths.automaton)
    findings += outside_findings(document, compiled, parts.ceilings, paths.outside)
    if _has_error(findings):
        return None, tuple(findings)
    return _plan(prepared, parts, rules, (mounts, paths)), tuple(findings)


def _parts(prepared: Prepared, base_dir: str) -> _Parts:
    storage = resolve_storage(prepared.document, base_dir)
    first_allow = 1 + len(BUILTIN_DENIES) + len(storage.refusals)
    first_ceiling = first_allow + len(storage.grants)
    ceilings = storage_ceilings(prepared.boundaries, first_ceiling)
    later = resolve_temporal(prepared.document)
    first_later = first_ceiling + len(ceilings.rules)
    network = compile_network(
        prepared.document,
        ceilings=[(each.name, each.model.ceiling.network) for each in prepared.boundaries],
        first_rule=first_later + len(later.rules),
    )
    return _Parts(storage, ceilings, later, network, first_allow, first_ceiling, first_later)


def _sorted(mounts: list[GuestMount]) -> list[GuestMount]:
    return sorted(mounts, key=lambda mount: mount.guest)


def _has_error(findings: list[Finding]) -> bool:
    return any(finding.severity is Severity.ERROR for finding in findings)


def _rules(document: PolicyDocument, parts: _Parts) -> tuple[Rule, ...]:
    permissions = document.model.permissions
    clocks, stdio = permissions.clocks, permissions.stdio
    granted = (
        (permissions.random, fixed.RANDOM_NONE, "permissions.random", "random bytes"),
        (clocks.wall, fixed.CLOCKS_WALL, "permissions.clocks.wall", "wall clock"),
        (clocks.monotonic, fixed.CLOCKS_MONOTONIC, "permissions.clocks.monotonic", "monotonic clock"),
        (stdio.stdin, fixed.STDIO_STDIN, "permissions.stdio.stdin", "standard input"),
        (stdio.stdout, fixed.STDIO_STDOUT, "permissions.stdio.stdout", "standard output"),
        (stdio.stderr, fixed.STDIO_STDERR, "permissions.stdio.stderr", "standard error"),
    )
    return (
        fixed.DEFAULT_RULE,
        *(deny.rule() for deny in BUILTIN_DENIES),
        *(refusal.rule() for refusal in parts.storage.refusals),
        *(grant.rule() for grant in parts.storage.grants),
        *parts.ceilings.rules,
        *(each.rule() for each in parts.later.rules),
        *parts.network.rules,
        fixed.NETWORK_RULE,
        *(
            fixed.missing_capability(rule, field, what)
            for value, rule, field, what in granted
            if value == "none"
        ),
        *(
            fixed.replaced_clock(rule, field, what)
            for value, rule, field, what in granted
            if value.startswith("frozen:")
        ),
        *fixed.FIXED_RULES,
    )


def _duplicates(document: PolicyDocument, parts: _Parts, rules: tuple[Rule, ...]) -> Iterator[Finding]:
    own: list[Refusal | Grant | Later] = [*parts.storage.refusals, *parts.storage.grants, *parts.later.rules]
    first = {rule.id: "" for rule in rules if rule.kind not in _OWN_KINDS}
    # SECURITY: neither may a rule bear the id that another plan, or another boundary, would have
    named = [each.id for each in (*own, *parts.network.rules)]
    first |= dict.fromkeys((each for each in named if fixed.is_reserved(each)), "")
    for rule in own:
        taken = first.get(rule.id)
        if taken is None:
            first[rule.id] = rule.field
        elif rule.has_own_id:
            problem = f"the id {rule.id} is taken by {taken or 'a rule that every plan has'}"
            yield document.source.finding("duplicate-id", (*rule.path, "id"), problem=problem)
        else:
            yield document.source.finding("duplicate-id", rule.path, problem=f"the same rule as {taken}")
    for found, path in zip(parts.network.rules, parts.network.places, strict=True):
        if path is not None and found.id in first:
            problem = f"the id {found.id} is taken by {first[found.id] or 'a rule that every plan has'}"
            yield document.source.finding("duplicate-id", path, problem=problem)
    if len(rules) > _MAX_RULES:
        problem = f"{len(own)} rules, more than a plan holds"
        yield document.source.finding("too-many-rules", ("permissions", "storage"), problem=problem)


def _too_many(document: PolicyDocument) -> Finding:
    problem = (
        f"these rules need a table of more than {MAX_STATES} states or {MAX_CLASSES} kinds of path; use "
        "fewer globs with several wildcards in one segment, or shorter lists"
    )
    return document.source.finding("too-many-states", ("permissions", "storage"), problem=problem)


def _plan(
    prepared: Prepared,
    parts: _Parts,
    rules: tuple[Rule, ...],
    resolved: tuple[list[GuestMount], Determinised],
) -> Plan:
    model = prepared.document.model
    mounts, paths = resolved
    permissions = model.permissions
    mode = Mode(model.mode)
    plan = Plan(
        name=model.metadata.name,
        policy_digest=prepared.digest,
        plan_digest="",
        mode=mode,
        match_digests=model.match.digest if model.match else (),
        match_names=model.match.name if model.match else (),
        match_tenants=model.match.tenant if model.match else (),
        match_signers=model.match.signer if model.match else (),
        rules=rules,
        denied_calls=_denied_calls(rules, parts.network.plan),
        mounts=tuple(_mount(each, paths, number, mode) for number, each in enumerate(mounts)),
        automaton=paths.automaton,
        temporal=parts.later.compiled(parts.first_later),
        network=parts.network.plan,
        nn=parts.network.nn,
        environment=tuple((allow.key, allow.value or "") for allow in permissions.environment.allow),
        args=permissions.args,
        is_extra_args_allowed=permissions.extra_args,
        stdio=sections.stdio(permissions.stdio),
        clocks=sections.clocks(permissions.clocks, is_deterministic=model.runtime.deterministic),
        random=sections.random(permissions.random, is_deterministic=model.runtime.deterministic),
        limits=sections.limits(model.resources.limits),
        runtime=sections.runtime(model.runtime),
        audit=sections_audit.audit(model.audit),
        unenforced=prepared.unenforced,
        unenforced_digest=prepared.unenforced_digest,
        may_run=prepared.may_run,
        open_names=prepared.open_names,
    )
    return replace(plan, plan_digest=plan_digest(plan))


def _mount(mount: GuestMount, paths: Determinised, number: int, mode: Mode) -> Mount:
    is_host = mount.rules.space is Space.HOST
    start = paths.starts[number]
    return Mount(
        guest=mount.guest,
        host=mount.rules.root if is_host else "",
        scratch="" if is_host else mount.rules.root,
        start=start,
        is_split=not paths.automaton.states[start][4] & UNIFORM,
        is_mutable=mode is Mode.AUDIT or bool(paths.reach[number] & ~_READ_ONLY),
        is_optional=mount.is_optional,
    )


def _denied_calls(rules: tuple[Rule, ...], network: NetworkPlan) -> tuple[tuple[str, int], ...]:
    index = {rule.id: number for number, rule in enumerate(rules)}
    random = (("random_get", index[fixed.RANDOM_NONE]),) if fixed.RANDOM_NONE in index else ()
    # where some are granted, what is reached decides
    sockets = () if opens_sockets(network) else fixed.SOCKET_CALLS
    requests = () if makes_requests(network) else fixed.REQUEST_CALLS
    return (*random, *((call, index[fixed.NETWORK_NONE]) for call in (*sockets, *requests)))
