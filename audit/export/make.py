"""Makes an export: rows of a filter, in one of the forms, counted and hashed as they go by.

The forms are siblings of this module, listed by hand below; the manifest is `manifest.py`. Nothing is opened
here: the caller hands in where to write. INVARIANT: what the manifest counts is what was written.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from audit.columns import Masked
from audit.export import arrow, cef, csv, ndjson, ocsf, parquet
from audit.export.evidence import ChunkHash, Evidence, NoEvidence
from audit.export.manifest import ExportManifest, asked
from audit.export.ocsf_events import Source
from audit.export.rows import Batches, Rows, pieces, refused
from audit.filters import RecordFilter


class Form(StrEnum):
    """The forms of an export."""

    CSV = csv.NAME
    NDJSON = ndjson.NAME
    PARQUET = parquet.NAME
    ARROW = arrow.NAME
    OCSF = ocsf.NAME
    CEF = cef.NAME


_MODULES = (csv, ndjson, parquet, arrow, ocsf, cef)
_MEDIA_TYPES: dict[str, str] = {module.NAME: module.MEDIA_TYPE for module in _MODULES}
_SUFFIXES: dict[str, str] = {module.NAME: module.SUFFIX for module in _MODULES}


def media_type(form: Form) -> str:
    """Give the media type of a form."""
    return _MEDIA_TYPES[form]


def suffix(form: Form) -> str:
    """Give the end of a file's name in a form."""
    return _SUFFIXES[form]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What an export is asked for besides its filter."""

    made_by: str
    made_at_ns: int
    limit: int | None = None  # rows; None: all
    is_all: bool = False  # CEF: not only what was refused
    source: Source = field(default_factory=Source)


def export(
    reader: Batches, wanted: RecordFilter, *, form: Form, out: BinaryIO, evidence: Evidence, request: Request
) -> ExportManifest:
    """Write the records that a filter names; give the manifest. Raises what the reader and `out` raise.

    All columns are written: the filter's `fields`, limit and cursor are ignored.
    """
    wanted = replace(wanted, fields=None, cursor=None)
    return export_rows(
        reader.batches(wanted), asked(wanted), form=form, out=out, evidence=evidence, request=request
    )


def export_rows(
    rows: Rows,
    wanted: dict[str, str | int | bool | None],
    *,
    form: Form,
    out: BinaryIO,
    evidence: Evidence,
    request: Request,
) -> ExportManifest:
    """Write rows that somebody else chose; `wanted` says how."""
    checkpoint, tree_size = evidence.checkpoint(), evidence.tree_size  # before any row is read
    hashed = _Hashed(out)
    is_partial = form is Form.CEF and not request.is_all
    seen = _Seen(request.limit, is_partial=is_partial)
    is_asked = form is Form.OCSF and not isinstance(evidence, NoEvidence)
    proving = _Counted(evidence)
    source = Source(request.source.version, request.source.node, checkpoint)
    sink = cast("BinaryIO", hashed)
    written = _write(
        seen.passed(rows), sink, form, proving if is_asked else evidence, request=request, source=source
    )
    return ExportManifest(
        form=form.value,
        media_type=media_type(form),
        wanted=wanted | ({"refusals_only": True} if is_partial else {}),
        rows=written,
        calls=seen.calls,
        left_out=seen.rows - written,
        size_bytes=hashed.size,
        sha256=hashed.digest(),
        tree_size=tree_size,
        checkpoint=checkpoint,
        unsealed=proving.missing if is_asked else None,
        tenants=tuple(sorted(seen.tenants)),
        t_min_ns=seen.t_min_ns,
        t_max_ns=seen.t_max_ns,
        masked=tuple(name.lower() for name, bit in Masked.__members__.items() if seen.masked & bit),
        made_at_ns=request.made_at_ns,
        made_by=request.made_by,
        is_complete=not seen.is_cut,
        cut=f"limit of {request.limit} rows" if seen.is_cut else None,
    )


def _write(
    rows: Rows, out: BinaryIO, form: Form, evidence: Evidence, *, request: Request, source: Source
) -> int:
    match form:
        case Form.CSV:
            return csv.write(rows, out)
        case Form.NDJSON:
            return ndjson.write(rows, out)
        case Form.PARQUET:
            return parquet.write(rows, out)
        case Form.ARROW:
            return arrow.write(rows, out)
        case Form.OCSF:
            return ocsf.write(rows, out, source=source, evidence=evidence)
        case Form.CEF:
            return cef.write(rows, out, source=source, is_all=request.is_all)


@dataclass(slots=True)
class _Counted:
    """Evidence that counts records which it has no chunk for."""

    inner: Evidence
    missing: int = 0

    @property
    def tree_size(self) -> int | None:
        return self.inner.tree_size

    def checkpoint(self) -> str | None:
        return self.inner.checkpoint()

    def chunk_of(self, exec_id: str, seq: int) -> ChunkHash | None:
        found = self.inner.chunk_of(exec_id, seq)
        self.missing += found is None
        return found


@dataclass(slots=True)
class _Seen:
    """What was seen of the rows that went by."""

    limit: int | None
    is_partial: bool = field(kw_only=True)  # the form writes refusals only, so only they are told
    rows: int = 0
    calls: int = 0
    t_min_ns: int | None = None
    t_max_ns: int | None = None
    tenants: set[str] = field(default_factory=set)
    masked: int = 0
    is_cut: bool = False

    def passed(self, rows: Rows) -> Iterator[pa.RecordBatch | pa.Table]:
        """Give the same rows, and no more than the limit."""
        for piece in pieces(rows):
            kept = piece
            if self.limit is not None and self.rows + piece.num_rows > self.limit:
                kept = piece.slice(0, self.limit - self.rows)
                self.is_cut = True
            self.rows += kept.num_rows
            self._note(refused(kept) if self.is_partial else kept)
            yield kept
            if self.is_cut:
                return

    def _note(self, piece: pa.Table) -> None:
        if not piece.num_rows:
            return
        self.calls += pc.sum(piece.column("n")).as_py()
        first = pc.min(piece.column("t_ns")).as_py()
        last = pc.max(piece.column("t_last_ns")).as_py()
        self.t_min_ns = first if self.t_min_ns is None else min(first, self.t_min_ns)
        self.t_max_ns = last if self.t_max_ns is None else max(last, self.t_max_ns)
        self.tenants |= set(pc.unique(piece.column("tenant_id")).to_pylist())
        self.masked |= int(np.bitwise_or.reduce(piece.column("masked").to_numpy()))


class _Hashed(io.RawIOBase):
    """Hands bytes on, counted and hashed; closing it leaves the file open that it writes to."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._hash = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, content: object) -> int:
        view = memoryview(content).cast("B")  # type: ignore[arg-type]  # whatever has a buffer
        done = 0
        while done < len(view):  # a file without a buffer may take a part only
            done += self._out.write(view[done:])
        self._hash.update(view)
        self.size += len(view)
        return len(view)

    def tell(self) -> int:
        return self.size

    def digest(self) -> str:
        return self._hash.hexdigest()
