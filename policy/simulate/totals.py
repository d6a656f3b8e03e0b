"""Budgets of a plan against what executions used: sums, where `verdicts.py` looks at one call at a time.

What a run uses of time and memory is not in records and is not replayed. INVARIANT: calls that the plan
refuses use nothing, and an execution counts as one that exceeds a limit only if its records show it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from policy import fixed
from policy.calls import CALL_CODES
from policy.plan import UNLIMITED, Plan, Right
from policy.simulate.columns import NONE, Bools, FactColumns, Ints, by_call
from policy.simulate.judge import Verdict
from policy.simulate.reach import Targets
from policy.simulate.verdicts import Verdicts

_EXAMPLES: Final = 5
_CREATE_BIT: Final = Right.CREATE.bit_length() - 1
_CREAT, _EXCL, _ABSENT = 1, 4, 0x8000
_NOWHERE: Final = -2  # no text has this number
_IS_WRITE: Final = by_call("fd_write", "fd_pwrite")
_IS_MAKING: Final = by_call("path_create_directory", "path_symlink", "path_link")
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
    written = np.flatnonzero(happens & _IS_WRITE[columns.call])
    on = columns.target[written]
    in_file = written[targets.is_path[on]]
    out, err = (written[on == targets.words.get(name, _NOWHERE)] for name in ("stdout", "stderr"))
    made = np.flatnonzero(happens & _makes(columns))
    limits, count, moved, done = plan.limits, columns.count, columns.bytes_out, columns.done
    sums = [
        (
            str(fixed.LIMIT_HOST_CALLS),
            "calls",
            limits.host_calls,
            np.flatnonzero(columns.execution >= 0),
            count,
        ),
        (str(fixed.LIMIT_STDOUT), "bytes", limits.stdout_bytes, out, moved),
        (str(fixed.LIMIT_STDERR), "bytes", limits.stderr_bytes, err, moved),
        (str(fixed.LIMIT_DISK), "bytes", limits.disk_bytes, in_file, moved),
        (str(fixed.LIMIT_FILES), "files", limits.files, made, done),
    ]
    by_create = _create_rule(columns, targets, made)
    for index, rule in enumerate(plan.rules):
        if rule.max_bytes != UNLIMITED:
            sums.append((str(rule.id), "bytes", rule.max_bytes, in_file[found.rule[in_file] == index], moved))
        if rule.max_files != UNLIMITED:
            sums.append((str(rule.id), "files", rule.max_files, made[by_create == index], done))
    results = (
        _exceeded(columns, name, what, allowed=allowed, used=_used(columns, rows, amount))
        for name, what, allowed, rows, amount in sums
        if allowed != UNLIMITED
    )
    return tuple(each for each in results if each is not None)


def _used(columns: FactColumns, rows: Ints, amount: Ints) -> Ints:
    """The sum by execution."""
    used = np.zeros(len(columns.executions), np.int64)
    np.add.at(used, columns.execution[rows], amount[rows])
    return used


def _exceeded(columns: FactColumns, name: str, what: str, *, allowed: int, used: Ints) -> Exceeded | None:
    over = np.flatnonzero(used > allowed)
    if not len(over):
        return None
    most = over[np.argsort(-used[over], kind="stable")][:_EXAMPLES]
    examples = tuple((columns.executions[place], int(used[place])) for place in most.tolist())
    return Exceeded(name, what, allowed, len(over), examples)


def _makes(columns: FactColumns) -> Bools:
    """Calls that make a file, a directory or a link where they succeed."""
    is_new = (columns.flags & (_CREAT | _EXCL)) == (_CREAT | _EXCL)
    opens = (columns.call == _OPEN) & (is_new | ((columns.flags & _ABSENT) != 0))
    return np.asarray(opens | _IS_MAKING[columns.call])


def _create_rule(columns: FactColumns, targets: Targets, rows: Ints) -> Ints:
    """Which rule's budget of files each of `rows` spends: that of the first mount which allows to make it."""
    call = columns.call[rows]
    place = np.where(call == _LINK, columns.target2[rows], columns.target[rows])
    bit = np.where(call == _SYMLINK, Right.SYMLINK.bit_length() - 1, _CREATE_BIT)
    found = np.full(len(rows), NONE, np.int64)
    for reach in targets.reaches:
        kind = reach.kind[place]
        is_ok = (kind >= 0) & ((targets.rights[kind] >> bit) & 1 == 1) & (found == NONE)
        found = np.where(is_ok, targets.rules[kind, bit], found)
    return found
