"""Condenses the rows of one execution as its policy says: one row for each call, for each target, or less.

Levels are in `terms.py`, masks come before this (`masks.py`). What is grouped is all that decides a call
(`facts.py`), so that learning and replaying give the same answers on condensed rows; `counts` leaves the
targets out, and says so in `masked`. INVARIANT: the sum of `n` is the number of calls, refusals and calls
that never returned keep rows of their own, and rows come out in the order of `seq`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from audit.columns import NEVER_RETURNED, SCHEMA, Decision, Masked, Stage
from audit.facts import deciding_flags
from audit.start import ExecutionStart
from audit.terms import AuditTerms, Level

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MIXED_ERRNO = -2
"""`errno` of a row that stands for calls with different ones: see `errnos`."""

MAX_GROUPS = 131_072
"""Groups and single rows that are held before they are written; then counting starts anew.

A guest chooses how many targets there are, so it must not choose how much memory that takes.
"""

_CODES = (Level.CALLS, Level.SUMMARY, Level.COUNTS)
_TEXTS = ("rule_id", "call", "reason", "right", "target", "guest_target", "target2")
_TARGETS = {"target": Masked.TARGET, "guest_target": Masked.GUEST_TARGET, "target2": Masked.TARGET2}
_NUMBERS = ("class_uid", "activity_id", "decision", "disposition", "target_kind", "masked")
_KEYS = (*_TEXTS, *_NUMBERS, "level", "asked")
_ALIKE = ("fd", "fd2", "opener_seq", "flags")
_ONCE = ("errno", "seq", "t_ns", "seq_last", "t_last", "n", "timed", "dur_max")
_SUMS = ("bytes_in", "bytes_out", "dur_ns")
_LOW = (1 << 32) - 1
_MOST = (1 << 63) - 1
_EXECUTION = ("exec_id", "tenant_id", "module_id", "policy_id")


def condense(
    tables: Iterable[pa.Table], start: ExecutionStart, *, max_groups: int = MAX_GROUPS
) -> Iterator[pa.Table]:
    """Give the rows that the level of each call leaves of decoded, masked blocks of one execution.

    The blocks come in the order of `seq`. With nothing to condense each block passes through as it is.
    """
    terms = start.audit
    if terms.level is Level.CALLS and all(rule.level is Level.CALLS for rule in terms.rules):
        yield from tables
        return
    held = _Held(terms)
    for table in tables:
        held.add(table)
        if held.size > max_groups:
            yield held.taken(start)
    if held.size:
        yield held.taken(start)


@dataclass(slots=True)
class _Held:
    """Rows that stand alone, and groups by all that decides and by errno, until they are written."""

    terms: AuditTerms
    single: list[pa.Table] = field(default_factory=list)
    groups: pa.Table | None = None
    words: dict[str, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How much there is to be written."""
        groups = 0 if self.groups is None else self.groups.num_rows
        return int(groups) + sum(int(table.num_rows) for table in self.single)

    def add(self, table: pa.Table) -> None:
        """Take in one more block."""
        table = table.unify_dictionaries().combine_chunks()
        level = levels_of(table, self.terms)
        alone = level == _CODES.index(Level.CALLS)
        if alone.any():
            self.single.append(table.filter(pa.array(alone)))
        if not alone.all():
            rest = table.filter(pa.array(~alone))
            counted = _counted(self._keyed(rest, level[~alone]))
            both = counted if self.groups is None else pa.concat_tables([self.groups, counted])
            self.groups = counted if self.groups is None else _again(both)

    def taken(self, start: ExecutionStart) -> pa.Table:
        """Give all rows in order, and forget them."""
        found = list(self.single)
        if self.groups is not None:
            found.append(_rows(self.groups, tuple(self.words), start))
        self.single, self.groups, self.words = [], None, {}
        whole = pa.concat_tables(found).unify_dictionaries().combine_chunks()
        return whole.take(pc.sort_indices(whole.column("seq")))

    def _keyed(self, rows: pa.Table, level: Ints) -> pa.Table:
        """Numbers only: what groups are apart by, and what is summed up of them."""
        values = {name: self._coded(rows.column(name)) for name in _TEXTS}
        numbers = {name: _ints(rows.column(name)) for name in (*_NUMBERS, *_ALIKE, "errno", "seq", "t_ns")}
        is_counted = level == _CODES.index(Level.COUNTS)
        for name, bit in _TARGETS.items():
            numbers["masked"] |= np.where(is_counted & (values[name] >= 0), int(bit), 0)
            values[name] = np.where(is_counted, -1, values[name])
        values |= numbers | {"level": level, "asked": deciding_flags(rows.column("call"), numbers["flags"])}
        lasted = rows.column("dur_ns").combine_chunks()
        values["n"] = _ints(rows.column("n"))
        values["timed"] = np.asarray(pc.is_valid(lasted)).astype(np.int64)
        values["dur_ns"] = np.asarray(pc.fill_null(lasted, 0)).astype(np.int64)
        values["dur_max"] = np.where(values["timed"] == 1, values["dur_ns"], -_MOST)
        for name in ("bytes_in", "bytes_out"):
            values[name] = _ints(rows.column(name))
        values["t_last"] = _ints(rows.column("t_last_ns"))
        values["seq_last"] = numbers["seq"]
        return pa.table(values)

    def _coded(self, column: pa.ChunkedArray) -> Ints:
        coded = column.combine_chunks()
        places = [self.words.setdefault(word, len(self.words)) for word in coded.dictionary.to_pylist()]
        numbers = np.array([*places, -1], np.int64)
        return np.asarray(numbers[np.asarray(pc.fill_null(coded.indices, -1)).astype(np.int64)])


def levels_of(rows: pa.Table, terms: AuditTerms) -> Ints:
    """Give for each row the level it is kept at: 0 calls, 1 summary, 2 counts.

    INVARIANT: only what was plainly allowed, and returned, is ever anything but 0.
    """
    coded = rows.column("call").unify_dictionaries().combine_chunks()
    own = terms.levels
    by_call = [_CODES.index(own.get(name, terms.level)) for name in coded.dictionary.to_pylist()]
    level = np.array([*by_call, 0], np.int64)[np.asarray(coded.indices).astype(np.int64)]
    may = (
        (_ints(rows.column("decision")) == Decision.ALLOW)
        & (_ints(rows.column("stage")) == Stage.EXIT)
        & (_ints(rows.column("errno")) != NEVER_RETURNED)
    )
    return np.where(may, level, 0)


def _ints(column: pa.ChunkedArray) -> Ints:
    return np.asarray(column.to_numpy()).astype(np.int64)


def _counted(rows: pa.Table) -> pa.Table:
    """Put rows of numbers together by their keys and by errno; sums are kept in two halves."""
    halves: dict[str, npt.NDArray[np.int64]] = {}
    for name in _SUMS:
        value = _ints(rows.column(name))
        # SECURITY: a cell that was taken over may have written counts whose sum has no 64 bits
        halves |= {f"{name}_low": value & _LOW, f"{name}_high": value >> 32}
    plain = {name: rows.column(name) for name in (*_KEYS, *_ONCE)}
    edges = {f"{name}_{end}": rows.column(name) for name in _ALIKE for end in ("min", "max")}
    return _again(pa.table({**plain, **halves, **edges}))


def _again(rows: pa.Table) -> pa.Table:
    """Put groups together that have the same keys; what comes first in `rows` is the earlier."""
    ways = {"seq": "first", "t_ns": "first", "seq_last": "last", "t_last": "last"}
    ways |= {"n": "sum", "timed": "sum", "dur_max": "max"}
    ways |= {f"{name}_{half}": "sum" for name in _SUMS for half in ("low", "high")}
    ways |= {f"{name}_{end}": end for name in _ALIKE for end in ("min", "max")}
    keys = [*_KEYS, "errno"]
    made = rows.group_by(keys, use_threads=False).aggregate(list(ways.items()))
    return made.select([*keys, *(f"{name}_{way}" for name, way in ways.items())]).rename_columns(
        [*keys, *ways]
    )


def _rows(groups: pa.Table, words: Sequence[str], start: ExecutionStart) -> pa.Table:
    """Give the rows of the schema: one for each key, whatever the errno."""
    numbers = {name: _ints(groups.column(name)) for name in groups.column_names}
    owner, ends = _owners(groups)
    first = _by_edge(numbers["seq"], owner, ends, is_last=False)
    last = _by_edge(numbers["seq_last"], owner, ends, is_last=True)
    n = np.bincount(owner, numbers["n"], ends).astype(np.int64)
    errno, errnos = _errnos(owner, numbers["errno"], numbers["n"], n)
    sums = {name: _total(owner, numbers, name, ends) for name in _SUMS}
    timed = np.bincount(owner, numbers["timed"], ends) > 0
    longest = np.full(ends, -_MOST, np.int64)
    np.maximum.at(longest, owner, numbers["dur_max"])
    values: dict[str, Ints] = {name: numbers[name][first] for name in (*_NUMBERS, "seq", "t_ns")}
    for name in _ALIKE:
        least, most = _edges(owner, numbers, name, ends)
        other = values_of_mixed(name, numbers["asked"][first])
        values[name] = np.where(least == most, least, other)
    values |= {"n": n, "errno": errno, "t_last_ns": numbers["t_last"][last]}
    values |= {"bytes_in": sums["bytes_in"], "bytes_out": sums["bytes_out"]}
    values["stage"] = np.full(ends, int(Stage.SUMMARY), np.int64)
    arrays = {
        name: pa.array(value, pa.int64()).cast(SCHEMA.field(name).type) for name, value in values.items()
    }
    arrays["dur_ns"] = pa.array(sums["dur_ns"], pa.int64(), mask=~timed)
    arrays["dur_max_ns"] = pa.array(longest, pa.int64(), mask=~timed | (n == 1))
    arrays["errnos"] = pa.array(errnos, pa.string()).dictionary_encode()
    for name in _TEXTS:
        arrays[name] = _worded(numbers[name][first], words)
    arrays |= _constants(start, ends)
    return pa.table([arrays[name] for name in SCHEMA.names], schema=SCHEMA)


def values_of_mixed(name: str, asked: Ints) -> Ints:
    """What stands in a column where the calls of a group differ: nothing, or the flags that decide."""
    return asked if name == "flags" else np.full(len(asked), -1, np.int64)


def _owners(groups: pa.Table) -> tuple[Ints, int]:
    """Give for each group by errno the number of its group without it, and how many of these there are."""
    keyed = groups.select(list(_KEYS)).append_column("place", pa.array(np.arange(groups.num_rows)))
    listed = keyed.group_by(list(_KEYS), use_threads=False).aggregate([("place", "list")])
    lists = listed.column("place_list").combine_chunks()
    owner = np.empty(groups.num_rows, np.int64)
    owner[np.asarray(lists.flatten())] = np.asarray(pc.list_parent_indices(lists))
    return owner, listed.num_rows


def _by_edge(value: Ints, owner: Ints, count: int, *, is_last: bool) -> Ints:
    """Give for each group the place of its member with the lowest, or highest, value."""
    order = np.lexsort((value, owner))
    starts = np.searchsorted(owner[order], np.arange(count), side="right" if is_last else "left")
    return np.asarray(order[starts - 1 if is_last else starts])


def _edges(owner: Ints, numbers: dict[str, Ints], name: str, count: int) -> tuple[Ints, Ints]:
    least, most = np.full(count, _MOST, np.int64), np.full(count, -_MOST - 1, np.int64)
    np.minimum.at(least, owner, numbers[f"{name}_min"])
    np.maximum.at(most, owner, numbers[f"{name}_max"])
    return least, most


def _total(owner: Ints, numbers: dict[str, Ints], name: str, count: int) -> Ints:
    """Add up the halves; what has no 64 bits is the most that has."""
    low, high = np.zeros(count, np.int64), np.zeros(count, np.int64)
    np.add.at(low, owner, numbers[f"{name}_low"])
    np.add.at(high, owner, numbers[f"{name}_high"])
    high += low >> 32
    low &= _LOW
    fits = (high < 1 << 31) & (high >= -(1 << 31))
    exact = (np.where(fits, high, 0) << 32) + np.where(fits, low, 0)
    return np.where(fits, exact, np.where(high > 0, _MOST, -_MOST))


def _errnos(owner: Ints, errno: Ints, n: Ints, total: Ints) -> tuple[Ints, list[str | None]]:
    """Give for each group its errno, and how often which one came."""
    order = np.lexsort((errno, owner))
    one: list[int] = [MIXED_ERRNO] * len(total)
    parts: list[list[str]] = [[] for _ in range(len(total))]
    for place, number, times in zip(
        owner[order].tolist(), errno[order].tolist(), n[order].tolist(), strict=True
    ):
        one[place] = number if not parts[place] else MIXED_ERRNO
        parts[place].append(f"{number}:{times}")
    texts = [",".join(each) if times > 1 else None for each, times in zip(parts, total.tolist(), strict=True)]
    return np.array(one, np.int64), texts


def _worded(codes: Ints, words: Sequence[str]) -> pa.DictionaryArray:
    used, places = np.unique(codes[codes >= 0], return_inverse=True)
    kept = np.full(len(codes), -1, np.int32)
    kept[codes >= 0] = places
    dictionary = pa.array([words[code] for code in used.tolist()], pa.string())
    # what lies under a null is looked up as well when dictionaries are put together
    places_ = pa.array(np.maximum(kept, 0), pa.int32(), mask=kept < 0)
    return pa.DictionaryArray.from_arrays(places_, dictionary)


def _constants(start: ExecutionStart, count: int) -> dict[str, pa.Array]:
    """What all rows of an execution share, and what only single calls have."""
    texts = (start.exec_id, start.tenant, start.module_digest, start.policy_digest)
    places = np.zeros(count, np.int64)
    shared: dict[str, pa.Array] = {
        name: _worded(places, (text,)) for name, text in zip(_EXECUTION, texts, strict=True)
    }
    return shared | {name: pa.nulls(count, SCHEMA.field(name).type) for name in ("payload", "payload_sha256")}
