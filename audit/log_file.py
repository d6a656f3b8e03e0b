"""One file of a write-ahead log, as its writer holds it: made, appended to, synced, cut, given up.

Which frames are written, and what is done when a disk refuses, is `writer.py`. A file is made under a hidden
name and locked, and gets its own when it is durable. INVARIANT: behind `size` there is nothing but what a
failed write left, and that is cut away before anything else is written.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from audit.store import hidden_name, sync_directory
from audit.wal import FIRST, MAX_PAYLOAD_BYTES, NOBODY, Frame, Kind, encode

if TYPE_CHECKING:
    from pathlib import Path

    from audit.identity import ExecutionId

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW


class LostFileError(OSError):
    """The file is not the one that its name leads to, or not as long as it was."""


@dataclass(slots=True)
class LogFile:
    """A file that is written; not thread-safe, but for `sync`."""

    path: Path
    handle: int
    hidden: Path | None  # its name before it got its own
    size: int = 0  # where the last whole frame ends
    durable: int = 0  # how much of it a finished sync covers
    is_trusted: bool = True  # False after a sync that failed: what the disk has is not known
    is_lost: bool = False  # somebody else changed it
    spans: dict[ExecutionId, tuple[int, int]] = field(default_factory=dict)
    """By execution, its records in it: the first, and the one that is next; (-1, -1) when it has none."""
    events: int = 0  # frames of the control plane
    _is_torn: bool = False
    _frame_no: int = 0
    _previous: bytes = FIRST

    @classmethod
    def make(cls, path: Path) -> Self:
        """Make and lock an empty file that will be called `path`; OSError."""
        hidden = hidden_name(path)
        handle = os.open(hidden, _FLAGS, 0o600)
        try:
            # Locked before it has its name: recovery never finds it without its lock.
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise
        return cls(path, handle, hidden)

    def publish(self) -> None:
        """Make it durable and give it its name; OSError."""
        if self.hidden is None:
            return
        if self.size:
            os.fsync(self.handle)
        self.hidden.rename(self.path)
        self.hidden = None
        sync_directory(self.path.parent)
        self.durable = self.size

    def append(self, frame: Frame) -> int:
        """Write a frame and give its bytes; OSError, and then nothing of it is there."""
        length = len(frame.payload) + len(frame.arena)
        if length > MAX_PAYLOAD_BYTES:
            raise OSError(errno.EINVAL, "a frame is larger than the format allows")
        if self._is_torn:
            os.ftruncate(self.handle, self.size)
            self._is_torn = False
        header, checksum = encode(frame, frame_no=self._frame_no, previous=self._previous)
        try:
            self._write([header, frame.payload, frame.arena], len(header) + length)
        except OSError:
            self._is_torn = True
            with contextlib.suppress(OSError):  # then it is tried again before the next frame
                os.ftruncate(self.handle, self.size)
                self._is_torn = False
            raise
        self._previous = checksum
        self._frame_no += 1
        self.size += len(header) + length
        self._account(frame)
        return len(header) + length

    def sync(self, size: int, *, is_needed: bool = True) -> None:
        """Make the first `size` bytes durable, and look whether the file is still what it was.

        Raises OSError, and then the file is not to be trusted any more, and LostFileError.
        """
        if is_needed:
            try:
                os.fdatasync(self.handle)
            except OSError:
                # SECURITY: the system may have dropped what it could not write, and say so only once
                self.is_trusted = False
                raise
        held = os.fstat(self.handle)
        try:
            named = self.path.stat(follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError) as err:
            raise LostFileError(err.errno, "the file was removed or replaced") from err
        # SECURITY: a log that is deleted under its writer must not go unnoticed.
        if not held.st_nlink or (named.st_ino, named.st_dev) != (held.st_ino, held.st_dev):
            raise LostFileError(errno.ENOENT, "the file was removed or replaced")
        if held.st_size < size:  # other threads may have appended since: more is right
            raise LostFileError(errno.ENOENT, "the file was cut")
        self.durable = max(self.durable, size)

    def withdraw(self) -> None:
        """Take back, durably, what no sync covered, since it goes to another file; OSError."""
        end = min(self.durable, os.fstat(self.handle).st_size)
        os.ftruncate(self.handle, end)
        os.fsync(self.handle)
        self.size = end

    def discard(self) -> None:
        """Take all of it back, and give it up; OSError if what is in it may be found."""
        try:
            if self.hidden is None:
                os.ftruncate(self.handle, 0)
                self.path.unlink()
            else:
                with contextlib.suppress(OSError):  # nobody reads what is hidden
                    self.hidden.unlink()
        finally:
            os.close(self.handle)

    def close(self) -> None:
        """Give it up; who waits for its lock gets it."""
        os.close(self.handle)

    def _write(self, parts: list[bytes | bytearray | memoryview], size: int) -> None:
        done = os.writev(self.handle, parts)
        if done < size:  # a signal or a nearly full disk: the next write says which
            rest = memoryview(b"".join(parts))[done:]
            while rest:
                rest = rest[os.write(self.handle, rest) :]

    def _account(self, frame: Frame) -> None:
        if frame.exec_id == NOBODY:
            self.events += 1
            return
        first, following = self.spans.get(frame.exec_id, (-1, -1))
        if frame.kind is Kind.RECORDS:
            first = frame.first_seq if first < 0 else first
            following = frame.first_seq + frame.n_records
        self.spans[frame.exec_id] = (first, following)
