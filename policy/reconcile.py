"""What a module imports beside what a policy grants: what it would lack, and what it could never use.

Imports are read in `sandbox/`, and what records show of a policy's use is judged in `tighten.py`. What is
said holds before any run; INVARIANT: a grant is called idle only if no import of the module could use it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Final

from policy.calls import CALL_CODES, CALLS, MODULE
from policy.plan import RIGHTS, Right, RuleKind, SourceKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from policy.plan import Plan

_ON_DESCRIPTORS: Final = {
    Right.READ: frozenset({"fd_read", "fd_pread"}),
    Right.LIST: frozenset({"fd_readdir"}),
    Right.WRITE: frozenset(
        {"fd_write", "fd_pwrite", "fd_allocate", "fd_filestat_set_size", "fd_filestat_set_times"}
    ),
    Right.APPEND: frozenset({"fd_write"}),
}
"""What can use a right on a file that was opened."""

_ON_PATHS: Final = {
    Right.READ: frozenset({"path_readlink", "path_link"}),
    Right.CREATE: frozenset({"path_open", "path_create_directory", "path_link", "path_rename"}),
    Right.WRITE: frozenset({"path_filestat_set_times", "path_link", "path_open"}),
    Right.DELETE: frozenset({"path_unlink_file", "path_remove_directory", "path_rename"}),
    Right.SYMLINK: frozenset({"path_symlink"}),
}
"""What can use a right on a path; `path_open` can cut a file to nothing and make one."""

_ALL = reduce(or_, RIGHTS)


@dataclass(frozen=True, slots=True)
class Lack:
    """An import that the policy gives nothing."""

    name: str
    capability: str
    why: str


@dataclass(frozen=True, slots=True)
class Idle:
    """A grant that no import can use."""

    field: str  # of the document
    what: str
    needs: tuple[str, ...]  # imports of which one would be needed


@dataclass(frozen=True, slots=True)
class Change:
    """An import that one version of a module has and the other has not."""

    name: str
    capability: str
    rights: Right  # that the call takes on a path

    @property
    def meaning(self) -> str:
        """What it gives to whoever may call it."""
        return f"{self.capability} ({words(self.rights)})" if self.rights else self.capability


@dataclass(frozen=True, slots=True)
class Versions:
    """What is different in the imports of a newer version."""

    added: tuple[Change, ...]
    removed: tuple[Change, ...]
    new_capabilities: tuple[str, ...]  # that no import of the older version was about
    gone_capabilities: tuple[str, ...]

    @property
    def needs_more(self) -> bool:
        """Whether the newer version can ask for something that the older one could not."""
        return bool(self.added)


def lacking(imports: Iterable[str], plan: Plan) -> tuple[Lack, ...]:
    """The host calls among `imports` that `plan` gives nothing; sorted by name."""
    found: list[Lack] = []
    denied = dict(plan.denied_calls)
    for name in sorted({*imports} & {*CALL_CODES}):
        call = CALLS[CALL_CODES[name]]
        if name in denied:
            rule = plan.rules[denied[name]]
            found.append(Lack(name, call.capability, rule.summary))
            continue
        why = _why_nothing(name, plan)
        if why:
            found.append(Lack(name, call.capability, why))
    return tuple(found)


def _why_nothing(name: str, plan: Plan) -> str:
    match name:
        case "environ_get":
            return "" if plan.environment else "the policy sets no variables"
        case "clock_time_get":
            kinds = {"wall": plan.clocks.wall, "monotonic": plan.clocks.monotonic}
            gone = [clock for clock, kind in kinds.items() if kind is SourceKind.NONE]
            return f"the policy gives no {' and no '.join(gone)} clock" if gone else ""
        case _ if name.startswith("path_") or name == "fd_readdir":
            return _no_path(name, plan)
        case _:
            return ""


def _no_path(name: str, plan: Plan) -> str:
    call = CALLS[CALL_CODES[name]]
    if not plan.mounts:
        return "the policy has no mounts"
    for rights in (call.rights, call.rights2):
        if rights and not any(each.rights & rights == rights for each in plan.automaton.classes):
            return f"no path of the policy allows to {words(rights)}"
    if not any(each.rights for each in plan.automaton.classes):
        return "no path of the policy allows anything"
    return ""


def idle(imports: Iterable[str], plan: Plan, rights: Mapping[str, Right]) -> tuple[Idle, ...]:
    """The grants of `plan` that no import can use; `rights` are those of each allow rule by its id."""
    names = frozenset(imports)
    found: list[Idle] = []
    for rule in plan.rules:
        if rule.kind is not RuleKind.ALLOW or rule.id not in rights:
            continue
        for right in RIGHTS:
            users = _users(right)
            if right & rights[rule.id] and not _can_use(right, names):
                found.append(Idle(f"{rule.field}.access", f"{words(right)} in the rule {rule.id}", users))
    return (*found, *_idle_settings(names, plan))


def _users(right: Right) -> tuple[str, ...]:
    return tuple(sorted({*_ON_PATHS.get(right, ()), *_ON_DESCRIPTORS.get(right, ())}))


def _can_use(right: Right, names: frozenset[str]) -> bool:
    on_descriptor = "path_open" in names and bool(names & _ON_DESCRIPTORS.get(right, frozenset()))
    return on_descriptor or bool(names & _ON_PATHS.get(right, frozenset()))


def _idle_settings(names: frozenset[str], plan: Plan) -> tuple[Idle, ...]:
    clocks = ("clock_res_get", "clock_time_get")
    settings: tuple[tuple[bool, str, str, tuple[str, ...]], ...] = (
        (bool(plan.environment), "permissions.environment.allow", "variables", ("environ_get",)),
        (bool(plan.args), "permissions.args", "arguments", ("args_get",)),
        (plan.stdio.stdin != "none", "permissions.stdio.stdin", "standard input", ("fd_read", "fd_pread")),
        (
            plan.stdio.stdout != "none",
            "permissions.stdio.stdout",
            "standard output",
            ("fd_write", "fd_pwrite"),
        ),
        (
            plan.stdio.stderr != "none",
            "permissions.stdio.stderr",
            "standard error",
            ("fd_write", "fd_pwrite"),
        ),
        (plan.clocks.wall is not SourceKind.NONE, "permissions.clocks.wall", "the wall clock", clocks),
        (
            plan.clocks.monotonic is not SourceKind.NONE,
            "permissions.clocks.monotonic",
            "the monotonic clock",
            (*clocks, "poll_oneoff"),
        ),
        (plan.random.kind is not SourceKind.NONE, "permissions.random", "random bytes", ("random_get",)),
    )
    return tuple(
        Idle(field, what, users)
        for is_granted, field, what, users in settings
        if is_granted and not names & set(users)
    )


def versions(old: Iterable[tuple[str, str]], new: Iterable[tuple[str, str]]) -> Versions:
    """How the imports of a newer version differ; each is the module and the name that it is imported by."""
    before, after = {*old}, {*new}
    added = tuple(_change(*each) for each in sorted(after - before))
    removed = tuple(_change(*each) for each in sorted(before - after))
    had = {_change(*each).capability for each in before}
    has = {_change(*each).capability for each in after}
    return Versions(added, removed, tuple(sorted(has - had)), tuple(sorted(had - has)))


def _change(module: str, name: str) -> Change:
    code = CALL_CODES.get(name) if module == MODULE else None
    if code is None:
        return Change(f"{module}.{name}", "outside WASI", Right(0))
    call = CALLS[code]
    return Change(name, call.capability, call.rights | call.rights2)


def words(rights: Right) -> str:
    """`read, list` for a mask of rights."""
    return ", ".join(str(right.name).lower() for right in RIGHTS if right & rights)
