"""Which files belong to a leaf of the transparency log, by name and digest, for copies of a log.

What is done with them is `pushing.py` and `pulling.py`. INVARIANT: a name that is given lies below the root
of the log, has the form that this program writes, and comes with what its content must be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from audit import canonical
from audit.errors import FormatError
from audit.identity import execution_id
from audit.leaves import LeafKind
from audit.manifest import File, Manifest, manifest_path
from audit.pruning import GOING

MANIFEST_BYTES = 64 << 20
RECEIPT_BYTES = 64 << 20
NOTE_BYTES = 1 << 16

_SEGMENT = re.compile(
    r"seg/tenant=[A-Za-z0-9_%~-]{1,160}/day=\d{4}-\d{2}-\d{2}/[A-Za-z0-9_-]{1,120}\.parquet\Z", re.ASCII
)
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class SegmentLeaf:
    """A leaf about a segment."""

    segment: str
    sha256: str  # of the manifest

    @property
    def manifest(self) -> str:
        """Path of its manifest."""
        return manifest_path(self.segment)

    def files(self, manifest: Manifest) -> Iterator[tuple[str, File]]:
        """Give its files with their paths; FormatError if the manifest names others."""
        stem = self.segment.removesuffix(".parquet")
        if manifest.segment != self.segment:
            raise FormatError(self.manifest, self.segment, manifest.segment)
        named = manifest.files
        for suffix, file in (
            (".parquet", named.records),
            (".deny.parquet", named.refusals),
            (".rollup.parquet", named.rollup),
            (".chunks", named.chunks),
        ):
            if file is None:
                continue
            if f"{stem.rpartition('/')[2]}{suffix}" != file.name or not _SHA256.match(file.sha256):
                raise FormatError(self.manifest, f"a file with the suffix {suffix}", file.name)
            yield f"{stem}{suffix}", file


@dataclass(frozen=True, slots=True)
class ReceiptLeaf:
    """A leaf about an execution that is over."""

    exec_id: str
    sha256: str  # of the receipt's file

    @property
    def receipt(self) -> str:
        """Path of the receipt."""
        return f"exec/{self.exec_id}.receipt.json"

    @property
    def note(self) -> str:
        """Path of the signed note over it, which may be missing."""
        return f"exec/{self.exec_id}.receipt.note"


@dataclass(frozen=True, slots=True)
class PruneLeaf:
    """A leaf that says of which segments the records were deleted; manifest and hashes stay."""

    segments: tuple[str, ...]

    def files(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Give each segment with the files that go with its records; what is no segment is left out."""
        for segment in self.segments:
            # SECURITY: a detail of an event is text that anybody may have written
            if _SEGMENT.match(segment):
                stem = segment.removesuffix(".parquet")
                yield segment, tuple(f"{stem}{suffix}" for suffix in GOING)


def holding(entry: bytes) -> SegmentLeaf | ReceiptLeaf | PruneLeaf | None:
    """Read a leaf; None if no file belongs to it. FormatError."""
    # canonical JSON has no spaces, and most leaves are others
    if not any(word in entry for word in (b'"type":"segment"', b'"type":"receipt"', b'"event":"prune"')):
        return None
    read = canonical.loads("leaf", entry)
    match read.text("type"):
        case LeafKind.SEGMENT:
            segment = read.text("segment")
            if not _SEGMENT.match(segment) or read.text("manifest") != manifest_path(segment):
                raise FormatError("leaf.segment", "the path of a segment", segment)
            return SegmentLeaf(segment, _digest(read.text("sha256")))
        case LeafKind.RECEIPT:
            return ReceiptLeaf(execution_id(read.text("exec_id")), _digest(read.text("sha256")))
        case LeafKind.EVENT if read.text("event") == "prune":
            named = read.child("details").fields.get("segments")
            return PruneLeaf(tuple(named.split("\n")) if isinstance(named, str) else ())
        case _:
            return None


def _digest(text: str) -> str:
    if not _SHA256.match(text):
        raise FormatError("leaf.sha256", "64 hexadecimal digits", text)
    return text
