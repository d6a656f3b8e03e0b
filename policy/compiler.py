"""From a document to a plan.

Checks of single fields and of the document as a whole live in `fields.py` and `checks/`; storage is
resolved in `storage.py`. Compiling is a function of its arguments: no disk, no clock, and a
document that can't be enforced in full is refused with every reason.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from policy import fixed
from policy.builtin_denies import BUILTIN_DENIES
from policy.checks import run_checks
from policy.dfa import MAX_CLASSES, MAX_STATES, Determinised, TooManyStates
from policy.digest import plan_digest
from policy.errors import Finding, PolicyError, Severity
from policy.fields import parse_moment
from policy.path_rules import compile_paths
from policy.plan import (
    UNIFORM,
    Audit,
    Clocks,
    Engine,
    Limits,
    Mode,
    Mount,
    Plan,
    Random,
    Right,
    Rule,
    RuleId,
    RuleKind,
    Runtime,
    SourceKind,
    StdinMode,
    Stdio,
    StdoutMode,
    Sync,
    Timestamps,
)
from policy.storage import Storage, resolve_storage
from policy.uris import Space
from policy.units import parse_seed

if TYPE_CHECKING:
    from policy.document import PolicyDocument
    from policy.path_rules import MountRules

_READ_ONLY = Right.READ | Right.LIST
_MAX_RULES = 65_000  # an index has 16 bits in a record


def compile_policy(document: PolicyDocument, *, base_dir: str, now_ns: int | None, is_stored: bool = False) -> Plan:
    """The plan of `document`.

    `base_dir` is the absolute folder that `fs:./…` starts from. `now_ns` (UTC) decides whether the
    policy has expired; with None that is not checked. `is_stored` asks for a `match` section.

    Raises:
        PolicyError: with every error and warning, when there is at least one error.
    """
    plan, findings = _compile(document, base_dir=base_dir, now_ns=now_ns, is_stored=is_stored)
    if plan is None:
        raise PolicyError(findings)
    return plan


def check_policy(
    document: PolicyDocument, *, base_dir: str, now_ns: int | None, is_stored: bool = False
) -> tuple[Finding, ...]:
    """Every error and warning about `document`, errors first; arguments as in `compile_policy`."""
    _, findings = _compile(document, base_dir=base_dir, now_ns=now_ns, is_stored=is_stored)
    return PolicyError(findings).findings


def rule_index(plan: Plan, rule: RuleId) -> int:
    """Where `rule` stands in `plan.rules`.

    Raises:
        KeyError: when the plan has no such rule.
    """
    for index, found in enumerate(plan.rules):
        if found.id == rule:
            return index
    raise KeyError(rule)


def _compile(
    document: PolicyDocument, *, base_dir: str, now_ns: int | None, is_stored: bool
) -> tuple[Plan | None, tuple[Finding, ...]]:
    if not base_dir.startswith("/"):
        raise ValueError(base_dir)
    findings = list(run_checks(document, now_ns=now_ns, is_stored=is_stored))
    storage = resolve_storage(document, base_dir)
    findings.extend(storage.findings)
    rules = _rules(document, storage)
    findings.extend(_duplicates(document, storage, rules))
    if any(finding.severity is Severity.ERROR for finding in findings):
        return None, tuple(findings)
    first_allow = 1 + len(BUILTIN_DENIES) + len(storage.refusals)
    mounts = storage.mounts(first_allow)
    try:
        paths = compile_paths(tuple(rules for _, rules in mounts), storage.denies(base_dir, 1))
    except TooManyStates:
        return None, (*findings, _too_many(document))
    findings.extend(_dead_rules(document, storage, mounts, paths, rules, first_allow))
    if any(finding.severity is Severity.ERROR for finding in findings):
        return None, tuple(findings)
    return _plan(document, rules, mounts, paths), tuple(findings)


def _rules(document: PolicyDocument, storage: Storage) -> tuple[Rule, ...]:
    permissions = document.model.permissions
    missing = [
        (permissions.random == "none", fixed.RANDOM_NONE, "permissions.random", "random bytes"),
        (permissions.clocks.wall == "none", fixed.CLOCKS_WALL, "permissions.clocks.wall", "wall clock"),
        (
            permissions.clocks.monotonic == "none",
            fixed.CLOCKS_MONOTONIC,
            "permissions.clocks.monotonic",
            "monotonic clock",
        ),
        (permissions.stdio.stdin == "none", fixed.STDIO_STDIN, "permissions.stdio.stdin", "standard input"),
        (permissions.stdio.stdout == "none", fixed.STDIO_STDOUT, "permissions.stdio.stdout", "standard output"),
        (permissions.stdio.stderr == "none", fixed.STDIO_STDERR, "permissions.stdio.stderr", "standard error"),
    ]
    return (
        fixed.DEFAULT_RULE,
        *(deny.rule() for deny in BUILTIN_DENIES),
        *(refusal.rule() for refusal in storage.refusals),
        *(grant.rule() for grant in storage.grants),
        fixed.NETWORK_RULE,
        *(fixed.missing_capability(rule, field, what) for is_none, rule, field, what in missing if is_none),
        *fixed.FIXED_RULES,
    )


def _duplicates(document: PolicyDocument, storage: Storage, rules: tuple[Rule, ...]) -> list[Finding]:
    own = [*storage.refusals, *storage.grants]
    first: dict[RuleId, str] = {rule.id: "" for rule in rules if rule.kind not in {RuleKind.DENY, RuleKind.ALLOW}}
    found: list[Finding] = []
    for rule in own:
        where = rule.rule().field
        if rule.id not in first:
            first[rule.id] = where
            continue
        if rule.section.id is None:
            problem = f"the same rule as {first[rule.id]}"
        else:
            taken = first[rule.id] or "a rule that every plan has"
            problem = f"the id {rule.id} is taken by {taken}"
        path = (*rule.path, "id") if rule.section.id is not None else rule.path
        found.append(document.source.finding("duplicate-id", path, problem=problem))
    if len(rules) > _MAX_RULES:
        problem = f"{len(own)} rules, more than a plan holds"
        found.append(document.source.finding("too-many-rules", ("permissions", "storage"), problem=problem))
    return found


def _too_many(document: PolicyDocument) -> Finding:
    problem = (
        f"these rules need a table of more than {MAX_STATES} states or {MAX_CLASSES} kinds of path; use fewer globs with several "
        "wildcards in one segment, or shorter lists"
    )
    return document.source.finding("too-many-states", ("permissions", "storage"), problem=problem)


def _dead_rules(  # noqa: PLR0913, PLR0917  # the intermediate values of one compilation
    document: PolicyDocument,
    storage: Storage,
    mounts: list[tuple[str, MountRules]],
    paths: Determinised,
    rules: tuple[Rule, ...],
    first_allow: int,
) -> list[Finding]:
    """Allow rules that decide nothing."""
    deciding = {
        index
        for found in paths.automaton.classes
        for position, index in enumerate(found.rules)
        if found.rights >> position & 1
    }
    starts = {guest: paths.starts[number] for number, (guest, _) in enumerate(mounts)}
    found: list[Finding] = []
    for offset, grant in enumerate(storage.grants):
        if first_allow + offset in deciding:
            continue
        where = (*grant.path, "uri")
        start = paths.automaton.states[starts[grant.guest]]
        deciders = {rules[index] for index in paths.automaton.classes[start[2]].rules}
        builtins = [rule for rule in deciders if rule.kind is RuleKind.BUILTIN]
        if start[4] & UNIFORM and len(builtins) == len(deciders):
            problem = f"dead rule: {builtins[0].id} refuses everything here: {builtins[0].summary}"
            found.append(document.source.finding("dead-rule", where, problem=problem))
        else:
            problem = "dead rule: other rules already grant or refuse all that it names"
            finding = document.source.finding("dead-rule", where, problem=problem)
            found.append(replace(finding, severity=Severity.WARNING))
    return found


def _plan(
    document: PolicyDocument, rules: tuple[Rule, ...], mounts: list[tuple[str, MountRules]], paths: Determinised
) -> Plan:
    model = document.model
    permissions = model.permissions
    mode = Mode(model.mode)
    plan = Plan(
        name=model.metadata.name,
        policy_digest=document.digest,
        plan_digest="",
        mode=mode,
        match_digests=model.match.digest if model.match else (),
        match_names=model.match.name if model.match else (),
        rules=rules,
        denied_calls=_denied_calls(permissions.random == "none", rules),
        mounts=tuple(
            _mount(guest, mount, paths, number, mode) for number, (guest, mount) in enumerate(mounts)
        ),
        automaton=paths.automaton,
        environment=tuple((allow.key, allow.value or "") for allow in permissions.environment.allow),
        args=permissions.args,
        is_extra_args_allowed=permissions.extra_args,
        stdio=_stdio(document),
        clocks=_clocks(document),
        random=_random(permissions.random),
        limits=_limits(document),
        runtime=Runtime(Engine(model.runtime.engine), model.runtime.cache),
        audit=_audit(document),
    )
    return replace(plan, plan_digest=plan_digest(plan))


def _mount(guest: str, mount: MountRules, paths: Determinised, number: int, mode: Mode) -> Mount:
    is_host = mount.space is Space.HOST
    start = paths.starts[number]
    return Mount(
        guest=guest,
        host=mount.root if is_host else "",
        scratch="" if is_host else mount.root,
        start=start,
        is_split=not paths.automaton.states[start][4] & UNIFORM,
        is_mutable=mode is Mode.AUDIT or bool(paths.reach[number] & ~_READ_ONLY),
    )


def _denied_calls(is_random_none: bool, rules: tuple[Rule, ...]) -> tuple[tuple[str, int], ...]:  # noqa: FBT001
    index = {rule.id: number for number, rule in enumerate(rules)}
    random = (("random_get", index[fixed.RANDOM_NONE]),) if is_random_none else ()
    return (*random, *((call, index[fixed.NETWORK_NONE]) for call in fixed.SOCKET_CALLS))


def _stdio(document: PolicyDocument) -> Stdio:
    section = document.model.permissions.stdio
    return Stdio(StdinMode(section.stdin), StdoutMode(section.stdout), StdoutMode(section.stderr))


def _clocks(document: PolicyDocument) -> Clocks:
    section = document.model.permissions.clocks
    wall, wall_ns = _clock(section.wall)
    monotonic, monotonic_ns = _clock(section.monotonic)
    return Clocks(wall, wall_ns, monotonic, monotonic_ns, section.resolution)


def _clock(text: str) -> tuple[SourceKind, int]:
    word, _, moment = text.partition(":")
    match word:
        case "real":
            return SourceKind.REAL, 0
        case "none":
            return SourceKind.NONE, 0
        case _:
            return SourceKind.FIXED, parse_moment(moment)


def _random(text: str) -> Random:
    word, _, seed = text.partition(":")
    match word:
        case "real":
            return Random(SourceKind.REAL)
        case "none":
            return Random(SourceKind.NONE)
        case _:
            return Random(SourceKind.FIXED, parse_seed(seed))


def _limits(document: PolicyDocument) -> Limits:
    section = document.model.resources.limits
    return Limits(
        memory_bytes=section.memory,
        cpu_ms=section.cpu,
        wall_ms=section.timeout,
        fuel=section.fuel,
        module_bytes=section.module,
        compile_ms=section.compile,
        stack_bytes=section.stack,
        tables=section.tables,
        table_elements=section.table_elements,
        instances=section.instances,
        memories=section.memories,
        stdout_bytes=section.stdout,
        stderr_bytes=section.stderr,
        disk_bytes=section.disk,
        files=section.files,
        open_files=section.open_files,
        host_calls=section.host_calls,
    )


def _audit(document: PolicyDocument) -> Audit:
    section = document.model.audit
    return Audit(Sync(section.sync), section.on_full, Timestamps(section.timestamps), section.retain)
