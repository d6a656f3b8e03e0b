"""Waiting in `poll_oneoff`.

The wait itself is bounded by the supervisor's wall clock, which ends the cell. SECURITY: a wait until a
point in time on a clock that the plan replaces would tell the guest the real time, so it is refused;
a wait for a span of time is not.
"""

from __future__ import annotations

from policy.plan import SourceKind
from sandbox.monitor import tables as plan
from sandbox.monitor.calls.shape import Lowering, enter, real
from sandbox.monitor.kernel import AT, ERRNO_NOTCAPABLE, fixed_rule, word
from sandbox.monitor.layout import Reason

_PARAMS = ("in", "out", "nsubscriptions", "result")
_SUBSCRIPTION = 48  # bytes: userdata, tag at 8, then for a clock: id at 16, timeout at 24, flags at 40
_REAL = int(SourceKind.REAL)

_POLL = f"""{enter("poll_oneoff")}
(i64.store $ring offset={AT["flags"]} (global.get $rec) (i64.extend_i32_u (local.get $nsubscriptions)))
(if (i32.or (i32.ne {word(plan.WALL_KIND)} (i32.const {_REAL}))
            (i32.ne {word(plan.MONOTONIC_KIND)} (i32.const {_REAL}))) (then
  (local.set $at (local.get $in))
  (block $over (loop $next
    (br_if $over (i32.ge_u (local.get $i) (local.get $nsubscriptions)))
    ;; the host traps on a subscription outside the guest's memory: leave that to it
    (br_if $over (call $out_of_bounds (local.get $at) (i32.const {_SUBSCRIPTION})))
    (if (i32.and (i32.eqz (i32.load8_u $guest offset=8 (local.get $at)))
                 (i32.and (i32.load16_u $guest offset=40 (local.get $at)) (i32.const 1))) (then
      (local.set $clock (i32.load $guest offset=16 (local.get $at)))
      (if (i32.ne (i32.const {_REAL})
            (if (result i32) (local.get $clock) (then {word(plan.MONOTONIC_KIND)})
              (else {word(plan.WALL_KIND)})))
        (then
          (if (call $deny
                (if (result i32) (local.get $clock) (then {fixed_rule("clocks.monotonic")})
                                                    (else {fixed_rule("clocks.wall")}))
                (i32.const {int(Reason.CLOCK)}) (i32.const 0) (i32.const 0))
            (then (return (call $refuse (i32.const {ERRNO_NOTCAPABLE})))))
          (br $over)))))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (local.set $at (i32.add (local.get $at) (i32.const {_SUBSCRIPTION})))
    (br $next)))))
(call $publish)
(call $complete {real("poll_oneoff", _PARAMS)})"""

FUNCTIONS = (
    Lowering(
        "poll_oneoff",
        _PARAMS,
        "flags: subscriptions",
        _POLL,
        ("$i i32", "$at i32", "$clock i32"),
    ),
)
