"""What a plan says of one fact: the same as of the question that the fact answers, or that nobody can tell.

Many facts are judged at once in `verdicts.py`, by the same reading. INVARIANT: where the fact holds all that
decides the call, the verdict is that of `policy.answer.answer`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import reduce
from operator import or_
from typing import Final

from policy import fixed
from policy.answer import answer
from policy.calls import CALL_CODES, CALLS
from policy.decisions import Allow, Deny, WouldDeny
from policy.facts import Fact
from policy.plan import RIGHTS, Plan, Right, SourceKind
from policy.question import Question


class Verdict(IntEnum):
    """What becomes of a recorded call under another plan."""

    ALLOW = 0
    DENY = 1
    WOULD_DENY = 2
    UNKNOWN = 3  # the records do not hold what decides it


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict, and the rule behind it: of the plan, or the recorded one where the plan has no say."""

    verdict: Verdict
    rule: str = ""


BY_NATURE: Final = {"escape": fixed.BENEATH, "too_long": fixed.PATH_LENGTH}
"""Reasons for which every plan refuses a call, whatever its mode, and the rule that says so."""

RUNNING: Final = frozenset({"symlink", "file_type", "handle", "widens", "budget", "stopped", "clock", "?"})
"""Reasons that only a running guest shows: that a plan allows the call does not say that it would happen."""

STREAM_CALLS: Final[dict[str, frozenset[str]]] = {
    "stdin": frozenset({"fd_read", "fd_pread"}),
    "stdout": frozenset({"fd_write", "fd_pwrite"}),
    "stderr": frozenset({"fd_write", "fd_pwrite"}),
}
"""The calls that are decided by the stream that they are made on."""

CLOCK_CALLS: Final = frozenset({"clock_time_get", "clock_res_get"})
CLOCKS: Final = ("wall", "monotonic")

_ALL: Final = reduce(or_, RIGHTS)
_LOSING: Final = Right.WRITE | Right.DELETE  # either lets a rename put something in the place of another

FURTHER: Final[dict[tuple[str, Right], tuple[int, Right]]] = {
    ("path_filestat_get", Right.READ): (1, _ALL),  # a file on the way to what is granted is not seen
    ("path_rename", Right.DELETE): (2, _LOSING),
    ("path_rename", Right.SYMLINK): (2, Right.SYMLINK),
    ("path_link", Right.SYMLINK): (2, Right.SYMLINK),
    ("fd_write", Right.WRITE): (1, Right.WRITE),  # not opened to append, and let be by an audit
}
"""For a call that was refused for want of this right, after what is decided by paths alone: which of its
targets needs one of these rights, depending on what lay there."""


def judge(plan: Plan, fact: Fact) -> Judged:
    """The verdict of `plan` on the call of `fact`."""
    if fact.call not in CALL_CODES:
        return Judged(Verdict.UNKNOWN)
    if fact.call in dict(plan.denied_calls):
        return _answered(plan, Question(call=fact.call), fact)
    is_network = CALLS[CALL_CODES[fact.call]].capability == "network"
    if fact.reason in BY_NATURE and not (fact.is_masked or is_network):
        return Judged(Verdict.DENY, BY_NATURE[fact.reason])
    if fact.is_masked or is_network or (fact.call == "poll_oneoff" and not is_clock_real(plan)):
        # what the record does not hold: a path, by which name a place was reached, or the clock of a wait
        return Judged(Verdict.UNKNOWN)
    question = question_of(fact)
    if question is not None:
        is_whole = _is_place(fact.target2) or not CALLS[CALL_CODES[fact.call]].rights2
        return _answered(plan, question, fact) if is_whole else Judged(Verdict.UNKNOWN)
    return Judged(Verdict.UNKNOWN if _is_running(fact) or _is_placeless(fact) else Verdict.ALLOW)


def is_clock_real(plan: Plan) -> bool:
    """Whether both clocks run, so that no wait is refused for the time it would tell."""
    return {plan.clocks.wall, plan.clocks.monotonic} <= {SourceKind.REAL, SourceKind.VIRTUAL}


def question_of(fact: Fact) -> Question | None:
    """The question that `fact` answers; None where nothing in a policy decided the call.

    The call must be one of `policy.calls.CALLS`. Paths are asked about by where they lie on the host.
    """
    call = CALLS[CALL_CODES[fact.call]]
    target = fact.target
    if call.name in CLOCK_CALLS:
        return Question(call=call.name, target=target) if target in CLOCKS else None
    if call.capability != "storage" or target is None or _is_placeless(fact):
        return None
    if target in STREAM_CALLS:
        return Question(call=call.name, target=target) if call.name in STREAM_CALLS[target] else None
    if call.rights and not fact.wants:
        return None  # over before anything was decided, as on a descriptor that is not open
    if call.name.startswith("path_"):
        second = None if fact.target2 is None or not call.rights2 else _uri(fact.target2)
        wants = fact.wants if call.name == "path_open" else None
        return Question(call=call.name, target=_uri(target), target2=second, wants=wants)
    # what else may be done with a descriptor was decided when it was opened
    return Question(call=call.name, target=_uri(target)) if call.rights else None


def _answered(plan: Plan, question: Question, fact: Fact) -> Judged:
    found = answer(plan, question)
    match found:
        case Deny():
            return Judged(Verdict.DENY, found.rule_id)
        case WouldDeny():
            return Judged(Verdict.WOULD_DENY, found.rule_id)
        case Allow() if fact.decision != "allow" and _is_open(plan, question, fact):
            return Judged(Verdict.UNKNOWN)
        case Allow():
            return Judged(Verdict.ALLOW, found.rule_id)


def _is_open(plan: Plan, question: Question, fact: Fact) -> bool:
    """Whether something refused the call that paths and rights alone do not show."""
    if _is_running(fact):
        return True
    further = FURTHER.get((fact.call, fact.missing or Right(0)))
    if further is None or fact.reason != "rule":
        return False
    target = question.target if further[0] == 1 else question.target2
    asked = (Question(call="path_open", target=target, wants=right) for right in RIGHTS if right & further[1])
    return not any(isinstance(answer(plan, one), Allow) for one in asked)


def _is_running(fact: Fact) -> bool:
    is_clock = fact.call == "poll_oneoff" and fact.reason == "clock"  # the plan says that one
    return fact.decision != "allow" and fact.reason in RUNNING and not is_clock


def _is_placeless(fact: Fact) -> bool:
    """Whether the record names something else than a place or a stream, such as what a mask left."""
    is_storage = CALLS[CALL_CODES[fact.call]].capability == "storage"
    named = fact.target is not None and fact.target not in STREAM_CALLS
    return is_storage and named and not _is_place(fact.target)


def _is_place(target: str | None) -> bool:
    return target is not None and target.startswith(("/", "tmp://"))


def _uri(target: str) -> str:
    return f"fs://{target}" if target.startswith("/") else target
