"""What learning starts from: the facts of several runs, and how often and where something was seen in them.

What a fact is stands in `policy/facts.py`. INVARIANT: putting evidence together does not depend on its
order, and the same run counts once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from policy.facts import Fact


class LearnError(ValueError):
    """Nothing can be learned from what was handed over; says why in one sentence."""


@dataclass(frozen=True, slots=True)
class Run:
    """One execution, and what its records say."""

    id: str
    facts: tuple[Fact, ...]
    limit: str = ""  # the limit that ended it, as a receipt names it; empty for none


@dataclass(frozen=True, slots=True)
class Seen:
    """How often something was seen, in which runs, and where first."""

    calls: int = 0
    runs: frozenset[str] = frozenset()
    first: str = ""  # `EXECUTION:SEQ`

    def __or__(self, other: Seen) -> Seen:
        """Both together."""
        firsts = [each.first for each in (self, other) if each.first]
        return Seen(self.calls + other.calls, self.runs | other.runs, min(firsts, key=_place, default=""))

    @property
    def told(self) -> str:
        """`12 calls in 3 runs, first EXECUTION:SEQ`."""
        often = f"{counted(self.calls, 'call')} in {counted(len(self.runs), 'run')}"
        return f"{often}, first {self.first or 'unknown'}"


NOT_SEEN = Seen()
"""No evidence."""


def seen_in(run: Run, fact: Fact) -> Seen:
    """The evidence that one fact is."""
    return Seen(fact.count, frozenset({run.id}), fact.evidence)


def counted(number: int, word: str) -> str:
    """`1 call`, `2 calls`."""
    return f"{number} {word}" + ("" if number == 1 else "s")


def _place(evidence: str) -> tuple[str, int, str]:
    execution, _, number = evidence.rpartition(":")
    return execution, int(number) if number.isdecimal() else 0, evidence
