"""Finds the path behind each record: of the call itself, or of the call that opened its descriptor.

Numbers and words of a record are decoded in `decode.py`. A record names the call that made its
descriptor by sequence number, so "which file was read" is a join on integers; Python runs once per
distinct directory, and per distinct path only where its names have to be looked at one by one. INVARIANT:
nothing here fails on bytes that no monitor writes, and the text of one target stays below a bound, however
long a chain of directories is. It is longer than most: the ways to one column stand together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from audit.columns import TargetKind, numbered
from audit.start import MountPoint
from audit.text import to_text
from policy.calls import CALL_CODES, CALLS
from sandbox.monitor.arena_strings import Strings
from sandbox.monitor.layout import FIRST_MOUNT, NO_OPENER
from sandbox.monitor.places import NOWHERE, Directory, Place
from sandbox.monitor.tables import FIRST_SOCKET

Ints = npt.NDArray[np.int64]
Integers = npt.NDArray[np.integer]
Fields: TypeAlias = "Mapping[str, Integers]"
"""The fields of records by name, each in memory of its own."""

_NEEDS_CARE = r"(?:^|/)\.{0,2}(?:/|\z)"  # as in `places.py`; a leading slash is among these
_STREAMS = ("stdin", "stdout", "stderr")
_NONE = -1

_TAKES_PATH = np.array([call.name.startswith("path_") for call in CALLS] + [False] * (256 - len(CALLS)))
_LOOKUP = CALL_CODES["sock_getaddrinfo"]
_NAMES_PLACE = np.array([call.capability == "network" for call in CALLS] + [False] * (256 - len(CALLS)))
_TWO_DIRECTORIES = (CALL_CODES["path_link"], CALL_CODES["path_rename"])
_SYMLINK = CALL_CODES["path_symlink"]
_TWO_PATHS = (*_TWO_DIRECTORIES, _SYMLINK)


@dataclass(frozen=True, slots=True)
class Targets:
    """For each record the kind of its target, and its texts; each dictionary has only texts that are used."""

    kind: Ints
    target: pa.DictionaryArray
    guest_target: pa.DictionaryArray
    target2: pa.DictionaryArray


@dataclass(frozen=True, slots=True)
class _Asked:
    """The distinct paths of some records, in the order they first occur, with what they start from."""

    opener: Ints
    second: Ints  # opener of the second path, where there is one
    call: Ints
    raw: pa.StringArray  # as stored text
    raw2: pa.StringArray
    members: Ints  # for each record that takes a path, which of these it is


@dataclass(slots=True)
class _Resolver:
    """Places by sequence number of the call that opened them, built up in order."""

    mounts: Sequence[MountPoint]
    seq: Ints
    path_of: Ints  # for each record the index of its distinct path, or -1
    earlier: dict[int, Place]
    texts: tuple[pa.Array, pa.Array] = field(default_factory=lambda: (pa.nulls(0), pa.nulls(0)))
    """Host and guest texts of those paths that need no care, by index; null for the others."""
    careful: dict[int, Place] = field(default_factory=dict)  # those others, as far as they are known
    done: int = 0  # paths with an index below this are known
    directories: dict[int, Directory] = field(default_factory=dict)

    def directory(self, number: int) -> Directory:
        """Give the directory that a value of the field `opener` stands for."""
        found = self.directories.get(number)
        if found is None:
            found = self.directories[number] = self.place(number).directory()
        return found

    def is_given(self, number: int) -> bool:
        """Say whether what that stands for does not depend on the paths of these records."""
        return number in self.earlier or self._path(number) < 0

    def place(self, number: int) -> Place:
        """Give the place that a value of the field `opener` stands for."""
        if number <= FIRST_MOUNT:
            mount = FIRST_MOUNT - number
            if mount < len(self.mounts):
                return Place(self.mounts[mount].base, self.mounts[mount].guest)
            return NOWHERE
        if number in self.earlier:
            return self.earlier[number]
        path = self._path(number)
        # A path that is not known yet would come later than what refers to it: only a lie does that.
        if not 0 <= path < self.done:
            return NOWHERE
        return self.careful.get(path) or Place(*(text[path].as_py() for text in self.texts))

    def _path(self, number: int) -> int:
        """Give the path of the call with a sequence number; -1 if these records have none."""
        row = int(np.searchsorted(self.seq, number))
        if number == NO_OPENER or row >= len(self.seq) or int(self.seq[row]) != number:
            return _NONE
        return int(self.path_of[row])


def resolve(
    mounts: Sequence[MountPoint], seq: Ints, fields: Fields, strings: Strings, *, opened: pa.Table
) -> Targets:
    """Find the targets of all records; `seq` ascends."""
    rows = np.flatnonzero(_TAKES_PATH[fields["call"]])
    asked = _asked(fields, strings, rows)
    path_of = np.full(len(seq), _NONE, np.int64)
    path_of[rows] = asked.members
    resolver = _Resolver(mounts, seq, path_of, _earlier(opened, fields))
    texts, second = _joined(asked, resolver)
    places = _places(seq, fields, strings, resolver)
    return _assemble(fields, resolver, (texts, second), places)


def _places(seq: Ints, fields: Fields, strings: Strings, resolver: _Resolver) -> dict[int, str]:
    """Give the places on the network that records name, by row, as stored text; others refer to them."""
    rows = np.flatnonzero(_NAMES_PLACE[fields["call"]] & (strings.length > 0)).tolist()
    found: dict[int, str] = {}
    for row in rows:
        at, length = int(strings.at[row]), int(strings.length[row])
        found[row] = to_text(strings.data[at : at + length].tobytes())
        resolver.earlier[int(seq[row])] = Place(found[row], None)
    return found


def _earlier(opened: pa.Table, fields: Fields) -> dict[int, Place]:
    """Give those of the earlier calls that these records refer to."""
    if not opened.num_rows:
        return {}
    numbers = opened.column("seq").to_numpy()
    asked = np.concatenate([fields["opener"], fields["aux"][np.isin(fields["call"], _TWO_DIRECTORIES)]])
    kept = opened.take(np.flatnonzero(np.isin(numbers, asked)))
    columns = (kept.column(name).to_pylist() for name in ("seq", "target", "guest_target"))
    return {number: Place(target, guest) for number, target, guest in zip(*columns, strict=True)}


def _asked(fields: Fields, strings: Strings, rows: Ints) -> _Asked:
    """Find the distinct (opener, opener of the second, path, second path) of records that take a path."""
    call, opener = fields["call"][rows], fields["opener"][rows].astype(np.int64)
    # `path_symlink` has what the link holds as its second text, so the first is the path for all calls
    second = np.where(np.isin(call, _TWO_DIRECTORIES), fields["aux"][rows], NO_OPENER)
    at, length, length2 = strings.at[rows], strings.length[rows], strings.length2[rows]
    code, words = strings.distinct(at, length)
    code2, words2 = strings.distinct(at + length, length2)
    members, first = code, numbered(code)[1]
    for part in (opener, second, code2):
        if len(part) and bool((part != part[0]).any()):
            dense, found = numbered(part)
            members, first = numbered(members * len(found) + dense)
    return _Asked(
        opener[first],
        second[first],
        call[first].astype(np.int64),
        _stored(words).take(pa.array(code[first])),
        _stored(words2).take(pa.array(code2[first])),
        members,
    )


def _stored(words: pa.BinaryArray) -> pa.StringArray:
    """Give the stored form of bytes, which is mostly what they are."""
    try:
        texts = words.cast(pa.string())
    except pa.ArrowInvalid:
        texts = None
    if texts is None or pc.any(pc.match_substring(texts, "\\")).as_py():
        texts = pa.array([to_text(raw) for raw in words.to_pylist()], pa.string())
    return texts


def _joined(asked: _Asked, resolver: _Resolver) -> tuple[tuple[pa.Array, pa.Array], pa.Array]:
    """Give host and guest texts of the distinct paths, and host texts of their second paths."""
    of, first = numbered(asked.opener)
    given = [
        resolver.directory(number) if resolver.is_given(number) else None
        for number in asked.opener[first].tolist()
    ]
    easy = np.array([one is not None and (one.is_normal or one.target is None) for one in given], np.bool_)[
        of
    ]
    easy &= ~np.asarray(pc.match_substring_regex(asked.raw, _NEEDS_CARE)).astype(np.bool_)
    easy &= ~np.isin(asked.call, _TWO_PATHS)
    careful = pa.array(~easy)
    bases = ([one.target if one else None for one in given], [one.guest if one else None for one in given])
    resolver.texts = (_below(bases[0], of, asked.raw), _below(bases[1], of, asked.raw))
    count = len(easy)
    if easy.all():
        resolver.done = count
        return resolver.texts, pa.nulls(count, pa.string())
    seconds = _with_care(asked, resolver, np.flatnonzero(~easy).tolist())
    resolver.done = count
    hosts, guests = (
        [place.target for place in resolver.careful.values()],
        [place.guest for place in resolver.careful.values()],
    )
    return (
        _replaced(resolver.texts[0], careful, hosts),
        _replaced(resolver.texts[1], careful, guests),
    ), _replaced(pa.nulls(count, pa.string()), careful, seconds)


def _with_care(asked: _Asked, resolver: _Resolver, indices: Sequence[int]) -> list[str | None]:
    """Look at some of the paths one by one, in order; give the host texts of their second paths."""
    seconds: list[str | None] = []
    for index in indices:
        resolver.done = index
        place = resolver.directory(int(asked.opener[index])).below(asked.raw[index].as_py())
        resolver.careful[index] = place
        resolver.done = index + 1
        call, second = int(asked.call[index]), None
        if call in _TWO_DIRECTORIES:
            there = resolver.directory(int(asked.second[index])).below(asked.raw2[index].as_py())
            second = there.target if there.target is not None else there.guest
        elif call == _SYMLINK:
            second = asked.raw2[index].as_py()
        seconds.append(second)
    return seconds


def _below(directories: Sequence[str | None], of: Ints, raw: pa.StringArray) -> pa.Array:
    bases = pa.array(directories, pa.string()).take(pa.array(of))
    return pc.binary_join_element_wise(bases, raw, "/")


def _replaced(texts: pa.Array, where: pa.BooleanArray, by: Sequence[str | None]) -> pa.Array:
    return pc.replace_with_mask(texts, where, pa.array(by, pa.string()))


def _assemble(
    fields: Fields,
    resolver: _Resolver,
    joined: tuple[tuple[pa.Array, pa.Array], pa.Array],
    places: Mapping[int, str],
) -> Targets:
    """Give each record its path's texts, or its place on the network, or those of its descriptor."""
    texts, second = joined
    path_of, opener, fd = resolver.path_of, fields["opener"], fields["fd"]
    place_of = path_of.copy()
    by_path = path_of >= 0
    by_descriptor = np.flatnonzero(~by_path & (opener != NO_OPENER))
    place_of[by_descriptor], others = _descriptors(opener[by_descriptor], resolver, len(second))
    streams = np.flatnonzero(~by_path & (opener == NO_OPENER) & (fd >= 0) & (fd < len(_STREAMS)))
    which, first = numbered(fd[streams])
    place_of[streams] = len(second) + len(others) + which
    others += [Place(_STREAMS[number], None) for number in fd[streams[first]].tolist()]
    named = np.array(list(places), np.int64)
    place_of[named] = len(second) + len(others) + np.arange(len(named))
    others += [Place(text, None) for text in places.values()]
    hosts = pa.concat_arrays([texts[0], pa.array([place.target for place in others], pa.string())])
    guests = pa.concat_arrays([texts[1], pa.array([place.guest for place in others], pa.string())])
    target, guest = _spread(hosts, place_of), _spread(guests, place_of)
    kind = np.full(len(path_of), int(TargetKind.NONE), np.int64)
    is_named = np.asarray(pc.or_(target.is_valid(), guest.is_valid())).astype(np.bool_)
    kind[is_named | by_path] = TargetKind.PATH
    kind[streams] = TargetKind.STREAM
    kind[(fd >= FIRST_SOCKET) & (kind == TargetKind.PATH)] = TargetKind.ADDRESS
    kind[named] = np.where(fields["call"][named] == _LOOKUP, int(TargetKind.NAME), int(TargetKind.ADDRESS))
    return Targets(kind, target, guest, _spread(second, path_of))


def _spread(texts: pa.Array, places: Ints) -> pa.DictionaryArray:
    """Give the text of each record by place; -1 is none."""
    coded = texts.dictionary_encode()
    # a place of -1 finds the last one
    codes = np.append(np.asarray(pc.fill_null(coded.indices, _NONE)), np.int32(_NONE))[places]
    return dictionary(codes, coded.dictionary)


def dictionary(codes: npt.NDArray[np.int32], words: pa.Array) -> pa.DictionaryArray:
    """Give texts by code; -1 is none."""
    missing = codes < 0
    if not missing.any():
        return pa.DictionaryArray.from_arrays(pa.array(codes), words)
    # what lies under a null is looked up too, where dictionaries are put together
    return pa.DictionaryArray.from_arrays(pa.array(np.maximum(codes, 0), pa.int32(), mask=missing), words)


def _descriptors(numbers: Integers, resolver: _Resolver, count: int) -> tuple[Ints, list[Place]]:
    """Give the places for values of the field `opener`: those of paths here, and others from `count` on."""
    seq = resolver.seq
    rows = np.minimum(np.searchsorted(seq, numbers), len(seq) - 1)
    if int(seq[-1]) - int(seq[0]) == len(seq) - 1 and bool((seq[1:] > seq[:-1]).all()):
        rows = np.clip(numbers, seq[0], seq[-1]) - seq[0]
    places = np.where(seq[rows] == numbers, resolver.path_of[rows], _NONE)
    rest = np.flatnonzero(places < 0)
    which, first = numbered(numbers[rest])
    places[rest] = count + which
    return places, [resolver.place(number) for number in numbers[rest[first]].tolist()]
