"""What can be wrong with followers: the file that names them, and the places that they send to.

Each class writes its own sentence. INVARIANT: no sentence holds a secret, or more of an address than scheme,
host and port; text from elsewhere is cut and inert.
"""

from __future__ import annotations

from audit.errors import AuditError
from audit.inert import inert

_SHOWN = 200  # characters of what somebody else said


class FollowerError(AuditError):
    """Root of the errors of this package."""


class FollowersFileError(FollowerError):
    """The file that names the followers is wrong; carries every fault, each one a sentence."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        """Keep the sentences, inert and cut."""
        self.faults = tuple(inert(fault)[:400] for fault in faults)
        super().__init__("\n".join(self.faults))


class SinkError(FollowerError):
    """A receiver did not take what was sent: it is sent again later."""

    def __init__(self, where: str, problem: str) -> None:
        """Say who it is, and what happened."""
        super().__init__(f"{inert(where)[:_SHOWN]}: {inert(problem)[:_SHOWN]}")
        self.where = where
        self.problem = problem


class HistoryError(FollowerError):
    """The log is not the continuation of what this follower has sent before: it sends nothing more."""

    def __init__(self, sent: int, problem: str) -> None:
        """Say how many leaves it has sent, and what does not fit."""
        super().__init__(
            f"a tree of {sent} leaves was sent, and {problem}: the log was cut or replaced; compare it with"
            " what was sent, then remove the follower's state to begin again"
        )
        self.sent = sent


class BusyFollowerError(FollowerError):
    """Another process follows already."""

    def __init__(self, name: str) -> None:
        """Name the follower."""
        super().__init__(f"{name}: another process follows already")
        self.name = name
