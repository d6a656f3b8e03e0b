"""The answer to a question about a plan: the one door for people, tests, replays and differences.

Files, streams, clocks and random bytes are decided in `decide.py`, the network and models in
`policy/network/`. INVARIANT: what has started over time is taken from the question alone.
"""

from __future__ import annotations

from typing import Final

from policy.decide import decide
from policy.decisions import Decision, UnknownCallError, in_mode
from policy.errors import quoted
from policy.network.decide import decide_network
from policy.plan import Plan
from policy.question import Question

NETWORK_OPERATIONS: Final = frozenset({"connect", "bind", "listen", "resolve", "http", "load_model"})
"""What can be asked besides the host calls of WASI 0.1."""


def answer(plan: Plan, question: Question) -> Decision:
    """The decision on the call that `question` is about, in the mode of the plan.

    Raises:
        UnknownCallError: for a call that does not exist, one that lacks what decides it, or a rule over
            time that the plan does not have.
    """
    started = started_rules(plan, question.after)
    if question.call in NETWORK_OPERATIONS:
        return in_mode(plan, decide_network(plan, question))
    return decide(
        plan,
        question.call,
        target=question.target,
        target2=question.target2,
        wants=question.wants,
        started=started,
    )


def started_rules(plan: Plan, after: tuple[str, ...]) -> frozenset[int]:
    """The indices in `plan.temporal` of the rules over time with the ids `after`.

    Raises:
        UnknownCallError: when the plan has no rule over time of that id.
    """
    known = {str(plan.rules[each.rule].id): index for index, each in enumerate(plan.temporal)}
    for name in after:
        if name not in known:
            raise UnknownCallError(f"no rule over time is named {quoted(name)}")
    return frozenset(known[name] for name in after)
