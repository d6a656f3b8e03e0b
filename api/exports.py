"""Exports of the audit log that are made in the background and fetched when they are ready.

What an export is, and its manifest, is `audit/export`; who may have one is decided where it is asked for.
INVARIANT: an export that is shown as done is whole and has its manifest, what a crash left is never shown,
and no key keeps another from having one made.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import IO, TYPE_CHECKING, cast

from api.logs import logger
from audit.errors import FormatError
from audit.identity import execution_id, new_uuid
from audit.store import make_directory, publish

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

MAX_KEPT = 100
"""Exports that are kept, done or not; the oldest that is over makes room for a new one."""

MAX_KEPT_OF_ONE = 25
MAX_GOING_OF_ONE = 5
"""Of one key: exports that are kept, and those of them that are not over."""

_AT_ONCE = 2  # written at the same time, each for another key

_LOG = logger("exports")
_FILE, _MANIFEST, _JOB = "export.bin", "manifest.json", "job.json"
_MAX_JOB = 1 << 16


class ExportState(StrEnum):
    """How far an export is."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class TooManyExportsError(Exception):
    """As many exports are going on as may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """One export, as it is known."""

    export_id: str
    owner: str  # mark of the key that asked
    form: str
    media_type: str
    asked_at_ns: int
    state: ExportState = ExportState.RUNNING
    rows: int | None = None
    size_bytes: int | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """What an export came to."""

    rows: int
    manifest: bytes


@dataclass(frozen=True, slots=True)
class _Job:
    wanted: Export
    folder: Path
    write: Callable[[IO[bytes]], Written]


class ExportJobs:
    """The exports of one service; thread-safe."""

    def __init__(self, folder: Path) -> None:
        """Keep them in a private folder; what was not done when the service ended is removed."""
        self._folder = folder
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="wasmgate-export")
        self._waiting: list[_Job] = []
        self._writing_for: set[str] = set()  # owners
        self._is_closed = False
        make_directory(folder)
        self._known: dict[str, Export] = {}
        for path in sorted(folder.iterdir()):
            found = _load(path / _JOB)
            if found is None or found.state is not ExportState.DONE or found.export_id != path.name:
                shutil.rmtree(path, ignore_errors=True)
            else:
                self._known[found.export_id] = found

    def start(
        self,
        wanted: Export,
        write: Callable[[IO[bytes]], Written],
        *,
        before: Callable[[], None] = lambda: None,
    ) -> Export:
        """Begin one; `write` is called in another thread, for one key one after the other.

        `before` is called when there is room for it, and nothing is begun if it fails. Raises
        TooManyExportsError and AuditError.
        """
        folder = self._folder / wanted.export_id
        with self._lock:
            self._make_room(wanted.owner)
            before()
            make_directory(folder)
            self._known[wanted.export_id] = wanted
            self._waiting.append(_Job(wanted, folder, write))
            self._go_on()
        return wanted

    def get(self, export_id: str, *, owner: str) -> Export | None:
        """Give one that `owner` asked for; None if there is none."""
        found = self._known.get(export_id)
        return found if found is not None and found.owner == owner else None

    def list(self, *, owner: str) -> tuple[Export, ...]:
        """Give those that `owner` asked for, newest first."""
        found = [export for export in list(self._known.values()) if export.owner == owner]
        return tuple(sorted(found, key=lambda export: (export.asked_at_ns, export.export_id), reverse=True))

    def file(self, export: Export) -> Path:
        """Give where the content is, once it is done."""
        return self._folder / export.export_id / _FILE

    def manifest(self, export: Export) -> bytes:
        """Give the manifest, once it is done."""
        return (self._folder / export.export_id / _MANIFEST).read_bytes()

    def close(self) -> None:
        """Begin no more, and wait for those that are being written."""
        with self._lock:
            self._is_closed = True
            self._waiting.clear()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _make_room(self, owner: str) -> None:
        if self._is_closed:
            raise TooManyExportsError("the service is ending")
        own = [export for export in self._known.values() if export.owner == owner]
        going = [export for export in own if export.state is ExportState.RUNNING]
        if len(going) >= MAX_GOING_OF_ONE:
            raise TooManyExportsError(f"this key has {len(going)} exports going on, and may have no more")
        # those of who asks go first: nobody asks so often that the exports of others are gone
        if len(own) >= MAX_KEPT_OF_ONE:
            self._remove_oldest(own)
        elif len(self._known) >= MAX_KEPT:
            self._remove_oldest(own if len(own) > len(going) else tuple(self._known.values()))

    def _remove_oldest(self, known: Sequence[Export]) -> None:
        over = [export for export in known if export.state is not ExportState.RUNNING]
        if not over:
            raise TooManyExportsError(f"{MAX_KEPT} exports are going on")
        oldest = min(over, key=lambda export: (export.asked_at_ns, export.export_id))
        del self._known[oldest.export_id]
        shutil.rmtree(self._folder / oldest.export_id, ignore_errors=True)

    def _go_on(self) -> None:
        """Begin what may begin; the lock is held."""
        for job in tuple(self._waiting):
            owner = job.wanted.owner
            if len(self._writing_for) < _AT_ONCE and owner not in self._writing_for:
                self._waiting.remove(job)
                self._writing_for.add(owner)
                self._threads.submit(self._work, job)

    def _work(self, job: _Job) -> None:
        done = _written(job)
        with self._lock:
            self._known[done.export_id] = done
            self._writing_for.discard(done.owner)
            self._go_on()


def _written(job: _Job) -> Export:
    wanted, folder = job.wanted, job.folder
    try:
        with (folder / _FILE).open("xb") as out:
            written = job.write(out)
            size = out.tell()
        publish(folder / _MANIFEST, written.manifest)
        done = replace(wanted, state=ExportState.DONE, rows=written.rows, size_bytes=size)
        publish(folder / _JOB, json.dumps(asdict(done)).encode())
    except Exception as err:  # noqa: BLE001  # whatever it is, who waits for it hears that it is over
        shutil.rmtree(folder, ignore_errors=True)
        _LOG.error("export failed", export=wanted.export_id, exc_info=err)
        return replace(wanted, state=ExportState.FAILED, problem=type(err).__name__)
    return done


def new_export(*, owner: str, form: str, media_type: str) -> Export:
    """Give an export that has not been begun."""
    return Export(
        export_id=str(new_uuid()), owner=owner, form=form, media_type=media_type, asked_at_ns=time.time_ns()
    )


def _load(path: Path) -> Export | None:
    try:
        with path.open("rb") as file:
            read = cast("dict[str, object]", json.loads(file.read(_MAX_JOB)))
        return Export(
            export_id=execution_id(str(read["export_id"])),
            owner=str(read["owner"]),
            form=str(read["form"]),
            media_type=str(read["media_type"]),
            asked_at_ns=int(str(read["asked_at_ns"])),
            state=ExportState(str(read["state"])),
            rows=int(str(read["rows"])),
            size_bytes=int(str(read["size_bytes"])),
        )
    except (OSError, ValueError, KeyError, TypeError, FormatError):
        return None
