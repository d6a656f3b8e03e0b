"""Opening a path: what is asked for, what the path allows, and the descriptor that comes of it.

The other calls that name a path are in `filesystem.py`. A file that is only read is opened first and looked
at then, since nothing but its type can tell which right it takes; whatever has an effect (making, cutting,
writing) is decided before.
"""

from __future__ import annotations

from policy.plan import Right
from sandbox.monitor import layout as ring
from sandbox.monitor import tables as plan
from sandbox.monitor.calls.filesystem import CREATE_BIT, LOCALS, REFUSE, REVOKE, take
from sandbox.monitor.calls.shape import Lowering
from sandbox.monitor.kernel import (
    AT,
    ERRNO_DQUOT,
    ERRNO_EXIST,
    ERRNO_ISDIR,
    ERRNO_LOOP,
    ERRNO_MFILE,
    ERRNO_NOENT,
    ERRNO_NOTCAPABLE,
    ERRNO_NOTDIR,
    fixed_rule,
    word,
)
from sandbox.monitor.layout import Decision, Reason
from sandbox.monitor.over_time import counts_opening
from sandbox.monitor.paths import BUFFER, RAW, RESULT

_PARAMS = ("fd", "dirflags", "path", "path_len", "oflags", "rights", "inheriting", "fdflags", "result")
_CREAT, _DIRECTORY, _EXCL, _TRUNC = 1, 2, 4, 8
ABSENT = 0x8000
"""Bit of a record's `flags` that no guest sets: with `creat`, nothing was there, so making it was asked."""

_APPEND = 1
_READ, _WRITE = int(Right.READ), int(Right.WRITE)
_REGULAR = 4
_DROP = "(drop (call $probe.fd_close (local.get $new)))"
_REVOKE_NEW = f"(then {_DROP} (return (call $revoke (i32.const {ERRNO_NOTCAPABLE}))))"


def _has(local: str, mask: int) -> str:
    return f"(i32.and (local.get ${local}) (i32.const {mask}))"


def _open(oflags: str, *, rights: str = "(local.get $rights)") -> str:
    """Ask the host, with `oflags`, on the name that was approached."""
    return (
        "(local.set $errno (call $probe.path_open (global.get $op_fd) (call $nofollow (local.get $dirflags))"
        f" (global.get $op_at) (global.get $op_len) {oflags} {rights}"
        f" (local.get $inheriting) (local.get $fdflags) (i32.const {RESULT})))"
    )


_ASKED = f"""
(i64.store $ring offset={AT["flags"]} (global.get $rec)
  (i64.or
    (i64.or (i64.extend_i32_u (i32.and (local.get $oflags) (i32.const {ABSENT - 1})))
            (i64.shl (i64.extend_i32_u (i32.and (local.get $fdflags) (i32.const 0xffff))) (i64.const 16)))
    (i64.or (i64.shl (i64.extend_i32_u {_has("dirflags", 3)}) (i64.const 32))
            (i64.shl (i64.and (local.get $rights) (i64.const 0x3fffffff)) (i64.const 34)))))
(local.set $reads (i32.wrap_i64 (i64.and (i64.shr_u (local.get $rights) (i64.const 1)) (i64.const 1))))
(if {_has("oflags", _DIRECTORY)} (then (local.set $reads (i32.const 0))))
(if (i64.ne (i64.and (local.get $rights) (i64.const 64)) (i64.const 0)) (then
  (local.set $need (i32.const {_WRITE}))
  (if {_has("fdflags", _APPEND)} (then
    (if (i32.eq (i32.and (call $granted (local.get $class)) (i32.const {int(Right.WRITE | Right.APPEND)}))
                (i32.const {int(Right.APPEND)}))
      (then (local.set $need (i32.const {int(Right.APPEND)})) (local.set $append
        (i32.const {plan.F_APPEND}))))))))
(if {_has("oflags", _TRUNC)} (then (local.set $need (i32.or (local.get $need) (i32.const {_WRITE})))))
(if (i32.eq {_has("oflags", _CREAT | _EXCL)} (i32.const {_CREAT | _EXCL}))
  (then (local.set $need (i32.or (local.get $need) (i32.const {int(Right.CREATE)})))))
;; what writes or makes is a file, so reading it too is decided now; else its type decides
(if (i32.and (local.get $need) (i32.const -1)) (then
  (if (local.get $reads) (then (local.set $need (i32.or (local.get $need) (i32.const {_READ})))))))
(if (call $lacks (local.get $class) (local.get $need)) {REFUSE})
(if (i32.eqz (call $is_live (global.get $state))) (then
  (if (call $lacks (local.get $class) (i32.const {_READ})) {REFUSE})))
(if (i64.ge_u (i64.load $ring (i32.const {ring.OPEN_FILES})) (i64.extend_i32_u {word(plan.MAX_OPEN_FILES)}))
  (then (return (call $spent {fixed_rule("limit.open_files")} (i32.const {ERRNO_MFILE})))))
(local.set $rule (call $class_rule (local.get $class) (i32.const {CREATE_BIT})))
(if (i32.eq {_has("oflags", _CREAT | _EXCL)} (i32.const {_CREAT | _EXCL})) (then
  (local.set $made (i32.const 1))
  (if (i32.eqz (call $has_file (local.get $rule)))
    (then (return (call $spent (call $file_rule (local.get $rule)) (i32.const {ERRNO_DQUOT})))))))
"""

# With `creat` the host opens for writing whatever the rights say, and for reading too unless they say to
# write: without it, the rights must say so for the same to happen. What may be done is not decided by this.
_WITHOUT_CREAT = f"""(select (i64.or (local.get $rights) (i64.const 66)) (local.get $rights)
  (i32.and {_has("oflags", _CREAT)} (i64.eqz (i64.and (local.get $rights) (i64.const 64)))))"""

# First without making anything, so that what is made is known to be new: it takes a right and a budget.
_ACT = f"""(call $publish)
(if (i32.ge_s (local.tee $errno (call $approach1 (local.get $fd) (local.get $at) (local.get $path_len)))
              (i32.const 0)) (then (return (local.get $errno))))
(if (i32.and (i32.and (global.get $careful) (global.get $slash)) {_has("oflags", _CREAT)})
  (then (call $unhop) (return (call $complete (i32.const {ERRNO_ISDIR})))))
(local.set $asked (local.get $oflags))
(if (i32.and (global.get $careful) (global.get $slash))
  (then (local.set $asked (i32.or (local.get $asked) (i32.const {_DIRECTORY})))))
;; the host refuses to make a directory in this way, so there nothing is to be taken away
(if (i32.eqz (i32.or (local.get $made) {_has("oflags", _DIRECTORY)}))
  (then (local.set $asked (i32.and (local.get $asked) (i32.const {~_CREAT})))))
{_open("(local.get $asked)", rights=_WITHOUT_CREAT)}
(if (i32.and (i32.eq (local.get $errno) (i32.const {ERRNO_NOTDIR}))
             (i32.and {_has("oflags", _CREAT)} (global.get $slash)))
  (then {_open("(local.get $oflags)")}))
(if (i32.eq (local.get $errno) (i32.const {ERRNO_LOOP})) (then
  (if (call $follows (local.get $dirflags)) (then
    (if (call $is_link (global.get $op_fd) (global.get $op_at) (global.get $op_len)) (then
      (if (call $linked) {REVOKE})
      ;; let through in audit mode; SECURITY: what is made where the link leads counts like all that is made
      (call $unhop)
      (call $straight (local.get $fd) (i32.const {RAW[0]}) (local.get $path_len))
      (global.set $careful (i32.const 0))
      {_open("(local.get $asked)", rights=_WITHOUT_CREAT)}))))))
(if (i32.and (i32.eq (local.get $errno) (i32.const {ERRNO_NOENT}))
             (i32.and {_has("oflags", _CREAT)} (i32.eqz (local.get $made)))) (then
  (i64.store $ring offset={AT["flags"]} (global.get $rec)
    (i64.or (i64.load $ring offset={AT["flags"]} (global.get $rec)) (i64.const {ABSENT})))
  (if (call $lacks (local.get $class) (i32.const {int(Right.CREATE)})) {REVOKE})
  ;; what is made is a file: whether it may be read is decided before it is there
  (if (local.get $reads) (then (if (call $lacks (local.get $class) (i32.const {_READ})) {REVOKE})))
  (if (i32.eqz (call $has_file (local.get $rule))) (then
    (call $unhop)
    (call $mark (i32.const {int(Decision.LIMIT)}) (call $file_rule (local.get $rule))
      (i32.const {int(Reason.BUDGET)}) (i32.const 0))
    (return (call $revoke (i32.const {ERRNO_DQUOT})))))
  (local.set $made (i32.const 1))
  {_open(f"(i32.or (local.get $oflags) (i32.const {_EXCL}))")}
  (if (i32.eq (local.get $errno) (i32.const {ERRNO_EXIST})) (then
    {_open("(local.get $oflags)")}))))
(call $unhop)
(if (local.get $errno) (then (return (call $finish (local.get $errno) (local.get $fd) (local.get $dirflags)
  (local.get $path_len)))))
(local.set $new (i32.load $scratch (i32.const {RESULT})))
(if (local.get $made) (then (call $use_file (local.get $rule))))
"""

_KEEP = f"""
(local.set $kind (i32.const {plan.K_DIRECTORY}))
;; only what is no directory has a position; asking for it is the host's cheapest answer
(if (i32.eqz (call $probe.fd_tell (local.get $new) (i32.const {BUFFER}))) (then
  (local.set $kind (i32.const {plan.K_FILE}))
  (if (i32.eqz (i32.and (i32.load $plan offset={plan.FLAGS} (local.get $at)) (i32.const {plan.F_PLAIN})))
    (then
    (drop (call $probe.fd_fdstat_get (local.get $new) (i32.const {BUFFER})))
    (local.set $n (i32.load8_u $scratch (i32.const {BUFFER}))))
    (else (local.set $n (i32.const {_REGULAR}))))
  (if (i32.ne (local.get $n) (i32.const {_REGULAR})) (then
    (if (call $deny {fixed_rule("file-type")} (i32.const {int(Reason.FILE_TYPE)}) (i32.const 0) (i32.const 1))
      {_REVOKE_NEW})))
  (if (i32.or (local.get $reads) (i32.eqz (call $granted (local.get $class)))) (then
    (if (call $lacks (local.get $class) (i32.const {_READ})) {_REVOKE_NEW})))))
(local.set $slot (call $host_entry (local.get $new)))
(if (i32.eqz (local.get $slot)) (then
  {_DROP}
  (call $mark (i32.const {int(Decision.LIMIT)}) {fixed_rule("limit.open_files")}
    (i32.const {int(Reason.BUDGET)}) (i32.const 0))
  (return (call $revoke (i32.const {ERRNO_MFILE})))))
(i32.store $plan offset={plan.KIND} (local.get $slot) (local.get $kind))
(i32.store $plan offset={plan.STATE} (local.get $slot) (global.get $state))
(i32.store $plan offset={plan.FLAGS} (local.get $slot)
  (i32.or (i32.or (local.get $append) (i32.const {plan.F_COUNTED}))
    (i32.and (i32.load $plan offset={plan.FLAGS} (local.get $at)) (i32.const {plan.F_SPLIT | plan.F_PLAIN}))))
(i64.store $plan offset={plan.OPENER} (local.get $slot) (i64.sub (global.get $head) (i64.const 1)))
(i32.store $plan offset={plan.RULE} (local.get $slot)
  (call $class_rule (local.get $class) (if (result i32) (local.get $append) (then (i32.const 4)) (else
    (i32.const 3)))))
(i32.store $plan offset={plan.CLASS} (local.get $slot) (local.get $class))
(i32.store $plan offset={plan.ELSEWHERE} (local.get $slot)
  (i32.load $plan offset={plan.ELSEWHERE} (local.get $at)))
(i32.store $ring offset={AT["fd2"]} (global.get $rec) (local.get $new))
(call $bump (i32.const {ring.OPEN_FILES}) (i64.const 1))
{counts_opening("(call $marks (local.get $class))")}(call $aligned (local.get $result) (i32.const 3))
(i32.store $guest (local.get $result) (local.get $new))
(call $complete (i32.const 0))"""

_NAMES = ("$reads", "$need", "$append", "$made", "$asked", "$new", "$kind", "$slot")

FUNCTIONS = (
    Lowering(
        "path_open",
        _PARAMS,
        "target: the path; fd2: the descriptor made; flags: oflags (and bit 15: nothing was there, so making "
        "it was asked), fdflags from bit 16, lookup flags from bit 32, rights from bit 34",
        take("path_open", _PARAMS) + _ASKED + _ACT + _KEEP,
        (*LOCALS, *(f"{name} i32" for name in _NAMES)),
    ),
)
