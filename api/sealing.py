"""The audit log as this program uses it: opened for queries, and sealed from time to time.

How either is done is `audit/`, to which the decoder of `sandbox/` is handed here. INVARIANT: a failure to
seal loses nothing, since the write-ahead log stays until its segment is durable, and is reported once.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from audit.errors import AuditError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from audit.query import AuditReader
    from audit.sealer import Sealed
    from audit.writer import AuditWriter

BRIEF_FILES = 24
"""A program that runs one module leaves its short log to the next reader, until there are this many."""


def _tell_operator(sentence: str) -> None:
    sys.stderr.write(f"wasmgate: {sentence}\n")


def seal_left(root: Path, *, on_damage: Callable[[str], None] = _tell_operator) -> tuple[Sealed, ...]:
    """Seal every file that no writer holds any more; raises AuditError.

    `on_damage` hears of each file that was damaged otherwise than by a crash: what follows the damage is set
    aside, not sealed.
    """
    from audit.recovery import recover
    from audit.wal import Problem
    from sandbox.monitor.decode import decode

    done = recover(root, decode)
    for one in done:
        if one.problem is Problem.CORRUPT:
            on_damage(
                f"the log file {one.wal} is damaged: {one.rows} records were sealed, {one.lost_bytes} bytes"
                " could not be read and are kept beside it as .damaged"
            )
    return done


def open_reader(
    root: Path,
    *,
    keys_dir: Path | None = None,
    cursor_key: bytes | None = None,
    memory_mb: int = 1024,
    totals_seconds: float | None = 60.0,
) -> AuditReader:
    """Queries on a log, sealed or not; raises QueryError if there is none.

    What is not sealed yet is masked with the keys in `keys_dir`; what would need a key is dropped without it.
    """
    from audit.gather import Reading
    from audit.mask_keys import FileMaskKeys
    from audit.masks import NoKeys, mask
    from audit.query import AuditReader
    from sandbox.monitor.decode import decode

    keys = NoKeys() if keys_dir is None else FileMaskKeys(keys_dir / "mask")
    return AuditReader(
        root,
        Reading(decode, lambda rows, start: mask(rows, start, keys)),
        cursor_key=cursor_key,
        memory_mb=memory_mb,
        totals_seconds=totals_seconds,
    )


def is_much_left(root: Path) -> bool:
    """Say whether so many files wait that reading them all would take noticeable time."""
    return sum(1 for _ in (root / "wal").glob("[!.]*.wal")) > BRIEF_FILES


class Sealing:
    """A thread that seals in the background until it is closed."""

    def __init__(
        self,
        root: Path,
        writer: AuditWriter,
        *,
        every_s: float,
        min_bytes: int,
        on_failure: Callable[[AuditError], None],
    ) -> None:
        """Look every `every_s` seconds, and seal when the file has `min_bytes`."""
        self._root = root
        self._writer = writer
        self._every_s = every_s
        self._min_bytes = min_bytes
        self._on_failure = on_failure
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="wasmgate-sealing", daemon=True)
        self._thread.start()

    def seal(self) -> tuple[Sealed, ...]:
        """Seal now all that is over; raises AuditError."""
        with self._lock:
            self._writer.rotate()
            return seal_left(self._root)

    def close(self) -> None:
        """End the thread; what is not sealed is left for the next start."""
        self._closing.set()
        self._thread.join()

    def _work(self) -> None:
        has_failed = False
        while not self._closing.wait(self._every_s):
            if self._writer.size_bytes < self._min_bytes:
                continue
            try:
                self.seal()
                has_failed = False
            except AuditError as err:
                if not has_failed:
                    self._on_failure(err)
                has_failed = True
