"""Signed notes over receipts, so that a receipt can be shown to somebody who has nothing else.

What a receipt says lives in `audit/receipt.py`, its leaf in the log in `audit/leaves.py`. A note is made from
the leaf, when a signed checkpoint covers it. INVARIANT: a note says of a receipt what its leaf says, and
nothing is signed for an execution that has no leaf.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from audit import canonical
from audit.errors import FormatError
from audit.identity import ExecutionId, execution_id
from audit.store import publish
from audit.tlog.errors import KeyFileError, NoteError
from audit.tlog.key_files import KeyFolder
from audit.tlog.log import TransparencyLog
from audit.tlog.note import Note, parse_note
from audit.tlog.tile_files import publish_all
from audit.tlog.vkey import NamedKey, VerifierKey

FIRST_LINE = "wasmgate.receipt/v1"
SUFFIX = ".receipt.note"
_AT_ONCE = 512  # leaves that are looked at while the keys are locked
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_CURSOR = "receipts.json"
_CURSOR_BYTES = 100


def receipt_text(exec_id: ExecutionId, sha256: str) -> str:
    """What is signed: three lines, the last with the digest of the receipt's file in lower-case hex."""
    return f"{FIRST_LINE}\n{exec_id}\n{sha256}\n"


def open_receipt_note(content: bytes, keys: Sequence[VerifierKey]) -> tuple[ExecutionId, str]:
    """Read a note that one of `keys` signed: the execution, and the SHA-256 of its receipt. NoteError."""
    note = parse_note(content)
    note.verify(keys)
    lines = note.text.split("\n")
    if len(lines) != 4 or lines[0] != FIRST_LINE or not _SHA256.match(lines[2]):
        raise NoteError(f"{FIRST_LINE}, an execution and a SHA-256", note.text)
    try:
        return execution_id(lines[1]), lines[2]
    except FormatError as err:
        raise NoteError("the id of an execution", lines[1]) from err


def sign_receipts(log: TransparencyLog, keys: KeyFolder, *, size: int, receipts: Path) -> int:
    """Sign the receipts with leaves below `size` that are not signed yet; give how many there were.

    `size` is that of a signed checkpoint, `receipts` the folder of the receipts; one that is gone by now is
    passed over. Raises KeyFileError, DamageError, WriteError.
    """
    done = 0
    while True:
        with keys.locked():
            first = _next(keys)
            count = min(_AT_ONCE, size - first)
            if count <= 0:
                return done
            notes = list(_notes(log.entries(first, count), keys.load(), receipts))
            publish_all(notes)
            publish(keys.path / _CURSOR, canonical.dumps({"next": first + count}))
            done += len(notes)


def _notes(entries: Iterator[bytes], key: NamedKey, receipts: Path) -> Iterator[tuple[Path, bytes]]:
    for entry in entries:
        if b'"type":"receipt"' not in entry:  # canonical JSON has no spaces; most leaves are others
            continue
        read = canonical.loads("leaf", entry)
        if read.text("type") != "receipt":
            continue
        exec_id, sha256 = execution_id(read.text("exec_id")), read.text("sha256")
        if _SHA256.match(sha256) and (receipts / f"{exec_id}.receipt.json").exists():
            text = receipt_text(exec_id, sha256)
            yield receipts / f"{exec_id}{SUFFIX}", Note(text, (key.sign(text),)).content


def _next(keys: KeyFolder) -> int:
    path = keys.path / _CURSOR
    try:
        return canonical.loads(str(path), keys.read(path, most=_CURSOR_BYTES)).integer("next")
    except FileNotFoundError:
        return 0
    except FormatError as err:
        raise KeyFileError(path, str(err)) from err
