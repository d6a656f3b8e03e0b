"""Sockets: those of WASI 0.1, and the calls that hosts with sockets add to them, all done by the broker.

The broker outside the cell holds the sockets (`sandbox/network/`); here each call is asked about, put on
record, and only then done. A place is decided by the broker, which knows names and what they led to, and
decides again when it is done. Bytes go through the exchange, pages that both have. INVARIANT: no call on a
socket reaches the engine's own host functions, and nothing is done by the broker before the call is on
record. It is longer than most: there are many calls, each of a few lines.
"""

from __future__ import annotations

from sandbox.monitor import layout as ring
from sandbox.monitor import tables as plan
from sandbox.monitor.calls.shape import Lowering, enter, real
from sandbox.monitor.kernel import AT, ERRNO_MFILE, ERRNO_NOTCAPABLE, fixed_rule, word
from sandbox.monitor.socket_kernel import (
    AFNOSUPPORT,
    DNS,
    HANDLE,
    INVAL,
    LISTEN,
    NOPROTOOPT,
    NOTSUP,
    SOCKETS,
    TYPE,
    WAIT,
    request,
    result,
    result32,
)
from sandbox.network.protocol import DATA_AT, FOREVER, MAX_FOUND, MAX_NAME_BYTES, Op, Protocol

SUPPORT = SOCKETS
_REFUSE = f"(return (call $refuse (i32.const {ERRNO_NOTCAPABLE})))"
_ADDRESS = ("(global.get $net_high)", "(global.get $net_low)", "(i64.extend_i32_u (local.get $port))")
_SOCKET = """(local.set $at (call $socket (local.get $fd)))
(if (i32.eqz (local.get $at)) (then (return (call $no_socket (local.get $fd)))))"""
_OPTION = "(i64.extend_i32_u (call $option (local.get $level) (local.get $name)))"
_GATHERED = "(i64.extend_i32_u (call $gather (local.get $iovs) (local.get $n)))"
_NAME = (f"(i64.const {DATA_AT})", "(i64.extend_i32_u (local.get $node_len))")
_FOUND_AT = DATA_AT + 512  # behind the name
_ROOM = (f"(i64.const {_FOUND_AT})", f"(i64.const {MAX_FOUND})", f"(i64.const {FOREVER})")
_NO_HANDLE = "(i32.const 0)"
_FAMILY = "(select (i64.const 4) (i64.const 6) (i32.eq (local.get $family) (i32.const 1)))"
_PROTOCOL = (
    f"(select (i64.const {int(Protocol.UDP)}) (i64.const {int(Protocol.TCP)})"
    " (i32.eq (local.get $type) (i32.const 1)))"
)


def _lowered(name: str, params: tuple[str, ...], records: str, body: str, *locals_: str) -> Lowering:
    begin = enter(name, "(local.get $fd)" if "fd" in params else "(i32.const -1)")
    return Lowering(name, params, records, begin + body, locals_)


def _or_real(name: str, *params: str) -> str:
    """Find the socket; of what is none, the host says so by itself."""
    return f"""(local.set $at (call $socket (local.get $fd)))
(if (i32.eqz (local.get $at)) (then
  (if (i32.eqz (call $about (local.get $fd))) (then (return (call $badf))))
  (call $publish)
  (return (call $complete {real(name, params)}))))
"""


def _judged(asked: str, reach: str) -> str:
    """Ask whether it may be done: go on only where it may, with the record published."""
    return f"""
(local.set $errno {asked})
(if (local.get $errno) (then (call $publish) (return (call $complete (local.get $errno)))))
(if (call $forbids_net {reach}) (then {_REFUSE}))
(call $publish)
"""


def _address(pointer: str = "addr") -> str:
    return f"""
(if (call $read_address (local.get ${pointer}))
  (then (call $publish) (return (call $complete (i32.const {INVAL})))))
"""


_MAX_OPEN = f"(i64.extend_i32_u {word(plan.MAX_OPEN_FILES)})"
_HAS_ROOM = f"""
(if (i64.ge_u (i64.load $ring (i32.const {ring.OPEN_FILES})) {_MAX_OPEN})
  (then (return (call $spent {fixed_rule("limit.open_files")} (i32.const {ERRNO_MFILE})))))"""

_OPEN = f"""
(i64.store $ring offset={AT["flags"]} (global.get $rec)
  (i64.or (i64.extend_i32_u (local.get $family))
          (i64.shl (i64.extend_i32_u (local.get $type)) (i64.const 8))))
(if (i32.gt_u (i32.sub (local.get $family) (i32.const 1)) (i32.const 1))
  (then (call $publish) (return (call $complete (i32.const {AFNOSUPPORT})))))
(if (i32.gt_u (i32.sub (local.get $type) (i32.const 1)) (i32.const 1))
  (then (call $publish) (return (call $complete (i32.const {NOTSUP})))))
{_HAS_ROOM}
(call $publish)
(local.set $errno {request(Op.OPEN, _NO_HANDLE, _FAMILY, _PROTOCOL)})
(if (local.get $errno) (then (return (call $complete (local.get $errno)))))
(i32.store $guest (local.get $result) (call $new_socket {result32(0)}
  (select (i32.const {plan.K_UDP}) (i32.const {plan.K_TCP}) (i32.eq (local.get $type) (i32.const 1)))
  (i32.const 0)))
(call $complete (i32.const 0))"""

_BIND = f"""{_SOCKET}{_address()}
{_judged(request(Op.ASK_BIND, HANDLE, *_ADDRESS), f"(i32.const {LISTEN})")}
(local.set $errno {request(Op.BIND, HANDLE, *_ADDRESS)})
(if (i32.eqz (local.get $errno)) (then (call $named (local.get $at) (local.get $fd))))
(call $complete (local.get $errno))"""

_LISTEN_BODY = f"""{_SOCKET}
{_judged(request(Op.ASK_LISTEN, HANDLE), f"(i32.const {LISTEN})")}
(call $complete {request(Op.LISTEN, HANDLE, "(i64.extend_i32_u (local.get $backlog))")})"""

_CONNECT = f"""{_SOCKET}{_address()}
{_judged(request(Op.ASK_CONNECT, HANDLE, *_ADDRESS), "(call $reach_of (local.get $at))")}
;; also one that is not waited for: what is sent later goes there
(call $named (local.get $at) (local.get $fd))
(call $done_net {request(Op.CONNECT, HANDLE, *_ADDRESS, WAIT)})"""

_TAKEN = f"(if (call $taken_net (call $reach_of (local.get $at))) (then {_REFUSE}))\n(call $publish)\n"

_ACCEPT = f"""{_or_real("sock_accept", "fd", "flags", "result")}
(if (call $taken_net (i32.const {LISTEN})) (then {_REFUSE}))
{_HAS_ROOM}
(call $publish)
(local.set $errno {request(Op.ACCEPT, HANDLE, WAIT)})
(if (local.get $errno) (then (return (call $done_net (local.get $errno)))))
(call $name_place {result32(4)})
(i32.store $guest (local.get $result) (call $new_socket {result32(0)} (i32.const {plan.K_TCP})
  (select (i32.const {plan.F_NONBLOCK}) (i32.const 0) (i32.and (local.get $flags) (i32.const 4)))))
(call $complete (i32.const 0))"""

_RECV = f"""{_or_real("sock_recv", "fd", "iovs", "n", "flags", "result", "oflags")}{_TAKEN}
(local.set $errno (call $net_recv (local.get $at) (local.get $iovs) (local.get $n) (local.get $flags)
  (local.get $result)))
(if (i32.eqz (local.get $errno)) (then (i32.store16 $guest (local.get $oflags) (i32.const 0))))
(call $done_net (local.get $errno))"""

_SEND_BODY = f"""{_or_real("sock_send", "fd", "iovs", "n", "flags", "result")}{_TAKEN}
(call $done_net (call $net_send (local.get $at) (local.get $iovs) (local.get $n) (local.get $result)))"""

_RECV_FROM = f"""{_SOCKET}{_TAKEN}
(local.set $errno (call $net_recv (local.get $at) (local.get $iovs) (local.get $n) (local.get $flags)
  (local.get $result)))
(if (local.get $errno) (then (return (call $done_net (local.get $errno)))))
(i32.store16 $guest (local.get $oflags) (i32.const 0))
(call $name_place {result32(4)})
(drop (call $write_address (local.get $addr) {result(1)} {result(2)}))
(i32.store $guest (local.get $port) {result32(3)})
(call $complete (i32.const 0))"""

_SEND_TO = f"""{_SOCKET}{_address()}
{_judged(request(Op.ASK_SEND_TO, HANDLE, *_ADDRESS), "(call $reach_of (local.get $at))")}
(local.set $errno {request(Op.SEND_TO, HANDLE, *_ADDRESS, f"(i64.const {DATA_AT})", _GATHERED, WAIT)})
(local.set $many (call $net_moved (local.get $errno) (i32.const {ring.BYTES_WRITTEN})))
(if (i32.eqz (local.get $errno)) (then (i32.store $guest (local.get $result) (local.get $many))))
(call $done_net (local.get $errno))"""

_SHUTDOWN = f"""{_or_real("sock_shutdown", "fd", "how")}(call $publish)
(call $complete {request(Op.SHUTDOWN, HANDLE, "(i64.extend_i32_u (local.get $how))")})"""

_GET_OPTION = f"""
(i64.store $ring offset={AT["flags"]} (global.get $rec) (i64.extend_i32_u (local.get $name)))
{_SOCKET}(call $publish)
(if (i32.eqz (call $option (local.get $level) (local.get $name)))
  (then (return (call $complete (i32.const {NOPROTOOPT})))))
(local.set $errno {request(Op.GET_OPTION, HANDLE, _OPTION)})
(if (i32.eqz (local.get $errno)) (then
  (local.set $value {result32(0)})
  ;; the broker counts streams before datagrams, guests the other way round
  (if (i32.eq (local.get $name) (i32.const {TYPE}))
    (then (local.set $value (i32.sub (i32.const 3) (local.get $value)))))
  (i32.store $guest (local.get $flag) (local.get $value))
  (i32.store $guest (local.get $size) (i32.const 4))))
(call $complete (local.get $errno))"""

_SET_OPTION = f"""
(i64.store $ring offset={AT["flags"]} (global.get $rec) (i64.extend_i32_u (local.get $name)))
{_SOCKET}(call $publish)
;; every listener has it
(if (i32.eqz (i32.or (local.get $level) (local.get $name))) (then (return (call $complete (i32.const 0)))))
(if (i32.eqz (call $option (local.get $level) (local.get $name)))
  (then (return (call $complete (i32.const {NOPROTOOPT})))))
(if (i32.lt_u (local.get $size) (i32.const 4)) (then (return (call $complete (i32.const {INVAL})))))
(call $complete {request(Op.SET_OPTION, HANDLE, _OPTION, "(i64.load32_s $guest (local.get $flag))")})"""


def _place(op: Op) -> str:
    return f"""{_SOCKET}(call $publish)
(local.set $errno {request(op, HANDLE)})
(if (local.get $errno) (then (return (call $complete (local.get $errno)))))
(local.set $family (call $write_address (local.get $addr) {result(0)} {result(1)}))
(if (i32.eqz (local.get $family)) (then (return (call $complete (i32.const {INVAL})))))
(i32.store $guest (local.get $type) (local.get $family))
(i32.store $guest (local.get $port) {result32(2)})
(call $complete (i32.const 0))"""


# A guest prepares the answer: a list of 28 bytes each, with an address of 12 bytes and room for 26 behind it.
_LOOKUP = f"""
(if (i32.or (i32.eqz (local.get $node_len)) (i32.gt_u (local.get $node_len) (i32.const {MAX_NAME_BYTES})))
  (then (call $publish) (return (call $complete (i32.const {INVAL})))))
(call $inside (local.get $node) (local.get $node_len))
(call $inside (local.get $hints) (i32.const 28))
(memory.copy $exchange $guest (i32.const {DATA_AT}) (local.get $node) (local.get $node_len))
;; guests end a name as C does
(block $over (loop $next
  (br_if $over (i32.eqz (local.get $node_len)))
  (br_if $over (i32.load8_u $exchange (i32.add (i32.const {DATA_AT - 1}) (local.get $node_len))))
  (local.set $node_len (i32.sub (local.get $node_len) (i32.const 1)))
  (br $next)))
(local.set $wanted (i32.load8_u $guest offset=2 (local.get $hints)))
{_judged(request(Op.ASK_LOOKUP, _NO_HANDLE, *_NAME), f"(i32.const {DNS})")}
(local.set $errno {request(Op.LOOKUP, _NO_HANDLE, *_NAME, *_ROOM)})
(if (local.get $errno) (then (return (call $done_net (local.get $errno)))))
(local.set $left {result32(0)})
(local.set $port (call $decimal (local.get $service) (local.get $service_len)))
(local.set $from (i32.const {_FOUND_AT}))
(local.set $item (i32.load $guest (local.get $res)))
(block $over (loop $next
  (br_if $over (i32.or (i32.eqz (local.get $left)) (i32.eqz (local.get $item))))
  (br_if $over (i32.ge_u (local.get $many) (local.get $max_len)))
  (global.set $net_high (call $swap64 (i64.load $exchange (local.get $from))))
  (global.set $net_low (call $swap64 (i64.load $exchange offset=8 (local.get $from))))
  (local.set $v4 (call $is_v4 (global.get $net_high) (global.get $net_low)))
  (local.set $from (i32.add (local.get $from) (i32.const 16)))
  (local.set $left (i32.sub (local.get $left) (i32.const 1)))
  (if (i32.or (i32.eqz (local.get $wanted))
              (i32.eq (local.get $wanted) (select (i32.const 1) (i32.const 2) (local.get $v4)))) (then
    (call $write_found (local.get $item) (local.get $hints) (local.get $port) (local.get $v4))
    (local.set $many (i32.add (local.get $many) (i32.const 1)))
    (local.set $item (i32.load $guest offset=24 (local.get $item)))))
  (br $next)))
(i32.store $guest (local.get $res_len) (local.get $many))
(call $complete (i32.const 0))"""


def on_socket(name: str, fd: str = "fd") -> str:
    """Where a call on any descriptor turns to a socket: to be put before all else."""
    bodies = {
        "fd_close": "(call $publish) (return (call $complete (call $drop_socket (local.get $at))))",
        "fd_read": f"{_TAKEN}(return (call $done_net (call $net_recv (local.get $at) (local.get $iovs)"
        " (local.get $iovs_len) (i32.const 0) (local.get $result))))",
        "fd_write": f"{_TAKEN}(return (call $done_net (call $net_send (local.get $at) (local.get $iovs)"
        " (local.get $iovs_len) (local.get $result))))",
        "fd_fdstat_get": "(call $publish) (call $stat_socket (local.get $at) (local.get $buf))"
        " (return (call $complete (i32.const 0)))",
        "fd_fdstat_set_flags": f"""(i64.store $ring offset={AT["flags"]} (global.get $rec)
  (i64.shl (i64.extend_i32_u (local.get $flags)) (i64.const 16)))
(call $publish)
(i32.store $plan offset={plan.FLAGS} (local.get $at)
  (i32.or (i32.and (i32.load $plan offset={plan.FLAGS} (local.get $at)) (i32.const {~plan.F_NONBLOCK}))
    (select (i32.const {plan.F_NONBLOCK}) (i32.const 0) (i32.and (local.get $flags) (i32.const 4)))))
(return (call $complete (i32.const 0)))""",
    }
    return f"""(if (call $is_socket (local.get ${fd})) (then
(local.set $at (call $socket (local.get ${fd})))
(if (local.get $at) (then {bodies[name]}))))
"""


_AT, _ERRNO, _MANY = "$at i32", "$errno i32", "$many i32"

FUNCTIONS = (
    _lowered(
        "sock_accept",
        ("fd", "flags", "result"),
        "target: the other end; fd2: the socket made",
        _ACCEPT,
        _AT,
        _ERRNO,
    ),
    _lowered(
        "sock_recv",
        ("fd", "iovs", "n", "flags", "result", "oflags"),
        "aux: bytes received",
        _RECV,
        _AT,
        _ERRNO,
    ),
    _lowered("sock_send", ("fd", "iovs", "n", "flags", "result"), "aux: bytes sent", _SEND_BODY, _AT),
    _lowered("sock_shutdown", ("fd", "how"), "nothing more", _SHUTDOWN, _AT),
    Lowering(
        "sock_open",
        ("family", "type", "result"),
        "flags: family, and type from bit 8; fd2: the socket made",
        enter("sock_open") + _OPEN,
        (_ERRNO,),
    ),
    _lowered("sock_bind", ("fd", "addr", "port"), "target: the place", _BIND, _AT, _ERRNO),
    _lowered("sock_listen", ("fd", "backlog"), "target: the place", _LISTEN_BODY, _AT, _ERRNO),
    _lowered("sock_connect", ("fd", "addr", "port"), "target: the place", _CONNECT, _AT, _ERRNO),
    _lowered(
        "sock_recv_from",
        ("fd", "iovs", "n", "addr", "flags", "port", "result", "oflags"),
        "target: from where; aux: bytes received",
        _RECV_FROM,
        _AT,
        _ERRNO,
    ),
    _lowered(
        "sock_send_to",
        ("fd", "iovs", "n", "addr", "port", "flags", "result"),
        "target: the place; aux: bytes sent",
        _SEND_TO,
        _AT,
        _ERRNO,
        _MANY,
    ),
    _lowered(
        "sock_getsockopt",
        ("fd", "level", "name", "flag", "size"),
        "flags: the option",
        _GET_OPTION,
        _AT,
        _ERRNO,
        "$value i32",
    ),
    _lowered(
        "sock_setsockopt",
        ("fd", "level", "name", "flag", "size"),
        "flags: the option",
        _SET_OPTION,
        _AT,
        _ERRNO,
    ),
    _lowered(
        "sock_getlocaladdr",
        ("fd", "addr", "type", "port"),
        "nothing more",
        _place(Op.LOCAL),
        _AT,
        _ERRNO,
        "$family i32",
    ),
    _lowered(
        "sock_getpeeraddr",
        ("fd", "addr", "type", "port"),
        "nothing more",
        _place(Op.REMOTE),
        _AT,
        _ERRNO,
        "$family i32",
    ),
    _lowered(
        "sock_getaddrinfo",
        ("node", "node_len", "service", "service_len", "hints", "res", "max_len", "res_len"),
        "target: the name",
        _LOOKUP,
        _ERRNO,
        _MANY,
        "$wanted i32",
        "$left i32",
        "$port i32",
        "$from i32",
        "$item i32",
        "$v4 i32",
    ),
)
