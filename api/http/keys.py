"""The key of the service: made once, shown once, kept as a hash.

Who asks for it is `guard.py`. There is one key and it may do everything; roles come later. INVARIANT: the key
itself is never written, and a key file that is not ours alone or not understood opens nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import stat
from enum import Enum
from typing import TYPE_CHECKING, NoReturn

from audit.errors import WriteError
from audit.store import publish

if TYPE_CHECKING:
    from pathlib import Path

PREFIX = "wg_"
"""Of every key, so that scanners for leaked secrets can know one."""

_KEY_BYTES = 32
_FORM = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}\Z")
_HASH = re.compile(r"[0-9a-f]{64}\Z")
_MAX_FILE = 1_024
_ALGORITHM = "sha256"


class KeyFileError(Exception):
    """The key file cannot be used; nobody gets in until somebody has looked at it."""

    def __init__(self, path: Path, problem: str) -> None:
        """Keep which file, and what is wrong with it."""
        super().__init__(f"{path}: {problem} (`wasmgate serve --new-key` makes a new one)")
        self.path = path
        self.problem = problem


class Presented(Enum):
    """What was presented as a key."""

    GOOD = "good"
    MISSING = "missing"
    WRONG = "wrong"

    def __bool__(self) -> NoReturn:
        """Refuse to be taken for yes or no."""
        raise TypeError("match on GOOD, MISSING and WRONG: this has no truth value")


class KeyCheck:
    """Says of what was presented whether it is the key."""

    def __init__(self, digest: bytes) -> None:
        """`digest` is the SHA-256 of the key."""
        self._digest = digest

    def judge(self, presented: str | None) -> Presented:
        """Compare in a time that does not depend on where the first difference is."""
        if not presented:
            return Presented.MISSING
        # SECURITY: digests are compared, so the time says nothing about the key even if `compare_digest` did
        is_same = hmac.compare_digest(digest_of(presented), self._digest)
        return Presented.GOOD if is_same and _FORM.match(presented) else Presented.WRONG


def digest_of(key: str) -> bytes:
    """Hash a key.

    SHA-256 and no slow hash: a key has 256 random bits, so nobody finds it by trying, however fast; a slow
    hash protects short secrets that people choose, and would make each request slow.
    """
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


class KeyFile:
    """The file with the hash of the key."""

    def __init__(self, path: Path) -> None:
        """Use `path`, in a folder that is there and private."""
        self.path = path

    def is_there(self) -> bool:
        """Say whether a key was made here, valid or not."""
        return os.path.lexists(self.path)

    def make(self) -> str:
        """Make a key in the place of the one before, and give it, this once. Raises KeyFileError."""
        key = PREFIX + secrets.token_urlsafe(_KEY_BYTES)
        content = json.dumps({"version": 1, "algorithm": _ALGORITHM, "hash": digest_of(key).hex()})
        try:
            publish(self.path, content.encode() + b"\n")  # mode 0600, whole or not at all
        except WriteError as err:
            raise KeyFileError(self.path, err.problem) from err
        return key

    def check(self) -> KeyCheck:
        """Read the hash; raises KeyFileError."""
        try:
            document = json.loads(self._read())
        except (ValueError, RecursionError):
            raise KeyFileError(self.path, "holds no hash of a key") from None
        match document:
            case {"version": 1, "algorithm": "sha256", "hash": str(text), **rest} if not rest:
                pass
            case _:
                text = ""
        if not _HASH.match(text):
            raise KeyFileError(self.path, "holds no hash of a key")
        return KeyCheck(bytes.fromhex(text))

    def _read(self) -> bytes:
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as err:
            raise KeyFileError(self.path, f"cannot be read: {err.strerror}") from err
        with os.fdopen(handle, "rb") as file:
            about = os.fstat(file.fileno())
            # SECURITY: whoever can write this file chooses the key
            if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o077:
                raise KeyFileError(self.path, "must be a file of yours with mode 0600")
            return file.read(_MAX_FILE)
