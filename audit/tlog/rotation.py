"""One signing key follows another, in a way that a verifier who knows only the first can retrace.

Signing itself is `signer.py`. A leaf names the old and the new key; a checkpoint by the old key covers it and
is kept, as `keys/<n>.checkpoint` beside `keys/<n>.vkey`; only then the new key signs. INVARIANT: a new key
has signed nothing as long as the old one has not vouched for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from audit import canonical
from audit.errors import FormatError
from audit.store import locked, make_directory, publish
from audit.times import to_rfc3339
from audit.tlog.checkpoint import Checkpoint, SignedCheckpoint, open_checkpoint
from audit.tlog.errors import DamageError, NoteError, RangeError
from audit.tlog.key_files import KeyFolder
from audit.tlog.log import TransparencyLog
from audit.tlog.note import MAX_NOTE_BYTES, Note
from audit.tlog.signer import key_path, last_signed, number_of, publish_key, sign_with
from audit.tlog.tile_files import read_file
from audit.tlog.vkey import NamedKey, VerifierKey, parse_vkey

_VKEY_BYTES = 4096
_MAX_REASON = 200  # characters


def rotate(log: TransparencyLog, keys: KeyFolder, *, reason: str, at_ns: int, seal_lock: Path) -> VerifierKey:
    """Let a new key sign from now on; give its public half. The old secret is destroyed.

    Appends a leaf, so it takes the lock of the sealer. One that was interrupted is finished by the next
    call. Raises ForkError, KeyFileError, DamageError, WriteError.
    """
    with locked(seal_lock), keys.locked():
        key = keys.load()
        new = keys.create_following(key.name)
        if new.verifier == key.verifier:  # interrupted after the very last step but one
            keys.following.unlink()
            new = keys.create_following(key.name)
        number = number_of(keys, key)
        kept = key_path(log.directory, number, ".checkpoint")
        if not kept.exists():
            log.append([_leaf(key.verifier, new.verifier, reason=reason, at_ns=at_ns)])
            publish_key(log, keys, key)
            sign_with(log, keys, key)
            publish(kept, _last_note(log, keys, key).content)
        _put_in_force(log, keys, key=key, new=new, number=number)
    return new.verifier


def _leaf(old: VerifierKey, new: VerifierKey, *, reason: str, at_ns: int) -> bytes:
    return canonical.dumps(
        {
            "type": "key",
            "v": 1,
            "at": to_rfc3339(at_ns),
            "old": old.text,
            "new": new.text,
            "reason": reason[:_MAX_REASON],
        }
    )


def _last_note(log: TransparencyLog, keys: KeyFolder, key: NamedKey) -> Note:
    signed = last_signed(log, keys, key)
    if signed is None or key.verifier not in signed.signers:
        raise DamageError(keys.remembered, "it is not the checkpoint that was just signed")
    return signed.note


def _put_in_force(
    log: TransparencyLog, keys: KeyFolder, *, key: NamedKey, new: NamedKey, number: int
) -> None:
    """Make the new key the one that signs; each step may be repeated."""
    old = keys.old_path(number)
    make_directory(old.parent)
    publish(old, f"{key.verifier.text}\n".encode())
    publish(keys.signing, f"{new.secret_text}\n".encode())
    keys.following.unlink()
    sign_with(log, keys, new)


def trusted_keys(directory: Path, first: VerifierKey) -> tuple[VerifierKey, ...]:
    """The keys of a log from `first` to the one that signs now, each vouched for by the one before.

    `directory` is the log's folder; nothing in it is trusted but what follows from `first`. Raises NoteError
    and DamageError where the chain breaks.
    """
    log = TransparencyLog(directory)
    found = [first]
    start = _number_in(directory, first)
    while True:
        path = key_path(directory, start + len(found) - 1, ".checkpoint")
        try:
            content = read_file(path, most=MAX_NOTE_BYTES)
        except FileNotFoundError:
            return tuple(found)
        head = open_checkpoint(content, first.name, [found[-1]]).checkpoint
        found.append(_follower(log, head, found[-1], path))


def open_published(directory: Path) -> tuple[SignedCheckpoint, int] | None:
    """The published checkpoint of the log in a folder, and when its file was written; None if there is none.

    Checked with the keys that the folder itself names, from the first on: that finds accidents, and an
    outsider compares the first key with the one that he was given. Time in nanoseconds since 1970. Raises
    NoteError and DamageError.
    """
    path = directory / "checkpoint"
    try:
        content = read_file(path, most=MAX_NOTE_BYTES)
        written_ns = path.stat().st_mtime_ns
        first = parse_vkey(_read_vkey(directory, 0))
    except FileNotFoundError:
        return None
    return open_checkpoint(content, first.name, trusted_keys(directory, first)), written_ns


def _read_vkey(directory: Path, number: int) -> str:
    content = read_file(key_path(directory, number, ".vkey"), most=_VKEY_BYTES)
    return content.decode("utf-8", "replace").removesuffix("\n")


def _number_in(directory: Path, key: VerifierKey) -> int:
    number = 0
    while True:
        try:
            text = _read_vkey(directory, number)
        except FileNotFoundError:
            raise NoteError("a key that has signed this log", key.text) from None
        if text == key.text:
            return number
        number += 1


def _follower(log: TransparencyLog, head: Checkpoint, key: VerifierKey, path: Path) -> VerifierKey:
    try:
        if log.hash_of_tree(head.size) != head.root:
            raise DamageError(path, "the log does not begin with the tree that it signs")
        leaf: Sequence[bytes] = list(log.entries(head.size - 1, 1))
        read = canonical.loads("key leaf", leaf[0])
        if read.text("type") != "key" or read.text("old") != key.text:
            raise DamageError(path, "the last leaf under it names no key that follows")
        new = parse_vkey(read.text("new"))
    except (FormatError, RangeError) as err:
        raise DamageError(path, str(err)) from err
    if new.name != key.name:
        raise DamageError(path, "the key that follows has another name")
    return new
