"""What a process does to itself, for good: no new privileges, no capabilities, limits, filters, descriptors.

Which limits and filters is said elsewhere. Each function is called by a process that has one thread; threads
that it starts later inherit what was done. INVARIANT: a function that returns has done what it says; one that
cannot raises OSError.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import resource
import select
import signal
import struct
from collections.abc import Iterable
from pathlib import Path

from sandbox.confinement.bpf import SIZE

_LIBC = ctypes.CDLL(None, use_errno=True)
# SPEC: linux/prctl.h, linux/seccomp.h, linux/capability.h, linux/sched.h
_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 4, 22, 38, 47
_SECCOMP_MODE_FILTER = 2
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x2008_0522
_F_SETSIG = 10
DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER = 1, 2, 3
_CLONE_NEWIPC, _CLONE_NEWUSER, _CLONE_NEWNET = 0x0800_0000, 0x1000_0000, 0x4000_0000


def count_threads() -> int:
    """How many threads this process has."""
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208  # a cell counts its milliseconds


def end_with(fd: int) -> None:
    """Have the kernel end this process when the other end of a pipe is closed, whatever it does then."""
    # the signal comes when there is something to read, or nobody left to write; nobody ever writes
    fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(fd, _F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_RDONLY | os.O_ASYNC)
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    if poll.poll(0):  # closed just before
        os._exit(1)


def writable_code() -> tuple[tuple[int, int], ...]:
    """Find pages of this process that can be written and run: address and size of each range.

    The library by which C calls Python makes them, on some systems, and writes them only when such a function
    is made or given up.
    """
    found = []
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        where, rights = line.split(maxsplit=2)[:2]
        if "w" in rights and "x" in rights:
            low, high = (int(edge, 16) for edge in where.split("-"))
            found.append((low, high - low))
    return tuple(found)


def make_unwritable(pages: Iterable[tuple[int, int]]) -> None:
    """Have pages of code only be read and run from now on; raises OSError."""
    for address, size in pages:
        rights = mmap.PROT_READ | mmap.PROT_EXEC
        _checked(_LIBC.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), rights))


def forbid_new_privileges() -> None:
    """No program that this process could ever start gets more rights than it has."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def hide_from_debuggers() -> None:
    """Other processes of the same user can neither trace this one nor read its memory."""
    _prctl(_PR_SET_DUMPABLE, 0)


def drop_capabilities(kept: Iterable[int] = ()) -> None:
    """Give up all capabilities but those of `kept` that this process has."""
    with contextlib.suppress(OSError):  # an old kernel has none to clear
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    now = ctypes.create_string_buffer(24)  # effective, permitted, inheritable: twice 32 bits
    _checked(_LIBC.capget(header, now))
    low = struct.unpack("=6I", now.raw)[1] & sum(1 << number for number in kept)
    _checked(_LIBC.capset(header, struct.pack("=6I", low, low, 0, 0, 0, 0)))


def limit(number: int, value: int) -> None:
    """Lower a resource limit for good, or leave it where it is lower already."""
    _, hard = resource.getrlimit(number)
    allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(number, (allowed, allowed))


def memory_in_use() -> int:
    """Bytes that this process has and can write, as `RLIMIT_DATA` counts them."""
    # SPEC: proc_pid_statm(5): the sixth number is data and stack, in pages
    fd = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return int(os.read(fd, 256).split()[5]) * resource.getpagesize()
    finally:
        os.close(fd)


def install_filter(program: bytes) -> None:
    """Have the kernel run a seccomp filter before each system call from now on; needs no new privileges."""
    code = ctypes.create_string_buffer(program, len(program))
    # SPEC: struct sock_fprog
    named = ctypes.create_string_buffer(struct.pack("@HP", len(program) // SIZE, ctypes.addressof(code)))
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.cast(named, ctypes.c_void_p))


def close_others(kept: Iterable[int]) -> None:
    """Close every descriptor that is not named."""
    edges = sorted({-1, *kept})
    for low, high in zip(edges, [*edges[1:], os.sysconf("SC_OPEN_MAX")], strict=True):
        if low + 1 < high:
            _close_range(low + 1, high - 1)


def _close_range(first: int, last: int) -> None:
    try:
        _checked(_LIBC.syscall(436, first, last, 0))  # close_range, the same on every machine
    except OSError as err:
        if err.errno != errno.ENOSYS:
            raise
        os.closerange(first, last + 1)


def leave_namespaces() -> str:
    """Move this process into an empty network and an empty IPC namespace.

    Gives what stands in the way, and nothing when it is done; then children are in them, too. Root needs the
    capability for it. Another user gets it in a user namespace of its own, in which it is the same user.
    """
    wanted = _CLONE_NEWNET | _CLONE_NEWIPC
    user, group = os.getuid(), os.getgid()
    try:
        _checked(_LIBC.unshare(wanted))
    except OSError as err:
        if user == 0:  # in a user namespace it would lose the files of other users, which it may read now
            return f"root without the capability: {os.strerror(err.errno or 0)}"
    else:
        return ""
    try:
        _checked(_LIBC.unshare(wanted | _CLONE_NEWUSER))
    except OSError as err:
        return f"no user namespace: {os.strerror(err.errno or 0)}"
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        Path(f"/proc/self/{name}").write_text(text, encoding="ascii")
    return ""


def _prctl(option: int, *values: int | ctypes.c_void_p) -> None:
    given = [value if isinstance(value, ctypes.c_void_p) else ctypes.c_ulong(value) for value in values]
    _checked(_LIBC.prctl(option, *given, *[ctypes.c_ulong(0)] * (4 - len(given))))


def _checked(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno() or errno.EINVAL
        raise OSError(number, os.strerror(number))
