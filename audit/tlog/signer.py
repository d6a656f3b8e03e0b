"""Signs the head of a log, if it extends what was signed before; never otherwise.

When that happens, and in which process, is `api/signing.py`; how one key follows another is `rotation.py`.
The signer trusts its own memory beside the key and no file of the log. INVARIANT: no two checkpoints that
are signed here contradict each other, whatever is killed or put back in between.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from audit.store import make_directory, publish
from audit.tlog.checkpoint import Checkpoint, SignedCheckpoint, open_checkpoint
from audit.tlog.errors import DamageError, ForkError, NoteError, ProofError
from audit.tlog.key_files import KeyFolder
from audit.tlog.log import TransparencyLog
from audit.tlog.merkle import verify_consistency
from audit.tlog.note import MAX_NOTE_BYTES, Note
from audit.tlog.tile_files import read_file
from audit.tlog.vkey import NamedKey


def sign_head(log: TransparencyLog, keys: KeyFolder) -> Checkpoint | None:
    """Sign the head as it is now and publish it as `checkpoint`; None if that is what is published already.

    Waits for others that sign with the same keys. Raises ForkError when the head is none that may be signed,
    KeyFileError, DamageError, WriteError.
    """
    with keys.locked():
        return sign_with(log, keys, keys.load())


def signed_head(log: TransparencyLog, keys: KeyFolder) -> Checkpoint | None:
    """What was signed last; None if nothing ever was. Raises KeyFileError and DamageError."""
    with keys.locked():
        signed = last_signed(log, keys, keys.load())
    return signed.checkpoint if signed else None


def sign_with(log: TransparencyLog, keys: KeyFolder, key: NamedKey) -> Checkpoint | None:
    """As `sign_head`, with a key; the caller holds the lock of `keys`."""
    head = log.head
    last = last_signed(log, keys, key)
    if last is not None:
        _check_extends(log, last.checkpoint, head.size, head.root)
    elif not head.size:
        return None
    checkpoint = Checkpoint(key.name, head.size, head.root)
    is_signed = last is not None and last.checkpoint == checkpoint and key.verifier in last.signers
    if is_signed and _is_published(log, checkpoint, key):
        return None
    note = Note(checkpoint.text, (key.sign(checkpoint.text),)).content
    if not is_signed:
        # INVARIANT: remembered before anybody can see it. The other way round, a kill in between would
        # let a log that was put back be signed again, with other leaves.
        keys.remember(note)
    keys.show(key.verifier)
    publish_key(log, keys, key)
    publish(log.directory / "checkpoint", note)
    return checkpoint


def last_signed(log: TransparencyLog, keys: KeyFolder, key: NamedKey) -> SignedCheckpoint | None:
    """What was signed last: as the signer remembers, or as the log says where that was lost."""
    known = (key.verifier, *keys.old())
    remembered = keys.last_signed(key.name, known)
    if remembered is not None:
        return remembered
    path = log.directory / "checkpoint"
    try:
        return open_checkpoint(read_file(path, most=MAX_NOTE_BYTES), key.name, known)
    except FileNotFoundError:
        return None
    except NoteError as err:
        # Another key has signed this log: to go on with this one would be a second history.
        raise DamageError(path, f"it is not signed by the key of this service: {err}") from err


def publish_key(log: TransparencyLog, keys: KeyFolder, key: NamedKey) -> None:
    """Write the public key into the log's folder under its number, where verifiers look for it."""
    path = key_path(log.directory, number_of(keys, key), ".vkey")
    if not path.exists():
        make_directory(path.parent)
        publish(path, f"{key.verifier.text}\n".encode())


def number_of(keys: KeyFolder, key: NamedKey) -> int:
    """How many keys signed before this one."""
    old = keys.old()
    return old.index(key.verifier) if key.verifier in old else len(old)


def key_path(directory: Path, number: int, suffix: str) -> Path:
    """File of key `number` in the folder of a log: `.vkey`, or `.checkpoint`, the last that it signed."""
    return directory / "keys" / f"{number}{suffix}"


def _check_extends(log: TransparencyLog, signed: Checkpoint, size: int, root: bytes) -> None:
    if size < signed.size:
        raise ForkError(signed.size, size, "the head has fewer leaves")
    try:
        verify_consistency(
            signed.size,
            size,
            path=log.consistency(signed.size, size),
            first_root=signed.root,
            second_root=root,
        )
    except ProofError as err:
        raise ForkError(signed.size, size, f"the head does not begin with it: {err}") from err


def _is_published(log: TransparencyLog, checkpoint: Checkpoint, key: NamedKey) -> bool:
    # a witness may have added signatures, so the note is compared by what it says
    with contextlib.suppress(FileNotFoundError, NoteError, DamageError):
        content = read_file(log.directory / "checkpoint", most=MAX_NOTE_BYTES)
        return open_checkpoint(content, key.name, [key.verifier]).checkpoint == checkpoint
    return False
