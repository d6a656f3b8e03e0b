"""The folder of secret keys, and what its signer remembers: read with suspicion, written whole.

What keys do lives in `vkey.py`, how one follows another in `rotation.py`. The folder is outside the log, so
that whoever may read the log cannot sign for it. INVARIANT: a file that others may open, that somebody else
owns, or that is a link, is refused and never repaired.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from audit.store import locked, make_directory, publish
from audit.tlog.checkpoint import SignedCheckpoint, open_checkpoint
from audit.tlog.errors import KeyFileError, NoteError
from audit.tlog.keys import SigningKey
from audit.tlog.note import MAX_NOTE_BYTES
from audit.tlog.vkey import NamedKey, VerifierKey, check_name, parse_secret, parse_vkey

_KEY_BYTES = 4096  # of a key file; one has about a hundred
_OPEN_TO_OTHERS = 0o077


@dataclass(frozen=True, slots=True)
class KeyFolder:
    """The keys of one log; making one touches no disk."""

    path: Path

    @property
    def signing(self) -> Path:
        """The secret key that signs now."""
        return self.path / "signing.key"

    @property
    def following(self) -> Path:
        """The secret key that will sign next, while a rotation goes on."""
        return self.path / "next.key"

    @property
    def remembered(self) -> Path:
        """The checkpoint that was signed last: the signer's own memory, whatever the log's folder says."""
        return self.path / "signed.note"

    def has_key(self) -> bool:
        """Say whether there is a key, good or not."""
        return os.path.lexists(self.signing)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock under which keys change and heads are signed; wait for whoever holds it."""
        self.check()
        with locked(self.path / "signing.lock"):
            yield

    def check(self) -> None:
        """Return if the folder is there and ours alone; raises KeyFileError."""
        try:
            found = self.path.lstat()
        except FileNotFoundError:
            raise KeyFileError(
                self.path, "there are no keys yet: `wasmgate audit key new` makes one"
            ) from None
        except OSError as err:
            raise KeyFileError(self.path, err.strerror or str(err)) from err
        if not stat.S_ISDIR(found.st_mode):
            raise KeyFileError(self.path, "the folder of keys is no folder")
        _check_private(self.path, found)

    def create(self, name: str) -> VerifierKey:
        """Make the first key, for the log `name`; KeyFileError if there is one already."""
        check_name(name)
        make_directory(self.path)
        with self.locked():
            if self.has_key():
                raise KeyFileError(
                    self.signing, "there is a key already; `wasmgate audit key rotate` follows it"
                )
            key = NamedKey(name, SigningKey.generate())
            publish(self.signing, f"{key.secret_text}\n".encode())
            self.show(key.verifier)
        return key.verifier

    def create_following(self, name: str) -> NamedKey:
        """Make the next key, or give the one that an interrupted rotation made."""
        if os.path.lexists(self.following):
            return self.read_key(self.following)
        key = NamedKey(name, SigningKey.generate())
        publish(self.following, f"{key.secret_text}\n".encode())
        return key

    def load(self) -> NamedKey:
        """The key that signs now; KeyFileError."""
        self.check()
        return self.read_key(self.signing)

    def read_key(self, path: Path) -> NamedKey:
        """Read a secret key; KeyFileError, which shows nothing of it."""
        try:
            return parse_secret(
                self.read(path, most=_KEY_BYTES).decode("utf-8", "replace").removesuffix("\n")
            )
        except FileNotFoundError:
            raise KeyFileError(path, "there is no key yet: `wasmgate audit key new` makes one") from None
        except NoteError as err:
            raise KeyFileError(path, str(err)) from None

    def show(self, verifier: VerifierKey) -> None:
        """Write the public key beside the secret one, for people."""
        content = f"{verifier.text}\n".encode()
        path = self.path / "signing.vkey"
        try:
            is_there = self.read(path, most=_KEY_BYTES) == content
        except FileNotFoundError:
            is_there = False
        if not is_there:
            publish(path, content)

    def old(self) -> tuple[VerifierKey, ...]:
        """The public keys that signed before, oldest first; KeyFileError."""
        found: list[VerifierKey] = []
        while True:
            path = self.old_path(len(found))
            try:
                found.append(parse_vkey(self.read(path, most=_KEY_BYTES).decode("utf-8", "replace").strip()))
            except FileNotFoundError:
                return tuple(found)
            except NoteError as err:
                raise KeyFileError(path, str(err)) from err

    def old_path(self, number: int) -> Path:
        """Where public key `number` is kept when it no longer signs."""
        return self.path / "old" / f"{number}.vkey"

    def remember(self, content: bytes) -> None:
        """Keep a signed checkpoint as the last one; durable when this returns."""
        publish(self.remembered, content)

    def last_signed(self, origin: str, keys: tuple[VerifierKey, ...]) -> SignedCheckpoint | None:
        """The checkpoint that was signed last by one of `keys`; None if none ever was. KeyFileError."""
        try:
            return open_checkpoint(self.read(self.remembered, most=MAX_NOTE_BYTES), origin, keys)
        except FileNotFoundError:
            return None
        except NoteError as err:
            raise KeyFileError(self.remembered, str(err)) from err

    def read(self, path: Path, *, most: int) -> bytes:
        """Bytes of a private file; KeyFileError, and FileNotFoundError if it is not there."""
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            raise
        except OSError as err:
            raise KeyFileError(path, err.strerror or str(err)) from err
        try:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise KeyFileError(path, "it is no regular file")
            _check_private(path, found)
            with os.fdopen(os.dup(handle), "rb") as file:
                content = file.read(most + 1)
        except OSError as err:
            raise KeyFileError(path, err.strerror or str(err)) from err
        finally:
            os.close(handle)
        if len(content) > most:
            raise KeyFileError(path, f"it has more than {most} bytes")
        return content


def _check_private(path: Path, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise KeyFileError(path, f"it belongs to user {found.st_uid}, and we are {os.geteuid()}")
    if found.st_mode & _OPEN_TO_OTHERS:
        mode = stat.S_IMODE(found.st_mode)
        raise KeyFileError(path, f"others may open it (mode {mode:o}); make it 600, or 700 for a folder")
