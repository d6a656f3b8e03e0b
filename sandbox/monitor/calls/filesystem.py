"""Calls that name a path: opening, making, removing, renaming, linking and asking about files.

How a path becomes an automaton state, and how links are kept from widening access, is in
`sandbox/monitor/paths.py`; opening, the longest of the family, is in `opening.py`. INVARIANT: each call
is decided for every path it names before the host sees any of them.
"""

from __future__ import annotations

from policy.plan import RIGHTS, UNIFORM, Right
from sandbox.monitor import tables as plan
from sandbox.monitor.calls.shape import Lowering, enter, known, real
from sandbox.monitor.kernel import (
    AT,
    ERRNO_DQUOT,
    ERRNO_NAMETOOLONG,
    ERRNO_NOTCAPABLE,
    ERRNO_PERM,
    fixed_rule,
    word,
)
from sandbox.monitor.layout import Reason
from sandbox.monitor.paths import BUFFER, NORMAL, RAW, RESULT

CREATE_BIT = RIGHTS.index(Right.CREATE)
REFUSE = f"(then (return (call $refuse (i32.const {ERRNO_NOTCAPABLE}))))"
REVOKE = f"(then (call $unhop) (return (call $revoke (i32.const {ERRNO_NOTCAPABLE}))))"
DIRECTORY, LINK = 3, 7  # file types in a filestat, at offset 16
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
    (select (i32.const {STACK[1]}) (i32.const {STACK[0]}) (local.get $slot)) (local.get $depth) (local.get $end)))
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
(func $rights_of (param $class i32) (result i32) (i32.load $plan (local.get $class)))
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
"""

_APPROACH = """(call $publish)
(if (i32.ge_s (local.tee $errno (call $approach1 (local.get $fd) (local.get $at) (local.get $path_len)))
              (i32.const 0)) (then (return (local.get $errno))))
"""

_MAKES = f"""(local.set $rule (call $class_rule (local.get $class) (i32.const %d)))
(if (i32.eqz (call $has_file (local.get $rule)))
  (then (return (call $spent (call $file_rule (local.get $rule)) (i32.const {ERRNO_DQUOT})))))
"""

_NAMED = "(global.get $op_fd) (global.get $op_at) (global.get $op_len)"
LOCALS = ("$at i32", "$class i32", "$errno i32", "$rule i32", "$n i32")


def take(name: str, params: tuple[str, ...]) -> str:
    """Begin a call on (`$fd`, `$path`, `$path_len`): its class is in `$class`, or it was refused."""
    return enter(name, "(local.get $fd)") + _TAKE % real(name, params)


def _need(right: Right) -> str:
    return f"(if (call $lacks (local.get $class) (i32.const {int(right)})) {REFUSE})\n"


def _removes(name: str) -> Lowering:
    params = ("fd", "path", "path_len")
    body = f"""{take(name, params)}{_need(Right.DELETE)}{_APPROACH}
(local.set $errno (call $probe.{name} {_NAMED}))
(call $unhop)
(call $complete (local.get $errno))"""
    return Lowering(name, params, "target: the path", body, LOCALS)


_MKDIR_PARAMS = ("fd", "path", "path_len")
_MKDIR = f"""{take("path_create_directory", _MKDIR_PARAMS)}{_need(Right.CREATE)}{_MAKES % CREATE_BIT}{_APPROACH}
(local.set $errno (call $probe.path_create_directory {_NAMED}))
(call $unhop)
(if (i32.eqz (local.get $errno)) (then (call $use_file (local.get $rule))))
(call $complete (local.get $errno))"""

_STAT_PARAMS = ("fd", "flags", "path", "path_len", "buf")
_STAT = f"""{take("path_filestat_get", _STAT_PARAMS)}
(i64.store $ring offset={AT["flags"]} (global.get $rec) (i64.shl (i64.extend_i32_u (local.get $flags)) (i64.const 32)))
(if (i32.eqz (i32.or (call $rights_of (local.get $class)) (i32.and (call $flags_of (global.get $state)) (i32.const 1))))
  (then (if (call $lacks (local.get $class) (i32.const {int(Right.READ)})) {REFUSE})))
{_APPROACH}
(local.set $errno (call $probe.path_filestat_get (global.get $op_fd) (call $nofollow (local.get $flags))
  (global.get $op_at) (global.get $op_len) (i32.const {BUFFER})))
(if (i32.and (i32.eqz (local.get $errno)) (call $follows (local.get $flags))) (then
  (if (i32.eq (i32.load8_u $scratch (i32.const {BUFFER + 16})) (i32.const {LINK})) (then
    (if (call $linked) {REVOKE})
    (local.set $errno (call $probe.path_filestat_get (local.get $fd) (local.get $flags)
      (i32.const {RAW[0]}) (local.get $path_len) (i32.const {BUFFER})))))))
(if (i32.and (i32.eqz (local.get $errno)) (i32.eqz (call $rights_of (local.get $class)))) (then
  ;; on the way to what is allowed: a directory may be seen, a file may not
  (if (i32.ne (i32.load8_u $scratch (i32.const {BUFFER + 16})) (i32.const {DIRECTORY})) (then
    (if (call $lacks (local.get $class) (i32.const {int(Right.READ)})) {REVOKE})))))
(call $unhop)
(if (i32.eqz (local.get $errno)) (then (call $aligned (local.get $buf) (i32.const 7))))
;; SECURITY: not the padding behind the file type: it holds what an earlier call left in the scratch memory
(if (i32.eqz (local.get $errno)) (then
  (memory.copy $guest $scratch (i32.add (local.get $buf) (i32.const 24)) (i32.const {BUFFER + 24}) (i32.const 40))
  (memory.copy $guest $scratch (local.get $buf) (i32.const {BUFFER}) (i32.const 17))))
(call $complete (local.get $errno))"""

_TIMES_PARAMS = ("fd", "flags", "path", "path_len", "atim", "mtim", "fst_flags")
_TIMES = f"""{take("path_filestat_set_times", _TIMES_PARAMS)}{_need(Right.WRITE)}{_APPROACH}
(if (call $follows (local.get $flags)) (then
  (if (call $is_link {_NAMED}) (then
    (if (call $linked) {REVOKE})
    (call $straight (local.get $fd) (i32.const {RAW[0]}) (local.get $path_len))
    (global.set $careful (i32.const 0))))))
(local.set $errno (call $probe.path_filestat_set_times (global.get $op_fd) (call $nofollow (local.get $flags))
  (global.get $op_at) (global.get $op_len) (local.get $atim) (local.get $mtim) (local.get $fst_flags)))
(call $unhop)
(call $complete (local.get $errno))"""

_READLINK_PARAMS = ("fd", "path", "path_len", "buf", "buf_len", "result")
_READLINK = f"""{take("path_readlink", _READLINK_PARAMS)}{_need(Right.READ)}{_APPROACH}
(local.set $n (select (local.get $buf_len) (i32.const 4096) (i32.lt_u (local.get $buf_len) (i32.const 4096))))
(local.set $errno (call $probe.path_readlink {_NAMED} (i32.const {BUFFER}) (local.get $n) (i32.const {RESULT})))
(call $unhop)
(local.set $n (i32.load $scratch (i32.const {RESULT})))
(if (i32.eqz (local.get $errno)) (then
  (memory.copy $guest $scratch (local.get $buf) (i32.const {BUFFER}) (local.get $n))
  (call $aligned (local.get $result) (i32.const 3))
  (i32.store $guest (local.get $result) (local.get $n))))
(call $complete (local.get $errno))"""

# --- two paths ---------------------------------------------------------------------------------
_PAIR = f"""{known()}
(i32.store $ring offset={AT["fd2"]} (global.get $rec) (local.get $fd2))
(local.set $at2 (call $entry (local.get $fd2)))
(if (i32.eqz (local.get $at2)) (then (return (call $badf))))
(if (i32.eqz (i32.load $plan offset={plan.KIND} (local.get $at2))) (then (return (call $badf))))
(i64.store $ring offset={AT["aux"]} (global.get $rec) (i64.load $plan offset={plan.OPENER} (local.get $at2)))
(if (i32.eqz (i32.and (call $is_directory (local.get $at)) (call $is_directory (local.get $at2))))
  (then (call $publish) (return (call $complete %s))))
(if (call $fetch (local.get $path) (local.get $path_len) (i32.const {RAW[0]})) (then
  (drop (call $too_long)) (return (call $refuse (i32.const {ERRNO_NAMETOOLONG})))))
(if (call $fetch (local.get $path2) (local.get $path2_len) (i32.const {RAW[1]})) (then
  (drop (call $too_long)) (return (call $refuse (i32.const {ERRNO_NAMETOOLONG})))))
(call $name_target (local.get $path_len) (local.get $path2_len))
(if (local.tee $errno (call $resolve (local.get $at) (local.get $path_len) (i32.const 0)))
  (then (return (local.get $errno))))
(local.set $state (global.get $state))
(local.set $depth (global.get $depth))
(local.set $end (global.get $end))
(local.set $class (call $class_of (local.get $state)))
(if (local.tee $errno (call $resolve (local.get $at2) (local.get $path2_len) (i32.const 1)))
  (then (return (local.get $errno))))
(local.set $class2 (call $class_of (global.get $state)))
"""

# SECURITY: a rename or a hard link must not carry content to where the guest may do more with it
_WIDENS = f"""(if (i32.and (i32.and (call $rights_of (local.get $class2)) (i32.const {_CONTENT}))
    (i32.xor (call $rights_of (local.get $class)) (i32.const -1))) (then
  (if (call $deny {fixed_rule("no-widening")} (i32.const {int(Reason.WIDENS)}) (i32.const 0) (i32.const 0)) {REFUSE})))
"""

_APPROACH_PAIR = """(call $publish)
(if (i32.ge_s (local.tee $errno (call $approach (local.get $fd2) (local.get $at2) (local.get $path2_len)
      (i32.const 1) (global.get $depth) (global.get $end))) (i32.const 0)) (then (return (local.get $errno))))
(call $keep_as_second)
(if (i32.ge_s (local.tee $errno (call $approach (local.get $fd) (local.get $at) (local.get $path_len)
      (i32.const 0) (local.get $depth) (local.get $end))) (i32.const 0))
  (then (call $unhop2) (return (local.get $errno))))
"""

# SECURITY: nor may it bring a symbolic link to where the guest may make none
_BRINGS = f"""(if (i32.eqz (i32.and (call $rights_of (local.get $class2)) (i32.const {int(Right.SYMLINK)}))) (then
  (if (call $is_link {_NAMED}) (then
    (if (call $lacks (local.get $class2) (i32.const {int(Right.SYMLINK)}))
      (then (call $unhop2) (call $unhop) (return (call $revoke (i32.const {ERRNO_NOTCAPABLE})))))))))
"""

_NAMED2 = "(global.get $op2_fd) (global.get $op2_at) (global.get $op2_len)"
_PAIR_LOCALS = (
    *LOCALS,
    "$at2 i32",
    "$class2 i32",
    "$state i32",
    "$depth i32",
    "$end i32",
)

_RENAME_PARAMS = ("fd", "path", "path_len", "fd2", "path2", "path2_len")
_RENAME = f"""{enter("path_rename", "(local.get $fd)")}{_PAIR % real("path_rename", _RENAME_PARAMS)}
{_need(Right.DELETE)}
(if (call $lacks (local.get $class2) (i32.const {int(Right.CREATE)})) {REFUSE})
{_WIDENS}
(local.set $rule (i32.eqz (i32.and
  (i32.eq (call $rights_of (local.get $class)) (call $rights_of (local.get $class2)))
  (i32.eq (i32.const {int(UNIFORM)}) (i32.and (i32.const {int(UNIFORM)})
    (i32.and (call $flags_of (local.get $state)) (call $flags_of (global.get $state))))))))
{_APPROACH_PAIR}{_BRINGS}
(if (local.get $rule) (then
  ;; a directory takes what is below it along, and descriptors open in it keep what they were granted:
  ;; it may move only between places that have the same rights throughout
  (if (i32.eqz (call $probe.path_filestat_get (global.get $op_fd) (i32.const 0) (global.get $op_at)
        (global.get $op_len) (i32.const {BUFFER}))) (then
    (if (i32.eq (i32.load8_u $scratch (i32.const {BUFFER + 16})) (i32.const {DIRECTORY})) (then
      ;; a directory that may hold what is denied to every policy does not move in audit mode either
      (if (call $deny {fixed_rule("no-widening")} (i32.const {int(Reason.WIDENS)}) (i32.const 0)
            (i32.and {word(plan.HARD_LINKS)} (i32.ne (i32.const {int(UNIFORM)})
              (i32.and (i32.const {int(UNIFORM)}) (call $flags_of (local.get $state))))))
        (then (call $unhop2) (call $unhop) (return (call $revoke (i32.const {ERRNO_NOTCAPABLE})))))))))))
(if (i32.eqz (i32.and (call $rights_of (local.get $class2)) (i32.const {int(Right.WRITE | Right.DELETE)}))) (then
  ;; what lies at the target would be lost: that takes a right of its own
  (if (i32.eqz (call $probe.path_filestat_get (global.get $op2_fd) (i32.const 0) (global.get $op2_at)
        (global.get $op2_len) (i32.const {BUFFER}))) (then
    (if (call $lacks (local.get $class2) (i32.const {int(Right.DELETE)}))
      (then (call $unhop2) (call $unhop) (return (call $revoke (i32.const {ERRNO_NOTCAPABLE})))))))))
(local.set $errno (call $probe.path_rename {_NAMED} {_NAMED2}))
(call $unhop2)
(call $unhop)
(call $complete (local.get $errno))"""

_LINK_PARAMS = ("fd", "flags", "path", "path_len", "fd2", "path2", "path2_len")
_LINK = f"""{enter("path_link", "(local.get $fd)")}{_PAIR % real("path_link", _LINK_PARAMS)}
{_need(Right.READ | Right.WRITE)}
(if (call $lacks (local.get $class2) (i32.const {int(Right.CREATE)})) {REFUSE})
{_WIDENS}
(local.set $rule (call $class_rule (local.get $class2) (i32.const {CREATE_BIT})))
(if (i32.eqz (call $has_file (local.get $rule)))
  (then (return (call $spent (call $file_rule (local.get $rule)) (i32.const {ERRNO_DQUOT})))))
{_APPROACH_PAIR}{_BRINGS}
(local.set $errno (call $probe.path_link (global.get $op_fd) (local.get $flags) (global.get $op_at)
  (global.get $op_len) {_NAMED2}))
(call $unhop2)
(call $unhop)
(if (i32.eqz (local.get $errno)) (then (call $use_file (local.get $rule))))
(call $complete (local.get $errno))"""

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
{_need(Right.SYMLINK)}{_MAKES % RIGHTS.index(Right.SYMLINK)}{_APPROACH}
(local.set $errno (call $probe.path_symlink (i32.const {RAW[1]}) (local.get $content_len) {_NAMED}))
(call $unhop)
(if (i32.eqz (local.get $errno)) (then (call $use_file (local.get $rule))))
(call $complete (local.get $errno))"""

_TARGET = "target: the path"
_BOTH = "target: the path; fd2, target2: the second descriptor and path; aux: the opener of fd2"

FUNCTIONS = (
    Lowering("path_create_directory", _MKDIR_PARAMS, _TARGET, _MKDIR, LOCALS),
    Lowering("path_filestat_get", _STAT_PARAMS, f"{_TARGET}; flags: lookup flags, shifted by 32", _STAT, LOCALS),
    Lowering("path_filestat_set_times", _TIMES_PARAMS, _TARGET, _TIMES, LOCALS),
    Lowering("path_link", _LINK_PARAMS, _BOTH, _LINK, _PAIR_LOCALS),
    Lowering("path_readlink", _READLINK_PARAMS, _TARGET, _READLINK, LOCALS),
    _removes("path_remove_directory"),
    Lowering("path_rename", _RENAME_PARAMS, _BOTH, _RENAME, _PAIR_LOCALS),
    Lowering("path_symlink", _SYMLINK_PARAMS, f"{_TARGET} made; target2: what the link says", _SYMLINK, LOCALS),
    _removes("path_unlink_file"),
)
