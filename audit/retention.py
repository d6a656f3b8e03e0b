"""Which segments may be deleted, and why the others stay.

Nothing is read or deleted here: the catalogue tells what there is, `holds.py` what is held, and `pruning.py`
acts on the plan. INVARIANT: a segment goes only if every execution in it is over, is known to be kept for so
many days, and ended longer ago than that; and only if no hold covers any of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from audit.catalogue_tables import Retained, Stay
from audit.holds import Hold
from audit.times import day_of

DAY_NS = 86_400 * 1_000_000_000
_LAST_NS = 253_402_300_799 * 1_000_000_000  # the end of the year 9999: what text can say


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is asked for, and what is never done."""

    now_ns: int
    min_days: int = 0  # that everything is kept, whatever a policy says
    until_ns: int | None = None  # only what ended before that; None: all that may go


@dataclass(frozen=True, slots=True)
class Verdict:
    """One segment: whether it goes, and why."""

    segment: Retained
    is_going: bool
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of each segment, the earliest first."""

    verdicts: tuple[Verdict, ...]

    @property
    def going(self) -> tuple[Retained, ...]:
        """Give the segments that may be deleted."""
        return tuple(one.segment for one in self.verdicts if one.is_going)

    @property
    def staying(self) -> tuple[Verdict, ...]:
        """Give the others."""
        return tuple(one for one in self.verdicts if not one.is_going)


def plan(segments: Iterable[Retained], holds: Sequence[Hold], rules: Rules) -> Plan:
    """Decide on each segment."""
    return Plan(tuple(_verdict(one, holds, rules) for one in segments))


def free_from_ns(segment: Retained, stay: Stay, min_days: int) -> int | None:
    """Give the time from which on a segment is not kept for one of its executions; None: nobody knows."""
    if stay.ended_at_ns is None or stay.retain_days is None:
        return None
    # a clock that was set back must not shorten what is kept: the last record counts too
    ended_ns = max(stay.ended_at_ns, segment.t_max_ns)
    return ended_ns + max(stay.retain_days, min_days) * DAY_NS


def _verdict(segment: Retained, holds: Sequence[Hold], rules: Rules) -> Verdict:
    held = [hold for hold in holds if hold.scope.covers(segment)]
    if held:
        more = f" and {len(held) - 1} more" if len(held) > 1 else ""
        return Verdict(segment, is_going=False, why=f"on hold {held[0].hold_id}{more}")
    if not segment.stays:
        return Verdict(segment, is_going=False, why="its manifest names no execution")
    latest = 0
    for stay in segment.stays:
        free = free_from_ns(segment, stay, rules.min_days)
        if free is None:
            why = "is not over" if stay.ended_at_ns is None else "has no days of retention on record"
            return Verdict(segment, is_going=False, why=f"execution {stay.exec_id} {why}")
        latest = max(latest, free)
    if latest > rules.now_ns:
        why = f"kept until {day_of(min(latest, _LAST_NS))}"
        return Verdict(segment, is_going=False, why=why)
    last = max(segment.t_max_ns, *(stay.ended_at_ns or 0 for stay in segment.stays))
    if rules.until_ns is not None and last >= rules.until_ns:
        return Verdict(segment, is_going=False, why="not before the day that was asked for")
    return Verdict(segment, is_going=True, why=f"was kept until {day_of(min(latest, _LAST_NS))}")
