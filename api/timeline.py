"""A picture of a run in text: how many host calls of each kind were made when, and where some were refused.

The rows come from the audit log. INVARIANT: each call that was read counts in exactly one column of one line,
and a column with any call in it is never blank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from audit.call_names import bare
from policy.calls import CALLS
from policy.component_calls import base_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from api.terminal import Paint
    from audit.query import Row

COLUMNS = 48
MAX_ROWS = 100_000  # of one execution; more would say nothing more at this width
_BLOCKS = "▁▂▃▄▅▆▇█"
_PLAIN_BLOCKS = ".:-=+*#@"
_CAPABILITY = {call.name: call.capability for call in CALLS}
_ORDER = tuple(dict.fromkeys(call.capability for call in CALLS))


@dataclass(frozen=True, slots=True)
class Lane:
    """The calls of one capability."""

    capability: str
    counts: tuple[int, ...]  # calls in each column
    refused: tuple[int, ...]

    @property
    def total(self) -> int:
        """How many calls."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class Timeline:
    """The calls of a run, by capability and time."""

    first_ns: int
    span_ns: int  # from the first call to the last
    lanes: tuple[Lane, ...]
    is_complete: bool  # all calls of the run were read

    def as_json(self) -> dict[str, object]:
        """The same as plain values."""
        lanes = [
            {"capability": lane.capability, "counts": list(lane.counts), "refused": list(lane.refused)}
            for lane in self.lanes
        ]
        return {
            "first_t_ns": self.first_ns,
            "span_ns": self.span_ns,
            "is_complete": self.is_complete,
            "lanes": lanes,
        }


def timeline(rows: Iterable[Row], *, columns: int = COLUMNS) -> Timeline:
    """Sort rows into columns; takes `MAX_ROWS` rows at most."""
    seen: list[tuple[int, str, bool]] = []
    is_complete = True
    for row in rows:
        if len(seen) == MAX_ROWS:
            is_complete = False
            break
        call = base_name(bare(str(row["call"])))
        seen.append((cast("int", row["t_ns"]), _CAPABILITY.get(call, "unknown"), row["decision"] != "allow"))
    first = min((moment for moment, _, _ in seen), default=0)
    span = max((moment for moment, _, _ in seen), default=0) - first
    counts: dict[str, list[int]] = {}
    refused: dict[str, list[int]] = {}
    for moment, capability, is_refused in seen:
        column = (moment - first) * columns // (span + 1)
        counts.setdefault(capability, [0] * columns)[column] += 1
        refused.setdefault(capability, [0] * columns)[column] += is_refused
    names = sorted(counts, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))
    lanes = tuple(Lane(name, tuple(counts[name]), tuple(refused[name])) for name in names)
    return Timeline(first, span, lanes, is_complete)


def render_timeline(picture: Timeline, *, paint: Paint, is_unicode: bool) -> list[str]:
    """The picture as lines; heights compare within a lane, marks below show where calls were refused."""
    if not picture.lanes:
        return ["no host calls"]
    width = len(picture.lanes[0].counts)
    span_ms = picture.span_ns / 1_000_000
    lines = [f"calls over {span_ms:.1f} ms, {span_ms / width:.2g} ms a column"]
    for lane in picture.lanes:
        bar = "".join(
            paint(mark, "red") if lane.refused[at] else mark
            for at, mark in enumerate(_bar(lane.counts, is_unicode=is_unicode))
        )
        refused = sum(lane.refused)
        note = f", {paint(f'{refused} refused', 'red')}" if refused else ""
        lines.append(f"  {lane.capability:<12}|{bar}| {lane.total}{note}")
    marks = "".join("x" if any(lane.refused[at] for lane in picture.lanes) else " " for at in range(width))
    if marks.strip():
        lines.append(f"  {'refused':<12}|{paint(marks, 'red')}|")
    if not picture.is_complete:
        lines.append(f"  the first {MAX_ROWS} calls only")
    return lines


def _bar(counts: tuple[int, ...], *, is_unicode: bool) -> list[str]:
    blocks = _BLOCKS if is_unicode else _PLAIN_BLOCKS
    most = max(counts)
    return [blocks[(count * len(blocks) - 1) // most] if count else " " for count in counts]
