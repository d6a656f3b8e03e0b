"""What calls move, put on record: a digest of all of it, and as many bytes as the plan says.

Which calls keep what is in the plan's tables (`tables.py`), the digest is computed in `sha256.py`, and
`calls/descriptors.py` calls this around the host's own functions. INVARIANT: what stands on record is what
was moved; where that cannot be known nothing is kept, and no call is answered otherwise because of it.

The host moves one buffer a call, the first of the list that is not empty. It is looked up before the call,
since what is read may fall on the list itself.
"""

from __future__ import annotations

from policy.calls import CALL_CODES
from sandbox.monitor import layout as ring
from sandbox.monitor import tables as plan
from sandbox.monitor.kernel import AT
from sandbox.monitor.layout import DIGEST_BYTES, Stop

_HELD = "(global.get $held_at)"

PAYLOADS = f"""
(global $held_at (mut i32) (i32.const 0))
(global $held_len (mut i32) (i32.const 0))
;; where the host writes how much was moved
(global $held_result (mut i32) (i32.const 0))
;; bytes to keep, and where the digest and they lie in the arena
(global $held_kept (mut i32) (i32.const 0))
(global $held_place (mut i64) (i64.const 0))
(func $hold (param $iovs i32) (param $n i32) (param $result i32) (param $keep i32) (local $size i32)
  ;; before a call: find the buffer that the host will use, and room for what is kept of it
  (global.set $held_len (i32.const 0))
  (global.set $held_result (local.get $result))
  (block $found (loop $next
    (if (i32.eqz (local.get $n)) (then (return)))
    ;; SECURITY: what lies outside the guest's memory is for the host to refuse, in its own way
    (if (call $out_of_bounds (local.get $iovs) (i32.const 8)) (then (return)))
    (br_if $found (i32.load $guest offset=4 (local.get $iovs)))
    (local.set $iovs (i32.add (local.get $iovs) (i32.const 8)))
    (local.set $n (i32.sub (local.get $n) (i32.const 1)))
    (br $next)))
  (global.set $held_at (i32.load $guest (local.get $iovs)))
  (local.set $n (i32.load $guest offset=4 (local.get $iovs)))
  (if (call $out_of_bounds {_HELD} (local.get $n)) (then (return)))
  (global.set $held_len (local.get $n))
  (local.set $size (i32.sub (local.get $keep) (i32.const 1)))
  (global.set $held_kept (select (local.get $n) (local.get $size)
    (i32.lt_u (local.get $n) (local.get $size))))
  (local.set $size (i32.add (global.get $held_kept) (i32.const {DIGEST_BYTES})))
  (call $piece (local.get $size))
  (if (i64.gt_u (call $used (local.get $size)) (i64.const {ring.ARENA_BYTES - ring.ARENA_SPARE})) (then
    (call $make_room)
    (if (i64.gt_u (call $used (local.get $size)) (i64.const {ring.ARENA_BYTES - ring.ARENA_SPARE})) (then
      (call $stop (i32.const {int(Stop.AUDIT)})))))))
(func $piece (param $size i32) (local $at i32)
  ;; the next place in the arena where that many bytes lie in one piece
  (local.set $at (i32.and (i32.wrap_i64 (global.get $arena)) (i32.const {ring.ARENA_BYTES - 1})))
  (global.set $held_place (global.get $arena))
  (if (i32.gt_u (i32.add (local.get $at) (local.get $size)) (i32.const {ring.ARENA_BYTES})) (then
    (global.set $held_place (i64.add (global.get $arena)
      (i64.extend_i32_u (i32.sub (i32.const {ring.ARENA_BYTES}) (local.get $at))))))))
(func $used (param $size i32) (result i64)
  (i64.sub (i64.add (global.get $held_place) (i64.extend_i32_u (local.get $size)))
    (call $arena_drained)))
(func $place (result i32)
  (i32.add (i32.const {ring.ARENA})
    (i32.and (i32.wrap_i64 (global.get $held_place)) (i32.const {ring.ARENA_BYTES - 1}))))
(func $is_torn (result i32)
  ;; whether the host's answer lies in the buffer
  (i32.and
    (i64.lt_u (i64.extend_i32_u (global.get $held_result))
      (i64.add (i64.extend_i32_u {_HELD}) (i64.extend_i32_u (global.get $held_len))))
    (i64.lt_u (i64.extend_i32_u {_HELD})
      (i64.add (i64.extend_i32_u (global.get $held_result)) (i64.const 4)))))
(func $copy (param $n i32)
  ;; the digest of the first `$n` bytes of the buffer, then those that are kept
  (call $hash {_HELD} (local.get $n) (call $place))
  (memory.copy $ring $guest (i32.add (call $place) (i32.const {DIGEST_BYTES})) {_HELD}
    (global.get $held_kept)))
(func $commit
  (global.set $arena (i64.add (global.get $held_place)
    (i64.extend_i32_u (i32.add (global.get $held_kept) (i32.const {DIGEST_BYTES})))))
  (i64.store $ring (i32.const {ring.ARENA_HEAD}) (global.get $arena))
  (i32.store $ring offset={AT["target_at"]} (global.get $rec)
    (i32.and (i32.wrap_i64 (global.get $held_place)) (i32.const {ring.ARENA_BYTES - 1})))
  (i32.store $ring offset={AT["target_len"]} (global.get $rec)
    (i32.add (global.get $held_kept) (i32.const {DIGEST_BYTES}))))
(func $shrink (param $n i32)
  (if (i32.gt_u (global.get $held_kept) (local.get $n)) (then (global.set $held_kept (local.get $n)))))
(func $keep_read (param $n i64)
  ;; after a read; the answer, written last, may have changed what was read
  (if (i64.eqz (local.get $n)) (then (return)))
  (if (i64.gt_u (local.get $n) (i64.extend_i32_u (global.get $held_len))) (then (return)))
  (if (call $is_torn) (then (return)))
  (call $shrink (i32.wrap_i64 (local.get $n)))
  (call $copy (i32.wrap_i64 (local.get $n)))
  (call $commit))
(func $keep_offer
  ;; before a write: the answer may be written over what was offered
  (if (global.get $held_len) (then (call $copy (global.get $held_len)))))
(func $keep_written (param $n i64)
  (if (i64.eqz (local.get $n)) (then (return)))
  (if (i64.gt_u (local.get $n) (i64.extend_i32_u (global.get $held_len))) (then (return)))
  (if (i64.lt_u (local.get $n) (i64.extend_i32_u (global.get $held_len))) (then
    ;; the host took less than it was offered
    (if (call $is_torn) (then (return)))
    (call $shrink (i32.wrap_i64 (local.get $n)))
    (call $hash {_HELD} (i32.wrap_i64 (local.get $n)) (call $place))))
  (call $commit))
"""


def look_up(name: str) -> str:
    """Find out what is kept of a call, and get ready for it; where nothing is, that is all it costs."""
    at = plan.CAPTURES + 4 * CALL_CODES[name]
    return (
        f"(local.set $keep (i32.load $plan (i32.const {at})))\n"
        "(if (local.get $keep) (then (call $hold (local.get $iovs) (local.get $iovs_len) (local.get $result)"
        " (local.get $keep))"
    )
