"""Waiting for an audit log whose disk is full, read-only or failing: for how long, and how often it is asked.

What is waited with is `executor.py` while a guest runs, and `stage.py` and `runner.py` once it is gone.
INVARIANT: the time that a policy gives is counted from the first refusal of the disk, and ends.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from audit.errors import LogFullError

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")

PAUSE_S = 0.02
"""Between two tries: what a person who makes room does not notice, and a disk hardly."""


@dataclass(slots=True)
class Patience:
    """How long a run may wait for its log."""

    wait_ms: int
    _since: float | None = None  # when the disk refused first; None: it does not
    _before_s: float = 0.0  # waited before that, when it refused and took something again

    @property
    def waited_s(self) -> float:
        """How long it was waited so far, in all."""
        return self._before_s + (0.0 if self._since is None else time.monotonic() - self._since)

    @property
    def is_waiting(self) -> bool:
        """Whether the disk refused, and took nothing since."""
        return self._since is not None

    @property
    def is_over(self) -> bool:
        """Whether it has refused for longer than the run may wait."""
        return self._since is not None and time.monotonic() - self._since >= self.wait_ms / 1_000

    def refused(self) -> None:
        """Note that the disk takes nothing."""
        self._since = time.monotonic() if self._since is None else self._since

    def taken(self) -> None:
        """Note that it does."""
        self._before_s, self._since = self.waited_s, None

    def insist(self, act: Callable[[], _T]) -> _T:
        """Try until it works, or raise the disk's LogFullError when the time is over."""
        while True:
            try:
                done = act()
            except LogFullError:
                self.refused()
                if self.is_over:
                    raise
                time.sleep(PAUSE_S)
            else:
                self.taken()
                return done
