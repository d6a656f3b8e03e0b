"""Compiled modules kept on disk between runs, each authenticated before it is used.

Compiling lives in `compiler.py`; loading an artifact into an engine happens in a cell.
An artifact is native code: nothing leaves this cache whose bytes were not verified under the key, through the
very descriptor that is handed out.

What that protects from: a file that another program, a full disk, a crash or a restored backup put there or
damaged; another user's file; a name that is exchanged after the check; an artifact stored under another
module's name.
What it does not: somebody who runs as this user can read the key, write to a file in place, or trace the
supervisor; and a compiler that a hostile module took over could have made a hostile artifact, which is why
cells are confined.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import hmac
import os
import secrets
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NewType, Self

from blake3 import blake3

from sandbox.artifact import Artifact

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

ArtifactName = NewType("ArtifactName", str)

DEFAULT_MAX_BYTES = 2 << 30  # some fifty programs of CPython's size
_KEY = "key"
_KEY_BYTES = 32
_MAC_BYTES = 32
_CODE, _MAC, _PART = ".cwasm", ".mac", ".part"
_PART_AGE_S = 3_600  # what is unfinished after an hour was left by a crash
_BLOCK_BYTES = 1 << 20
_OTHERS = 0o077
_OTHERS_WRITE = 0o022


class CacheError(Exception):
    """The cache cannot be used: its folder or its key is not ours alone."""

    def __init__(self, root: Path, problem: str, advice: str) -> None:
        """Keep where, what is wrong, and what to do."""
        super().__init__(root, problem, advice)
        self.root = root
        self.problem = problem
        self.advice = advice

    def __str__(self) -> str:
        """Write the sentence."""
        return f"{self.root}: {self.problem} ({self.advice})"


@dataclass(frozen=True, slots=True)
class Miss:
    """Nothing usable was kept; `finding` says what was wrong with what was there, if anything was."""

    finding: str = ""


def artifact_name(module_digest: str, engine_key: str) -> ArtifactName:
    """Name the artifact of one module for one engine: 64 hexadecimal digits."""
    return ArtifactName(hashlib.sha256(f"{module_digest}\0{engine_key}".encode()).hexdigest())


class ArtifactCache:
    """A folder of authenticated artifacts; several processes may use it at once.

    Each artifact is two files: `NAME.MAC16.cwasm`, never changed once it has that name (it may be mapped by a
    cell), and `NAME.mac`, which says which of them is current and authenticates it.
    """

    def __init__(self, root: Path, *, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        """Open the folder, made if needed, and its key; raises CacheError if others can change them."""
        self._root = root
        self._max_bytes = max_bytes
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._dir = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as err:
            raise CacheError(
                root, f"cannot be opened: {err.strerror}", "name a folder that is no link"
            ) from err
        try:
            self._check_folder()
            self._key = self._load_key()
        except BaseException:
            os.close(self._dir)
            raise

    def close(self) -> None:
        """Close the folder; artifacts that were handed out stay open."""
        fd, self._dir = self._dir, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        """Return the cache itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the folder."""
        self.close()

    def load(self, name: ArtifactName) -> Artifact | Miss:
        """Return the verified artifact of that name, open; what does not verify is deleted and reported."""
        try:
            mac = self._read_small(name + _MAC, _MAC_BYTES)
            fd = self._open(_code_file(name, mac)) if len(mac) == _MAC_BYTES else -1
        except FileNotFoundError:
            return Miss()
        except OSError as err:
            return Miss(f"artifact {name} could not be read: {err.strerror}")
        if fd < 0:
            return self._discard(name, mac, "its authentication code is damaged")
        try:
            is_genuine = self._is_private(fd) and hmac.compare_digest(self._mac_of(name, fd), mac)
            if is_genuine:
                with contextlib.suppress(OSError):
                    os.utime(fd)  # marks it as used, for `_evict`
                return Artifact(fd)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return self._discard(name, mac, "it is not what was stored")

    def store(self, name: ArtifactName, artifact: Artifact) -> None:
        """Keep a copy under that name, durably, then make room; raises OSError when it cannot be written."""
        part = f".{name}.{secrets.token_hex(8)}{_PART}"
        try:
            fd = self._create(part)
            try:
                _copy(artifact.fd, fd)
                mac = self._mac_of(name, fd)
                os.fchmod(fd, 0o400)
                os.fsync(fd)
            finally:
                os.close(fd)
            self._rename(part, _code_file(name, mac))
            self._write_small(part, mac)
            self._rename(part, name + _MAC)
            os.fsync(self._dir)
        except BaseException:
            self._unlink(part)
            raise
        self._evict(keep=_code_file(name, mac))

    def _check_folder(self) -> None:
        status = os.fstat(self._dir)
        if status.st_uid != os.geteuid():
            raise CacheError(self._root, "belongs to another user", "name a folder of your own")
        if status.st_mode & _OTHERS_WRITE:
            raise CacheError(self._root, "can be written by other users", f"chmod 700 {self._root}")

    def _load_key(self) -> bytes:
        with contextlib.suppress(FileNotFoundError):
            return self._checked_key()
        part = f".{_KEY}.{secrets.token_hex(8)}{_PART}"
        self._write_small(part, os.urandom(_KEY_BYTES))
        # INVARIANT: a link is made whole or not at all, so no process ever reads half a key, and the first
        # one wins.
        with contextlib.suppress(FileExistsError):
            os.link(part, _KEY, src_dir_fd=self._dir, dst_dir_fd=self._dir, follow_symlinks=False)
        self._unlink(part)
        os.fsync(self._dir)
        return self._checked_key()

    def _checked_key(self) -> bytes:
        fd = self._open(_KEY)
        try:
            key = os.read(fd, _KEY_BYTES + 1)
            is_private = self._is_private(fd)
        finally:
            os.close(fd)
        if not is_private or len(key) != _KEY_BYTES:
            raise CacheError(self._root, "its key is damaged or readable by others", "delete the folder")
        return key

    def _is_private(self, fd: int) -> bool:
        status = os.fstat(fd)
        is_ours = status.st_uid == os.geteuid() and not status.st_mode & _OTHERS
        return is_ours and stat.S_ISREG(status.st_mode)

    def _mac_of(self, name: ArtifactName, fd: int) -> bytes:
        # SECURITY: the name has one length, so name and content cannot be shifted into each other.
        code = blake3(name.encode(), key=self._key)
        at = 0
        # Read, not mapped: a file that somebody cuts short meanwhile must not end the supervisor with SIGBUS.
        while block := os.pread(fd, _BLOCK_BYTES, at):
            code.update(block)
            at += len(block)
        return code.digest()

    def _discard(self, name: ArtifactName, mac: bytes, problem: str) -> Miss:
        self._unlink(name + _MAC)
        self._unlink(_code_file(name, mac))
        return Miss(f"artifact {name} was deleted: {problem}")

    def _evict(self, *, keep: str) -> None:
        """Delete what was used longest ago until the rest fits; a cell keeps the pages that it mapped."""
        kept: list[tuple[float, int, str]] = []
        with os.scandir(self._dir) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if entry.name.endswith(_CODE):
                        kept.append((status.st_mtime, status.st_size, entry.name))
                    elif entry.name.endswith(_PART) and status.st_mtime < time.time() - _PART_AGE_S:
                        self._unlink(entry.name)
        excess = sum(size for _, size, _ in kept) - self._max_bytes
        for _, size, file in sorted(kept):
            if excess <= 0:
                return
            if file == keep:
                continue
            self._drop_mac_of(file)
            self._unlink(file)
            excess -= size

    def _drop_mac_of(self, file: str) -> None:
        """Delete the code that names `file`, if it still does: a newer artifact keeps its own."""
        name = ArtifactName(file.partition(".")[0])
        with contextlib.suppress(OSError):
            if _code_file(name, self._read_small(name + _MAC, _MAC_BYTES)) == file:
                self._unlink(name + _MAC)

    def _open(self, file: str) -> int:
        # SECURITY: O_NONBLOCK, so that a FIFO put in the place of an artifact cannot hold the supervisor up.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        return os.open(file, flags, dir_fd=self._dir)

    def _create(self, file: str) -> int:
        return os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self._dir)

    def _read_small(self, file: str, size: int) -> bytes:
        fd = self._open(file)
        try:
            return os.read(fd, size + 1)
        finally:
            os.close(fd)

    def _write_small(self, file: str, content: bytes) -> None:
        fd = self._create(file)
        try:
            if os.write(fd, content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(fd)
        finally:
            os.close(fd)

    def _rename(self, old: str, new: str) -> None:
        os.rename(old, new, src_dir_fd=self._dir, dst_dir_fd=self._dir)

    def _unlink(self, file: str) -> None:
        with contextlib.suppress(OSError):
            os.unlink(file, dir_fd=self._dir)


def _code_file(name: ArtifactName, mac: bytes) -> str:
    return f"{name}.{mac[:8].hex()}{_CODE}"


def _copy(source: int, target: int) -> None:
    with os.fdopen(os.dup(source), "rb") as reader, os.fdopen(os.dup(target), "wb") as writer:
        reader.seek(0)
        while block := reader.read(_BLOCK_BYTES):
            writer.write(block)
