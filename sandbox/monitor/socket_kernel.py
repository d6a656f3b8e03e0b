"""What calls on sockets share, as WebAssembly text: asking the broker, descriptors, addresses, buffers.

Which calls there are is `calls/sockets.py`, what the broker is asked `sandbox/network/protocol.py`. Questions
go through `$host.ask`, what is done through `$host.network`. INVARIANT: nothing here is done before the call
that it is for has published its record. It is longer than most: all of it is for the same few calls.
"""

from __future__ import annotations

from policy.plan_temporal import Reach
from sandbox.monitor import layout as ring
from sandbox.monitor import tables as plan
from sandbox.monitor.kernel import AT, ERRNO_DQUOT, ERRNO_NOTCAPABLE
from sandbox.monitor.layout import Decision, Reason
from sandbox.network.protocol import (
    ASKS,
    DATA_AT,
    DATA_ROOM,
    FOREVER,
    TEXT_AT,
    Budget,
    Op,
    Option,
    Verdict,
)

INVAL, AFNOSUPPORT, NOTSOCK, NOPROTOOPT, NOTSUP = 28, 5, 57, 50, 58
TCP, UDP, HTTP, DNS, LISTEN = (
    list(Reach).index(Reach[each]) for each in ("TCP", "UDP", "HTTP", "DNS", "LISTEN")
)
"""Kinds of network use, as rules over time take them away."""

TYPE = 1
_MAX_TEXT = 512
# SPEC: the names that hosts with sockets have for options of level 0; 0 is the one that every listener has
_OPTIONS = {
    TYPE: Option.TYPE,
    2: Option.ERROR,
    5: Option.SEND_BYTES,
    6: Option.RECEIVE_BYTES,
    7: Option.KEEPALIVE,
    13: Option.LISTENS,
}
HANDLE = f"(i32.load $plan offset={plan.HANDLE} (local.get $at))"
WAIT = "(call $patience (local.get $at))"


def request(op: Op, handle: str, *args: str) -> str:
    """Send a request to the broker; arguments are expressions of 64 bits. Gives its status."""
    given = [*args, *["(i64.const 0)"] * (6 - len(args))]
    door = "$host.ask" if op in ASKS else "$host.network"
    return f"(call {door} (i32.const {int(op)}) {handle} {' '.join(given)})"


def result(index: int) -> str:
    """One of the broker's results, 64 bits."""
    return f"(i64.load $exchange offset={8 + 8 * index} (i32.const 0))"


def result32(index: int) -> str:
    """The same, its lower half."""
    return f"(i32.load $exchange offset={8 + 8 * index} (i32.const 0))"


_GATHERED = "(i64.extend_i32_u (call $gather (local.get $iovs) (local.get $n)))"
_SPACE = "(i64.extend_i32_u (call $space (local.get $iovs) (local.get $n)))"
_FLAGS = "(i64.extend_i32_u (i32.and (local.get $flags) (i32.const 3)))"
_CHOICES = "".join(
    f"(if (i32.eq (local.get $name) (i32.const {name})) (then (return (i32.const {int(ours)}))))"
    for name, ours in _OPTIONS.items()
)
# SPEC: WASI 0.1: read, change flags, write, wait, shut down, accept
_RIGHTS = 1 << 1 | 1 << 3 | 1 << 6 | 1 << 27 | 1 << 28 | 1 << 29

DECISIONS = f"""
(global $net_high (mut i64) (i64.const 0))
(global $net_low (mut i64) (i64.const 0))
(func $host_entry (param $fd i32) (result i32)
  ;; as `$entry`, for what the host opened: its numbers end where those of sockets begin
  (if (i32.ge_u (local.get $fd) (i32.const {plan.FIRST_SOCKET})) (then (return (i32.const 0))))
  (call $entry (local.get $fd)))
(func $is_socket (param $fd i32) (result i32) (i32.ge_u (local.get $fd) (i32.const {plan.FIRST_SOCKET})))
(func $socket (param $fd i32) (result i32) (local $at i32)
  ;; entry of an open socket, with its opener on record; 0 for anything else
  (local.set $at (call $about (local.get $fd)))
  (if (i32.eqz (local.get $at)) (then (return (i32.const 0))))
  (select (local.get $at) (i32.const 0)
    (i32.ge_u (i32.load $plan offset={plan.KIND} (local.get $at)) (i32.const {plan.K_TCP}))))
(func $no_socket (param $fd i32) (result i32)
  (if (i32.eqz (call $about (local.get $fd))) (then (return (call $badf))))
  (call $publish)
  (call $complete (i32.const {NOTSOCK})))
(func $patience (param $at i32) (result i64)
  (select (i64.const 0) (i64.const {FOREVER})
    (i32.and (i32.load $plan offset={plan.FLAGS} (local.get $at)) (i32.const {plan.F_NONBLOCK}))))
(func $reach_of (param $at i32) (result i32)
  (local $kind i32)
  (local.set $kind (i32.load $plan offset={plan.KIND} (local.get $at)))
  (if (i32.eq (local.get $kind) (i32.const {plan.K_HTTP})) (then (return (i32.const {HTTP}))))
  (select (i32.const {TCP}) (i32.const {UDP}) (i32.eq (local.get $kind) (i32.const {plan.K_TCP}))))
(func $taken_net (param $reach i32) (result i32)
  ;; 1: a rule over time has taken this use of the network away, and the call is refused
  (local $rule i32)
  (local.set $rule (i32.load $plan offset={plan.NET_TAKERS} (i32.shl (local.get $reach) (i32.const 2))))
  (if (i32.eqz (local.get $rule)) (then (return (i32.const 0))))
  (call $deny (i32.sub (local.get $rule) (i32.const 1)) (i32.const {int(Reason.RULE)}) (i32.const 0)
    (i32.const 0)))
(func $forbids_net (param $reach i32) (result i32)
  (call $name_place {result32(4)})
  (call $forbids_net_as_named (local.get $reach)))
(func $forbids_net_as_named (param $reach i32) (result i32) (local $verdict i32) (local $rule i32)
  ;; what the broker said when it was asked: 1 to refuse. A rule over time comes before what grants and before
  ;; the default, and behind what refuses by name
  (local.set $verdict {result32(0)})
  (local.set $rule (i32.load $exchange (i32.const 0)))
  (if (i32.or (i32.eq (local.get $verdict) (i32.const {int(Verdict.ALLOW)}))
              (i32.eqz (local.get $rule))) (then
    (if (call $taken_net (local.get $reach)) (then (return (i32.const 1))))
    (if (i32.load8_u $ring offset={AT["decision"]} (global.get $rec)) (then (return (i32.const 0))))))
  (if (i32.eq (local.get $verdict) (i32.const {int(Verdict.ALLOW)})) (then
    (i32.store16 $ring offset={AT["rule"]} (global.get $rec) (local.get $rule))
    (return (i32.const 0))))
  (if (i32.eq (local.get $verdict) (i32.const {int(Verdict.WOULD_DENY)})) (then
    (call $mark (i32.const {int(Decision.WOULD_DENY)}) (local.get $rule) (i32.const {int(Reason.RULE)})
      (i32.const 0))
    (return (i32.const 0))))
  (call $mark (i32.const {int(Decision.DENY)}) (local.get $rule) (i32.const {int(Reason.RULE)}) (i32.const 0))
  (i32.const 1))
(func $name_place (param $len i32) (local $at i32)
  ;; put on record what is reached, in the broker's words
  (if (i32.gt_u (local.get $len) (i32.const {_MAX_TEXT})) (then (local.set $len (i32.const {_MAX_TEXT}))))
  (call $arena_room)
  (local.set $at (i32.and (i32.wrap_i64 (global.get $arena)) (i32.const {ring.ARENA_BYTES - 1})))
  (if (i32.gt_u (i32.add (local.get $at) (local.get $len)) (i32.const {ring.ARENA_BYTES})) (then
    (global.set $arena (i64.add (global.get $arena)
      (i64.extend_i32_u (i32.sub (i32.const {ring.ARENA_BYTES}) (local.get $at)))))
    (local.set $at (i32.const 0))))
  (memory.copy $ring $exchange (i32.add (i32.const {ring.ARENA}) (local.get $at)) (i32.const {TEXT_AT})
    (local.get $len))
  (global.set $arena (i64.add (global.get $arena) (i64.extend_i32_u (local.get $len))))
  (i64.store $ring (i32.const {ring.ARENA_HEAD}) (global.get $arena))
  (i32.store $ring offset={AT["target_at"]} (global.get $rec) (local.get $at))
  (i32.store16 $ring offset={AT["target_len"]} (global.get $rec) (local.get $len)))
(func $named (param $at i32) (param $fd i32)
  ;; what comes after this call names it as what made the socket
  (i32.store $ring offset={AT["fd2"]} (global.get $rec) (local.get $fd))
  (i64.store $plan offset={plan.OPENER} (local.get $at) (i64.sub (global.get $head) (i64.const 1))))
(func $new_socket (param $handle i32) (param $kind i32) (param $flags i32) (result i32)
  ;; the descriptor of a handle that the broker has just given
  (local $at i32) (local $fd i32)
  (local.set $fd (i32.add (local.get $handle) (i32.const {plan.FIRST_SOCKET})))
  (local.set $at (call $entry (local.get $fd)))
  ;; INVARIANT: the broker gives a handle once, and no other than these
  (if (i32.or (i32.eqz (local.get $at)) (i32.ge_u (local.get $fd) (i32.const {plan.MAX_DESCRIPTORS})))
    (then (unreachable)))
  (memory.fill $plan (local.get $at) (i32.const 0) (i32.const {plan.DESCRIPTOR_BYTES}))
  (i32.store $plan offset={plan.KIND} (local.get $at) (local.get $kind))
  (i32.store $plan offset={plan.HANDLE} (local.get $at) (local.get $handle))
  (i32.store $plan offset={plan.FLAGS} (local.get $at)
    (i32.or (local.get $flags) (i32.const {plan.F_COUNTED})))
  (call $bump (i32.const {ring.OPEN_FILES}) (i64.const 1))
  (call $named (local.get $at) (local.get $fd))
  (local.get $fd))
"""

ADDRESSES = f"""
(func $inside (param $at i32) (param $size i32)
  ;; what lies outside the guest's memory ends it, as with any host, and the call is on record, in flight
  (if (call $out_of_bounds (local.get $at) (local.get $size)) (then (call $publish) (unreachable))))
(func $swap (param $x i32) (result i32)
  (i32.or (i32.and (i32.rotl (local.get $x) (i32.const 8)) (i32.const 0x00ff00ff))
          (i32.and (i32.rotl (local.get $x) (i32.const 24)) (i32.const 0xff00ff00))))
(func $swap64 (param $x i64) (result i64)
  (i64.or (i64.shl (i64.extend_i32_u (call $swap (i32.wrap_i64 (local.get $x)))) (i64.const 32))
          (i64.extend_i32_u (call $swap (i32.wrap_i64 (i64.shr_u (local.get $x) (i64.const 32)))))))
(func $read_address (param $at i32) (result i32) (local $buf i32) (local $size i32) (local $family i32)
  ;; an address as guests have it: pointer and length of 4 or 16 bytes, or of 128 with its family in front
  (call $inside (local.get $at) (i32.const 8))
  (local.set $buf (i32.load $guest (local.get $at)))
  (local.set $size (i32.load $guest offset=4 (local.get $at)))
  (call $inside (local.get $buf) (local.get $size))
  (if (i32.ge_u (local.get $size) (i32.const 128)) (then
    (local.set $family (i32.load16_u $guest (local.get $buf)))
    (local.set $buf (i32.add (local.get $buf) (i32.const 2)))
    (local.set $size (i32.const 0))
    (if (i32.eq (local.get $family) (i32.const 1)) (then (local.set $size (i32.const 4))))
    (if (i32.eq (local.get $family) (i32.const 2)) (then (local.set $size (i32.const 16))))))
  (if (i32.eq (local.get $size) (i32.const 4)) (then
    (global.set $net_high (i64.const 0))
    (global.set $net_low (i64.or (i64.const 0xffff00000000)
      (i64.extend_i32_u (call $swap (i32.load $guest (local.get $buf))))))
    (return (i32.const 0))))
  (if (i32.eq (local.get $size) (i32.const 16)) (then
    (global.set $net_high (call $swap64 (i64.load $guest (local.get $buf))))
    (global.set $net_low (call $swap64 (i64.load $guest offset=8 (local.get $buf))))
    (return (i32.const 0))))
  (i32.const {INVAL}))
(func $is_v4 (param $high i64) (param $low i64) (result i32)
  (i32.and (i64.eqz (local.get $high))
           (i64.eq (i64.shr_u (local.get $low) (i64.const 32)) (i64.const 0xffff))))
(func $write_address (param $at i32) (param $high i64) (param $low i64) (result i32)
  ;; the same, into a buffer of the guest's: gives 4 or 6, or 0 where it does not fit
  (local $buf i32) (local $size i32) (local $v4 i32)
  (local.set $buf (i32.load $guest (local.get $at)))
  (local.set $size (i32.load $guest offset=4 (local.get $at)))
  (local.set $v4 (call $is_v4 (local.get $high) (local.get $low)))
  (if (i32.lt_u (local.get $size) (select (i32.const 4) (i32.const 16) (local.get $v4)))
    (then (return (i32.const 0))))
  (if (i32.ge_u (local.get $size) (i32.const 128)) (then
    (i32.store16 $guest (local.get $buf) (select (i32.const 1) (i32.const 2) (local.get $v4)))
    (local.set $buf (i32.add (local.get $buf) (i32.const 2)))))
  (if (local.get $v4)
    (then (i32.store $guest (local.get $buf) (call $swap (i32.wrap_i64 (local.get $low)))))
    (else
      (i64.store $guest (local.get $buf) (call $swap64 (local.get $high)))
      (i64.store $guest offset=8 (local.get $buf) (call $swap64 (local.get $low)))))
  (select (i32.const 4) (i32.const 6) (local.get $v4)))
"""

BUFFERS = f"""
(func $gather (param $iovs i32) (param $n i32) (result i32) (local $at i32) (local $len i32)
  ;; the guest's buffers, one behind the other into the exchange, as far as they fit; gives how many bytes
  (block $over (loop $next
    (br_if $over (i32.eqz (local.get $n)))
    (local.set $len (i32.load $guest offset=4 (local.get $iovs)))
    (if (i32.gt_u (local.get $len) (i32.sub (i32.const {DATA_ROOM}) (local.get $at)))
      (then (local.set $len (i32.sub (i32.const {DATA_ROOM}) (local.get $at)))))
    (memory.copy $exchange $guest (i32.add (i32.const {DATA_AT}) (local.get $at))
      (i32.load $guest (local.get $iovs)) (local.get $len))
    (local.set $at (i32.add (local.get $at) (local.get $len)))
    (local.set $iovs (i32.add (local.get $iovs) (i32.const 8)))
    (local.set $n (i32.sub (local.get $n) (i32.const 1)))
    (br_if $next (i32.lt_u (local.get $at) (i32.const {DATA_ROOM})))))
  (local.get $at))
(func $space (param $iovs i32) (param $n i32) (result i32) (local $room i32) (local $len i32)
  ;; how many bytes the guest's buffers take, as far as the exchange goes
  (block $over (loop $next
    (br_if $over (i32.eqz (local.get $n)))
    (local.set $len (i32.load $guest offset=4 (local.get $iovs)))
    (if (i32.gt_u (local.get $len) (i32.sub (i32.const {DATA_ROOM}) (local.get $room)))
      (then (return (i32.const {DATA_ROOM}))))
    (local.set $room (i32.add (local.get $room) (local.get $len)))
    (local.set $iovs (i32.add (local.get $iovs) (i32.const 8)))
    (local.set $n (i32.sub (local.get $n) (i32.const 1)))
    (br $next)))
  (local.get $room))
(func $scatter (param $iovs i32) (param $left i32) (local $from i32) (local $len i32)
  ;; what was received, into the guest's buffers
  (local.set $from (i32.const {DATA_AT}))
  (loop $next
    (if (local.get $left) (then
      (local.set $len (i32.load $guest offset=4 (local.get $iovs)))
      (if (i32.gt_u (local.get $len) (local.get $left)) (then (local.set $len (local.get $left))))
      (memory.copy $guest $exchange (i32.load $guest (local.get $iovs)) (local.get $from) (local.get $len))
      (local.set $from (i32.add (local.get $from) (local.get $len)))
      (local.set $left (i32.sub (local.get $left) (local.get $len)))
      (local.set $iovs (i32.add (local.get $iovs) (i32.const 8)))
      (br $next)))))
(func $net_moved (param $errno i32) (param $total i32) (result i32) (local $n i32)
  (if (local.get $errno) (then (return (i32.const 0))))
  (local.set $n {result32(0)})
  (i64.store $ring offset={AT["aux"]} (global.get $rec) (i64.extend_i32_u (local.get $n)))
  (call $bump (local.get $total) (i64.extend_i32_u (local.get $n)))
  (local.get $n))
(func $net_send (param $at i32) (param $iovs i32) (param $n i32) (param $result i32) (result i32)
  ;; on record it is by now; gives the errno
  (local $errno i32) (local $many i32)
  (local.set $errno {request(Op.SEND, HANDLE, f"(i64.const {DATA_AT})", _GATHERED, WAIT)})
  (local.set $many (call $net_moved (local.get $errno) (i32.const {ring.BYTES_WRITTEN})))
  (if (i32.eqz (local.get $errno)) (then (i32.store $guest (local.get $result) (local.get $many))))
  (local.get $errno))
(func $net_recv (param $at i32) (param $iovs i32) (param $n i32) (param $flags i32) (param $result i32)
    (result i32)
  (local $errno i32) (local $many i32)
  (local.set $errno {request(Op.RECV, HANDLE, f"(i64.const {DATA_AT})", _SPACE, _FLAGS, WAIT)})
  (local.set $many (call $net_moved (local.get $errno) (i32.const {ring.BYTES_READ})))
  (if (i32.eqz (local.get $errno)) (then
    (call $scatter (local.get $iovs) (local.get $many))
    (i32.store $guest (local.get $result) (local.get $many))))
  (local.get $errno))
(func $done_net (param $errno i32) (result i32)
  ;; the end of a call that the broker did, or did not do for want of a budget
  (if (i32.ne (local.get $errno) (i32.const {ERRNO_DQUOT}))
    (then (return (call $complete (local.get $errno)))))
  (if (i32.eq {result32(0)} (i32.const {int(Budget.OF_RULE)})) (then
    (call $mark (i32.const {int(Decision.LIMIT)}) (i32.load $exchange (i32.const 0))
      (i32.const {int(Reason.BUDGET)}) (i32.const 0))
    (return (call $revoke (local.get $errno)))))
  (call $mark (i32.const {int(Decision.LIMIT)})
    (i32.load $plan offset={plan.FIXED_RULES + 4 * (plan.FIXED_RULE_IDS.index("limit.connections") - 1)}
      (i32.shl (i32.and {result32(0)} (i32.const 7)) (i32.const 2)))
    (i32.const {int(Reason.BUDGET)}) (i32.const 0))
  (call $revoke (local.get $errno)))
(func $found_forbidden (result i32)
  ;; what was granted by its name led to where nothing is granted: nothing was sent there
  (call $mark (i32.const {int(Decision.DENY)}) (i32.load $exchange (i32.const 0))
    (i32.const {int(Reason.RULE)}) (i32.const 0))
  (call $revoke (i32.const {ERRNO_NOTCAPABLE})))
(func $drop_socket (param $at i32) (result i32) (local $errno i32)
  (local.set $errno {request(Op.CLOSE, HANDLE)})
  ;; of a request: its status, and from bit 16 on how many bytes of its answer were read
  (if (i32.eq (i32.load $plan offset={plan.KIND} (local.get $at)) (i32.const {plan.K_HTTP})) (then
    (i64.store $ring offset={AT["flags"]} (global.get $rec)
      (i64.or {result(0)} (i64.shl {result(2)} (i64.const 16))))))
  (if (i32.eqz (local.get $errno)) (then (call $forget (local.get $at))))
  (local.get $errno))
(func $option (param $level i32) (param $name i32) (result i32)
  ;; the broker's number of an option, or 0
  (if (local.get $level) (then (return (i32.const 0))))
  {_CHOICES}
  (i32.const 0))(func $decimal (param $at i32) (param $len i32) (result i32) (local $n i32) (local $digit i32)
  ;; the number that a text begins with, as far as it is a port
  (block $over (loop $next
    (br_if $over (i32.eqz (local.get $len)))
    (local.set $digit (i32.sub (i32.load8_u $guest (local.get $at)) (i32.const 48)))
    (br_if $over (i32.gt_u (local.get $digit) (i32.const 9)))
    (local.set $n (i32.add (i32.mul (local.get $n) (i32.const 10)) (local.get $digit)))
    (if (i32.gt_u (local.get $n) (i32.const 65535)) (then (return (i32.const 0))))
    (local.set $at (i32.add (local.get $at) (i32.const 1)))
    (local.set $len (i32.sub (local.get $len) (i32.const 1)))
    (br $next)))
  (local.get $n))
(func $write_found (param $item i32) (param $hints i32) (param $port i32) (param $v4 i32)
  (local $addr i32) (local $data i32)
  (i32.store8 $guest offset=2 (local.get $item) (select (i32.const 1) (i32.const 2) (local.get $v4)))
  (i32.store8 $guest offset=3 (local.get $item) (i32.load8_u $guest offset=3 (local.get $hints)))
  (i32.store $guest offset=4 (local.get $item) (i32.load $guest offset=4 (local.get $hints)))
  (i32.store $guest offset=8 (local.get $item) (i32.const 16))
  (local.set $addr (i32.load $guest offset=12 (local.get $item)))
  (i32.store8 $guest (local.get $addr) (select (i32.const 1) (i32.const 2) (local.get $v4)))
  (i32.store $guest offset=4 (local.get $addr) (select (i32.const 6) (i32.const 18) (local.get $v4)))
  (local.set $data (i32.load $guest offset=8 (local.get $addr)))
  (i32.store8 $guest (local.get $data) (i32.shr_u (local.get $port) (i32.const 8)))
  (i32.store8 $guest offset=1 (local.get $data) (local.get $port))
  (if (local.get $v4)
    (then (i32.store $guest offset=2 (local.get $data) (call $swap (i32.wrap_i64 (global.get $net_low)))))
    (else
      (i64.store $guest offset=2 (local.get $data) (call $swap64 (global.get $net_high)))
      (i64.store $guest offset=10 (local.get $data) (call $swap64 (global.get $net_low))))))
(func $stat_socket (param $at i32) (param $buf i32)
  ;; SPEC: WASI 0.1: type at 0 (5 for datagrams, 6 for streams), flags at 2, rights at 8 and 16
  (memory.fill $guest (local.get $buf) (i32.const 0) (i32.const 24))
  (i32.store8 $guest (local.get $buf) (select (i32.const 6) (i32.const 5)
    (i32.eq (i32.load $plan offset={plan.KIND} (local.get $at)) (i32.const {plan.K_TCP}))))
  (i32.store16 $guest offset=2 (local.get $buf) (select (i32.const 4) (i32.const 0)
    (i32.and (i32.load $plan offset={plan.FLAGS} (local.get $at)) (i32.const {plan.F_NONBLOCK}))))
  (i64.store $guest offset=8 (local.get $buf) (i64.const {_RIGHTS})))
"""

SOCKETS = DECISIONS + ADDRESSES + BUFFERS
"""All of the above, in the order in which it is best read."""
