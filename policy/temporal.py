"""The rules over time of a document, compiled: what starts each, and what it refuses from then on.

Their keys are in `schema_temporal.py`, what a plan holds in `plan_temporal.py`; the paths they watch become
marks in `path_rules.py`. INVARIANT: rules that watch paths come first in a plan, so their place is their bit.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Final

from policy.digest import Json, as_json, canonical
from policy.errors import Finding
from policy.meaning import MAX_WATCHES
from policy.path_rules import ALL_RIGHTS, Watch
from policy.plan import Right, Rule, RuleId, RuleKind
from policy.plan_temporal import Reach, TemporalRule, Trigger
from policy.uris import DenyTarget, parse_deny

if TYPE_CHECKING:
    from policy.document import PolicyDocument
    from policy.places import Path
    from policy.schema_temporal import TemporalRule as Section

STORAGE: Final = "storage"
"""What a rule that watches paths says in `TemporalRule.watches`."""

_ALL_REACH: Final = reduce(or_, Reach)
_S: Final = 1_000


@dataclass(frozen=True, slots=True)
class _Start:
    """What starts a rule."""

    trigger: Trigger
    target: str
    over: int
    window_ms: int

    @property
    def is_storage(self) -> bool:
        return self.target.startswith(("fs:", "tmp:"))

    @property
    def words(self) -> str:
        """The trigger as the beginning of a sentence."""
        window = "" if not self.window_ms else f" within {_duration(self.window_ms)}"
        place = "the network" if self.target == "*" else self.target
        match self.trigger:
            case Trigger.OPENED:
                return f"once {place} or something below was opened"
            case Trigger.BYTES_IN:
                return f"once more than {self.over} bytes came from {place}{window}"
            case Trigger.BYTES_OUT:
                return f"once more than {self.over} bytes went to {place}{window}"
            case Trigger.CALLS:
                return f"once more than {self.over} calls named {place}{window}"


@dataclass(frozen=True, slots=True)
class Later:
    """One rule over time of a document."""

    path: Path
    field: str  # the same, as a person reads it
    id: RuleId
    section: Section

    @property
    def has_own_id(self) -> bool:
        """Whether the document gives it its id."""
        return self.section.id is not None

    @property
    def watches_paths(self) -> bool:
        """Whether it is about files, and not about the network."""
        return self.start.is_storage

    @property
    def start(self) -> _Start:
        """What starts it."""
        when = self.section.when
        if when.bytes_in is not None:
            budget = when.bytes_in
            return _Start(Trigger.BYTES_IN, budget.from_, budget.over, budget.window)
        if when.bytes_out is not None:
            spent = when.bytes_out
            return _Start(Trigger.BYTES_OUT, spent.to, spent.over, spent.window)
        if when.calls is not None:
            return _Start(Trigger.CALLS, when.calls.to, when.calls.over, when.calls.window)
        return _Start(Trigger.OPENED, when.opened or "", 0, 0)

    @property
    def severity(self) -> str:
        """Of the finding that it raises; empty for none."""
        return (self.section.then.raise_ or "").removeprefix("finding/")

    def rule(self) -> Rule:
        """The rule, as a plan holds it."""
        denied = ", ".join(self.section.then.deny)
        parts = [f"refuses {denied} for the rest of the run"] if denied else []
        parts += [f"raises a finding of severity {self.severity}"] if self.severity else []
        return Rule(
            id=self.id,
            kind=RuleKind.TEMPORAL,
            field=self.field,
            summary=f"{' and '.join(parts)}, {self.start.words}",
            hint=f"start the program anew, or change {self.field}",
        )

    def compiled(self, index: int) -> TemporalRule:
        """The rule as what counts sees it; `index` is its place among the rules of the plan."""
        start, denied = self.start, self.section.then.deny
        return TemporalRule(
            rule=index,
            trigger=start.trigger,
            watches=STORAGE if start.is_storage else start.target.lower(),
            over=start.over,
            window_ms=start.window_ms,
            rights=int(_rights(denied)),
            reach=int(_reach(denied)),
            denies_nn="nn" in denied,
            severity=self.severity,
        )


@dataclass(frozen=True, slots=True)
class OverTime:
    """All of them, those that watch paths first, and what is wrong with them."""

    rules: tuple[Later, ...]
    findings: tuple[Finding, ...]

    def compiled(self, first_index: int) -> tuple[TemporalRule, ...]:
        """The rules for `Plan.temporal`; they count from `first_index` in `Plan.rules`, in this order."""
        return tuple(each.compiled(first_index + place) for place, each in enumerate(self.rules))

    def watches(self, base_dir: str, first_index: int) -> tuple[Watch, ...]:
        """What they watch, for the automaton of paths."""
        found: list[Watch] = []
        for place, each in enumerate(self.rules):
            if each.watches_paths:
                target: DenyTarget = parse_deny(each.start.target)
                found.append(Watch(first_index + place, place, target.space, target.absolute(base_dir)))
        return tuple(found)


def resolve_temporal(document: PolicyDocument) -> OverTime:
    """The rules over time of `document`."""
    found = [
        Later(path, document.source.field(path), temporal_id(section), section)
        for path, section in (
            (("rules", index), section) for index, section in enumerate(document.model.rules)
        )
    ]
    watching = [each for each in found if each.watches_paths]
    findings = [
        document.source.finding(
            "too-many-rules",
            each.path,
            problem=f"{len(watching)} rules over time watch paths, more than the {MAX_WATCHES} a plan holds",
        )
        for each in watching[MAX_WATCHES : MAX_WATCHES + 1]
    ]
    others = [each for each in found if not each.watches_paths]
    return OverTime((*watching, *others), tuple(findings))


def is_counted(rule: TemporalRule) -> bool:
    """Whether the monitor watches for what starts `rule`, and refuses then what it denies.

    It does for rules that watch paths the whole run long. Network and neural networks, which one may deny as
    well, no run can use.
    """
    return rule.watches == STORAGE and not rule.window_ms


def is_enforced(rule: TemporalRule) -> bool:
    """Whether this version enforces `rule` in a run; what it doesn't is refused, or told, never ignored."""
    return not not_enforced(rule)


def not_enforced(rule: TemporalRule) -> tuple[str, ...]:
    """What of `rule` this version doesn't enforce, in words."""
    parts = (
        (rule.watches != STORAGE, "that watches the network"),
        (bool(rule.window_ms), "with a window shorter than the run"),
        (bool(rule.severity), "that raises a finding"),
    )
    return tuple(words for is_missing, words in parts if is_missing)


def temporal_id(section: Section) -> RuleId:
    """The rule's own id, or one made of all that it says."""
    if section.id is not None:
        return RuleId(section.id)
    dumped: dict[str, object] = section.model_dump(mode="json", by_alias=True, exclude={"id"})
    return RuleId(f"later-{hashlib.sha256(canonical(_stable(dumped))).hexdigest()[:8]}")


def _stable(value: object) -> Json:
    if isinstance(value, dict):
        return {str(key): _stable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_json(item) for item in sorted(str(item) for item in value)]
    return as_json(value)


def _rights(denied: tuple[str, ...]) -> Right:
    if STORAGE in denied:
        return ALL_RIGHTS
    names = (name.removeprefix("storage.") for name in denied if name.startswith("storage."))
    return reduce(or_, (Right[name.upper()] for name in names), Right(0))


def _reach(denied: tuple[str, ...]) -> Reach:
    if "network" in denied:
        return _ALL_REACH
    names = (name.removeprefix("network.") for name in denied if name.startswith("network."))
    return reduce(or_, (Reach[name.upper()] for name in names), Reach(0))


def _duration(milliseconds: int) -> str:
    for size, unit in ((3_600 * _S, "h"), (60 * _S, "m"), (_S, "s")):
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"
