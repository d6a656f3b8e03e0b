"""Path rules as WebAssembly text: the automaton's step, the walk along a path, and the hop.

Which call asks for which right is in `sandbox/monitor/calls/filesystem.py`; the automaton itself is
compiled in `policy/automaton.py`. INVARIANT: the bytes that were judged are the bytes that are
opened: a path is copied into the scratch memory once, and both the walk and the host read it there.

In a mount whose paths differ in rights, a link could lead from a path that is allowed to one that
is not. There the monitor opens each directory on the way by itself, never following a link.
"""

from __future__ import annotations

from sandbox.monitor import layout as ring
from sandbox.monitor import tables as plan
from sandbox.monitor.kernel import AT, ERRNO_LOOP, ERRNO_PERM, fixed_rule, word
from sandbox.monitor.layout import Decision, Reason

PATH_MAX = 4_096  # Linux: what follows is refused with `nametoolong`, as the host would

# --- scratch memory: one page -------------------------------------------------------------------
RESULT = 16  # results of the monitor's own calls
RAW = (1_024, 16_384)  # the path as the guest gave it, by slot
NORMAL = (8_192, 24_576)  # its segments joined by single slashes
DOT = 32_000  # the text "."
BUFFER = 32_768  # results for the guest on their way
LINK = 7  # SPEC: file type of a symbolic link, at offset 16 of a filestat

GLOBALS = """
(global $state (mut i32) (i32.const 0))
(global $depth (mut i32) (i32.const 0))
(global $end (mut i32) (i32.const 0))
(global $slash (mut i32) (i32.const 0))
(global $op_fd (mut i32) (i32.const 0))
(global $op_at (mut i32) (i32.const 0))
(global $op_len (mut i32) (i32.const 0))
(global $opened (mut i32) (i32.const -1))
(global $op2_fd (mut i32) (i32.const 0))
(global $op2_at (mut i32) (i32.const 0))
(global $op2_len (mut i32) (i32.const 0))
(global $opened2 (mut i32) (i32.const -1))
"""

AUTOMATON = f"""
(func $step (param $s i32) (param $b i32) (result i32)
  (local $row i32) (local $e i32) (local $n i32) (local $half i32) (local $mid i32)
  (local.set $row (i32.add {word(plan.STATES_AT)} (i32.shl (local.get $s) (i32.const 4))))
  (local.set $e (i32.add {word(plan.EDGES_AT)} (i32.shl (i32.load $plan (local.get $row)) (i32.const 3))))
  (local.set $n (i32.load16_u $plan offset=4 (local.get $row)))
  (block $few (loop $halve
    (br_if $few (i32.le_u (local.get $n) (i32.const 4)))
    (local.set $half (i32.shr_u (local.get $n) (i32.const 1)))
    (local.set $mid (i32.add (local.get $e) (i32.shl (local.get $half) (i32.const 3))))
    (if (i32.lt_u (local.get $b) (i32.load8_u $plan (local.get $mid)))
      (then (local.set $n (local.get $half)))
      (else (local.set $e (local.get $mid))
            (local.set $n (i32.sub (local.get $n) (local.get $half)))))
    (br $halve)))
  (block $none (loop $scan
    (br_if $none (i32.eqz (local.get $n)))
    (br_if $none (i32.lt_u (local.get $b) (i32.load8_u $plan (local.get $e))))
    (if (i32.le_u (local.get $b) (i32.load8_u $plan offset=1 (local.get $e)))
      (then (return (i32.load $plan offset=4 (local.get $e)))))
    (local.set $e (i32.add (local.get $e) (i32.const 8)))
    (local.set $n (i32.sub (local.get $n) (i32.const 1)))
    (br $scan)))
  (i32.load $plan offset=8 (local.get $row)))
(func $class_of (param $s i32) (result i32)
  (i32.add {word(plan.CLASSES_AT)} (i32.mul (i32.const {plan.CLASS_BYTES})
    (i32.load16_u $plan offset=6 (i32.add {word(plan.STATES_AT)} (i32.shl (local.get $s) (i32.const 4)))))))
(func $flags_of (param $s i32) (result i32)
  (i32.load $plan offset=12 (i32.add {word(plan.STATES_AT)} (i32.shl (local.get $s) (i32.const 4)))))
"""

# Leaves `$state` (of the target), `$depth` (segments), `$end` (of the joined text) and `$slash`; says 1
# when the path is absolute or climbs above where it starts. The stack holds, by depth, the state before
# the segment and where its text starts, so that `..` is a pop.
WALK = """
(func $walk (param $s i32) (param $at i32) (param $len i32) (param $out i32) (param $stack i32) (result i32)
  (local $i i32) (local $j i32) (local $n i32) (local $top i32)
  (local.set $top (local.get $stack))
  (local.set $i (local.get $at))
  (local.set $len (i32.add (local.get $at) (local.get $len)))
  (global.set $slash (i32.const 0))
  (if (i32.and (i32.lt_u (local.get $i) (local.get $len))
               (i32.eq (i32.load8_u $scratch (local.get $i)) (i32.const 47)))
    (then (return (i32.const 1))))
  (block $over (loop $segment
    (br_if $over (i32.ge_u (local.get $i) (local.get $len)))
    (if (i32.eq (i32.load8_u $scratch (local.get $i)) (i32.const 47)) (then
      (global.set $slash (i32.const 1))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br $segment)))
    (global.set $slash (i32.const 0))
    (local.set $j (local.get $i))
    (block $ends (loop $find
      (br_if $ends (i32.ge_u (local.get $j) (local.get $len)))
      (br_if $ends (i32.eq (i32.load8_u $scratch (local.get $j)) (i32.const 47)))
      (local.set $j (i32.add (local.get $j) (i32.const 1)))
      (br $find)))
    (local.set $n (i32.sub (local.get $j) (local.get $i)))
    (block $next
      (br_if $next (i32.and (i32.eq (local.get $n) (i32.const 1))
        (i32.eq (i32.load8_u $scratch (local.get $i)) (i32.const 46))))
      (if (i32.and (i32.eq (local.get $n) (i32.const 2))
            (i32.and (i32.eq (i32.load8_u $scratch (local.get $i)) (i32.const 46))
                     (i32.eq (i32.load8_u $scratch offset=1 (local.get $i)) (i32.const 46))))
        (then
          (if (i32.eq (local.get $top) (local.get $stack)) (then (return (i32.const 1))))
          (local.set $top (i32.sub (local.get $top) (i32.const 8)))
          (local.set $s (i32.load $plan (local.get $top)))
          (local.set $out (i32.load $plan offset=4 (local.get $top)))
          (br $next)))
      (i32.store $plan (local.get $top) (local.get $s))
      (i32.store $plan offset=4 (local.get $top) (local.get $out))
      (if (i32.ne (local.get $top) (local.get $stack)) (then
        (i32.store8 $scratch (local.get $out) (i32.const 47))
        (local.set $out (i32.add (local.get $out) (i32.const 1)))))
      (local.set $top (i32.add (local.get $top) (i32.const 8)))
      (memory.copy $scratch $scratch (local.get $out) (local.get $i) (local.get $n))
      (local.set $out (i32.add (local.get $out) (local.get $n)))
      (local.set $s (call $step (local.get $s) (i32.const 47)))
      (loop $bytes
        (local.set $s (call $step (local.get $s) (i32.load8_u $scratch (local.get $i))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $bytes (i32.lt_u (local.get $i) (local.get $j)))))
    (local.set $i (local.get $j))
    (br $segment)))
  (global.set $state (local.get $s))
  (global.set $depth (i32.shr_u (i32.sub (local.get $top) (local.get $stack)) (i32.const 3)))
  (global.set $end (local.get $out))
  (i32.const 0))
"""

TARGETS = f"""
(func $out_of_bounds (param $at i32) (param $len i32) (result i32)
  (i64.gt_u (i64.add (i64.extend_i32_u (local.get $at)) (i64.extend_i32_u (local.get $len)))
            (i64.mul (i64.extend_i32_u (memory.size $guest)) (i64.const 65536))))
(func $wild
  ;; a path outside the guest's memory: on record as a call that never returned, then the trap
  (call $publish)
  (unreachable))
(func $fetch (param $at i32) (param $len i32) (param $raw i32) (result i32)
  ;; copy a path out of the guest's memory; 1 when it is too long
  (if (call $out_of_bounds (local.get $at) (local.get $len)) (then (call $wild)))
  (if (i32.ge_u (local.get $len) (i32.const {PATH_MAX})) (then (return (i32.const 1))))
  (memory.copy $scratch $guest (local.get $raw) (local.get $at) (local.get $len))
  (i32.const 0))
(func $name_target (param $len i32) (param $len2 i32) (local $at i32) (local $n i32)
  ;; put the paths on record: one piece of the arena, the second behind the first
  (call $arena_room)
  (local.set $n (i32.add (local.get $len) (local.get $len2)))
  (local.set $at (i32.and (i32.wrap_i64 (global.get $arena)) (i32.const {ring.ARENA_BYTES - 1})))
  (if (i32.gt_u (i32.add (local.get $at) (local.get $n)) (i32.const {ring.ARENA_BYTES})) (then
    (global.set $arena (i64.add (global.get $arena)
      (i64.extend_i32_u (i32.sub (i32.const {ring.ARENA_BYTES}) (local.get $at)))))
    (local.set $at (i32.const 0))))
  (memory.copy $ring $scratch (i32.add (i32.const {ring.ARENA}) (local.get $at))
    (i32.const {RAW[0]}) (local.get $len))
  (memory.copy $ring $scratch (i32.add (i32.const {ring.ARENA}) (i32.add (local.get $at) (local.get $len)))
    (i32.const {RAW[1]}) (local.get $len2))
  (global.set $arena (i64.add (global.get $arena) (i64.extend_i32_u (local.get $n))))
  (i64.store $ring (i32.const {ring.ARENA_HEAD}) (global.get $arena))
  (i32.store $ring offset={AT["target_at"]} (global.get $rec) (local.get $at))
  (i32.store16 $ring offset={AT["target_len"]} (global.get $rec) (local.get $len))
  (i32.store16 $ring offset={AT["target2_len"]} (global.get $rec) (local.get $len2)))
(func $escapes (result i32)
  (call $deny {fixed_rule("beneath")} (i32.const {int(Reason.ESCAPE)}) (i32.const 0) (i32.const 1)))
(func $too_long (result i32)
  (call $deny {fixed_rule("path-length")} (i32.const {int(Reason.TOO_LONG)}) (i32.const 0) (i32.const 1)))
(func $leads_out (param $fd i32) (param $flags i32) (param $raw i32) (param $len i32) (result i32)
  ;; whether the host refuses to look there at all: a link on the way leads out of the directory
  (i32.eq (i32.const {ERRNO_PERM}) (call $probe.path_filestat_get (local.get $fd) (local.get $flags)
    (local.get $raw) (local.get $len) (i32.const {BUFFER}))))
(func $host_refused (result i32)
  ;; what the engine keeps inside the directory is a refusal like any other, on record as one
  (call $mark (i32.const {int(Decision.DENY)}) {fixed_rule("beneath")} (i32.const {int(Reason.ESCAPE)})
    (i32.const 0))
  (call $revoke (i32.const {ERRNO_PERM})))
(func $finish (param $errno i32) (param $fd i32) (param $flags i32) (param $len i32) (result i32)
  ;; complete a call on one path
  (if (i32.eq (local.get $errno) (i32.const {ERRNO_PERM})) (then
    (if (call $leads_out (local.get $fd) (local.get $flags) (i32.const {RAW[0]}) (local.get $len))
      (then (return (call $host_refused))))))
  (call $complete (local.get $errno)))
(func $finish2 (param $errno i32) (param $fd i32) (param $len i32) (param $fd2 i32) (param $len2 i32)
  (result i32)
  ;; the same for a call on two
  (if (i32.eq (local.get $errno) (i32.const {ERRNO_PERM})) (then
    (if (i32.or
          (call $leads_out (local.get $fd) (i32.const 0) (i32.const {RAW[0]}) (local.get $len))
          (call $leads_out (local.get $fd2) (i32.const 0) (i32.const {RAW[1]}) (local.get $len2)))
      (then (return (call $host_refused))))))
  (call $complete (local.get $errno)))
(func $linked (result i32)
  (call $deny {fixed_rule("symlink")} (i32.const {int(Reason.SYMLINK)})
    (i32.const 0) {word(plan.HARD_LINKS)}))
"""

# `$hop` leaves the directory, and the name in it, on which the call acts: (`$op_fd`, `$op_at`, `$op_len`),
# and in `$opened` a descriptor of the monitor's own that `$unhop` closes. It says 0, or the errno that the
# host gave for a directory on the way (`loop` when that was a link).
HOP = f"""
(func $is_link (param $fd i32) (param $at i32) (param $len i32) (result i32)
  ;; asked without following: the host does not read out a link that leads to an absolute path
  (i32.and
    (i32.eqz (call $probe.path_filestat_get (local.get $fd) (i32.const 0) (local.get $at) (local.get $len)
      (i32.const {BUFFER})))
    (i32.eq (i32.load8_u $scratch (i32.const {BUFFER + 16})) (i32.const {LINK}))))
(func $unhop
  (if (i32.ge_s (global.get $opened) (i32.const 0)) (then
    (drop (call $probe.fd_close (global.get $opened)))
    (global.set $opened (i32.const -1)))))
(func $unhop2
  (if (i32.ge_s (global.get $opened2) (i32.const 0)) (then
    (drop (call $probe.fd_close (global.get $opened2)))
    (global.set $opened2 (i32.const -1)))))
(func $straight (param $fd i32) (param $at i32) (param $len i32)
  (global.set $op_fd (local.get $fd))
  (global.set $op_at (local.get $at))
  (global.set $op_len (local.get $len)))
(func $keep_as_second
  (global.set $op2_fd (global.get $op_fd))
  (global.set $op2_at (global.get $op_at))
  (global.set $op2_len (global.get $op_len))
  (global.set $opened2 (global.get $opened))
  (global.set $opened (i32.const -1)))
(func $hop (param $fd i32) (param $stack i32) (param $depth i32) (param $end i32) (result i32)
  (local $i i32) (local $at i32) (local $n i32) (local $errno i32)
  (global.set $opened (i32.const -1))
  (if (i32.eqz (local.get $depth)) (then
    (i32.store8 $scratch (i32.const {DOT}) (i32.const 46))
    (call $straight (local.get $fd) (i32.const {DOT}) (i32.const 1))
    (return (i32.const 0))))
  (global.set $op_fd (local.get $fd))
  (loop $next
    ;; the name of segment i: from where the stack says, past the slash that joins it, to the next
    (local.set $at (i32.load $plan offset=4 (i32.add (local.get $stack) (i32.shl (local.get $i)
      (i32.const 3)))))
    (if (local.get $i) (then (local.set $at (i32.add (local.get $at) (i32.const 1)))))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (local.set $n (i32.sub
      (if (result i32) (i32.lt_u (local.get $i) (local.get $depth))
        (then (i32.load $plan offset=4 (i32.add (local.get $stack) (i32.shl (local.get $i) (i32.const 3)))))
        (else (local.get $end)))
      (local.get $at)))
    (if (i32.lt_u (local.get $i) (local.get $depth)) (then
      (local.set $errno (call $probe.path_open (global.get $op_fd) (i32.const 0) (local.get $at)
        (local.get $n)
        (i32.const 2) (i64.const 0) (i64.const 0) (i32.const 0) (i32.const {RESULT})))
      (if (local.get $errno) (then
        (if (call $is_link (global.get $op_fd) (local.get $at) (local.get $n))
          (then (local.set $errno (i32.const {ERRNO_LOOP}))))
        (call $unhop)
        (return (local.get $errno))))
      (call $unhop)
      (global.set $opened (i32.load $scratch (i32.const {RESULT})))
      (global.set $op_fd (global.get $opened))
      (br $next))))
  (global.set $op_at (local.get $at))
  (global.set $op_len (local.get $n))
  (i32.const 0))
"""

PATHS = GLOBALS + AUTOMATON + WALK + TARGETS + HOP
"""All of the above, in the order in which it is best read."""
