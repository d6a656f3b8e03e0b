"""What can go wrong with another machine that holds the log, as errors that carry fields.

The rest of the errors is `audit/errors.py`. INVARIANT: no sentence holds a password, a key or a token.
"""

from __future__ import annotations

from audit.errors import AuditError
from audit.inert import inert

_SHOWN = 300


class BackendError(AuditError):
    """The name of a backend, or of a bucket, has no meaning."""

    def __init__(self, expected: str) -> None:
        """Say what was expected; what was given is not repeated, since it may hold a password."""
        super().__init__(f"expected {expected}")
        self.expected = expected


class LoadError(AuditError):
    """A segment could not be loaded, and does not count as loaded."""

    def __init__(self, segment: str, problem: str) -> None:
        """Say which one, and why."""
        super().__init__(f"{inert(segment)[:_SHOWN]}: not loaded: {inert(problem)[:_SHOWN]}")
        self.segment = segment
        self.problem = problem


class StoreError(AuditError):
    """Object storage did not do what was asked; what is on this machine is as it was."""

    def __init__(self, where: str, problem: str) -> None:
        """Say where it happened, and what it said."""
        super().__init__(f"{inert(where)[:_SHOWN]}: {inert(problem)[:_SHOWN]}")
        self.where = where
        self.problem = problem


class ConflictError(StoreError):
    """What lies under a name is not what the log names; it was left as it is."""
