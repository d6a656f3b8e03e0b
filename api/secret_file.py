"""A secret of the service in a file of its own: random bytes that are made once and stay.

What it is good for is said where it is used. INVARIANT: of two processes that make it at the same time both
get the one that is kept, and a file that others can read is refused.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from typing import TYPE_CHECKING

from audit.store import hidden_name, sync_directory

if TYPE_CHECKING:
    from pathlib import Path

SECRET_BYTES = 32


class SecretFileError(OSError):
    """The file cannot be used; whoever could write it would know the secret."""

    def __init__(self, path: Path, problem: str) -> None:
        """Say which file, and what is wrong with it."""
        super().__init__(f"{path}: {problem}")


def secret_of(path: Path) -> bytes:
    """Read the secret, and make it if there is none; raises SecretFileError and OSError."""
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    hidden = hidden_name(path)
    handle = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(SECRET_BYTES))
            file.flush()
            os.fsync(handle)
        with contextlib.suppress(FileExistsError):  # another process was faster: its secret is the one
            os.link(hidden, path)
    finally:
        hidden.unlink()
    sync_directory(path.parent)
    return _read(path)


def _read(path: Path) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o077:
            raise SecretFileError(path, "must be a file of yours with mode 0600")
        content = file.read(SECRET_BYTES + 1)
    if len(content) != SECRET_BYTES:
        raise SecretFileError(path, f"must hold {SECRET_BYTES} bytes; remove it, and a new one is made")
    return content
