"""Seals every write-ahead log file that no writer holds any more, whatever became of its writer.

How one file is sealed is in `sealer.py`. Run at each start, after each run, and from time to time
in a service; several processes may do so at once and take turns. INVARIANT: a file that a live
writer holds is never touched, and everything that was acknowledged is sealed.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import groupby
from pathlib import Path

from audit.catalogue import Catalogue
from audit.gather import Decoder, Reading
from audit.leaves import LeafKind, gap_leaf
from audit.openers import SUFFIX as STATE_SUFFIX
from audit.openers import drop_states
from audit.sealer import Sealed, Sealer
from audit.senseless import SENSELESS, lost, sensible
from audit.store import Store, locked, sync_directory
from audit.tlog.log import TransparencyLog
from audit.wal import Problem, read_frames

_LEFT_BEHIND_S = 3_600
"""A hidden file that is older than this belongs to nobody who lives."""


def recover(root: Path, reading: Reading | Decoder) -> tuple[Sealed, ...]:
    """Seal what is left below `root`; give what was sealed, in order. Waits for another sealer.

    Of a file that makes no sense to this version from some frame on, what stands before is sealed; the file
    is renamed to `.damaged` and reported.
    Raises WriteError if the log can't be written, and DamageError if the transparency log is not whole.
    """
    store = Store(root)
    # a crash may have left states, which are not masked, when the last log file was gone
    if not store.wal.is_dir() or not (wal_files(store) or any(store.wal.glob(f"[!.]*{STATE_SUFFIX}"))):
        return ()
    with locked(store.seal_lock):
        _sweep(store)
        catalogue = Catalogue(store)
        # INVARIANT: entries that were appended before a crash are known before any is looked for
        catalogue.catch_up()
        sealer = Sealer(store, catalogue, Reading.of(reading), TransparencyLog(store.tlog))
        done: list[Sealed] = []
        for writer, _ in groupby(wal_files(store), key=writer_of):
            done += _seal_writer(store, sealer, writer)
        drop_states(store.wal, wal_files(store))
        return tuple(done)


def writer_of(path: Path) -> str:
    """Give the part of a log file's name that all files of one writer share."""
    return path.stem.rpartition("-")[0]


def wal_files(store: Store) -> list[Path]:
    """Give the log files, those of one writer together and in their order."""
    return sorted(store.wal.glob("[!.]*.wal"))


def _seal_writer(store: Store, sealer: Sealer, writer: str) -> Iterator[Sealed]:
    with ExitStack() as held:
        ours = [path for path in wal_files(store) if writer_of(path) == writer and _lock(held, path)]
        # INVARIANT: listed again under the locks: a writer makes and locks its next file before it
        # gives up the last, so a writer that lives holds a file that is not in `ours`.
        present = [path for path in wal_files(store) if writer_of(path) == writer]
        is_alive = any(path not in ours for path in present)
        for path in ours:
            following = [other for other in present if other > path]
            try:
                yield sealer.seal(path, following=following, is_writer_alive=is_alive)
            except SENSELESS:
                # SECURITY: whatever a cell that was taken over wrote, it must not keep other files from being
                # sealed, nor take what was written before it out of the log
                yield _seal_beginning(sealer, path, following=following, is_writer_alive=is_alive)


def _seal_beginning(
    sealer: Sealer, path: Path, *, following: Sequence[Path], is_writer_alive: bool
) -> Sealed:
    """Seal what stands before the first frame that makes no sense, and put on record what stands behind."""
    frames = read_frames(path).frames
    count = sensible(frames, sealer.reading)
    _drop_unfinished(sealer, path)
    reason = f"they are in {path.with_suffix('.damaged').name}, which makes no sense from there on"
    gaps = [
        gap_leaf(exec_id, first, last, reason=reason, at_ns=sealer.now_ns())
        for exec_id, ranges in lost(frames[count:]).items()
        for first, last in ranges
    ]
    sealer.append(gaps)
    sealer.catalogue.catch_up()  # what is sealed next may tell of the same gaps
    try:
        if count:
            return sealer.seal(path, following=following, is_writer_alive=is_writer_alive, most=count)
    except SENSELESS:  # frame by frame it made sense, and not as a whole
        _drop_unfinished(sealer, path)
    return _set_aside(sealer, path)


def _set_aside(sealer: Sealer, path: Path) -> Sealed:
    """Keep a file whose frames are whole and make no sense, so that it blocks no other."""
    size = path.stat().st_size
    entries = sealer.append([sealer.damage(path, size)])
    sealer.catalogue.add((), ())
    path.rename(path.with_suffix(".damaged"))
    sync_directory(path.parent)
    return Sealed(
        wal=path.name,
        rows=0,
        segments=(),
        receipts=(),
        killed=(),
        gaps=(),
        lost_bytes=size,
        problem=Problem.CORRUPT,
        entries=entries,
    )


def _drop_unfinished(sealer: Sealer, path: Path) -> None:
    """Remove the files of segments that were begun and will have no entry."""
    store = sealer.store
    for made in store.segments.rglob(f"{path.stem}.*"):
        segment = made.with_name(f"{path.stem}.parquet").relative_to(store.root)
        if sealer.catalogue.leaf(LeafKind.SEGMENT, str(segment)) is None:
            made.unlink(missing_ok=True)


def _lock(held: ExitStack, path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return False
    held.callback(os.close, handle)
    return True


def _sweep(store: Store) -> None:
    """Remove what was left under a hidden name: by a sealer that died, since nobody else seals now."""
    for leftover in store.segments.rglob(".*.part"):
        leftover.unlink(missing_ok=True)
    for leftover in (*store.wal.glob(".*.part"), *store.receipts.glob(".*.part")):
        # A writer that lives may be about to rename it.
        with suppress(FileNotFoundError):
            if time.time() - leftover.stat().st_mtime > _LEFT_BEHIND_S:
                leftover.unlink()
