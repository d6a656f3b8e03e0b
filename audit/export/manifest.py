"""The manifest of an export: what was asked, what came, and what it can be checked against.

The file itself is written by a form, in `make.py`. The caller records the manifest's own digest as an event
of the log, so an export proves to be the one that was made. INVARIANT: equal manifests give equal bytes, and
`sha256` is that of exactly the bytes that were written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields

from audit.canonical import Json, dumps
from audit.columns import SCHEMA_ID
from audit.filters import RecordFilter
from audit.times import to_rfc3339

SCHEMA = "wasmgate.export.v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportManifest:
    """What is known of one export."""

    form: str
    media_type: str
    wanted: Mapping[str, str | int | bool | None]  # the filter as it was asked
    rows: int  # that were written
    calls: int  # that they stand for
    left_out: int  # rows that the form leaves out: what was not refused, in CEF
    size_bytes: int
    sha256: str
    tree_size: int | None
    checkpoint: str | None
    unsealed: int | None  # rows that no checkpoint covers yet; None: not asked
    tenants: tuple[str, ...]
    t_min_ns: int | None
    t_max_ns: int | None
    masked: tuple[str, ...]  # columns that the policy had blotted out in some row
    made_at_ns: int
    made_by: str
    is_complete: bool
    cut: str | None = None  # why it is not complete

    def to_json(self) -> bytes:
        """Give canonical JSON and a line end; numbers that may pass 2^53 are text."""
        document: dict[str, Json] = {
            "schema": SCHEMA,
            "record_schema": SCHEMA_ID,
            "form": self.form,
            "media_type": self.media_type,
            "filter": dict(self.wanted),
            "rows": self.rows,
            "calls": str(self.calls),
            "left_out": self.left_out,
            "bytes": self.size_bytes,
            "sha256": self.sha256,
            "tree_size": self.tree_size,
            "checkpoint": self.checkpoint,
            "unsealed": self.unsealed,
            "tenants": list(self.tenants),
            "t_min_ns": None if self.t_min_ns is None else str(self.t_min_ns),
            "t_max_ns": None if self.t_max_ns is None else str(self.t_max_ns),
            "masked": list(self.masked),
            "made_at": to_rfc3339(self.made_at_ns),
            "made_by": self.made_by,
            "complete": self.is_complete,
            "cut": self.cut,
        }
        return dumps(document) + b"\n"

    @property
    def digest(self) -> str:
        """Give the SHA-256 of the manifest's bytes, in hexadecimal."""
        return hashlib.sha256(self.to_json()).hexdigest()

    def details(self) -> dict[str, str | int | None]:
        """Give what an `export` event of the log says of it."""
        return {
            "form": self.form,
            "filter": dumps(dict(self.wanted)).decode(),
            "rows": self.rows,
            "calls": str(self.calls),
            "bytes": self.size_bytes,
            "sha256": self.sha256,
            "manifest_sha256": self.digest,
            "tree_size": self.tree_size,
            "complete": int(self.is_complete),
        }


def asked(wanted: RecordFilter) -> dict[str, str | int | bool | None]:
    """Give a filter as it was asked: what is not given, and what does not choose records, is left out."""
    found: dict[str, str | int | bool | None] = {}
    for field in fields(wanted):
        value = getattr(wanted, field.name)
        if value is None or field.name in {"limit", "cursor", "fields"}:
            continue
        is_small = isinstance(value, bool) or (isinstance(value, int) and abs(value) < 1 << 53)
        is_list = isinstance(value, (tuple, list, set, frozenset))
        found[field.name] = (
            value if is_small else ",".join(sorted(map(str, value))) if is_list else str(value)
        )
    return found
