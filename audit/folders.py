"""Which folders the paths in a file of records lie in: a list in its footer, by which a query may skip it.

Who asks is `query/skipping.py`. The list has at most `MOST` entries: where a guest made more folders, they
are cut to their first names, and in the end to nothing, so that a guest can make a query slow but not the
list long. As a part of the file it is covered by the digest in the manifest like the rows, and is deleted
with them; who can change one can change the other, and no query checks either: that is done by verifying.
INVARIANT: a file with a row of which `target`, `guest_target` or `target2` is wanted is never skipped, and a
list that is missing or makes no sense skips nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

PATHS = ("target", "guest_target", "target2")
"""The columns that are looked at; whatever they hold counts as a path."""

KEY = b"wasmgate.folders"
"""Under this the list is in the footer."""

MOST, MOST_CHARS = 256, 8_192  # a few KB, in a file that has about 6 bytes a row
MAX_DEPTH = 16
_MAX_BYTES = 8 * MOST_CHARS  # of a list that is read: no character takes more, escaped or not


@dataclass(frozen=True, slots=True)
class Place:
    """Paths that a question is about: one, or all that start so."""

    text: str
    is_whole: bool = False

    @property
    def folder(self) -> str:
        """Give the part up to its last slash."""
        return self.text[: self.text.rfind("/") + 1]


@dataclass(frozen=True, slots=True)
class Folders:
    """What a file says of its folders: each ends with a slash or is empty.

    One with `depth` slashes stands for all that is below it, another one for what is directly in it.
    """

    depth: int
    names: frozenset[str]
    _joined: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Make one text of them: many files are asked, and a text is searched faster than a set."""
        object.__setattr__(self, "_joined", "".join(f"\n{name}" for name in self.names))

    def may_hold(self, place: Place) -> bool:
        """Say whether a row of the file can be in a place."""
        if _cut(place.folder, self.depth) in self.names:
            return True
        # a name that has a new line in it may be found where none begins: then a file is read for nothing
        return not place.is_whole and f"\n{place.text}" in self._joined

    @property
    def size(self) -> int:
        """Give how many characters it has in memory."""
        return 2 * len(self._joined)

    @staticmethod
    def read(text: bytes | None) -> Folders | None:
        """Read a list; None of one that is missing, too long, or nothing that `Collected.text` gives."""
        if text is None or len(text) > _MAX_BYTES:
            return None
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return None
        if not isinstance(found, dict) or found.keys() != {"depth", "folders"}:
            return None
        depth, names = found["depth"], found["folders"]
        if type(depth) is not int or not 0 <= depth <= MAX_DEPTH or not isinstance(names, list):
            return None
        if not all(isinstance(name, str) and _cut(name, depth) == name for name in names):
            return None
        return Folders(depth, frozenset(names))


@dataclass(slots=True)
class Collected:
    """The folders of the rows that were added by now."""

    depth: int = MAX_DEPTH
    _names: set[str] = field(default_factory=set)

    def add(self, rows: pa.Table) -> None:
        """Take in the folders of some rows."""
        for column in PATHS:
            for chunk in rows.column(column).chunks:
                self._take(_used(chunk))

    def text(self) -> bytes:
        """Give the list as it stands in a footer; the same rows give the same."""
        return json.dumps(
            {"depth": self.depth, "folders": sorted(self._names)}, separators=(",", ":"), ensure_ascii=False
        ).encode()

    def _take(self, paths: Iterable[str]) -> None:
        # a path has few slashes, and the folders of many paths are few: nothing is cut before it must be
        found = {path[: path.rfind("/") + 1] for path in paths}
        self._names |= {_cut(name, self.depth) for name in found}
        if not _is_short(self._names):
            self._shorten()

    def _shorten(self) -> None:
        """Cut to the most names for which the list is short: what fits at a depth fits at each lesser one."""
        low, high = 0, self.depth
        while high - low > 1:
            middle = (low + high) // 2
            cut = {_cut(name, middle) for name in self._names}
            if _is_short(cut):
                low = middle
            else:
                high, self._names = middle, cut
        self.depth, self._names = low, {_cut(name, low) for name in self._names}


def _is_short(names: set[str]) -> bool:
    return len(names) <= MOST and sum(map(len, names)) <= MOST_CHARS


def _cut(folder: str, depth: int) -> str:
    """Give the part of a folder up to its slash number `depth`, or all of it."""
    if folder.count("/") <= depth:
        return folder
    return "".join(f"{name}/" for name in folder.split("/", depth)[:depth])


def _used(chunk: pa.Array) -> list[str]:
    """Give the distinct texts of some rows: a coded column may know of texts that no row has."""
    if chunk.null_count == len(chunk):
        return []
    if not pa.types.is_dictionary(chunk.type):
        return [text for text in pc.unique(chunk).to_pylist() if text is not None]
    return list(chunk.dictionary.take(pc.unique(chunk.indices).drop_null()).to_pylist())
