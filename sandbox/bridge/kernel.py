"""What the bridge's calls share, as WebAssembly text: room, handles, errors, and calls by their code.

A handle is a number of the table here, whichever resource it is of, and is checked on each use. Descriptors
of WASI 0.1 are counted: the last handle that uses one closes it. INVARIANT: the bridge has no host function
but those of the monitor's gate, so nothing here can do more than a guest could.
"""

from __future__ import annotations

from policy.calls import CALLS

# --- the bridge's memory, which is the guest's for the monitor -----------------------------------
IOVEC = 16  # pointer, count
COUNT = 24  # u32, and beside it
NUMBER = 32  # u64: what a call of WASI 0.1 returns
STAT = 40  # 64 bytes
RESULT = 128  # what a call returns: see `edge.py`
ENTRIES = 65_536  # of a directory
ENTRIES_BYTES = 65_536
HEAP = ENTRIES + ENTRIES_BYTES  # room of one call
PAGES = 3

# --- one handle, 32 bytes of the memory `$handles` ------------------------------------------------
KIND, FD, AT, MODE, NEXT = 0, 4, 8, 16, 20
HANDLE_BYTES = 32
K_NONE, K_DESCRIPTOR, K_INPUT, K_OUTPUT, K_POLLABLE, K_ENTRIES, K_ERROR = range(7)
# Modes of a stream: each call says where, or the descriptor knows; or it leads into a request, and `FD` is
# the page of the request's body.
BY_POSITION, IN_TURN, ON_SOCKET, IN_BODY = range(4)
READY, AT_TIME, TO_READ, TO_WRITE = 0, 1, 2, 3  # modes of a pollable
MAX_HANDLES = 1 << 20

# SPEC: wasi:filesystem/types, error-code: by the errno of WASI 0.1 that says the same; others are `io`.
_CODES = {
    2: 0, 6: 1, 7: 2, 8: 3, 10: 4, 16: 5, 19: 6, 20: 7, 22: 8, 25: 9, 26: 10, 27: 11, 28: 12, 29: 13, 31: 14,
    32: 15, 34: 16, 35: 17, 37: 18, 43: 19, 44: 20, 46: 21, 48: 22, 51: 23, 54: 24, 55: 25, 56: 26, 58: 27,
    59: 28, 60: 29, 61: 30, 63: 31, 64: 32, 69: 33, 70: 34, 74: 35, 75: 36, 76: 0,
}  # fmt: skip
_IO = 13
# SPEC: wasi:filesystem/types, descriptor-type: by the filetype of WASI 0.1.
_FILE_TYPES = (0, 1, 2, 3, 6, 7, 7, 5)
CODES_AT = 0  # in the memory `$facts`
FILE_TYPES_AT = 128

_FACTS = "".join(f"\\{_CODES.get(errno, _IO):02x}" for errno in range(128)) + "".join(
    f"\\{kind:02x}" for kind in _FILE_TYPES
)

STATE = f"""
(memory $b (export "memory") {PAGES})
(memory $handles 1)
(memory $uses 1 1)
(memory $facts 1 1)
;; what memories begin with is put there by code: an engine may keep a file open for the other way
(data $facts_data "{_FACTS}")
(func $prepare
  (memory.init $facts $facts_data (i32.const 0) (i32.const 0) (i32.const {128 + len(_FILE_TYPES)}))
  ;; the standard streams are not the component's to close
  (call $use (i32.const 0)) (call $use (i32.const 1)) (call $use (i32.const 2)))
(start $prepare)
(global $busy (export "busy") (mut i32) (i32.const 0))
(global $top (mut i32) (i32.const {HEAP}))
(global $free (mut i32) (i32.const 0))
(global $last (mut i32) (i32.const 0))
"""

ROOM = f"""
(func (export "no_room") (param i32 i32 i32 i32) (result i32) (unreachable))
(func $begin (export "begin")
  ;; SECURITY: a guest that is asked for room in its memory must not call its host before it gave it
  (if (global.get $busy) (then (unreachable)))
  (global.set $top (i32.const {HEAP})))
(func $room (export "room") (param $bytes i32) (result i32) (local $at i32) (local $end i64) (local $more i32)
  (local.set $at (global.get $top))
  (local.set $end (i64.add (i64.extend_i32_u (local.get $at)) (i64.extend_i32_u (local.get $bytes))))
  (local.set $end (i64.and (i64.const -8) (i64.add (i64.const 7) (local.get $end))))
  (if (i64.gt_u (local.get $end) (i64.const 0x7fff0000)) (then (unreachable)))
  (local.set $more (i32.sub
    (i32.wrap_i64 (i64.shr_u (i64.add (local.get $end) (i64.const 65535)) (i64.const 16)))
    (memory.size $b)))
  (if (i32.gt_s (local.get $more) (i32.const 0)) (then
    (if (i32.lt_s (memory.grow $b (local.get $more)) (i32.const 0)) (then (unreachable)))))
  (global.set $top (i32.wrap_i64 (local.get $end)))
  (local.get $at))
"""

HANDLES = f"""
(func $entry (param $handle i32) (result i32)
  (i32.mul (local.get $handle) (i32.const {HANDLE_BYTES})))
(func $get (param $handle i32) (param $kind i32) (result i32) (local $at i32)
  ;; entry of a handle; a guest that makes one up, or gives one of another resource, ends here
  (if (i32.gt_u (local.get $handle) (global.get $last)) (then (unreachable)))
  (local.set $at (call $entry (local.get $handle)))
  (if (i32.ne (i32.load $handles offset={KIND} (local.get $at)) (local.get $kind)) (then (unreachable)))
  (local.get $at))
(func $fd (param $handle i32) (result i32)
  (i32.load $handles offset={FD} (call $get (local.get $handle) (i32.const {K_DESCRIPTOR}))))
(func $new (param $kind i32) (param $fd i32) (param $at i64) (param $mode i32) (result i32)
  (local $handle i32) (local $entry i32)
  (if (global.get $free)
    (then
      (local.set $handle (global.get $free))
      (local.set $entry (call $entry (local.get $handle)))
      (global.set $free (i32.load $handles offset={NEXT} (local.get $entry))))
    (else
      (if (i32.ge_u (global.get $last) (i32.const {MAX_HANDLES})) (then (unreachable)))
      (global.set $last (i32.add (global.get $last) (i32.const 1)))
      (local.set $handle (global.get $last))
      (local.set $entry (call $entry (local.get $handle)))
      (if (i32.ge_u (i32.add (local.get $entry) (i32.const {HANDLE_BYTES}))
                    (i32.shl (memory.size $handles) (i32.const 16)))
        (then (if (i32.lt_s (memory.grow $handles (i32.const 1)) (i32.const 0)) (then (unreachable)))))))
  (i32.store $handles offset={KIND} (local.get $entry) (local.get $kind))
  (i32.store $handles offset={FD} (local.get $entry) (local.get $fd))
  (i64.store $handles offset={AT} (local.get $entry) (local.get $at))
  (i32.store $handles offset={MODE} (local.get $entry) (local.get $mode))
  (local.get $handle))
(func $release (param $handle i32) (local $entry i32)
  (local.set $entry (call $entry (local.get $handle)))
  (i32.store $handles offset={KIND} (local.get $entry) (i32.const {K_NONE}))
  (i32.store $handles offset={NEXT} (local.get $entry) (global.get $free))
  (global.set $free (local.get $handle)))
(func $use (param $fd i32) (local $at i32)
  (if (i32.ge_u (local.get $fd) (i32.const 16384)) (then (unreachable)))
  (local.set $at (i32.shl (local.get $fd) (i32.const 2)))
  (i32.store $uses (local.get $at) (i32.add (i32.load $uses (local.get $at)) (i32.const 1))))
(func $new_use (param $kind i32) (param $fd i32) (param $at i64) (param $mode i32) (result i32)
  (call $use (local.get $fd))
  (call $new (local.get $kind) (local.get $fd) (local.get $at) (local.get $mode)))
(func $drop (param $handle i32) (param $kind i32) (local $fd i32)
  ;; the last use of a descriptor closes it; SPEC: what a drop fails with is told to nobody
  (local.set $fd (i32.load $handles offset={FD} (call $get (local.get $handle) (local.get $kind))))
  (call $release (local.get $handle))
  (if (call $unuse (local.get $fd)) (then (drop (call $note (local.get $fd))))))
(func $unuse (param $fd i32) (result i32) (local $at i32)
  ;; one use less; gives how many there are, and closes the descriptor when there are none
  (local.set $at (i32.shl (local.get $fd) (i32.const 2)))
  (i32.store $uses (local.get $at) (i32.sub (i32.load $uses (local.get $at)) (i32.const 1)))
  (if (i32.eqz (i32.load $uses (local.get $at))) (then (drop (call $fd_close (local.get $fd)))))
  (i32.load $uses (local.get $at)))
"""

ERRORS = f"""
(func $code (param $errno i32) (result i32)
  (i32.load8_u $facts offset={CODES_AT} (i32.and (local.get $errno) (i32.const 127))))
(func $answer (param $to i32) (param $at i32) (param $errno i32)
  ;; a `result` with an error-code `$at` bytes in; what it holds when all is well is written by the caller
  (i32.store8 $b (local.get $to) (i32.ne (local.get $errno) (i32.const 0)))
  (if (local.get $errno)
    (then (i32.store8 $b (i32.add (local.get $to) (local.get $at)) (call $code (local.get $errno))))))
(func $fails (param $to i32) (param $at i32) (param $errno i32)
  ;; a `result` with a stream-error: the last operation failed
  (i32.store8 $b (local.get $to) (i32.const 1))
  (i32.store8 $b (i32.add (local.get $to) (local.get $at)) (i32.const 0))
  (i32.store $b offset=4 (i32.add (local.get $to) (local.get $at))
    (call $new (i32.const {K_ERROR}) (local.get $errno) (i64.const 0) (i32.const 0))))
(func $closed (param $to i32) (param $at i32)
  (i32.store8 $b (local.get $to) (i32.const 1))
  (i32.store8 $b (i32.add (local.get $to) (local.get $at)) (i32.const 1)))
(func $must (param $errno i32)
  ;; for calls that have no way to say that they failed; the refusal is on record
  (if (local.get $errno) (then (unreachable))))
(func $vector (param $at i32) (param $bytes i32)
  (i32.store $b (i32.const {IOVEC}) (local.get $at))
  (i32.store $b (i32.const {IOVEC + 4}) (local.get $bytes)))
"""

_TYPES = {"i": "i32", "I": "i64"}


def imports() -> str:
    """The gate's functions, the word that says which call is on its way, and `note`."""
    text = []
    for call in CALLS:
        params = " ".join(_TYPES[letter] for letter in call.parameters)
        result = " (result i32)" if call.has_result else ""
        text.append(f'(import "gate" "{call.name}" (func ${call.name} (param {params}){result}))')
    text.append('(import "gate" "note" (func $note (param i32) (result i32)))')
    text.append('(import "slots" "as" (global $as (mut i32)))')
    return "\n".join(text)


KERNEL = STATE + ROOM + HANDLES + ERRORS
