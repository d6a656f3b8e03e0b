"""Everything that can go wrong with the log, as errors that carry fields.

Each class writes its own sentence; nothing here prints or exits. What is done about an error is
decided by whoever runs an execution. Guest text in a message is cut and made inert.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from audit.inert import inert

if TYPE_CHECKING:
    from pathlib import Path

_SHOWN = 80  # characters of an input that are repeated in a message


class AuditError(Exception):
    """Root of the errors of this package."""


class WriteError(AuditError):
    """The log could not be written; nothing that follows may run unrecorded."""

    def __init__(self, path: Path, problem: str) -> None:
        """Say which file could not be written, and why."""
        super().__init__(f"{path}: the audit log could not be written: {problem}")
        self.path = path
        self.problem = problem


class LogFullError(WriteError):
    """The disk takes nothing now and may do so later: what was asked for can be asked for again.

    Nothing of it counts as written, and nothing that was acknowledged is lost.
    """


class LogLostError(WriteError):
    """Somebody removed, replaced or cut a log file: what was durable in it may be gone."""


_PASSING = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EIO,
        errno.EFBIG,
        errno.ENOMEM,
        errno.EMFILE,
        errno.ENFILE,
    }
)
"""What a disk, or a machine, says of a state that may pass."""


def write_error(path: Path, err: OSError) -> WriteError:
    """Give the error for what the system said of `path`: LogFullError if that may pass."""
    kind = LogFullError if err.errno in _PASSING else WriteError
    return kind(path, err.strerror or str(err))


class OrderError(AuditError):
    """Records were handed over out of order: the caller's fault, nothing was written."""

    def __init__(self, exec_id: str, expected: int, found: int) -> None:
        """Say which sequence number was due, and which one came."""
        super().__init__(f"execution {exec_id}: expected sequence number {expected}, found {found}")
        self.exec_id = exec_id
        self.expected = expected
        self.found = found


class UnknownExecutionError(AuditError):
    """Records were handed over for an execution that was not begun, or is over."""

    def __init__(self, exec_id: str) -> None:
        """Name the execution."""
        super().__init__(f"execution {exec_id[:_SHOWN]} was not begun, or is over")
        self.exec_id = exec_id


class FormatError(AuditError):
    """A stored value does not have the form that this version writes."""

    def __init__(self, where: str, expected: str, found: object) -> None:
        """Say where the value is, what was expected and what is there."""
        shown = inert(repr(found))[:_SHOWN]
        super().__init__(f"{where}: expected {expected}, found `{shown}`")
        self.where = where
        self.expected = expected
        self.found = shown


class FilterError(AuditError):
    """A query asks for something that has no meaning."""

    def __init__(self, field: str, expected: str, found: object) -> None:
        """Say which field of the filter it is, what was expected and what was given."""
        shown = inert(str(found))[:_SHOWN]
        super().__init__(f"{field}: expected {expected}, found `{shown}`")
        self.field = field
        self.expected = expected
        self.found = shown


class QueryError(AuditError):
    """A query could not be answered: a segment is missing or damaged, or memory ran out."""

    def __init__(self, problem: str) -> None:
        """Say what the engine reported, made inert."""
        super().__init__(f"the audit log could not be read: {inert(problem)[:400]}")
        self.problem = problem


class OutOfTimeError(QueryError):
    """A query was stopped because it took longer than it may."""

    def __init__(self, seconds: float) -> None:
        """Say how long it may take, and what to do."""
        super().__init__(
            f"the question took more than {seconds:g} s: ask for less, as by a time or an execution"
        )
        self.seconds = seconds
