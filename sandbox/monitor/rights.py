"""Rights as WebAssembly text: what a class of paths grants, what is left of it now, and refusing the rest.

What a call asks for is in `sandbox/monitor/calls`, what takes rights away while a guest runs in
`over_time.py`. INVARIANT: a right is granted only by `$granted`; what a path has by the policy alone,
`$rights_of`, is asked where more of it refuses more.
"""

from __future__ import annotations

from functools import reduce
from operator import or_

from policy.plan import LIVE
from policy.plan import RIGHTS as ALL
from sandbox.monitor import tables as plan
from sandbox.monitor.kernel import AT
from sandbox.monitor.layout import Reason

RIGHTS = f"""
(func $class_rule (param $class i32) (param $bit i32) (result i32)
  (i32.load16_u $plan offset=4 (i32.add (local.get $class) (i32.shl (local.get $bit) (i32.const 1)))))
(func $rights_of (param $class i32) (result i32) (i32.load $plan (local.get $class)))
(func $granted (param $class i32) (result i32)
  (i32.and (i32.load $plan (local.get $class)) (i32.xor (global.get $taken) (i32.const -1))))
(func $is_live (param $state i32) (result i32)
  ;; something is granted there or below; a rule over time that takes every right leaves nothing anywhere
  (i32.and (i32.and (call $flags_of (local.get $state)) (i32.const {LIVE}))
    (i32.ne (global.get $taken) (i32.const {int(reduce(or_, ALL))}))))
(func $decider (param $class i32) (param $bit i32) (result i32) (local $rule i32)
  ;; the rule that decides a right: what the table of paths names, unless a rule over time comes before it
  (local.set $rule (call $class_rule (local.get $class) (local.get $bit)))
  (if (i32.eqz (i32.and (i32.shr_u (global.get $taken) (local.get $bit)) (i32.const 1)))
    (then (return (local.get $rule))))
  (if (i32.eqz (i32.load $plan offset={plan.IS_LATE} (call $rule_at (local.get $rule))))
    (then (return (local.get $rule))))
  (i32.load $plan offset={plan.TAKERS} (i32.shl (local.get $bit) (i32.const 2))))
(func $lacks (param $class i32) (param $need i32) (result i32) (local $missing i32) (local $bit i32)
  (local $rule i32)
  ;; decide `need` at a path of this class: 1 when the call is to be refused
  (local.set $missing (i32.and (local.get $need)
    (i32.xor (call $granted (local.get $class)) (i32.const -1))))
  (if (i32.eqz (local.get $missing)) (then
    (if (i32.and (i32.ne (local.get $need) (i32.const 0))
          (i32.eqz (i32.load8_u $ring offset={AT["decision"]} (global.get $rec)))) (then
      ;; the rule that granted it, on record as that of a refusal is
      (i32.store16 $ring offset={AT["rule"]} (global.get $rec)
        (call $class_rule (local.get $class) (i32.ctz (local.get $need))))))
    (return (i32.const 0))))
  (local.set $bit (i32.ctz (local.get $missing)))
  (local.set $rule (call $decider (local.get $class) (local.get $bit)))
  (call $deny (local.get $rule) (i32.const {int(Reason.RULE)}) (i32.add (local.get $bit) (i32.const 1))
    (call $is_hard (local.get $rule))))
(func $forbids (param $at i32) (param $need i32) (result i32)
  ;; the same for a descriptor of a file or directory; what others can do the host knows
  (if (i32.lt_u (i32.load $plan offset={plan.KIND} (local.get $at)) (i32.const {plan.K_DIRECTORY}))
    (then (return (i32.const 0))))
  (call $lacks (i32.load $plan offset={plan.CLASS} (local.get $at)) (local.get $need)))
"""
