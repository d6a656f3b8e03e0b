"""Appends frames to a write-ahead log, and says when they are durable.

The form of a frame lives in `wal.py`, one file in `log_file.py`, what becomes of a finished file in
`sealer.py`. Several threads may share a writer, several processes a log: each writer has files of its own
and holds a lock on the one it writes. INVARIANT: what was appended before `commit` returned survives a crash,
once; what a disk did not take is asked for again or is a gap on record. It is longer than most: its locks are
one subject.
"""

from __future__ import annotations

import contextlib
import re
import threading
from typing import TYPE_CHECKING

from audit.errors import (
    LogFullError,
    LogLostError,
    OrderError,
    UnknownExecutionError,
    WriteError,
    write_error,
)
from audit.identity import new_uuid
from audit.log_file import LogFile, LostFileError
from audit.lost_file import gaps_of
from audit.receipt import write_receipt
from audit.store import Store
from audit.unsynced import Owed, Unsynced, gap_frame
from audit.wal import NOBODY, Frame, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from audit.events import ControlEvent, Gap
    from audit.identity import ExecutionId
    from audit.receipt import Receipt
    from audit.start import ExecutionStart
    from audit.wal import Bytes

ROTATE_BYTES = 64 << 20
"""A file that has grown beyond this is followed by a new one: about a million records, one segment."""

_SHARD = re.compile(r"[a-z0-9_]{1,32}\Z")


class AuditWriter:
    """One stream of frames; thread-safe, also for calls about the same execution.

    Each method may raise LogFullError: the disk is full, read-only or fails. Then nothing was accepted,
    nothing that was committed is lost, and the same call can be made again. After LogLostError, which each
    execution gets once, the log goes on in a new file.
    """

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
        # `_sync_lock` before `_lock`, always. `_lock` guards all below; `_sync_lock` lets one thread sync,
        # and only who holds both goes on in another file.
        self._lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self._failure: WriteError | None = None
        self._is_closed = False
        self._written = 0  # bytes appended, over all files
        self._durable = 0  # of these, bytes that a finished sync covers
        self._unsynced = Unsynced()
        self._owed = Owed()
        self._starts: dict[ExecutionId, ExecutionStart] = {}
        self._next_seq: dict[ExecutionId, int] = {}
        self._intents: dict[ExecutionId, Frame] = {}  # the last one of each execution, while in flight
        self._ended: dict[ExecutionId, ExecutionStart] = {}  # whose last frames may not be durable
        self._ending: set[ExecutionId] = set()  # whose receipt is not written
        self._struck: dict[ExecutionId, WriteError] = {}  # who has not heard yet that a file was lost
        self._store.create()
        try:
            self._file = self._next_file(())
        except OSError as err:
            raise write_error(self._store.wal, err) from err

    @property
    def path(self) -> Path:
        """The file that is written now."""
        return self._file.path

    @property
    def size_bytes(self) -> int:
        """How large that file is."""
        return self._file.size

    @property
    def live(self) -> frozenset[ExecutionId]:
        """The executions that were begun and are not over."""
        with self._lock:
            return frozenset(self._starts)

    def begin(self, start: ExecutionStart) -> None:
        """Append what is known of an execution before its first call; not durable before `commit`."""
        self._make_room()
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
        self._make_room(exec_id)
        with self._lock:
            count = self._count(exec_id, records)
            if first_seq != self._next_seq[exec_id]:
                raise OrderError(exec_id, self._next_seq[exec_id], first_seq)
            self._hear(exec_id)
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
        self._make_room(exec_id)
        with self._lock:
            count = self._count(exec_id, record)
            if count != 1 or seq < self._next_seq[exec_id]:
                raise OrderError(exec_id, self._next_seq[exec_id], seq)
            self._hear(exec_id)
            frame = Frame(Kind.INTENT, exec_id, bytes(record), bytes(arena), seq, 1, arena_start)
            self._append(frame)
            self._intents[exec_id] = frame

    def commit(self, exec_id: ExecutionId | None = None) -> None:
        """Return when all that was appended before this call is durable.

        Threads that call it at the same time share one sync. `exec_id` is for whom; raises WriteError if the
        disk refused, or if somebody removed, replaced or cut the file.
        """
        with self._lock:
            self._check()
            if exec_id is not None:
                self._hear(exec_id)
            target = self._written
        with self._sync_lock:
            self._commit(target, exec_id)

    def end(self, exec_id: ExecutionId, receipt: Receipt) -> None:
        """Append the receipt, commit, and write the receipt's own file.

        After LogFullError it goes on where it stopped when it is called again.
        """
        self._make_room()
        with self._lock:
            is_live = exec_id in self._starts
            if receipt.execution_id != exec_id or not (is_live or exec_id in self._ending):
                raise UnknownExecutionError(exec_id)
            if is_live:
                self._append(Frame(Kind.END, exec_id, receipt.to_json()))
                self._over(exec_id)
                self._ending.add(exec_id)
        lost = None
        try:
            self.commit()
        except LogLostError as err:
            lost = err
            self.commit()  # in the file after it
        write_receipt(receipt, self._store.receipt(exec_id))
        with self._lock:
            self._ending.discard(exec_id)
        if lost is not None:
            raise lost

    def give_up(self, exec_id: ExecutionId, receipt: Receipt) -> None:
        """End an execution whose end the disk does not take: it is written as soon as that can be done.

        Its receipt's own file is then written when it is sealed.
        """
        with self._lock:
            self._ending.discard(exec_id)
            if exec_id in self._starts:
                self._owed.add(Frame(Kind.END, exec_id, receipt.to_json()))

    def record_event(self, event: ControlEvent) -> None:
        """Put an event of the control plane on record; it is durable when this returns."""
        self._make_room()
        with self._lock:
            self._append(Frame(Kind.EVENT, NOBODY, event.to_json()))
        self.commit()

    def note_gap(self, gap: Gap) -> None:
        """Put a gap on record: at once if the disk takes it, else as soon as it does."""
        with self._lock:
            self._owed.add(gap_frame(gap))
        with contextlib.suppress(WriteError):
            self.commit()

    def rotate(self, *, min_bytes: int = 1) -> Path | None:
        """Go on in a new file if this one holds `min_bytes`; give the old one, which can now be sealed.

        What is known of executions that are not over is repeated at the start of the new file.
        """
        with self._sync_lock:
            with self._lock:
                self._check()
                old = self._file
                if old.size < min_bytes or not old.size:
                    return None
            self._commit(self._written, None)  # most of it, while others append
            with self._lock:
                if self._file is old:
                    self._sync_all()
                    self._renew()
                return old.path

    def rotate_if_large(self) -> Path | None:
        """Do `rotate` when the file has outgrown the size given at the start."""
        return self.rotate(min_bytes=self._rotate_bytes) if self.size_bytes >= self._rotate_bytes else None

    def close(self) -> None:
        """Commit and give up the file; executions that were not ended count as killed.

        Raises WriteError when what was not durable is lost.
        """
        with self._sync_lock:
            if self._is_closed:
                return
            try:
                if self._failure is None:
                    self._commit(self._written, None)
                    if self._owed.frames():
                        raise LogFullError(self.path, "gaps could not be written")
                    if not self._file.size:
                        with contextlib.suppress(OSError):  # an empty file is no harm
                            self._file.path.unlink()
            finally:
                with self._lock:
                    self._file.close()
                    self._is_closed = True
                    self._failure = self._failure or WriteError(self.path, "the writer is closed")

    # --- under `_lock` ------------------------------------------------------------------------

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

    def _hear(self, exec_id: ExecutionId) -> None:
        """Raise what an execution has to know before it goes on, once."""
        struck = self._struck.pop(exec_id, None)
        if struck is not None:
            raise struck

    def _over(self, exec_id: ExecutionId) -> None:
        self._ended[exec_id] = self._starts.pop(exec_id)
        del self._next_seq[exec_id]
        self._intents.pop(exec_id, None)
        self._struck.pop(exec_id, None)

    def _append(self, frame: Frame) -> None:
        self._check()
        if self._is_broken:
            raise LogFullError(self.path, "it is going on in another file")
        self._put(frame)
        self._pay()

    @property
    def _is_broken(self) -> bool:
        return not self._file.is_trusted or self._file.is_lost

    def _put(self, frame: Frame) -> None:
        try:
            self._written += self._file.append(frame)
        except OSError as err:
            raise self._fail(err) from err
        self._unsynced.add(self._written, frame)

    def _pay(self) -> bool:
        """Write what is owed, if the disk takes it."""
        owed = self._owed.frames()
        for frame in owed:
            try:
                self._put(frame)
            except WriteError:
                # what was written of it is written again: a gap or an end that occurs twice is the same
                return False
        self._paid(owed)
        return bool(owed)

    def _paid(self, owed: list[Frame]) -> None:
        self._owed.settle()
        for frame in owed:
            if frame.kind is Kind.END and frame.exec_id in self._starts:
                self._over(frame.exec_id)

    def _settle(self, end: int) -> None:
        self._durable = max(self._durable, end)
        self._unsynced.settle(self._durable)
        if self._ended:
            doubtful = {frame.exec_id for frame in self._unsynced}
            self._ended = {name: start for name, start in self._ended.items() if name in doubtful}

    def _fail(self, err: OSError) -> WriteError:
        error = write_error(self.path, err)
        if not isinstance(error, LogFullError):
            self._failure = error
        return error

    # --- under `_sync_lock` -------------------------------------------------------------------

    def _commit(self, target: int, exec_id: ExecutionId | None) -> None:
        with self._lock:
            self._check()
            if self._is_broken:
                self._renew()
                return
            has_paid = self._pay()
            file, size, covered = self._file, self._file.size, self._written
            is_needed = has_paid or self._durable < target
        try:
            file.sync(size, is_needed=is_needed)
        except LostFileError as err:
            with self._lock:
                raise self._lose(err, exec_id) from err
        except OSError as err:
            with self._lock:
                if file.is_trusted:
                    raise self._fail(err) from err
                self._renew()
        else:
            with self._lock:
                self._settle(covered if is_needed else target)

    # --- under both ---------------------------------------------------------------------------

    def _lose(self, err: OSError, exec_id: ExecutionId | None) -> LogLostError:
        """Stop trusting a file that somebody else changed; all who had records in it are to hear of it."""
        file, problem = self._file, err.strerror or str(err)
        file.is_lost = True
        error = LogLostError(file.path, problem)
        self._struck |= {name: error for name in self._starts if name != exec_id}
        for gap in gaps_of(file, self._unsynced, problem=problem):
            self._owed.add(gap_frame(gap))
        with contextlib.suppress(LogFullError):  # then it is tried again with the next call
            self._renew()
        return error

    def _sync_all(self) -> None:
        """Leave nothing of the file without a sync; if that fails for good, it is not trusted any more."""
        if self._durable == self._written:
            return
        try:
            self._file.sync(self._file.size)
        except LostFileError as err:
            raise self._lose(err, None) from err
        except OSError as err:
            if self._file.is_trusted:
                raise self._fail(err) from err
        else:
            self._settle(self._written)

    def _renew(self) -> None:
        """Go on in a new file, with all that no sync covers; LogFullError, and then nothing has changed."""
        old, owed = self._file, self._owed.frames()
        try:
            if old.is_lost:
                with contextlib.suppress(OSError):
                    old.withdraw()
                self._store.create()
            elif not old.is_trusted:
                # INVARIANT: before the new file has its name: no record is in two files
                old.withdraw()
            new = self._next_file([*self._carried(), *owed])
        except OSError as err:
            raise LogFullError(old.path, err.strerror or str(err)) from err
        except WriteError as err:
            raise LogFullError(err.path, err.problem) from err
        self._file = new
        self._written += new.size
        self._paid(owed)
        self._settle(self._written)
        # INVARIANT: the lock on the old file goes when the new one is durable and locked. So
        # recovery, which lists again after it took a lock, knows that this writer lives.
        old.close()

    def _carried(self) -> Iterator[Frame]:
        """Give the frames with which a new file begins."""
        doubtful = {frame.exec_id for frame in self._unsynced}
        ended = [start for name, start in self._ended.items() if name in doubtful]
        for start in (*self._starts.values(), *ended):
            # The intent goes first: where the start was read, the intent was.
            if start.exec_id in self._intents:
                yield self._intents[start.exec_id]
            yield Frame(Kind.START, start.exec_id, start.to_json())
        for frame in self._unsynced:
            if frame.kind is not Kind.START:
                yield frame

    def _next_file(self, frames: Iterator[Frame] | list[Frame] | tuple[()]) -> LogFile:
        """Make the next file, durable and under its name; OSError."""
        number, self._files_made = self._files_made, self._files_made + 1
        file = LogFile.make(self._store.wal / f"{self._stem}-{number:06d}.wal")
        try:
            for frame in frames:
                file.append(frame)
            file.publish()
        except OSError as err:
            try:
                file.discard()
            except OSError:
                # what is in it may be found beside the same frames elsewhere: nothing more may be written
                self._failure = write_error(file.path, err)
            raise
        return file

    # --- without a lock -----------------------------------------------------------------------

    def _make_room(self, exec_id: ExecutionId | None = None) -> None:
        """See that a frame can be appended: that there are not too many without a sync, and a sound file."""
        if self._is_broken or self._unsynced.is_full:
            self.commit(exec_id)
