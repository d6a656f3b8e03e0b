"""Deletes segments: first on record, then on disk.

What may go is decided in `retention.py`. Of a segment that is gone its manifest and the hashes of its chunks
stay, and so do receipts: the trees over the rest verify as before. INVARIANT: a file is deleted only when an
entry of the transparency log names its segment as pruned and no hold covers it; what a crash left undone is
done the next time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from audit.catalogue import Catalogue
from audit.catalogue_tables import Retained, Stay
from audit.errors import write_error
from audit.events import Detail
from audit.holds import Hold
from audit.manifest import Manifest, manifest_path
from audit.store import Store, sync_directory

PRUNE = "prune"
_AT_ONCE = 64  # segments that one event names
_TEXT = 16_000  # characters of their paths: what a detail of an event may have
GOING = (".parquet", ".deny.parquet", ".rollup.parquet")
"""The files of a segment that are deleted; its manifest and the hashes of its chunks stay."""


def prune_details(store: Store, going: Sequence[Retained]) -> Iterator[tuple[str, dict[str, Detail]]]:
    """Give tenant and details of the events that tell of deleting segments; OSError if a manifest is gone.

    Each list in the details is text, a segment a line, all in the same order.
    """
    for batch in _batches(going):
        digests = [
            hashlib.sha256((store.root / manifest_path(one.path)).read_bytes()).hexdigest() for one in batch
        ]
        yield (
            batch[0].tenant,
            {
                "segments": "\n".join(one.path for one in batch),
                "manifests": "\n".join(digests),
                "rows": "\n".join(str(one.rows) for one in batch),
                "calls": "\n".join(str(one.calls) for one in batch),
                "executions": "\n".join(str(len(one.stays)) for one in batch),
                "count": len(batch),
                "total_rows": str(sum(one.rows for one in batch)),
                "total_bytes": str(sum(one.file_bytes for one in batch)),
            },
        )


@dataclass(frozen=True, slots=True)
class Deleted:
    """What is gone."""

    segments: int = 0
    files: int = 0
    freed_bytes: int = 0
    held: int = 0  # segments that are pruned on record, and stay because of a hold that came later


def left_over(store: Store, catalogue: Catalogue) -> tuple[str, ...]:
    """Give the segments that are deleted on record and still have files."""
    return tuple(path for path in sorted(catalogue.pruned()) if any(_files(store, path)))


def delete_pruned(store: Store, catalogue: Catalogue, holds: Sequence[Hold]) -> Deleted:
    """Delete the files of every segment that is pruned on record; WriteError."""
    segments = files = freed = held = 0
    for path in left_over(store, catalogue):
        if holds and any(hold.scope.covers(_retained(store, path)) for hold in holds):
            held += 1
            continue
        for file in _files(store, path):
            try:
                size = file.stat().st_size
                file.unlink()
            except FileNotFoundError:
                continue
            except OSError as err:
                raise write_error(file, err) from err
            files, freed = files + 1, freed + size
        sync_directory((store.root / path).parent)
        segments += 1
    return Deleted(segments, files, freed, held)


def _files(store: Store, segment: str) -> Iterator[Path]:
    whole = store.root / segment
    # SECURITY: the path comes from the log; nothing but files of segments is ever deleted
    if whole.suffix != ".parquet" or ".." in whole.parts or store.segments not in whole.parents:
        return
    for suffix in GOING:
        path = whole.with_suffix(suffix)
        if path.is_file() and not path.is_symlink():
            yield path


def _retained(store: Store, path: str) -> Retained:
    read = Manifest.from_json((store.root / manifest_path(path)).read_bytes())
    return Retained(
        path=path,
        tenant=read.tenant,
        rows=read.rows,
        calls=read.calls,
        t_min_ns=read.t_min_ns,
        t_max_ns=read.t_max_ns,
        file_bytes=read.files.size_bytes,
        modules=read.modules,
        stays=tuple(Stay(span.exec_id, span.retain_days, None) for span in read.spans),
    )


def _batches(going: Sequence[Retained]) -> Iterator[list[Retained]]:
    batch: list[Retained] = []
    size = 0
    for one in sorted(going, key=lambda each: (each.tenant, each.t_min_ns, each.path)):
        is_full = len(batch) == _AT_ONCE or size + len(one.path) + 1 > _TEXT
        if batch and (is_full or one.tenant != batch[0].tenant):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += len(one.path) + 1
    if batch:
        yield batch
