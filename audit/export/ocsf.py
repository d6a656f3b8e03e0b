"""Events of OCSF 1.9, one JSON object a line.

What an event says is `ocsf_events.py`. 64-bit numbers under `unmapped` are text, as many readers keep numbers
as doubles. INVARIANT: every row gives one event that the schema admits, and the row can be read back
from it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from audit.columns import plain
from audit.export.evidence import Evidence, NoEvidence, chunk_hashes
from audit.export.fields import SHARED
from audit.export.lines import Columns, Keys, Known, LineWriter, Shared, Value
from audit.export.ocsf_events import ORDER, Row, Source, event
from audit.export.presence import SPREAD, add_facts, facts_of, present
from audit.export.rows import Rows, pieces
from audit.inert import inert_json
from audit.ocsf import EventClass
from audit.times import to_rfc3339

NAME = "ocsf"
MEDIA_TYPE = "application/x-ndjson"
SUFFIX = ".ocsf.ndjson"

_INT32 = 1 << 31
"""OCSF's `integer_t`; a larger number stays under `unmapped` only."""

_FACTS = (*SPREAD, "path", "many", "small_n", "small_seq", "small_flags", "chunk")
_TEXTS = ("exec_id", "target", "guest_target", "target2", "errnos")
_MARK = "\x01"
_MS = 1_000_000
_S = 1_000_000_000


def write(
    rows: Rows, out: BinaryIO, *, source: Source | None = None, evidence: Evidence | None = None
) -> int:
    """Write rows; give how many were written."""
    writer = OcsfWriter(source or Source(), evidence or NoEvidence())
    count = 0
    for piece in pieces(rows):
        out.write(writer.write(piece))
        count += piece.num_rows
    return count


class OcsfWriter:
    """Writes pieces of rows as events."""

    def __init__(self, source: Source, evidence: Evidence) -> None:
        """Write events that name this source, and this evidence."""
        self._source = source
        self._evidence = evidence
        self._texts = Known(_inner)
        self._names = Known(_name)
        self._seconds = Known(_second)
        self._hashes: pa.Array = pa.nulls(0, pa.string())
        self._lines = LineWriter(order=ORDER, line=self._line, keys=self._keys, fill=self._fill)

    def write(self, piece: pa.Table) -> memoryview:
        """Give the events of a piece."""
        return self._lines.write(piece)

    def _line(self, shared: Shared) -> str:
        text = orjson.dumps(event(Row(shared, facts_of(shared, _FACTS)), self._source)).decode()
        return _MARK.join(inert_json(part) for part in text.split(_MARK)) + "\n"

    def _keys(self, columns: Columns) -> Keys:
        keys = Keys.of(columns, SHARED)
        self._hashes = _hashes_of(columns, self._evidence)
        is_sealed = self._hashes.is_valid().to_numpy(zero_copy_only=False)
        add_facts(keys, _facts(columns) | {"chunk": is_sealed}, _FACTS)
        is_network = columns.numbers("class_uid") == EventClass.NETWORK
        if is_network.any():
            target = plain(columns.rows.column("target")).combine_chunks()
            found = pc.if_else(pa.array(is_network), target, None).dictionary_encode(null_encoding="encode")
            keys.add("address", found.indices.to_numpy().astype(np.int64), found.dictionary.to_pylist())
        else:
            keys.add("address", np.zeros(columns.count, np.int64), [None])
        return keys

    def _fill(self, columns: Columns, name: str) -> pa.Array:
        fillers: dict[str, Callable[[], pa.Array]] = {
            **{text: partial(columns.text, text, self._texts) for text in _TEXTS},
            **{raw: partial(columns.hexadecimal, raw, null="") for raw in ("payload", "payload_sha256")},
            "path": lambda: columns.texts(_path(columns), self._texts),
            "name": lambda: columns.texts(_path(columns), self._names),
            "name2": lambda: columns.text("target2", self._names),
            "time": lambda: _digits(_milliseconds(columns, "t_ns")),
            "start": lambda: _digits(_milliseconds(columns, "t_ns")),
            "end": lambda: _digits(_milliseconds(columns, "t_last_ns")),
            "span": lambda: _digits(_milliseconds(columns, "t_last_ns") - _milliseconds(columns, "t_ns")),
            "original_time": lambda: self._original_time(columns),
            "chunk": lambda: pc.fill_null(self._hashes, ""),
        }
        return fillers.get(name, lambda: columns.digits(name))()

    def _original_time(self, columns: Columns) -> pa.Array:
        seconds, rest = np.divmod(columns.numbers("t_ns"), _S)
        whole = columns.texts(pa.chunked_array([pa.array(seconds)]), self._seconds)
        decimals = pc.ascii_lpad(_digits(rest), 9, "0")
        return pc.binary_join_element_wise(whole, decimals, "Z", "")


def _facts(columns: Columns) -> dict[str, npt.NDArray[np.bool_]]:
    number, is_set = columns.numbers, columns.is_set
    found = present(columns)
    found["path"] = is_set("target") | is_set("guest_target")
    found["many"] = number("n") != 1
    for name in ("n", "seq", "flags"):
        found[f"small_{name}"] = (number(name) >= 0) & (number(name) < _INT32)
    return found


def _hashes_of(columns: Columns, evidence: Evidence) -> pa.Array:
    codes, names = columns.coded("exec_id")
    if isinstance(evidence, NoEvidence):
        return pa.nulls(columns.count, pa.string())
    seqs = columns.numbers("seq")
    found = np.full(columns.count, None, object)
    order = np.lexsort((seqs, codes))
    edges = np.searchsorted(codes[order], np.arange(len(names) + 1))
    for code, name in enumerate(names):
        mine = order[edges[code] : edges[code + 1]]
        for first, end, leaf in chunk_hashes(evidence, str(name), seqs[mine]):
            found[mine[first:end]] = leaf
    return pa.array(found, pa.string())


def _path(columns: Columns) -> pa.ChunkedArray:
    rows = columns.rows
    return pc.coalesce(plain(rows.column("target")), plain(rows.column("guest_target")))


def _milliseconds(columns: Columns, name: str) -> npt.NDArray[np.int64]:
    return columns.numbers(name) // _MS


def _digits(numbers: npt.NDArray[np.int64]) -> pa.Array:
    return pa.array(numbers).cast(pa.string())


def _inner(value: Value) -> str:
    return "" if value is None else inert_json(orjson.dumps(value).decode()[1:-1])


def _name(text: Value) -> str:
    if not isinstance(text, str):
        return ""
    return _inner(text.rstrip("/").rpartition("/")[2] or text)


def _second(second: Value) -> str:
    return to_rfc3339(second * _S)[:20] if isinstance(second, int) else ""
