"""Calls that name two paths: renaming and hard links.

Calls with one path are in `filesystem.py`, whose text is shared here. INVARIANT: neither gives content a
right that it does not have where it is, and a directory moves only between places of the same rights.
"""

from __future__ import annotations

from policy.aliases import CONTENT
from policy.plan import UNIFORM, Right
from sandbox.monitor import tables as plan
from sandbox.monitor.calls.filesystem import CREATE_BIT, DIRECTORY, LOCALS, NAMED, REFUSE, REGULAR, need
from sandbox.monitor.calls.shape import Lowering, enter, known, real
from sandbox.monitor.kernel import AT, ERRNO_DQUOT, ERRNO_NAMETOOLONG, ERRNO_NOTCAPABLE, fixed_rule, word
from sandbox.monitor.layout import Reason
from sandbox.monitor.over_time import counts_call
from sandbox.monitor.paths import BUFFER, LINK, RAW

_LEAVE = f"(call $unhop2) (call $unhop) (return (call $revoke (i32.const {ERRNO_NOTCAPABLE})))"

_PAIR = f"""{known()}
(i32.store $ring offset={AT["fd2"]} (global.get $rec) (local.get $fd2))
(local.set $at2 (call $entry (local.get $fd2)))
(if (i32.eqz (local.get $at2)) (then (return (call $badf))))
(if (i32.eqz (i32.load $plan offset={plan.KIND} (local.get $at2))) (then (return (call $badf))))
(i64.store $ring offset={AT["aux"]} (global.get $rec) (i64.load $plan offset={plan.OPENER} (local.get $at2)))
{counts_call("(call $marks_of (local.get $at2))")}
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
{counts_call("(i32.or (call $marks (local.get $class)) (call $marks (local.get $class2)))")}"""

# SECURITY: a rename or a hard link must not carry content to where the guest may do more with it, be it by
# another mount of the same directory
_WIDENS = f"""(if (i32.and (i32.and (i32.const {int(CONTENT)}) (i32.or (call $rights_of (local.get $class2))
      (i32.load $plan offset={plan.ELSEWHERE} (local.get $at2))))
    (i32.xor (call $rights_of (local.get $class)) (i32.const -1))) (then
  (if (call $deny {fixed_rule("no-widening")} (i32.const {int(Reason.WIDENS)}) (i32.const 0)
    (i32.const 0)) {REFUSE})))
"""

_APPROACH_PAIR = """(call $publish)
(if (i32.ge_s (local.tee $errno (call $approach (local.get $fd2) (local.get $at2) (local.get $path2_len)
      (i32.const 1) (global.get $depth) (global.get $end))) (i32.const 0)) (then (return (local.get $errno))))
(call $keep_as_second)
(if (i32.ge_s (local.tee $errno (call $approach (local.get $fd) (local.get $at) (local.get $path_len)
      (i32.const 0) (local.get $depth) (local.get $end))) (i32.const 0))
  (then (call $unhop2) (return (local.get $errno))))
"""

# SECURITY: nor may it bring a symbolic link to where the guest may make none, or a device to where files are
# opened without a look at what they are
_BRINGS = f"""
(if (i32.and (i32.const {plan.F_PLAIN}) (i32.and (i32.load $plan offset={plan.FLAGS} (local.get $at2))
    (i32.xor (i32.load $plan offset={plan.FLAGS} (local.get $at)) (i32.const -1)))) (then
  (if (i32.eqz (call $probe.path_filestat_get (global.get $op_fd) (i32.const 0) (global.get $op_at)
        (global.get $op_len) (i32.const {BUFFER}))) (then
    (local.set $n (i32.load8_u $scratch (i32.const {BUFFER + 16})))
    (if (i32.eqz (i32.or (i32.eq (local.get $n) (i32.const {REGULAR})) (i32.eq (local.get $n)
      (i32.const {LINK})))) (then
      (drop (call $deny {fixed_rule("file-type")} (i32.const {int(Reason.FILE_TYPE)}) (i32.const 0)
        (i32.const 1)))
      {_LEAVE}))))))
(if (i32.eqz (i32.and (call $granted (local.get $class2)) (i32.const {int(Right.SYMLINK)}))) (then
  (if (call $is_link {NAMED}) (then
    (if (call $lacks (local.get $class2) (i32.const {int(Right.SYMLINK)}))
      (then {_LEAVE}))))))
"""

_CROSSES = "(if (i32.eqz (local.get $errno)) (then (call $crosses (local.get $class) (local.get $class2))))"
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
{need(Right.DELETE)}
(if (call $lacks (local.get $class2) (i32.const {int(Right.CREATE)})) {REFUSE})
{_WIDENS}
(local.set $rule (i32.eqz (i32.and (i32.and
  (i32.eq (call $rights_of (local.get $class)) (call $rights_of (local.get $class2)))
  ;; SECURITY: a descriptor that another mount gave keeps its rights to what is put into the directory later
  (i32.eqz (i32.and (i32.or (i32.load $plan offset={plan.ELSEWHERE} (local.get $at))
      (i32.load $plan offset={plan.ELSEWHERE} (local.get $at2)))
    (i32.xor (call $rights_of (local.get $class)) (i32.const -1)))))
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
        (then {_LEAVE}))))))))
(if (i32.eqz (i32.and (call $granted (local.get $class2)) (i32.const {int(Right.WRITE | Right.DELETE)})))
  (then
  ;; what lies at the target would be lost: that takes a right of its own
  (if (i32.eqz (call $probe.path_filestat_get (global.get $op2_fd) (i32.const 0) (global.get $op2_at)
        (global.get $op2_len) (i32.const {BUFFER}))) (then
    (if (call $lacks (local.get $class2) (i32.const {int(Right.DELETE)}))
      (then {_LEAVE}))))))
(local.set $errno (call $probe.path_rename {NAMED} {_NAMED2}))
(call $unhop2)
(call $unhop)
{_CROSSES}
(call $finish2 (local.get $errno) (local.get $fd) (local.get $path_len) (local.get $fd2)
  (local.get $path2_len))"""

_LINK_PARAMS = ("fd", "flags", "path", "path_len", "fd2", "path2", "path2_len")
_LINK = f"""{enter("path_link", "(local.get $fd)")}{_PAIR % real("path_link", _LINK_PARAMS)}
{need(Right.READ | Right.WRITE)}
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
{_CROSSES}
(call $finish2 (local.get $errno) (local.get $fd) (local.get $path_len) (local.get $fd2)
  (local.get $path2_len))"""

_BOTH = "target: the path; fd2, target2: the second descriptor and path; aux: the opener of fd2"

FUNCTIONS = (
    Lowering("path_link", _LINK_PARAMS, _BOTH, _LINK, _PAIR_LOCALS),
    Lowering("path_rename", _RENAME_PARAMS, _BOTH, _RENAME, _PAIR_LOCALS),
)
