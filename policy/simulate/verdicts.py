"""What a plan says of many facts at once: `judge.py` for columns, without a step of Python for each.

Where targets lie is found in `reach.py`. INVARIANT: each fact gets the verdict and the rule that `judge`
gives it alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from policy import fixed
from policy.aliases import CONTENT
from policy.calls import CALL_CODES, CALLS
from policy.lookup import rule_index
from policy.plan import Mode, Plan, Right, RuleId, SourceKind, StdinMode, StdoutMode
from policy.simulate.columns import DECISIONS, NONE, REASONS, UNKNOWN_CALL, Bools, FactColumns, Ints
from policy.simulate.judge import (
    BY_NATURE,
    CLOCK_CALLS,
    CLOCKS,
    FURTHER,
    RUNNING,
    STREAM_CALLS,
    Verdict,
    is_clock_real,
)
from policy.simulate.reach import Targets

_PATH_OPEN: Final = CALL_CODES["path_open"]
_FD_WRITE: Final = CALL_CODES["fd_write"]
_POLL: Final = CALL_CODES["poll_oneoff"]
_WRITE, _APPEND = int(Right.WRITE), int(Right.APPEND)
_LOWEST: Final = np.array([0] + [(mask & -mask).bit_length() - 1 for mask in range(1, 128)])
_HIGHEST: Final = np.array([0] + [mask.bit_length() - 1 for mask in range(1, 128)])
_PAD: Final = 256 - len(CALLS)
_RIGHTS: Final = np.array([int(call.rights) for call in CALLS] + [0] * _PAD, np.int64)
_RIGHTS2: Final = np.array([int(call.rights2) for call in CALLS] + [0] * _PAD, np.int64)
_IS_STORAGE: Final = np.array([call.capability == "storage" for call in CALLS] + [False] * _PAD)
_IS_NETWORK: Final = np.array([call.capability == "network" for call in CALLS] + [False] * _PAD)
_IS_PATH_CALL: Final = np.array([call.name.startswith("path_") for call in CALLS] + [False] * _PAD)


@dataclass(frozen=True, slots=True, eq=False)
class Verdicts:
    """For each fact a `Verdict`, and the index of the plan's rule behind it, or NONE."""

    verdict: npt.NDArray[np.int8]
    rule: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class _Calls:
    """The distinct calls, as far as they decide."""

    call: Ints
    wants: Ints
    target: Ints
    target2: Ints


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """What paths and rights say: allowed or not, by which rule, and whether the mode can't change that."""

    is_allowed: Bools
    rule: Ints
    is_final: Bools
    by_mount: tuple[Bools, ...] = ()  # allowed through this mount


def verdicts(plan: Plan, columns: FactColumns, targets: Targets) -> Verdicts:
    """Judge all facts."""
    calls, members = _distinct(columns)
    found = _decide(plan, calls, targets)
    refused = np.where((plan.mode is Mode.AUDIT) & ~found.is_final, Verdict.WOULD_DENY, Verdict.DENY)
    verdict = np.where(found.is_allowed, int(Verdict.ALLOW), refused).astype(np.int8)[members]
    rule = found.rule.astype(np.int32)[members]
    by_name = np.zeros(256, np.bool_)
    by_name[[CALL_CODES[name] for name, _ in plan.denied_calls]] = True
    rest = ~by_name[columns.call]  # not decided by the name of the call alone
    is_open = rest & (verdict == int(Verdict.ALLOW)) & _is_open(plan, columns, targets)
    verdict[is_open], rule[is_open] = int(Verdict.UNKNOWN), NONE
    for reason, rule_id in BY_NATURE.items():
        hit = rest & (columns.reason == REASONS.index(reason))
        verdict[hit], rule[hit] = int(Verdict.DENY), rule_index(plan, rule_id)
    lost = (columns.call == UNKNOWN_CALL) | (rest & (columns.is_masked | _IS_NETWORK[columns.call]))
    verdict[lost], rule[lost] = int(Verdict.UNKNOWN), NONE
    return Verdicts(verdict, rule)


def _is_open(plan: Plan, columns: FactColumns, targets: Targets) -> Bools:
    """Which facts hold too little to say that what the paths allow would happen."""
    is_nothing = ~targets.is_path  # a text that is no place, as a mask may leave one, and no text at all
    is_text = is_nothing.copy()
    is_text[[NONE, *(targets.words[word] for word in STREAM_CALLS if word in targets.words)]] = False
    found = is_text[columns.target] & _IS_STORAGE[columns.call]
    pairs = np.flatnonzero((_RIGHTS2[columns.call] != 0) & (columns.wants != 0))
    found[pairs] |= targets.is_path[columns.target[pairs]] & is_nothing[columns.target2[pairs]]
    waits = columns.call == _POLL
    if not is_clock_real(plan):
        found |= waits
    rows = np.flatnonzero(columns.decision != DECISIONS.index("allow"))
    reasons = np.array([reason in RUNNING for reason in REASONS])
    is_clock = columns.reason[rows] == REASONS.index("clock")
    found[rows] |= reasons[columns.reason[rows]] & ~(waits[rows] & is_clock)
    found[rows] |= _is_further(columns, targets, rows)
    return np.asarray(found)


def _is_further(columns: FactColumns, targets: Targets, rows: Ints) -> Bools:
    """Which of the refused `rows` were refused for what depends on the files that lay there."""
    call, target, target2 = columns.call[rows], columns.target[rows], columns.target2[rows]
    found = np.zeros(len(rows), np.bool_)
    union = targets.union()
    is_asking = (columns.wants[rows] != 0) | (_RIGHTS[call] == 0)
    is_rule = (columns.reason[rows] == REASONS.index("rule")) & targets.is_path[target] & is_asking
    for (name, right), (which, mask) in FURTHER.items():
        hit = is_rule & (call == CALL_CODES[name]) & (columns.missing[rows] == int(right))
        place = target if which == 1 else target2
        found |= hit & targets.is_path[place] & ((union[place] & int(mask)) == 0)
    return found


def _distinct(columns: FactColumns) -> tuple[_Calls, npt.NDArray[np.int32]]:
    """The distinct calls, and which of them each fact is."""
    many = len(columns.texts) + 1
    second = np.where(_RIGHTS2[columns.call.astype(np.int64)] != 0, columns.target2, NONE)
    key = (second.astype(np.int64) + 1) * many + (columns.target.astype(np.int64) + 1)
    key = (key * 256 + columns.call) * 128 + columns.wants
    coded = pc.dictionary_encode(pa.array(key))
    keys = np.asarray(coded.dictionary)
    pairs = keys >> 15
    calls = _Calls((keys >> 7) & 0xFF, keys & 0x7F, pairs % many - 1, pairs // many - 1)
    return calls, np.asarray(coded.indices)


def _decide(plan: Plan, calls: _Calls, targets: Targets) -> _Found:
    """What `policy.decide.decide` says of each distinct call, before the mode has its say."""
    count = len(calls.call)
    allowed, rule, final = np.ones(count, np.bool_), np.full(count, NONE, np.int64), np.zeros(count, np.bool_)
    for code, word, index in _words(plan, targets):
        hit = (calls.call == code) & (calls.target == word)
        allowed[hit], rule[hit] = False, index
    has_path = (calls.target >= 0) & targets.is_path[calls.target] & _IS_STORAGE[calls.call]
    asks = (calls.wants != 0) & (_RIGHTS[calls.call] != 0)
    looks = _IS_PATH_CALL[calls.call] & (_RIGHTS[calls.call] == 0)
    is_whole = (_RIGHTS2[calls.call] == 0) | ((calls.target2 >= 0) & targets.is_path[calls.target2])
    rows = np.flatnonzero(has_path & (asks | looks) & is_whole)
    some = _Calls(calls.call[rows], calls.wants[rows], calls.target[rows], calls.target2[rows])
    found = _decide_both(plan, some, targets)
    allowed[rows], rule[rows], final[rows] = found.is_allowed, found.rule, found.is_final
    for name, index in plan.denied_calls:
        hit = calls.call == CALL_CODES[name]
        allowed[hit], rule[hit], final[hit] = False, index, False
    return _Found(allowed, rule, final)


def _decide_both(plan: Plan, calls: _Calls, targets: Targets) -> _Found:
    """What the paths of calls decide: the first, then the second where there is one, then both together."""
    base = np.where(calls.call == _PATH_OPEN, calls.wants, _RIGHTS[calls.call])
    found = _decide_path(plan, targets, calls.target, base, is_write=calls.call == _FD_WRITE)
    # past a refusal that is only recorded, as the monitor goes on
    goes_on = found.is_allowed | ((plan.mode is Mode.AUDIT) & ~found.is_final)
    rows = np.flatnonzero(goes_on & (_RIGHTS2[calls.call] != 0))
    if not len(rows):
        return found
    first = found.is_allowed[rows]
    second = _decide_path(plan, targets, calls.target2[rows], _RIGHTS2[calls.call[rows]])
    widens = np.ones(len(rows), np.bool_)
    for source, before in zip(targets.reaches, found.by_mount, strict=True):
        there = targets.rights[source.kind[calls.target[rows]]]
        for goal, after in zip(targets.reaches, second.by_mount, strict=True):
            gains = (targets.rights[goal.kind[calls.target2[rows]]] | goal.elsewhere) & ~there & int(CONTENT)
            widens &= ~(before[rows] & after & (gains == 0))
    is_second = ~second.is_allowed & (first | second.is_final)
    is_widening = first & second.is_allowed & widens
    allowed, rule, final = found.is_allowed.copy(), found.rule.copy(), found.is_final.copy()
    allowed[rows] = first & second.is_allowed & ~widens
    rule[rows] = np.where(is_second, second.rule, rule[rows])
    rule[rows[is_widening]] = rule_index(plan, fixed.NO_WIDENING)
    final[rows] = is_second & second.is_final
    return _Found(allowed, rule, final)


def _decide_path(
    plan: Plan, targets: Targets, target: Ints, base: Ints, *, is_write: Bools | None = None
) -> _Found:
    """What the mounts say of `base` rights on targets: the first that allows, else the first."""
    count = len(target)
    allowed, seen = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    rule, by_mount = np.full(count, NONE, np.int64), []
    for reach in targets.reaches:
        kind = reach.kind[target]
        rights = targets.rights[kind]
        need = _needed(base, rights, is_write)
        lacks = need & ~rights
        here = kind >= 0
        is_ok = here & np.where(need == 0, reach.is_live[target], lacks == 0)
        refused, granted = targets.rules[kind, _LOWEST[lacks]], targets.rules[kind, _HIGHEST[need]]
        rule = np.where(here & ~seen & ~is_ok, refused, rule)
        rule = np.where(is_ok & ~allowed, np.where(need == 0, NONE, granted), rule)
        allowed, seen = allowed | is_ok, seen | here
        by_mount.append(is_ok)
    kinds = np.array([each.kind.is_final for each in plan.rules])
    rule = np.where(seen, rule, rule_index(plan, fixed.DEFAULT))
    final = ~allowed & (kinds[rule] | ~seen)
    too_long = targets.is_too_long[target]
    rule = np.where(too_long, rule_index(plan, fixed.PATH_LENGTH), rule)
    return _Found(allowed & ~too_long, rule, final | too_long, tuple(by_mount))


def _needed(base: Ints, rights: Ints, is_write: Bools | None) -> Ints:
    """One way of writing stands for the other, as in `policy.decide`."""
    as_write = ((base & _APPEND) != 0) & ((rights & _WRITE) != 0)
    need = np.where(as_write, (base & ~_APPEND) | _WRITE, base)
    if is_write is None:
        return need
    return np.where(is_write & ((rights & (_WRITE | _APPEND)) == _APPEND), _APPEND, need)


def _words(plan: Plan, targets: Targets) -> list[tuple[int, int, int]]:
    """Calls on a stream or a clock that the plan does not give: call, text and rule, all as numbers."""
    none: list[tuple[str, frozenset[str], RuleId]] = []
    if plan.stdio.stdin is StdinMode.NONE:
        none.append(("stdin", STREAM_CALLS["stdin"], fixed.STDIO_STDIN))
    if plan.stdio.stdout is StdoutMode.NONE:
        none.append(("stdout", STREAM_CALLS["stdout"], fixed.STDIO_STDOUT))
    if plan.stdio.stderr is StdoutMode.NONE:
        none.append(("stderr", STREAM_CALLS["stderr"], fixed.STDIO_STDERR))
    sources = ((plan.clocks.wall, fixed.CLOCKS_WALL), (plan.clocks.monotonic, fixed.CLOCKS_MONOTONIC))
    for word, (source, rule) in zip(CLOCKS, sources, strict=True):
        if source is SourceKind.NONE:
            none.append((word, CLOCK_CALLS, rule))
    return [
        (CALL_CODES[call], targets.words[word], rule_index(plan, rule))
        for word, calls, rule in none
        if word in targets.words
        for call in sorted(calls)
    ]
