"""Which system calls a cell may make, and which the compiler: allow-lists, made for one plan.

The program that the kernel runs is made by `bpf.py`. A call that is on no list ends the process with SIGSYS:
neither the engine nor our own code makes it, so whoever does has taken the process over. INVARIANT: no list
has a call that starts a program or looks into another process. None but the broker's has one that makes a
socket, and only the compiler's lets pages become executable: the engine loads what it compiles.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
import termios
from collections.abc import Sequence
from functools import cache
from typing import Final

from sandbox.confinement.bpf import Action, Case, Check, Rule, assemble
from sandbox.confinement.syscalls import MACHINES

_ALWAYS: Final = """
read write readv writev fstat lseek pread64
munmap mremap madvise brk futex nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time
getrandom sched_yield sched_getaffinity getcpu gettid getpid getrusage times restart_syscall
rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack set_robust_list rseq exit exit_group
poll ppoll epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd2
"""
_LOOK: Final = "statx newfstatat readlinkat getdents64 preadv preadv2 fadvise64 openat openat2"
_CHANGE: Final = """
pwrite64 pwritev pwritev2 ftruncate fallocate fsync fdatasync sync_file_range
mkdirat unlinkat renameat renameat2 linkat symlinkat utimensat
"""
# the C library and the engine's runtime try these, and go on without
_TRIED: Final = """
open openat openat2 stat lstat statx newfstatat access faccessat faccessat2 readlink readlinkat membarrier
prlimit64
"""
_COMPILES: Final = """
read write readv writev close fstat lseek pread64
munmap mremap madvise brk futex nanosleep clock_nanosleep clock_gettime
getrandom sched_yield sched_getaffinity getcpu gettid getpid getrusage times restart_syscall
rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack set_robust_list rseq exit exit_group poll ppoll
"""

_BROKERS: Final = """
read write readv writev fstat lseek pread64 pwrite64
munmap mremap madvise brk futex nanosleep clock_nanosleep clock_gettime
getrandom sched_yield sched_getaffinity getcpu gettid getpid getrusage times restart_syscall
rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack set_robust_list rseq exit exit_group poll ppoll
openat newfstatat statx pipe2
connect accept4 bind listen shutdown getsockname getpeername setsockopt getsockopt
sendto recvfrom recvmsg sendmsg sendmmsg
"""

_THREAD = 0x3D_0F00  # SPEC: clone(2); what the C library asks for, which is a thread and nothing else
_THREAD_OF_OLD = 0x7D_0F00  # musl sets CLONE_DETACHED, which means nothing, as well
_PR_SET_NAME = 15
_F_DUPFD_CLOEXEC = 1030  # `fcntl` has no name for it on every Python
_SET_NON_BLOCKING = 0x5421  # FIONBIO, which `termios` names on some machines only


@cache
def cell_filter(machine: str, pid: int, *, leash: int, has_files: bool, can_change: bool) -> bytes:
    """The program for a cell whose number is `pid`, on a machine as `os.uname` names it.

    `leash` is the descriptor by which it ends with its supervisor: nothing may be done to it, by this number
    or another. `has_files`: its plan has mounts; `can_change`: and rights beyond reading and listing.
    Raises KeyError for a machine without a table.
    """
    numbers = MACHINES[machine].numbers
    rule = Rule(numbers["tgkill"], ((Check(0, pid),),))  # how the C library aborts; never another process
    rules = _cell_rules(machine, leash, has_files=has_files, can_change=can_change)
    return _program(machine, (rule, *rules))


@cache
def _cell_rules(machine: str, leash: int, *, has_files: bool, can_change: bool) -> tuple[Rule, ...]:
    numbers = MACHINES[machine].numbers
    texts = (_ALWAYS, _LOOK if has_files else "", _CHANGE if has_files and can_change else "")
    # whether it is a terminal, how much there is to read, and not to wait for it
    ioctls = (termios.TCGETS, termios.FIONREAD, _SET_NON_BLOCKING)
    commands = (fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL, fcntl.F_SETFL, fcntl.F_DUPFD, _F_DUPFD_CLOEXEC)
    other = Check(0, leash, is_other=True)
    never_code = ((Check(2, 0, mask=mmap.PROT_EXEC),),)
    special: dict[str, tuple[Case, ...]] = {
        **_threads(),
        "mmap": never_code,
        "mprotect": never_code,
        "close": ((other,),),
        "dup": ((other,),),
        "fcntl": tuple((other, Check(1, command)) for command in commands),
        "ioctl": tuple((Check(1, command),) for command in ioctls),
        # on the socket that it has: a message with an address, or with descriptors, is another call
        "sendto": ((Check(4, 0, is_whole=True), Check(5, 0, is_whole=True)),),
        "recvfrom": ((Check(4, 0, is_whole=True),),),
    }
    return _rules(numbers, " ".join(texts).split(), special)


def compiler_filter(machine: str, pid: int) -> bytes:
    """The program for the compiler's process; as `cell_filter`."""
    numbers = MACHINES[machine].numbers
    special: dict[str, tuple[Case, ...]] = {
        **_threads(),
        "mmap": ((),),
        "mprotect": ((),),
        "tgkill": ((Check(0, pid),),),
        "fcntl": tuple((Check(1, command),) for command in (fcntl.F_GETFD, fcntl.F_GETFL)),
        "ioctl": ((Check(1, termios.TCGETS),),),
    }
    return _program(machine, _rules(numbers, _COMPILES.split(), special, tried_more=("ioctl",)))


def broker_filter(machine: str, pid: int, *, leash: int) -> bytes:
    """The program for a broker, which holds the sockets of a run; as `cell_filter`."""
    numbers = MACHINES[machine].numbers
    other = Check(0, leash, is_other=True)
    families = (socket.AF_INET, socket.AF_INET6)
    never_code = ((Check(2, 0, mask=mmap.PROT_EXEC),),)
    special: dict[str, tuple[Case, ...]] = {
        **_threads(),
        "mmap": never_code,
        "mprotect": never_code,
        "tgkill": ((Check(0, pid),),),
        # the C library asks for the machine's addresses by a socket of another family, and goes on without
        "socket": tuple((Check(0, family),) for family in families),
        "socketpair": ((Check(0, socket.AF_UNIX),),),  # between its threads: it leads nowhere else
        "close": ((other,),),
        "fcntl": tuple(
            (other, Check(1, command)) for command in (fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL)
        ),
        "ioctl": tuple((Check(1, command),) for command in (termios.FIONREAD, _SET_NON_BLOCKING)),
    }
    return _program(machine, _rules(numbers, _BROKERS.split(), special, tried_more=("ioctl", "socket")))


def _threads() -> dict[str, tuple[Case, ...]]:
    return {
        "clone": tuple((Check(0, flags, is_whole=True),) for flags in (_THREAD, _THREAD_OF_OLD)),
        "prctl": ((Check(0, _PR_SET_NAME),),),
    }


def _rules(
    numbers: dict[str, int],
    names: Sequence[str],
    special: dict[str, tuple[Case, ...]],
    tried_more: tuple[str, ...] = (),
) -> tuple[Rule, ...]:
    """Rules with conditions come first: the kernel remembers by itself which calls are always allowed."""
    rules = [
        Rule(numbers[name], cases, Action.DENY if name in tried_more else Action.KILL)
        for name, cases in special.items()
    ]
    rules += [Rule(numbers[name]) for name in names if name in numbers]
    # its flags lie in memory, which a filter cannot see: the C library falls back to `clone`
    rules.append(Rule(numbers["clone3"], (), Action.ABSENT))
    tried = (name for name in _TRIED.split() if name not in names and name in numbers)
    return (*rules, *(Rule(numbers[name], (), Action.DENY) for name in tried))


def _program(machine: str, rules: tuple[Rule, ...]) -> bytes:
    table = MACHINES[machine]
    return assemble(rules, arch=table.audit_arch, newest=table.newest)


def this_machine() -> str:
    """The name of the machine that this process runs on."""
    return os.uname().machine
