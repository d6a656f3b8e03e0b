"""Names, and the network that they are asked of: three interfaces of `wasi:sockets`.

A name is looked up at once, and what was found is kept until it was asked for. Sockets are
`calls_sockets.py`, whose text this uses.
"""

from __future__ import annotations

from sandbox.bridge.kernel import AT, COUNT, FD, NUMBER, READY
from sandbox.bridge.shape import Body, p

K_NETWORK, K_FOUND = 7, 8
BYTES = 176
"""Where the bytes of an address lie on their way."""

_MOST_FOUND = 16
_FOUND_BYTES = 20  # a family and sixteen bytes

SUPPORT = f"""
(memory $found 1)
(global $lookups (mut i32) (i32.const 0))
(func $look_up (param $name i32) (param $len i32) (param $to i32) (local $errno i32) (local $item i32)
  (local $first i32) (local $n i32) (local $hints i32) (local $slot i32) (local $data i32)
  ;; a list as WASI 0.1 wants it prepared: items of 28 bytes, addresses of 12, and room for 26 bytes each
  (local.set $hints (call $room (i32.const 28)))
  (memory.fill $b (local.get $hints) (i32.const 0) (i32.const 28))
  (local.set $first (call $room (i32.const {_MOST_FOUND * 72})))
  (memory.fill $b (local.get $first) (i32.const 0) (i32.const {_MOST_FOUND * 72}))
  (local.set $item (local.get $first))
  (loop $next
    (i32.store $b offset=12 (local.get $item) (i32.add (local.get $item) (i32.const 28)))
    (i32.store $b offset=36 (local.get $item) (i32.add (local.get $item) (i32.const 40)))
    (local.set $n (i32.add (local.get $n) (i32.const 1)))
    (if (i32.lt_u (local.get $n) (i32.const {_MOST_FOUND})) (then
      (i32.store $b offset=24 (local.get $item) (i32.add (local.get $item) (i32.const 72)))
      (local.set $item (i32.add (local.get $item) (i32.const 72)))
      (br $next))))
  (i32.store $b (i32.const {NUMBER}) (local.get $first))
  (local.set $errno (call $sock_getaddrinfo (local.get $name) (local.get $len) (i32.const 0) (i32.const 0)
    (local.get $hints) (i32.const {NUMBER}) (i32.const {_MOST_FOUND}) (i32.const {COUNT})))
  (call $net_answer (local.get $to) (i32.const 4) (local.get $errno))
  (if (local.get $errno) (then (return)))
  (local.set $slot (i32.mul (global.get $lookups) (i32.const {_MOST_FOUND * _FOUND_BYTES})))
  (global.set $lookups (i32.add (global.get $lookups) (i32.const 1)))
  (if (i32.gt_u (i32.add (local.get $slot) (i32.const {_MOST_FOUND * _FOUND_BYTES}))
                (i32.shl (memory.size $found) (i32.const 16)))
    (then (if (i32.lt_s (memory.grow $found (i32.const 1)) (i32.const 0)) (then (unreachable)))))
  (i32.store $b offset=4 (local.get $to) (call $new (i32.const {K_FOUND})
    (i32.load $b (i32.const {COUNT})) (i64.extend_i32_u (local.get $slot)) (i32.const 0)))
  (local.set $n (i32.load $b (i32.const {COUNT})))
  (block $end (loop $each
    (br_if $end (i32.eqz (local.get $n)))
    (local.set $data (i32.add (local.get $first) (i32.const 42)))
    (i32.store $found (local.get $slot) (i32.eq (i32.load8_u $b offset=2 (local.get $first)) (i32.const 2)))
    (memory.copy $found $b (i32.add (local.get $slot) (i32.const 4)) (local.get $data) (i32.const 16))
    (local.set $slot (i32.add (local.get $slot) (i32.const {_FOUND_BYTES})))
    (local.set $first (i32.add (local.get $first) (i32.const 72)))
    (local.set $n (i32.sub (local.get $n) (i32.const 1)))
    (br $each))))
(func $next_found (param $stream i32) (param $to i32) (local $at i32) (local $slot i32)
  (local.set $at (call $get (local.get $stream) (i32.const {K_FOUND})))
  (drop (call $note (i32.const -1)))
  (memory.fill $b (local.get $to) (i32.const 0) (i32.const 22))
  (if (i32.eqz (i32.load $handles offset={FD} (local.get $at))) (then (return)))
  (i32.store $handles offset={FD} (local.get $at)
    (i32.sub (i32.load $handles offset={FD} (local.get $at)) (i32.const 1)))
  (local.set $slot (i32.wrap_i64 (i64.load $handles offset={AT} (local.get $at))))
  (i64.store $handles offset={AT} (local.get $at)
    (i64.extend_i32_u (i32.add (local.get $slot) (i32.const {_FOUND_BYTES}))))
  (i32.store8 $b offset=2 (local.get $to) (i32.const 1))
  (i32.store8 $b offset=4 (local.get $to) (i32.load $found (local.get $slot)))
  (memory.copy $b $found (i32.const {BYTES}) (i32.add (local.get $slot) (i32.const 4)) (i32.const 16))
  (if (i32.load $found (local.get $slot))
    (then (call $swapped (i32.add (local.get $to) (i32.const 6)) (i32.const {BYTES})))
    (else (memory.copy $b $b (i32.add (local.get $to) (i32.const 6)) (i32.const {BYTES})
      (i32.const 4)))))
"""


def _dropped(name: str, kind: int) -> Body:
    text = f"(drop (call $get {p(0)} (i32.const {kind}))) (call $release {p(0)})"
    return Body(name, f"{text} (drop (call $note (i32.const -1)))")


BODIES = (
    Body(
        "instance-network.instance-network",
        f"(drop (call $note (i32.const -1)))"
        f"(call $new (i32.const {K_NETWORK}) (i32.const 0) (i64.const 0) (i32.const 0))",
    ),
    _dropped("network.drop", K_NETWORK),
    Body(
        "ip-name-lookup.resolve-addresses",
        f"(drop (call $get {p(0)} (i32.const {K_NETWORK})))(call $look_up {p(1)} {p(2)} (local.get $to))",
    ),
    _dropped("resolve-address-stream.drop", K_FOUND),
    Body("resolve-address-stream.resolve-next-address", f"(call $next_found {p(0)} (local.get $to))"),
    Body(
        "resolve-address-stream.subscribe",
        f"(drop (call $get {p(0)} (i32.const {K_FOUND})))(call $watched (i32.const -1) (i32.const {READY}))",
    ),
)
