"""Differences in the trail that is kept: they change no answer to any call, and say so.

Everything else that is one value in a plan is compared in `sections.py`. INVARIANT: two plans with different
audits have a change here, and what keeps less is `weaker`, never `wider`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy.calls import CALLS
from policy.diff.change import Change, Direction
from policy.errors import printable
from policy.plan_audit import Kept, Level, Payload, Sync, Timestamps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.plan import Plan
    from policy.plan_audit import Audit, Mask

# From the least evidence to the most.
_SYNC = (Sync.BATCH, Sync.DENY, Sync.ALL)
_TIMESTAMPS = (Timestamps.COARSE, Timestamps.AUTO, Timestamps.EXACT)
_LEVELS = (Level.COUNTS, Level.SUMMARY, Level.CALLS)
_KEPT = (Kept.NONE, Kept.DIGEST, Kept.HEAD, Kept.FULL)


def audit_changes(a: Plan, b: Plan) -> Iterator[Change]:
    """Every difference between the trails of two plans, in the order of the document."""
    one, other = a.audit, b.audit
    yield from _by_call(one, other)
    yield from _masks(one.mask, other.mask)
    yield from _ordered(
        "sync", (str(one.sync), str(other.sync)), _SYNC.index(other.sync) - _SYNC.index(one.sync)
    )
    if one.on_full_ms != other.on_full_ms:
        yield _change("on_full_ms", (str(one.on_full_ms), str(other.on_full_ms)), Direction.CHANGED)
    ranks = _TIMESTAMPS.index(one.timestamps), _TIMESTAMPS.index(other.timestamps)
    yield from _ordered("timestamps", (str(one.timestamps), str(other.timestamps)), ranks[1] - ranks[0])
    days = one.retain_days, other.retain_days
    yield from _ordered("retain_days", (str(days[0]), str(days[1])), days[1] - days[0])


def _by_call(one: Audit, other: Audit) -> Iterator[Change]:
    """Levels and payloads, calls that change alike in one change."""
    found: dict[tuple[str, str, str, Direction], list[str]] = {}
    for name in (call.name for call in CALLS):
        before, after = one.terms(name), other.terms(name)
        ranks = _LEVELS.index(after.level) - _LEVELS.index(before.level)
        _note(found, ("level", str(before.level), str(after.level)), ranks, name)
        kept = _amount(after.payload), _amount(before.payload)
        ranks = (kept[0] > kept[1]) - (kept[0] < kept[1])
        _note(found, ("payload", str(before.payload), str(after.payload)), ranks, name)
    for (what, before_text, after_text, direction), names in found.items():
        shown = what if len(names) == len(CALLS) else f"{what} of {', '.join(names)}"
        yield _change(shown, (before_text, after_text), direction)


def _note(
    found: dict[tuple[str, str, str, Direction], list[str]], texts: tuple[str, str, str], rank: int, name: str
) -> None:
    if rank:
        direction = Direction.STRONGER if rank > 0 else Direction.WEAKER
        found.setdefault((*texts, direction), []).append(name)


def _amount(payload: Payload) -> tuple[int, int]:
    return _KEPT.index(payload.kept), payload.head_bytes


def _masks(one: tuple[Mask, ...], other: tuple[Mask, ...]) -> Iterator[Change]:
    """Of masks for paths the first that fits counts, so more of them are more only behind the same ones."""
    if one == other:
        return
    direction = Direction.CHANGED
    if _hides_more(one, other):
        direction = Direction.WEAKER
    elif _hides_more(other, one):
        direction = Direction.STRONGER
    shown = [", ".join(str(mask) for mask in masks) or "nothing" for masks in (one, other)]
    yield _change("mask", (shown[0], shown[1]), direction)


def _hides_more(one: tuple[Mask, ...], other: tuple[Mask, ...]) -> bool:
    paths = [[mask for mask in masks if mask.column == "path"] for masks in (one, other)]
    return paths[1][: len(paths[0])] == paths[0] and set(one) <= set(other)


def _ordered(name: str, texts: tuple[str, str], rank: int) -> Iterator[Change]:
    if rank:
        yield _change(name, texts, Direction.STRONGER if rank > 0 else Direction.WEAKER)


def _change(name: str, texts: tuple[str, str], direction: Direction) -> Change:
    before, after = (printable(text) for text in texts)
    trail = {Direction.WEAKER: "weaker trail: ", Direction.STRONGER: "stronger trail: "}.get(direction, "")
    return Change(
        direction=direction,
        area="audit",
        what=f"{trail}{name}: {after}, not {before}",
        answer_a=before,
        answer_b=after,
    )
