"""The entries of the transparency log: what each kind says, written and read.

The log itself is `tlog/log.py`; when an entry is appended is decided in `sealer.py`. Each entry has a key,
which is made of what it says, and no two entries have the same kind and key. INVARIANT: an entry is canonical
JSON of at most `MAX_ENTRY_BYTES`, and `key_of` gives of an entry the key that it was made with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, TypeAlias, cast
from uuid import UUID, uuid5

import pyarrow as pa

from audit import canonical
from audit.canonical import Document, Json
from audit.columns import WORDS
from audit.times import to_rfc3339

if TYPE_CHECKING:
    from audit.events import ControlEvent
    from audit.manifest import Manifest
    from audit.receipt import Receipt

MAX_ENTRY_BYTES = 65_535
"""The tiles give the length of an entry two bytes."""

REFUSALS_LEAVED = 100
"""So many refusals of an execution in a segment have leaves of their own."""

DAMAGE = "damage"
"""The word of a control event that tells of a file which can't be read."""

VERSION = 1
_NAMES = UUID("6f3bb16e-6a0c-5a4e-9d1b-7d2f0a6c1e55")  # of events that are named by what they are about


class LeafKind(StrEnum):
    """What an entry is about."""

    SEGMENT = "segment"
    RECEIPT = "receipt"
    REFUSAL = "refusal"
    GAP = "gap"
    EVENT = "event"
    KEY = "key"


_KEYS = {
    LeafKind.SEGMENT: "segment",
    LeafKind.RECEIPT: "exec_id",
    LeafKind.EVENT: "id",
    LeafKind.KEY: "new",
}

LeafKey: TypeAlias = "tuple[str, str]"
"""Kind and key: what there is one entry of at most."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """An entry, and what it is found by."""

    kind: str
    key: str
    entry: bytes

    @property
    def name(self) -> LeafKey:
        """Kind and key."""
        return self.kind, self.key


def segment_leaf(manifest: Manifest, content: bytes, *, at_ns: int) -> Leaf:
    """Give the entry of a segment; `content` is the manifest's file, byte for byte."""
    return _leaf(
        LeafKind.SEGMENT,
        at_ns,
        {
            "manifest": manifest.path,
            "sha256": sha256(content).hexdigest(),
            "segment": manifest.segment,
            "root": manifest.root,
            "rows": manifest.rows,
            "calls": manifest.calls,
            "tenant": manifest.tenant,
        },
    )


@dataclass(frozen=True, slots=True)
class ExecutionTree:
    """The chunks of one execution: over which segments, how many, and their root."""

    segments: Sequence[str]
    chunks: int
    root: bytes


def receipt_leaf(receipt: Receipt, content: bytes, tree: ExecutionTree, *, at_ns: int) -> Leaf:
    """Give the entry of a receipt; `content` is its file, byte for byte.

    Where the paths of the segments do not fit, `segments` is null: the manifests name the execution too.
    """
    fields: dict[str, Json] = {
        "exec_id": receipt.execution_id,
        "tenant": receipt.tenant,
        "sha256": sha256(content).hexdigest(),
        "records": receipt.records,
        "refusals": receipt.refused,
        "root": tree.root.hex(),
        "chunks": tree.chunks,
        "segments": list(tree.segments),
        "outcome": receipt.outcome.kind.value,
    }
    made = _leaf(LeafKind.RECEIPT, at_ns, fields)
    return made if _fits(made) else _leaf(LeafKind.RECEIPT, at_ns, fields | {"segments": None})


_TOLD = [
    *("exec_id", "seq", "tenant_id", "module_id", "policy_id", "call", "decision", "rule_id", "reason"),
    *("right", "target", "guest_target", "target2", "errno", "t_ns"),
]


def refusal_leaves(rows: pa.Table) -> Iterable[Leaf]:
    """Give the entries of refused rows (`columns.SCHEMA`)."""
    for row in rows.select(_TOLD).to_pylist():
        fields: dict[str, Json] = {
            "exec_id": row["exec_id"],
            "seq": row["seq"],
            "tenant": row["tenant_id"],
            "module": row["module_id"],
            "policy": row["policy_id"],
            "call": row["call"],
            "decision": WORDS[row["decision"]],
            "rule": row["rule_id"],
            "reason": row["reason"],
            "right": row["right"],
            "target": row["target"],
            "guest_target": row["guest_target"],
            "target2": row["target2"],
            "errno": row["errno"],
        }
        made = _leaf(LeafKind.REFUSAL, row["t_ns"], fields)
        if not _fits(made):
            # SECURITY: the guest chose these texts; it must not be able to stop the log with long ones
            made = _leaf(LeafKind.REFUSAL, row["t_ns"], {**fields, **_cut(fields)})
        yield made


def gap_leaf(exec_id: str | None, first: int | None, last: int | None, *, reason: str, at_ns: int) -> Leaf:
    """Give the entry of sequence numbers that are missing; null for what is not known."""
    known = [None if number is None or number > _LARGEST else number for number in (first, last)]
    fields: dict[str, Json] = {
        "exec_id": exec_id,
        "first": known[0],
        "last": known[1],
        "reason": reason[:_REASON],
    }
    return _leaf(LeafKind.GAP, at_ns, fields)


def event_leaf(event: ControlEvent) -> Leaf:
    """Give the entry of an event of the control plane; details that do not fit are there as a digest."""
    details: dict[str, Json] = dict(event.details)
    fields: dict[str, Json] = {
        "id": event.event_id,
        "event": event.event,
        "actor": event.actor,
        "tenant": event.tenant,
        "details": details,
    }
    made = _leaf(LeafKind.EVENT, event.at_ns, fields)
    if not _fits(made):
        digest = sha256(canonical.dumps(details)).hexdigest()
        cut: dict[str, Json] = {"actor": event.actor[:_REASON], "details": {"sha256": digest}}
        made = _leaf(LeafKind.EVENT, event.at_ns, {**fields, **cut})
    return made


def damage_leaf(about: str, details: Mapping[str, Json], *, at_ns: int) -> Leaf:
    """Give the entry of a file that can't be read as it should; `about` names it, and it has one entry."""
    fields: dict[str, Json] = {
        "id": str(uuid5(_NAMES, about)),
        "event": DAMAGE,
        "actor": "sealer",
        "tenant": None,
        "details": {"file": about, **details},
    }
    return _leaf(LeafKind.EVENT, at_ns, fields)


def key_of(read: Document) -> str:
    """Give the key of an entry; FormatError if what it is made of is missing."""
    kind = read.text("type")
    if kind == LeafKind.REFUSAL:
        return f"{read.text('exec_id')}:{read.integer('seq')}"
    if kind == LeafKind.GAP:
        exec_id = read.optional_text("exec_id")
        first, last = read.optional_integer("first"), read.optional_integer("last")
        known = f"{exec_id or ''}:{'' if first is None else first}:{'' if last is None else last}"
        # nothing else tells two such gaps from each other
        return known if exec_id is not None and first is not None else f"{known}:{read.text('at')}"
    if kind in _KEYS:
        return read.text(_KEYS[LeafKind(kind)])
    return read.optional_text("id") or read.text("at")  # of a later version


def read_entry(entry: bytes) -> Document:
    """Read an entry; FormatError if it is not a JSON object."""
    return canonical.loads("entry of the transparency log", entry)


_LARGEST = (1 << 53) - 1  # that JSON holds exactly; no execution makes so many calls
_REASON = 1000  # characters of a sentence that are kept
_LONG = 2000  # bytes of a text, from which on a digest stands for it in an entry that is too long


def _leaf(kind: LeafKind, at_ns: int, fields: Mapping[str, Json]) -> Leaf:
    document: dict[str, Json] = {"type": str(kind), "v": VERSION, "at": to_rfc3339(at_ns), **fields}
    return Leaf(
        str(kind),
        key_of(Document("entry", cast("Mapping[str, object]", document))),
        canonical.dumps(document),
    )


def _fits(leaf: Leaf) -> bool:
    return len(leaf.entry) <= MAX_ENTRY_BYTES


def _cut(fields: Mapping[str, Json]) -> dict[str, Json]:
    """Give digests in place of the long texts."""
    return {
        name: "sha256:" + sha256(text.encode()).hexdigest()
        for name, text in fields.items()
        if isinstance(text, str) and len(text.encode()) > _LONG
    }
