"""Appends frames to a write-ahead log, and says when they are durable.

The form of a frame lives in `wal.py`; what becomes of a finished file in `sealer.py`. Several threads
may share a writer, several processes a log: each writer has files of its own and holds a lock on the
one it writes. INVARIANT: what was appended before `commit` returned survives a crash; after a
failure nothing is accepted any more, so that no host call goes on unrecorded.
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
from typing import TYPE_CHECKING

from audit.errors import OrderError, UnknownExecutionError, WriteError
from audit.identity import new_uuid
from audit.receipt import write_receipt
from audit.store import Store, hidden_name, sync_directory
from audit.wal import FIRST, MAX_PAYLOAD_BYTES, Frame, Kind, encode

if TYPE_CHECKING:
    from pathlib import Path

    from audit.identity import ExecutionId
    from audit.receipt import Receipt
    from audit.start import ExecutionStart
    from audit.wal import Bytes

ROTATE_BYTES = 64 << 20
"""A file that has grown beyond this is followed by a new one: about a million records, one segment."""

_SHARD = re.compile(r"[a-z0-9_]{1,32}\Z")


class AuditWriter:
    """One stream of frames; thread-safe, also for calls about the same execution."""

    def __init__(self, root: Path, *, shard: str = "run", rotate_bytes: int = ROTATE_BYTES) -> None:
        """Open a new file below `root`; `shard` is a label in its name, `[a-z0-9_]{1,32}`.

        Raises WriteError.
        """
        if not _SHARD.match(shard):
            raise WriteError(root, f"a shard is named with a-z, 0-9 and _, not {shard!r}")
        self._store = Store(root)
        self._stem = f"{shard}-{new_uuid().hex}"  # unique: names the files, and later the segments
        self._rotate_bytes = rotate_bytes
        self._files_made = 0
        # `_sync_lock` before `_lock`, always. `_lock` guards all below; `_sync_lock` lets one thread sync.
        self._lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self._failure: WriteError | None = None
        self._written = 0  # bytes appended, over all files
        self._durable = 0  # of these, bytes that a finished sync covers
        self._starts: dict[ExecutionId, ExecutionStart] = {}
        self._next_seq: dict[ExecutionId, int] = {}
        self._intents: dict[ExecutionId, Frame] = {}  # the last one of each execution, while in flight
        self._path, self._handle = root, -1
        self._size, self._frame_no, self._previous = 0, 0, FIRST
        self._store.create()
        with self._sync_lock, self._lock:
            self._open()

    @property
    def path(self) -> Path:
        """The file that is written now."""
        return self._path

    @property
    def size_bytes(self) -> int:
        """How large that file is."""
        return self._size

    @property
    def live(self) -> frozenset[ExecutionId]:
        """The executions that were begun and are not over."""
        with self._lock:
            return frozenset(self._starts)

    def begin(self, start: ExecutionStart) -> None:
        """Append what is known of an execution before its first call; not durable before `commit`."""
        with self._lock:
            if start.exec_id in self._starts:
                raise UnknownExecutionError(start.exec_id)
            self._append(Frame(Kind.START, start.exec_id, start.to_json()))
            self._starts[start.exec_id] = start
            self._next_seq[start.exec_id] = 0

    def append(
        self,
        exec_id: ExecutionId,
        *,
        first_seq: int,
        records: Bytes,
        arena: Bytes = b"",
        arena_start: int = 0,
    ) -> None:
        """Append completed records; they must follow the ones before without a gap.

        `arena` is the linear span of the ring's arena that the records refer to, `arena_start` the
        offset of its first byte in the ring. The bytes are copied before this returns.
        Raises OrderError and UnknownExecutionError (nothing was written), WriteError.
        """
        with self._lock:
            count = self._count(exec_id, records)
            if first_seq != self._next_seq[exec_id]:
                raise OrderError(exec_id, self._next_seq[exec_id], first_seq)
            if count:
                self._append(Frame(Kind.RECORDS, exec_id, records, arena, first_seq, count, arena_start))
                self._next_seq[exec_id] = first_seq + count
                self._intents.pop(exec_id, None)

    def intent(
        self, exec_id: ExecutionId, *, seq: int, record: Bytes, arena: Bytes = b"", arena_start: int = 0
    ) -> None:
        """Append one record whose call has not returned; `append` gives the completed one later.

        Raises OrderError if `seq` was already appended as complete.
        """
        with self._lock:
            count = self._count(exec_id, record)
            if count != 1 or seq < self._next_seq[exec_id]:
                raise OrderError(exec_id, self._next_seq[exec_id], seq)
            self._append(Frame(Kind.INTENT, exec_id, record, arena, seq, 1, arena_start))
            self._intents[exec_id] = Frame(
                Kind.INTENT, exec_id, bytes(record), bytes(arena), seq, 1, arena_start
            )

    def commit(self) -> None:
        """Return when all that was appended before this call is durable.

        Threads that call it at the same time share one sync. Raises WriteError if the disk refused,
        or if somebody removed, replaced or cut the file.
        """
        with self._lock:
            self._check()
            target = self._written
        with self._sync_lock:
            with self._lock:
                self._check()
                covered, size = self._written, self._size
                is_durable = self._durable >= target
            self._sync(size, is_needed=not is_durable)
            self._durable = max(self._durable, target if is_durable else covered)

    def end(self, exec_id: ExecutionId, receipt: Receipt) -> None:
        """Append the receipt, commit, and write the receipt's own file."""
        with self._lock:
            if exec_id not in self._starts or receipt.execution_id != exec_id:
                raise UnknownExecutionError(exec_id)
            self._append(Frame(Kind.END, exec_id, receipt.to_json()))
            del self._starts[exec_id], self._next_seq[exec_id]
            self._intents.pop(exec_id, None)
        self.commit()
        write_receipt(receipt, self._store.receipt(exec_id))

    def rotate(self, *, min_bytes: int = 1) -> Path | None:
        """Go on in a new file if this one holds `min_bytes`; give the old one, which can now be sealed.

        What is known of executions that are not over is repeated at the start of the new file.
        """
        with self._sync_lock, self._lock:
            self._check()
            if self._size < min_bytes or not self._size:
                return None
            self._sync(self._size)
            self._durable = self._written
            old, old_handle = self._path, self._handle
            self._open()
            for start in self._starts.values():
                # The intent goes first: where the start was read, the intent was.
                if start.exec_id in self._intents:
                    self._append(self._intents[start.exec_id])
                self._append(Frame(Kind.START, start.exec_id, start.to_json()))
            self._sync(self._size)
            self._durable = self._written
            # INVARIANT: the lock on the old file goes when the new one is durable and locked. So
            # recovery, which lists again after it took a lock, knows that this writer lives.
            os.close(old_handle)
            return old

    def rotate_if_large(self) -> Path | None:
        """Do `rotate` when the file has outgrown the size given at the start."""
        return self.rotate(min_bytes=self._rotate_bytes) if self._size >= self._rotate_bytes else None

    def close(self) -> None:
        """Commit and give up the file; executions that were not ended count as killed."""
        with self._sync_lock, self._lock:
            if self._handle < 0:
                return
            try:
                if self._failure is None:
                    self._sync(self._size)
                    self._durable = self._written
                    if not self._size:
                        self._path.unlink()
            finally:
                os.close(self._handle)
                self._handle = -1
                self._failure = self._failure or WriteError(self._path, "the writer is closed")

    def _count(self, exec_id: ExecutionId, records: Bytes) -> int:
        start = self._starts.get(exec_id)
        if start is None:
            raise UnknownExecutionError(exec_id)
        count, rest = divmod(len(records), start.record_bytes)
        if rest:
            raise OrderError(exec_id, start.record_bytes, rest)
        return count

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _open(self) -> None:
        path = self._store.wal / f"{self._stem}-{self._files_made:06d}.wal"
        hidden = hidden_name(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            handle = os.open(hidden, flags, 0o600)
            # Locked before it has its name: recovery never finds it without its lock.
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            hidden.rename(path)
            sync_directory(path.parent)
        except OSError as err:
            raise self._fail(err, path) from err
        self._path, self._handle = path, handle
        self._files_made += 1
        self._size, self._frame_no, self._previous = 0, 0, FIRST

    def _append(self, frame: Frame) -> None:
        self._check()
        if len(frame.payload) + len(frame.arena) > MAX_PAYLOAD_BYTES:
            raise self._fail(OSError("a frame is larger than the format allows"), self._path)
        header, checksum = encode(frame, frame_no=self._frame_no, previous=self._previous)
        parts = [memoryview(header), memoryview(frame.payload).cast("B"), memoryview(frame.arena).cast("B")]
        size = sum(map(len, parts))
        try:
            self._write(parts, size)
        except OSError as err:
            raise self._fail(err, self._path) from err
        self._previous = checksum
        self._frame_no += 1
        self._size += size
        self._written += size

    def _write(self, parts: list[memoryview], size: int) -> None:
        done = os.writev(self._handle, parts)
        if done < size:  # a signal or a nearly full disk: the next write says which
            rest = memoryview(b"".join(parts))[done:]
            while rest:
                rest = rest[os.write(self._handle, rest) :]

    def _sync(self, size: int, *, is_needed: bool = True) -> None:
        try:
            if is_needed:
                os.fdatasync(self._handle)
            held, named = os.fstat(self._handle), self._path.stat(follow_symlinks=False)
            # SECURITY: a log that is deleted under its writer must not go unnoticed.
            if not held.st_nlink or (named.st_ino, named.st_dev) != (held.st_ino, held.st_dev):
                raise OSError("the file was removed or replaced")  # noqa: TRY301 -- handled as one
            if held.st_size < size:  # other threads may have appended since: more is right
                raise OSError("the file was cut")  # noqa: TRY301 -- handled as one
        except OSError as err:
            raise self._fail(err, self._path) from err

    def _fail(self, err: OSError, path: Path) -> WriteError:
        self._failure = WriteError(path, err.strerror or str(err))
        return self._failure
