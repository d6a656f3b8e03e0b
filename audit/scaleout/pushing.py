"""Copies a log to object storage: segments, receipts and the transparency log, as far as it is signed.

The other way is `pulling.py`. The checkpoint comes last, so a copy that has one is complete up to it, and the
next push begins there; one that was broken off begins again and finds what is there already. INVARIANT: what
is sent has the digest that its leaf names; nothing that is there is replaced but an older checkpoint, and
nothing is deleted but, where that is asked for, what the signed log says was deleted here.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, TypeVar

from audit.manifest import Manifest
from audit.scaleout.errors import ConflictError, StoreError
from audit.scaleout.holdings import PruneLeaf, ReceiptLeaf, SegmentLeaf, holding
from audit.scaleout.objects import Objects
from audit.store import Store
from audit.tlog.checkpoint import Checkpoint, parse_checkpoint_text
from audit.tlog.errors import NoteError
from audit.tlog.log import TransparencyLog
from audit.tlog.note import parse_note
from audit.tlog.tile_files import TileFiles
from audit.tlog.tiles import ENTRIES, HEIGHT, WIDTH, Tile, pack_entries, tiles_of

_T = TypeVar("_T")

CHECKPOINT: Final = "tlog/checkpoint"
CHECKPOINT_BYTES: Final = 1 << 16
_AT_ONCE: Final = 8
_NOTES_BEHIND: Final = 1_024  # notes are signed after the checkpoint: the last leaves are looked at once more


@dataclass(frozen=True, slots=True)
class Pushed:
    """What one push did."""

    leaves: int  # of the copy now
    objects: int = 0  # that were made
    size_bytes: int = 0
    there: int = 0  # that were there already


@dataclass(slots=True)
class _Count:
    """Written by several threads, under a lock."""

    objects: int = 0
    size_bytes: int = 0
    there: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, size_bytes: int | None) -> None:
        """Count an object: its bytes if it was made, None if it was there."""
        with self.lock:
            if size_bytes is None:
                self.there += 1
            else:
                self.objects += 1
                self.size_bytes += size_bytes


class Pusher:
    """Pushes one log to one place."""

    def __init__(self, store: Store, objects: Objects) -> None:
        """Touch neither yet."""
        self._store, self._objects = store, objects
        self._log, self._tiles = TransparencyLog(store.tlog), TileFiles(store.tlog)
        self._count = _Count()

    def push(self, *, is_full: bool = False) -> Pushed:
        """Send what the copy has not; `is_full` compares what it has too. StoreError, ConflictError."""
        self._count = _Count()
        content, mine = self._own()
        before = self._objects.get(CHECKPOINT, most=CHECKPOINT_BYTES)
        theirs = None if before is None else checkpoint_of(self._objects.shown(CHECKPOINT), before.content)
        self._check(mine, theirs)
        done = 0 if theirs is None or is_full else theirs.size
        self._send_leaves(done, mine.size)
        self._each(self._send_tile, [tile for tile in tiles_of(mine.size) if _is_new(tile, done)])
        for path in sorted((self._store.tlog / "keys").glob("[!.]*")):
            self._send(f"tlog/keys/{path.name}", path.read_bytes())
        if before is None or before.content != content:
            self._objects.replace(CHECKPOINT, content, before=before)
            self._count.add(len(content))
        else:
            self._count.add(None)
        return Pushed(mine.size, self._count.objects, self._count.size_bytes, self._count.there)

    def delete_pruned(self) -> int:
        """Delete from the copy the records that were deleted here on record; give how many objects went.

        What a hold keeps here stays there too. StoreError, also where the storage refuses (Object Lock).
        """
        _, mine = self._own()
        self._check(mine, mine)
        leaves = (holding(entry) for entry in self._log.entries(0, mine.size))
        named = {name: files for one in leaves if isinstance(one, PruneLeaf) for name, files in one.files()}
        gone = 0
        for segment, files in sorted(named.items()):
            if not (self._store.root / segment).exists():
                gone += sum(self._objects.delete(name) for name in files)
        return gone

    def _own(self) -> tuple[bytes, Checkpoint]:
        path = self._store.tlog / "checkpoint"
        try:
            content = path.read_bytes()
        except OSError as err:
            raise StoreError(str(path), "nothing is signed yet, and only what is signed is copied") from err
        return content, checkpoint_of(str(path), content)

    def _check(self, mine: Checkpoint, theirs: Checkpoint | None) -> None:
        where = self._objects.shown(CHECKPOINT)
        if self._log.hash_of_tree(mine.size) != mine.root:
            raise StoreError(str(self._store.tlog), "its checkpoint is not that of its leaves")
        if theirs is None:
            return
        if theirs.origin != mine.origin:
            raise ConflictError(where, f"it is a copy of the log {theirs.origin}, not of {mine.origin}")
        if theirs.size > mine.size:
            raise ConflictError(where, f"the copy has {theirs.size} leaves, this log {mine.size}: pull first")
        if self._log.hash_of_tree(theirs.size) != theirs.root:
            raise ConflictError(
                where, f"the first {theirs.size} leaves of the copy are not those of this log"
            )

    def _send_leaves(self, done: int, size: int) -> None:
        first = max(done - _NOTES_BEHIND, 0)
        found = [
            (index, holding(entry))
            for index, entry in enumerate(self._log.entries(first, size - first), first)
        ]
        pruned = {name for _, one in found if isinstance(one, PruneLeaf) for name in one.segments}
        segments = [one for index, one in found if isinstance(one, SegmentLeaf) and index >= done]
        receipts = [(index, one) for index, one in found if isinstance(one, ReceiptLeaf)]
        self._each(lambda one: self._send_segment(one, is_pruned=one.segment in pruned), segments)
        self._each(lambda one: self._send_receipt(one[1], is_new=one[0] >= done), receipts)

    def _each(self, send: Callable[[_T], None], items: Iterable[_T]) -> None:
        with ThreadPoolExecutor(_AT_ONCE, "wasmgate-pushing") as pool:
            for _ in pool.map(send, items):  # raises what one of them raised
                pass

    def _send_segment(self, leaf: SegmentLeaf, *, is_pruned: bool) -> None:
        content = self._file(leaf.manifest, leaf.sha256, is_pruned=is_pruned)
        if content is None:
            return
        for name, file in leaf.files(Manifest.from_json(content)):
            part = self._file(name, file.sha256, is_pruned=is_pruned)
            if part is not None:
                self._send(name, part)
        self._send(leaf.manifest, content)  # last: a copy that has it has the rest

    def _send_receipt(self, leaf: ReceiptLeaf, *, is_new: bool) -> None:
        if is_new:
            content = self._file(leaf.receipt, leaf.sha256, is_pruned=False)
            if content is not None:
                self._send(leaf.receipt, content)
        note = self._store.root / leaf.note
        if note.exists():
            self._send(leaf.note, note.read_bytes())

    def _send_tile(self, tile: Tile) -> None:
        if tile.level == ENTRIES:
            content = pack_entries(self._tiles.entries(tile))
        else:
            content = b"".join(self._tiles.hashes(tile))
        self._send(f"tlog/{tile.path}", content)

    def _file(self, name: str, sha256: str, *, is_pruned: bool) -> bytes | None:
        """Read a file of the log; None if it was deleted on record."""
        path = self._store.root / name
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            if is_pruned:
                return None
            raise StoreError(str(path), "the file is missing, and nothing says that it was deleted") from None
        except OSError as err:
            raise StoreError(str(path), err.strerror or str(err)) from err
        if hashlib.sha256(content).hexdigest() != sha256:
            raise StoreError(str(path), "it is not the file that the transparency log names: not sent")
        return content

    def _send(self, name: str, content: bytes) -> None:
        self._count.add(len(content) if self._objects.put_new(name, content) else None)


def checkpoint_of(where: str, content: bytes) -> Checkpoint:
    """Read a checkpoint whose signatures are not looked at; StoreError."""
    try:
        return parse_checkpoint_text(parse_note(content).text)
    except NoteError as err:
        raise StoreError(where, str(err)) from err


def _is_new(tile: Tile, done: int) -> bool:
    each: int = 1 << HEIGHT * max(tile.level, 0)
    return (tile.index * WIDTH + tile.width) * each > done
