"""Proof that one record is in the log, in one file that needs nothing beside it but the public key.

Proofs are gathered in `prover.py`; the log's part is a tlog-proof of the receipt (`tlog_proof.py`). The file
holds the canonical bytes of the record's chunk, the hashes from there to the root over the execution, and
the proof of the receipt's leaf, which names that root. INVARIANT: what `verify` gives is covered by the
signature of the checkpoint; `row`, which people read, is as true as its canonical bytes are those here.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID

from audit import canonical
from audit.canonical import Document, Json
from audit.errors import FormatError
from audit.identity import ExecutionId, execution_id
from audit.tlog.checkpoint import SignedCheckpoint, parse_number
from audit.tlog.errors import NoteError, ProofError
from audit.tlog.merkle import leaf_hash, verify_inclusion
from audit.tlog.tlog_proof import TlogProof, parse_proof
from audit.tlog.vkey import VerifierKey, decode_base64, encode_base64

SCHEMA_ID = "wasmgate.record-proof.v1"
SUFFIX = ".record-proof.json"
RECORD_BYTES = 160
"""Of a record in its canonical form."""

MAX_ROWS = 128
"""Records of a chunk."""

_CHUNK = struct.Struct("<16sQI32s")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordProof:
    """A proof, as it is stored; nothing in it is checked before `verify`."""

    exec_id: ExecutionId
    seq: int
    tenant_id: str
    module_id: str
    policy_id: str
    first_seq: int  # of the chunk
    records: bytes  # of the chunk, in canonical form
    position: int  # of the record in the chunk
    chunk: int  # number of the chunk in its execution
    chunks: int  # how many the execution has
    path: tuple[bytes, ...]  # from the chunk to the root over the execution
    row: Mapping[str, Json]  # the record as columns; 64-bit numbers are text, bytes base64
    receipt: TlogProof  # its `extra` is the receipt's leaf

    @property
    def content(self) -> bytes:
        """The file: canonical JSON and a newline."""
        document: dict[str, Json] = {
            "schema": SCHEMA_ID,
            "exec_id": self.exec_id,
            "seq": str(self.seq),
            "tenant_id": self.tenant_id,
            "module_id": self.module_id,
            "policy_id": self.policy_id,
            "first_seq": str(self.first_seq),
            "records": encode_base64(self.records),
            "position": self.position,
            "chunk": self.chunk,
            "chunks": self.chunks,
            "path": [encode_base64(one) for one in self.path],
            "row": self.row,
            "receipt_proof": self.receipt.content.decode(),
        }
        return canonical.dumps(document) + b"\n"

    @property
    def record(self) -> bytes:
        """The record's canonical bytes; ProofError if it is not in the chunk."""
        count, rest = divmod(len(self.records), RECORD_BYTES)
        if rest or not 0 < count <= MAX_ROWS:
            raise ProofError(f"a chunk has 1 to {MAX_ROWS} records of {RECORD_BYTES} bytes")
        if not 0 <= self.position < count:
            raise ProofError(f"there is no record {self.position} in a chunk of {count}")
        record = self.records[self.position * RECORD_BYTES :][:RECORD_BYTES]
        (seq,) = struct.unpack_from("<q", record)
        if seq != self.seq:
            raise ProofError(f"the record has the number {seq}, not {self.seq}")
        return record

    @property
    def chunk_leaf(self) -> bytes:
        """Leaf hash of the chunk in the tree over its execution."""
        return chunk_leaf(
            self.exec_id, self.first_seq, self.records, (self.tenant_id, self.module_id, self.policy_id)
        )

    def verify(
        self, origin: str, keys: Sequence[VerifierKey], *, witnesses: Sequence[VerifierKey] = ()
    ) -> VerifiedRecord:
        """Give what is proved; NoteError, ProofError and FormatError. `row` is not looked at."""
        record = self.record
        if self.receipt.extra is None:
            raise ProofError("the proof of the receipt does not hold its leaf")
        entry = self.receipt.extra
        signed = self.receipt.verify(leaf_hash(entry), origin, keys, witnesses=witnesses)
        leaf = canonical.loads("receipt leaf", entry)
        if leaf.text("type") != "receipt" or leaf.text("exec_id") != self.exec_id:
            raise ProofError("the leaf is not that of the execution's receipt")
        if leaf.integer("chunks") != self.chunks:
            raise ProofError(f"the receipt tells of {leaf.integer('chunks')} chunks, not {self.chunks}")
        root = _from_hex(leaf)
        verify_inclusion(self.chunk_leaf, self.chunk, self.chunks, path=self.path, root=root)
        return VerifiedRecord(signed, leaf, record)


@dataclass(frozen=True, slots=True)
class VerifiedRecord:
    """What a proof has shown: a record, the receipt that covers it, and who signed."""

    checkpoint: SignedCheckpoint
    receipt_leaf: Document
    record: bytes


def chunk_leaf(exec_id: str, first_seq: int, records: bytes, names: tuple[str, str, str]) -> bytes:
    """Leaf hash of a chunk; `names` are tenant, module and policy. ProofError if a number is out of range."""
    tenant_id, module_id, policy_id = names
    context = {"exec_id": exec_id, "module_id": module_id, "policy_id": policy_id, "tenant_id": tenant_id}
    digest = sha256(canonical.dumps(context)).digest()
    try:
        count = len(records) // RECORD_BYTES
        return leaf_hash(_CHUNK.pack(UUID(exec_id).bytes, first_seq, count, digest) + records)
    except (struct.error, ValueError) as err:
        raise ProofError(f"the chunk has no leaf: {err}") from err


def parse_record_proof(content: bytes) -> RecordProof:
    """Read a proof; FormatError and NoteError. Nothing is verified here."""
    read = canonical.loads("record proof", content)
    if read.text("schema") != SCHEMA_ID:
        raise FormatError("record proof.schema", SCHEMA_ID, read.text("schema"))
    return RecordProof(
        exec_id=execution_id(read.text("exec_id")),
        seq=parse_number(read.text("seq")),
        tenant_id=read.text("tenant_id"),
        module_id=read.text("module_id"),
        policy_id=read.text("policy_id"),
        first_seq=parse_number(read.text("first_seq")),
        records=decode_base64(read.text("records")),
        position=read.integer("position"),
        chunk=read.integer("chunk"),
        chunks=read.integer("chunks"),
        path=tuple(decode_base64(one) for one in read.texts("path")),
        row=_row(read.child("row")),
        receipt=parse_proof(read.text("receipt_proof").encode()),
    )


def _row(read: Document) -> dict[str, Json]:
    row: dict[str, Json] = {}
    for name, value in read.fields.items():
        if not (value is None or isinstance(value, int | str)):
            raise FormatError(f"{read.where}.{name}", "a number, text or null", value)
        row[name] = value
    return row


def _from_hex(leaf: Document) -> bytes:
    text = leaf.text("root")
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise NoteError("a root in hex", text) from None
