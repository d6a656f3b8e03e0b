"""Compiled modules kept on disk between runs, each authenticated before it is used.

Compiling lives in `compiler.py`, the folder itself in `cache_folder.py`; loading an artifact into an engine
happens in a cell.
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
from dataclasses import dataclass
from typing import TYPE_CHECKING, NewType, Self

from blake3 import blake3

from sandbox.artifact import Artifact
from sandbox.cache_folder import CacheError, CacheFolder, is_private, part_of

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

__all__ = ["ArtifactCache", "ArtifactName", "CacheError", "Miss", "artifact_name"]

ArtifactName = NewType("ArtifactName", str)

DEFAULT_MAX_BYTES = 2 << 30  # some fifty programs of CPython's size
_MAC_BYTES = 32
_CODE, _MAC = ".cwasm", ".mac"
_BLOCK_BYTES = 1 << 20


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
        self._max_bytes = max_bytes
        self._folder = CacheFolder(root)
        try:
            self._key = self._folder.key()
        except BaseException:
            self._folder.close()
            raise

    def close(self) -> None:
        """Close the folder; artifacts that were handed out stay open."""
        self._folder.close()

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
            mac = self._folder.read_small(name + _MAC, _MAC_BYTES)
            fd = self._folder.open(_code_file(name, mac)) if len(mac) == _MAC_BYTES else -1
        except FileNotFoundError:
            return Miss()
        except OSError as err:
            return Miss(f"artifact {name} could not be read: {err.strerror}")
        if fd < 0:
            return self._discard(name, mac, "its authentication code is damaged")
        try:
            # the size first: a file that was made larger than all files together may be is not read at all
            is_sane = is_private(fd) and os.fstat(fd).st_size <= self._max_bytes
            if is_sane and hmac.compare_digest(self._mac_of(name, fd), mac):
                with contextlib.suppress(OSError):
                    os.utime(fd)  # marks it as used, for `_make_room`
                return Artifact(fd)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return self._discard(name, mac, "it is not what was stored")

    def store(self, name: ArtifactName, artifact: Artifact) -> None:
        """Make room and keep a copy under that name, durably; raises OSError when it cannot be kept."""
        if artifact.size_bytes > self._max_bytes:
            raise OSError(errno.EFBIG, "it is larger than the cache may be")
        self._make_room(artifact.size_bytes)
        part, code = part_of(name), ""
        fd = self._folder.create(part)
        try:
            _copy(artifact.fd, fd)
            mac = self._mac_of(name, fd)
            os.fchmod(fd, 0o400)
            os.fsync(fd)
            code = _code_file(name, mac)
            self._folder.rename(part, code)
            self._folder.write_small(part, mac)
            self._folder.rename(part, name + _MAC)
            self._folder.sync()
        except BaseException:
            self._folder.unlink(part)
            self._folder.unlink(code)
            raise
        finally:
            os.close(fd)
        # others may have stored something at the same time
        self._make_room(0, keep=code)

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
        self._folder.unlink(name + _MAC)
        self._folder.unlink(_code_file(name, mac))
        return Miss(f"artifact {name} was deleted: {problem}")

    def _make_room(self, size_bytes: int, *, keep: str = "") -> None:
        """Delete what was used longest ago until so much fits in; a cell keeps the pages that it mapped."""
        kept = sorted(self._folder.files(_CODE))
        excess = sum(size for _, size, _ in kept) + size_bytes - self._max_bytes
        for _, size, file in kept:
            if excess <= 0:
                return
            if file == keep:
                continue
            self._drop_mac_of(file)
            self._folder.unlink(file)
            excess -= size

    def _drop_mac_of(self, file: str) -> None:
        """Delete the code that names `file`, if it still does: a newer artifact keeps its own."""
        name = ArtifactName(file.partition(".")[0])
        with contextlib.suppress(OSError):
            if _code_file(name, self._folder.read_small(name + _MAC, _MAC_BYTES)) == file:
                self._folder.unlink(name + _MAC)


def _code_file(name: ArtifactName, mac: bytes) -> str:
    return f"{name}.{mac[:8].hex()}{_CODE}"


def _copy(source: int, target: int) -> None:
    with os.fdopen(os.dup(source), "rb") as reader, os.fdopen(os.dup(target), "wb") as writer:
        reader.seek(0)
        while block := reader.read(_BLOCK_BYTES):
            writer.write(block)
