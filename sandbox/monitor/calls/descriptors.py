"""Open descriptors: reading, writing, listing, closing and renumbering.

Opening is in `filesystem.py`. A descriptor carries the class of its path from when it was opened, so a
call on it is decided by one mask; budgets are charged with what the host says was moved.
"""

from __future__ import annotations

from policy.plan import RIGHTS, Right
from policy.plan_temporal import Trigger
from sandbox.monitor import layout as ring
from sandbox.monitor import tables as plan
from sandbox.monitor.calls.shape import Lowering, enter, known, on_descriptor, real
from sandbox.monitor.calls.sockets import on_socket
from sandbox.monitor.kernel import AT, ERRNO_DQUOT, ERRNO_NOTCAPABLE, fixed_rule, long, word
from sandbox.monitor.layout import Reason, Stop
from sandbox.monitor.over_time import counts_bytes, counts_call, counts_opening
from sandbox.monitor.paths import BUFFER
from sandbox.monitor.payloads import look_up

_NO_FILE = 1 << 62
_LARGEST = (1 << 63) - 1
_WRITE_BIT = RIGHTS.index(Right.WRITE)
_REFUSE = f"(then (return (call $refuse (i32.const {ERRNO_NOTCAPABLE}))))"
_KIND = f"(local.set $kind (i32.load $plan offset={plan.KIND} (local.get $at)))"

SUPPORT = f"""
(func $first_length (param $iovs i32) (param $n i32) (result i64)
  ;; bytes of the first buffer that is not empty, which is all the host takes; -1 when it will trap
  ;; SECURITY: as the host does, no entry behind that one is looked at: a list that ends outside the memory
  ;; is written from all the same
  (block $over (loop $next
    (br_if $over (i32.eqz (local.get $n)))
    (if (call $out_of_bounds (local.get $iovs) (i32.const 8)) (then (return (i64.const -1))))
    (if (i32.load $guest offset=4 (local.get $iovs))
      (then (return (i64.load32_u $guest offset=4 (local.get $iovs)))))
    (local.set $iovs (i32.add (local.get $iovs) (i32.const 8)))
    (local.set $n (i32.sub (local.get $n) (i32.const 1)))
    (br $next)))
  (i64.const 0))
(func $moved (param $errno i32) (param $result i32) (param $total i32) (result i64) (local $n i64)
  ;; what the host says was moved: on record and in the totals
  (if (local.get $errno) (then (return (i64.const 0))))
  (local.set $n (i64.load32_u $guest (local.get $result)))
  (i64.store $ring offset={AT["aux"]} (global.get $rec) (local.get $n))
  (call $bump (local.get $total) (local.get $n))
  (local.get $n))
(func $may_write (param $at i32) (result i32)
  ;; the right that a write through this descriptor needs
  (if (result i32) (i32.and (i32.load $plan offset={plan.FLAGS} (local.get $at)) (i32.const {plan.F_APPEND}))
    (then (i32.const {int(Right.APPEND)})) (else (i32.const {int(Right.WRITE)}))))
(func $gap (param $at i32) (param $fd i32) (param $from i64) (result i64) (local $size i64)
  ;; bytes between the end of the file and where a write is about to start
  ;; SECURITY: they are charged like those that are written: one byte far behind the end would make a file
  ;; as large as any disk, and one in each block would take a whole block each
  (if (i64.le_u (local.get $from) (i64.load $plan offset={plan.SIZE_SEEN} (local.get $at)))
    (then (return (i64.const 0))))
  (if (call $probe.fd_filestat_get (local.get $fd) (i32.const {BUFFER})) (then (return (i64.const 0))))
  (local.set $size (i64.load $scratch (i32.const {BUFFER + 32})))
  (i64.store $plan offset={plan.SIZE_SEEN} (local.get $at) (local.get $size))
  (if (i64.le_u (local.get $from) (local.get $size)) (then (return (i64.const 0))))
  (local.set $size (i64.sub (local.get $from) (local.get $size)))
  ;; no file is that large, and no sum gets negative by it
  (select (local.get $size) (i64.const {_NO_FILE}) (i64.lt_u (local.get $size) (i64.const {_NO_FILE}))))
(func $position (param $at i32) (param $fd i32) (result i64)
  ;; where a write goes that does not say: 0 where that is no further than the end
  (if (i32.eqz (i32.and (i32.load $plan offset={plan.FLAGS} (local.get $at)) (i32.const {plan.F_SOUGHT})))
    (then (return (i64.const 0))))
  (if (call $probe.fd_tell (local.get $fd) (i32.const {BUFFER})) (then (return (i64.const 0))))
  (i64.load $scratch (i32.const {BUFFER})))
(func $appends (param $fd i32) (result i32)
  (if (call $probe.fd_fdstat_get (local.get $fd) (i32.const {BUFFER})) (then (return (i32.const 0))))
  (i32.and (i32.load16_u $scratch (i32.const {BUFFER + 2})) (i32.const 1)))
(func $seen_size (param $at i32) (param $size i64)
  (if (i64.gt_u (local.get $size) (i64.load $plan offset={plan.SIZE_SEEN} (local.get $at))) (then
    (i64.store $plan offset={plan.SIZE_SEEN} (local.get $at) (local.get $size)))))
(func $disk_rule (param $rule i32) (param $bytes i64) (result i32)
  ;; which budget is spent: the run's or the rule's
  (if (result i32) (i64.lt_s {long(plan.DISK_LEFT)} (local.get $bytes))
    (then {fixed_rule("limit.disk")}) (else (local.get $rule))))
"""


def _reads(name: str, *params: str) -> Lowering:
    turn = on_socket(name) if name == "fd_read" else ""
    body = f"""{enter(name, "(local.get $fd)")}{turn}{known()}{_KIND}
(if (i32.and (i32.eq (local.get $kind) (i32.const {plan.K_STDIN})) (i32.ne {word(plan.STDIN_RULE)}
  (i32.const 0)))
  (then (if (call $deny {word(plan.STDIN_RULE)} (i32.const {int(Reason.RULE)}) (i32.const 1)
    (i32.const 0)) {_REFUSE})))
(if (i32.eq (local.get $kind) (i32.const {plan.K_FILE})) (then
  (if (call $forbids (local.get $at) (i32.const {int(Right.READ)})) {_REFUSE})))
{look_up(name)}))
(call $publish)
(local.set $errno {real(name, params)})
(local.set $n (call $moved (local.get $errno) (local.get $result) (i32.const {ring.BYTES_READ})))
(if (local.get $keep) (then (call $keep_read (local.get $n))))
{counts_bytes(Trigger.BYTES_IN, "(local.get $n)")}(call $complete (local.get $errno))"""
    names = ("$at i32", "$kind i32", "$errno i32", "$n i64", "$keep i32")
    return Lowering(name, params, "aux: bytes read", body, names)


def _stream(kind: int, *, rule: int, maximum: int, total: int, stop: Stop, rule_id: str) -> str:
    """Decide a write to a standard stream: granted at all, and within its limit."""
    return f"""
(if (i32.eq (local.get $kind) (i32.const {kind})) (then
  (if {word(rule)} (then
    (if (call $deny {word(rule)} (i32.const {int(Reason.RULE)}) (i32.const {_WRITE_BIT + 1})
      (i32.const 0)) {_REFUSE})))
  (if (i64.gt_s (i64.add (i64.load $ring (i32.const {total})) (local.get $n)) {long(maximum)})
    (then (call $halt (i32.const {int(stop)}) {fixed_rule(rule_id)})))))"""


_STREAMS = _stream(
    plan.K_STDOUT,
    rule=plan.STDOUT_RULE,
    maximum=plan.MAX_STDOUT,
    total=ring.STDOUT_BYTES,
    stop=Stop.STDOUT,
    rule_id="limit.stdout",
) + _stream(
    plan.K_STDERR,
    rule=plan.STDERR_RULE,
    maximum=plan.MAX_STDERR,
    total=ring.STDERR_BYTES,
    stop=Stop.STDERR,
    rule_id="limit.stderr",
)


def _writes(name: str, *params: str) -> Lowering:
    # SECURITY: a write that names its own place ignores that the descriptor was opened to append
    need = f"(i32.const {int(Right.WRITE)})" if "offset" in params else "(call $may_write (local.get $at))"
    start, end = "(local.get $offset)", ""
    if "offset" not in params:
        start = "(call $position (local.get $at) (local.get $fd))"
        end = """(if (i64.ne (local.get $gap) (i64.const 0)) (then (if (call $appends (local.get $fd)) (then
      (local.set $gap (i64.const 0)) (local.set $from (i64.const 0))))))"""
    turn = on_socket(name) if name == "fd_write" else ""
    body = f"""{enter(name, "(local.get $fd)")}{turn}{known()}{_KIND}
(local.set $n (call $first_length (local.get $iovs) (local.get $iovs_len)))
{_STREAMS}
(if (i32.eq (local.get $kind) (i32.const {plan.K_FILE})) (then
  (if (call $forbids (local.get $at) {need}) {_REFUSE})
  (local.set $rule (i32.load $plan offset={plan.RULE} (local.get $at)))
  (if (i64.gt_s (local.get $n) (i64.const 0)) (then
    (local.set $from {start})
    (local.set $gap (call $gap (local.get $at) (local.get $fd) (local.get $from)))
    {end}))
  (local.set $n (i64.add (local.get $n) (local.get $gap)))
  (if (i32.eqz (call $has_disk (local.get $rule) (local.get $n)))
    (then (return (call $spent (call $disk_rule (local.get $rule) (local.get $n))
      (i32.const {ERRNO_DQUOT})))))))
{look_up(name)} (call $keep_offer)))
(call $publish)
(local.set $errno {real(name, params)})
(local.set $n (call $moved (local.get $errno) (local.get $result) (i32.const {ring.BYTES_WRITTEN})))
(if (local.get $keep) (then (call $keep_written (local.get $n))))
(if (i32.eq (local.get $kind) (i32.const {plan.K_STDOUT})) (then (call $bump (i32.const {ring.STDOUT_BYTES})
  (local.get $n))))
(if (i32.eq (local.get $kind) (i32.const {plan.K_STDERR})) (then (call $bump (i32.const {ring.STDERR_BYTES})
  (local.get $n))))
(if (i32.and (i32.eq (local.get $kind) (i32.const {plan.K_FILE})) (i64.ne (local.get $n) (i64.const 0))) (then
  (call $use_disk (local.get $rule) (i64.add (local.get $n) (local.get $gap)))
  (call $seen_size (local.get $at) (i64.add (local.get $from) (local.get $n)))))
{counts_bytes(Trigger.BYTES_OUT, "(local.get $n)")}(call $complete (local.get $errno))"""
    names = (
        *("$at i32", "$kind i32", "$errno i32", "$rule i32"),
        *("$n i64", "$keep i32", "$from i64", "$gap i64"),
    )
    return Lowering(name, params, "aux: bytes written", body, names)


_READDIR = f"""{enter("fd_readdir", "(local.get $fd)")}{known()}
(if (i32.eq (i32.load $plan offset={plan.KIND} (local.get $at)) (i32.const {plan.K_DIRECTORY})) (then
  (if (call $forbids (local.get $at) (i32.const {int(Right.LIST)})) {_REFUSE})))
(call $publish)
(local.set $errno {real("fd_readdir", ("fd", "buf", "buf_len", "cookie", "result"))})
(local.set $n (call $moved (local.get $errno) (local.get $result) (i32.const {ring.BYTES_READ})))
(call $settle_entries (local.get $buf) (local.get $n))
;; SECURITY: a mount was not opened by the guest, and shows what it holds all the same
(if (i32.eqz (local.get $errno)) (then {counts_opening("(call $marks_of (local.get $at))")}))
{counts_bytes(Trigger.BYTES_IN, "(local.get $n)")}(call $complete (local.get $errno))"""

_CLOSE = f"""{enter("fd_close", "(local.get $fd)")}{on_socket("fd_close")}{known()}
(call $publish)
(local.set $errno {real("fd_close", ("fd",))})
(if (i32.eqz (local.get $errno)) (then (call $forget (local.get $at))))
(call $complete (local.get $errno))"""

_RENUMBER = f"""{enter("fd_renumber", "(local.get $fd)")}
(i32.store $ring offset={AT["fd2"]} (global.get $rec) (local.get $to))
{known()}
(local.set $at2 (call $entry (local.get $to)))
(if (i32.eqz (local.get $at2)) (then (return (call $badf))))
(if (i32.eqz (i32.load $plan offset={plan.KIND} (local.get $at2))) (then (return (call $badf))))
{counts_call("(call $marks_of (local.get $at2))")}(call $publish)
(local.set $errno {real("fd_renumber", ("fd", "to"))})
(if (i32.and (i32.eqz (local.get $errno)) (i32.ne (local.get $at) (local.get $at2))) (then
  (call $forget (local.get $at2))
  (memory.copy $plan $plan (local.get $at2) (local.get $at) (i32.const {plan.DESCRIPTOR_BYTES}))
  (memory.fill $plan (local.get $at) (i32.const 0) (i32.const {plan.DESCRIPTOR_BYTES}))))
(call $complete (local.get $errno))"""

_SEEK = f"""{enter("fd_seek", "(local.get $fd)")}{known()}
(call $publish)
(local.set $errno {real("fd_seek", ("fd", "offset", "whence", "result"))})
(i32.store $plan offset={plan.FLAGS} (local.get $at) (i32.or (i32.const {plan.F_SOUGHT})
  (i32.load $plan offset={plan.FLAGS} (local.get $at))))
(call $complete (local.get $errno))"""

_SET_FLAGS = f"""{enter("fd_fdstat_set_flags", "(local.get $fd)")}{on_socket("fd_fdstat_set_flags")}
(i64.store $ring offset={AT["flags"]} (global.get $rec) (i64.shl (i64.extend_i32_u (local.get $flags))
  (i64.const 16)))
{known()}
;; SECURITY: who may only append could otherwise write anywhere by taking the flag away
(if (i32.and (i32.load $plan offset={plan.FLAGS} (local.get $at)) (i32.const {plan.F_APPEND})) (then
  (if (i32.eqz (i32.and (local.get $flags) (i32.const 1))) (then
    (if (call $deny {fixed_rule("handle")} (i32.const {int(Reason.HANDLE)}) (i32.const {_WRITE_BIT + 1})
      (i32.const 0)) {_REFUSE})))))
(call $publish)
(call $complete {real("fd_fdstat_set_flags", ("fd", "flags"))})"""

_SET_SIZE = f"""{enter("fd_filestat_set_size", "(local.get $fd)")}
(i64.store $ring offset={AT["flags"]} (global.get $rec) (local.get $size))
{known()}
(if (call $forbids (local.get $at) (i32.const {int(Right.WRITE)})) {_REFUSE})
(if (i32.eq (i32.load $plan offset={plan.KIND} (local.get $at)) (i32.const {plan.K_FILE})) (then
  (if (i32.eqz (call $probe.fd_filestat_get (local.get $fd) (i32.const {BUFFER}))) (then
    (if (i64.gt_u (local.get $size) (i64.load $scratch (i32.const {BUFFER + 32}))) (then
      (local.set $n (i64.sub (local.get $size) (i64.load $scratch (i32.const {BUFFER + 32}))))
      (if (i64.lt_s (local.get $n) (i64.const 0)) (then (local.set $n (i64.const {_LARGEST}))))
      (local.set $rule (i32.load $plan offset={plan.RULE} (local.get $at)))
      (if (i32.eqz (call $has_disk (local.get $rule) (local.get $n))) (then
        (return (call $spent (call $disk_rule (local.get $rule) (local.get $n))
          (i32.const {ERRNO_DQUOT})))))))))))
(call $publish)
(local.set $errno {real("fd_filestat_set_size", ("fd", "size"))})
(if (i32.and (i32.eqz (local.get $errno)) (i64.ne (local.get $n) (i64.const 0)))
  (then (call $use_disk (local.get $rule) (local.get $n))))
(call $complete (local.get $errno))"""

_FDSTAT = f"""{enter("fd_fdstat_get", "(local.get $fd)")}{on_socket("fd_fdstat_get")}{known()}
(call $publish)
(call $complete {real("fd_fdstat_get", ("fd", "buf"))})"""

_STAT = f"""{enter("fd_filestat_get", "(local.get $fd)")}{known()}
(call $publish)
(local.set $errno {real("fd_filestat_get", ("fd", "buf"))})
(if (i32.eqz (local.get $errno)) (then (call $settle_stat (local.get $buf))))
(call $complete (local.get $errno))"""

FUNCTIONS = (
    on_descriptor("fd_advise", "fd", "offset", "len", "advice"),
    on_descriptor("fd_allocate", "fd", "offset", "len", need=int(Right.WRITE)),
    Lowering("fd_close", ("fd",), "nothing more", _CLOSE, ("$at i32", "$errno i32")),
    on_descriptor("fd_datasync", "fd"),
    Lowering("fd_fdstat_get", ("fd", "buf"), "nothing more", _FDSTAT, ("$at i32",)),
    Lowering(
        "fd_fdstat_set_flags", ("fd", "flags"), "flags: the flags, shifted by 16", _SET_FLAGS, ("$at i32",)
    ),
    on_descriptor("fd_fdstat_set_rights", "fd", "base", "inheriting"),
    Lowering("fd_filestat_get", ("fd", "buf"), "nothing more", _STAT, ("$at i32", "$errno i32")),
    Lowering(
        "fd_filestat_set_size",
        ("fd", "size"),
        "flags: the size",
        _SET_SIZE,
        ("$at i32", "$errno i32", "$rule i32", "$n i64"),
    ),
    on_descriptor("fd_filestat_set_times", "fd", "atim", "mtim", "fst_flags", need=int(Right.WRITE)),
    _reads("fd_pread", "fd", "iovs", "iovs_len", "offset", "result"),
    on_descriptor("fd_prestat_get", "fd", "buf"),
    on_descriptor("fd_prestat_dir_name", "fd", "path", "path_len"),
    _writes("fd_pwrite", "fd", "iovs", "iovs_len", "offset", "result"),
    _reads("fd_read", "fd", "iovs", "iovs_len", "result"),
    Lowering(
        "fd_readdir",
        ("fd", "buf", "buf_len", "cookie", "result"),
        "aux: bytes of entries",
        _READDIR,
        ("$at i32", "$errno i32", "$n i64"),
    ),
    Lowering(
        "fd_renumber",
        ("fd", "to"),
        "fd2: the other descriptor",
        _RENUMBER,
        ("$at i32", "$at2 i32", "$errno i32"),
    ),
    Lowering(
        "fd_seek", ("fd", "offset", "whence", "result"), "nothing more", _SEEK, ("$at i32", "$errno i32")
    ),
    on_descriptor("fd_sync", "fd"),
    on_descriptor("fd_tell", "fd", "result"),
    _writes("fd_write", "fd", "iovs", "iovs_len", "result"),
)
