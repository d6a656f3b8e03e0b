"""Which rights a recorded call asked for on its target: the way back from a record to a question.

What a call asks for is decided in `sandbox/monitor/calls`; here the same is read off the record that it left,
for any number of records at once. INVARIANT: the plan that made a record gives the same verdict on the call
with these rights, unless something refused it that only a running guest shows (links, budgets, file types).

A call that was let through without a rule asked for nothing: a directory was opened, or there was no such
file, or the descriptor was unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from policy.calls import CALL_CODES, CALLS
from policy.plan import Right
from sandbox.monitor.calls.opening import ABSENT

Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]

_CREAT, _DIRECTORY, _EXCL, _TRUNC = 1, 2, 4, 8
_APPEND = 1 << 16
_FD_READ, _FD_WRITE = 1 << (34 + 1), 1 << (34 + 6)
_PATH_OPEN = CALL_CODES["path_open"]
_NOTHING = Right(0)
_RIGHTS = np.array([int(call.rights) for call in CALLS] + [0] * (256 - len(CALLS)), np.int64)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What records say, one entry each; a call that does not exist has a code that none has, below 256."""

    calls: Ints  # index into `policy.calls.CALLS`
    flags: Ints
    is_allowed: Bools  # neither refused nor let through only for the audit
    is_ruled: Bools  # a rule is named
    missing: Ints  # mask of the right that was missing; 0: none


def wants_of(recorded: Recorded) -> Ints:
    """The mask of rights that each call asked for on its (first) target."""
    fixed = _RIGHTS[recorded.calls]
    # what has no rights of its own asked for what it was refused for, as a file that may not even be seen
    fixed = np.where((fixed == 0) & ~recorded.is_allowed, recorded.missing, fixed)
    asked = np.where(recorded.calls == _PATH_OPEN, _opening(recorded), fixed)
    return np.where(recorded.is_allowed & ~recorded.is_ruled, 0, asked)


def wants(call: str, *, flags: int, is_allowed: bool, is_ruled: bool, missing: Right = _NOTHING) -> Right:
    """The same for one record; `call` is a name of `policy.calls.CALLS`."""
    one = Recorded(
        np.array([CALL_CODES[call]], np.int64),
        np.array([flags], np.int64),
        np.array([is_allowed]),
        np.array([is_ruled]),
        np.array([int(missing)], np.int64),
    )
    return Right(int(wants_of(one)[0]))


def _opening(recorded: Recorded) -> Ints:
    flags = recorded.flags
    is_directory = (flags & _DIRECTORY) != 0
    reads = ((flags & _FD_READ) != 0) & ~is_directory
    writing = np.where((flags & _APPEND) != 0, int(Right.APPEND), int(Right.WRITE))
    need = np.where((flags & _FD_WRITE) != 0, writing, 0)
    need |= np.where((flags & _TRUNC) != 0, int(Right.WRITE), 0)
    made = ((flags & (_CREAT | _EXCL)) == (_CREAT | _EXCL)) | ((flags & ABSENT) != 0)
    need |= np.where(made, int(Right.CREATE), 0)
    # what is only looked at needs nothing, or to be read if it is a file; refused without a look, it counts
    # as one
    looked = np.where(recorded.is_allowed, reads, ~is_directory)
    also = np.where(np.where(need != 0, reads, looked), int(Right.READ), 0)
    return np.bitwise_or(need, also).astype(np.int64)
