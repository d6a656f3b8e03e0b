"""Sockets: `wasi:sockets`, by the calls on sockets that WASI 0.1 has behind the same monitor and broker.

A handle knows how far its socket has come. Sockets don't wait: what has to be waited for is told by
pollables, and by the calls of streams that block. It is longer than most: it has six interfaces of sixty
functions.

Not as the specification has it: binding and listening are done when they are started, names are looked up at
once, a datagram comes alone, and options that the calls of WASI 0.1 do not have are `not-supported`.
"""

from __future__ import annotations

from sandbox.bridge.calls_lookup import BYTES, K_NETWORK
from sandbox.bridge.kernel import (
    AT,
    COUNT,
    FD,
    IOVEC,
    K_INPUT,
    K_OUTPUT,
    K_POLLABLE,
    MODE,
    NUMBER,
    ON_SOCKET,
    READY,
    TO_READ,
    TO_WRITE,
)
from sandbox.bridge.shape import Body, p

K_TCP, K_UDP, K_IN, K_OUT = range(9, 13)
NEW, BOUND_NOW, BOUND, CONNECTING, CONNECTED, LISTENING_NOW, LISTENING = range(7)
"""How far a socket has come; those in the middle are started and not finished."""

# Of `wasi:sockets/network`, error-code, by errno; others are `unknown`.
_CODES = {
    2: 1, 3: 12, 4: 11, 5: 2, 6: 8, 7: 6, 13: 16, 14: 14, 15: 15, 17: 3, 19: 1, 23: 13, 26: 8, 28: 3, 30: 9,
    33: 10, 35: 17, 40: 13, 44: 18, 48: 4, 53: 9, 58: 2, 73: 5, 76: 1,
}  # fmt: skip
_NOT_SUPPORTED, _NOT_IN_PROGRESS, _WOULD_BLOCK, _INVALID_STATE, _INVALID = 2, 7, 8, 9, 3
_AGAIN, _IN_PROGRESS = 6, 26
_TEXT = "".join(f"\\{_CODES.get(errno, 0):02x}" for errno in range(128))
_ADDRESS = 160  # pointer and length of an address, and behind it its bytes
_PORT = 196
_KIND = 200
_FLAGS = 204
_DATAGRAM = 65_536

SUPPORT = f"""
(data $net_codes "{_TEXT}")
(func $net_answer (param $to i32) (param $at i32) (param $errno i32)
  (i32.store8 $b (local.get $to) (i32.ne (local.get $errno) (i32.const 0)))
  (if (local.get $errno) (then
    (memory.init $b $net_codes (i32.add (local.get $to) (local.get $at))
      (i32.and (local.get $errno) (i32.const 127)) (i32.const 1)))))
(func $net_fail (param $to i32) (param $at i32) (param $code i32)
  (i32.store8 $b (local.get $to) (i32.const 1))
  (i32.store8 $b (i32.add (local.get $to) (local.get $at)) (local.get $code)))
(func $state (param $socket i32) (param $kind i32) (result i32)
  (i32.load $handles offset={MODE} (call $get (local.get $socket) (local.get $kind))))
(func $become (param $socket i32) (param $state i32)
  (i32.store $handles offset={MODE} (call $entry (local.get $socket)) (local.get $state)))
(func $open_socket (param $family i32) (param $type i32) (param $kind i32) (param $to i32) (local $errno i32)
  (if (i32.gt_u (local.get $family) (i32.const 1)) (then (unreachable)))
  (local.set $errno (call $sock_open (i32.add (local.get $family) (i32.const 1)) (local.get $type)
    (i32.const {NUMBER})))
  (call $net_answer (local.get $to) (i32.const 4) (local.get $errno))
  (if (local.get $errno) (then (return)))
  (call $must (call $fd_fdstat_set_flags (i32.load $b (i32.const {NUMBER})) (i32.const 4)))
  (i32.store $b offset=4 (local.get $to) (call $new_use (local.get $kind) (i32.load $b (i32.const {NUMBER}))
    (i64.extend_i32_u (local.get $family)) (i32.const {NEW}))))
(func $pair (param $at i32) (param $n i32) (param $segment i32)
  (i32.store8 $b (i32.add (local.get $at) (i32.shl (local.get $n) (i32.const 1)))
    (i32.shr_u (local.get $segment) (i32.const 8)))
  (i32.store8 $b offset=1 (i32.add (local.get $at) (i32.shl (local.get $n) (i32.const 1)))
    (local.get $segment)))
(func $address (param $is_v6 i32) (param $port i32) (param $p2 i32) (param $p3 i32) (param $p4 i32)
  (param $p5 i32) (param $p6 i32) (param $p7 i32) (param $p8 i32) (param $p9 i32) (param $p10 i32)
  (param $p11 i32) (result i32)
  ;; as the calls of WASI 0.1 take it; gives the port. An octet is eight bits, whatever is beside it
  (if (i32.gt_u (local.get $is_v6) (i32.const 1)) (then (unreachable)))
  (i32.store $b (i32.const {_ADDRESS}) (i32.const {BYTES}))
  (i32.store $b (i32.const {_ADDRESS + 4}) (select (i32.const 16) (i32.const 4) (local.get $is_v6)))
  (if (local.get $is_v6)
    (then
      (call $pair (i32.const {BYTES}) (i32.const 0) (local.get $p3))
      (call $pair (i32.const {BYTES}) (i32.const 1) (local.get $p4))
      (call $pair (i32.const {BYTES}) (i32.const 2) (local.get $p5))
      (call $pair (i32.const {BYTES}) (i32.const 3) (local.get $p6))
      (call $pair (i32.const {BYTES}) (i32.const 4) (local.get $p7))
      (call $pair (i32.const {BYTES}) (i32.const 5) (local.get $p8))
      (call $pair (i32.const {BYTES}) (i32.const 6) (local.get $p9))
      (call $pair (i32.const {BYTES}) (i32.const 7) (local.get $p10)))
    (else
      (i32.store8 $b (i32.const {BYTES}) (local.get $p2))
      (i32.store8 $b (i32.const {BYTES + 1}) (local.get $p3))
      (i32.store8 $b (i32.const {BYTES + 2}) (local.get $p4))
      (i32.store8 $b (i32.const {BYTES + 3}) (local.get $p5))))
  (i32.and (local.get $port) (i32.const 0xffff)))
(func $stored_address (param $at i32) (result i32) (local $n i32)
  ;; the same, of one that lies in memory
  (if (i32.load8_u $b (local.get $at))
    (then
      (i32.store $b (i32.const {_ADDRESS + 4}) (i32.const 16))
      (loop $next
        (call $pair (i32.const {BYTES}) (local.get $n)
          (i32.load16_u $b offset=12 (i32.add (local.get $at) (i32.shl (local.get $n) (i32.const 1)))))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $next (i32.lt_u (local.get $n) (i32.const 8)))))
    (else
      (i32.store $b (i32.const {_ADDRESS + 4}) (i32.const 4))
      (i32.store $b (i32.const {BYTES}) (i32.load $b offset=6 (local.get $at)))))
  (i32.store $b (i32.const {_ADDRESS}) (i32.const {BYTES}))
  (i32.load16_u $b offset=4 (local.get $at)))
(func $swapped (param $at i32) (param $source i32) (local $n i32)
  ;; eight numbers of sixteen bits, most significant byte first there
  (loop $next
    (i32.store16 $b (local.get $at) (i32.or
      (i32.shl (i32.load8_u $b (local.get $source)) (i32.const 8))
      (i32.load8_u $b offset=1 (local.get $source))))
    (local.set $at (i32.add (local.get $at) (i32.const 2)))
    (local.set $source (i32.add (local.get $source) (i32.const 2)))
    (local.set $n (i32.add (local.get $n) (i32.const 1)))
    (br_if $next (i32.lt_u (local.get $n) (i32.const 8)))))
(func $room_for_address
  (i32.store $b (i32.const {_ADDRESS}) (i32.const {BYTES}))
  (i32.store $b (i32.const {_ADDRESS + 4}) (i32.const 16)))
(func $give_address (param $to i32) (param $is_v6 i32) (param $port i32)
  ;; what the calls of WASI 0.1 gave, as an ip-socket-address
  (memory.fill $b (local.get $to) (i32.const 0) (i32.const 32))
  (i32.store8 $b (local.get $to) (local.get $is_v6))
  (i32.store16 $b offset=4 (local.get $to) (local.get $port))
  (if (local.get $is_v6)
    (then (call $swapped (i32.add (local.get $to) (i32.const 12)) (i32.const {BYTES})))
    (else (i32.store $b offset=6 (local.get $to) (i32.load $b (i32.const {BYTES}))))))
(func $where (param $errno i32) (param $to i32)
  (call $net_answer (local.get $to) (i32.const 4) (local.get $errno))
  (if (i32.eqz (local.get $errno)) (then
    (call $give_address (i32.add (local.get $to) (i32.const 4))
      (i32.eq (i32.load $b (i32.const {_KIND})) (i32.const 6)) (i32.load $b (i32.const {_PORT}))))))
(func $await (param $fd i32) (param $tag i32) (param $is_waiting i32) (result i32) (local $at i32)
  ;; whether a descriptor is ready to be read (1) or written (2)
  (local.set $at (call $room (i32.const 160)))
  (memory.fill $b (local.get $at) (i32.const 0) (i32.const 96))
  (i32.store8 $b offset=8 (local.get $at) (local.get $tag))
  (i32.store $b offset=16 (local.get $at) (local.get $fd))
  (i64.store $b offset=48 (local.get $at) (i64.const 1))
  (i32.store $b offset=64 (local.get $at) (i32.const 1))
  (call $must (call $poll_oneoff (local.get $at) (i32.add (local.get $at) (i32.const 96))
    (select (i32.const 1) (i32.const 2) (local.get $is_waiting)) (i32.const {COUNT})))
  (i64.eqz (i64.load $b offset=96 (local.get $at))))
(func $option_of (param $fd i32) (param $name i32) (result i32)
  (i32.store $b (i32.const {_FLAGS}) (i32.const 4))
  (call $sock_getsockopt (local.get $fd) (i32.const 0) (local.get $name) (i32.const {NUMBER})
    (i32.const {_FLAGS})))
(func $set_option (param $fd i32) (param $name i32) (param $value i64) (result i32)
  (i32.store $b (i32.const {NUMBER}) (i32.wrap_i64 (select (local.get $value) (i64.const 0x7fffffff)
    (i64.lt_u (local.get $value) (i64.const 0x7fffffff)))))
  (call $sock_setsockopt (local.get $fd) (i32.const 0) (local.get $name) (i32.const {NUMBER}) (i32.const 4)))
(func $streams (param $fd i32) (param $at i32)
  (i32.store $b (local.get $at)
    (call $new_use (i32.const {K_INPUT}) (local.get $fd) (i64.const 0) (i32.const {ON_SOCKET})))
  (i32.store $b offset=4 (local.get $at)
    (call $new_use (i32.const {K_OUTPUT}) (local.get $fd) (i64.const 0) (i32.const {ON_SOCKET}))))
(func $connect (param $socket i32) (param $kind i32) (param $port i32) (result i32)
  (call $sock_connect (i32.load $handles offset={FD} (call $get (local.get $socket) (local.get $kind)))
    (i32.const {_ADDRESS}) (local.get $port)))
(func $begin_connect (param $socket i32) (param $port i32) (param $to i32) (local $errno i32) (local $is i32)
  (local.set $is (call $state (local.get $socket) (i32.const {K_TCP})))
  (if (i32.and (i32.ne (local.get $is) (i32.const {NEW})) (i32.ne (local.get $is) (i32.const {BOUND}))) (then
    (drop (call $note (call $fd_of (local.get $socket) (i32.const {K_TCP}))))
    (call $net_fail (local.get $to) (i32.const 1) (i32.const {_INVALID_STATE})) (return)))
  (local.set $errno (call $connect (local.get $socket) (i32.const {K_TCP}) (local.get $port)))
  (if (i32.eq (local.get $errno) (i32.const {_IN_PROGRESS})) (then (local.set $errno (i32.const 0))))
  (if (i32.eqz (local.get $errno)) (then (call $become (local.get $socket) (i32.const {CONNECTING}))))
  (call $net_answer (local.get $to) (i32.const 1) (local.get $errno)))
(func $end_connect (param $socket i32) (param $to i32) (local $errno i32) (local $fd i32)
  (local.set $fd (call $fd_of (local.get $socket) (i32.const {K_TCP})))
  (if (i32.ne (call $state (local.get $socket) (i32.const {K_TCP})) (i32.const {CONNECTING})) (then
    (drop (call $note (local.get $fd)))
    (call $net_fail (local.get $to) (i32.const 4) (i32.const {_NOT_IN_PROGRESS})) (return)))
  (if (i32.eqz (call $await (local.get $fd) (i32.const 2) (i32.const 0))) (then
    (call $net_fail (local.get $to) (i32.const 4) (i32.const {_WOULD_BLOCK})) (return)))
  (local.set $errno (call $option_of (local.get $fd) (i32.const 2)))
  (if (i32.eqz (local.get $errno)) (then (local.set $errno (i32.load $b (i32.const {NUMBER})))))
  (call $net_answer (local.get $to) (i32.const 4) (local.get $errno))
  (call $become (local.get $socket) (select (i32.const {NEW}) (i32.const {CONNECTED}) (local.get $errno)))
  (if (i32.eqz (local.get $errno)) (then
    (call $streams (local.get $fd) (i32.add (local.get $to) (i32.const 4))))))
(func $bind (param $socket i32) (param $kind i32) (param $port i32) (param $to i32) (local $errno i32)
  (local.set $errno (call $sock_bind (call $fd_of (local.get $socket) (local.get $kind))
    (i32.const {_ADDRESS}) (local.get $port)))
  (if (i32.eqz (local.get $errno)) (then (call $become (local.get $socket) (i32.const {BOUND_NOW}))))
  (call $net_answer (local.get $to) (i32.const 1) (local.get $errno)))
(func $finish_step (param $socket i32) (param $kind i32) (param $source i32) (param $into i32) (param $to i32)
  (drop (call $note (call $fd_of (local.get $socket) (local.get $kind))))
  (i32.store8 $b (local.get $to) (i32.const 0))
  (if (i32.ne (call $state (local.get $socket) (local.get $kind)) (local.get $source)) (then
    (call $net_fail (local.get $to) (i32.const 1) (i32.const {_NOT_IN_PROGRESS})) (return)))
  (call $become (local.get $socket) (local.get $into)))
(func $accept (param $socket i32) (param $to i32) (local $errno i32) (local $fd i32)
  (local.set $errno (call $sock_accept (call $fd_of (local.get $socket) (i32.const {K_TCP})) (i32.const 4)
    (i32.const {NUMBER})))
  (call $net_answer (local.get $to) (i32.const 4) (local.get $errno))
  (if (local.get $errno) (then (return)))
  (local.set $fd (i32.load $b (i32.const {NUMBER})))
  (i32.store $b offset=4 (local.get $to) (call $new_use (i32.const {K_TCP}) (local.get $fd)
    (i64.load $handles offset={AT} (call $entry (local.get $socket))) (i32.const {CONNECTED})))
  (call $streams (local.get $fd) (i32.add (local.get $to) (i32.const 8))))
(func $watched (param $fd i32) (param $mode i32) (result i32)
  (drop (call $note (local.get $fd)))
  (call $new (i32.const {K_POLLABLE}) (local.get $fd) (i64.const 0) (local.get $mode)))
(func $receive (param $stream i32) (param $most i64) (param $to i32) (local $errno i32) (local $out i32)
  (local $is_v6 i32)
  (if (i64.eqz (local.get $most)) (then
    (drop (call $note (call $fd_of (local.get $stream) (i32.const {K_IN}))))
    (memory.fill $b (local.get $to) (i32.const 0) (i32.const 12)) (return)))
  (call $vector (call $room (i32.const {_DATAGRAM})) (i32.const {_DATAGRAM}))
  (local.set $out (call $room (i32.const 40)))
  (call $room_for_address)
  (i64.store $b (i32.const {BYTES}) (i64.const 0))
  (local.set $errno (call $sock_recv_from (call $fd_of (local.get $stream) (i32.const {K_IN}))
    (i32.const {IOVEC}) (i32.const 1) (i32.const {_ADDRESS}) (i32.const 0) (i32.const {_PORT})
    (i32.const {COUNT}) (i32.const {_FLAGS})))
  (i32.store $b offset=4 (local.get $to) (local.get $out))
  (i32.store $b offset=8 (local.get $to) (i32.eqz (local.get $errno)))
  (if (i32.eq (local.get $errno) (i32.const {_AGAIN})) (then (local.set $errno (i32.const 0))))
  (call $net_answer (local.get $to) (i32.const 4) (local.get $errno))
  (local.set $is_v6 (i32.wrap_i64 (i64.load $handles offset={AT} (call $entry (local.get $stream)))))
  (i32.store $b (local.get $out) (i32.load $b (i32.const {IOVEC})))
  (i32.store $b offset=4 (local.get $out) (i32.load $b (i32.const {COUNT})))
  (call $give_address (i32.add (local.get $out) (i32.const 8)) (local.get $is_v6)
    (i32.load $b (i32.const {_PORT}))))
(func $send (param $stream i32) (param $list i32) (param $n i32) (param $to i32) (local $errno i32)
  (local $fd i32) (local $done i64)
  (local.set $fd (call $fd_of (local.get $stream) (i32.const {K_OUT})))
  (if (i32.eqz (local.get $n)) (then (drop (call $note (local.get $fd)))))
  (block $end (loop $next
    (br_if $end (i32.eqz (local.get $n)))
    (call $vector (i32.load $b (local.get $list)) (i32.load $b offset=4 (local.get $list)))
    (if (i32.load8_u $b offset=8 (local.get $list))
      (then (local.set $errno (call $sock_send_to (local.get $fd) (i32.const {IOVEC}) (i32.const 1)
        (i32.const {_ADDRESS}) (call $stored_address (i32.add (local.get $list) (i32.const 12)))
        (i32.const 0) (i32.const {COUNT}))))
      (else (local.set $errno (call $fd_write (local.get $fd) (i32.const {IOVEC}) (i32.const 1)
        (i32.const {COUNT})))))
    (br_if $end (local.get $errno))
    (local.set $done (i64.add (local.get $done) (i64.const 1)))
    (local.set $list (i32.add (local.get $list) (i32.const 44)))
    (local.set $n (i32.sub (local.get $n) (i32.const 1)))
    (br $next)))
  ;; what was sent is told; why the next one was not, when it is tried again
  (if (i32.or (i64.ne (local.get $done) (i64.const 0)) (i32.eq (local.get $errno) (i32.const {_AGAIN})))
    (then (local.set $errno (i32.const 0))))
  (call $net_answer (local.get $to) (i32.const 8) (local.get $errno))
  (if (i32.eqz (local.get $errno)) (then (i64.store $b offset=8 (local.get $to) (local.get $done)))))
"""  # nosec B608  # WebAssembly text


def _given(first: int) -> str:
    """An ip-socket-address among the parameters, from `first` on; gives its port."""
    return "(call $address " + " ".join(p(nth) for nth in range(first, first + 12)) + ")"


def _noted(kind: int, then: str) -> str:
    return f"(drop (call $note (call $fd_of {p(0)} (i32.const {kind}))))\n{then}"


def _unsupported(name: str, kind: int, at: int) -> Body:
    fail = f"(call $net_fail (local.get $to) (i32.const {at}) (i32.const {_NOT_SUPPORTED}))"
    return Body(name, _noted(kind, fail))


def _fd(kind: int) -> str:
    return f"(call $fd_of {p(0)} (i32.const {kind}))"


def _size(name: str, kind: int, option: int) -> tuple[Body, Body]:
    """An option that is a number of bytes: asked and set."""
    resource, _, what = name.partition(".")
    asked = f"""(local.set $errno (call $option_of {_fd(kind)} (i32.const {option})))
(call $net_answer (local.get $to) (i32.const 8) (local.get $errno))
(if (i32.eqz (local.get $errno)) (then
  (i64.store $b offset=8 (local.get $to) (i64.load32_u $b (i32.const {NUMBER})))))"""
    # SPEC: none at all is no size
    told = f"""(if (i64.eqz {p(1)})
  (then {_noted(kind, f"(call $net_fail (local.get $to) (i32.const 1) (i32.const {_INVALID}))")})
  (else (call $net_answer (local.get $to) (i32.const 1)
    (call $set_option {_fd(kind)} (i32.const {option}) {p(1)}))))"""
    return Body(name, asked, ("$errno i32",)), Body(f"{resource}.set-{what}", told)


_KEEPALIVE = f"""(local.set $errno (call $option_of {_fd(K_TCP)} (i32.const 7)))
(call $net_answer (local.get $to) (i32.const 1) (local.get $errno))
(if (i32.eqz (local.get $errno)) (then
  (i32.store8 $b offset=1 (local.get $to) (i32.ne (i32.const 0) (i32.load $b (i32.const {NUMBER}))))))"""
_BACKLOG = f"""(if (i64.eqz {p(1)})
  (then (call $net_fail (local.get $to) (i32.const 1) (i32.const {_INVALID})))
  (else (i32.store8 $b (local.get $to) (i32.const 0))))"""
_TCP_READY = f"""(local.set $is (call $state {p(0)} (i32.const {K_TCP})))
(call $watched {_fd(K_TCP)}
  (select (i32.const {TO_WRITE})
    (select (i32.const {TO_READ}) (i32.const {READY}) (i32.eq (local.get $is) (i32.const {LISTENING})))
    (i32.eq (local.get $is) (i32.const {CONNECTING}))))"""
_LISTEN = f"""(local.set $errno (call $sock_listen {_fd(K_TCP)} (i32.const 128)))
(if (i32.eqz (local.get $errno)) (then (call $become {p(0)} (i32.const {LISTENING_NOW}))))
(call $net_answer (local.get $to) (i32.const 1) (local.get $errno))"""
_UDP_STREAM = f"""(if {p(1)} (then
  (local.set $errno (call $connect {p(0)} (i32.const {K_UDP}) {_given(2)})))
  (else (drop (call $note {_fd(K_UDP)}))))
(call $net_answer (local.get $to) (i32.const 4) (local.get $errno))
(if (i32.eqz (local.get $errno)) (then
  (local.set $fd {_fd(K_UDP)})
  (local.set $family (i64.load $handles offset={AT} (call $entry {p(0)})))
  (i32.store $b offset=4 (local.get $to)
    (call $new_use (i32.const {K_IN}) (local.get $fd) (local.get $family) (i32.const 0)))
  (i32.store $b offset=8 (local.get $to)
    (call $new_use (i32.const {K_OUT}) (local.get $fd) (local.get $family) (i32.const 0)))))"""
_SHUTDOWN = f"""(if (i32.gt_u {p(1)} (i32.const 2)) (then (unreachable)))
(call $net_answer (local.get $to) (i32.const 1)
  (call $sock_shutdown {_fd(K_TCP)} (i32.add {p(1)} (i32.const 1))))"""
_SET_KEEPALIVE = f"""(call $net_answer (local.get $to) (i32.const 1)
  (call $set_option {_fd(K_TCP)} (i32.const 7) (i64.extend_i32_u (i32.ne {p(1)} (i32.const 0)))))"""


def _family(kind: int) -> str:
    return _noted(
        kind, f"(i32.wrap_i64 (i64.load $handles offset={AT} (call $get {p(0)} (i32.const {kind}))))"
    )


def _place(call: str, kind: int) -> str:
    asked = f"(call ${call} {_fd(kind)} (i32.const {_ADDRESS}) (i32.const {_KIND}) (i32.const {_PORT}))"
    return f"(call $room_for_address)(call $where {asked} (local.get $to))"


def _step(kind: int, begin: int, end: int) -> str:
    return (
        f"(call $finish_step {p(0)} (i32.const {kind}) (i32.const {begin}) (i32.const {end}) (local.get $to))"
    )


def _begun(call: str) -> str:
    # SPEC: the network is looked at only to see that it is one
    return f"(drop (call $get {p(1)} (i32.const {K_NETWORK}))){call}"


_T, _U, _I, _O = "tcp-socket", "udp-socket", "incoming-datagram-stream", "outgoing-datagram-stream"
_E = ("$errno i32",)

BODIES = (
    Body(
        "tcp-create-socket.create-tcp-socket",
        f"(call $open_socket {p(0)} (i32.const 2) (i32.const {K_TCP}) (local.get $to))",
    ),
    Body(
        "udp-create-socket.create-udp-socket",
        f"(call $open_socket {p(0)} (i32.const 1) (i32.const {K_UDP}) (local.get $to))",
    ),
    Body(f"{_T}.drop", f"(call $drop {p(0)} (i32.const {K_TCP}))"),
    Body(
        f"{_T}.start-bind",
        _begun(f"(call $bind {p(0)} (i32.const {K_TCP}) {_given(2)} (local.get $to))"),
    ),
    Body(f"{_T}.finish-bind", _step(K_TCP, BOUND_NOW, BOUND)),
    Body(f"{_T}.start-connect", _begun(f"(call $begin_connect {p(0)} {_given(2)} (local.get $to))")),
    Body(f"{_T}.finish-connect", f"(call $end_connect {p(0)} (local.get $to))"),
    Body(f"{_T}.start-listen", _LISTEN, _E),
    Body(f"{_T}.finish-listen", _step(K_TCP, LISTENING_NOW, LISTENING)),
    Body(f"{_T}.accept", f"(call $accept {p(0)} (local.get $to))"),
    Body(f"{_T}.local-address", _place("sock_getlocaladdr", K_TCP)),
    Body(f"{_T}.remote-address", _place("sock_getpeeraddr", K_TCP)),
    Body(
        f"{_T}.is-listening",
        _noted(K_TCP, f"(i32.eq (call $state {p(0)} (i32.const {K_TCP})) (i32.const {LISTENING}))"),
    ),
    Body(f"{_T}.address-family", _family(K_TCP)),
    Body(f"{_T}.set-listen-backlog-size", _noted(K_TCP, _BACKLOG)),
    Body(f"{_T}.keep-alive-enabled", _KEEPALIVE, _E),
    Body(f"{_T}.set-keep-alive-enabled", _SET_KEEPALIVE),
    _unsupported(f"{_T}.keep-alive-idle-time", K_TCP, 8),
    _unsupported(f"{_T}.set-keep-alive-idle-time", K_TCP, 1),
    _unsupported(f"{_T}.keep-alive-interval", K_TCP, 8),
    _unsupported(f"{_T}.set-keep-alive-interval", K_TCP, 1),
    _unsupported(f"{_T}.keep-alive-count", K_TCP, 4),
    _unsupported(f"{_T}.set-keep-alive-count", K_TCP, 1),
    _unsupported(f"{_T}.hop-limit", K_TCP, 1),
    _unsupported(f"{_T}.set-hop-limit", K_TCP, 1),
    *_size(f"{_T}.receive-buffer-size", K_TCP, 6),
    *_size(f"{_T}.send-buffer-size", K_TCP, 5),
    Body(f"{_T}.subscribe", _TCP_READY, ("$is i32",)),
    Body(f"{_T}.shutdown", _SHUTDOWN),
    Body(f"{_U}.drop", f"(call $drop {p(0)} (i32.const {K_UDP}))"),
    Body(
        f"{_U}.start-bind",
        _begun(f"(call $bind {p(0)} (i32.const {K_UDP}) {_given(2)} (local.get $to))"),
    ),
    Body(f"{_U}.finish-bind", _step(K_UDP, BOUND_NOW, BOUND)),
    Body(f"{_U}.stream", _UDP_STREAM, ("$errno i32", "$fd i32", "$family i64")),
    Body(f"{_U}.local-address", _place("sock_getlocaladdr", K_UDP)),
    Body(f"{_U}.remote-address", _place("sock_getpeeraddr", K_UDP)),
    Body(f"{_U}.address-family", _family(K_UDP)),
    _unsupported(f"{_U}.unicast-hop-limit", K_UDP, 1),
    _unsupported(f"{_U}.set-unicast-hop-limit", K_UDP, 1),
    *_size(f"{_U}.receive-buffer-size", K_UDP, 6),
    *_size(f"{_U}.send-buffer-size", K_UDP, 5),
    Body(f"{_U}.subscribe", f"(call $watched {_fd(K_UDP)} (i32.const {READY}))"),
    Body(f"{_I}.drop", f"(call $drop {p(0)} (i32.const {K_IN}))"),
    Body(f"{_I}.receive", f"(call $receive {p(0)} {p(1)} (local.get $to))"),
    Body(f"{_I}.subscribe", f"(call $watched {_fd(K_IN)} (i32.const {TO_READ}))"),
    Body(f"{_O}.drop", f"(call $drop {p(0)} (i32.const {K_OUT}))"),
    Body(
        f"{_O}.check-send",
        _noted(
            K_OUT,
            "(i32.store8 $b (local.get $to) (i32.const 0))"
            "(i64.store $b offset=8 (local.get $to) (i64.const 16))",
        ),
    ),
    Body(f"{_O}.send", f"(call $send {p(0)} {p(1)} {p(2)} (local.get $to))"),
    Body(f"{_O}.subscribe", f"(call $watched {_fd(K_OUT)} (i32.const {TO_WRITE}))"),
)
