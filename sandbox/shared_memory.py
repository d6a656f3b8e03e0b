"""Memory that two processes share: anonymous files, and mapping one over a known address.

The ring is such a file: the cell's monitor writes it as WebAssembly memory, the supervisor maps the same
pages, and what was written outlives the cell whatever killed it. Nothing here knows what the bytes mean.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
]
_MAP_FIXED = 0x10  # Linux, all architectures
_MAP_FAILED = ctypes.c_void_p(-1).value


def make_shared(name: str, size: int) -> int:
    """A descriptor of an anonymous file of `size` bytes, all zero, that stays as large; closed on exec."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    # SECURITY: a cell that cut the file short would end the supervisor, which maps it, with SIGBUS
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd


def make_readable(name: str, content: bytes) -> int:
    """A descriptor of an anonymous file of this content, which nobody can change; closed on exec."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(content)
    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def read_all(fd: int) -> bytes:
    """What a file holds, wherever its cursor stands."""
    return os.pread(fd, os.fstat(fd).st_size, 0)


def map_shared(address: ctypes.c_void_p, fd: int, size: int) -> None:
    """Replace the pages at `address`, which must be mapped and page-aligned, by those of `fd`.

    Raises OSError; the caller must keep the memory at that address from being moved or freed.
    """
    flags = mmap.MAP_SHARED | _MAP_FIXED
    got = _LIBC.mmap(address, size, mmap.PROT_READ | mmap.PROT_WRITE, flags, fd, 0)
    if got in (None, _MAP_FAILED):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
