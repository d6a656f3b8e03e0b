"""Signed notes, as C2SP signed-note describes them: text, and who signed it.

Keys and signatures live in `vkey.py`, what the text of a checkpoint says in `checkpoint.py`. A note holds
the signatures of any number of keys; those of unknown keys are kept and count for nothing. INVARIANT:
`parse_note(note.content) == note`, and nothing else is parsed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from audit.tlog.errors import NoteError
from audit.tlog.vkey import Signature, VerifierKey, parse_signature

MAX_NOTE_BYTES = 1_000_000
MAX_SIGNATURES = 100
"""The bounds of Go's `sumdb/note`; the specification asks for 16 signatures at least."""

_CONTROL = re.compile("[\x00-\x09\x0b-\x1f]")


@dataclass(frozen=True, slots=True)
class Note:
    """A text that ends in a newline, and its signatures, true or not."""

    text: str
    signatures: tuple[Signature, ...]

    @property
    def content(self) -> bytes:
        """The note as it is stored and sent."""
        return (self.text + "\n" + "".join(one.line for one in self.signatures)).encode()

    def with_signatures(self, *added: Signature) -> Note:
        """The note with further signatures behind those that it has."""
        return replace(self, signatures=(*self.signatures, *added))

    def verify(self, keys: Sequence[VerifierKey]) -> tuple[VerifierKey, ...]:
        """Give those of `keys` that signed, each once.

        Raises NoteError if none did, or if a signature by one of them is false. SPEC: other keys are ignored.
        """
        by_id = {(key.name, key.key_id): key for key in keys}
        if len(by_id) != len(set(keys)):
            raise NoteError("keys that differ in name or number")
        found: dict[VerifierKey, None] = {}
        for one in self.signatures:
            key = by_id.get((one.name, one.key_id))
            if key is not None:
                key.verify(self.text, one)
                found[key] = None
        if not found:
            wanted = ", ".join(f"{key.name}+{key.key_id:08x}" for key in keys)
            raise NoteError(
                f"a signature by {wanted or 'a known key'}", [one.name for one in self.signatures]
            )
        return tuple(found)


def parse_note(content: bytes) -> Note:
    """Read a note; NoteError. No signature is checked here."""
    if len(content) > MAX_NOTE_BYTES:
        raise NoteError(f"at most {MAX_NOTE_BYTES} bytes", len(content))
    try:
        whole = content.decode()
    except UnicodeDecodeError:
        raise NoteError("UTF-8", content) from None
    if _CONTROL.search(whole):
        raise NoteError("no control characters but newlines", whole)
    # SPEC: the last empty line ends the text, which may have empty lines itself
    text, blank, lines = whole.rpartition("\n\n")
    if not blank or not lines.endswith("\n"):
        raise NoteError("a text, an empty line, and lines with signatures", whole)
    found = lines[:-1].split("\n")
    if len(found) > MAX_SIGNATURES:
        raise NoteError(f"at most {MAX_SIGNATURES} signatures", len(found))
    note = Note(text + "\n", tuple(parse_signature(line) for line in found))
    if note.content != content:
        raise NoteError("a note in its canonical form", whole)
    return note
