"""Differences in what is one value in a plan: mode, match, program, streams, clocks, limits.

Files are compared in `storage.py` and the files it names, the network in `network.py`, the trail in
`audit.py`. Where values have an order, more for the guest is wider. INVARIANT: a field of a plan that nothing
here knows is still compared, and a change of it counts as one without an order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from policy.calls import PLACED_CALLS
from policy.diff.amounts import shown_amount
from policy.diff.audit import audit_changes
from policy.diff.change import Change, Direction, rule_ref, verdict
from policy.diff.name_globs import name_only_in
from policy.errors import printable
from policy.plan import UNLIMITED, Isolation, Mode, Plan, SourceKind, StdinMode, StdoutMode
from policy.question import Question
from policy.unheld import unheld

if TYPE_CHECKING:
    from policy.plan import Rule, Runtime

_ELSEWHERE = frozenset({"mounts", "automaton", "rules", "temporal", "network", "nn"})
# Placeholders that are still open are compared where they stand, as text.
_NO_MATTER = frozenset(
    {"name", "policy_digest", "plan_digest", "unenforced", "unenforced_digest", "may_run", "open_names"}
)
_HERE = frozenset({"mode", "match_digests", "match_names", "match_tenants", "match_signers", "denied_calls",
                   "environment", "args", "is_extra_args_allowed", "stdio", "clocks", "random", "limits",
                   "runtime", "audit"})  # fmt: skip

# From the least to the most for the guest; what is not in an order has none.
_MODES = (Mode.ENFORCE, Mode.LEARN, Mode.AUDIT)
_SOURCES = (SourceKind.NONE, SourceKind.FIXED, SourceKind.VIRTUAL, SourceKind.REAL)
_STDOUT = (StdoutMode.NONE, StdoutMode.CAPTURE, StdoutMode.INHERIT)
_STDIN = ((StdinMode.NONE, StdinMode.CALLER), (StdinMode.NONE, StdinMode.INHERIT))


def section_changes(a: Plan, b: Plan) -> Iterator[Change]:
    """Every such difference, in the order of the document."""
    yield from _match(a, b)
    yield from _mode(a, b)
    yield from _calls(a, b)
    yield from _environment(a, b)
    yield from _arguments(a, b)
    yield from _streams(a, b)
    yield from _sources(a, b)
    yield from _limits(a, b)
    yield from _runtime(a.runtime, b.runtime)
    yield from audit_changes(a, b)
    yield from _unheld(a, b)
    for each in fields(Plan):
        if each.name not in _ELSEWHERE | _NO_MATTER | _HERE:
            yield from _value(each.name, each.name, (getattr(a, each.name), getattr(b, each.name)))


def _value(
    area: str,
    name: str,
    values: tuple[object, object],
    *orders: Sequence[object],
    witness: Question | None = None,
) -> Iterator[Change]:
    """The change from one value to another, by the first of `orders` that holds both."""
    if values[0] == values[1]:
        return
    direction = Direction.CHANGED
    for order in orders:
        if values[0] in order and values[1] in order:
            more = order.index(values[1]) > order.index(values[0])
            direction = Direction.WIDER if more else Direction.NARROWER
            break
    shown = [_shown(value) for value in values]
    what = f"{name}: {shown[1]}, not {shown[0]}"
    yield Change(
        direction=direction, area=area, what=what, answer_a=shown[0], answer_b=shown[1], witness=witness
    )


def _shown(value: object) -> str:
    match value:
        case SourceKind():
            return value.name.lower()
        case bool():
            return "yes" if value else "no"
        case bytes():
            return value.hex() or "none"
        case tuple():
            return ", ".join(map(_shown, value)) or "none"
        case _:
            return printable(str(value)) or "none"


def _unheld(a: Plan, b: Plan) -> Iterator[Change]:
    """Parts of the format that no plan of this version holds: in one document only, or set differently."""
    used = unheld(a.unenforced), unheld(b.unenforced)
    if used[0] == used[1] and a.unenforced_digest != b.unenforced_digest:
        some = "this is" if len(used[0]) == 1 else "at least one of these is"
        yield Change(
            direction=Direction.CHANGED,
            area="unenforced",
            what=printable(
                f"{some} set differently, which this version does not enforce: {', '.join(sorted(used[0]))}"
            ),
        )
    for field in sorted(used[0] ^ used[1]):
        plan = "A" if field in used[0] else "B"
        yield Change(
            direction=Direction.CHANGED,
            area="unenforced",
            what=printable(
                f"only plan {plan} sets {field}, which this version neither enforces nor compares"
            ),
        )


def _match(a: Plan, b: Plan) -> Iterator[Change]:
    for name, is_glob, words in (
        ("digests", False, "modules with the digest"),
        ("names", True, "modules named"),
        ("tenants", True, "the tenant"),
        ("signers", False, "the signer"),
    ):
        before: tuple[str, ...] = getattr(a, f"match_{name}")
        after: tuple[str, ...] = getattr(b, f"match_{name}")
        if set(before) == set(after):
            continue
        for direction, smaller, larger in (
            (Direction.WIDER, before, after),
            (Direction.NARROWER, after, before),
        ):
            found = _more(smaller, larger, is_glob=is_glob)
            if found is not None:
                plan = "B" if direction is Direction.WIDER else "A"
                yield Change(
                    direction=direction,
                    area="match",
                    what=f"only plan {plan} is for {words} {found}",
                    answer_a=_shown(before) if before else "any",
                    answer_b=_shown(after) if after else "any",
                )


def _more(smaller: tuple[str, ...], larger: tuple[str, ...], *, is_glob: bool) -> str | None:
    """Something that `larger` matches and `smaller` does not; nothing listed matches all."""
    if not smaller:
        return None
    if not larger:
        found = name_only_in(("*",), smaller) if is_glob else "that the other does not list"
    elif is_glob:
        found = name_only_in(larger, smaller)
    else:
        found = next((each for each in larger if each not in smaller), None)
    return None if found is None else printable(found)


def _mode(a: Plan, b: Plan) -> Iterator[Change]:
    yield from _value("mode", "mode", (a.mode, b.mode), _MODES)


def _calls(a: Plan, b: Plan) -> Iterator[Change]:
    """Host calls that only one plan refuses whatever their arguments."""
    before, after = dict(a.denied_calls), dict(b.denied_calls)
    for name in sorted(before.keys() ^ after.keys()):
        refusing: Rule = a.rules[before[name]] if name in before else b.rules[after[name]]
        if name == "random_get" or name in PLACED_CALLS:
            continue  # told by its source, or by the places that one plan grants and the calls beside it
        question = Question(call=name)
        yield Change(
            direction=Direction.WIDER if name in before else Direction.NARROWER,
            area="calls",
            what=f"only plan {'A' if name in before else 'B'} refuses {name}",
            rule_a=rule_ref(refusing) if name in before else None,
            rule_b=rule_ref(refusing) if name in after else None,
            witness=question,
            answer_a=verdict(a, question),
            answer_b=verdict(b, question),
        )


def _environment(a: Plan, b: Plan) -> Iterator[Change]:
    before, after = dict(a.environment), dict(b.environment)
    for key in sorted(before.keys() | after.keys()):
        if key in before and key in after:
            yield from _value("environment", f"value of {printable(key)}", (before[key], after[key]))
            continue
        yield Change(
            direction=Direction.WIDER if key in after else Direction.NARROWER,
            area="environment",
            what=f"only plan {'B' if key in after else 'A'} gives the variable {printable(key)}",
            answer_a="given" if key in before else "not given",
            answer_b="given" if key in after else "not given",
        )


def _arguments(a: Plan, b: Plan) -> Iterator[Change]:
    yield from _value("args", "arguments", (a.args, b.args))
    extra = a.is_extra_args_allowed, b.is_extra_args_allowed
    yield from _value("extra_args", "the caller may add arguments", extra, (False, True))


def _streams(a: Plan, b: Plan) -> Iterator[Change]:
    stdin = a.stdio.stdin, b.stdio.stdin
    asked = Question(call="fd_read", target="stdin") if StdinMode.NONE in stdin else None
    yield from _value("stdio", "stdin", stdin, *_STDIN, witness=asked)
    for name in ("stdout", "stderr"):
        modes: tuple[StdoutMode, StdoutMode] = getattr(a.stdio, name), getattr(b.stdio, name)
        asked = Question(call="fd_write", target=name) if StdoutMode.NONE in modes else None
        yield from _value("stdio", name, modes, _STDOUT, witness=asked)


def _sources(a: Plan, b: Plan) -> Iterator[Change]:
    one, other = a.clocks, b.clocks
    for name in ("wall", "monotonic"):
        kinds: tuple[SourceKind, SourceKind] = getattr(one, name), getattr(other, name)
        asked = Question(call="clock_time_get", target=name) if SourceKind.NONE in kinds else None
        yield from _value("clocks", name, kinds, _SOURCES, witness=asked)
        if kinds == (SourceKind.FIXED, SourceKind.FIXED):
            times = getattr(one, f"{name}_ns"), getattr(other, f"{name}_ns")
            yield from _value("clocks", f"the time at which {name} stands still, in ns", times)
    ticks = one.resolution_ns, other.resolution_ns
    yield from _value("clocks", "resolution in ns", ticks, sorted(ticks, reverse=True))
    sources = a.random.kind, b.random.kind
    asked = Question(call="random_get") if SourceKind.NONE in sources else None
    yield from _value("random", "random bytes", sources, _SOURCES, witness=asked)
    if sources == (SourceKind.FIXED, SourceKind.FIXED) and a.random.seed != b.random.seed:
        yield Change(direction=Direction.CHANGED, area="random", what="random bytes come from another seed")


def _limits(a: Plan, b: Plan) -> Iterator[Change]:
    for each in fields(a.limits):
        values: tuple[int, int] = getattr(a.limits, each.name), getattr(b.limits, each.name)
        ranked = sorted(values, key=lambda value: float("inf") if value == UNLIMITED else value)
        named = shown_amount(each.name, values[0]), shown_amount(each.name, values[1])
        yield from _value("limits", each.name, named, [shown_amount(each.name, value) for value in ranked])


def _runtime(one: Runtime, other: Runtime) -> Iterator[Change]:
    """How it is run; a field that nothing here knows has no order."""
    isolations = one.isolation, other.isolation
    yield from _value("runtime", "isolation", isolations, tuple(reversed(Isolation)))
    for wall in sorted({*one.require_walls} ^ {*other.require_walls}):
        yield Change(
            direction=Direction.WIDER if wall in one.require_walls else Direction.NARROWER,
            area="runtime",
            what=f"only plan {'A' if wall in one.require_walls else 'B'} requires the wall {printable(wall)}",
            answer_a="required" if wall in one.require_walls else "not required",
            answer_b="required" if wall in other.require_walls else "not required",
        )
    yield from _value("runtime", "deterministic", (one.deterministic, other.deterministic), (True, False))
    for each in fields(one):
        if each.name not in {"isolation", "require_walls", "deterministic"}:
            yield from _value("runtime", each.name, (getattr(one, each.name), getattr(other, each.name)))
