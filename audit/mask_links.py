"""Other names of what a mask is for: those that a guest gave it by links and by renaming.

What a mask is and what it does is `masks.py`, which asks this module about one block of rows at a time: names
that were given in an earlier block, or before the run, are not known here. INVARIANT: within a block a row is
never taken out of what a mask is for, and where links can't be followed to their end all of them count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Bools = npt.NDArray[np.bool_]
Column: TypeAlias = "tuple[npt.NDArray[np.int64], Sequence[str]]"
"""For each row which of the distinct texts it has, -1 for none, and those texts."""

_SYMLINK = ".path_symlink"
_LINKS = (_SYMLINK, ".path_link", ".path_rename")
_TURNS = 8  # links to links that are followed; a guest chooses how many there are


@dataclass(frozen=True, slots=True)
class Links:
    """The calls among some rows that give a file another name."""

    rows: Bools
    is_symlink: Bools
    contents: dict[
        str, pa.ChunkedArray
    ]  # what links point to, from where they are, as the host and the guest

    @staticmethod
    def of(rows: pa.Table) -> Links:
        """Find them in rows of `columns.SCHEMA`."""
        coded = rows.column("call").unify_dictionaries().combine_chunks()
        calls = [*coded.dictionary.to_pylist(), ""]  # -1 finds the last
        codes = np.asarray(pc.fill_null(coded.indices, -1)).astype(np.int64)
        is_link, is_symlink = (
            np.array([name.endswith(wanted) for name in calls], np.bool_)[codes]
            for wanted in (_LINKS, _SYMLINK)
        )
        named = ("target", "guest_target") if is_symlink.any() else ()
        return Links(
            is_link, is_symlink, {f"{name}_to": _pointed_to(rows, is_symlink, name) for name in named}
        )

    def follow(self, hits: dict[str, Bools], columns: dict[str, Column]) -> None:
        """Add to `hits`, rows by column whose text a mask is for, other names of these and what is below.

        SECURITY: from a name to the one that is made of it, never back: else a guest could have any name
        blotted out by making a link to it where a mask is.
        """
        names: set[str] = set()
        for turn in range(_TURNS):
            made = set(self._made(hits if turn + 1 < _TURNS else None, columns))
            if made <= names:
                return
            names |= made
            for name, (codes, distinct) in columns.items():
                hits[name] = (
                    hits[name] | np.array([*(_is_below(text, names) for text in distinct), False])[codes]
                )

    def _made(self, hits: dict[str, Bools] | None, columns: dict[str, Column]) -> Iterator[str]:
        """Give the names that were made of what was hit; of anything without `hits`."""
        for is_symlink, before, after in (
            (True, ("target_to", "guest_target_to"), ("target", "guest_target")),
            (False, ("target", "guest_target"), ("target2",)),
        ):
            rows = self.rows & (self.is_symlink == is_symlink)
            if hits is not None:
                found = [hits[name] for name in before if name in hits]
                rows &= np.logical_or.reduce(found) if found else np.False_
            for name in after:
                yield from _texts(columns[name], rows)


def normal(text: str) -> str:
    """Give a path without empty names, `.` and `..`, by text alone."""
    names: list[str] = []
    for name in text.split("/"):
        if name == "..":
            names = names[:-1]
        elif name not in {"", "."}:
            names.append(name)
    return "/" + "/".join(names)


def _pointed_to(rows: pa.Table, is_symlink: Bools, name: str) -> pa.ChunkedArray:
    """Give what each symbolic link points to as a path, null for other rows."""
    places, contents = (rows.column(each).cast(pa.string()) for each in (name, "target2"))
    folders = pc.replace_substring_regex(places, r"/[^/]*\z", "")
    joined = pc.if_else(
        pc.starts_with(contents, "/"), contents, pc.binary_join_element_wise(folders, contents, "/")
    )
    return pc.if_else(pa.array(is_symlink), joined, pa.scalar(None, pa.string())).dictionary_encode()


def _texts(column: Column, rows: Bools) -> Iterator[str]:
    codes, distinct = column
    for code in np.unique(codes[rows]).tolist():
        if code >= 0:
            yield normal(distinct[int(code)])


def _is_below(text: str, names: set[str]) -> bool:
    """Say whether a path is one of some, or below one of them."""
    path = normal(text)
    while path and path not in names:
        path = path.rpartition("/")[0]
    return path in names
