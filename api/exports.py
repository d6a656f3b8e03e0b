"""Exports of the audit log that are made in the background and fetched when they are ready.

What an export is, and its manifest, is `audit/export`; who may have one is decided where it is asked for.
INVARIANT: an export that is shown as done is whole and has its manifest; what a crash left is never shown.
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
    from collections.abc import Callable
    from pathlib import Path

MAX_KEPT = 100
"""Exports that are kept, done or not; the oldest that is over makes room for a new one."""

_LOG = logger("exports")
_FILE, _MANIFEST, _JOB = "export.bin", "manifest.json", "job.json"
_MAX_JOB = 1 << 16


class ExportState(StrEnum):
    """How far an export is."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class TooManyExportsError(Exception):
    """As many exports as are kept are going on."""


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


class ExportJobs:
    """The exports of one service; thread-safe."""

    def __init__(self, folder: Path) -> None:
        """Keep them in a private folder; what was not done when the service ended is removed."""
        self._folder = folder
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="wasmgate-export")
        make_directory(folder)
        self._known: dict[str, Export] = {}
        for path in sorted(folder.iterdir()):
            found = _load(path / _JOB)
            if found is None or found.state is not ExportState.DONE or found.export_id != path.name:
                shutil.rmtree(path, ignore_errors=True)
            else:
                self._known[found.export_id] = found

    def start(self, wanted: Export, write: Callable[[IO[bytes]], Written]) -> Export:
        """Begin one; `write` is called in a thread of its own, one after the other.

        Raises TooManyExportsError and AuditError.
        """
        with self._lock:
            self._make_room(wanted.owner)
            self._known[wanted.export_id] = wanted
        folder = self._folder / wanted.export_id
        make_directory(folder)
        self._threads.submit(self._work, wanted, folder, write)
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
        """Begin no more, and wait for the one that is being written."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _make_room(self, owner: str) -> None:
        if len(self._known) < MAX_KEPT:
            return
        over = [export for export in self._known.values() if export.state is not ExportState.RUNNING]
        if not over:
            raise TooManyExportsError(f"{MAX_KEPT} exports are going on")
        # those of who asks go first: nobody asks so often that the exports of others are gone
        own = [export for export in over if export.owner == owner]
        oldest = min(own or over, key=lambda export: (export.asked_at_ns, export.export_id))
        del self._known[oldest.export_id]
        shutil.rmtree(self._folder / oldest.export_id, ignore_errors=True)

    def _work(self, wanted: Export, folder: Path, write: Callable[[IO[bytes]], Written]) -> None:
        try:
            with (folder / _FILE).open("xb") as out:
                written = write(out)
                size = out.tell()
            publish(folder / _MANIFEST, written.manifest)
            done = replace(wanted, state=ExportState.DONE, rows=written.rows, size_bytes=size)
            publish(folder / _JOB, json.dumps(asdict(done)).encode())
        except Exception as err:  # noqa: BLE001  # whatever it is, who waits for it hears that it is over
            shutil.rmtree(folder, ignore_errors=True)
            _LOG.error("export failed", export=wanted.export_id, exc_info=err)
            done = replace(wanted, state=ExportState.FAILED, problem=type(err).__name__)
        self._known[wanted.export_id] = done


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
