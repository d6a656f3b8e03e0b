"""What a plan says about one host call, and why.

The monitor decides from the same tables in its own memory; what it refuses for reasons that only a
running guest shows (links on the way, spent budgets, closed descriptors) is not foreseen here.
A decision is a value to match on: it has no truth value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import NoReturn, cast

from policy import fixed
from policy.aliases import CONTENT, rights_elsewhere
from policy.automaton import automaton_state, is_live, path_class
from policy.calls import CALL_CODES, CALLS, HostCall
from policy.compiler import rule_index
from policy.errors import quoted
from policy.globs import MAX_PATH
from policy.plan import RIGHTS, Mode, Plan, Right, RuleId, RuleKind, SourceKind
from policy.targets import Place, resolve


@dataclass(frozen=True, slots=True)
class _Decided:
    """What all decisions carry: the rule, the reason, and how it came about, step by step."""

    rule_id: RuleId
    reason: str
    chain: tuple[str, ...] = ()

    def __bool__(self) -> NoReturn:
        """A decision is matched on, never tested."""
        raise TypeError("match on Allow, Deny and WouldDeny: a decision has no truth value")


@dataclass(frozen=True, slots=True)
class Allow(_Decided):
    """The call happens."""

    __bool__ = _Decided.__bool__


@dataclass(frozen=True, slots=True)
class Deny(_Decided):
    """The call is refused."""

    hint: str = ""  # how to allow it
    is_final: bool = False  # refused in audit mode too
    __bool__ = _Decided.__bool__


@dataclass(frozen=True, slots=True)
class WouldDeny(_Decided):
    """The call happens, since the policy only audits; it would be refused if it were enforced."""

    hint: str = ""
    __bool__ = _Decided.__bool__


Decision = Allow | Deny | WouldDeny

NOTHING_DECIDES = RuleId("")
"""The rule of a call that is allowed because nothing in the policy is about it."""


class UnknownCallError(ValueError):
    """A name that is no host call, or a call that lacks what decides it."""


def decide(
    plan: Plan,
    call: str,
    *,
    target: str | None = None,
    target2: str | None = None,
    wants: Right | None = None,
) -> Decision:
    """The decision on `call` with these arguments.

    `target` is a guest path, a `fs:///…` or `tmp://…` URI, `stdin`, `stdout`, `stderr` for calls on
    descriptors, or `wall` and `monotonic` for clocks; `target2` is where a rename or link leads. `wants`
    says what `path_open` asks for (default: to read).

    Raises:
        UnknownCallError: for a call that does not exist, or one whose path is missing.
    """
    if call not in CALL_CODES:
        raise UnknownCallError(f"no host call is named {quoted(call)}")
    host_call = CALLS[CALL_CODES[call]]
    decision = _decide(plan, host_call, target, target2, wants=wants)
    match decision:
        case Deny(is_final=False) if plan.mode is Mode.AUDIT:
            return WouldDeny(decision.rule_id, decision.reason, decision.chain, decision.hint)
        case _:
            return decision


def decide_module(plan: Plan, *, digest: str, name: str) -> Allow | Deny:
    """Whether the policy is for the module with this digest and name; each key of `match` must fit."""
    if plan.match_digests and digest not in plan.match_digests:
        return Deny(RuleId("match"), f"the policy is not for a module with the digest {quoted(digest)}")
    if plan.match_names and not any(fnmatchcase(name, glob) for glob in plan.match_names):
        return Deny(RuleId("match"), f"the policy is not for a module named {quoted(name)}")
    return Allow(RuleId("match"), "the policy is for this module")


def _decide(
    plan: Plan, call: HostCall, target: str | None, target2: str | None, *, wants: Right | None
) -> Allow | Deny:
    for name, index in plan.denied_calls:
        if name == call.name:
            return _refused(plan, plan.rules[index].id, plan.rules[index].summary)
    match call.capability:
        case "clocks":
            return _decide_clock(plan, target)
        case "storage" if target in {"stdin", "stdout", "stderr"}:
            return _decide_stream(plan, target)
        case "storage" if target is not None:
            return _decide_storage(plan, call, (target, target2), wants)
        case "storage" if call.name.startswith("path_"):
            raise UnknownCallError(f"{call.name} is decided by its path: say which")
        case "storage":
            return Allow(NOTHING_DECIDES, "decided when the descriptor was opened")
        case _:
            return Allow(NOTHING_DECIDES, f"{call.name} is always allowed")


def _decide_storage(
    plan: Plan, call: HostCall, targets: tuple[str, str | None], wants: Right | None
) -> Allow | Deny:
    source, goal = targets
    first = _decide_path(plan, source, lambda rights: _needed(call, wants, rights))
    if isinstance(first, Deny) or not call.rights2:
        return first
    if goal is None:
        raise UnknownCallError(f"{call.name} is decided by two paths: say the second")
    second = _decide_path(plan, goal, lambda _: call.rights2)
    return second if isinstance(second, Deny) else _decide_move(plan, call, (source, goal), first)


def _decide_move(plan: Plan, call: HostCall, targets: tuple[str, str], first: Allow) -> Allow | Deny:
    """A rename or a link may not give a file rights that it lacks where it is, in any mount."""
    source, goal = targets
    before = [
        place
        for place in resolve(plan, source)
        if isinstance(_decide_place(plan, place, lambda rights: _needed(call, None, rights)), Allow)
    ]
    after = [
        place
        for place in resolve(plan, goal)
        if isinstance(_decide_place(plan, place, lambda _: call.rights2), Allow)
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
    source, rule = clocks.get(target or "monotonic", clocks["monotonic"])
    if source is SourceKind.NONE:
        return _refused(plan, rule, f"the policy gives no {target or 'monotonic'} clock")
    return Allow(
        NOTHING_DECIDES, "the clock is frozen" if source is SourceKind.FIXED else "the clock is real"
    )


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


def _decide_path(plan: Plan, target: str, needs: Callable[[int], Right]) -> Allow | Deny:
    if len(target.encode("utf-8", "surrogateescape")) >= MAX_PATH:
        return replace(_refused(plan, fixed.PATH_LENGTH, "the path is too long"), is_final=True)
    places = resolve(plan, target)
    if not places:
        chain = (f"mounts: none holds {quoted(target)}", "default: refused")
        return replace(
            _refused(plan, fixed.DEFAULT, f"no mount holds {quoted(target)}", chain), is_final=True
        )
    decisions = [_decide_place(plan, place, needs) for place in places]
    return next((found for found in decisions if isinstance(found, Allow)), decisions[0])


def _needed(call: HostCall, wants: Right | None, rights: int) -> Right:
    """The rights that decide `call` on a path with `rights`; one way of writing stands for the other."""
    needed = (wants or Right.READ) if call.name == "path_open" else call.rights
    if Right.APPEND in needed and rights & Right.WRITE:
        return (needed & ~Right.APPEND) | Right.WRITE
    if call.name == "fd_write" and rights & (Right.WRITE | Right.APPEND) == Right.APPEND:
        return Right.APPEND
    return needed


def _decide_place(plan: Plan, place: Place, needs: Callable[[int], Right]) -> Allow | Deny:
    state = automaton_state(plan, place.mount, place.segments)
    found = path_class(plan, state)
    needed = needs(found.rights)
    chain = [f"mount: {place.mount.guest} holds it, which is {place.uri}"]
    if not needed:
        if is_live(plan, state):
            return Allow(NOTHING_DECIDES, "something is granted here or below", tuple(chain))
        rule = plan.rules[found.rules[0]]
        refusal = _refused(plan, rule.id, "nothing is granted here or below", tuple(chain))
        return replace(refusal, is_final=rule.kind is RuleKind.BUILTIN)
    decider = NOTHING_DECIDES
    for right, index in zip(RIGHTS, found.rules, strict=True):
        if needed & right:
            rule = plan.rules[index]
            decider = rule.id
            chain.extend(_steps(rule.kind, rule.id, _words(right)))
            if not found.rights & right:
                reason = f"{_words(right)} is not granted: {rule.summary}"
                refusal = _refused(plan, rule.id, reason, tuple(chain))
                # SECURITY: what is denied by nature is denied in every mode, as the monitor does
                return replace(refusal, is_final=rule.kind is RuleKind.BUILTIN)
    return Allow(decider, f"{_words(needed)} is granted by {decider}", tuple(chain))


_ORDER = (
    (RuleKind.BUILTIN, "built-in deny", "refused"),
    (RuleKind.DENY, "deny rules", "refused"),
    (RuleKind.ALLOW, "allow rules", "granted"),
    (RuleKind.DEFAULT, "default", "refused"),
)


def _steps(kind: RuleKind, rule: RuleId, right: str) -> list[str]:
    """The evaluation up to the rule that decides."""
    steps: list[str] = []
    for each, stage, verdict in _ORDER:
        if each is kind:
            steps.append(f"{right}: {stage}: {verdict}" + ("" if kind is RuleKind.DEFAULT else f" by {rule}"))
            break
        steps.append(f"{right}: {stage}: none applies")
    return steps


def _refused(plan: Plan, rule: RuleId, reason: str, chain: tuple[str, ...] = ()) -> Deny:
    return Deny(rule, reason, chain, plan.rules[rule_index(plan, rule)].hint)


def _words(rights: Right) -> str:
    return ", ".join(cast("str", right.name).lower() for right in RIGHTS if right & rights)
