"""Waiting in `poll_oneoff`.

The wait itself is bounded by the supervisor's wall clock, which ends the cell. SECURITY: a wait until a
point in time on a clock that stands still would tell the guest the real time, so it is refused; a wait for a
span of time is not. In a deterministic run nothing waits: virtual time moves on to the first time that is
waited for, and every descriptor is ready at once, since when it would be is the host's to know.
"""

from __future__ import annotations

from policy.plan import SourceKind
from sandbox.monitor import tables as plan
from sandbox.monitor.calls.shape import Lowering, enter, real
from sandbox.monitor.kernel import AT, ERRNO_BADF, ERRNO_NOTCAPABLE, fixed_rule, long, word
from sandbox.monitor.layout import Reason
from sandbox.monitor.socket_kernel import request
from sandbox.network.protocol import DATA_AT, MAX_POLLED, POLLED, Op

_PARAMS = ("in", "out", "nsubscriptions", "result")
_SUBSCRIPTION = 48  # bytes: userdata, tag at 8, then for a clock: id at 16, timeout at 24, flags at 40
_EVENT = 32  # bytes: userdata, errno at 8, type at 10, then for a descriptor: bytes at 16, flags at 24
_FD_READ = 1  # tags of subscriptions; 0 is a clock
_FD_WRITE = 2
_ERRNO_INVAL = 28
_ERRNO_NOTSUP = 58


def _stands(kind: str) -> str:
    """Whether a clock of this kind shows one time for ever, or none."""
    return (
        f"(i32.or (i32.eq {kind} (i32.const {int(SourceKind.FIXED)}))"
        f" (i32.eq {kind} (i32.const {int(SourceKind.NONE)})))"
    )


# How long the subscription at `$at` still waits, by the times before the wait.
_LEFT = """
(local.set $left (i64.load $guest offset=24 (local.get $at)))
(if (i32.and (i32.load16_u $guest offset=40 (local.get $at)) (i32.const 1)) (then
  (local.set $now (select (local.get $monotonic) (local.get $wall)
    (i32.load $guest offset=16 (local.get $at))))
  (local.set $left (select (i64.sub (local.get $left) (local.get $now)) (i64.const 0)
    (i64.gt_u (local.get $left) (local.get $now))))))
"""


def _each(body: str) -> str:
    """Do `body` with each subscription, at `$at`."""
    return f"""
(local.set $at (local.get $in))
(local.set $i (i32.const 0))
(block $over (loop $next
  (br_if $over (i32.ge_u (local.get $i) (local.get $nsubscriptions)))
{body}
  (local.set $i (i32.add (local.get $i) (i32.const 1)))
  (local.set $at (i32.add (local.get $at) (i32.const {_SUBSCRIPTION})))
  (br $next)))"""


SUPPORT = f"""
(func $poll_virtual (param $in i32) (param $out i32) (param $nsubscriptions i32) (param $result i32)
    (result i32)
    (local $i i32) (local $at i32) (local $tag i32) (local $n i32) (local $is_ready i32)
    (local $wait i64) (local $left i64) (local $now i64) (local $wall i64) (local $monotonic i64)
  (if (i32.eqz (local.get $nsubscriptions)) (then (return (i32.const {_ERRNO_INVAL}))))
  (local.set $wall {long(plan.WALL_NS)})
  (local.set $monotonic {long(plan.MONOTONIC_NS)})
  (local.set $wait (i64.const -1))
  {
    _each(f'''
  (local.set $tag (i32.load8_u $guest offset=8 (local.get $at)))
  (if (i32.gt_u (local.get $tag) (i32.const {_FD_WRITE})) (then (return (i32.const {_ERRNO_INVAL}))))
  (if (local.get $tag) (then (local.set $is_ready (i32.const 1))) (else
    (if (i32.gt_u (i32.load $guest offset=16 (local.get $at)) (i32.const 1))
      (then (return (i32.const {_ERRNO_INVAL}))))
    {_LEFT}
    (if (i64.lt_u (local.get $left) (local.get $wait)) (then (local.set $wait (local.get $left))))))''')
}
  (if (local.get $is_ready) (then (local.set $wait (i64.const 0))))
  (call $advance (local.get $wait))
  {
    _each(f'''
  (local.set $tag (i32.load8_u $guest offset=8 (local.get $at)))
  (if (i32.eqz (local.get $tag)) (then {_LEFT}))
  (if (i32.or (local.get $tag) (i64.le_u (local.get $left) (local.get $wait))) (then
    (i64.store $guest (local.get $out) (i64.load $guest (local.get $at)))
    (memory.fill $guest (i32.add (local.get $out) (i32.const 8)) (i32.const 0) (i32.const {_EVENT - 8}))
    (i32.store8 $guest offset=10 (local.get $out) (local.get $tag))
    (if (local.get $tag) (then
      (if (i32.load $plan offset={plan.KIND} (call $entry (i32.load $guest offset=16 (local.get $at))))
        (then (i64.store $guest offset=16 (local.get $out) (i64.const 1)))
        (else (i32.store16 $guest offset=8 (local.get $out) (i32.const {ERRNO_BADF}))))))
    (local.set $out (i32.add (local.get $out) (i32.const {_EVENT})))
    (local.set $n (i32.add (local.get $n) (i32.const 1)))))''')
}
  (i32.store $guest (local.get $result) (local.get $n))
  (i32.const 0))
"""

_MAX_WAITED = MAX_POLLED
_ROW = POLLED.size

SUPPORT += f"""
(func $has_socket (param $in i32) (param $n i32) (result i32)
  ;; whether a socket is among what is waited for; what lies outside the guest's memory is left to the host
  (block $over (loop $next
    (br_if $over (i32.eqz (local.get $n)))
    (br_if $over (call $out_of_bounds (local.get $in) (i32.const {_SUBSCRIPTION})))
    (if (i32.load8_u $guest offset=8 (local.get $in)) (then
      (if (i32.ge_u (i32.load $plan offset={
    plan.KIND
} (call $entry (i32.load $guest offset=16 (local.get $in))))
                    (i32.const {plan.K_TCP}))
        (then (return (i32.const 1))))))
    (local.set $in (i32.add (local.get $in) (i32.const {_SUBSCRIPTION})))
    (local.set $n (i32.sub (local.get $n) (i32.const 1)))
    (br $next)))
  (i32.const 0))
(func $time_of (param $clock i32) (result i64)
  (drop (call $probe.clock_time_get (local.get $clock) (i64.const 0) (i32.const 0)))
  (i64.load $scratch (i32.const 0)))
(func $poll_sockets (param $in i32) (param $out i32) (param $nsubscriptions i32) (param $result i32)
    (result i32)
    (local $i i32) (local $at i32) (local $tag i32) (local $n i32) (local $row i32) (local $entry i32)
    (local $status i32) (local $wait i64) (local $left i64) (local $now i64) (local $wall i64)
    (local $monotonic i64) (local $passed i64)
  (if (i32.gt_u (local.get $nsubscriptions) (i32.const {_MAX_WAITED})) (then (return (i32.const {
    _ERRNO_INVAL
}))))
  (local.set $wall (call $time_of (i32.const 0)))
  (local.set $monotonic (call $time_of (i32.const 1)))
  (local.set $wait (i64.const -1))
  (local.set $row (i32.const {DATA_AT}))
  {
    _each(f'''
  (local.set $tag (i32.load8_u $guest offset=8 (local.get $at)))
  (if (i32.gt_u (local.get $tag) (i32.const {_FD_WRITE})) (then (return (i32.const {_ERRNO_INVAL}))))
  (if (i32.eqz (local.get $tag)) (then
    {_LEFT}
    (if (i64.lt_u (local.get $left) (local.get $wait)) (then (local.set $wait (local.get $left)))))
  (else
    (local.set $entry (call $entry (i32.load $guest offset=16 (local.get $at))))
    (if (i32.ge_u (i32.load $plan offset={plan.KIND} (local.get $entry)) (i32.const {plan.K_TCP}))
      (then
        (i32.store $exchange (local.get $row) (i32.load $plan offset={plan.HANDLE} (local.get $entry)))
        (i32.store $exchange offset=4 (local.get $row) (local.get $tag))
        (local.set $row (i32.add (local.get $row) (i32.const {_ROW}))))
      ;; a file is always ready, and of a number that is none that can be said at once
      (else (local.set $wait (i64.const 0))))))''')
}
  ;; no guest waits for longer than its time, so that a wait without end is one of a century
  (local.set $status {
    request(
        Op.POLL,
        "(i32.const 0)",
        f"(i64.const {DATA_AT})",
        f"(i64.extend_i32_u (i32.div_u (i32.sub (local.get $row) (i32.const {DATA_AT})) (i32.const {_ROW})))",
        "(select (i64.const -1) (local.get $wait) (i64.lt_s (local.get $wait) (i64.const 0)))",
    )
})
  (if (local.get $status) (then (return (local.get $status))))
  (local.set $passed (i64.sub (call $time_of (i32.const 1)) (local.get $monotonic)))
  (local.set $row (i32.const {DATA_AT}))
  {
    _each(f'''
  (local.set $tag (i32.load8_u $guest offset=8 (local.get $at)))
  (local.set $status (i32.const -1))
  (if (i32.eqz (local.get $tag)) (then
    {_LEFT}
    (if (i64.le_u (local.get $left) (local.get $passed)) (then (local.set $status (i32.const 0)))))
  (else
    (local.set $entry (call $entry (i32.load $guest offset=16 (local.get $at))))
    (if (i32.ge_u (i32.load $plan offset={plan.KIND} (local.get $entry)) (i32.const {plan.K_TCP}))
      (then
        (if (i32.or (i32.load $exchange offset=8 (local.get $row))
                    (i32.load $exchange offset=12 (local.get $row)))
          (then (local.set $status (i32.load $exchange offset=12 (local.get $row)))))
        (local.set $row (i32.add (local.get $row) (i32.const {_ROW}))))
      (else (local.set $status (call $instant (local.get $entry)))))))
  (if (i32.ge_s (local.get $status) (i32.const 0)) (then
    (i64.store $guest (local.get $out) (i64.load $guest (local.get $at)))
    (memory.fill $guest (i32.add (local.get $out) (i32.const 8)) (i32.const 0) (i32.const {_EVENT - 8}))
    (i32.store16 $guest offset=8 (local.get $out) (local.get $status))
    (i32.store8 $guest offset=10 (local.get $out) (local.get $tag))
    (if (local.get $tag) (then (i64.store $guest offset=16 (local.get $out) (i64.const 1))))
    (local.set $out (i32.add (local.get $out) (i32.const {_EVENT})))
    (local.set $n (i32.add (local.get $n) (i32.const 1)))))''')
}
  (i32.store $guest (local.get $result) (local.get $n))
  (i32.const 0))
(func $instant (param $entry i32) (result i32) (local $kind i32)
  ;; what is said at once of what is no socket: standard input can't be waited for beside one
  (local.set $kind (i32.load $plan offset={plan.KIND} (local.get $entry)))
  (if (i32.eqz (local.get $kind)) (then (return (i32.const {ERRNO_BADF}))))
  (select (i32.const {_ERRNO_NOTSUP}) (i32.const 0) (i32.eq (local.get $kind) (i32.const {plan.K_STDIN}))))
"""

_POLL = f"""{enter("poll_oneoff")}
(i64.store $ring offset={AT["flags"]} (global.get $rec) (i64.extend_i32_u (local.get $nsubscriptions)))
(if (i32.or {_stands(word(plan.WALL_KIND))} {_stands(word(plan.MONOTONIC_KIND))}) (then
  (local.set $at (local.get $in))
  (block $over (loop $next
    (br_if $over (i32.ge_u (local.get $i) (local.get $nsubscriptions)))
    ;; the host traps on a subscription outside the guest's memory: leave that to it
    (br_if $over (call $out_of_bounds (local.get $at) (i32.const {_SUBSCRIPTION})))
    (if (i32.and (i32.eqz (i32.load8_u $guest offset=8 (local.get $at)))
                 (i32.and (i32.load16_u $guest offset=40 (local.get $at)) (i32.const 1))) (then
      (local.set $clock (i32.load $guest offset=16 (local.get $at)))
      (local.set $kind (if (result i32) (local.get $clock) (then {word(plan.MONOTONIC_KIND)})
              (else {word(plan.WALL_KIND)})))
      (if {_stands("(local.get $kind)")}
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
(if {word(plan.IS_DETERMINISTIC)} (then
  (return (call $complete (call $poll_virtual {" ".join(f"(local.get ${name})" for name in _PARAMS)})))))
(if (call $has_socket (local.get $in) (local.get $nsubscriptions)) (then
  (return (call $complete (call $poll_sockets {" ".join(f"(local.get ${name})" for name in _PARAMS)})))))
(call $complete {real("poll_oneoff", _PARAMS)})"""

FUNCTIONS = (
    Lowering(
        "poll_oneoff",
        _PARAMS,
        "flags: subscriptions",
        _POLL,
        ("$i i32", "$at i32", "$clock i32", "$kind i32"),
    ),
)
