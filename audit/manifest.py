"""What stands beside a segment: which rows it holds, and which log file they came from.

The rows are in the Parquet file, the catalogue is made from manifests. Digests here find damage;
they are not signed and prove nothing to somebody who distrusts this machine. INVARIANT:
`Manifest.from_json(manifest.to_json()) == manifest`.
"""

from __future__ import annotations

from dataclasses import dataclass

from audit import canonical
from audit.canonical import Document
from audit.columns import SCHEMA_ID
from audit.gather import Gaps
from audit.identity import ExecutionId, execution_id


@dataclass(frozen=True, slots=True)
class Span:
    """The rows of one execution in a segment; `gaps` are the sequence numbers missing in between."""

    exec_id: ExecutionId
    first_seq: int
    last_seq: int
    rows: int
    gaps: Gaps = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One segment."""

    segment: str  # path below the root of the log
    source_wal: str  # name of the file it was made from
    rows: int
    file_bytes: int
    sha256: str  # of the Parquet file
    t_min_ns: int
    t_max_ns: int
    spans: tuple[Span, ...]
    wal_bytes: int  # of the log file, the good part
    wal_lost_bytes: int  # after the good part: torn by a crash, or damaged
    wal_problem: str | None  # `torn` or `corrupt`

    def to_json(self) -> bytes:
        """Give the canonical JSON; times are text, because they do not fit a JSON number."""
        return canonical.dumps(
            {
                "schema": SCHEMA_ID,
                "segment": self.segment,
                "rows": self.rows,
                "bytes": self.file_bytes,
                "sha256": self.sha256,
                "t_min_ns": str(self.t_min_ns),
                "t_max_ns": str(self.t_max_ns),
                "executions": [
                    {
                        "exec_id": span.exec_id,
                        "first_seq": span.first_seq,
                        "last_seq": span.last_seq,
                        "rows": span.rows,
                        "gaps": [{"first": first, "last": last} for first, last in span.gaps],
                    }
                    for span in self.spans
                ],
                "source": {
                    "wal": self.source_wal,
                    "bytes": self.wal_bytes,
                    "lost_bytes": self.wal_lost_bytes,
                    "problem": self.wal_problem,
                },
            }
        )

    @staticmethod
    def from_json(text: bytes | memoryview) -> Manifest:
        """Read it back; FormatError if a field is missing or of another type."""
        read = canonical.loads("manifest", text)
        source = read.child("source")
        return Manifest(
            segment=read.text("segment"),
            source_wal=source.text("wal"),
            rows=read.integer("rows"),
            file_bytes=read.integer("bytes"),
            sha256=read.text("sha256"),
            t_min_ns=int(read.text("t_min_ns")),
            t_max_ns=int(read.text("t_max_ns")),
            spans=tuple(_span(item) for item in read.children("executions")),
            wal_bytes=source.integer("bytes"),
            wal_lost_bytes=source.integer("lost_bytes"),
            wal_problem=source.optional_text("problem"),
        )


def _span(read: Document) -> Span:
    return Span(
        execution_id(read.text("exec_id")),
        read.integer("first_seq"),
        read.integer("last_seq"),
        read.integer("rows"),
        tuple((item.integer("first"), item.integer("last")) for item in read.children("gaps")),
    )
