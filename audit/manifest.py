"""What stands beside a segment: its files and their digests, whose rows it holds, and where they came from.

The rows are in the Parquet file, the catalogue is made from manifests. An entry of the transparency log has
the digest of the manifest. INVARIANT: `Manifest.from_json(manifest.to_json()) == manifest`.
"""

from __future__ import annotations

from dataclasses import dataclass

from audit import canonical
from audit.canonical import Document, Json
from audit.columns import SCHEMA_ID
from audit.errors import FormatError
from audit.gather import Gaps
from audit.identity import ExecutionId, execution_id

MANIFEST_ID = "wasmgate.segment.v1"


@dataclass(frozen=True, slots=True)
class Span:
    """The rows of one execution in a segment.

    `last_seq` is the last call that they tell of; `gaps` are the sequence numbers missing in between.
    `retain_days` is for how long its policy has them kept after its end; None: nobody knows, so for ever.
    """

    exec_id: ExecutionId
    first_seq: int
    last_seq: int
    rows: int
    calls: int
    chunks: int
    gaps: Gaps = ()
    retain_days: int | None = None


@dataclass(frozen=True, slots=True)
class File:
    """One file of a segment, beside its manifest."""

    name: str
    size_bytes: int
    sha256: str

    def to_json(self) -> dict[str, Json]:
        """Give it as JSON values."""
        return {"name": self.name, "bytes": self.size_bytes, "sha256": self.sha256}

    @staticmethod
    def from_json(read: Document) -> File:
        """Read it back."""
        return File(read.text("name"), read.integer("bytes"), read.text("sha256"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The files of a segment; `refusals` is None where no call was refused."""

    records: File
    refusals: File | None
    rollup: File
    chunks: File

    @property
    def size_bytes(self) -> int:
        """How large they are together."""
        every = (self.records, self.refusals, self.rollup, self.chunks)
        return sum(one.size_bytes for one in every if one is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The log file that a segment was made from."""

    wal: str  # its name
    size_bytes: int  # the good part
    lost_bytes: int = 0  # after the good part: torn by a crash, or damaged
    problem: str | None = None  # `torn` or `corrupt`


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One segment."""

    segment: str  # path below the root of the log
    tenant: str
    files: Files
    rows: int
    calls: int  # what the rows stand for
    refusals: int  # rows in the file of refusals
    t_min_ns: int
    t_max_ns: int
    root: str  # of the tree over the chunks, in hex
    chunks: int
    modules: tuple[str, ...]
    policies: tuple[str, ...]
    spans: tuple[Span, ...]
    source: Source

    @property
    def path(self) -> str:
        """Path of the manifest below the root of the log."""
        return manifest_path(self.segment)

    def to_json(self) -> bytes:
        """Give the canonical JSON; times are text, because they do not fit a JSON number."""
        files = self.files
        return canonical.dumps(
            {
                "schema": MANIFEST_ID,
                "record_schema": SCHEMA_ID,
                "segment": self.segment,
                "tenant": self.tenant,
                "files": {
                    "records": files.records.to_json(),
                    "refusals": None if files.refusals is None else files.refusals.to_json(),
                    "rollup": files.rollup.to_json(),
                    "chunks": files.chunks.to_json(),
                },
                "rows": self.rows,
                "calls": self.calls,
                "refusals": self.refusals,
                "t_min_ns": str(self.t_min_ns),
                "t_max_ns": str(self.t_max_ns),
                "root": self.root,
                "chunks": self.chunks,
                "modules": list(self.modules),
                "policies": list(self.policies),
                "executions": [_span_json(span) for span in self.spans],
                "source": {
                    "wal": self.source.wal,
                    "bytes": self.source.size_bytes,
                    "lost_bytes": self.source.lost_bytes,
                    "problem": self.source.problem,
                },
            }
        )

    @staticmethod
    def from_json(text: bytes | memoryview) -> Manifest:
        """Read it back; FormatError if a field is missing or of another type, or it is of another version."""
        read = canonical.loads("manifest", text)
        for field, known in (("schema", MANIFEST_ID), ("record_schema", SCHEMA_ID)):
            if read.fields.get(field) != known:
                raise FormatError(
                    f"manifest.{field}",
                    f"{known}: other versions of this program wrote this log",
                    read.fields.get(field),
                )
        files, source = read.child("files"), read.child("source")
        return Manifest(
            segment=read.text("segment"),
            tenant=read.text("tenant"),
            files=Files(
                records=File.from_json(files.child("records")),
                refusals=None
                if files.fields.get("refusals") is None
                else File.from_json(files.child("refusals")),
                rollup=File.from_json(files.child("rollup")),
                chunks=File.from_json(files.child("chunks")),
            ),
            rows=read.integer("rows"),
            calls=read.integer("calls"),
            refusals=read.integer("refusals"),
            t_min_ns=int(read.text("t_min_ns")),
            t_max_ns=int(read.text("t_max_ns")),
            root=read.text("root"),
            chunks=read.integer("chunks"),
            modules=read.texts("modules"),
            policies=read.texts("policies"),
            spans=tuple(_span(item) for item in read.children("executions")),
            source=Source(
                wal=source.text("wal"),
                size_bytes=source.integer("bytes"),
                lost_bytes=source.integer("lost_bytes"),
                problem=source.optional_text("problem"),
            ),
        )


def manifest_path(segment: str) -> str:
    """Give the path of a segment's manifest."""
    return segment.removesuffix(".parquet") + ".manifest.json"


def _span_json(span: Span) -> dict[str, Json]:
    kept: dict[str, Json] = {} if span.retain_days is None else {"retain_days": span.retain_days}
    return kept | {
        "exec_id": span.exec_id,
        "first_seq": span.first_seq,
        "last_seq": span.last_seq,
        "rows": span.rows,
        "calls": span.calls,
        "chunks": span.chunks,
        "gaps": [{"first": first, "last": last} for first, last in span.gaps],
    }


def _span(read: Document) -> Span:
    return Span(
        exec_id=execution_id(read.text("exec_id")),
        first_seq=read.integer("first_seq"),
        last_seq=read.integer("last_seq"),
        rows=read.integer("rows"),
        calls=read.integer("calls"),
        chunks=read.integer("chunks"),
        gaps=tuple((item.integer("first"), item.integer("last")) for item in read.children("gaps")),
        retain_days=read.integer("retain_days") if "retain_days" in read.fields else None,
    )
