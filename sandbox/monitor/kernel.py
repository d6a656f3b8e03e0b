"""The monitor's kernel as WebAssembly text: time, room, records, refusals and descriptors.

What each host call does with it is in `sandbox/monitor/calls`, path rules are in `paths.py`, rights in
`rights.py` and `over_time.py`, and `generate.py` puts it all together. Every call goes `enter`, decide,
`publish`, act, `complete`, or `enter`, `deny`, `refuse`; nothing reaches a host function before `publish`.

Memories: `$guest` is the guest's, `$ring` is mapped on pages that the supervisor shares, `$plan`
holds the tables, and `$scratch` is the memory of the probe, through which the monitor makes calls
of its own without touching the guest's memory.

It is longer than most: what all calls share stands in one place.
"""

from __future__ import annotations

from sandbox.monitor import layout as ring
from sandbox.monitor import tables as plan
from sandbox.monitor.layout import RECORD, Decision, Reason, Stop

FIELDS = RECORD.fields
assert FIELDS is not None
AT: dict[str, int] = {name: FIELDS[name][1] for name in FIELDS}
"""Offset of each field of a record."""

ERRNO_BADF = 8
ERRNO_DQUOT = 19
ERRNO_EXIST = 20
ERRNO_ISDIR = 31
ERRNO_LOOP = 32
ERRNO_MFILE = 33
ERRNO_NAMETOOLONG = 37
ERRNO_NOENT = 44
ERRNO_NOTDIR = 54
ERRNO_PERM = 63
ERRNO_NOTCAPABLE = 76

DRAIN_FULL = 1
DRAIN_SYNC = 2
DRAIN_INTENT = 3

ARENA_ROOM = 16_384  # two paths of 4096 bytes, twice over for the skip at the end of the arena


def fixed_rule(rule_id: str) -> str:
    """An expression for the index of one of the rules that every plan has."""
    address = plan.FIXED_RULES + 4 * plan.FIXED_RULE_IDS.index(rule_id)
    return f"(i32.load $plan (i32.const {address}))"


def word(address: int) -> str:
    """An expression for a 32-bit word of the configuration."""
    return f"(i32.load $plan (i32.const {address}))"


def long(address: int) -> str:
    """An expression for a 64-bit word of the configuration."""
    return f"(i64.load $plan (i32.const {address}))"


GLOBALS = """
(global $head (mut i64) (i64.const 0))
(global $done (mut i64) (i64.const 0))
(global $arena (mut i64) (i64.const 0))
(global $rec (mut i32) (i32.const 0))
(global $code (mut i32) (i32.const 0))
(global $timed (mut i32) (i32.const 0))
(global $last (mut i64) (i64.const 0))
(global $base (mut i64) (i64.const 0))
;; the number of records up to which nothing needs to be looked at: see `$room`
(global $until (mut i64) (i64.const 0))
(global $timed_all (mut i32) (i32.const 0))
(global $timed_io (mut i32) (i32.const 0))
(global $sync_all (mut i32) (i32.const 0))
;; how far the supervisor had drained the ring and the arena when it was last asked to
(global $tail (mut i64) (i64.const 0))
(global $arena_tail (mut i64) (i64.const 0))
"""

TIME = f"""
(func $clock (result i64) (local $now i64)
  ;; UTC nanoseconds by the monotonic clock, from the base that `arm` took
  (drop (call $probe.clock_time_get (i32.const 1) (i64.const 0) (i32.const 0)))
  (local.set $now (i64.add (global.get $base) (i64.load $scratch (i32.const 0))))
  ;; INVARIANT: time never goes back within a run, also where the supervisor's clock ran ahead
  (select (local.get $now) (global.get $last) (i64.gt_s (local.get $now) (global.get $last))))
(func $arm (export "arm")
  (drop (call $probe.clock_time_get (i32.const 0) (i64.const 0) (i32.const 0)))
  (global.set $last (i64.load $scratch (i32.const 0)))
  (drop (call $probe.clock_time_get (i32.const 1) (i64.const 0) (i32.const 0)))
  (global.set $base (i64.sub (global.get $last) (i64.load $scratch (i32.const 0))))
  (global.set $timed_all {word(plan.TIMED_ALL)})
  (global.set $timed_io {word(plan.TIMED_IO)})
  (global.set $sync_all {word(plan.SYNC_ALL)})
  (call $arm_over_time)
  (i32.store $ring (i32.const {ring.ARMED}) (i32.const 1)))
"""

STOPPING = f"""
(func $stop (param $why i32)
  (i32.store $ring (i32.const {ring.STOP}) (local.get $why))
  (unreachable))
(func $drain_or_stop (param $why i32)
  (if (call $host.drain (local.get $why)) (then (call $stop (i32.const {int(Stop.AUDIT)}))))
  (global.set $tail (i64.load $ring (i32.const {ring.TAIL})))
  (global.set $arena_tail (i64.load $ring (i32.const {ring.ARENA_TAIL}))))
(func $make_room
  ;; with fuel this may come before the ring is full, which only `on_full` is about
  (call $drain_or_stop
    (select (i32.const {DRAIN_SYNC}) (i32.const {DRAIN_FULL}) {word(plan.COUNTS_FUEL)})))
(func $drained (result i64)
  ;; INVARIANT: fuel is spent by the monitor too, so with fuel what it does must not depend on when the
  ;; supervisor comes round: it asks after so many records, whether there is room by then or not
  (select (global.get $tail) (i64.load $ring (i32.const {ring.TAIL})) {word(plan.COUNTS_FUEL)}))
(func $arena_drained (result i64)
  (select (global.get $arena_tail) (i64.load $ring (i32.const {ring.ARENA_TAIL}))
    {word(plan.COUNTS_FUEL)}))
(func $is_full (result i32)
  (i64.ge_u (i64.sub (global.get $head) (call $drained)) (i64.const {ring.RING_RECORDS})))
(func $is_arena_full (result i32)
  (i64.gt_u (i64.sub (global.get $arena) (call $arena_drained))
            (i64.const {ring.ARENA_BYTES - ARENA_ROOM})))
(func $room (local $free i64)
  ;; SECURITY: no slot, no call: a record is never overwritten before it was drained
  (if (call $is_full) (then
    (call $make_room)
    (if (call $is_full) (then (call $stop (i32.const {int(Stop.AUDIT)}))))))
  (local.set $free (i64.add (call $drained) (i64.const {ring.RING_RECORDS})))
  (global.set $until (select (local.get $free) {long(plan.MAX_HOST_CALLS)}
    (i64.lt_u (local.get $free) {long(plan.MAX_HOST_CALLS)}))))
(func $arena_room
  (if (call $is_arena_full) (then
    (call $make_room)
    (if (call $is_arena_full) (then (call $stop (i32.const {int(Stop.AUDIT)})))))))
"""

_IN_FLIGHT_RULE_0 = 0x0000FFFF_00000000  # rule 0, decision allow, errno in flight, no reason, no right


def enter(code: int, fd: str, *, is_io: bool) -> str:
    """Begin the record of a call, inline: a call that is only counted costs little more than its stores.

    `fd` is an expression. Leaves the time of entry in `$last`, the record's address in `$rec`.
    """
    timed = "(i32.or (global.get $timed_all) (global.get $timed_io))" if is_io else "(global.get $timed_all)"
    record = "(global.get $rec)"
    return f"""
  (if (i64.ge_u (global.get $head) (global.get $until)) (then (call $room)))
  (global.set $rec (i32.add (i32.const {ring.RECORDS})
    (i32.shl (i32.and (i32.wrap_i64 (global.get $head)) (i32.const {ring.RING_RECORDS - 1})) (i32.const 6))))
  (global.set $code (i32.const {code}))
  (global.set $timed {timed})
  (if (global.get $timed)
    (then (global.set $last (call $clock)))
    (else (global.set $last (select (i64.load $ring (i32.const {ring.NOW})) (global.get $last)
      (i64.gt_s (i64.load $ring (i32.const {ring.NOW})) (global.get $last))))))
  (i64.store $ring offset={AT["t_ns"]} {record} (global.get $last))
  (i64.store $ring offset={AT["dur_ns"]} {record} (i64.const {ring.IN_FLIGHT}))
  (i64.store $ring offset={AT["aux"]} {record} (i64.const 0))
  (i64.store $ring offset={AT["flags"]} {record} (i64.const 0))
  (i64.store $ring offset={AT["opener"]} {record} (i64.const {ring.NO_OPENER}))
  (i64.store $ring offset={AT["fd"]} {record}
    (i64.or (i64.extend_i32_u {fd}) (i64.const 0xffffffff00000000)))
  (i64.store $ring offset={AT["target_at"]} {record} (i64.const 0))
  (i64.store $ring offset={AT["rule"]} {record} (i64.const {_IN_FLIGHT_RULE_0 | code << 16}))
  (if (i64.ge_u (global.get $head) (global.get $until)) (then
    (call $halt (i32.const {int(Stop.HOST_CALLS)}) {fixed_rule("limit.host_calls")})))
"""


def records(*, for_components: bool) -> str:
    """Begin and end of a call; those of a component are recorded under their own code, not their base's."""
    return _RECORDS.replace(";; named", _NAMED if for_components else "")


def refusals(*, for_components: bool) -> str:
    """What is said of a call that is refused, and the same."""
    return _REFUSALS.replace(";; named", _NAMED if for_components else "")


_NAMED = f"""(global.set $code (global.get $as))
  (i32.store8 $ring offset={AT["call"]} (global.get $rec) (global.get $as))"""

_RECORDS = f"""
(func $publish
  ;; named
  (global.set $head (i64.add (global.get $head) (i64.const 1)))
  (i64.store $ring (i32.const {ring.HEAD}) (global.get $head))
  (if (global.get $sync_all) (then (call $drain_or_stop (i32.const {DRAIN_INTENT})))))
(func $complete (param $errno i32) (result i32) (local $at i32)
  (if (global.get $timed)
    (then
      (global.set $last (call $clock))
      (i64.store $ring offset={AT["dur_ns"]} (global.get $rec)
        (i64.sub (global.get $last) (i64.load $ring offset={AT["t_ns"]} (global.get $rec)))))
    (else (i64.store $ring offset={AT["dur_ns"]} (global.get $rec) (i64.const {ring.UNTIMED}))))
  (i32.store16 $ring offset={AT["errno"]} (global.get $rec) (local.get $errno))
  ;; INVARIANT: record, then counter, then `done`: see layout.py on a kill between the two stores
  (local.set $at (i32.shl (i32.add (i32.shl (global.get $code) (i32.const 2))
    (i32.load8_u $ring offset={AT["decision"]} (global.get $rec))) (i32.const 3)))
  (i64.store $ring offset={ring.COUNTERS} (local.get $at)
    (i64.add (i64.load $ring offset={ring.COUNTERS} (local.get $at)) (i64.const 1)))
  (global.set $done (i64.add (global.get $done) (i64.const 1)))
  (i64.store $ring (i32.const {ring.DONE}) (global.get $done))
  (if (global.get $starting) (then (call $start)))
  (local.get $errno))
"""

_REFUSALS = f"""
(func $mark (param $decision i32) (param $rule i32) (param $reason i32) (param $right i32)
  (i32.store16 $ring offset={AT["rule"]} (global.get $rec) (local.get $rule))
  (i32.store8 $ring offset={AT["decision"]} (global.get $rec) (local.get $decision))
  (i32.store8 $ring offset={AT["reason"]} (global.get $rec) (local.get $reason))
  (i32.store8 $ring offset={AT["right"]} (global.get $rec) (local.get $right)))
(func $deny (param $rule i32) (param $reason i32) (param $right i32) (param $hard i32) (result i32)
  ;; 1: refuse. 0: audit mode; the record says `would_deny` and the call goes on
  (if (i32.and {word(plan.IS_AUDIT)} (i32.eqz (local.get $hard))) (then
    (if (i32.load8_u $ring offset={AT["decision"]} (global.get $rec)) (then (return (i32.const 0))))
    (call $mark (i32.const {int(Decision.WOULD_DENY)}) (local.get $rule) (local.get $reason)
      (local.get $right))
    (return (i32.const 0))))
  (call $mark (i32.const {int(Decision.DENY)}) (local.get $rule) (local.get $reason) (local.get $right))
  (i32.const 1))
(func $is_hard (param $rule i32) (result i32)
  (i32.eq (i32.load $plan offset=16 (i32.add {word(plan.RULES_AT)}
      (i32.mul (local.get $rule) (i32.const {plan.RULE_BYTES})))) (i32.const 1)))
(func $refuse (param $errno i32) (result i32)
  ;; the answer to the guest, once the refusal is on record: before any effect
  (global.set $timed (i32.const 0))
  (call $publish_refusal)
  (drop (call $complete (local.get $errno)))
  (if {word(plan.SYNC_DENY)} (then (call $drain_or_stop (i32.const {DRAIN_SYNC}))))
  (local.get $errno))
(func $revoke (param $errno i32) (result i32)
  ;; a refusal found while the call was on its way; nothing of it was handed to the guest
  (drop (call $complete (local.get $errno)))
  (if {word(plan.SYNC_DENY)} (then (call $drain_or_stop (i32.const {DRAIN_SYNC}))))
  (local.get $errno))
(func $publish_refusal
  ;; named
  (global.set $head (i64.add (global.get $head) (i64.const 1)))
  (i64.store $ring (i32.const {ring.HEAD}) (global.get $head)))
(func $spent (param $rule i32) (param $errno i32) (result i32)
  (call $mark (i32.const {int(Decision.LIMIT)}) (local.get $rule) (i32.const {int(Reason.BUDGET)})
    (i32.const 0))
  (call $refuse (local.get $errno)))
(func $halt (param $why i32) (param $rule i32)
  ;; a limit that ends the guest: on record, then out
  (call $mark (i32.const {int(Decision.LIMIT)}) (local.get $rule) (i32.const {int(Reason.STOPPED)})
    (i32.const 0))
  (drop (call $refuse (i32.const {ERRNO_NOTCAPABLE})))
  (call $stop (local.get $why)))
(func $denied (param $rule i32) (result i32)
  ;; a call that the plan refuses whatever its arguments; `$rule` is one more than the rule
  (call $deny (i32.sub (local.get $rule) (i32.const 1)) (i32.const {int(Reason.RULE)})
    (i32.const 0) (i32.const 0)))
"""

DESCRIPTORS = f"""
(func $entry (param $fd i32) (result i32)
  ;; address of the descriptor's entry; the one at 0 pages in, which is free, for any other number
  (if (i32.ge_u (local.get $fd) (i32.const {plan.MAX_DESCRIPTORS})) (then (return (i32.const 0))))
  (i32.add (i32.const {plan.DESCRIPTORS}) (i32.mul (local.get $fd) (i32.const {plan.DESCRIPTOR_BYTES}))))
(func $about (param $fd i32) (result i32) (local $at i32)
  ;; entry of an open descriptor with its opener on record; 0 when the guest made the number up
  (if (i32.ge_u (local.get $fd) (i32.const {plan.MAX_DESCRIPTORS})) (then (return (i32.const 0))))
  (local.set $at (i32.add (i32.const {plan.DESCRIPTORS})
    (i32.mul (local.get $fd) (i32.const {plan.DESCRIPTOR_BYTES}))))
  (if (i32.eqz (i32.load $plan offset={plan.KIND} (local.get $at))) (then (return (i32.const 0))))
  (i64.store $ring offset={AT["opener"]} (global.get $rec) (i64.load $plan offset={plan.OPENER}
    (local.get $at)))
  (local.get $at))
(func $aligned (param $at i32) (param $mask i32)
  ;; the host traps on a result pointer that is not aligned, so what is answered in its place does too
  (if (i32.and (local.get $at) (local.get $mask)) (then (unreachable))))
(func $badf (result i32)
  ;; SECURITY: a number that this table does not know never reaches the host, whatever the host knows
  (call $publish)
  (call $complete (i32.const {ERRNO_BADF})))
(func $forget (param $at i32)
  (if (i32.and (i32.load $plan offset={plan.FLAGS} (local.get $at)) (i32.const {plan.F_COUNTED})) (then
    (i64.store $ring (i32.const {ring.OPEN_FILES})
      (i64.sub (i64.load $ring (i32.const {ring.OPEN_FILES})) (i64.const 1)))))
  (memory.fill $plan (local.get $at) (i32.const 0) (i32.const {plan.DESCRIPTOR_BYTES})))
"""

BUDGETS = f"""
(func $bump (param $at i32) (param $by i64)
  (i64.store $ring (local.get $at) (i64.add (i64.load $ring (local.get $at)) (local.get $by))))
(func $rule_at (param $rule i32) (result i32)
  (i32.add {word(plan.RULES_AT)} (i32.mul (local.get $rule) (i32.const {plan.RULE_BYTES}))))
(func $has_disk (param $rule i32) (param $bytes i64) (result i32)
  (i32.and (i64.ge_s {long(plan.DISK_LEFT)} (local.get $bytes))
           (i64.ge_s (i64.load $plan (call $rule_at (local.get $rule))) (local.get $bytes))))
(func $use_disk (param $rule i32) (param $bytes i64) (local $at i32)
  (local.set $at (call $rule_at (local.get $rule)))
  (i64.store $plan (i32.const {plan.DISK_LEFT}) (i64.sub {long(plan.DISK_LEFT)} (local.get $bytes)))
  (i64.store $plan (local.get $at) (i64.sub (i64.load $plan (local.get $at)) (local.get $bytes)))
  (call $bump (i32.const {ring.DISK_BYTES}) (local.get $bytes)))
(func $has_file (param $rule i32) (result i32)
  (i32.and (i64.gt_s {long(plan.FILES_LEFT)} (i64.const 0))
           (i64.gt_s (i64.load $plan offset=8 (call $rule_at (local.get $rule))) (i64.const 0))))
(func $use_file (param $rule i32) (local $at i32)
  (local.set $at (call $rule_at (local.get $rule)))
  (i64.store $plan (i32.const {plan.FILES_LEFT}) (i64.sub {long(plan.FILES_LEFT)} (i64.const 1)))
  (i64.store $plan offset=8 (local.get $at) (i64.sub (i64.load $plan offset=8 (local.get $at)) (i64.const 1)))
  (call $bump (i32.const {ring.FILES_MADE}) (i64.const 1)))
"""


def note() -> str:
    """A call of a component that reaches nothing, and is recorded only: the host call limit holds for it."""
    return f"""
(func $m.note (param $fd i32) (result i32)
  {enter(0, "(local.get $fd)", is_io=False)}
  (drop (call $about (local.get $fd)))
  (call $publish)
  (call $complete (i32.const 0)))
"""


def kernel(*, for_components: bool) -> str:
    """All of the above, in the order in which it is best read."""
    told = records(for_components=for_components) + refusals(for_components=for_components)
    own = note() if for_components else ""
    return GLOBALS + TIME + STOPPING + told + DESCRIPTORS + BUDGETS + own
