"""Figures about a log: what waits to be sealed and signed, and how much room it takes and has.

They are read from file names and sizes, never from records; what is done about them is decided elsewhere.
INVARIANT: asking changes nothing, and holds nobody up who writes.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from api.disk_budget import level_of, sentence
from audit.errors import AuditError
from audit.store import Store
from audit.tlog.checkpoint import parse_checkpoint_text
from audit.tlog.log import TransparencyLog
from audit.tlog.note import MAX_NOTE_BYTES, parse_note
from audit.tlog.tile_files import read_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_WALK_EVERY_S = 5.0  # the folders may hold a hundred thousand files


@dataclass(frozen=True, slots=True)
class FollowerStatus:
    """Somebody whom the log is sent on to."""

    name: str
    lag: int  # leaves that it has not had yet
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStatus:
    """The figures of one moment."""

    tree_size: int
    checkpoint_size: int | None
    checkpoint_age_s: float | None
    unsealed_files: int
    unsealed_bytes: int
    unsealed_age_s: float  # of the oldest file
    damaged_files: int
    used_bytes: int
    free_bytes: int
    budget_bytes: int  # 0: none
    gaps: int = 0
    back_pressure_s: float = 0.0
    problems: tuple[str, ...] = ()
    followers: tuple[FollowerStatus, ...] = ()


@dataclass(slots=True)
class LogFigures:
    """Gathers the figures of one log; thread-safe."""

    root: Path
    budget_bytes: int
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _used: tuple[float, int] = (0.0, 0)

    def now(
        self,
        *,
        gaps: int = 0,
        back_pressure_s: float = 0.0,
        problems: tuple[str, ...] = (),
        followers: tuple[FollowerStatus, ...] = (),
    ) -> LogStatus:
        """Give the figures of now; what only the caller knows is handed in. Raises OSError."""
        store, problems_found = Store(self.root), list(problems)
        log = TransparencyLog(self.root / "tlog")
        try:
            size, signed = log.size, _signed(log)
        except AuditError as err:
            size, signed = 0, (None, None)
            problems_found.append(str(err))
        used = self._used_bytes()
        if level_of(used, self.budget_bytes):
            problems_found.append(sentence(used, self.budget_bytes))
        waiting = list(_files(store.wal, ".wal"))
        oldest = min((about.st_mtime for about in waiting), default=time.time())
        return LogStatus(
            tree_size=size,
            checkpoint_size=signed[0],
            checkpoint_age_s=signed[1],
            unsealed_files=len(waiting),
            unsealed_bytes=sum(about.st_size for about in waiting),
            unsealed_age_s=round(max(time.time() - oldest, 0.0), 3),
            damaged_files=len(list(_files(store.wal, ".damaged"))),
            used_bytes=used,
            free_bytes=shutil.disk_usage(self.root).free,
            budget_bytes=self.budget_bytes,
            gaps=gaps,
            back_pressure_s=round(back_pressure_s, 3),
            problems=tuple(problems_found),
            followers=followers,
        )

    def _used_bytes(self) -> int:
        with self._lock:
            if time.monotonic() - self._used[0] >= _WALK_EVERY_S or not self._used[0]:
                self._used = (time.monotonic(), _size_of(self.root))
            return self._used[1]


def _signed(log: TransparencyLog) -> tuple[int | None, float | None]:
    path = log.directory / "checkpoint"
    try:
        checkpoint = parse_checkpoint_text(parse_note(read_file(path, most=MAX_NOTE_BYTES)).text)
        age_s = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return None, None
    return checkpoint.size, round(max(age_s, 0.0), 3)


def _files(folder: Path, ending: str) -> Iterator[os.stat_result]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(ending) and not entry.name.startswith("."):
                    try:
                        about = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:  # sealed and deleted since it was listed
                        continue
                    if about.st_size:
                        yield about
    except FileNotFoundError:
        return


def _size_of(folder: Path) -> int:
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(path, name), follow_symlinks=False).st_size  # noqa: PTH116, PTH118  # many files
            except FileNotFoundError:
                continue
    return total
