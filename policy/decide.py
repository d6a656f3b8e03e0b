"""What a plan says about one host call, and why.

The monitor decides from the same tables in its own memory; what it refuses for reasons that only a
running guest shows (links on the way, spent budgets, closed descriptors) is not foreseen here.
INVARIANT: a rule over time that has started never allows more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import reduce
from operator import or_
from typing import cast

from policy import fixed
from policy.aliases import CONTENT, rights_elsewhere
from policy.automaton import automaton_state, is_live, path_class
from policy.calls import CALLS, PLACED_CALLS, HostCall
from policy.component_calls import BASE_CODES
from policy.decisions import (
    NOTHING_DECIDES,
    Allow,
    Decision,
    Deny,
    UnknownCallError,
    WouldDeny,
    in_mode,
    steps_to,
)
from policy.errors import quoted
from policy.globs import MAX_PATH
from policy.lookup import rule_index
from policy.path_rules import ALL_RIGHTS
from policy.plan import RIGHTS, Mode, Plan, Right, Rule, RuleId, RuleKind, SourceKind
from policy.plan_temporal import TemporalRule
from policy.targets import Place, resolve

__all__ = [
    "NOTHING_DECIDES",
    "Allow",
    "Decision",
    "Deny",
    "UnknownCallError",
    "WouldDeny",
    "decide",
    "decide_module",
]


NO_RULE_STARTED: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class _State:
    """A plan, and those of its rules over time that have started, in the order of the document."""

    plan: Plan
    started: tuple[TemporalRule, ...] = ()

    @property
    def refused(self) -> int:
        """Mask of the rights that what has started refuses."""
        return reduce(or_, (rule.rights for rule in self.started), 0)

    def decider(self, right: Right, index: int) -> Rule:
        """The rule that decides `right` where the table of paths names the rule `index`."""
        rule = self.plan.rules[index]
        if rule.kind in {RuleKind.ALLOW, RuleKind.DEFAULT}:
            later = (each for each in self.started if each.rights & right)
            return next((self.plan.rules[each.rule] for each in later), rule)
        return rule


def decide(
    plan: Plan,
    call: str,
    *,
    target: str | None = None,
    target2: str | None = None,
    wants: Right | None = None,
    started: frozenset[int] = NO_RULE_STARTED,
) -> Decision:
    """The decision on `call` with these arguments; one of a component is decided as the one behind it.

    `target` is a guest path, a `fs:///…` or `tmp://…` URI, `stdin`, `stdout`, `stderr` for calls on
    descriptors, or `wall` and `monotonic` for clocks; `target2` is where a rename or link leads. `wants`
    says what `path_open` asks for (default: to read). `started` holds the indices in `plan.temporal` of
    the rules over time that have started.

    Raises:
        UnknownCallError: for a call that does not exist, or one whose path is missing.
    """
    code = BASE_CODES.get(call)
    if code is None:
        raise UnknownCallError(f"no host call is named {quoted(call)}")
    state = _State(plan, tuple(plan.temporal[index] for index in sorted(started)))
    return in_mode(plan, _decide(state, CALLS[code], (target, target2), wants))


def decide_module(plan: Plan, *, digest: str, name: str, tenant: str | None = None) -> Allow | Deny:
    """Whether the policy is for the module with this digest and name; each key of `match` must fit.

    A policy for some tenants is for no module of a tenant that is not known.
    """
    if plan.match_digests and digest not in plan.match_digests:
        return Deny(fixed.MATCH, f"the policy is not for a module with the digest {quoted(digest)}")
    if plan.match_names and not any(fnmatchcase(name, glob) for glob in plan.match_names):
        return Deny(fixed.MATCH, f"the policy is not for a module named {quoted(name)}")
    if plan.match_tenants and tenant is None:
        return Deny(fixed.MATCH, "the policy is for some tenants only, and no tenant is given")
    if plan.match_tenants and not any(fnmatchcase(str(tenant), glob) for glob in plan.match_tenants):
        return Deny(fixed.MATCH, f"the policy is not for the tenant {quoted(str(tenant))}")
    return Allow(fixed.MATCH, "the policy is for this module")


def _decide(
    state: _State, call: HostCall, targets: tuple[str | None, str | None], wants: Right | None
) -> Allow | Deny:
    plan = state.plan
    target, target2 = targets
    for name, index in plan.denied_calls:
        if name == call.name:
            return _refused(plan, plan.rules[index].id, plan.rules[index].summary)
    match call.capability:
        case "clocks":
            return _decide_clock(plan, target)
        case "storage" if target in {"stdin", "stdout", "stderr"}:
            return _decide_stream(plan, target)
        case "storage" if target is not None:
            return _decide_storage(state, call, (target, target2), wants)
        case "storage" if call.name.startswith("path_"):
            raise UnknownCallError(f"{call.name} is decided by its path: say which")
        case "storage":
            return Allow(NOTHING_DECIDES, "decided when the descriptor was opened")
        case "network" if call.name in PLACED_CALLS:
            raise UnknownCallError(
                f"{call.name} is decided by what it reaches: ask about connect, listen, resolve or http"
            )
        case other:
            is_network = other == "network"
            said = "decided when the socket was connected or bound" if is_network else "always allowed"
            return Allow(NOTHING_DECIDES, said if is_network else f"{call.name} is {said}")


def _decide_storage(
    state: _State, call: HostCall, targets: tuple[str, str | None], wants: Right | None
) -> Allow | Deny:
    source, goal = targets
    first = _decide_path(state, source, lambda rights: _needed(call, wants, rights))
    goes_on = state.plan.mode is Mode.AUDIT  # past a refusal that is only recorded, as the monitor does
    if not call.rights2 or (isinstance(first, Deny) and (first.is_final or not goes_on)):
        return first
    if goal is None:
        raise UnknownCallError(f"{call.name} is decided by two paths: say the second")
    second = _decide_path(state, goal, lambda _: call.rights2)
    if isinstance(first, Deny):
        return second if isinstance(second, Deny) and second.is_final else first
    chain = first.chain + second.chain
    if isinstance(second, Deny):
        return replace(second, chain=chain)
    both = replace(first, reason=f"{first.reason}, and {second.reason}", chain=chain)
    return _decide_move(state, call, (source, goal), both)


def _decide_move(state: _State, call: HostCall, targets: tuple[str, str], first: Allow) -> Allow | Deny:
    """A rename or a link may not give a file rights that it lacks where it is, in any mount.

    Rights that a rule over time has taken away count as if they were there: so what has started never
    makes a move possible.
    """
    plan = state.plan
    source, goal = targets
    before = [
        place
        for place in resolve(plan, source)
        if isinstance(_decide_place(state, place, lambda rights: _needed(call, None, rights)), Allow)
    ]
    after = [
        place
        for place in resolve(plan, goal)
        if isinstance(_decide_place(state, place, lambda _: call.rights2), Allow)
    ]
    gains = [
        (_rights(plan, to) | rights_elsewhere(plan, to.mount)) & ~_rights(plan, place) & CONTENT
        for place in before
        for to in after
    ]
    if all(gains):
        return _refused(
            plan, fixed.NO_WIDENING, f"there the file could also be used to {_words(Right(gains[0]))}"
        )
    return first


def _rights(plan: Plan, place: Place) -> int:
    return int(path_class(plan, automaton_state(plan, place.mount, place.segments)).rights)


def _decide_clock(plan: Plan, target: str | None) -> Allow | Deny:
    clocks = {
        "wall": (plan.clocks.wall, fixed.CLOCKS_WALL),
        "monotonic": (plan.clocks.monotonic, fixed.CLOCKS_MONOTONIC),
    }
    name = "monotonic" if target is None else target
    if name not in clocks:
        raise UnknownCallError(f"no clock is named {quoted(name)}: say wall or monotonic")
    source, rule = clocks[name]
    if source is SourceKind.NONE:
        return _refused(plan, rule, f"the policy gives no {name} clock")
    said = "frozen" if source is SourceKind.FIXED else source.name.lower()
    return Allow(NOTHING_DECIDES, f"the clock is {said}")


def _decide_stream(plan: Plan, target: str) -> Allow | Deny:
    streams = {
        "stdin": (plan.stdio.stdin, fixed.STDIO_STDIN),
        "stdout": (plan.stdio.stdout, fixed.STDIO_STDOUT),
        "stderr": (plan.stdio.stderr, fixed.STDIO_STDERR),
    }
    mode, rule = streams[target]
    if mode == "none":
        return _refused(plan, rule, f"the policy gives no {target}")
    return Allow(NOTHING_DECIDES, f"{target} is {mode}")


def _decide_path(state: _State, target: str, needs: Callable[[int], Right]) -> Allow | Deny:
    plan = state.plan
    if len(target.encode("utf-8", "surrogateescape")) >= MAX_PATH:
        return replace(_refused(plan, fixed.PATH_LENGTH, "the path is too long"), is_final=True)
    places = resolve(plan, target)
    if not places:
        chain = (f"mounts: none holds {quoted(target)}", "default: refused")
        return replace(
            _refused(plan, fixed.DEFAULT, f"no mount holds {quoted(target)}", chain), is_final=True
        )
    decisions = [_decide_place(state, place, needs) for place in places]
    return next((found for found in decisions if isinstance(found, Allow)), decisions[0])


def _needed(call: HostCall, wants: Right | None, rights: int) -> Right:
    """The rights that decide `call` on a path with `rights`; one way of writing stands for the other."""
    needed = (Right.READ if wants is None else wants) if call.name == "path_open" else call.rights
    if Right.APPEND in needed and rights & Right.WRITE:
        return (needed & ~Right.APPEND) | Right.WRITE
    if call.name == "fd_write" and rights & (Right.WRITE | Right.APPEND) == Right.APPEND:
        return Right.APPEND
    return needed


def _decide_place(state: _State, place: Place, needs: Callable[[int], Right]) -> Allow | Deny:
    plan = state.plan
    number = automaton_state(plan, place.mount, place.segments)
    found = path_class(plan, number)
    granted = found.rights & ~state.refused
    needed = needs(granted)
    chain = [f"mount: {place.mount.guest} holds it, which is {place.uri}"]
    if not needed:
        if is_live(plan, number) and ALL_RIGHTS & ~state.refused:
            return Allow(NOTHING_DECIDES, "something is granted here or below", tuple(chain))
        rule = state.decider(RIGHTS[0], found.rules[0])
        refusal = _refused(plan, rule.id, "nothing is granted here or below", tuple(chain))
        return replace(refusal, is_final=rule.kind.is_final)
    decider = NOTHING_DECIDES
    for right, index in zip(RIGHTS, found.rules, strict=True):
        if needed & right:
            rule = state.decider(right, index)
            decider = rule.id
            chain.extend(steps_to(rule.kind, rule.id, _words(right)))
            if not granted & right:
                reason = f"{_words(right)} is not granted: {rule.summary}"
                refusal = _refused(plan, rule.id, reason, tuple(chain))
                # SECURITY: what is denied by nature is denied in every mode, as the monitor does
                return replace(refusal, is_final=rule.kind.is_final)
    return Allow(decider, f"{_words(needed)} is granted by {decider}", tuple(chain))


def _refused(plan: Plan, rule: RuleId, reason: str, chain: tuple[str, ...] = ()) -> Deny:
    return Deny(rule, reason, chain, plan.rules[rule_index(plan, rule)].hint)


def _words(rights: Right) -> str:
    return ", ".join(cast("str", right.name).lower() for right in RIGHTS if right & rights)
