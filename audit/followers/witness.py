"""A witness: it checks that checkpoints extend each other, and cosigns them for others to see.

SPEC: C2SP tlog-witness (`add-checkpoint`) and tlog-cosignature. What a verifier does with cosignatures is
`audit/verify/standalone.py`. INVARIANT: `checkpoint.witnessed` holds only true signatures: the log's own, and
those of witnesses whose keys are configured.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from audit.followers.errors import SinkError
from audit.followers.exchange import Answer, Endpoint, post
from audit.store import locked, publish
from audit.tlog.checkpoint import SignedCheckpoint, parse_number
from audit.tlog.errors import DamageError, NoteError
from audit.tlog.log import TransparencyLog
from audit.tlog.note import MAX_NOTE_BYTES, Note, parse_note
from audit.tlog.tile_files import read_file
from audit.tlog.vkey import Signature, VerifierKey, encode_base64, parse_signature

WITNESSED = "checkpoint.witnessed"
_MOST = 65_536
_SIZE_TYPE = "text/x.tlog.size"
_SAYS = {
    400: "it can't read what was sent",
    403: "it knows no key that signed",
    404: "it does not know this log",
    422: "it says that the log does not extend what it saw before",
}


@dataclass(frozen=True, slots=True)
class WitnessSink:
    """One witness; `to` is the address below which it has `add-checkpoint`."""

    to: Endpoint
    key: VerifierKey
    log: TransparencyLog
    lock: Path  # held while `checkpoint.witnessed` is written

    def send(self, signed: SignedCheckpoint, *, before: int) -> None:
        """Have a checkpoint cosigned, and publish it with the cosignature."""
        answer = self._ask(signed, before)
        if answer.status == 409:
            seen = self._size(answer, signed.checkpoint.size)
            if seen == before:
                raise SinkError(self.to.shown, "it names the size that it was told, and refuses it")
            answer = self._ask(signed, seen)
        if answer.status != 200:
            says = _SAYS.get(answer.status, "it did not cosign")
            raise SinkError(self.to.shown, f"{says} (it answered {answer.status})")
        self._publish(signed, self._cosignature(signed, answer.body))

    def _ask(self, signed: SignedCheckpoint, old: int) -> Answer:
        size = signed.checkpoint.size
        proof = self.log.consistency(old, size) if 0 < old < size else ()
        head = "".join([f"old {old}\n", *(f"{encode_base64(one)}\n" for one in proof), "\n"])
        body = head.encode() + signed.note.content
        return post(self.to.beside("add-checkpoint"), body, kind="text/plain", most=_MOST)

    def _size(self, answer: Answer, size: int) -> int:
        """Read how many leaves the witness has seen."""
        try:
            text, newline, _ = answer.body.decode().partition("\n")
            seen = parse_number(text if newline and answer.kind == _SIZE_TYPE else "")
        except (NoteError, UnicodeDecodeError):
            raise SinkError(self.to.shown, "it answered 409 without the size that it has seen") from None
        if seen > size:
            raise SinkError(
                self.to.shown,
                f"it has seen {seen} leaves of this log, and {size} are signed: the log was cut or replaced",
            )
        return seen

    def _cosignature(self, signed: SignedCheckpoint, body: bytes) -> Signature:
        """Give the witness's signature, checked; other lines count for nothing."""
        try:
            lines = [parse_signature(line) for line in body.decode().splitlines()]
            found = [one for one in lines if self.key.made(one)]
            for one in found:
                self.key.verify(signed.note.text, one)
        except (NoteError, UnicodeDecodeError) as err:
            raise SinkError(self.to.shown, f"its cosignature is false: {err}") from err
        if not found:
            raise SinkError(self.to.shown, f"it answered without a cosignature by {self.key.name}")
        return found[0]

    def _publish(self, signed: SignedCheckpoint, added: Signature) -> None:
        path = self.log.directory / WITNESSED
        with locked(self.lock):
            note = self._known(path, signed) or signed.note
            others = tuple(one for one in note.signatures if not self.key.made(one))
            publish(path, Note(signed.note.text, (*others, added)).content)

    @staticmethod
    def _known(path: Path, signed: SignedCheckpoint) -> Note | None:
        """Give what is published of the same checkpoint, with what other witnesses have signed."""
        try:
            note = parse_note(read_file(path, most=MAX_NOTE_BYTES))
        except (FileNotFoundError, NoteError, DamageError):
            return None
        return note if note.text == signed.note.text else None
