"""The charts of a report as geometry: rectangles and labels, which the page writes as inline SVG.

What is counted is `report_facts.py`; markup is made by the template alone. INVARIANT: the same facts give the
same numbers, every number is finite, and each chart has a sentence that says what it shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from audit.errors import FormatError
from audit.times import to_ns

if TYPE_CHECKING:
    from collections.abc import Iterable

    from api.report_facts import Bucket, Facts

WIDTH, HEIGHT, ROW = 680, 180, 20
_LABEL = 230  # of which rows of bars begin
_SHOWN_ROWS = 20
KINDS = ("files", "network", "time and chance", "process", "other")


@dataclass(frozen=True, slots=True)
class Box:
    """One rectangle; numbers are text, as they stand in the page."""

    x: str
    y: str
    width: str
    height: str
    kind: str  # class of the style sheet
    title: str


@dataclass(frozen=True, slots=True)
class Label:
    """One line of text."""

    x: str
    y: str
    anchor: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One chart."""

    name: str
    summary: str  # says it all to whoever can't see it
    width: str
    height: str
    boxes: tuple[Box, ...]
    labels: tuple[Label, ...]
    legend: tuple[tuple[str, str], ...] = ()  # class, text


def charts_of(facts: Facts) -> tuple[Chart, ...]:
    """Give the charts in the order of the page."""
    modules: dict[str, int] = {}
    rules: dict[str, int] = {}
    for one in facts.refused:
        modules[one.module] = modules.get(one.module, 0) + one.count
        rules[one.rule] = rules.get(one.rule, 0) + one.count
    return (
        _calls(facts),
        _bars("Refusals by module", modules),
        _bars("Refusals by rule", rules),
        _policies(facts),
        _coverage(facts),
    )


def _calls(facts: Facts) -> Chart:
    begin, end = to_ns(facts.period.begin), to_ns(facts.period.end)
    most = max((sum(one.counts.values()) for one in facts.timeline), default=0)
    boxes = tuple(box for one in facts.timeline for box in _stack(one, (begin, end, most), facts))
    total = sum(sum(one.counts.values()) for one in facts.timeline)
    kinds = {kind: sum(one.counts.get(kind, 0) for one in facts.timeline) for kind in KINDS}
    said = ", ".join(f"{kind} {count:,}" for kind, count in kinds.items() if count)
    return Chart(
        name="Calls by kind over time",
        summary=f"{total:,} calls in {len(facts.timeline):,} pieces of {facts.period.bucket_s:,} seconds that"
        f" have any; the most in one is {most:,}. {said or 'No calls.'}",
        width=str(WIDTH),
        height=str(HEIGHT + 20),
        boxes=boxes,
        labels=(
            Label("0", str(HEIGHT + 15), "start", facts.period.begin[:19]),
            Label(str(WIDTH), str(HEIGHT + 15), "end", facts.period.end[:19]),
            Label("0", "10", "start", f"{most:,}"),
        ),
        legend=tuple((_class(kind), kind) for kind in KINDS if kinds[kind]),
    )


def _stack(bucket: Bucket, scale: tuple[int, int, int], facts: Facts) -> Iterable[Box]:
    begin, end, most = scale
    at, size = to_ns(bucket.begin), facts.period.bucket_s * 1_000_000_000
    left, right = _x(at, begin, end), _x(at + size, begin, end)
    top = float(HEIGHT)
    for kind in KINDS:
        count = bucket.counts.get(kind, 0)
        height = (HEIGHT - 16) * count / most if most else 0.0
        if count:
            top -= height
            title = f"{bucket.begin[:19]}: {kind} {count:,}"
            yield Box(_n(left), _n(top), _n(max(right - left - 0.5, 0.5)), _n(height), _class(kind), title)


def _bars(name: str, counts: dict[str, int]) -> Chart:
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    shown, most, total = ordered[:_SHOWN_ROWS], max(counts.values(), default=0), sum(counts.values())
    boxes, labels = [], []
    for at, (text, count) in enumerate(shown):
        width = (WIDTH - _LABEL - 110) * count / most if most else 0.0
        boxes.append(
            Box(str(_LABEL), str(at * ROW + 3), _n(max(width, 1)), "13", "refused", f"{text}: {count:,}")
        )
        labels.append(
            Label(str(_LABEL - 6), str(at * ROW + 14), "end", text[:34] + ("…" if len(text) > 34 else ""))
        )
        labels.append(Label(_n(_LABEL + max(width, 1) + 5), str(at * ROW + 14), "start", f"{count:,}"))
    more = len(ordered) - len(shown)
    summary = f"{total:,} refusals in {len(ordered):,} groups; " + (
        f"the {len(shown):,} largest are shown" if more else "all are shown"
    )
    return Chart(
        name=name,
        summary=summary if total else "No refusals.",
        width=str(WIDTH),
        height=str(max(len(shown), 1) * ROW),
        boxes=tuple(boxes),
        labels=tuple(labels),
    )


def _policies(facts: Facts) -> Chart:
    begin, end = to_ns(facts.period.begin), to_ns(facts.period.end)
    boxes: list[Box] = []
    labels: list[Label] = []
    for at, one in enumerate(facts.policies[:_SHOWN_ROWS]):
        left, right = (_x(to_ns(t), begin, end, _LABEL) for t in (one.first, one.last))
        title = f"{one.name} {one.digest}: {one.runs:,} runs, {one.first} to {one.last}"
        boxes.append(Box(_n(left), str(at * ROW + 3), _n(max(right - left, 2)), "13", "policy", title))
        labels.append(
            Label(str(_LABEL - 6), str(at * ROW + 14), "end", f"{one.name[:24]} {one.digest[7:15]}")
        )
    rows = max(len(boxes), 1)
    for change in facts.policy_changes:
        x = _x(to_ns(change.at), begin, end, _LABEL)
        boxes.append(Box(_n(x), "0", "1.5", str(rows * ROW), "change", f"{change.at}: {change.what}"))
    return Chart(
        name="Policies in force, and their changes",
        summary=f"{len(facts.policies):,} policies were in force in runs that began in the period,"
        f" {len(facts.policy_changes):,} changes are on record.",
        width=str(WIDTH),
        height=str(rows * ROW),
        boxes=tuple(boxes),
        labels=tuple(labels),
        legend=(("policy", "first to last run"), ("change", "change")),
    )


def _coverage(facts: Facts) -> Chart:
    begin, end, of = to_ns(facts.period.begin), to_ns(facts.period.end), facts.coverage
    boxes: list[Box] = []
    if of.first is not None and of.last is not None:
        left, right = _x(to_ns(of.first), begin, end), _x(to_ns(of.last), begin, end)
        title = f"sealed records from {of.first} to {of.last}"
        boxes.append(Box(_n(left), "4", _n(max(right - left, 1)), "16", "sealed", title))
    marks = [(gap.at, f"gap: {gap.ref}: {gap.reason}") for gap in of.gaps]
    marks += [(one.at, f"{one.event}: {one.what}") for one in of.damage]
    boxes += [Box(_n(_x(to_ns(at), begin, end)), "0", "2", "24", "gap", text) for at, text in marks]
    return Chart(
        name="Coverage and gaps",
        summary=f"{of.segments:,} sealed segments have records of the period, from {of.first or 'never'} to"
        f" {of.last or 'never'}; {len(of.gaps):,} gaps and {len(of.damage):,} damaged files are on record.",
        width=str(WIDTH),
        height="24",
        boxes=tuple(boxes),
        labels=(),
        legend=(("sealed", "first to last sealed record"), ("gap", "gap or damage")),
    )


def _x(at_ns: int, begin_ns: int, end_ns: int, left: int = 0) -> float:
    span = max(end_ns - begin_ns, 1)
    return left + (WIDTH - left) * min(max(at_ns - begin_ns, 0), span) / span


def _n(value: float) -> str:
    if value != value or value in {float("inf"), float("-inf")}:  # noqa: PLR0124  # is it a number
        raise FormatError("chart", "a finite number", value)
    return f"{value:.1f}"


def _class(kind: str) -> str:
    return kind.split(" ", maxsplit=1)[0]
