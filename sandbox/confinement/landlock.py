"""Landlock: which directories a process may still open, and how; asked of the kernel, best it has.

What a plan's rights come to is `bounds.py`. A ruleset holds for the thread that restricts itself and for what
it starts later, never for what runs already. INVARIANT: all that the kernel can handle is handled, so that
what no rule names is refused; TCP is refused to all but the broker, which is there for it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable
from enum import IntFlag

_LIBC = ctypes.CDLL(None, use_errno=True)
_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same on every machine
_VERSION = 1  # a flag of `_CREATE`: say which ABI there is
_PATH_BENEATH = 1  # a kind of rule


class Access(IntFlag):
    """What can be done to files; SPEC: linux/landlock.h, LANDLOCK_ACCESS_FS_*."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13  # ABI 2: rename and link from one directory to another
    TRUNCATE = 1 << 14  # ABI 3
    IOCTL_DEV = 1 << 15  # ABI 5


_FIRST = (1 << 13) - 1  # what ABI 1 handles
_SINCE = {2: Access.REFER, 3: Access.TRUNCATE, 5: Access.IOCTL_DEV}
_NET_SINCE, _NET = 4, 0b11  # TCP: bind and connect
_SCOPE_SINCE, _SCOPE = 6, 0b11  # abstract sockets and signals stay among those that are confined alike


def abi() -> int:
    """The version of Landlock that the kernel has; 0: none, or switched off."""
    return max(int(_LIBC.syscall(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))), 0)


def handled(version: int) -> int:
    """All accesses to files that an ABI can refuse."""
    return _FIRST | sum(bit for since, bit in _SINCE.items() if version >= since)


def missing(version: int) -> tuple[str, ...]:
    """What an ABI can't refuse, in words, for people."""
    gaps = (
        (1, "files"),
        (3, "cutting files short"),
        (_NET_SINCE, "TCP"),
        (5, "device controls"),
        (_SCOPE_SINCE, "signals and abstract sockets"),
    )
    return tuple(word for since, word in gaps if version < since)


def ruleset(rules: Iterable[tuple[int, int]], *, has_tcp: bool = False) -> int | None:
    """A descriptor of a ruleset, to be given to `restrict`; None where the kernel has no Landlock.

    `rules` are pairs: an open directory or file, and the accesses (`Access`) that are allowed there and
    below. `has_tcp`: ports are not refused.
    Raises OSError.
    """
    version = abi()
    if version == 0:
        return None
    wanted = struct.pack("=Q", handled(version))
    if version >= _NET_SINCE:
        wanted += struct.pack("=Q", 0 if has_tcp else _NET)
    if version >= _SCOPE_SINCE:
        wanted += struct.pack("=Q", _SCOPE)
    fd = _checked(_LIBC.syscall(_CREATE, wanted, ctypes.c_size_t(len(wanted)), ctypes.c_uint32(0)))
    try:
        for directory, allowed in rules:
            if mask := allowed & handled(version):
                rule = struct.pack("=Qi", mask, directory)
                _checked(_LIBC.syscall(_ADD, fd, _PATH_BENEATH, rule, ctypes.c_uint32(0)))
    except BaseException:
        os.close(fd)
        raise
    return fd


def restrict(fd: int) -> None:
    """Confine this thread, and those that it starts from now on, for good; raises OSError."""
    _checked(_LIBC.syscall(_RESTRICT, fd, ctypes.c_uint32(0)))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno() or errno.EINVAL
        raise OSError(number, os.strerror(number))
    return result
