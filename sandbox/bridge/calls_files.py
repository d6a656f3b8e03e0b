"""Files and directories: `wasi:filesystem`.

Not as the specification has it: a stream that appends starts at the end as it was when it was made, and a
folder is not written through. It is longer than most: it has one interface of thirty functions.
"""

from __future__ import annotations

from sandbox.bridge.kernel import (
    AT,
    BY_POSITION,
    COUNT,
    ENTRIES,
    ENTRIES_BYTES,
    FD,
    FILE_TYPES_AT,
    IOVEC,
    K_DESCRIPTOR,
    K_ENTRIES,
    K_ERROR,
    K_INPUT,
    K_OUTPUT,
    NUMBER,
    STAT,
)
from sandbox.bridge.shape import Body, answered, p

_MOST = 1 << 20  # bytes that one call moves at most
_MOST_MOUNTS = 4_096
_BADF, _ISDIR, _NOTDIR, _NOTSUP = 8, 31, 54, 58
_DIRECTORY = 3  # WASI 0.1, filetype

# Rights of WASI 0.1: what a descriptor is opened for, and what follows from that.
_READ, _WRITE = 1 << 1, 1 << 6
_READING = _READ | 1 << 2 | 1 << 5 | 1 << 13 | 1 << 14 | 1 << 15 | 1 << 18 | 1 << 21 | 1 << 27
_WRITING = _WRITE | 1 << 0 | 1 << 4 | 1 << 8 | 1 << 22 | 1 << 23
_CHANGING = 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 16 | 1 << 17 | 1 << 20 | 1 << 24 | 1 << 25 | 1 << 26

SUPPORT = f"""
(global $has_mounts (mut i32) (i32.const 0))
;; whose entries lie in the memory, where the next one begins, and where they end
(global $listed (mut i32) (i32.const 0))
(global $next (mut i32) (i32.const 0))
(global $end (mut i32) (i32.const 0))
(func $file_type (param $type i32) (result i32)
  (i32.load8_u $facts offset={FILE_TYPES_AT} (i32.and (local.get $type) (i32.const 7))))
(func $maybe_time (param $to i32) (param $ns i64)
  (i32.store8 $b (local.get $to) (i32.const 1))
  (call $datetime (i32.add (local.get $to) (i32.const 8)) (local.get $ns)))
(func $stat (param $to i32) (param $errno i32)
  (call $answer (local.get $to) (i32.const 8) (local.get $errno))
  (if (local.get $errno) (then (return)))
  (i32.store8 $b offset=8 (local.get $to) (call $file_type (i32.load8_u $b (i32.const {STAT + 16}))))
  (i64.store $b offset=16 (local.get $to) (i64.load $b (i32.const {STAT + 24})))
  (i64.store $b offset=24 (local.get $to) (i64.load $b (i32.const {STAT + 32})))
  (call $maybe_time (i32.add (local.get $to) (i32.const 32)) (i64.load $b (i32.const {STAT + 40})))
  (call $maybe_time (i32.add (local.get $to) (i32.const 56)) (i64.load $b (i32.const {STAT + 48})))
  (call $maybe_time (i32.add (local.get $to) (i32.const 80)) (i64.load $b (i32.const {STAT + 56}))))
(func $mixed (param $one i64) (param $other i64) (result i64)
  (local.set $one (i64.mul (i64.xor (local.get $one) (i64.rotl (local.get $other) (i64.const 29)))
    (i64.const 0x9e3779b97f4a7c15)))
  (i64.mul (i64.xor (local.get $one) (i64.shr_u (local.get $one) (i64.const 32)))
    (i64.const 0xd6e8feb86659fd93)))
(func $hash (param $to i32) (param $errno i32)
  ;; of which file it is: the same for two names of one
  (call $answer (local.get $to) (i32.const 8) (local.get $errno))
  (if (local.get $errno) (then (return)))
  (i64.store $b offset=8 (local.get $to)
    (call $mixed (i64.load $b (i32.const {STAT})) (i64.load $b (i32.const {STAT + 8}))))
  (i64.store $b offset=16 (local.get $to)
    (call $mixed (i64.load $b (i32.const {STAT + 8})) (i64.load $b (i32.const {STAT})))))
(func $ns (param $tag i32) (param $seconds i64) (param $nanoseconds i32) (result i64)
  (if (i32.gt_u (local.get $tag) (i32.const 2)) (then (unreachable)))
  (i64.add (i64.mul (local.get $seconds) (i64.const 1000000000)) (i64.extend_i32_u (local.get $nanoseconds))))
(func $times (param $accessed i32) (param $modified i32) (result i32)
  ;; fstflags: atim 1, atim_now 2, mtim 4, mtim_now 8
  (i32.or
    (select (i32.const 1) (i32.shl (local.get $accessed) (i32.const 1))
      (i32.eq (local.get $accessed) (i32.const 2)))
    (i32.shl (select (i32.const 1) (i32.shl (local.get $modified) (i32.const 1))
      (i32.eq (local.get $modified) (i32.const 2))) (i32.const 2))))
(func $fdflags (param $flags i32) (result i32)
  (i32.or (i32.shl (i32.and (local.get $flags) (i32.const 4)) (i32.const 2))
    (i32.or (i32.shr_u (i32.and (local.get $flags) (i32.const 8)) (i32.const 2))
            (i32.shr_u (i32.and (local.get $flags) (i32.const 16)) (i32.const 1)))))
(func $rights (param $flags i32) (result i64)
  (i64.or (select (i64.const {_READING}) (i64.const 0) (i32.and (local.get $flags) (i32.const 1)))
    (i64.or (select (i64.const {_WRITING}) (i64.const 0) (i32.and (local.get $flags) (i32.const 2)))
            (select (i64.const {_CHANGING}) (i64.const 0) (i32.and (local.get $flags) (i32.const 32))))))
(func $within (param $errno i32) (result i32)
  ;; the descriptor is one, so a call of WASI 0.1 that does not take it wants a folder
  (select (i32.const {_NOTDIR}) (local.get $errno) (i32.eq (local.get $errno) (i32.const {_BADF}))))
(func $through (param $errno i32) (result i32)
  ;; WASI 0.1 has no way to write a folder through
  (select (i32.const {_NOTSUP}) (local.get $errno) (i32.eq (local.get $errno) (i32.const {_BADF}))))
(func $via (param $handle i32) (param $kind i32) (param $at i64) (param $to i32)
  (local $fd i32) (local $errno i32)
  (local.set $fd (call $fd (local.get $handle)))
  (local.set $errno (call $fd_fdstat_get (local.get $fd) (i32.const {STAT})))
  (if (i32.eqz (local.get $errno)) (then
    (if (i32.eq (i32.load8_u $b (i32.const {STAT})) (i32.const {_DIRECTORY}))
      (then (local.set $errno (select (i32.const {_ISDIR}) (i32.const {_BADF})
        (i32.eq (local.get $kind) (i32.const {K_INPUT}))))))))
  (call $answer (local.get $to) (i32.const 4) (local.get $errno))
  (if (i32.eqz (local.get $errno)) (then (i32.store $b offset=4 (local.get $to)
    (call $new_use (local.get $kind) (local.get $fd) (local.get $at) (i32.const {BY_POSITION}))))))
(func $list (param $fd i32) (param $cookie i64) (result i32) (local $errno i32)
  (global.set $listed (i32.const 0))
  (local.set $errno (call $within (call $fd_readdir (local.get $fd) (i32.const {ENTRIES})
    (i32.const {ENTRIES_BYTES}) (local.get $cookie) (i32.const {COUNT}))))
  (if (i32.eqz (local.get $errno)) (then
    (global.set $next (i32.const {ENTRIES}))
    (global.set $end (i32.add (i32.const {ENTRIES}) (i32.load $b (i32.const {COUNT}))))))
  (local.get $errno))
(func $is_whole (result i32)
  ;; whether the next entry is there, name and all
  (if (i32.gt_u (i32.add (global.get $next) (i32.const 24)) (global.get $end)) (then (return (i32.const 0))))
  (i64.le_u (i64.add (i64.extend_i32_u (i32.add (global.get $next) (i32.const 24)))
      (i64.load32_u $b offset=16 (global.get $next)))
    (i64.extend_i32_u (global.get $end))))
(func $is_dots (result i32) (local $n i32)
  (local.set $n (i32.load $b offset=16 (global.get $next)))
  (if (i32.eq (local.get $n) (i32.const 1))
    (then (return (i32.eq (i32.load8_u $b offset=24 (global.get $next)) (i32.const 46)))))
  (i32.and (i32.eq (local.get $n) (i32.const 2))
    (i32.eq (i32.load16_u $b offset=24 (global.get $next)) (i32.const 0x2e2e))))
"""

_AT_ENTRIES = f"(call $get {p(0)} (i32.const {K_ENTRIES}))"
# One after the other, from the memory as long as there is one, else from the host; then there are no more.
_ENTRY = f"""
(local.set $at {_AT_ENTRIES})
(block $found (loop $more
  (if (i32.and (i32.eq (global.get $listed) {p(0)}) (call $is_whole)) (then
    (i64.store $handles offset={AT} (local.get $at) (i64.load $b (global.get $next)))
    (if (i32.eqz (call $is_dots)) (then (br $found)))
    (global.set $next (i32.add (global.get $next)
      (i32.add (i32.const 24) (i32.load $b offset=16 (global.get $next)))))
    (br $more)))
  (local.set $is_asked (i32.const 1))
  (local.set $errno (call $list (i32.load $handles offset={FD} (local.get $at))
    (i64.load $handles offset={AT} (local.get $at))))
  (call $answer (local.get $to) (i32.const 4) (local.get $errno))
  (if (local.get $errno) (then (return)))
  (global.set $listed {p(0)})
  (br_if $more (call $is_whole))
  (i32.store8 $b offset=4 (local.get $to) (i32.const 0))
  (return)))
(if (i32.eqz (local.get $is_asked)) (then
  (drop (call $note (i32.load $handles offset={FD} (local.get $at))))))
(i32.store8 $b (local.get $to) (i32.const 0))
(i32.store8 $b offset=4 (local.get $to) (i32.const 1))
(i32.store8 $b offset=8 (local.get $to)
  (call $file_type (i32.load8_u $b offset=20 (global.get $next))))
(i32.store $b offset=12 (local.get $to) (i32.add (global.get $next) (i32.const 24)))
(i32.store $b offset=16 (local.get $to) (i32.load $b offset=16 (global.get $next)))
(global.set $next (i32.add (global.get $next)
  (i32.add (i32.const 24) (i32.load $b offset=16 (global.get $next)))))"""

_READ_DIRECTORY = f"""
(local.set $fd (call $fd {p(0)}))
(local.set $errno (call $list (local.get $fd) (i64.const 0)))
(call $answer (local.get $to) (i32.const 4) (local.get $errno))
(if (i32.eqz (local.get $errno)) (then
  (global.set $listed
    (call $new_use (i32.const {K_ENTRIES}) (local.get $fd) (i64.const 0) (i32.const 0)))
  (i32.store $b offset=4 (local.get $to) (global.get $listed))))"""

_DROP_ENTRIES = f"""
(if (i32.eq (global.get $listed) {p(0)}) (then (global.set $listed (i32.const 0))))
(call $drop {p(0)} (i32.const {K_ENTRIES}))"""

_MOUNTS = f"""
(local.set $out (call $room (i32.const {12 * _MOST_MOUNTS})))
(i32.store $b (local.get $to) (local.get $out))
(local.set $fd (i32.const 3))
(block $end (loop $next
  (br_if $end (i32.ge_u (local.get $n) (i32.const {_MOST_MOUNTS})))
  (br_if $end (call $fd_prestat_get (local.get $fd) (i32.const {NUMBER})))
  (local.set $len (i32.load $b (i32.const {NUMBER + 4})))
  (local.set $at (call $room (local.get $len)))
  (call $must (call $fd_prestat_dir_name (local.get $fd) (local.get $at) (local.get $len)))
  ;; a mount stays, whoever drops it
  (if (i32.eqz (global.get $has_mounts)) (then (call $use (local.get $fd))))
  (i32.store $b (local.get $out) (call $new_use (i32.const {K_DESCRIPTOR}) (local.get $fd) (i64.const 63)
    (i32.const 0)))
  (i32.store $b offset=4 (local.get $out) (local.get $at))
  (i32.store $b offset=8 (local.get $out) (local.get $len))
  (local.set $out (i32.add (local.get $out) (i32.const 12)))
  (local.set $fd (i32.add (local.get $fd) (i32.const 1)))
  (local.set $n (i32.add (local.get $n) (i32.const 1)))
  (br $next)))
(global.set $has_mounts (i32.const 1))
(i32.store $b offset=4 (local.get $to) (local.get $n))"""

_APPEND = f"""
(local.set $fd (call $fd {p(0)}))
(local.set $errno (call $fd_filestat_get (local.get $fd) (i32.const {STAT})))
(if (i32.and (i32.eqz (local.get $errno))
             (i32.eq (i32.load8_u $b (i32.const {STAT + 16})) (i32.const {_DIRECTORY})))
  (then (local.set $errno (i32.const {_BADF}))))
(call $answer (local.get $to) (i32.const 4) (local.get $errno))
(if (i32.eqz (local.get $errno)) (then (i32.store $b offset=4 (local.get $to)
  (call $new_use (i32.const {K_OUTPUT}) (local.get $fd) (i64.load $b (i32.const {STAT + 32}))
    (i32.const {BY_POSITION})))))"""

_FLAGS = f"""
(local.set $errno (call $fd_fdstat_get (call $fd {p(0)}) (i32.const {STAT})))
(call $answer (local.get $to) (i32.const 1) (local.get $errno))
(if (i32.eqz (local.get $errno)) (then
  (local.set $flags (i32.load16_u $b (i32.const {STAT + 2})))
  (local.set $rights (i64.load $b (i32.const {STAT + 8})))
  (i32.store8 $b offset=1 (local.get $to)
    (i32.or (i32.or
      (i64.ne (i64.const 0) (i64.and (local.get $rights) (i64.const {_READ | 1 << 14})))
      (i32.shl (i64.ne (i64.const 0) (i64.and (local.get $rights) (i64.const {_WRITE}))) (i32.const 1)))
    (i32.or
      (i32.or (i32.shr_u (i32.and (local.get $flags) (i32.const 16)) (i32.const 2))
              (i32.shl (i32.and (local.get $flags) (i32.const 2)) (i32.const 2)))
      (i32.or (i32.shl (i32.and (local.get $flags) (i32.const 8)) (i32.const 1))
        (i32.shl (i32.and (i64.ne (i64.const 0) (i64.and (local.get $rights) (i64.const {1 << 9})))
            (i32.wrap_i64 (i64.shr_u (i64.load $handles offset={AT} (call $entry {p(0)})) (i64.const 5))))
          (i32.const 5))))))))"""

_TYPE = f"""
(local.set $errno (call $fd_fdstat_get (call $fd {p(0)}) (i32.const {STAT})))
(call $answer (local.get $to) (i32.const 1) (local.get $errno))
(if (i32.eqz (local.get $errno)) (then
  (i32.store8 $b offset=1 (local.get $to) (call $file_type (i32.load8_u $b (i32.const {STAT}))))))"""

_READ_AT = f"""
(local.set $n (i32.wrap_i64 (select {p(1)} (i64.const {_MOST}) (i64.lt_u {p(1)} (i64.const {_MOST})))))
(call $vector (call $room (local.get $n)) (local.get $n))
(local.set $errno (call $fd_pread (call $fd {p(0)}) (i32.const {IOVEC}) (i32.const 1) {p(2)}
  (i32.const {COUNT})))
(call $answer (local.get $to) (i32.const 4) (local.get $errno))
(if (i32.eqz (local.get $errno)) (then
  (i32.store $b offset=4 (local.get $to) (i32.load $b (i32.const {IOVEC})))
  (i32.store $b offset=8 (local.get $to) (i32.load $b (i32.const {COUNT})))
  (i32.store8 $b offset=12 (local.get $to) (i32.eqz (i32.load $b (i32.const {COUNT}))))))"""

_WRITE_AT = f"""
(call $vector {p(1)} {p(2)})
(local.set $errno (call $fd_pwrite (call $fd {p(0)}) (i32.const {IOVEC}) (i32.const 1) {p(3)}
  (i32.const {COUNT})))
(call $answer (local.get $to) (i32.const 8) (local.get $errno))
(if (i32.eqz (local.get $errno)) (then
  (i64.store $b offset=8 (local.get $to) (i64.load32_u $b (i32.const {COUNT})))))"""

_OPEN = f"""
(local.set $errno (call $within (call $path_open (call $fd {p(0)}) {p(1)} {p(2)} {p(3)} {p(4)}
  (call $rights {p(5)}) (call $rights {p(5)}) (call $fdflags {p(5)}) (i32.const {NUMBER}))))
(call $answer (local.get $to) (i32.const 4) (local.get $errno))
(if (i32.eqz (local.get $errno)) (then
  (i32.store $b offset=4 (local.get $to) (call $new_use (i32.const {K_DESCRIPTOR})
    (i32.load $b (i32.const {NUMBER})) (i64.extend_i32_u {p(5)}) (i32.const 0)))))"""

_READLINK = f"""
(local.set $at (call $room (i32.const 4096)))
(local.set $errno (call $within (call $path_readlink (call $fd {p(0)}) {p(1)} {p(2)} (local.get $at)
  (i32.const 4096) (i32.const {COUNT}))))
(call $answer (local.get $to) (i32.const 4) (local.get $errno))
(if (i32.eqz (local.get $errno)) (then
  (i32.store $b offset=4 (local.get $to) (local.get $at))
  (i32.store $b offset=8 (local.get $to) (i32.load $b (i32.const {COUNT})))))"""

_SAME = f"""
(local.set $fd (call $fd {p(1)}))
(call $must (call $fd_filestat_get (call $fd {p(0)}) (i32.const {STAT})))
(local.set $device (i64.load $b (i32.const {STAT})))
(local.set $file (i64.load $b (i32.const {STAT + 8})))
(call $must (call $fd_filestat_get (local.get $fd) (i32.const {STAT})))
(i32.and (i64.eq (local.get $device) (i64.load $b (i32.const {STAT})))
         (i64.eq (local.get $file) (i64.load $b (i32.const {STAT + 8}))))"""

_ERROR_CODE = f"""
(local.set $at (call $get {p(0)} (i32.const {K_ERROR})))
(drop (call $note (i32.const -1)))
(i32.store8 $b (local.get $to) (i32.const 1))
(i32.store8 $b offset=1 (local.get $to) (call $code (i32.load $handles offset={FD} (local.get $at))))"""

_STAT_AT = (
    f"(call $within (call $path_filestat_get (call $fd {p(0)}) {p(1)} {p(2)} {p(3)} (i32.const {STAT})))"
)
_STAT = f"(call $fd_filestat_get (call $fd {p(0)}) (i32.const {STAT}))"
_SET_TIMES = f"""(call $fd_filestat_set_times (call $fd {p(0)}) (call $ns {p(1)} {p(2)} {p(3)})
  (call $ns {p(4)} {p(5)} {p(6)}) (call $times {p(1)} {p(4)}))"""
_SET_TIMES_AT = f"""(call $within (call $path_filestat_set_times (call $fd {p(0)}) {p(1)} {p(2)} {p(3)}
  (call $ns {p(4)} {p(5)} {p(6)}) (call $ns {p(7)} {p(8)} {p(9)}) (call $times {p(4)} {p(7)})))"""
_D, _E = "descriptor", ("$errno i32",)

BODIES = (
    Body("preopens.get-directories", _MOUNTS, ("$out i32", "$fd i32", "$n i32", "$len i32", "$at i32")),
    Body(f"{_D}.drop", f"(call $drop {p(0)} (i32.const {K_DESCRIPTOR}))"),
    Body("directory-entry-stream.drop", _DROP_ENTRIES),
    Body(f"{_D}.read-via-stream", f"(call $via {p(0)} (i32.const {K_INPUT}) {p(1)} (local.get $to))"),
    Body(f"{_D}.write-via-stream", f"(call $via {p(0)} (i32.const {K_OUTPUT}) {p(1)} (local.get $to))"),
    Body(f"{_D}.append-via-stream", _APPEND, ("$errno i32", "$fd i32")),
    answered(f"{_D}.advise", f"(call $fd_advise (call $fd {p(0)}) {p(1)} {p(2)} {p(3)})"),
    answered(f"{_D}.sync-data", f"(call $through (call $fd_datasync (call $fd {p(0)})))"),
    Body(f"{_D}.get-flags", _FLAGS, ("$errno i32", "$flags i32", "$rights i64")),
    Body(f"{_D}.get-type", _TYPE, _E),
    answered(f"{_D}.set-size", f"(call $fd_filestat_set_size (call $fd {p(0)}) {p(1)})"),
    answered(f"{_D}.set-times", _SET_TIMES),
    Body(f"{_D}.read", _READ_AT, ("$errno i32", "$n i32")),
    Body(f"{_D}.write", _WRITE_AT, _E),
    Body(f"{_D}.read-directory", _READ_DIRECTORY, ("$errno i32", "$fd i32")),
    answered(f"{_D}.sync", f"(call $through (call $fd_sync (call $fd {p(0)})))"),
    answered(
        f"{_D}.create-directory-at",
        f"(call $within (call $path_create_directory (call $fd {p(0)}) {p(1)} {p(2)}))",
    ),
    Body(f"{_D}.stat", f"(call $stat (local.get $to) {_STAT})"),
    Body(f"{_D}.stat-at", f"(call $stat (local.get $to) {_STAT_AT})"),
    answered(f"{_D}.set-times-at", _SET_TIMES_AT),
    answered(
        f"{_D}.link-at",
        f"(call $within (call $path_link (call $fd {p(0)}) {p(1)} {p(2)} {p(3)} (call $fd {p(4)}) {p(5)}"
        f" {p(6)}))",
    ),
    Body(f"{_D}.open-at", _OPEN, _E),
    Body(f"{_D}.readlink-at", _READLINK, ("$errno i32", "$at i32")),
    answered(
        f"{_D}.remove-directory-at",
        f"(call $within (call $path_remove_directory (call $fd {p(0)}) {p(1)} {p(2)}))",
    ),
    answered(
        f"{_D}.rename-at",
        f"(call $within (call $path_rename (call $fd {p(0)}) {p(1)} {p(2)} (call $fd {p(3)}) {p(4)} {p(5)}))",
    ),
    # SPEC: the old path is what the link says, and comes first in both
    answered(
        f"{_D}.symlink-at",
        f"(call $within (call $path_symlink {p(1)} {p(2)} (call $fd {p(0)}) {p(3)} {p(4)}))",
    ),
    answered(
        f"{_D}.unlink-file-at", f"(call $within (call $path_unlink_file (call $fd {p(0)}) {p(1)} {p(2)}))"
    ),
    Body(f"{_D}.is-same-object", _SAME, ("$fd i32", "$device i64", "$file i64")),
    Body(f"{_D}.metadata-hash", f"(call $hash (local.get $to) {_STAT})"),
    Body(f"{_D}.metadata-hash-at", f"(call $hash (local.get $to) {_STAT_AT})"),
    Body("directory-entry-stream.read-directory-entry", _ENTRY, ("$at i32", "$errno i32", "$is_asked i32")),
    Body("types.filesystem-error-code", _ERROR_CODE, ("$at i32",)),
)
