"""A compiled module as an open file: what the compiler makes, the cache keeps and a cell loads.

Making one lives in `compiler.py`, keeping them in `cache.py`.
An artifact is native code, so one exists only if this process compiled it in a process of its own, or
verified it.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class Artifact:
    """An open, readable file that holds one precompiled module; owns the descriptor until closed.

    A cell gets `fd` (inherited, or passed over a socket) and loads `/proc/self/fd/N`: the file that was made
    or verified is then the file that is mapped, whatever happens to names in the meantime.
    """

    __slots__ = ("fd", "size_bytes")

    def __init__(self, fd: int) -> None:
        """Take over `fd`, which is open for reading."""
        self.fd = fd
        self.size_bytes = os.fstat(fd).st_size

    def close(self) -> None:
        """Close the descriptor; a second call does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def read(self) -> bytes:
        """Return the artifact's bytes."""
        with os.fdopen(os.dup(self.fd), "rb") as file:
            file.seek(0)
            return file.read()

    def __enter__(self) -> Self:
        """Return the artifact itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the descriptor."""
        self.close()


def private_file(name: str) -> int:
    """Open a new file that has no name on disk, for this process alone; not inherited over `exec`."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with tempfile.TemporaryFile() as file:  # pragma: no cover  # not on Linux
        return os.dup(file.fileno())


def freeze(fd: int) -> None:
    """Seal a private file, so that nobody who holds its descriptor can change it any more.

    Raises OSError when somebody still has it mapped for writing.
    """
    if not hasattr(os, "memfd_create"):  # pragma: no cover  # a file on disk: it has no name, and no seals
        return
    fcntl.fcntl(
        fd,
        fcntl.F_ADD_SEALS,
        fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL,
    )
