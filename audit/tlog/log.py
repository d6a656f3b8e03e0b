"""The transparency log on disk: leaves are appended, hashes and proofs are read.

The tree lives in `merkle.py`, its files in `tiles.py` and `tile_files.py`, signed heads in `checkpoint.py`.
`head` names how many leaves there are; it is replaced last, so files that it does not cover are the remains
of a crash, and nobody reads them. INVARIANT: the head on disk is always that of a complete tree, which
begins with every tree that a head covered before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path

from audit import canonical
from audit.errors import FormatError
from audit.store import make_directory, publish
from audit.tlog.errors import DamageError, EntryError, RangeError
from audit.tlog.merkle import EMPTY_ROOT, HASH_BYTES, leaf_hash, node_hash, root_of
from audit.tlog.tile_files import TileFiles, read_file
from audit.tlog.tiles import (
    ENTRIES,
    HEIGHT,
    MAX_ENTRY_BYTES,
    WIDTH,
    Tile,
    TiledTree,
    pack_entries,
    width_at,
)

_MAX_LEAVES = (1 << 53) - 1  # the largest number that a JSON document holds exactly
_HEAD_BYTES = 200  # of the file `head`; it has about a hundred


@dataclass(frozen=True, slots=True)
class Head:
    """How many leaves there are, and the root over them; not signed."""

    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class _Edge:
    """The hashes of the last tile of each level that is not full, which is all that appending needs."""

    rows: tuple[tuple[bytes, ...], ...]  # from level 0; a row has fewer than 256 hashes

    def root(self) -> bytes:
        """Root over the whole tree."""
        peaks: list[bytes] = []
        for row in self.rows[::-1]:
            ends = [0]
            for bit in range(HEIGHT - 1, -1, -1):
                if len(row) >> bit & 1:
                    ends.append(ends[-1] + (1 << bit))
            peaks += [root_of(row[start:end]) for start, end in pairwise(ends)]
        if not peaks:
            return EMPTY_ROOT
        root = peaks[-1]
        for peak in peaks[-2::-1]:
            root = node_hash(peak, root)
        return root


_NO_EDGE = _Edge(())


class TransparencyLog:
    """A log in a folder.

    Any number of processes may read while one appends; whoever appends holds the lock of the sealer. Every
    method raises DamageError where the files contradict the head.
    """

    def __init__(self, directory: Path) -> None:
        """Touch no disk; a folder that is not there is a log without leaves."""
        self.directory = directory
        self._files = TileFiles(directory)
        self._known: tuple[Head, _Edge] = (Head(0, EMPTY_ROOT), _NO_EDGE)
        self._is_swept = False  # remains of a crash are looked for once

    # --- reading ------------------------------------------------------------------------------

    @property
    def head(self) -> Head:
        """The head as it is now, after a check that the right edge of the tiles has its root."""
        head = self._read_head()
        if head is None:
            return Head(0, EMPTY_ROOT)
        if head != self._known[0]:
            self._known = (head, self._read_edge(head))
        return head

    @property
    def size(self) -> int:
        """How many leaves there are now."""
        return self.head.size

    def root(self) -> bytes:
        """Root over all leaves that there are now."""
        return self.head.root

    def hash_of_tree(self, size: int) -> bytes:
        """Root over the first `size` leaves; RangeError if there are not so many."""
        return self._tree().root(size)

    def inclusion(self, index: int, size: int) -> tuple[bytes, ...]:
        """Proof that leaf `index` belongs to the tree of `size` leaves; RangeError."""
        return self._tree().inclusion(index, size)

    def consistency(self, first: int, second: int) -> tuple[bytes, ...]:
        """Proof that the tree of `first` leaves is the beginning of that of `second`; RangeError."""
        return self._tree().consistency(first, second)

    def leaf_hashes(self, first: int, count: int) -> tuple[bytes, ...]:
        """Hashes of `count` leaves from number `first`; RangeError if there are not so many."""
        tree = self._tree()
        _check_range(first, count, tree.size)
        return tuple(tree.row(0, first, first + count))

    def entries(self, first: int, count: int) -> Iterator[bytes]:
        """What `count` leaves from number `first` hold, in order, each checked against its hash.

        Raises RangeError at once if there are not so many.
        """
        tree = self._tree()
        _check_range(first, count, tree.size)
        return self._entries(tree, first, first + count)

    def _entries(self, tree: TiledTree, first: int, end: int) -> Iterator[bytes]:
        for index in range(first // WIDTH, -(-end // WIDTH)):
            start = index * WIDTH
            bundle = Tile(ENTRIES, index, width_at(ENTRIES, index, tree.size))
            entries = self._files.entries(bundle)
            self._check_bundle(bundle, entries, tree.row(0, start, start + bundle.width))
            yield from entries[max(first - start, 0) : end - start]

    def _tree(self) -> TiledTree:
        return TiledTree(self._files.hashes, self.head.size)

    def _read_head(self) -> Head | None:
        path = self.directory / "head"
        try:
            content = read_file(path, most=_HEAD_BYTES)
            read = canonical.loads(str(path), content)
            head = Head(read.integer("size"), bytes.fromhex(read.text("root")))
        except FileNotFoundError:
            if any((self.directory / name).exists() for name in ("tile", "checkpoint")):
                raise DamageError(path, "the file is missing, and there are tiles") from None
            return None
        except (FormatError, ValueError) as err:
            raise DamageError(path, str(err)) from err
        # in its one form: what else could have been written there is not ours
        if not 0 <= head.size <= _MAX_LEAVES or len(head.root) != HASH_BYTES or content != _written(head):
            raise DamageError(path, "it holds no size and root")
        return head

    def _read_edge(self, head: Head) -> _Edge:
        rows: list[tuple[bytes, ...]] = []
        while head.size >> HEIGHT * len(rows):
            index, width = divmod(head.size >> HEIGHT * len(rows), WIDTH)
            rows.append(tuple(self._files.hashes(Tile(len(rows), index, width))) if width else ())
        edge = _Edge(tuple(rows))
        if edge.root() != head.root:
            raise DamageError(self.directory / "head", f"the tiles of {head.size} leaves have another root")
        return edge

    def _check_bundle(self, bundle: Tile, entries: Sequence[bytes], hashes: Sequence[bytes]) -> None:
        if [leaf_hash(entry) for entry in entries] != list(hashes):
            raise DamageError(self.directory / bundle.path, "an entry has another hash than its leaf")

    # --- appending ----------------------------------------------------------------------------

    def append(self, entries: Sequence[bytes]) -> int:
        """Append leaves; gives the number of the first. Durable and visible to readers when it returns.

        The caller holds the lock of the sealer. Raises EntryError (nothing was written), DamageError, and
        WriteError: the log is as it was or, if only the last sync failed, as it was to be; `size` says which.
        """
        for entry in entries:
            if len(entry) > MAX_ENTRY_BYTES:
                raise EntryError(len(entry), MAX_ENTRY_BYTES)
        head = self.head
        if not entries:
            return head.size
        self._prepare(head)
        bundle = Tile(ENTRIES, head.size // WIDTH, head.size % WIDTH)
        begun = self._files.entries(bundle) if bundle.width else []
        edge = self._known[1]
        self._check_bundle(bundle, begun, edge.rows[0] if begun else ())
        rows: list[tuple[bytes, ...]] = []
        grown = _grown(edge, [leaf_hash(entry) for entry in entries], head.size, rows)
        self._files.write(chain(_bundles(begun, entries, bundle.index), grown))
        new = _Edge(tuple(rows))
        self._publish_head(Head(head.size + len(entries), new.root()), new)
        self._drop_partial(head.size)
        return head.size

    def _prepare(self, head: Head) -> None:
        if self._is_swept:
            return
        if self._read_head() is None:
            make_directory(self.directory)
            # INVARIANT: where there are tiles there is a head, so one that was deleted is noticed.
            self._publish_head(head, _NO_EDGE)
        self._files.drop_after(head.size)
        self._is_swept = True

    def _publish_head(self, head: Head, edge: _Edge) -> None:
        publish(self.directory / "head", _written(head))
        self._known = (head, edge)

    def _drop_partial(self, old_size: int) -> None:
        """Remove the partial tiles, and bundles, of tiles that have become full."""
        size = self._known[0].size
        for level in (ENTRIES, *range(len(self._known[1].rows))):
            shift = HEIGHT * (max(level, 0) + 1)
            # one more to the left: a crash may have come between the head and this
            for index in range(max((old_size >> shift) - 1, 0), min((old_size >> shift) + 1, size >> shift)):
                self._files.drop_partial(Tile(level, index))


def _bundles(begun: Sequence[bytes], entries: Sequence[bytes], index: int) -> Iterator[tuple[Tile, bytes]]:
    at = len(begun)
    first = [*begun, *entries[: WIDTH - at]]
    yield Tile(ENTRIES, index, len(first)), pack_entries(first)
    for start in range(WIDTH - at, len(entries), WIDTH):
        index += 1
        some = entries[start : start + WIDTH]
        yield Tile(ENTRIES, index, len(some)), pack_entries(some)


def _grown(
    edge: _Edge, added: list[bytes], size: int, rows: list[tuple[bytes, ...]]
) -> Iterator[tuple[Tile, bytes]]:
    """Give every tile that is new when the hashes `added` follow `size` leaves; fill `rows` with the edge."""
    level = 0
    while added or level < len(edge.rows):
        row = [*(edge.rows[level] if level < len(edge.rows) else ()), *added]
        index, full = size >> HEIGHT * (level + 1), len(row) // WIDTH
        parents: list[bytes] = []
        for at in range(full):
            hashes = row[at * WIDTH : (at + 1) * WIDTH]
            yield Tile(level, index + at), b"".join(hashes)
            parents.append(root_of(hashes))
        rest = row[full * WIDTH :]
        if rest and added:
            yield Tile(level, index + full, len(rest)), b"".join(rest)
        rows.append(tuple(rest))
        added = parents
        level += 1


def _written(head: Head) -> bytes:
    return canonical.dumps({"size": head.size, "root": head.root.hex()}) + b"\n"


def _check_range(first: int, count: int, size: int) -> None:
    if first < 0 or count < 0 or first + count > size:
        raise RangeError(f"{count} leaves from number {first}", size)
