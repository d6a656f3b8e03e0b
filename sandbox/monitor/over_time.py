"""Rules over time as WebAssembly text: what is counted, what starts a rule, and what it takes away.

Which calls count for what is in `sandbox/monitor/calls`; how a right that was taken away is refused is in
`rights.py`, and what a rule says in `policy/plan_temporal.py`. INVARIANT: what a call starts holds from the
next call on, a rule that has started never stops, and rights are only ever taken away.

A rule is a bit: of the marks of a class (which rules watch the path), and of the masks of rules that wait for
a trigger. Where no rule waits, counting costs a load and a branch.
"""

from __future__ import annotations

from policy.plan import RIGHTS
from policy.plan_temporal import Reach, Trigger
from sandbox.monitor import tables as plan

_WAITING = {trigger: f"$at_{trigger.name.lower()}" for trigger in Trigger}
"""Globals: masks of the rules that wait for a trigger."""

_LOAD = "".join(
    f"(global.set {name} (i32.load $plan (i32.const {plan.WAITING + 4 * (trigger - 1)})))"
    for trigger, name in _WAITING.items()
)
_FORGET = "".join(
    f"(global.set {name} (i32.and (global.get {name}) (i32.xor (global.get $started) (i32.const -1))))"
    for name in _WAITING.values()
)

GLOBALS = (
    "".join(f"(global {name} (mut i32) (i32.const 0))" for name in _WAITING.values())
    + """
;; rules that this call starts, rules that have started, and the rights that these take away
(global $starting (mut i32) (i32.const 0))
(global $started (mut i32) (i32.const 0))
(global $taken (mut i32) (i32.const 0))
;; rules that have counted this call
(global $counted (mut i32) (i32.const 0))
"""
)

COUNTING = f"""
(func $marks (param $class i32) (result i32) (i32.load $plan offset={plan.MARKS} (local.get $class)))
(func $marks_of (param $at i32) (result i32)
  ;; the rules that watch the path of a descriptor; nothing watches a standard stream, or a socket
  (if (i32.gt_u (i32.sub (i32.load $plan offset={plan.KIND} (local.get $at)) (i32.const {plan.K_DIRECTORY}))
                (i32.const {plan.K_FILE - plan.K_DIRECTORY}))
    (then (return (i32.const 0))))
  (call $marks (i32.load $plan offset={plan.CLASS} (local.get $at))))
(func $starts (param $rules i32)
  (global.set $starting (i32.or (global.get $starting) (local.get $rules))))
(func $count (param $rules i32) (param $by i64) (local $at i32)
  ;; add to what each of these rules has counted; those that this brings over start
  (block $over (loop $next
    (br_if $over (i32.eqz (local.get $rules)))
    (local.set $at (i32.add (i32.const {plan.OVER_TIME})
      (i32.mul (i32.ctz (local.get $rules)) (i32.const {plan.OVER_TIME_BYTES}))))
    (i64.store $plan offset={plan.COUNT} (local.get $at)
      (i64.add (i64.load $plan offset={plan.COUNT} (local.get $at)) (local.get $by)))
    (if (i64.gt_s (i64.load $plan offset={plan.COUNT} (local.get $at))
                  (i64.load $plan offset={plan.OVER} (local.get $at)))
      (then (call $starts (i32.shl (i32.const 1) (i32.ctz (local.get $rules))))))
    (local.set $rules (i32.and (local.get $rules) (i32.sub (local.get $rules) (i32.const 1))))
    (br $next))))
(func $names (param $marks i32)
  ;; a call that these rules watch; it counts once, by however many paths and descriptors it is watched
  (local.set $marks (i32.and (i32.and (local.get $marks) (global.get $at_calls))
    (i32.xor (global.get $counted) (i32.const -1))))
  (global.set $counted (i32.or (global.get $counted) (local.get $marks)))
  (call $count (local.get $marks) (i64.const 1)))
(func $crosses (param $class i32) (param $class2 i32)
  ;; SECURITY: what a rename or a link takes out of what is watched could be used there and not be counted,
  ;; and so could what is filled elsewhere and then moved in
  (call $starts (i32.and (i32.xor (call $marks (local.get $class)) (call $marks (local.get $class2)))
    {" ".join(f"(i32.or (global.get {name})" for name in _WAITING.values())} (i32.const 0)
    {")" * len(_WAITING)})))
"""

STARTING = f"""
(func $arm_over_time {_LOAD})
(func $start (local $i i32) (local $at i32) (local $bit i32)
  ;; at the end of a call: what it has started takes rights away from the next on
  (global.set $started (i32.or (global.get $started) (global.get $starting)))
  (global.set $starting (i32.const 0))
  {_FORGET}
  (local.set $i (i32.const {plan.MAX_OVER_TIME}))
  ;; from the last to the first, so that of two that take the same right the first is named
  (loop $rules
    (local.set $i (i32.sub (local.get $i) (i32.const 1)))
    (if (i32.and (i32.shr_u (global.get $started) (local.get $i)) (i32.const 1)) (then
      (local.set $at (i32.add (i32.const {plan.OVER_TIME})
        (i32.mul (local.get $i) (i32.const {plan.OVER_TIME_BYTES}))))
      (global.set $taken (i32.or (global.get $taken) (i32.load $plan (local.get $at))))
      (local.set $bit (i32.const {len(RIGHTS)}))
      (loop $rights
        (local.set $bit (i32.sub (local.get $bit) (i32.const 1)))
        (if (i32.and (i32.shr_u (i32.load $plan (local.get $at)) (local.get $bit)) (i32.const 1)) (then
          (i32.store $plan offset={plan.TAKERS} (i32.shl (local.get $bit) (i32.const 2))
            (i32.load $plan offset={plan.OVER_TIME_RULE} (local.get $at)))))
        (br_if $rights (local.get $bit)))
      (local.set $bit (i32.const {len(Reach)}))
      (loop $uses
        (local.set $bit (i32.sub (local.get $bit) (i32.const 1)))
        (if (i32.and (i32.shr_u (i32.load $plan offset={plan.REACH} (local.get $at)) (local.get $bit))
                     (i32.const 1)) (then
          (i32.store $plan offset={plan.NET_TAKERS} (i32.shl (local.get $bit) (i32.const 2))
            (i32.add (i32.load $plan offset={plan.OVER_TIME_RULE} (local.get $at)) (i32.const 1)))))
        (br_if $uses (local.get $bit)))))
    (br_if $rules (local.get $i))))
"""

OVER_TIME = GLOBALS + COUNTING + STARTING
"""All of the above, in the order in which it is best read."""


def counts_call(marks: str, *, is_first: bool = False) -> str:
    """Count the call for the rules in the mask that the expression `marks` gives, if they have not yet."""
    anew = "(global.set $counted (i32.const 0)) " if is_first else ""
    return f"(if (global.get $at_calls) (then {anew}(call $names {marks})))\n"


def counts_bytes(trigger: Trigger, many: str) -> str:
    """Count what was moved through the descriptor in `$at`; `many` is an expression."""
    waiting = f"(global.get {_WAITING[trigger]})"
    marked = f"(i32.and {waiting} (call $marks_of (local.get $at)))"
    return f"(if {waiting} (then (call $count {marked} {many})))\n"


def counts_opening(marks: str) -> str:
    """Start the rules in the mask that the expression `marks` gives, if opening does."""
    waiting = f"(global.get {_WAITING[Trigger.OPENED]})"
    return f"(if {waiting} (then (call $starts (i32.and {waiting} {marks}))))\n"
