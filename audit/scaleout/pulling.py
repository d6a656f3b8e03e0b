"""Fetches from a copy on object storage what is missing here: the transparency log, segments and receipts.

The other way is `pushing.py`. Names and digests come from the leaves, which are checked against the root of
the copy's checkpoint; who signed that is checked by `audit verify`, or here if a key is given. INVARIANT:
what is written has the digest that its leaf names, nothing that is here is replaced, and leaves are only
added.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from audit.catalogue import Catalogue
from audit.errors import FormatError
from audit.manifest import Manifest
from audit.pruning import GOING
from audit.scaleout.errors import ConflictError, StoreError
from audit.scaleout.holdings import (
    MANIFEST_BYTES,
    NOTE_BYTES,
    RECEIPT_BYTES,
    PruneLeaf,
    ReceiptLeaf,
    SegmentLeaf,
    holding,
)
from audit.scaleout.objects import Objects
from audit.scaleout.pushing import CHECKPOINT, CHECKPOINT_BYTES, checkpoint_of
from audit.store import Store, locked, make_directory, publish
from audit.tlog.checkpoint import Checkpoint, open_checkpoint
from audit.tlog.errors import DamageError, NoteError
from audit.tlog.log import TransparencyLog
from audit.tlog.merkle import HASH_BYTES, leaf_hash
from audit.tlog.tiles import (
    ENTRIES,
    MAX_ENTRY_BYTES,
    Tile,
    TiledTree,
    tiles_of,
    unpack_entries,
    unpack_hashes,
)
from audit.tlog.vkey import VerifierKey

_KEY_FILES: Final = 10_000  # keys of one log, at most


@dataclass(frozen=True, slots=True)
class Pulled:
    """What one pull did."""

    leaves: int  # of the copy
    objects: int = 0  # that were fetched
    size_bytes: int = 0
    pruned: int = 0  # segments whose records were deleted on record, and were not fetched


class Puller:
    """Pulls one log from one place."""

    def __init__(self, store: Store, objects: Objects, *, keys: Sequence[VerifierKey] = ()) -> None:
        """Touch neither yet; with `keys`, one of them must have signed the checkpoint of the copy."""
        self._store, self._objects, self._keys = store, objects, keys
        self._objects_made = self._bytes = self._pruned = 0

    def pull(self) -> Pulled:
        """Fetch what is missing; StoreError, ConflictError, and nothing that was here is lost."""
        self._objects_made = self._bytes = self._pruned = 0
        held = self._objects.get(CHECKPOINT, most=CHECKPOINT_BYTES)
        if held is None:
            raise StoreError(self._objects.shown(CHECKPOINT), "there is no copy of a log")
        theirs = self._checked(held.content)
        self._store.create()
        with locked(self._store.seal_lock):
            self._take_leaves(theirs, held.content)
            self._take_files(theirs.size)
            self._take_keys()
        if self._objects_made:
            Catalogue(self._store).rebuild()
        return Pulled(theirs.size, self._objects_made, self._bytes, self._pruned)

    def _checked(self, content: bytes) -> Checkpoint:
        where = self._objects.shown(CHECKPOINT)
        found = checkpoint_of(where, content)
        if self._keys:
            try:
                open_checkpoint(content, found.origin, self._keys)
            except NoteError as err:
                raise ConflictError(where, str(err)) from err
        return found

    # --- the transparency log -----------------------------------------------------------------

    def _take_leaves(self, theirs: Checkpoint, content: bytes) -> None:
        here = TransparencyLog(self._store.tlog)
        size, where = here.size, self._objects.shown(CHECKPOINT)
        if size >= theirs.size:
            if here.hash_of_tree(theirs.size) != theirs.root:
                raise ConflictError(where, f"its first {theirs.size} leaves are not those of the log here")
        else:
            self._extend(here, theirs)
        known = self._store.tlog / "checkpoint"
        if not known.exists() or checkpoint_of(str(known), known.read_bytes()).size < theirs.size:
            publish(known, content)
            self._count(content)

    def _extend(self, here: TransparencyLog, theirs: Checkpoint) -> None:
        where, size = self._objects.shown(CHECKPOINT), here.size
        tree = TiledTree(self._hashes, theirs.size)
        try:
            if tree.root(theirs.size) != theirs.root:
                raise ConflictError(where, "the tiles of the copy have another root")
            if size and tree.root(size) != here.root():
                raise ConflictError(where, f"its first {size} leaves are not those of the log here")
            entries = [
                entry
                for tile in tiles_of(theirs.size)
                if tile.level == ENTRIES and tile.index * 256 + tile.width > size
                for entry in self._entries(tile, tree)
            ]
        except DamageError as err:
            raise ConflictError(self._objects.shown("tlog"), str(err)) from err
        # appended as the sealer does it: a crash leaves the old log or the new one
        here.append(entries[size - theirs.size :])
        if here.root() != theirs.root:
            raise ConflictError(where, "its entries do not make its root")

    def _hashes(self, tile: Tile) -> Sequence[bytes]:
        return unpack_hashes(self._tile(tile, tile.width * HASH_BYTES), tile)

    def _entries(self, tile: Tile, tree: TiledTree) -> Sequence[bytes]:
        found = unpack_entries(self._tile(tile, tile.width * (MAX_ENTRY_BYTES + 2)), tile)
        start = tile.index * 256
        if [leaf_hash(one) for one in found] != tree.row(0, start, start + tile.width):
            raise DamageError(tile.path, "an entry has another hash than its leaf")
        return found

    def _tile(self, tile: Tile, most: int) -> bytes:
        held = self._objects.get(f"tlog/{tile.path}", most=most)
        if held is None:
            raise DamageError(tile.path, "the object is missing")
        self._count(held.content)
        return held.content

    def _take_keys(self) -> None:
        for number in range(_KEY_FILES):
            names = (f"tlog/keys/{number}.vkey", f"tlog/keys/{number}.checkpoint")
            found = [self._take(name, None, most=CHECKPOINT_BYTES) for name in names]
            if not any(found):
                return

    # --- files --------------------------------------------------------------------------------

    def _take_files(self, size: int) -> None:
        log = TransparencyLog(self._store.tlog)
        found = [holding(entry) for entry in log.entries(0, size)]
        gone = {name for one in found if isinstance(one, PruneLeaf) for name in one.segments}
        for one in found:
            match one:
                case SegmentLeaf():
                    self._take_segment(one, is_pruned=one.segment in gone)
                case ReceiptLeaf():
                    self._need(one.receipt, one.sha256, most=RECEIPT_BYTES)
                    self._take(one.note, None, most=NOTE_BYTES)
                case _:
                    pass

    def _take_segment(self, leaf: SegmentLeaf, *, is_pruned: bool) -> None:
        self._pruned += is_pruned
        path = self._store.root / leaf.manifest
        is_here = path.exists()
        if is_here:
            content = path.read_bytes()
        else:
            held = self._objects.get(leaf.manifest, most=MANIFEST_BYTES)
            if held is None:
                raise StoreError(self._objects.shown(leaf.manifest), "the object is missing")
            content = held.content
        if hashlib.sha256(content).hexdigest() != leaf.sha256:
            where = str(path) if is_here else self._objects.shown(leaf.manifest)
            raise ConflictError(where, "it is not what the transparency log names")
        try:
            for name, file in leaf.files(Manifest.from_json(content)):
                # what was deleted on record stays deleted, wherever there may still be a copy of it
                if not is_pruned or not name.endswith(GOING):
                    self._need(name, file.sha256, most=file.size_bytes)
        except FormatError as err:
            raise ConflictError(self._objects.shown(leaf.manifest), str(err)) from err
        if not is_here:
            publish(path, content)  # last, as the sealer does it
            self._count(content)

    def _need(self, name: str, sha256: str, *, most: int) -> None:
        if not self._take(name, sha256, most=most):
            raise StoreError(self._objects.shown(name), "the object is missing")

    def _take(self, name: str, sha256: str | None, *, most: int) -> bool:
        """Fetch a file that is not here; says whether it is here now."""
        path = self._store.root / name
        if path.exists():
            return True
        held = self._objects.get(name, most=most)
        if held is None:
            return False
        if sha256 is not None and hashlib.sha256(held.content).hexdigest() != sha256:
            raise ConflictError(self._objects.shown(name), "it is not what the transparency log names")
        make_directory(path.parent)
        publish(path, held.content)
        self._count(held.content)
        return True

    def _count(self, content: bytes) -> None:
        self._objects_made += 1
        self._bytes += len(content)
