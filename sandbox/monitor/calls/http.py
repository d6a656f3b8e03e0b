"""Requests of components: asked about, put on record and only then made, all by the broker.

What a request is made of is said in `sandbox/network/http_head.py`; the broker reads and decides it. What
comes back is a descriptor: its body is written and read, waited for and closed by the calls that sockets
have (`sockets.py`). INVARIANT: as there, nothing is done by the broker before the call is on record.
"""

from __future__ import annotations

from sandbox.monitor import layout as ring
from sandbox.monitor import tables as plan
from sandbox.monitor.calls.shape import Lowering, enter
from sandbox.monitor.kernel import AT, ERRNO_MFILE, ERRNO_NOTCAPABLE, fixed_rule, word
from sandbox.monitor.socket_kernel import HANDLE, HTTP, INVAL, WAIT, request, result32
from sandbox.network.http_head import HEAD, MAX_FIELDS_BYTES, MAX_LINE
from sandbox.network.protocol import DATA_AT, DATA_ROOM, TEXT_AT, Op

_REFUSE = f"(return (call $refuse (i32.const {ERRNO_NOTCAPABLE})))"
_NO_HANDLE = "(i32.const 0)"
_GIVEN = (
    f"(i64.const {DATA_AT})",
    "(i64.extend_i32_u (local.get $line_len))",
    "(i64.extend_i32_u (local.get $head_len))",
)
_MOST_SHOWN = DATA_AT - TEXT_AT
_SOCKET = """(local.set $at (call $socket (local.get $fd)))
(if (i32.eqz (local.get $at)) (then (return (call $no_socket (local.get $fd)))))
"""
_TAKEN = f"(if (call $taken_net (i32.const {HTTP})) (then {_REFUSE}))\n"

assert MAX_LINE + HEAD.size + MAX_FIELDS_BYTES <= DATA_ROOM

# What is asked for is named before anything is decided: also where no broker is there to do it.
_NAMED = f"""
(if (i32.or (i32.gt_u (local.get $line_len) (i32.const {MAX_LINE}))
            (i32.or (i32.eqz (local.get $line_len))
                    (i32.gt_u (local.get $head_len) (i32.const {HEAD.size + MAX_FIELDS_BYTES}))))
  (then (call $publish) (return (call $complete (i32.const {INVAL})))))
(call $inside (local.get $line) (local.get $line_len))
(call $inside (local.get $head) (local.get $head_len))
(memory.copy $exchange $guest (i32.const {DATA_AT}) (local.get $line) (local.get $line_len))
(memory.copy $exchange $guest (i32.add (i32.const {DATA_AT}) (local.get $line_len)) (local.get $head)
  (local.get $head_len))
(memory.copy $exchange $exchange (i32.const {TEXT_AT}) (i32.const {DATA_AT})
  (select (local.get $line_len) (i32.const {_MOST_SHOWN})
    (i32.lt_u (local.get $line_len) (i32.const {_MOST_SHOWN}))))
(call $name_place (local.get $line_len))
"""

_REQUEST = f"""
(local.set $errno {request(Op.ASK_HTTP, _NO_HANDLE, *_GIVEN)})
(if (local.get $errno) (then (call $publish) (return (call $done_net (local.get $errno)))))
(if (call $forbids_net_as_named (i32.const {HTTP})) (then {_REFUSE}))
(if (i64.ge_u (i64.load $ring (i32.const {ring.OPEN_FILES})) (i64.extend_i32_u {word(plan.MAX_OPEN_FILES)}))
  (then (return (call $spent {fixed_rule("limit.open_files")} (i32.const {ERRNO_MFILE})))))
(i64.store $ring offset={AT["aux"]} (global.get $rec) (i64.extend_i32_u
  (i32.add (local.get $line_len) (local.get $head_len))))
(call $publish)
(local.set $errno {request(Op.HTTP, _NO_HANDLE, *_GIVEN)})
(if (local.get $errno) (then (return (call $done_net (local.get $errno)))))
(i32.store $guest (local.get $result) (call $new_socket {result32(0)} (i32.const {plan.K_HTTP})
  (i32.const {plan.F_NONBLOCK})))
(call $complete (i32.const 0))"""

_RESPONSE = f"""{_SOCKET}{_TAKEN}(call $publish)
(if (call $out_of_bounds (local.get $buf) (local.get $size)) (then (unreachable)))
(if (i32.gt_u (local.get $size) (i32.const {DATA_ROOM})) (then (local.set $size (i32.const {DATA_ROOM}))))
(local.set $errno {
    request(Op.HTTP_RESPONSE, HANDLE, f"(i64.const {DATA_AT})", "(i64.extend_i32_u (local.get $size))", WAIT)
})
(if (i32.eq (local.get $errno) (i32.const {ERRNO_NOTCAPABLE})) (then (return (call $found_forbidden))))
(if (local.get $errno) (then (return (call $done_net (local.get $errno)))))
(i64.store $ring offset={AT["flags"]} (global.get $rec) (i64.extend_i32_u {result32(0)}))
(i64.store $ring offset={AT["aux"]} (global.get $rec) (i64.extend_i32_u {result32(1)}))
(memory.copy $guest $exchange (local.get $buf) (i32.const {DATA_AT}) {result32(1)})
(i32.store $guest (local.get $result) {result32(0)})
(i32.store $guest offset=4 (local.get $result) {result32(1)})
(call $complete (i32.const 0))"""

_FINISH = f"""{_SOCKET}(call $publish)
(call $complete {request(Op.HTTP_FINISH, HANDLE, "(i64.extend_i32_u (local.get $is_lost))")})"""

FUNCTIONS = (
    Lowering(
        "http_request",
        ("line", "line_len", "head", "head_len", "result"),
        "target: method and URL; aux: bytes of the head; fd2: the request made",
        enter("http_request", before_denied=_NAMED) + _REQUEST,
        ("$errno i32",),
    ),
    Lowering(
        "http_response",
        ("fd", "buf", "size", "result"),
        "flags: the status; aux: bytes of the header",
        enter("http_response", "(local.get $fd)") + _RESPONSE,
        ("$at i32", "$errno i32"),
    ),
    Lowering(
        "http_finish",
        ("fd", "is_lost"),
        "nothing more",
        enter("http_finish", "(local.get $fd)") + _FINISH,
        ("$at i32",),
    ),
)
