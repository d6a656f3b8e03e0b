"""Rules over time as WebAssembly text: what is counted, what starts a rule, and what it takes away.

Which calls count for what is in `sandbox/monitor/calls`; how a right that was taken away is refused is in
`rights.py`, and what a rule says in `policy/plan_temporal.py`. INVARIANT: what a call starts holds from the
next call on, a rule that has started never stops, and rights are only ever taken away.

A rule is a bit: of the marks of a class (the paths that it watches), and of the masks below (which rules a
trigger can still start). A plan without such rules costs a load and a branch where something is counted.
"""

from __future__ import annotations

from policy.plan import RIGHTS
from policy.plan_temporal import Trigger
from sandbox.monitor import tables as plan

OPENED, BYTES_IN, BYTES_OUT, CALLS = "$at_opening", "$at_bytes_in", "$at_bytes_out", "$at_calls"
"""Globals: masks of the rules that wait for each trigger."""

_MASKS = {
    Trigger.OPENED: OPENED,
    Trigger.BYTES_IN: BYTES_IN,
    Trigger.BYTES_OUT: BYTES_OUT,
    Trigger.CALLS: CALLS,
}
_LOADED = "".join(
    f"(global.set {name} (i32.load $plan (i32.const {plan.WAITING + 4 * (trigger - 1)})))"
    for trigger, name in _MASKS.items()
)
_WAITING = " ".join(f"(global.get {name})" for name in _MASKS.values())
_LEFT = "".join(
    f"(global.set {name} (i32.and (global.get {name}) (i32.xor (global.get $started) (i32.const -1))))"
    for name in _MASKS.values()
)

GLOBALS = (
    "".join(f"(global {name} (mut i32) (i32.const 0))" for name in _MASKS.values())
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
(func $arm_over_time {_LOADED})
(func $marks (param $class i32) (result i32) (i32.load $plan offset={plan.MARKS} (local.get $class)))
(func $marks_on (param $at i32) (result i32)
  ;; the rules that watch the path of a descriptor; standard streams have none
  (if (i32.lt_u (i32.load $plan offset={plan.KIND} (local.get $at)) (i32.const {plan.K_DIRECTORY}))
    (then (return (i32.const 0))))
  (call $marks (i32.load $plan offset={plan.CLASS} (local.get $at))))
(func $starts (param $rules i32)
  (global.set $starting (i32.or (global.get $starting) (local.get $rules))))
(func $count (param $rules i32) (param $by i64) (local $at i32)
  ;; add to what each of these rules has counted, and start those that this brings over
  (block $over (loop $next
    (br_if $over (i32.eqz (local.get $rules)))
    (local.set $at (i32.add (i32.const {plan.OVER_TIME})
      (i32.mul (i32.ctz (local.get $rules)) (i32.const {plan.OVER_TIME_BYTES}))))
    (i64.store $plan offset={plan.COUNT} (local.get $at)
      (i64.add (i64.load $plan offset={plan.COUNT} (local.get $at)) (local.get $by)))
    (if (i64.gt_u (i64.load $plan offset={plan.COUNT} (local.get $at))
                  (i64.load $plan offset={plan.OVER} (local.get $at)))
      (then (call $starts (i32.shl (i32.const 1) (i32.ctz (local.get $rules))))))
    (local.set $rules (i32.and (local.get $rules) (i32.sub (local.get $rules) (i32.const 1))))
    (br $next))))
(func $names (param $marks i32)
  ;; this call names what these rules watch: it counts once, however often it does so
  (local.set $marks (i32.and (i32.and (local.get $marks) (global.get {CALLS}))
    (i32.xor (global.get $counted) (i32.const -1))))
  (global.set $counted (i32.or (global.get $counted) (local.get $marks)))
  (call $count (local.get $marks) (i64.const 1)))
(func $crosses (param $marks i32) (param $marks2 i32)
  ;; SECURITY: content that a rename or a link takes out of what is watched could be used there uncounted, and
  ;; so could what is written elsewhere first and moved in
  (call $starts (i32.and (i32.xor (local.get $marks) (local.get $marks2))
    (i32.or {_WAITING.replace(" (", ") (i32.or (", 1).replace(" (", " (") if False else "%s"}))))
"""
