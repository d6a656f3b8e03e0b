"""What a deterministic run is told in place of what the host knows: virtual time, files without a history.

Which clocks are virtual says the plan; the seed of the random bytes and the digest of the run are made in
`sandbox/determinism.py`. INVARIANT: all of this stands still where the plan does not ask for it, and what is
told is a function of the calls that the guest made before.

Virtual time moves by the resolution with each read, and by the whole wait with each wait. Of a file the guest
is told a device of 1, the times of the virtual clock's start, and a number by the order in which it came to
see files; a directory has no size and one link.
"""

from __future__ import annotations

from policy.plan import VIRTUAL_WALL_NS, SourceKind
from sandbox.monitor import tables as plan
from sandbox.monitor.kernel import long, word

_LAST = (1 << 63) - 1
_DIRECTORY = 3  # file type, at offset 16 of a filestat
_DIRENT = 24  # bytes: next u64, number u64, length of the name u32, type u8


def _move(kind: int, at: int) -> str:
    """Move one clock on, unless the plan has it stand still."""
    return f"""
  (if (i32.ne {word(kind)} (i32.const {int(SourceKind.FIXED)})) (then
    (local.set $now (i64.add {long(at)} (local.get $by)))
    (i64.store $plan (i32.const {at})
      (select (local.get $now) (i64.const {_LAST}) (i64.le_u (local.get $now) (i64.const {_LAST}))))))"""


DETERMINISM = f"""
(func $advance (param $by i64) (local $now i64)
  ;; a wait for ever ends at the last time there is
  (if (i64.gt_u (local.get $by) (i64.const {1 << 62})) (then (local.set $by (i64.const {1 << 62}))))
{_move(plan.WALL_KIND, plan.WALL_NS)}
{_move(plan.MONOTONIC_KIND, plan.MONOTONIC_NS)})
(func $number (param $ino i64) (result i64) (local $i i32) (local $n i32)
  (local.set $n {word(plan.FILES_NUMBERED)})
  (block $over (loop $next
    (br_if $over (i32.ge_u (local.get $i) (local.get $n)))
    (if (i64.eq (local.get $ino) (i64.load $plan offset={plan.FILE_NUMBERS}
          (i32.shl (local.get $i) (i32.const 3))))
      (then (return (i64.extend_i32_u (i32.add (local.get $i) (i32.const 1))))))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br $next)))
  ;; beyond the last place all have one number
  (if (i32.lt_u (local.get $n) (i32.const {plan.MAX_FILE_NUMBERS})) (then
    (i64.store $plan offset={plan.FILE_NUMBERS} (i32.shl (local.get $n) (i32.const 3)) (local.get $ino))
    (i32.store $plan (i32.const {plan.FILES_NUMBERED}) (i32.add (local.get $n) (i32.const 1)))))
  (i64.extend_i32_u (i32.add (local.get $n) (i32.const 1))))
(func $settle_stat (param $buf i32)
  ;; what the host said of a file, in the guest's memory
  (if (i32.eqz {word(plan.IS_DETERMINISTIC)}) (then (return)))
  (i64.store $guest (local.get $buf) (i64.const 1))
  (i64.store $guest offset=8 (local.get $buf) (call $number (i64.load $guest offset=8 (local.get $buf))))
  (if (i32.eq (i32.load8_u $guest offset=16 (local.get $buf)) (i32.const {_DIRECTORY})) (then
    (i64.store $guest offset=24 (local.get $buf) (i64.const 1))
    (i64.store $guest offset=32 (local.get $buf) (i64.const 0))))
  (i64.store $guest offset=40 (local.get $buf) (i64.const {VIRTUAL_WALL_NS}))
  (i64.store $guest offset=48 (local.get $buf) (i64.const {VIRTUAL_WALL_NS}))
  (i64.store $guest offset=56 (local.get $buf) (i64.const {VIRTUAL_WALL_NS})))
(func $settle_entries (param $at i32) (param $bytes i64) (local $size i64)
  ;; the numbers in a list of entries; the last entry may be cut
  (if (i32.eqz {word(plan.IS_DETERMINISTIC)}) (then (return)))
  (block $over (loop $next
    (br_if $over (i64.lt_u (local.get $bytes) (i64.const {_DIRENT})))
    (i64.store $guest offset=8 (local.get $at) (call $number (i64.load $guest offset=8 (local.get $at))))
    (local.set $size (i64.add (i64.const {_DIRENT}) (i64.load32_u $guest offset=16 (local.get $at))))
    (br_if $over (i64.gt_u (local.get $size) (local.get $bytes)))
    (local.set $at (i32.add (local.get $at) (i32.wrap_i64 (local.get $size))))
    (local.set $bytes (i64.sub (local.get $bytes) (local.get $size)))
    (br $next)))
  ;; of an entry that is cut in its head, the number is not shown
  (if (i64.gt_u (local.get $bytes) (i64.const 8)) (then
    (if (i64.lt_u (local.get $bytes) (i64.const {_DIRENT})) (then
      (memory.fill $guest (i32.add (local.get $at) (i32.const 8)) (i32.const 0)
        (i32.sub (select (i32.wrap_i64 (local.get $bytes)) (i32.const 16)
          (i64.lt_u (local.get $bytes) (i64.const 16))) (i32.const 8))))))))
"""
