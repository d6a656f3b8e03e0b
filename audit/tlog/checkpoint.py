"""Checkpoints: signed heads of a log, as C2SP tlog-checkpoint describes them.

Notes and signatures live in `note.py`, the log whose head it is in `log.py`. INVARIANT:
`parse_checkpoint_text(checkpoint.text) == checkpoint`, and nothing else is parsed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from audit.tlog.errors import NoteError
from audit.tlog.merkle import EMPTY_ROOT, HASH_BYTES, MAX_SIZE
from audit.tlog.note import Note, parse_note
from audit.tlog.vkey import VerifierKey, decode_base64, encode_base64

_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,18})\Z")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log says of itself: its name, how many leaves it has, and the root over them."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The text that is signed."""
        lines = (self.origin, str(self.size), encode_base64(self.root), *self.extensions)
        return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint with its note; `signers` are the given keys that signed it, the log's own among them."""

    checkpoint: Checkpoint
    note: Note
    signers: tuple[VerifierKey, ...]


def parse_checkpoint_text(text: str) -> Checkpoint:
    """Read the text of a checkpoint; NoteError."""
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
        raise NoteError("three or more lines that are not empty", text)
    origin, size, root, *extensions = lines[:-1]
    found = Checkpoint(origin, parse_number(size), decode_base64(root), tuple(extensions))
    if len(found.root) != HASH_BYTES:
        raise NoteError(f"a root of {HASH_BYTES} bytes", root)
    if not found.size and found.root != EMPTY_ROOT:
        raise NoteError("the root of a tree without leaves", root)
    return found


def parse_number(text: str) -> int:
    """Read a size or an index: decimal digits without leading zeros, below 2^63; NoteError."""
    if not _NUMBER.match(text) or int(text) > MAX_SIZE:
        raise NoteError("a number below 2^63 without leading zeros", text)
    return int(text)


def open_checkpoint(
    content: bytes, origin: str, keys: Sequence[VerifierKey], *, witnesses: Sequence[VerifierKey] = ()
) -> SignedCheckpoint:
    """Read a checkpoint of the log `origin` that one of its `keys` signed; NoteError.

    A signature by one of `witnesses` must be true if it is there; how many have to be, the caller decides.
    """
    note = parse_note(content)
    signers = note.verify((*keys, *witnesses))
    if not set(signers) & set(keys):
        raise NoteError(f"a signature by the log {origin}", [key.name for key in signers])
    checkpoint = parse_checkpoint_text(note.text)
    if checkpoint.origin != origin:
        raise NoteError(f"a checkpoint of the log {origin}", checkpoint.origin)
    return SignedCheckpoint(checkpoint, note, signers)
