"""Proofs that a log holds an entry, in one file: C2SP tlog-proof.

Proofs are made by `log.py` and checked by `merkle.py`; the checkpoint is that of `checkpoint.py`. INVARIANT:
`parse_proof(proof.content) == proof`, and nothing else is parsed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from audit.tlog.checkpoint import SignedCheckpoint, open_checkpoint, parse_number
from audit.tlog.errors import NoteError
from audit.tlog.merkle import HASH_BYTES, verify_inclusion
from audit.tlog.note import MAX_NOTE_BYTES
from audit.tlog.vkey import VerifierKey, decode_base64, encode_base64

FIRST_LINE = "c2sp.org/tlog-proof@v1"
SUFFIX = ".tlog-proof"
_MAX_HASHES = 63  # levels of a tree of 2^63 leaves
_MAX_BYTES = 2 * MAX_NOTE_BYTES  # a note and the extra text, generously


@dataclass(frozen=True, slots=True)
class TlogProof:
    """Where an entry is, the hashes from it to the root, and the checkpoint, a note, that has the root.

    `extra` belongs to the application and is covered by no signature.
    """

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    @property
    def content(self) -> bytes:
        """The file."""
        lines = [FIRST_LINE]
        if self.extra is not None:
            lines.append(f"extra {encode_base64(self.extra)}")
        lines.append(f"index {self.index}")
        lines += [encode_base64(one) for one in self.path]
        return "".join(f"{line}\n" for line in lines).encode() + b"\n" + self.checkpoint

    def verify(
        self, leaf: bytes, origin: str, keys: Sequence[VerifierKey], *, witnesses: Sequence[VerifierKey] = ()
    ) -> SignedCheckpoint:
        """Give the checkpoint, if it is signed and the entry with leaf hash `leaf` is in its tree.

        Raises NoteError (the checkpoint) and ProofError (the path).
        """
        signed = open_checkpoint(self.checkpoint, origin, keys, witnesses=witnesses)
        head = signed.checkpoint
        verify_inclusion(leaf, self.index, head.size, path=self.path, root=head.root)
        return signed


def parse_proof(content: bytes) -> TlogProof:
    """Read a proof file; NoteError. Nothing is verified here."""
    if len(content) > _MAX_BYTES:
        raise NoteError(f"a proof of at most {_MAX_BYTES} bytes", len(content))
    head, blank, checkpoint = content.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise NoteError("a proof in ASCII", head) from None
    if not blank or lines.pop(0) != FIRST_LINE:
        raise NoteError(f"a proof that begins with {FIRST_LINE}", content)
    extra = _field(lines, "extra")
    index = _field(lines, "index")
    if index is None:
        raise NoteError("a line `index N`", lines[:1])
    if len(lines) > _MAX_HASHES:
        raise NoteError(f"at most {_MAX_HASHES} hashes", len(lines))
    path = tuple(decode_base64(line) for line in lines)
    if any(len(one) != HASH_BYTES for one in path):
        raise NoteError(f"hashes of {HASH_BYTES} bytes", lines)
    return TlogProof(parse_number(index), path, checkpoint, None if extra is None else decode_base64(extra))


def _field(lines: list[str], name: str) -> str | None:
    if lines and lines[0].startswith(f"{name} "):
        return lines.pop(0).removeprefix(f"{name} ")
    return None
