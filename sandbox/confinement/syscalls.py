"""Numbers of the system calls that a filter names, by machine.

What a filter does with them is `filters.py`. Numbers are part of the kernel's interface and never change; a
call that a machine lacks (arm64 has no `poll`) is not in its table. INVARIANT: a number that is not in a
table is never allowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# name, x86-64, arm64 (0 is `io_setup` there, which no filter names, so that it can stand for "none")
_ROWS: Final = """
read 0 63|write 1 64|readv 19 65|writev 20 66|pread64 17 67|pwrite64 18 68|preadv 295 69|pwritev 296 70
preadv2 327 286|pwritev2 328 287|lseek 8 62|close 3 57|fstat 5 80|statx 332 291|newfstatat 262 79
openat 257 56|openat2 437 437|getdents64 217 61|readlinkat 267 78|fcntl 72 25|ioctl 16 29
ftruncate 77 46|fallocate 285 47|fadvise64 221 223|fsync 74 82|fdatasync 75 83|sync_file_range 277 84
mkdirat 258 34|unlinkat 263 35|renameat 264 38|renameat2 316 276|linkat 265 37|symlinkat 266 36
utimensat 280 88
mmap 9 222|munmap 11 215|mprotect 10 226|mremap 25 216|madvise 28 233|brk 12 214
futex 202 98|nanosleep 35 101|clock_nanosleep 230 115|clock_gettime 228 113|clock_getres 229 114
gettimeofday 96 169|time 201 0|getrandom 318 278|sched_yield 24 124|sched_getaffinity 204 123|getcpu 309 168
gettid 186 178|getpid 39 172|getrusage 98 165|times 100 153|restart_syscall 219 128
rt_sigaction 13 134|rt_sigprocmask 14 135|rt_sigreturn 15 139|sigaltstack 131 132|tgkill 234 131
set_robust_list 273 99|rseq 334 293|membarrier 324 283|clone 56 220|clone3 435 435|exit 60 93
exit_group 231 94
prctl 157 167|poll 7 0|ppoll 271 73|epoll_create1 291 20|epoll_ctl 233 21|epoll_wait 232 0|epoll_pwait 281 22
epoll_pwait2 441 441|eventfd2 290 19|dup 32 23|sendto 44 206|recvfrom 45 207|pipe2 293 59
socket 41 198|socketpair 53 199|connect 42 203|accept4 288 242|bind 49 200|listen 50 201|shutdown 48 210
getsockname 51 204|getpeername 52 205|setsockopt 54 208|getsockopt 55 209|recvmsg 47 212|sendmsg 46 211
sendmmsg 307 269
open 2 0|stat 4 0|lstat 6 0|access 21 0|faccessat 269 48|faccessat2 439 439|readlink 89 0|prlimit64 302 261
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """How a machine's system calls are numbered."""

    audit_arch: int  # SPEC: linux/audit.h, AUDIT_ARCH_*
    numbers: dict[str, int]
    newest: int = 461  # above this, calls are newer than this table: `lsm_list_modules`, the same everywhere


def _table(column: int) -> dict[str, int]:
    rows = (row.split() for line in _ROWS.strip().splitlines() for row in line.split("|"))
    return {row[0]: int(row[column]) for row in rows if column == 1 or row[column] != "0"}


MACHINES: Final = {
    "x86_64": Machine(0xC000_003E, _table(1)),
    "aarch64": Machine(0xC000_00B7, _table(2)),
}
"""By the name that `os.uname` gives."""
