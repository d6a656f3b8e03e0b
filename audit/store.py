"""Where each file of a log lies, and how a file is published so that a crash leaves all of it or none.

What the files hold lives with their writers. Directories are private to their owner. INVARIANT:
a name without a leading dot that `publish` made is complete and durable.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from audit.errors import write_error

TENANT = "default"
"""The tenant of a run for which none is named, and of logs from before there were any."""

_TENANT_BYTES = 100  # of a tenant's name, quoted, that stand in a path
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")

_PRIVATE_DIRECTORY = 0o700
_PRIVATE_FILE = 0o600


@dataclass(frozen=True, slots=True)
class Store:
    """The paths of one log; making one touches no disk."""

    root: Path

    @property
    def wal(self) -> Path:
        """Directory of the write-ahead logs."""
        return self.root / "wal"

    @property
    def segments(self) -> Path:
        """Directory of the sealed segments."""
        return self.root / "seg"

    @property
    def receipts(self) -> Path:
        """Directory of the receipts."""
        return self.root / "exec"

    @property
    def tlog(self) -> Path:
        """Directory of the transparency log."""
        return self.root / "tlog"

    @property
    def catalogue(self) -> Path:
        """The catalogue, which can be rebuilt from the rest."""
        return self.root / "catalog.sqlite"

    @property
    def seal_lock(self) -> Path:
        """File whose lock the one process holds that seals."""
        return self.root / "seal.lock"

    def receipt(self, exec_id: str) -> Path:
        """Path of one receipt; `exec_id` is a checked `ExecutionId`."""
        return self.receipts / f"{exec_id}.receipt.json"

    def segment(self, tenant: str, day: str, stem: str) -> Path:
        """Path of the segment that holds a tenant's rows of the write-ahead log `stem`."""
        return self.segments / f"tenant={tenant_folder(tenant)}" / f"day={day}" / f"{stem}.parquet"

    def create(self) -> None:
        """Make the directories that are missing, durably."""
        for directory in (self.root, self.wal, self.segments, self.receipts):
            make_directory(directory)


def tenant_folder(tenant: str) -> str:
    """Give a tenant's name as it stands in paths: other names, other paths, and never a dot or a slash."""
    quoted = "".join(
        chr(byte) if chr(byte) in _PLAIN else f"%{byte:02X}"
        for byte in tenant.encode("utf-8", "surrogatepass")
    )
    if len(quoted) <= _TENANT_BYTES:
        return quoted
    digest = hashlib.sha256(tenant.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{quoted[:_TENANT_BYTES]}~{digest[:16]}"


def make_directory(path: Path) -> None:
    """Make a private directory and its parents, durably; one that is there stays as it is."""
    missing = [path, *path.parents]
    missing = missing[: next((at for at, one in enumerate(missing) if one.is_dir()), len(missing))]
    try:
        for one in reversed(missing):
            one.mkdir(mode=_PRIVATE_DIRECTORY, exist_ok=True)
            sync_directory(one.parent)
    except OSError as err:
        raise write_error(path, err) from err


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def publish(path: Path, content: bytes) -> None:
    """Write a file under a hidden name, sync it, and rename it into place."""
    hidden = hidden_name(path)
    try:
        handle = os.open(
            hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, _PRIVATE_FILE
        )
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            hidden.rename(path)
        except BaseException:
            hidden.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)
    except OSError as err:
        raise write_error(path, err) from err


def publish_existing(hidden: Path, path: Path) -> None:
    """Sync a file that another library wrote under a hidden name, and rename it into place."""
    try:
        handle = os.open(hidden, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        hidden.rename(path)
        sync_directory(path.parent)
    except OSError as err:
        raise write_error(path, err) from err


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file, which is made if it is missing; wait for whoever holds it."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _PRIVATE_FILE)
    except OSError as err:
        raise write_error(path, err) from err
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def hidden_name(path: Path) -> Path:
    """Give a name beside `path` that no reader looks at; each call gives another one."""
    return path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.part")
