"""Requests on their way: `wasi:http/outgoing-handler`, and the bodies and answers of `wasi:http/types`.

A request (`calls_request.py`) goes to the monitor as one call, and what comes back is a descriptor, which
bytes are written to and read from like a socket's. What lies in the page of a body is said below. It is
longer than most: all of it is for the same few resources.

Not as the specification has it: what is written before a request is handled has to fit a page, trailers are
neither sent nor received, and the answer is read when all of the request is written.
"""

from __future__ import annotations

from sandbox.bridge.abi import Type, Variant
from sandbox.bridge.calls_fields import K_FIELDS, NOTED, PAGE_BITS
from sandbox.bridge.calls_request import BODY, K_REQUEST, LOST, SAID, STATE, clear, headers
from sandbox.bridge.interfaces import FUNCTIONS
from sandbox.bridge.kernel import AT, FD, IN_BODY, K_ERROR, K_INPUT, K_OUTPUT, MODE, ON_SOCKET, READY, TO_READ
from sandbox.bridge.shape import Body, p
from sandbox.network.http_head import MAX_FIELDS_BYTES

K_BODY, K_FUTURE, K_RESPONSE, K_INBODY, K_TRAILERS = range(16, 21)

# --- the page of a body ------------------------------------------------------------------------------------
BODY_FD = 0  # one more than the descriptor; 0 before there is one
KEPT = 4  # bytes that wait for it
REFS = 12  # the request, the handle, the stream
HAS_STREAM = 16
KEPT_AT = 64
FINISHED = 1
KEPT_ROOM = (1 << PAGE_BITS) - KEPT_AT
_TAKEN = 1 << 16
_HANDLED = SAID + 64

# SPEC: wasi:http/types, error-code: by errno, as `sandbox/network/exchange.py` gives them
_CODES = {
    2: 15, 5: 5, 11: 33, 13: 25, 14: 6, 15: 7, 19: 28, 22: 17, 23: 5, 28: 19, 33: 11, 40: 5, 44: 1, 58: 37,
    61: 26, 63: 13, 65: 35, 66: 12, 73: 8, 76: 4,
}  # fmt: skip
_INTERNAL = 38
_STREAM_CODES = {11: 9, 13: 25, 15: 7, 19: 28, 22: 17, 73: 9}
_NO_CODE = 255


def _table(codes: dict[int, int], otherwise: int) -> str:
    return "".join(f"\\{codes.get(errno, otherwise):02x}" for errno in range(128))


def _inside(of: Type | None, *cases: int) -> int:
    """How far in that lies which these cases of variants inside each other hold."""
    at = 0
    for case in cases:
        if not isinstance(of, Variant):
            raise TypeError(of)
        at, of = at + of.payload_at, of.cases[case]
    return at


_FUTURE = FUNCTIONS["future-incoming-response.get"].result
_WHEN = _inside(_FUTURE, 1)
_WHICH = _inside(_FUTURE, 1, 0)
_ANSWER = _inside(_FUTURE, 1, 0, 0)
_FAILED = _inside(_FUTURE, 1, 0, 1)
_HANDLE_OK = _inside(FUNCTIONS["outgoing-handler.handle"].result, 0)
_HANDLE_ERR = _inside(FUNCTIONS["outgoing-handler.handle"].result, 1)
_FINISH_ERR = _inside(FUNCTIONS["outgoing-body.finish"].result, 1)
_CODE_AT = _inside(FUNCTIONS["types.http-error-code"].result, 1)


BODIES_TEXT = f"""
(data $http_codes "{_table(_CODES, _INTERNAL)}")
(data $stream_codes "{_table(_STREAM_CODES, _NO_CODE)}")
(func $body_fd (param $page i32) (result i32)
  (i32.sub (i32.load $http offset={BODY_FD} (call $base (local.get $page))) (i32.const 1)))
(func $body_room (param $page i32) (param $most i64) (result i64) (local $at i32)
  (local.set $at (call $base (local.get $page)))
  (if (i32.or (i32.load $http offset={BODY_FD} (local.get $at))
              (i32.load $http offset={STATE} (local.get $at))) (then (return (local.get $most))))
  (i64.extend_i32_u (i32.sub (i32.const {KEPT_ROOM}) (i32.load $http offset={KEPT} (local.get $at)))))
(func $write_body (param $page i32) (param $source i32) (param $n i32) (result i32) (local $at i32)
  ;; into a request, or into its page until there is one; gives an errno
  (local.set $at (call $base (local.get $page)))
  (if (i32.load $http offset={STATE} (local.get $at)) (then
    (drop (call $note (call $body_fd (local.get $page)))) (return (i32.const 64))))
  (if (i32.load $http offset={BODY_FD} (local.get $at)) (then
    (return (call $pour (call $body_fd (local.get $page)) (i32.const 0) (i32.const 1) (local.get $source)
      (local.get $n)))))
  (drop (call $note (i32.const -1)))
  (if (i32.gt_u (local.get $n) (i32.sub (i32.const {KEPT_ROOM})
      (i32.load $http offset={KEPT} (local.get $at)))) (then (return (i32.const 51))))
  (memory.copy $http $b (i32.add (i32.add (local.get $at) (i32.const {KEPT_AT}))
    (i32.load $http offset={KEPT} (local.get $at))) (local.get $source) (local.get $n))
  (i32.store $http offset={KEPT} (local.get $at)
    (i32.add (i32.load $http offset={KEPT} (local.get $at)) (local.get $n)))
  (i32.const 0))
(func $let_body_go (param $page i32) (local $at i32)
  ;; one holder less; the last one lets the request go
  (local.set $at (call $base (local.get $page)))
  (i32.store $http offset={REFS} (local.get $at)
    (i32.sub (i32.load $http offset={REFS} (local.get $at)) (i32.const 1)))
  (if (i32.load $http offset={REFS} (local.get $at)) (then (return)))
  (if (i32.load $http offset={BODY_FD} (local.get $at))
    (then (drop (call $unuse (call $body_fd (local.get $page))))))
  (call $leave (local.get $page)))
(func $end_body (param $body i32) (param $is_lost i32) (result i32) (local $page i32) (local $at i32)
  (local $errno i32)
  ;; no more is written: gives an errno
  (local.set $page (i32.load $handles offset={FD} (call $get (local.get $body) (i32.const {K_BODY}))))
  (local.set $at (call $base (local.get $page)))
  (call $release (local.get $body))
  (i32.store $http offset={STATE} (local.get $at)
    (select (i32.const {LOST}) (i32.const {FINISHED}) (local.get $is_lost)))
  (if (i32.load $http offset={BODY_FD} (local.get $at))
    (then (local.set $errno (call $http_finish (call $body_fd (local.get $page)) (local.get $is_lost))))
    (else (drop (call $note (i32.const -1)))))
  (call $let_body_go (local.get $page))
  (local.get $errno))
(func $store_code (param $at i32) (param $errno i32)
  (memory.init $b $http_codes (local.get $at) (i32.and (local.get $errno) (i32.const 127)) (i32.const 1)))
(func $stream_code (param $errno i32) (result i32)
  (memory.init $b $stream_codes (i32.const {SAID}) (i32.and (local.get $errno) (i32.const 127))
    (i32.const 1))
  (i32.load8_u $b (i32.const {SAID})))
"""

REQUESTS = f"""
(func $take_body (param $request i32) (param $to i32) (result i32) (local $page i32) (local $body i32)
  (local.set $page (call $request (local.get $request)))
  (if (i32.load $http offset={BODY} (local.get $page)) (then (return (i32.const 1))))
  (local.set $body (call $page))
  (i32.store $http offset={BODY} (call $request (local.get $request)) (local.get $body))
  (i32.store $http offset={REFS} (call $base (local.get $body)) (i32.const 2))
  (i32.store $b offset=4 (local.get $to)
    (call $new (i32.const {K_BODY}) (local.get $body) (i64.const 0) (i32.const 0)))
  (i32.const 0))
(func $take_stream (param $body i32) (param $to i32) (result i32) (local $page i32) (local $at i32)
  (local.set $page (i32.load $handles offset={FD} (call $get (local.get $body) (i32.const {K_BODY}))))
  (local.set $at (call $base (local.get $page)))
  (if (i32.load $http offset={HAS_STREAM} (local.get $at)) (then (return (i32.const 1))))
  (i32.store $http offset={HAS_STREAM} (local.get $at) (i32.const 1))
  (i32.store $http offset={REFS} (local.get $at)
    (i32.add (i32.load $http offset={REFS} (local.get $at)) (i32.const 1)))
  (i32.store $b offset=4 (local.get $to)
    (call $new (i32.const {K_OUTPUT}) (local.get $page) (i64.const 0) (i32.const {IN_BODY})))
  (i32.const 0))
(func $join_body (param $page i32) (param $fd i32) (local $at i32) (local $kept i32) (local $n i32)
  ;; what was written before goes out, and what follows goes there
  (local.set $at (call $base (local.get $page)))
  (call $use (local.get $fd))
  (i32.store $http offset={BODY_FD} (local.get $at) (i32.add (local.get $fd) (i32.const 1)))
  (local.set $n (i32.load $http offset={KEPT} (local.get $at)))
  (if (local.get $n) (then
    (local.set $kept (call $room (local.get $n)))
    (memory.copy $b $http (local.get $kept) (i32.add (local.get $at) (i32.const {KEPT_AT})) (local.get $n))
    (if (call $pour (local.get $fd) (i32.const 0) (i32.const 1) (local.get $kept) (local.get $n))
      (then (i32.store $http offset={STATE} (local.get $at) (i32.const {LOST}))))))
  (if (i32.load $http offset={STATE} (local.get $at)) (then
    (drop (call $http_finish (local.get $fd)
      (i32.eq (i32.load $http offset={STATE} (local.get $at)) (i32.const {LOST})))))))
(func $handle_request (param $request i32) (param $has_options i32) (param $options i32) (param $to i32)
  (local $at i32) (local $body i32) (local $line i32) (local $line_len i32) (local $head i32)
  (local $errno i32) (local $fd i32)
  (local.set $at (call $get (local.get $request) (i32.const {K_REQUEST})))
  (local.set $body (i32.load $http offset={BODY}
    (call $base (i32.load $handles offset={FD} (local.get $at)))))
  (local.set $line (call $line (call $base (i32.load $handles offset={FD} (local.get $at)))))
  (local.set $line_len (i32.load $b (i32.const {SAID})))
  (local.set $head (call $head (local.get $at) (local.get $has_options) (local.get $options)))
  (local.set $errno (call $http_request (local.get $line) (local.get $line_len) (local.get $head)
    (i32.load $b (i32.const {SAID})) (i32.const {_HANDLED})))
  (call $drop_request (local.get $request))
  (if (local.get $has_options) (then (call $drop_options (local.get $options))))
  (if (local.get $errno)
    (then
      (i32.store8 $b (local.get $to) (i32.const 1))
      (if (i32.eq (local.get $errno) (i32.const 76)) (then (local.set $errno (i32.const 2))))
      (call $store_code (i32.add (local.get $to) (i32.const {_HANDLE_ERR})) (local.get $errno))
      (if (local.get $body) (then
        (i32.store $http offset={STATE} (call $base (local.get $body)) (i32.const {LOST})))))
    (else
      (local.set $fd (i32.load $b (i32.const {_HANDLED})))
      (i32.store $b offset={_HANDLE_OK} (local.get $to)
        (call $new_use (i32.const {K_FUTURE}) (local.get $fd) (i64.const 0) (i32.const 0)))
      (if (local.get $body) (then (call $join_body (local.get $body) (local.get $fd))))))
  (if (local.get $body) (then (call $let_body_go (local.get $body)))))
"""

RESPONSES = f"""
(func $get_response (param $future i32) (param $to i32) (local $at i32) (local $fd i32) (local $buf i32)
  (local $errno i32) (local $page i32) (local $len i32)
  (local.set $at (call $get (local.get $future) (i32.const {K_FUTURE})))
  (local.set $fd (i32.load $handles offset={FD} (local.get $at)))
  (if (i32.load $handles offset={MODE} (local.get $at)) (then
    (drop (call $note (local.get $fd)))
    (i32.store8 $b (local.get $to) (i32.const 1))
    (i32.store8 $b offset={_WHEN} (local.get $to) (i32.const 1)) (return)))
  (local.set $buf (call $room (i32.const {MAX_FIELDS_BYTES})))
  (local.set $errno (call $http_response (local.get $fd) (local.get $buf) (i32.const {MAX_FIELDS_BYTES})
    (i32.const {SAID})))
  (if (i32.eq (local.get $errno) (i32.const 6)) (then (return)))
  (i32.store $handles offset={MODE} (local.get $at) (i32.const 1))
  (i32.store8 $b (local.get $to) (i32.const 1))
  (if (local.get $errno) (then
    (i32.store8 $b offset={_WHICH} (local.get $to) (i32.const 1))
    (call $store_code (i32.add (local.get $to) (i32.const {_FAILED})) (local.get $errno)) (return)))
  (local.set $len (i32.load $b (i32.const {SAID + 4})))
  (local.set $page (call $page))
  (memory.copy $http $b (call $base (local.get $page)) (local.get $buf) (local.get $len))
  (i32.store $b offset={_ANSWER} (local.get $to) (call $new_use (i32.const {K_RESPONSE}) (local.get $fd)
    (i64.or (i64.extend_i32_u (local.get $page))
      (i64.shl (i64.extend_i32_u (local.get $len)) (i64.const 32)))
    (i32.load $b (i32.const {SAID})))))
(func $once (param $at i32) (param $mark i32) (result i32)
  ;; 1 where it was done before
  (if (i32.and (i32.load $handles offset={MODE} (local.get $at)) (local.get $mark))
    (then (return (i32.const 1))))
  (i32.store $handles offset={MODE} (local.get $at)
    (i32.or (i32.load $handles offset={MODE} (local.get $at)) (local.get $mark)))
  (i32.const 0))
"""

SUPPORT = BODIES_TEXT + REQUESTS + RESPONSES

_TO = "(local.get $to)"


_FINISHED = f"""{clear("outgoing-body.finish")}
(if {p(1)} (then
  ;; SPEC: trailers go with the body, and there are none here
  (local.set $at (call $get {p(2)} (i32.const {K_FIELDS})))
  (local.set $is_lost (i64.ne (i64.load $handles offset={AT} (local.get $at)) (i64.const 0)))
  (call $leave (i32.load $handles offset={FD} (local.get $at)))
  (call $release {p(2)})))
(local.set $errno (call $end_body {p(0)} (local.get $is_lost)))
(if (local.get $is_lost) (then (local.set $errno (i32.const 58))))
(if (local.get $errno) (then
  (i32.store8 $b {_TO} (i32.const 1))
  (call $store_code (i32.add {_TO} (i32.const {_FINISH_ERR})) (local.get $errno))))"""


def _fd(kind: int) -> str:
    return f"(call $fd_of {p(0)} (i32.const {kind}))"


_ARRIVES = f"""(call $watched {_fd(K_FUTURE)} (select (i32.const {READY}) (i32.const {TO_READ})
  (i32.load $handles offset={MODE} (call $get {p(0)} (i32.const {K_FUTURE})))))"""
_CONSUMED = f"""(local.set $at (call $get {p(0)} (i32.const {K_RESPONSE})))
(drop (call $note {_fd(K_RESPONSE)}))
(i32.store8 $b {_TO} (call $once (local.get $at) (i32.const {_TAKEN})))
(if (i32.eqz (i32.load8_u $b {_TO})) (then
  (i32.store $b offset=4 {_TO}
    (call $new_use (i32.const {K_INBODY}) {_fd(K_RESPONSE)} (i64.const 0) (i32.const 0)))))"""
_STREAMED = f"""(local.set $at (call $get {p(0)} (i32.const {K_INBODY})))
(drop (call $note {_fd(K_INBODY)}))
(i32.store8 $b {_TO} (call $once (local.get $at) (i32.const 1)))
(if (i32.eqz (i32.load8_u $b {_TO})) (then
  (i32.store $b offset=4 {_TO}
    (call $new_use (i32.const {K_INPUT}) {_fd(K_INBODY)} (i64.const 0) (i32.const {ON_SOCKET})))))"""
_DROP_RESPONSE = f"""(call $leave (i32.wrap_i64 (i64.load $handles offset={AT}
  (call $get {p(0)} (i32.const {K_RESPONSE})))))
(call $drop {p(0)} (i32.const {K_RESPONSE}))"""
_TRAILERS = f"""{NOTED}{clear("future-trailers.get")}
(i32.store8 $b {_TO} (i32.const 1))
(i32.store8 $b offset={_inside(FUNCTIONS["future-trailers.get"].result, 1)} {_TO}
  (call $once (call $get {p(0)} (i32.const {K_TRAILERS})) (i32.const 1)))"""
_ERROR_CODE = f"""{NOTED}{clear("types.http-error-code")}
(local.set $code (call $stream_code
  (i32.load $handles offset={FD} (call $get {p(0)} (i32.const {K_ERROR})))))
(if (i32.ne (local.get $code) (i32.const {_NO_CODE})) (then
  (i32.store8 $b {_TO} (i32.const 1))
  (i32.store8 $b offset={_CODE_AT} {_TO} (local.get $code))))"""

_AT_LOCAL = ("$at i32",)
BODIES = (
    Body("types.http-error-code", _ERROR_CODE, ("$code i32",)),
    Body("outgoing-body.write", f"{NOTED}(i32.store8 $b {_TO} (call $take_stream {p(0)} {_TO}))"),
    Body("outgoing-body.finish", _FINISHED, ("$at i32", "$is_lost i32", "$errno i32")),
    Body("outgoing-body.drop", f"(drop (call $end_body {p(0)} (i32.const 1)))"),
    Body("future-incoming-response.subscribe", _ARRIVES),
    Body(
        "future-incoming-response.get",
        f"{clear('future-incoming-response.get')}(call $get_response {p(0)} {_TO})",
    ),
    Body("future-incoming-response.drop", f"(call $drop {p(0)} (i32.const {K_FUTURE}))"),
    Body(
        "incoming-response.status",
        f"(drop (call $note {_fd(K_RESPONSE)}))(i32.and (i32.const 0xffff)"
        f" (i32.load $handles offset={MODE} (call $get {p(0)} (i32.const {K_RESPONSE}))))",
    ),
    headers("incoming-response.headers", K_RESPONSE, f"(drop (call $note {_fd(K_RESPONSE)}))"),
    Body("incoming-response.consume", _CONSUMED, _AT_LOCAL),
    Body("incoming-response.drop", _DROP_RESPONSE),
    Body("incoming-body.stream", _STREAMED, _AT_LOCAL),
    Body(
        "incoming-body.finish",
        f"(call $drop {p(0)} (i32.const {K_INBODY}))"
        f"(call $new (i32.const {K_TRAILERS}) (i32.const 0) (i64.const 0) (i32.const 0))",
    ),
    Body("incoming-body.drop", f"(call $drop {p(0)} (i32.const {K_INBODY}))"),
    Body(
        "future-trailers.subscribe",
        f"(drop (call $get {p(0)} (i32.const {K_TRAILERS})))(call $watched (i32.const -1)"
        f" (i32.const {READY}))",
    ),
    Body("future-trailers.get", _TRAILERS),
    Body(
        "future-trailers.drop",
        f"{NOTED}(drop (call $get {p(0)} (i32.const {K_TRAILERS})))(call $release {p(0)})",
    ),
    Body(
        "outgoing-handler.handle",
        f"{clear('outgoing-handler.handle')}(call $handle_request {p(0)} {p(1)} {p(2)} {_TO})",
    ),
)
