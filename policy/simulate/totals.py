"""Budgets of a plan against what executions used: sums, where `verdicts.py` looks at one call at a time.

What a run uses of time and memory is not in records and is not replayed. INVARIANT: calls that the plan
refuses use nothing, and an execution counts as one that exceeds a limit only if its records show it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from policy import fixed
from policy.calls import CALL_CODES
from policy.plan import UNLIMITED, Plan, Right
from policy.simulate.columns import NONE, Bools, FactColumns, Ints
from policy.simulate.judge import Verdict
from policy.simulate.reach import Targets
from policy.simulate.verdicts import Verdicts

_EXAMPLES: Final = 5
_CREATE_BIT: Final = Right.CREATE.bit_length() - 1
_CREAT, _EXCL, _ABSENT = 1, 4, 0x8000
_WRITES: Final = tuple(CALL_CODES[name] for name in ("fd_write", "fd_pwrite"))
_MAKES: Final = tuple(CALL_CODES[name] for name in ("path_create_directory", "path_symlink", "path_link"))
_OPEN, _LINK, _SYMLINK = CALL_CODES["path_open"], CALL_CODES["path_link"], CALL_CODES["path_symlink"]


@dataclass(frozen=True, slots=True)
class Exceeded:
    """A limit that some executions would run into."""

    limit: str  # id of the rule: `limit.stdout`, or the rule with the budget
    what: str  # `calls`, `bytes` or `files`
    allowed: int
    executions: int  # how many would
    examples: tuple[tuple[str, int], ...]  # those that used most, and how much


def exceeded(plan: Plan, columns: FactColumns, targets: Targets, found: Verdicts) -> tuple[Exceeded, ...]:
    """The limits that executions would exceed; nothing where the columns do not keep executions apart."""
    if not columns.executions:
        return ()
    happens = (found.verdict != int(Verdict.DENY)) & (columns.execution != NONE)
    limits = plan.limits
    is_write = happens & np.isin(columns.call, _WRITES)
    is_file = is_write & targets.is_path[columns.target]
    made = happens & _makes(columns)
    sums = [
        (fixed.LIMIT_HOST_CALLS, "calls", limits.host_calls, columns.execution != NONE, columns.count),
        (fixed.LIMIT_STDOUT, "bytes", limits.stdout_bytes, is_write & _on(columns, targets, "stdout"), None),
        (fixed.LIMIT_STDERR, "bytes", limits.stderr_bytes, is_write & _on(columns, targets, "stderr"), None),
        (fixed.LIMIT_DISK, "bytes", limits.disk_bytes, is_file, None),
        (fixed.LIMIT_FILES, "files", limits.files, made, columns.done),
    ]
    by_create = _create_rule(columns, targets)
    for index, rule in enumerate(plan.rules):
        if rule.max_bytes != UNLIMITED:
            sums.append((rule.id, "bytes", rule.max_bytes, is_file & (found.rule == index), None))
        if rule.max_files != UNLIMITED:
            sums.append((rule.id, "files", rule.max_files, made & (by_create == index), columns.done))
    results = (
        _exceeded(columns, str(name), what, allowed=allowed, used=_used(columns, rows, amount))
        for name, what, allowed, rows, amount in sums
        if allowed != UNLIMITED
    )
    return tuple(each for each in results if each is not None)


def _used(columns: FactColumns, rows: Bools, amount: Ints | None) -> Ints:
    """The sum by execution; of the bytes that came from the guest where no amount is given."""
    places = np.flatnonzero(rows)
    used = np.zeros(len(columns.executions), np.int64)
    np.add.at(used, columns.execution[places], (columns.bytes_out if amount is None else amount)[places])
    return used


def _exceeded(columns: FactColumns, name: str, what: str, *, allowed: int, used: Ints) -> Exceeded | None:
    over = np.flatnonzero(used > allowed)
    if not len(over):
        return None
    most = over[np.argsort(-used[over], kind="stable")][:_EXAMPLES]
    examples = tuple((columns.executions[place], int(used[place])) for place in most.tolist())
    return Exceeded(name, what, allowed, len(over), examples)


def _on(columns: FactColumns, targets: Targets, stream: str) -> Bools:
    place = targets.words.get(stream)
    return np.zeros(len(columns), np.bool_) if place is None else np.asarray(columns.target == place)


def _makes(columns: FactColumns) -> Bools:
    """Calls that make a file, a directory or a link where they succeed."""
    is_new = (columns.flags & (_CREAT | _EXCL)) == (_CREAT | _EXCL)
    opens = (columns.call == _OPEN) & (is_new | ((columns.flags & _ABSENT) != 0))
    return np.asarray(opens | np.isin(columns.call, _MAKES))


def _create_rule(columns: FactColumns, targets: Targets) -> npt.NDArray[np.int64]:
    """Which rule's budget of files is spent by a call that makes something, through the first mount."""
    found = np.full(len(columns), NONE, np.int64)
    place = np.where(columns.call == _LINK, columns.target2, columns.target)
    bit = np.where(columns.call == _SYMLINK, Right.SYMLINK.bit_length() - 1, _CREATE_BIT)
    for reach in targets.reaches:
        kind = reach.kind[place]
        is_ok = (kind >= 0) & ((targets.rights[kind] >> bit) & 1 == 1) & (found == NONE)
        found = np.where(is_ok, targets.rules[kind, bit], found)
    return found
