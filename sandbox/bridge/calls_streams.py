"""Streams, what they wait for, and their errors: `wasi:io`, and the standard streams of `wasi:cli`.

A stream of a file reads and writes at a position of its own, one of standard input and output in turn.
Not as the specification has it: reading from standard input waits also where it should not, unless the
guest polled before; what is written is written at once, so nothing is left for a flush.

It is longer than most: all of it is for the same few resources.
"""

from __future__ import annotations

from policy.component_calls import COMPONENT_CALLS
from sandbox.bridge.kernel import (
    AT,
    AT_TIME,
    BY_POSITION,
    COUNT,
    FD,
    IN_BODY,
    IN_TURN,
    IOVEC,
    K_ERROR,
    K_INPUT,
    K_OUTPUT,
    K_POLLABLE,
    MODE,
    ON_SOCKET,
    READY,
    TO_READ,
    TO_WRITE,
)
from sandbox.bridge.shape import Body, p

MOST = 1 << 20
"""Bytes that one call moves at most; `check-write` says so."""

_AGAIN = 6
_AT_ONCE = 4_096  # SPEC: wasi:io/streams, blocking-write-and-flush

SUPPORT = f"""
(func $read (param $stream i32) (param $len i64) (result i32) (local $at i32) (local $n i32) (local $to i32)
  ;; as many bytes as there are now, at IOVEC and COUNT; gives an errno
  (local.set $at (call $get (local.get $stream) (i32.const {K_INPUT})))
  (local.set $n (i32.wrap_i64 (select (local.get $len) (i64.const {MOST})
    (i64.lt_u (local.get $len) (i64.const {MOST})))))
  (call $vector (call $room (local.get $n)) (local.get $n))
  (if (i32.load $handles offset={MODE} (local.get $at)) (then
    (return (call $fd_read (i32.load $handles offset={FD} (local.get $at)) (i32.const {IOVEC}) (i32.const 1)
      (i32.const {COUNT})))))
  (local.set $n (call $fd_pread (i32.load $handles offset={FD} (local.get $at)) (i32.const {IOVEC})
    (i32.const 1) (i64.load $handles offset={AT} (local.get $at)) (i32.const {COUNT})))
  (if (i32.eqz (local.get $n)) (then
    (i64.store $handles offset={AT} (local.get $at) (i64.add (i64.load $handles offset={AT} (local.get $at))
      (i64.load32_u $b (i32.const {COUNT}))))))
  (local.get $n))
(func $is_on_socket (param $at i32) (result i32)
  (i32.eq (i32.load $handles offset={MODE} (local.get $at)) (i32.const {ON_SOCKET})))
(func $read_some (param $stream i32) (param $len i64) (param $is_waiting i32) (result i32)
  (local $errno i32) (local $at i32)
  ;; the same; of a socket that has nothing yet `again`, or when it has something
  (loop $again
    (local.set $errno (call $read (local.get $stream) (local.get $len)))
    (local.set $at (call $entry (local.get $stream)))
    (if (i32.and (local.get $is_waiting) (i32.and (i32.eq (local.get $errno) (i32.const {_AGAIN}))
                 (call $is_on_socket (local.get $at)))) (then
      (drop (call $await (i32.load $handles offset={FD} (local.get $at)) (i32.const 1) (i32.const 1)))
      (br $again))))
  (local.get $errno))
(func $read_into (param $stream i32) (param $len i64) (param $is_waiting i32) (param $to i32)
  (local $errno i32)
  (local.set $errno (call $read_some (local.get $stream) (local.get $len) (local.get $is_waiting)))
  (if (i32.eq (local.get $errno) (i32.const {_AGAIN})) (then
    (i64.store $b (local.get $to) (i64.const 0))
    (i32.store $b offset=8 (local.get $to) (i32.const 0)) (return)))
  (if (local.get $errno) (then
    (call $fails (local.get $to) (i32.const 4) (local.get $errno)) (return)))
  (if (i32.and (i32.eqz (i32.load $b (i32.const {COUNT}))) (i64.ne (local.get $len) (i64.const 0))) (then
    (call $closed (local.get $to) (i32.const 4)) (return)))
  (i32.store8 $b (local.get $to) (i32.const 0))
  (i32.store $b offset=4 (local.get $to) (i32.load $b (i32.const {IOVEC})))
  (i32.store $b offset=8 (local.get $to) (i32.load $b (i32.const {COUNT}))))
(func $skip (param $stream i32) (param $len i64) (param $is_waiting i32) (param $to i32)
  (local $errno i32)
  (local.set $errno (call $read_some (local.get $stream) (local.get $len) (local.get $is_waiting)))
  (if (i32.eq (local.get $errno) (i32.const {_AGAIN})) (then
    (i32.store $b (i32.const {COUNT}) (i32.const 0))
    (memory.fill $b (local.get $to) (i32.const 0) (i32.const 16)) (return)))
  (if (local.get $errno) (then
    (call $fails (local.get $to) (i32.const 8) (local.get $errno)) (return)))
  (if (i32.and (i32.eqz (i32.load $b (i32.const {COUNT}))) (i64.ne (local.get $len) (i64.const 0))) (then
    (call $closed (local.get $to) (i32.const 8)) (return)))
  (i32.store8 $b (local.get $to) (i32.const 0))
  (i64.store $b offset=8 (local.get $to) (i64.load32_u $b (i32.const {COUNT}))))
(func $pour (param $fd i32) (param $place i32) (param $is_patient i32) (param $source i32) (param $n i32)
  (result i32) (local $errno i32) (local $done i32)
  ;; all of it, in as many steps as it takes, and in one if it is nothing: at the position of a handle's
  ;; entry, or, where that is 0, in turn; gives an errno
  (block $end (loop $more
    (call $vector (local.get $source) (local.get $n))
    (if (local.get $place)
      (then (local.set $errno (call $fd_pwrite (local.get $fd) (i32.const {IOVEC}) (i32.const 1)
        (i64.load $handles offset={AT} (local.get $place)) (i32.const {COUNT}))))
      (else (local.set $errno (call $fd_write (local.get $fd) (i32.const {IOVEC}) (i32.const 1)
        (i32.const {COUNT})))))
    (if (i32.and (i32.eq (local.get $errno) (i32.const {_AGAIN})) (local.get $is_patient)) (then
      (drop (call $await (local.get $fd) (i32.const 2) (i32.const 1)))
      (br $more)))
    (br_if $end (local.get $errno))
    (local.set $done (i32.load $b (i32.const {COUNT})))
    (if (local.get $place) (then
      (i64.store $handles offset={AT} (local.get $place) (i64.add
        (i64.load $handles offset={AT} (local.get $place)) (i64.extend_i32_u (local.get $done))))))
    (br_if $end (i32.ge_u (local.get $done) (local.get $n)))
    (if (i32.eqz (local.get $done)) (then (local.set $errno (i32.const 29)) (br $end)))
    (local.set $source (i32.add (local.get $source) (local.get $done)))
    (local.set $n (i32.sub (local.get $n) (local.get $done)))
    (br $more)))
  (local.get $errno))
(func $write (param $stream i32) (param $source i32) (param $n i32) (result i32) (local $at i32)
  (local.set $at (call $get (local.get $stream) (i32.const {K_OUTPUT})))
  (if (i32.eq (i32.load $handles offset={MODE} (local.get $at)) (i32.const {IN_BODY})) (then
    (return (call $write_body (i32.load $handles offset={FD} (local.get $at)) (local.get $source)
      (local.get $n)))))
  (call $pour (i32.load $handles offset={FD} (local.get $at))
    (select (i32.const 0) (local.get $at) (i32.load $handles offset={MODE} (local.get $at)))
    (call $is_on_socket (local.get $at)) (local.get $source) (local.get $n)))
(func $written (param $to i32) (param $errno i32)
  (if (local.get $errno)
    (then (call $fails (local.get $to) (i32.const 4) (local.get $errno)))
    (else (i32.store8 $b (local.get $to) (i32.const 0)))))
(func $zeroes (param $stream i32) (param $n i64) (param $most i64) (param $to i32) (local $source i32)
  (if (i64.gt_u (local.get $n) (local.get $most)) (then (unreachable)))
  (local.set $source (call $room (i32.wrap_i64 (local.get $n))))
  (memory.fill $b (local.get $source) (i32.const 0) (i32.wrap_i64 (local.get $n)))
  (call $written (local.get $to)
    (call $write (local.get $stream) (local.get $source) (i32.wrap_i64 (local.get $n)))))
(func $splice (param $stream i32) (param $source i32) (param $len i64) (param $is_waiting i32) (param $to i32)
  (local $errno i32) (local $n i32)
  (drop (call $get (local.get $stream) (i32.const {K_OUTPUT})))
  (call $skip (local.get $source) (local.get $len) (local.get $is_waiting) (local.get $to))
  (if (i32.load8_u $b (local.get $to)) (then (return)))
  (local.set $n (i32.load $b (i32.const {COUNT})))
  (local.set $errno (call $write (local.get $stream) (i32.load $b (i32.const {IOVEC})) (local.get $n)))
  (if (local.get $errno) (then (call $fails (local.get $to) (i32.const 8) (local.get $errno)))))
(func $fd_of (param $stream i32) (param $kind i32) (result i32)
  (i32.load $handles offset={FD} (call $get (local.get $stream) (local.get $kind))))
(func $out_fd (param $stream i32) (result i32) (local $at i32)
  ;; the descriptor that an output stream writes to; -1 where it leads into a request that is not made yet
  (local.set $at (call $get (local.get $stream) (i32.const {K_OUTPUT})))
  (if (i32.ne (i32.load $handles offset={MODE} (local.get $at)) (i32.const {IN_BODY}))
    (then (return (i32.load $handles offset={FD} (local.get $at)))))
  (call $body_fd (i32.load $handles offset={FD} (local.get $at))))
(func $may_write (param $stream i32) (result i64) (local $at i32)
  (local.set $at (call $get (local.get $stream) (i32.const {K_OUTPUT})))
  (if (i32.ne (i32.load $handles offset={MODE} (local.get $at)) (i32.const {IN_BODY}))
    (then (return (i64.const {MOST}))))
  (call $body_room (i32.load $handles offset={FD} (local.get $at)) (i64.const {MOST})))
(func $drop_output (param $stream i32) (local $at i32)
  (local.set $at (call $get (local.get $stream) (i32.const {K_OUTPUT})))
  (if (i32.ne (i32.load $handles offset={MODE} (local.get $at)) (i32.const {IN_BODY}))
    (then (call $drop (local.get $stream) (i32.const {K_OUTPUT})) (return)))
  (drop (call $note (call $out_fd (local.get $stream))))
  (call $release (local.get $stream))
  (call $let_body_go (i32.load $handles offset={FD} (local.get $at))))
(func $wait (param $list i32) (param $n i32) (param $is_waiting i32) (result i32)
  (local $marks i32) (local $subs i32) (local $events i32) (local $count i32) (local $i i32)
  (local $at i32) (local $sub i32)
  ;; which of some pollables are ready: a byte for each
  (if (i32.gt_u (local.get $n) (i32.const 65536)) (then (unreachable)))
  (local.set $marks (call $room (local.get $n)))
  (memory.fill $b (local.get $marks) (i32.const 0) (local.get $n))
  (local.set $subs (call $room (i32.mul (i32.add (local.get $n) (i32.const 1)) (i32.const 48))))
  (local.set $events (call $room (i32.mul (i32.add (local.get $n) (i32.const 1)) (i32.const 32))))
  (memory.fill $b (local.get $subs) (i32.const 0)
    (i32.mul (i32.add (local.get $n) (i32.const 1)) (i32.const 48)))
  (block $end (loop $next
    (br_if $end (i32.ge_u (local.get $i) (local.get $n)))
    (local.set $at (call $get
      (i32.load $b (i32.add (local.get $list) (i32.shl (local.get $i) (i32.const 2))))
      (i32.const {K_POLLABLE})))
    (if (i32.eq (i32.load $handles offset={MODE} (local.get $at)) (i32.const {READY}))
      (then
        (i32.store8 $b (i32.add (local.get $marks) (local.get $i)) (i32.const 1))
        (local.set $is_waiting (i32.const 0)))
      (else
        (local.set $sub (i32.add (local.get $subs) (i32.mul (local.get $count) (i32.const 48))))
        (i64.store $b (local.get $sub) (i64.extend_i32_u (local.get $i)))
        (if (i32.eq (i32.load $handles offset={MODE} (local.get $at)) (i32.const {AT_TIME}))
          (then
            (i32.store $b offset=16 (local.get $sub) (i32.const 1))
            (i64.store $b offset=24 (local.get $sub) (i64.load $handles offset={AT} (local.get $at)))
            (i32.store16 $b offset=40 (local.get $sub) (i32.const 1)))
          (else
            (i32.store8 $b offset=8 (local.get $sub) (select (i32.const 2) (i32.const 1)
              (i32.eq (i32.load $handles offset={MODE} (local.get $at)) (i32.const {TO_WRITE}))))
            (i32.store $b offset=16 (local.get $sub) (i32.load $handles offset={FD} (local.get $at)))))
        (local.set $count (i32.add (local.get $count) (i32.const 1)))))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br $next)))
  (if (i32.eqz (local.get $count)) (then
    (drop (call $note (i32.const -1))) (return (local.get $marks))))
  (if (i32.eqz (local.get $is_waiting)) (then
    ;; a wait of no time at all
    (local.set $sub (i32.add (local.get $subs) (i32.mul (local.get $count) (i32.const 48))))
    (i64.store $b (local.get $sub) (i64.const -1))
    (i32.store $b offset=16 (local.get $sub) (i32.const 1))
    (local.set $count (i32.add (local.get $count) (i32.const 1)))))
  (call $must (call $poll_oneoff (local.get $subs) (local.get $events) (local.get $count)
    (i32.const {COUNT})))
  (local.set $count (i32.load $b (i32.const {COUNT})))
  (block $told (loop $event
    (br_if $told (i32.eqz (local.get $count)))
    (if (i64.lt_u (i64.load $b (local.get $events)) (i64.extend_i32_u (local.get $n))) (then
      (call $must (select (i32.const 0) (i32.load16_u $b offset=8 (local.get $events))
        (i32.load8_u $b offset=10 (local.get $events))))
      (i32.store8 $b (i32.add (local.get $marks) (i32.wrap_i64 (i64.load $b (local.get $events))))
        (i32.const 1))))
    (local.set $events (i32.add (local.get $events) (i32.const 32)))
    (local.set $count (i32.sub (local.get $count) (i32.const 1)))
    (br $event)))
  (local.get $marks))
(func $wait_one (param $pollable i32) (param $is_waiting i32) (result i32) (local $list i32)
  (local.set $list (call $room (i32.const 4)))
  (i32.store $b (local.get $list) (local.get $pollable))
  (i32.load8_u $b (call $wait (local.get $list) (i32.const 1) (local.get $is_waiting))))
(func $poll_all (param $list i32) (param $n i32) (param $to i32) (local $marks i32) (local $i i32)
  (local $out i32) (local $end i32)
  (if (i32.eqz (local.get $n)) (then (unreachable)))
  (local.set $marks (call $wait (local.get $list) (local.get $n) (i32.const 1)))
  (local.set $out (call $room (i32.shl (local.get $n) (i32.const 2))))
  (local.set $end (local.get $out))
  (loop $next
    (if (i32.load8_u $b (i32.add (local.get $marks) (local.get $i))) (then
      (i32.store $b (local.get $end) (local.get $i))
      (local.set $end (i32.add (local.get $end) (i32.const 4)))))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if $next (i32.lt_u (local.get $i) (local.get $n))))
  (i32.store $b (local.get $to) (local.get $out))
  (i32.store $b offset=4 (local.get $to) (i32.shr_u (i32.sub (local.get $end) (local.get $out))
    (i32.const 2))))
"""


def _dropped(name: str, kind: int) -> Body:
    """The end of a handle that is of no descriptor."""
    text = f"(drop (call $get {p(0)} (i32.const {kind}))) (call $release {p(0)})"
    return Body(name, f"{text} (drop (call $note (i32.const -1)))")


def _given(name: str, kind: int, fd: int) -> Body:
    text = f"(drop (call $note (i32.const {fd})))"
    made = f"(call $new_use (i32.const {kind}) (i32.const {fd}) (i64.const 0) (i32.const {IN_TURN}))"
    return Body(name, f"{text}\n{made}")


def _subscribed(name: str, kind: int) -> Body:
    """A pollable: standard input and sockets are waited for, all else is ready."""
    mode = f"(i32.load $handles offset={MODE} (call $get {p(0)} (i32.const {kind})))"
    waits = f"(i32.eq {mode} (i32.const {ON_SOCKET}))"
    if kind == K_INPUT:
        waits = f"(i32.ne {mode} (i32.const {BY_POSITION}))"
    how = TO_READ if kind == K_INPUT else TO_WRITE
    fd = f"(call $fd_of {p(0)} (i32.const {kind}))"
    if kind == K_OUTPUT:
        fd = f"(call $out_fd {p(0)})"
        waits = (
            f"(i32.and (i32.ge_s (local.get $fd) (i32.const 0)) (i32.ge_u {mode} (i32.const {ON_SOCKET})))"
        )
    text = f"(local.set $fd {fd})\n(drop (call $note (local.get $fd)))\n"
    made = (
        f"(call $new (i32.const {K_POLLABLE}) (local.get $fd) (i64.const 0)"
        f" (select (i32.const {how}) (i32.const {READY}) {waits}))"
    )
    return Body(name, text + made, ("$fd i32",))


def _noted(name: str) -> Body:
    text = f"(drop (call $note (call $out_fd {p(0)})))"
    return Body(name, f"{text}(i32.store8 $b (local.get $to) (i32.const 0))")


def _written(name: str, most: int) -> Body:
    # SPEC: wasi:io/streams: more than was permitted ends the guest
    check = f"(if (i32.gt_u {p(2)} (i32.const {most})) (then (unreachable)))"
    return Body(name, f"{check}(call $written (local.get $to) (call $write {p(0)} {p(1)} {p(2)}))")


def _zeroed(name: str, most: int) -> Body:
    return Body(name, f"(call $zeroes {p(0)} {p(1)} (i64.const {most}) (local.get $to))")


_DEBUG = f"""
(local.set $errno (i32.load $handles offset={FD} (call $get {p(0)} (i32.const {K_ERROR}))))
(drop (call $note (i32.const -1)))
(local.set $at (call $room (i32.const 8)))
(i64.store $b (local.get $at) (i64.const 0x20726f727265))
(i32.store8 $b offset=6 (local.get $at)
  (i32.add (i32.const 48) (i32.div_u (local.get $errno) (i32.const 10))))
(i32.store8 $b offset=7 (local.get $at)
  (i32.add (i32.const 48) (i32.rem_u (local.get $errno) (i32.const 10))))
(i32.store $b (local.get $to) (local.get $at))
(i32.store $b offset=4 (local.get $to) (i32.const 8))"""

_CHECK = (
    f"(drop (call $note (call $out_fd {p(0)})))"
    "(i32.store8 $b (local.get $to) (i32.const 0))"
    f"(i64.store $b offset=8 (local.get $to) (call $may_write {p(0)}))"
)

BODIES = (
    _given("stdin.get-stdin", K_INPUT, 0),
    _given("stdout.get-stdout", K_OUTPUT, 1),
    _given("stderr.get-stderr", K_OUTPUT, 2),
    _dropped("error.drop", K_ERROR),
    Body("error.to-debug-string", _DEBUG, ("$errno i32", "$at i32")),
    _dropped("pollable.drop", K_POLLABLE),
    Body("pollable.ready", f"(call $wait_one {p(0)} (i32.const 0))"),
    Body("pollable.block", f"(drop (call $wait_one {p(0)} (i32.const 1)))"),
    Body("poll.poll", f"(call $poll_all {p(0)} {p(1)} (local.get $to))"),
    Body("input-stream.drop", f"(call $drop {p(0)} (i32.const {K_INPUT}))"),
    Body("output-stream.drop", f"(call $drop_output {p(0)})"),
    Body("input-stream.read", f"(call $read_into {p(0)} {p(1)} (i32.const 0) (local.get $to))"),
    Body("input-stream.blocking-read", f"(call $read_into {p(0)} {p(1)} (i32.const 1) (local.get $to))"),
    Body("input-stream.skip", f"(call $skip {p(0)} {p(1)} (i32.const 0) (local.get $to))"),
    Body("input-stream.blocking-skip", f"(call $skip {p(0)} {p(1)} (i32.const 1) (local.get $to))"),
    _subscribed("input-stream.subscribe", K_INPUT),
    Body("output-stream.check-write", _CHECK),
    _written("output-stream.write", MOST),
    _written("output-stream.blocking-write-and-flush", _AT_ONCE),
    _noted("output-stream.flush"),
    _noted("output-stream.blocking-flush"),
    _subscribed("output-stream.subscribe", K_OUTPUT),
    _zeroed("output-stream.write-zeroes", MOST),
    _zeroed("output-stream.blocking-write-zeroes-and-flush", _AT_ONCE),
    Body("output-stream.splice", f"(call $splice {p(0)} {p(1)} {p(2)} (i32.const 0) (local.get $to))"),
    Body(
        "output-stream.blocking-splice", f"(call $splice {p(0)} {p(1)} {p(2)} (i32.const 1) (local.get $to))"
    ),
)

assert BY_POSITION == 0
assert {body.name for body in BODIES} <= {call.name for call in COMPONENT_CALLS}
