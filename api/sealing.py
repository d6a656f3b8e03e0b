"""The audit log as this program uses it: opened for queries, and sealed from time to time.

How either is done is `audit/`, to which the decoder of `sandbox/` is handed here; a service has it done by
`sealer_process.py`. INVARIANT: a failure to
seal loses nothing, since the write-ahead log stays until its segment is durable, and is reported once.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

from api.sealer_process import SealedFile, SealerProcess
from audit.errors import AuditError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from audit.gather import Reading
    from audit.query import AuditReader
    from audit.sealer import Sealed
    from audit.writer import AuditWriter

GROWN_BYTES = 4 << 20
"""A file that holds so much, some sixty thousand records, is sealed without waiting for the idle interval."""

LOADED_EVERY_S = 1.0
"""How long that takes at most; sealing more often would make many small segments."""

_LOOK_S = 0.25  # between two looks at the size of the file

BRIEF_FILES = 24
"""A program that runs one module leaves its short log to the next reader, until there are this many."""


def _tell_operator(sentence: str) -> None:
    sys.stderr.write(f"wasmgate: {sentence}\n")


def seal_left(
    root: Path, *, keys_dir: Path | None = None, on_damage: Callable[[str], None] = _tell_operator
) -> tuple[Sealed, ...]:
    """Seal every file that no writer holds any more, in this process; raises AuditError.

    Masks use the keys in `keys_dir`; what would need a key is dropped without it. `on_damage` hears of each
    file that was damaged otherwise than by a crash: what follows the damage is set aside, not sealed.
    """
    done = recovered(root, keys_dir=keys_dir)
    for one in done:
        sentence = SealedFile.of(one).sentence
        if sentence is not None:
            on_damage(sentence)
    return done


def recovered(root: Path, *, keys_dir: Path | None) -> tuple[Sealed, ...]:
    """Seal as `seal_left` does, without a word."""
    from audit.recovery import recover

    return recover(root, reading_with(keys_dir))


def reading_with(keys_dir: Path | None) -> Reading:
    """How records become rows that may be stored or shown: decoded, and masked with the keys in a folder."""
    from audit.gather import Reading
    from audit.mask_keys import FileMaskKeys
    from audit.masks import NoKeys, mask
    from sandbox.monitor.decode import decode

    keys = NoKeys() if keys_dir is None else FileMaskKeys(keys_dir / "mask")
    return Reading(decode, lambda rows, start: mask(rows, start, keys))


def open_reader(
    root: Path,
    *,
    keys_dir: Path | None = None,
    cursor_key: bytes | None = None,
    memory_mb: int = 1024,
    totals_seconds: float | None = 60.0,
    backend: str = "embedded",
) -> AuditReader:
    """Queries on a log, sealed or not; raises QueryError if there is none.

    What is not sealed yet is masked with the keys in `keys_dir`; what would need a key is dropped without it.
    Another `backend` answers from what was loaded into it.
    """
    from audit.query import AuditReader
    from audit.scaleout.backend import Backend

    asked = Backend.parse(backend)
    if asked.kind != "embedded":
        from audit.scaleout.reader import ClickHouseReader

        return ClickHouseReader.open(
            asked,
            root,
            reading_with(keys_dir),
            cursor_key=cursor_key,
            memory_mb=memory_mb,
            totals_seconds=totals_seconds,
        )
    return AuditReader(
        root,
        reading_with(keys_dir),
        cursor_key=cursor_key,
        memory_mb=memory_mb,
        totals_seconds=totals_seconds,
    )


def is_much_left(root: Path) -> bool:
    """Say whether so many files wait that reading them all would take noticeable time."""
    return sum(1 for _ in (root / "wal").glob("[!.]*.wal")) > BRIEF_FILES


class Sealing:
    """Has a process seal in the background until it is closed; it is started when it is first needed."""

    def __init__(
        self,
        root: Path,
        writer: AuditWriter,
        *,
        every_s: float,
        min_bytes: int,
        on_failure: Callable[[AuditError], None],
        keys_dir: Path | None = None,
        on_damage: Callable[[str], None] = _tell_operator,
        on_sealed: Callable[[], None] = lambda: None,
    ) -> None:
        """Seal when the file has `min_bytes`: every `every_s` seconds, and each second when it grows fast.

        `on_failure` hears of the first of several failures in a row, `on_sealed` that there is more to sign.
        """
        self._writer = writer
        self._every_s = every_s
        self._min_bytes = min_bytes
        self._on_failure, self._on_damage, self._on_sealed = on_failure, on_damage, on_sealed
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._process = SealerProcess(root, keys_dir=keys_dir)
        self._thread = threading.Thread(target=self._work, name="wasmgate-sealing", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """The process that seals; None before the first time."""
        return self._process.pid

    def seal(self) -> tuple[SealedFile, ...]:
        """Seal now all that is over; raises AuditError."""
        with self._lock:
            self._writer.rotate()
            done = self._process.seal()
        for one in done:
            if one.sentence is not None:
                self._on_damage(one.sentence)
        if done:
            self._on_sealed()
        return done

    def close(self) -> None:
        """End thread and process; what is not sealed is left for the next start."""
        self._closing.set()
        self._thread.join()
        with self._lock:
            self._process.close()

    def _work(self) -> None:
        has_failed, since = False, time.monotonic()
        while not self._closing.wait(_LOOK_S):
            waited_s, size = time.monotonic() - since, self._writer.size_bytes
            is_due = waited_s >= self._every_s or (size >= GROWN_BYTES and waited_s >= LOADED_EVERY_S)
            # what could not be sealed is in files that were given up: the size of this one does not tell
            if (size < self._min_bytes and not has_failed) or not is_due:
                continue
            try:
                self.seal()
                has_failed = False
            except AuditError as err:
                if not has_failed:
                    self._on_failure(err)
                has_failed = True
            since = time.monotonic()
