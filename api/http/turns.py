"""Turns at what takes long or stays: so many at once for all, and fewer for any one key.

What takes a turn says so itself; runs have limits of their own in `runs.py`, exports in `api/exports.py`.
INVARIANT: one key never has all the turns of a kind, and a turn that was taken is given back once, whoever
ends it.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from api.http.problems import Problem

if TYPE_CHECKING:
    from types import TracebackType


class Turn:
    """One turn, which lasts until it is ended; thread-safe."""

    def __init__(self, turns: Turns, mark: str) -> None:
        """Hold what was taken of `turns` for the key with this mark."""
        self._turns, self._mark = turns, mark
        self._lock = threading.Lock()
        self._is_over = False

    def end(self) -> None:
        """Make room for another; a second call does nothing."""
        with self._lock:
            was_over, self._is_over = self._is_over, True
        if not was_over:
            self._turns._give_back(self._mark)  # noqa: SLF001  # the two are one thing

    def __enter__(self) -> Self:
        """Give the turn itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.end()


class Turns:
    """The turns of one kind; thread-safe."""

    def __init__(self, problem: str, what: str, *, most: int, most_of_one: int, retry_s: int) -> None:
        """Give `most` at once, `most_of_one` of them to one key; `problem` and `what` are for who gets none.

        Raises ValueError where one key could have them all.
        """
        if not 0 < most_of_one < most:
            raise ValueError("one key must not be able to take all turns")
        self.most, self.most_of_one = most, most_of_one
        self._problem, self._what, self._retry_s = problem, what, retry_s
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()

    def take(self, mark: str) -> Turn:
        """Give a turn to the key with this mark, `Key.mark`; raises Problem, and never waits."""
        with self._lock:
            if self._taken[mark] >= self.most_of_one:
                raise self._none(
                    f"this key has {self.most_of_one} {self._what} going on, and may have no more"
                )
            if self._taken.total() >= self.most:
                raise self._none(f"{self.most} {self._what} are going on")
            self._taken[mark] += 1
        return Turn(self, mark)

    def __len__(self) -> int:
        """Count those that are taken."""
        with self._lock:
            return self._taken.total()

    def _give_back(self, mark: str) -> None:
        with self._lock:
            self._taken[mark] -= 1
            if not self._taken[mark]:
                del self._taken[mark]  # keys come and go

    def _none(self, detail: str) -> Problem:
        return Problem(self._problem, detail, headers={"Retry-After": str(self._retry_s)})


def _tails() -> Turns:
    return Turns("too-many-tails", "callers that follow the log", most=16, most_of_one=4, retry_s=10)


def _streams() -> Turns:
    return Turns("too-many-streams", "streamed exports", most=8, most_of_one=2, retry_s=10)


# together fewer than the 40 threads that answer requests: however slow these are, the others are answered
def _pages() -> Turns:
    return Turns("too-many-pages", "questions for events", most=24, most_of_one=8, retry_s=1)


def _questions() -> Turns:
    return Turns("too-many-questions", "questions for totals", most=12, most_of_one=4, retry_s=1)


def _checks() -> Turns:
    return Turns("too-many-checks", "verifications of the log", most=2, most_of_one=1, retry_s=10)


@dataclass(frozen=True, slots=True)
class AllTurns:
    """The turns of one service."""

    tails: Turns = field(default_factory=_tails)  # each asks the log again and again
    streams: Turns = field(default_factory=_streams)  # each has a thread of its own, and some memory
    pages: Turns = field(default_factory=_pages)  # each looks for some seconds at most
    questions: Turns = field(default_factory=_questions)  # each may take `WASMGATE_AUDIT_QUERY_S`
    checks: Turns = field(default_factory=_checks)  # each reads all of the log
