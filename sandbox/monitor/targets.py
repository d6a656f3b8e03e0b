"""Finds the path behind each record: of the call itself, or of the call that opened its descriptor.

Numbers and words of a record are decoded in `decode.py`. A record names the call that made its
descriptor by sequence number, so "which file was read" is a join on integers; Python runs once per
distinct path and directory. INVARIANT: nothing here fails on bytes that no monitor writes, and
the text of one target stays below a bound, however long a chain of directories is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audit.columns import TargetKind
from audit.start import MountPoint
from audit.text import to_text
from audit.wal import RecordFrame
from policy.calls import CALL_CODES, CALLS
from sandbox.monitor.layout import ARENA_BYTES, FIRST_MOUNT, NO_OPENER, PAYLOAD_CALLS, arena_bytes

Ints = npt.NDArray[np.int64]

DIRECTORY_CHARS = 4_096
"""A directory's text is cut to this (Linux: PATH_MAX) before a path below it is joined to it."""

_CUT = "…"
_NEEDS_CARE = re.compile(r"(?:^|/)\.{0,2}(?:/|\Z)")  # an empty name, `.` or `..`
_STREAMS = ("stdin", "stdout", "stderr")
_NONE = -1

_TAKES_PATH = np.array([call.name.startswith("path_") for call in CALLS] + [False] * (256 - len(CALLS)))
_TWO_DIRECTORIES = (CALL_CODES["path_link"], CALL_CODES["path_rename"])
_SYMLINK = CALL_CODES["path_symlink"]


@dataclass(frozen=True, slots=True)
class Strings:
    """Where the strings of each record lie in `data`; lengths are 0 where the record lies about it.

    Of calls that keep what they move, `length` is that of the digest and the bytes behind it.
    """

    data: npt.NDArray[np.uint8]
    at: Ints
    length: Ints
    length2: Ints

    @staticmethod
    def none() -> Strings:
        """No strings of no records."""
        empty = np.empty(0, np.int64)
        return Strings(np.empty(0, np.uint8), empty, empty, empty)

    @staticmethod
    def of(frames: Sequence[RecordFrame], fields: npt.NDArray[np.void]) -> Strings:
        """Find them: a record's offset counts in the ring's arena, of which its frame holds a span."""
        sizes = np.array([len(frame.arena) for frame in frames], np.int64)
        bases = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        counts = [frame.n_records for frame in frames]
        starts = np.repeat(np.array([frame.arena_start for frame in frames], np.int64), counts)
        inside = (fields["target_at"].astype(np.int64) - starts) % ARENA_BYTES
        total = arena_bytes(fields)
        length2 = np.where(np.isin(fields["call"], PAYLOAD_CALLS), 0, fields["target2_len"].astype(np.int64))
        length, at = total - length2, inside + np.repeat(bases, counts)
        # SECURITY: never read beyond the record's own frame, whatever the cell wrote; and never read a
        # byte twice, or a few bytes could be made into gigabytes. The monitor writes one behind the other.
        holds = (total > 0) & (inside + total <= np.repeat(sizes, counts))
        ends = np.maximum.accumulate(np.where(holds, at + total, 0))
        holds[1:] &= at[1:] >= ends[:-1]
        data = np.concatenate([np.frombuffer(frame.arena, np.uint8) for frame in frames])
        return Strings(data, np.where(holds, at, 0), np.where(holds, length, 0), np.where(holds, length2, 0))

    def distinct(self, at: Ints, length: Ints) -> tuple[Ints, list[bytes]]:
        """Give a code for each string, and the distinct strings by code."""
        ends = np.cumsum(length)
        total = int(ends[-1]) if len(ends) else 0
        positions = np.arange(total, dtype=np.int64) + np.repeat(at - (ends - length), length)
        offsets = np.concatenate([[0], ends]).astype(np.int32)
        gathered = np.ascontiguousarray(self.data[positions])
        array = pa.BinaryArray.from_buffers(
            pa.binary(), len(at), [None, pa.py_buffer(offsets), pa.py_buffer(gathered)]
        ).dictionary_encode()
        return array.indices.to_numpy(zero_copy_only=False).astype(np.int64), array.dictionary.to_pylist()


@dataclass(frozen=True, slots=True)
class Targets:
    """For each record the kind of its target, and indices into `texts` (-1: none)."""

    kind: Ints
    target: Ints
    guest_target: Ints
    target2: Ints
    texts: tuple[str, ...]


@dataclass(slots=True)
class _Texts:
    """Distinct texts by index."""

    index: dict[str, int] = field(default_factory=dict)

    def add(self, text: str | None) -> int:
        return _NONE if text is None else self.index.setdefault(text, len(self.index))


@dataclass(frozen=True, slots=True)
class _Place:
    """A path, on the host and as the guest sees it; None where nobody knows."""

    target: str | None
    guest: str | None

    def directory(self) -> _Directory:
        """Give it as something that paths start from."""
        target = None if self.target is None else _cut(self.target)
        guest = None if self.guest is None else _cut(self.guest).rstrip("/")
        return _Directory(target, guest, target is not None and not target.endswith(("/", "/..")))


@dataclass(frozen=True, slots=True)
class _Directory:
    """A place that paths start from."""

    target: str | None
    guest: str | None
    is_normal: bool  # a name can be joined to `target` without looking at its end

    def below(self, raw: str) -> _Place:
        """Give what `raw`, a path as the guest gave it, names from here."""
        if raw.startswith("/"):
            return _Place(None, raw)  # absolute paths are refused: they name no place below a mount
        guest = None if self.guest is None else f"{self.guest}/{raw}"
        if self.target is None:
            return _Place(None, guest)
        if self.is_normal and not _NEEDS_CARE.search(raw):
            return _Place(f"{self.target}/{raw}", guest)
        return _Place(_join(self.target, raw), guest)


_NOWHERE = _Place(None, None)


def _cut(directory: str) -> str:
    return directory if len(directory) <= DIRECTORY_CHARS else directory[:DIRECTORY_CHARS].rstrip(_CUT) + _CUT


def _join(base: str, raw: str) -> str:
    """Join and normalise by text alone: `..` takes a name away, links are not known here."""
    scheme, separator, rest = base.partition("://")
    head, root = (scheme + separator, rest) if separator else ("", base)
    names = [name for name in root.split("/") if name]
    kept = 1 if head else 0  # `tmp://out/..` has no meaning: the name of the scratch directory stays
    for name in raw.split("/"):
        if name == "..":
            if len(names) > kept and names[-1] != "..":
                names.pop()
            elif head:
                names.append(name)
        elif name not in {"", "."}:
            names.append(name)
    return head + "/".join(names) if head else "/" + "/".join(names)


@dataclass(slots=True)
class _Resolver:
    """Places by sequence number of the call that opened them, built up in order."""

    mounts: Sequence[MountPoint]
    seq: Ints
    path_of: Ints  # for each record the index of its distinct path, or -1
    earlier: dict[int, _Place]
    places: list[_Place] = field(default_factory=list)  # by index of a distinct path
    directories: dict[int, _Directory] = field(default_factory=dict)

    def directory(self, number: int) -> _Directory:
        """Give the directory that a value of the field `opener` stands for."""
        found = self.directories.get(number)
        if found is None:
            found = self.directories[number] = self.place(number).directory()
        return found

    def place(self, number: int) -> _Place:
        """Give the place that a value of the field `opener` stands for."""
        if number <= FIRST_MOUNT:
            mount = FIRST_MOUNT - number
            if mount < len(self.mounts):
                return _Place(self.mounts[mount].base, self.mounts[mount].guest)
            return _NOWHERE
        if number in self.earlier:
            return self.earlier[number]
        row = int(np.searchsorted(self.seq, number))
        if number == NO_OPENER or row >= len(self.seq) or int(self.seq[row]) != number:
            return _NOWHERE
        path = int(self.path_of[row])
        # A path that is not known yet would come later than what refers to it: only a lie does that.
        return self.places[path] if 0 <= path < len(self.places) else _NOWHERE


def resolve(
    mounts: Sequence[MountPoint],
    seq: Ints,
    fields: npt.NDArray[np.void],
    strings: Strings,
    *,
    opened: pa.Table,
) -> Targets:
    """Find the targets of all records; `seq` ascends."""
    count = len(seq)
    texts = _Texts()
    takes_path = _TAKES_PATH[fields["call"]]
    rows = np.flatnonzero(takes_path)
    path_of = np.full(count, _NONE, np.int64)
    resolver = _Resolver(mounts, seq, path_of, _earlier(opened, fields))
    # `path_symlink` has what the link holds as its second text, so the first is the path for all calls
    second = np.where(np.isin(fields["call"][rows], _TWO_DIRECTORIES), fields["aux"][rows], NO_OPENER)
    keys, first, members = _distinct_paths(fields["opener"][rows], second, strings, rows)
    path_of[rows] = members
    found = np.full((len(keys), 3), _NONE, np.int64)
    for index, (number, number2, raw, raw2) in enumerate(keys):
        place = resolver.directory(number).below(to_text(raw))
        resolver.places.append(place)
        found[index, :2] = texts.add(place.target), texts.add(place.guest)
        call = int(fields["call"][rows[first[index]]])
        if call in _TWO_DIRECTORIES:
            there = resolver.directory(number2).below(to_text(raw2))
            found[index, 2] = texts.add(there.target if there.target is not None else there.guest)
        elif call == _SYMLINK:
            found[index, 2] = texts.add(to_text(raw2))
    return _assemble(fields, resolver, found, texts)


def _earlier(opened: pa.Table, fields: npt.NDArray[np.void]) -> dict[int, _Place]:
    """Give those of the earlier calls that these records refer to."""
    numbers = opened.column("seq").to_numpy()
    asked = np.concatenate([fields["opener"], fields["aux"][np.isin(fields["call"], _TWO_DIRECTORIES)]])
    kept = opened.take(np.flatnonzero(np.isin(numbers, asked)))
    columns = (kept.column(name).to_pylist() for name in ("seq", "target", "guest_target"))
    return {number: _Place(target, guest) for number, target, guest in zip(*columns, strict=True)}


def _distinct_paths(
    opener: Ints, second: Ints, strings: Strings, rows: Ints
) -> tuple[list[tuple[int, int, bytes, bytes]], Ints, Ints]:
    """Give the distinct (opener, opener of the second, path, second path) in the order they first occur."""
    if not len(rows):
        return [], np.empty(0, np.int64), np.empty(0, np.int64)
    at, length, length2 = strings.at[rows], strings.length[rows], strings.length2[rows]
    code, words = strings.distinct(at, length)
    code2, words2 = strings.distinct(at + length, length2)
    combined = np.zeros(len(rows), np.int64)
    for part in (opener, second, code, code2):
        _, dense = np.unique(part, return_inverse=True)
        _, combined = np.unique(combined * (int(dense.max()) + 1) + dense, return_inverse=True)
    _, first, members = np.unique(combined, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    first = first[order]
    keys = [
        (int(opener[row]), int(second[row]), words[int(code[row])], words2[int(code2[row])]) for row in first
    ]
    return keys, first, rank[members]


def _assemble(fields: npt.NDArray[np.void], resolver: _Resolver, found: Ints, texts: _Texts) -> Targets:
    """Give each record its path's texts, or those of its descriptor."""
    path_of, opener = resolver.path_of, fields["opener"]
    result = np.full((len(path_of), 3), _NONE, np.int64)
    kind = np.full(len(path_of), int(TargetKind.NONE), np.int64)
    by_path = path_of >= 0
    result[by_path] = found[path_of[by_path]]
    by_descriptor = np.flatnonzero(~by_path & (opener != NO_OPENER))
    if len(by_descriptor):
        numbers, members = np.unique(opener[by_descriptor], return_inverse=True)
        result[by_descriptor, :2] = _descriptors(numbers, resolver, found, texts)[members]
    kind[(result[:, :2] >= 0).any(axis=1) | by_path] = TargetKind.PATH
    streams = ~by_path & (opener == NO_OPENER) & (fields["fd"] >= 0) & (fields["fd"] < len(_STREAMS))
    codes = np.array([texts.add(name) for name in _STREAMS], np.int64)
    result[streams, 0] = codes[fields["fd"][streams]]
    kind[streams] = TargetKind.STREAM
    return Targets(kind, result[:, 0], result[:, 1], result[:, 2], tuple(texts.index))


def _descriptors(numbers: Ints, resolver: _Resolver, found: Ints, texts: _Texts) -> Ints:
    """Give the texts for distinct values of the field `opener`."""
    rows = np.minimum(np.searchsorted(resolver.seq, numbers), len(resolver.seq) - 1)
    paths = np.where(resolver.seq[rows] == numbers, resolver.path_of[rows], _NONE)
    pairs = np.full((len(numbers), 2), _NONE, np.int64)
    pairs[paths >= 0] = found[paths[paths >= 0], :2]
    for index in np.flatnonzero(paths < 0):
        place = resolver.place(int(numbers[index]))
        pairs[index] = texts.add(place.target), texts.add(place.guest)
    return pairs
