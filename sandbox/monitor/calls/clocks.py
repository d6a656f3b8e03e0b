"""Clocks: real and rounded, frozen, virtual, or none, as the plan says for wall and monotonic time.

Waiting is `poll.py`, moving virtual time `sandbox/monitor/determinism.py`; the time in the records is the
monitor's own and always real. The two CPU-time clocks are the host's to answer (`badf`).
"""

from __future__ import annotations

from policy.plan import SourceKind
from sandbox.monitor import tables as plan
from sandbox.monitor.calls.shape import Lowering, enter
from sandbox.monitor.kernel import AT, ERRNO_NOTCAPABLE, fixed_rule, long, word
from sandbox.monitor.layout import Reason

_NONE = int(SourceKind.NONE)
_FIXED = int(SourceKind.FIXED)

_DECIDE = f"""
(i64.store $ring offset={AT["flags"]} (global.get $rec) (i64.extend_i32_u (local.get $id)))
(local.set $kind (i32.const {int(SourceKind.REAL)}))
(if (i32.eqz (local.get $id)) (then (local.set $kind {word(plan.WALL_KIND)})))
(if (i32.eq (local.get $id) (i32.const 1)) (then (local.set $kind {word(plan.MONOTONIC_KIND)})))
(if (i32.eq (local.get $kind) (i32.const {_NONE})) (then
  (if (call $deny
        (if (result i32) (local.get $id) (then {fixed_rule("clocks.monotonic")})
                                         (else {fixed_rule("clocks.wall")}))
        (i32.const {int(Reason.RULE)}) (i32.const 0) (i32.const 0))
    (then (return (call $refuse (i32.const {ERRNO_NOTCAPABLE})))))))
(call $publish)
"""

# where a refusal is only recorded, a clock that the plan does not give is virtual in a deterministic run too
_IS_VIRTUAL = f"""(i32.and {word(plan.IS_DETERMINISTIC)}
  (i32.and (i32.lt_u (local.get $id) (i32.const 2)) (i32.ne (local.get $kind) (i32.const {_FIXED}))))"""

_RESOLUTION = f"""{enter("clock_res_get")}{_DECIDE}
(if (i32.or (i32.eq (local.get $kind) (i32.const {_FIXED})) {_IS_VIRTUAL}) (then
  (call $aligned (local.get $result) (i32.const 7))
  (i64.store $guest (local.get $result) {long(plan.RESOLUTION_NS)})
  (return (call $complete (i32.const 0)))))
(local.set $errno (call $real.clock_res_get (local.get $id) (local.get $result)))
(if (i32.eqz (local.get $errno)) (then
  (if (i64.lt_u (i64.load $guest (local.get $result)) {long(plan.RESOLUTION_NS)})
    (then (i64.store $guest (local.get $result) {long(plan.RESOLUTION_NS)})))))
(call $complete (local.get $errno))"""

_TIME = f"""{enter("clock_time_get")}{_DECIDE}
(if (i32.or (i32.eq (local.get $kind) (i32.const {_FIXED})) {_IS_VIRTUAL}) (then
  (call $aligned (local.get $result) (i32.const 7))
  (i64.store $guest (local.get $result)
    (if (result i64) (local.get $id) (then {long(plan.MONOTONIC_NS)}) (else {long(plan.WALL_NS)})))
  (if {_IS_VIRTUAL} (then (call $advance {long(plan.RESOLUTION_NS)})))
  (return (call $complete (i32.const 0)))))
(local.set $errno (call $real.clock_time_get (local.get $id) (local.get $precision) (local.get $result)))
(if (i32.and (i32.eqz (local.get $errno)) (i64.gt_u {long(plan.RESOLUTION_NS)} (i64.const 1))) (then
  (local.set $now (i64.load $guest (local.get $result)))
  (i64.store $guest (local.get $result)
    (i64.sub (local.get $now) (i64.rem_u (local.get $now) {long(plan.RESOLUTION_NS)})))))
(call $complete (local.get $errno))"""

_LOCALS = ("$kind i32", "$errno i32", "$now i64")

FUNCTIONS = (
    Lowering("clock_res_get", ("id", "result"), "flags: the clock", _RESOLUTION, _LOCALS),
    Lowering("clock_time_get", ("id", "precision", "result"), "flags: the clock", _TIME, _LOCALS),
)
