"""Tiles of a transparency log, as C2SP tlog-tiles describes them: their names, their widths, their bytes.

Which bytes are stored where on this machine lives in `tile_files.py`; here are functions of values only. A
tile holds up to 256 hashes of one level, an entry bundle up to 256 entries. INVARIANT: `parse_path` takes
exactly the names that `Tile.path` gives.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from audit.tlog.errors import DamageError, EntryError, NoteError, RangeError
from audit.tlog.merkle import (
    EMPTY_ROOT,
    HASH_BYTES,
    MAX_SIZE,
    consistency_path_in,
    inclusion_path_in,
    node_hash,
    root_of,
    split,
)

HEIGHT = 8
WIDTH = 1 << HEIGHT
"""Hashes of a full tile."""

ENTRIES = -1
"""The level of entry bundles, which lie beside the tiles of level 0 and are numbered like them."""

MAX_ENTRY_BYTES = (1 << 16) - 1
"""Bytes of the longest entry: its length is stored in two bytes."""

MAX_LEVEL = 63
_LENGTH = struct.Struct(">H")
_PATH = re.compile(r"tile/(entries|0|[1-9]\d?)/((?:x\d{3}/)*)(\d{3})(?:\.p/([1-9]\d{0,2}))?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile or bundle; `width` is how many hashes or entries it holds, 1 to 256."""

    level: int  # 0 to 63, or `ENTRIES`
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Its name below the folder of the log."""
        level = "entries" if self.level == ENTRIES else str(self.level)
        digits = f"{self.index:03d}"
        digits = digits.zfill(-len(digits) // 3 * -3)
        parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        name = "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])
        return f"tile/{level}/{name}" + ("" if self.width == WIDTH else f".p/{self.width}")

    @property
    def full(self) -> Tile:
        """The full tile in the same place."""
        return Tile(self.level, self.index)


Source: TypeAlias = Callable[[Tile], Sequence[bytes]]
"""Gives the hashes of a tile, as many as its width says; raises DamageError."""


def parse_path(text: str) -> Tile:
    """Read the name of a tile; NoteError if no tile has it."""
    found = _PATH.match(text)
    expected = "the name of a tile, as tile/0/x001/234.p/5"
    if found is None:
        raise NoteError(expected, text)
    level, parents, last, width = found.groups()
    digits = parents.replace("x", "").replace("/", "") + last
    if len(digits) > 21:  # more than a tree of 2^63 leaves has
        raise NoteError(expected, text)
    tile = Tile(ENTRIES if level == "entries" else int(level), int(digits), int(width or WIDTH))
    # one tile has one name: no superfluous x000, no width of 256 or more, no level beyond 63
    if tile.level > MAX_LEVEL or tile.width > WIDTH or tile.index > MAX_SIZE or tile.path != text:
        raise NoteError(expected, text)
    return tile


def width_at(level: int, index: int, size: int) -> int:
    """How many hashes tile `index` of a level holds in a tree of `size` leaves; 0: there is no such tile."""
    hashes = size >> HEIGHT * max(level, 0)
    return min(max(hashes - index * WIDTH, 0), WIDTH)


def tiles_of(size: int) -> Iterator[Tile]:
    """Every tile and bundle of a tree of `size` leaves, level by level from 0, bundles first."""
    for level in (ENTRIES, *range(MAX_LEVEL + 1)):
        count = size >> HEIGHT * max(level, 0)
        if not count:
            return
        yield from (Tile(level, index) for index in range(count // WIDTH))
        if count % WIDTH:
            yield Tile(level, count // WIDTH, count % WIDTH)


def pack_entries(entries: Sequence[bytes]) -> bytes:
    """Bytes of a bundle; EntryError if an entry is too long."""
    parts: list[bytes] = []
    pack = _LENGTH.pack
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise EntryError(len(entry), MAX_ENTRY_BYTES)
        parts.append(pack(len(entry)))
        parts.append(entry)
    return b"".join(parts)


def unpack_entries(content: bytes, tile: Tile) -> list[bytes]:
    """Entries of a bundle; DamageError if it does not hold exactly as many as its width says."""
    entries: list[bytes] = []
    at = 0
    while at < len(content):
        if at + 2 > len(content):
            raise DamageError(tile.path, "it ends in the length of an entry")
        (length,) = _LENGTH.unpack_from(content, at)
        at += 2 + length
        if at > len(content):
            raise DamageError(tile.path, "it ends in an entry")
        entries.append(content[at - length : at])
    if len(entries) != tile.width:
        raise DamageError(tile.path, f"it holds {len(entries)} entries, not {tile.width}")
    return entries


def unpack_hashes(content: bytes, tile: Tile) -> list[bytes]:
    """Hashes of a tile; DamageError if it does not hold exactly as many as its width says."""
    if len(content) != tile.width * HASH_BYTES:
        raise DamageError(tile.path, f"it has {len(content)} bytes, not {tile.width * HASH_BYTES}")
    return [content[at : at + HASH_BYTES] for at in range(0, len(content), HASH_BYTES)]


class TiledTree:
    """Hashes and proofs of a tree, and of every smaller one, out of the tiles of `size` leaves.

    Each tile is read once. What the tiles say is not checked against a root here: whoever distrusts them
    compares `root(size)` with a signed one.
    """

    def __init__(self, source: Source, size: int) -> None:
        """`source` must have every tile of a tree of `size` leaves."""
        self.size = size
        self._source = source
        self._read: dict[Tile, Sequence[bytes]] = {}

    def root(self, size: int) -> bytes:
        """Root of the tree of the first `size` leaves; RangeError if there are not so many."""
        if not 0 <= size <= self.size:
            raise RangeError(f"a tree of {size} leaves", self.size)
        return self._range(0, size) if size else EMPTY_ROOT

    def inclusion(self, index: int, size: int) -> tuple[bytes, ...]:
        """Proof that leaf `index` belongs to the tree of `size` leaves; RangeError."""
        if size > self.size:
            raise RangeError(f"a tree of {size} leaves", self.size)
        return inclusion_path_in(self._range, index, size)

    def consistency(self, first: int, second: int) -> tuple[bytes, ...]:
        """Proof that the tree of `first` leaves is the beginning of that of `second`; RangeError."""
        if second > self.size:
            raise RangeError(f"a tree of {second} leaves", self.size)
        return consistency_path_in(self._range, first, second)

    def row(self, level: int, start: int, end: int) -> list[bytes]:
        """Hashes of one level of tiles, from number `start` up to `end`, which is not included."""
        found: list[bytes] = []
        for index in range(start // WIDTH, -(-end // WIDTH)):
            hashes = self._tile(Tile(level, index, width_at(level, index, self.size)))
            found += hashes[max(start - index * WIDTH, 0) : end - index * WIDTH]
        return found

    def _tile(self, tile: Tile) -> Sequence[bytes]:
        if tile not in self._read:
            self._read[tile] = self._source(tile)
        return self._read[tile]

    def _range(self, start: int, end: int) -> bytes:
        count = end - start
        if count & count - 1 == 0 and start % count == 0:
            return self._perfect(count.bit_length() - 1, start)
        middle = start + split(count)
        return node_hash(self._range(start, middle), self._range(middle, end))

    def _perfect(self, height: int, start: int) -> bytes:
        # the nearest level of tiles below, at most 7 levels of hashing away
        level, above = divmod(height, HEIGHT)
        first = start >> HEIGHT * level
        return root_of(self.row(level, first, first + (1 << above)))
