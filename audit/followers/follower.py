"""One follower: does its work step by step, remembers how far it is, and waits longer after each failure.

What a step sends is its work's matter; when the next one is due is said here, and who waits for it is
`api/followers.py`. INVARIANT: whatever goes wrong in a step becomes a problem that is told, and is tried
again; the position stays where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from typing import Final, Protocol

import pyarrow as pa

from audit.errors import AuditError
from audit.followers.state import State, StateFile

FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 300.0


class Work(Protocol):
    """What one follower does."""

    def step(self, state: State) -> State | None:
        """Send what comes next, and give the state behind it; None if nothing is to be sent now.

        Raises AuditError, OSError, ValueError or an error of Arrow: then nothing counts as sent.
        """


class Step(Enum):
    """What came of a step."""

    SENT = "sent"
    IDLE = "idle"
    FAILED = "failed"


class Follower:
    """Does the work of one follower; for one thread, which holds `file`."""

    def __init__(self, work: Work, file: StateFile, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Read how far it is."""
        self._work, self._file, self._clock = work, file, clock
        self.state = file.load()
        self._not_before = 0.0

    @property
    def name(self) -> str:
        """Its name in the file of followers."""
        return self._file.name

    @property
    def wait_s(self) -> float:
        """Seconds until a step makes sense after a failure; 0 when it does now."""
        return max(self._not_before - self._clock(), 0.0)

    def step(self) -> Step:
        """Do one step; raises WriteError only if the state can't be kept."""
        try:
            done = self._work.step(self.state)
        except (AuditError, OSError, ValueError, pa.ArrowException) as err:
            self._fail(str(err))
            return Step.FAILED
        if done is None:
            if self.state.problem is not None:
                self._keep(replace(self.state, failures=0, problem=None))
            return Step.IDLE
        self._keep(replace(done, failures=0, problem=None))
        return Step.SENT

    def _fail(self, problem: str) -> None:
        failures = self.state.failures + 1
        # capped before the power: after a year of failures it would be a large number
        wait_s = min(FIRST_WAIT_S * 2 ** min(failures - 1, 16), LONGEST_WAIT_S)
        self._not_before = self._clock() + wait_s
        self._keep(replace(self.state, failures=failures, problem=problem))

    def _keep(self, state: State) -> None:
        # INVARIANT: on disk first: a state that only this process knows is not relied on
        self._file.save(state)
        self.state = state
