"""Calls that name one path: making, removing and asking about files, and symbolic links.

How a path becomes an automaton state, and how links are kept from widening access, is in
`sandbox/monitor/paths.py`; opening is in `opening.py`, calls with two paths in `moving.py`. INVARIANT: each
call is decided for every path it names before the host sees any of them.
"""

from __future__ import annotations

from policy.plan import RIGHTS, Right
from sandbox.monitor import tables as plan
from sandbox.monitor.calls.shape import Lowering, enter, known, real
from sandbox.monitor.kernel import (
    AT,
    ERRNO_DQUOT,
    ERRNO_NAMETOOLONG,
    ERRNO_NOTCAPABLE,
    ERRNO_PERM,
    fixed_rule,
)
from sandbox.monitor.over_time import counts_call
from sandbox.monitor.paths import BUFFER, LINK, NORMAL, RAW, RESULT

CREATE_BIT = RIGHTS.index(Right.CREATE)
REFUSE = f"(then (return (call $refuse (i32.const {ERRNO_NOTCAPABLE}))))"
REVOKE = f"(then (call $unhop) (return (call $revoke (i32.const {ERRNO_NOTCAPABLE}))))"
DIRECTORY, REGULAR = 3, 4  # file types in a filestat, at offset 16
_CONTENT = int(Right.READ | Right.WRITE | Right.APPEND)
STACK = (plan.STACKS, plan.STACKS + plan.STACK_BYTES)

SUPPORT = f"""
(func $is_directory (param $at i32) (result i32)
  (i32.eq (i32.load $plan offset={plan.KIND} (local.get $at)) (i32.const {plan.K_DIRECTORY})))
(func $resolve (param $at i32) (param $len i32) (param $slot i32) (result i32)
  ;; walk the copied path of a slot from a directory: 0, or the errno of the refusal
  (if (call $walk (i32.load $plan offset={plan.STATE} (local.get $at))
        (if (result i32) (local.get $slot) (then (i32.const {RAW[1]})) (else (i32.const {RAW[0]})))
        (local.get $len)
        (if (result i32) (local.get $slot) (then (i32.const {NORMAL[1]})) (else (i32.const {NORMAL[0]})))
        (if (result i32) (local.get $slot) (then (i32.const {STACK[1]})) (else (i32.const {STACK[0]}))))
    (then (drop (call $escapes)) (return (call $refuse (i32.const {ERRNO_PERM})))))
  (i32.const 0))
(func $target (param $at i32) (param $path i32) (param $len i32) (result i32)
  ;; take the one path of a call: 0, or the errno of the refusal
  (if (call $fetch (local.get $path) (local.get $len) (i32.const {RAW[0]})) (then
    (drop (call $too_long)) (return (call $refuse (i32.const {ERRNO_NAMETOOLONG})))))
  (call $name_target (local.get $len) (i32.const 0))
  (call $resolve (local.get $at) (local.get $len) (i32.const 0)))
(func $approach (param $fd i32) (param $at i32) (param $len i32) (param $slot i32) (param $depth i32)
  (param $end i32) (result i32) (local $errno i32) (local $raw i32)
  ;; find the directory and name to act on: -1 to go on, or the errno that the guest was given
  (global.set $careful (i32.const 0))
  (global.set $opened (i32.const -1))
  (local.set $raw (select (i32.const {RAW[1]}) (i32.const {RAW[0]}) (local.get $slot)))
  (call $straight (local.get $fd) (local.get $raw) (local.get $len))
  (if (i32.eqz (i32.and (i32.load $plan offset={plan.FLAGS} (local.get $at)) (i32.const {plan.F_SPLIT})))
    (then (return (i32.const -1))))
  (if (i32.eqz (local.get $len)) (then (return (i32.const -1))))
  (global.set $careful (i32.const 1))
  (local.set $errno (call $hop (local.get $fd)
    (select (i32.const {STACK[1]}) (i32.const {STACK[0]}) (local.get $slot)) (local.get $depth)
      (local.get $end)))
  (if (i32.eqz (local.get $errno)) (then (return (i32.const -1))))
  (if (i32.eq (local.get $errno) (i32.const 32)) (then
    (if (call $linked) (then (return (call $revoke (i32.const {ERRNO_NOTCAPABLE})))))
    (global.set $careful (i32.const 0))
    (call $straight (local.get $fd) (local.get $raw) (local.get $len))
    (return (i32.const -1))))
  (call $complete (local.get $errno)))
(func $approach1 (param $fd i32) (param $at i32) (param $len i32) (result i32)
  (call $approach (local.get $fd) (local.get $at) (local.get $len) (i32.const 0)
    (global.get $depth) (global.get $end)))
(global $careful (mut i32) (i32.const 0))
(func $nofollow (param $flags i32) (result i32)
  ;; the guest's lookup flags, without following where rules split the mount
  (select (i32.and (local.get $flags) (i32.const -2)) (local.get $flags) (global.get $careful)))
(func $follows (param $flags i32) (result i32)
  (i32.and (global.get $careful) (i32.and (local.get $flags) (i32.const 1))))
(func $file_rule (param $rule i32) (result i32)
  ;; which budget of files is spent: the run's or the rule's
  (if (result i32) (i64.le_s (i64.load $plan (i32.const {plan.FILES_LEFT})) (i64.const 0))
    (then {fixed_rule("limit.files")}) (else (local.get $rule))))
"""

_TAKE = f"""{known()}
(if (i32.eqz (call $is_directory (local.get $at))) (then (call $publish) (return (call $complete %s))))
(if (local.tee $errno (call $target (local.get $at) (local.get $path) (local.get $path_len)))
  (then (return (local.get $errno))))
(local.set $class (call $class_of (global.get $state)))
{counts_call("(call $marks (local.get $class))")}"""

_APPROACH = """(call $publish)
(if (i32.ge_s (local.tee $errno (call $approach1 (local.get $fd) (local.get $at) (local.get $path_len)))
              (i32.const 0)) (then (return (local.get $errno))))
"""

_MAKES = f"""(local.set $rule (call $class_rule (local.get $class) (i32.const %d)))
(if (i32.eqz (call $has_file (local.get $rule)))
  (then (return (call $spent (call $file_rule (local.get $rule)) (i32.const {ERRNO_DQUOT})))))
"""

NAMED = "(global.get $op_fd) (global.get $op_at) (global.get $op_len)"
LOCALS = ("$at i32", "$class i32", "$errno i32", "$rule i32", "$n i32")


def take(name: str, params: tuple[str, ...]) -> str:
    """Begin a call on (`$fd`, `$path`, `$path_len`): its class is in `$class`, or it was refused."""
    return enter(name, "(local.get $fd)") + _TAKE % real(name, params)


def need(right: Right) -> str:
    """Ask for a right at the path in `$class`."""
    return f"(if (call $lacks (local.get $class) (i32.const {int(right)})) {REFUSE})\n"


def _removes(name: str) -> Lowering:
    params = ("fd", "path", "path_len")
    body = f"""{take(name, params)}{need(Right.DELETE)}{_APPROACH}
(local.set $errno (call $probe.{name} {NAMED}))
(call $unhop)
(call $finish (local.get $errno) (local.get $fd) (i32.const 0) (local.get $path_len))"""
    return Lowering(name, params, "target: the path", body, LOCALS)


_MKDIR_PARAMS = ("fd", "path", "path_len")
_MKDIR = f"""{take("path_create_directory", _MKDIR_PARAMS)}{need(Right.CREATE)}{_MAKES % CREATE_BIT}
{_APPROACH}
(local.set $errno (call $probe.path_create_directory {NAMED}))
(call $unhop)
(if (i32.eqz (local.get $errno)) (then (call $use_file (local.get $rule))))
(call $finish (local.get $errno) (local.get $fd) (i32.const 0) (local.get $path_len))"""

_STAT_PARAMS = ("fd", "flags", "path", "path_len", "buf")
_STAT = f"""{take("path_filestat_get", _STAT_PARAMS)}
(i64.store $ring offset={AT["flags"]} (global.get $rec) (i64.shl (i64.extend_i32_u (local.get $flags))
  (i64.const 32)))
(if (i32.eqz (i32.or (call $granted (local.get $class)) (call $is_live (global.get $state))))
  (then (if (call $lacks (local.get $class) (i32.const {int(Right.READ)})) {REFUSE})))
{_APPROACH}
(local.set $errno (call $probe.path_filestat_get (global.get $op_fd) (call $nofollow (local.get $flags))
  (global.get $op_at) (global.get $op_len) (i32.const {BUFFER})))
(if (i32.and (i32.eqz (local.get $errno)) (call $follows (local.get $flags))) (then
  (if (i32.eq (i32.load8_u $scratch (i32.const {BUFFER + 16})) (i32.const {LINK})) (then
    (if (call $linked) {REVOKE})
    (local.set $errno (call $probe.path_filestat_get (local.get $fd) (local.get $flags)
      (i32.const {RAW[0]}) (local.get $path_len) (i32.const {BUFFER})))))))
(if (i32.and (i32.eqz (local.get $errno)) (i32.eqz (call $granted (local.get $class)))) (then
  ;; on the way to what is allowed: a directory may be seen, a file may not
  (if (i32.ne (i32.load8_u $scratch (i32.const {BUFFER + 16})) (i32.const {DIRECTORY})) (then
    (if (call $lacks (local.get $class) (i32.const {int(Right.READ)})) {REVOKE})))))
(call $unhop)
(if (i32.eqz (local.get $errno)) (then (call $aligned (local.get $buf) (i32.const 7))))
;; SECURITY: not the padding behind the file type: it holds what an earlier call left in the scratch memory
(if (i32.eqz (local.get $errno)) (then
  (memory.copy $guest $scratch (i32.add (local.get $buf) (i32.const 24)) (i32.const {BUFFER + 24})
    (i32.const 40))
  (memory.copy $guest $scratch (local.get $buf) (i32.const {BUFFER}) (i32.const 17))
  (call $settle_stat (local.get $buf))))
(call $finish (local.get $errno) (local.get $fd) (local.get $flags) (local.get $path_len))"""

_TIMES_PARAMS = ("fd", "flags", "path", "path_len", "atim", "mtim", "fst_flags")
_TIMES = f"""{take("path_filestat_set_times", _TIMES_PARAMS)}{need(Right.WRITE)}{_APPROACH}
(if (call $follows (local.get $flags)) (then
  (if (call $is_link {NAMED}) (then
    (if (call $linked) {REVOKE})
    (call $straight (local.get $fd) (i32.const {RAW[0]}) (local.get $path_len))
    (global.set $careful (i32.const 0))))))
(local.set $errno (call $probe.path_filestat_set_times (global.get $op_fd) (call $nofollow (local.get $flags))
  (global.get $op_at) (global.get $op_len) (local.get $atim) (local.get $mtim) (local.get $fst_flags)))
(call $unhop)
(call $finish (local.get $errno) (local.get $fd) (local.get $flags) (local.get $path_len))"""

_READLINK_PARAMS = ("fd", "path", "path_len", "buf", "buf_len", "result")
_READLINK = f"""{take("path_readlink", _READLINK_PARAMS)}{need(Right.READ)}{_APPROACH}
(local.set $n (select (local.get $buf_len) (i32.const 4096) (i32.lt_u (local.get $buf_len) (i32.const 4096))))
(local.set $errno (call $probe.path_readlink {NAMED} (i32.const {BUFFER}) (local.get $n)
  (i32.const {RESULT})))
(call $unhop)
(local.set $n (i32.load $scratch (i32.const {RESULT})))
(if (i32.eqz (local.get $errno)) (then
  (memory.copy $guest $scratch (local.get $buf) (i32.const {BUFFER}) (local.get $n))
  (call $aligned (local.get $result) (i32.const 3))
  (i32.store $guest (local.get $result) (local.get $n))))
(call $finish (local.get $errno) (local.get $fd) (i32.const 0) (local.get $path_len))"""

_SYMLINK_PARAMS = ("content", "content_len", "fd", "path", "path_len")
_SYMLINK = f"""{enter("path_symlink", "(local.get $fd)")}{known()}
(if (i32.eqz (call $is_directory (local.get $at)))
  (then (call $publish) (return (call $complete {real("path_symlink", _SYMLINK_PARAMS)}))))
(if (call $fetch (local.get $path) (local.get $path_len) (i32.const {RAW[0]})) (then
  (drop (call $too_long)) (return (call $refuse (i32.const {ERRNO_NAMETOOLONG})))))
(if (call $fetch (local.get $content) (local.get $content_len) (i32.const {RAW[1]})) (then
  (drop (call $too_long)) (return (call $refuse (i32.const {ERRNO_NAMETOOLONG})))))
(call $name_target (local.get $path_len) (local.get $content_len))
(if (local.tee $errno (call $resolve (local.get $at) (local.get $path_len) (i32.const 0)))
  (then (return (local.get $errno))))
(local.set $class (call $class_of (global.get $state)))
{counts_call("(call $marks (local.get $class))")}{need(Right.SYMLINK)}
{_MAKES % RIGHTS.index(Right.SYMLINK)}{_APPROACH}
(local.set $errno (call $probe.path_symlink (i32.const {RAW[1]}) (local.get $content_len) {NAMED}))
(call $unhop)
(if (i32.eqz (local.get $errno)) (then (call $use_file (local.get $rule))))
(call $finish (local.get $errno) (local.get $fd) (i32.const 0) (local.get $path_len))"""

_TARGET = "target: the path"

FUNCTIONS = (
    Lowering("path_create_directory", _MKDIR_PARAMS, _TARGET, _MKDIR, LOCALS),
    Lowering(
        "path_filestat_get", _STAT_PARAMS, f"{_TARGET}; flags: lookup flags, shifted by 32", _STAT, LOCALS
    ),
    Lowering("path_filestat_set_times", _TIMES_PARAMS, _TARGET, _TIMES, LOCALS),
    Lowering("path_readlink", _READLINK_PARAMS, _TARGET, _READLINK, LOCALS),
    _removes("path_remove_directory"),
    Lowering(
        "path_symlink", _SYMLINK_PARAMS, f"{_TARGET} made; target2: what the link says", _SYMLINK, LOCALS
    ),
    _removes("path_unlink_file"),
)
