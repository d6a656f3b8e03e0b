"""The canonical form of records, 160 bytes each, and the hashes of chunks of them.

Trees over the hashes are `tlog/merkle.py`; which rows go into which segment is `sealer.py`. Texts come in as
digests, so the form depends on no file format, and Python runs once for each distinct text, not for each row.
INVARIANT: equal rows give equal bytes, however their columns are encoded or cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from struct import Struct
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from audit import canonical
from audit.canonical import Json
from audit.columns import numbered

Ints = npt.NDArray[np.int64]

RECORD_BYTES = 160
CHUNK_ROWS = 128
NO_DURATION = -(1 << 63)
"""What stands for a null `dur_ns`."""

_DIGEST_BYTES = 16
_HEAD = Struct("<QI32s")
_BYTES_KEPT = 1 << 22  # of texts whose digests are kept
_AT_ONCE = 4096  # rows whose records are put together while they are in the processor's cache
_WIDEST = 1 << 62  # of a number that several columns were mixed into

_NUMBERS: dict[str, str] = {
    **dict.fromkeys(("seq", "t_ns", "dur_ns", "flags", "bytes_in", "bytes_out", "n", "opener_seq"), "<i8"),
    **dict.fromkeys(("fd", "fd2"), "<i4"),
    "errno": "<i2",
    **dict.fromkeys(("stage", "decision", "target_kind", "masked"), "i1"),
}
_WORDS = ("call", "rule_id", "reason", "right", "errnos")
_CODES = ("class_uid", "activity_id", "disposition")
_TEXTS = ("target", "guest_target", "target2")
_DIGESTS = ("words", *_TEXTS, "payload")

_RECORD = np.dtype([*_NUMBERS.items(), *((name, f"V{_DIGEST_BYTES}") for name in _DIGESTS), ("zero", "V2")])


@dataclass(slots=True)
class TextDigests:
    """Digests of texts, which many blocks of rows share; forgotten when they are too many."""

    _known: dict[bytes, bytes] = field(default_factory=dict)  # of the whole 32 bytes
    _size: int = 0  # of the texts

    def of(self, texts: pa.StringArray) -> npt.NDArray[np.void]:
        """Give the digest of each text, and behind them what a null has."""
        raw = texts.cast(pa.binary()).to_pylist()
        new = [text for text in raw if text not in self._known]
        self._size += sum(map(len, new))
        if self._size > _BYTES_KEPT:
            # a guest chooses how many texts there are, and how long: no more is kept of earlier ones
            self._known, new = {}, raw
            self._size = sum(map(len, new))
        self._known |= {text: sha256(text).digest() for text in new}
        whole = b"".join([self._known[text] for text in raw])
        found = np.zeros((len(raw) + 1, _DIGEST_BYTES), np.uint8)
        found[:-1] = np.frombuffer(whole, np.uint8).reshape(-1, 2 * _DIGEST_BYTES)[:, :_DIGEST_BYTES]
        return found.view(f"V{_DIGEST_BYTES}").ravel()


def canonical_records(rows: pa.Table, known: TextDigests | None = None) -> npt.NDArray[np.uint8]:
    """Give the records of rows (`columns.SCHEMA`), one in each line of the array.

    Digests of texts are taken from `known`, and put there.
    """
    known = TextDigests() if known is None else known
    numbers = {name: _numbers(rows, name) for name in _NUMBERS}
    texts = (_texts(rows.column(name), known) for name in _TEXTS)
    digests = [_words(rows, numbers["n"]), *texts, _payloads(rows)]
    made = np.zeros(rows.num_rows, _RECORD)
    for at in range(0, rows.num_rows, _AT_ONCE):
        part = slice(at, at + _AT_ONCE)
        into = made[part]
        for name, values in numbers.items():
            into[name] = values[part]
        for name, found in zip(_DIGESTS, digests, strict=True):
            if found is not None:
                into[name] = found.table.take(found.codes[part])
    return made.view(np.uint8).reshape(rows.num_rows, RECORD_BYTES)


def context_of(exec_id: str, tenant: str, module: str, policy: str) -> bytes:
    """Give the digest of what the records of one execution share; it is part of each of its chunks."""
    return sha256(
        canonical.dumps({"exec_id": exec_id, "tenant_id": tenant, "module_id": module, "policy_id": policy})
    ).digest()


def chunk_leaves(rows: pa.Table, exec_id: str, context: bytes) -> tuple[bytes, ...]:
    """Give the leaf hashes of the chunks of all rows that one segment has of an execution."""
    chunker = Chunker(exec_id, context)
    chunker.add(canonical_records(rows))
    return chunker.finish()


@dataclass(slots=True)
class Chunker:
    """Hashes the records of one execution as they come; how they are cut into arrays changes nothing."""

    exec_id: str
    context: bytes
    _leaves: list[bytes] = field(default_factory=list)
    _rest: npt.NDArray[np.uint8] = field(default_factory=lambda: np.empty((0, RECORD_BYTES), np.uint8))

    def add(self, records: npt.NDArray[np.uint8]) -> None:
        """Take in canonical records that follow those before."""
        if len(self._rest):
            records = np.concatenate([self._rest, records])
        full = len(records) - len(records) % CHUNK_ROWS
        self._hash(records[:full])
        self._rest = records[full:].copy()

    def finish(self) -> tuple[bytes, ...]:
        """Give the hashes of all chunks, the last one however many rows it has."""
        self._hash(self._rest)
        self._rest = self._rest[:0]
        return tuple(self._leaves)

    def _hash(self, records: npt.NDArray[np.uint8]) -> None:
        # SPEC: RFC 6962, 2.1: the hash of a leaf begins with a zero byte
        begin = b"\x00" + UUID(self.exec_id).bytes
        firsts = records[::CHUNK_ROWS, :8].copy().view("<u8").ravel().tolist()
        content = records.reshape(-1).data
        for place, first_seq in enumerate(firsts):
            start = place * CHUNK_ROWS
            count = min(CHUNK_ROWS, len(records) - start)
            made = sha256(begin + _HEAD.pack(first_seq, count, self.context))
            made.update(content[start * RECORD_BYTES : (start + count) * RECORD_BYTES])
            self._leaves.append(made.digest())


@dataclass(frozen=True, slots=True)
class _Digests:
    """Digests of one column: the distinct ones, and which of them each row has."""

    table: npt.NDArray[np.void]
    codes: Ints


def _numbers(rows: pa.Table, name: str) -> npt.NDArray[np.generic]:
    column = rows.column(name)
    if name == "dur_ns":
        column = pc.fill_null(column, NO_DURATION)
    return np.asarray(column.to_numpy())


def coded(column: pa.ChunkedArray) -> tuple[Ints, pa.Array]:
    """Give for each row the place of its value among the distinct ones, which come too; -1 for a null.

    A value that no row has may be among them.
    """
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    if not column.num_chunks:
        return np.empty(0, np.int64), pa.array([], column.type.value_type)
    whole = column.chunk(0) if column.num_chunks == 1 else column.unify_dictionaries().combine_chunks()
    indices = whole.indices
    if indices.null_count:
        indices = pc.fill_null(indices, -1)
    return np.asarray(indices).astype(np.int64), whole.dictionary


def mixed(columns: Sequence[tuple[Ints, int]]) -> tuple[Ints, Ints]:
    """Give for each row the number of its combination of values, and for each number the first such row.

    A column is its values, all of them at least -1, and how many there are from 0.
    """
    mix, span = np.zeros(len(columns[0][0]), np.int64), 1
    for values, count in columns:
        if span * (count + 1) > _WIDEST:
            mix, _ = numbered(mix)
            span = len(mix) + 1
        mix = mix * (count + 1) + (values + 1)
        span *= count + 1
    return numbered(mix)


def ranged(values: Ints) -> tuple[Ints, int]:
    """Give numbers as `mixed` takes them: counted from the least one."""
    if not len(values):
        return values, 0
    least = int(values.min())
    return values - least, int(values.max()) - least + 1


def _ints(column: pa.ChunkedArray) -> Ints:
    return np.asarray(column.to_numpy()).astype(np.int64, copy=False)


def _texts(column: pa.ChunkedArray, known: TextDigests) -> _Digests | None:
    if column.null_count == len(column):
        return None
    codes, distinct = coded(column)
    return _Digests(known.of(distinct), np.where(codes < 0, len(distinct), codes))


def _words(rows: pa.Table, n: npt.NDArray[np.generic]) -> _Digests | None:
    texts = [coded(rows.column(name)) for name in _WORDS]
    codes = [_ints(rows.column(name)) for name in _CODES]
    which, firsts = mixed(
        [*((values, len(distinct)) for values, distinct in texts), *(ranged(values) for values in codes)]
    )
    lists = [(values, [*distinct.to_pylist(), None]) for values, distinct in texts]  # -1 is the last

    def of(row: int) -> tuple[Json, ...]:
        return (*(words[values[row]] for values, words in lists), *(int(values[row]) for values in codes))

    made = [_words_digest((*of(row), None, None)) for row in firsts.tolist()]
    several = np.flatnonzero(np.asarray(n, np.int64) > 1)
    if len(several):
        times = rows.select(["t_last_ns", "dur_max_ns"]).take(pa.array(several))
        last, longest = (times.column(at).to_pylist() for at in range(2))
        which[several] = len(made) + np.arange(len(several))
        made += [
            _words_digest((*of(row), str(t_ns), None if most is None else str(most)))
            for row, t_ns, most in zip(several.tolist(), last, longest, strict=True)
        ]
    return _Digests(_table(made), which)


@lru_cache(maxsize=4096)
def _words_digest(words: tuple[Json, ...]) -> bytes:
    return sha256(canonical.dumps(list(words))).digest()[:_DIGEST_BYTES]


def _payloads(rows: pa.Table) -> _Digests | None:
    payload, digest = rows.column("payload"), rows.column("payload_sha256")
    if payload.null_count == digest.null_count == rows.num_rows:
        return None
    made = [
        bytes(_DIGEST_BYTES)
        if kept is None and whole is None
        else sha256((whole or bytes(32)) + (kept or b"")).digest()[:_DIGEST_BYTES]
        for kept, whole in zip(payload.to_pylist(), digest.to_pylist(), strict=True)
    ]
    return _Digests(_table(made), np.arange(len(made)))


def _table(digests: Sequence[bytes]) -> npt.NDArray[np.void]:
    """Put digests one behind the other; what a null has, all zeros, is the last."""
    joined = b"".join((*digests, bytes(_DIGEST_BYTES)))
    return np.frombuffer(joined, f"V{_DIGEST_BYTES}")
