"""Gathers proofs about one log: of a receipt, of one record, and of growth.

The forms of proofs live in `tlog_proof.py` and `record_proof.py`; who checks them needs no log. Everything is
proved under the published checkpoint. INVARIANT: a proof is given only if it leads to the root that is
signed, so files that were changed give an error and never a proof that fails later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from audit import canonical
from audit.canonical import Document, Json
from audit.columns import SCHEMA, out_of_file
from audit.identity import ExecutionId
from audit.tlog.checkpoint import Checkpoint, parse_checkpoint_text
from audit.tlog.errors import DamageError, UnprovableError
from audit.tlog.log import TransparencyLog
from audit.tlog.merkle import HASH_BYTES, inclusion_path, leaf_hash, root_of, verify_inclusion
from audit.tlog.note import MAX_NOTE_BYTES, parse_note
from audit.tlog.record_proof import MAX_ROWS, RecordProof
from audit.tlog.tile_files import read_file
from audit.tlog.tlog_proof import TlogProof
from audit.tlog.vkey import encode_base64

_MAX_MANIFEST_BYTES = 256 << 20
_MAX_CHUNKS_BYTES = 256 << 20
_SCAN = 4096  # leaves that are looked at together, where the index does not help

CanonicalRecords = Callable[[pa.Table], bytes]
"""Gives the canonical bytes of rows; see `audit.chunks`."""


@dataclass(frozen=True, slots=True)
class Growth:
    """Proof that a tree is the beginning of a larger one."""

    first: int
    first_root: bytes
    second: int
    second_root: bytes
    path: tuple[bytes, ...]

    def as_json(self) -> dict[str, Json]:
        """The proof as JSON: hashes are base64."""
        return {
            "schema": "wasmgate.consistency.v1",
            "first": {"size": self.first, "root": encode_base64(self.first_root)},
            "second": {"size": self.second, "root": encode_base64(self.second_root)},
            "path": [encode_base64(one) for one in self.path],
        }


@dataclass(frozen=True, slots=True)
class _Part:
    """What one segment holds of an execution."""

    segment: Path
    leaves: tuple[bytes, ...]


class Prover:
    """Proofs about the log below `root`; `leaf_of` says where a receipt's leaf may be, and may be wrong."""

    def __init__(self, root: Path, *, leaf_of: Callable[[str], int | None] = lambda _exec_id: None) -> None:
        """Touch no disk."""
        self._root = root
        self._log = TransparencyLog(root / "tlog")
        self._leaf_of = leaf_of

    def checkpoint(self) -> tuple[Checkpoint, bytes]:
        """The published checkpoint, and its note as it is stored; UnprovableError if there is none.

        Its signature is not checked here.
        """
        try:
            content = read_file(self._log.directory / "checkpoint", most=MAX_NOTE_BYTES)
        except FileNotFoundError:
            raise UnprovableError("nothing is signed yet") from None
        return parse_checkpoint_text(parse_note(content).text), content

    def signed_size(self) -> int:
        """How many leaves the published checkpoint covers; 0 if there is none."""
        try:
            return self.checkpoint()[0].size
        except UnprovableError:
            return 0

    def receipt(self, exec_id: ExecutionId) -> TlogProof:
        """Proof that the receipt of an execution is in the log; its `extra` is the leaf.

        Raises UnprovableError if it is not there, or not signed yet, and DamageError.
        """
        head, note = self.checkpoint()
        index, entry = self._receipt_leaf(exec_id)
        if index >= head.size:
            raise UnprovableError(f"leaf {index} is not signed yet: the checkpoint has {head.size} leaves")
        path = self._log.inclusion(index, head.size)
        verify_inclusion(leaf_hash(entry), index, head.size, path=path, root=head.root)
        return TlogProof(index, path, note, entry)

    def record(self, exec_id: ExecutionId, seq: int, canonical_records: CanonicalRecords) -> RecordProof:
        """Proof that one record of an execution is in the log; raises as `receipt`."""
        receipt = self.receipt(exec_id)
        leaf = canonical.loads("receipt leaf", receipt.extra or b"")
        parts = [self._part(exec_id, segment) for segment in self._segments(exec_id, leaf)]
        leaves = [one for part in parts for one in part.leaves]
        if root_of(leaves).hex() != leaf.text("root"):
            raise DamageError(
                self._root, f"the chunks of execution {exec_id} have another root than its receipt"
            )
        before = 0
        gone = [part.segment for part in parts if not part.segment.exists()]
        for part in parts:
            if part.segment in gone:
                before += len(part.leaves)
                continue
            rows = _rows(part.segment, exec_id)
            at = pc.index(rows.column("seq"), seq).as_py()
            if at >= 0:
                break
            before += len(part.leaves)
        else:
            if gone:
                raise UnprovableError(f"{gone[0]}: the file is gone; a retention may have removed it")
            raise UnprovableError(f"execution {exec_id} has no row for call {seq}")
        first = at - at % MAX_ROWS
        some = rows.slice(first, MAX_ROWS)
        names = cast(
            "tuple[str, str, str]",
            tuple(rows.column(name)[at].as_py() for name in ("tenant_id", "module_id", "policy_id")),
        )
        proof = RecordProof(
            exec_id=exec_id,
            seq=seq,
            tenant_id=names[0],
            module_id=names[1],
            policy_id=names[2],
            first_seq=some.column("seq")[0].as_py(),
            records=canonical_records(some),
            position=at - first,
            chunk=before + first // MAX_ROWS,
            chunks=len(leaves),
            path=inclusion_path(leaves, before + first // MAX_ROWS),
            row=_shown(rows.slice(at, 1)),
            receipt=receipt,
        )
        if proof.chunk_leaf != leaves[proof.chunk]:
            raise DamageError(part.segment, f"chunk {first // MAX_ROWS} of execution {exec_id} was changed")
        return proof

    def growth(self, first: int, second: int) -> Growth:
        """Proof that the tree of `first` leaves is the beginning of that of `second`; RangeError."""
        path = self._log.consistency(first, second)
        roots = self._log.hash_of_tree(first), self._log.hash_of_tree(second)
        return Growth(first, roots[0], second, roots[1], path)

    def signed_growth(self, first: int, second: int) -> dict[str, Json]:
        """The same as JSON, with the published checkpoint and the path to it: a key is all it takes to check.

        Raises RangeError, and UnprovableError if the checkpoint has fewer than `second` leaves.
        """
        found, (head, note) = self.growth(first, second), self.checkpoint()
        if second > head.size:
            raise UnprovableError(f"{second} leaves are not signed yet: the checkpoint has {head.size}")
        path = [encode_base64(one) for one in self._log.consistency(second, head.size)]
        return found.as_json() | {"checkpoint": note.decode(), "checkpoint_path": path}

    def _receipt_leaf(self, exec_id: ExecutionId) -> tuple[int, bytes]:
        likely = self._leaf_of(exec_id)
        # SECURITY: the index is no evidence; a wrong number costs a search, and never gives a wrong proof
        if likely is not None and 0 <= likely < self._log.size:
            entry = next(self._log.entries(likely, 1))
            if _is_receipt(entry, exec_id):
                return likely, entry
        for index, entry in self._newest_first():
            if _is_receipt(entry, exec_id):
                return index, entry
        raise UnprovableError(f"the log has no receipt of execution {exec_id}")

    def _newest_first(self) -> Iterator[tuple[int, bytes]]:
        end = self._log.size
        while end:
            start = (end - 1) // _SCAN * _SCAN
            some = list(self._log.entries(start, end - start))
            yield from reversed(list(enumerate(some, start)))
            end = start

    def _segments(self, exec_id: ExecutionId, leaf: Document) -> tuple[str, ...]:
        if leaf.fields.get("segments") is not None:
            return leaf.texts("segments")
        # there were too many to name in a leaf: the manifests are asked
        found: list[tuple[int, str]] = []
        for path in (self._root / "seg").rglob("*.manifest.json"):
            content = read_file(path, most=_MAX_MANIFEST_BYTES)
            if exec_id.encode() in content:
                read = canonical.loads(path.name, content)
                spans = [one for one in read.children("executions") if one.text("exec_id") == exec_id]
                found += [(one.integer("first_seq"), read.text("segment")) for one in spans]
        return tuple(name for _, name in sorted(found))

    def _part(self, exec_id: ExecutionId, name: str) -> _Part:
        parts = PurePosixPath(name).parts
        if not name.endswith(".parquet") or ".." in parts or parts[:1] != ("seg",):
            raise DamageError(self._root, f"a receipt names a segment {name!r}")
        segment = self._root / name
        try:
            manifest = canonical.loads(
                name, read_file(segment.with_suffix(".manifest.json"), most=_MAX_MANIFEST_BYTES)
            )
            content = read_file(segment.with_suffix(".chunks"), most=_MAX_CHUNKS_BYTES)
        except FileNotFoundError as err:
            raise UnprovableError(
                f"{err.filename}: the file is gone; a retention may have removed it"
            ) from None
        at = 0
        for one in manifest.children("executions"):
            count = one.integer("chunks")
            if one.text("exec_id") == exec_id:
                return _Part(segment, _hashes(segment, content, at, count))
            at += count
        raise DamageError(segment, f"its manifest does not tell of execution {exec_id}")


def _hashes(segment: Path, content: bytes, at: int, count: int) -> tuple[bytes, ...]:
    if len(content) < (at + count) * HASH_BYTES:
        raise DamageError(segment.with_suffix(".chunks"), "it has fewer hashes than its manifest says")
    return tuple(content[each * HASH_BYTES : (each + 1) * HASH_BYTES] for each in range(at, at + count))


def _is_receipt(entry: bytes, exec_id: str) -> bool:
    if exec_id.encode() not in entry:
        return False
    read: Document = canonical.loads("leaf", entry)
    return read.text("type") == "receipt" and read.text("exec_id") == exec_id


def _rows(segment: Path, exec_id: str) -> pa.Table:
    try:
        found = pq.read_table(
            segment,
            filters=pc.field("exec_id") == exec_id,
            read_dictionary=[field.name for field in SCHEMA if pa.types.is_dictionary(field.type)],
            partitioning=None,
        )
        return out_of_file(found.select(SCHEMA.names))
    except FileNotFoundError:
        raise UnprovableError(f"{segment}: the file is gone; a retention may have removed it") from None
    except (pa.ArrowException, KeyError) as err:
        raise DamageError(segment, str(err)) from err


def _shown(row: pa.Table) -> dict[str, Json]:
    """One row as JSON values: 64-bit numbers are text, because JSON's are not exact; bytes are base64."""
    shown: dict[str, Json] = {}
    for field in SCHEMA:
        value = row.column(field.name)[0].as_py()
        if value is not None and pa.types.is_int64(field.type):
            value = str(value)
        elif isinstance(value, bytes):
            value = encode_base64(value)
        shown[field.name] = value
    return shown
