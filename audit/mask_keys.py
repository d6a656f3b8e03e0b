"""The keys of masks, one for each tenant, as files that only the service reads.

What is hashed with them is said in `masks.py`. A key is made when it is first asked for and never changes, so
that a value hashes to the same text in every segment. INVARIANT: of two processes that make a key at the same
time both get the one that is kept, and a key is durable before anything is hashed with it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final
from urllib.parse import quote

from audit.errors import AuditError
from audit.inert import inert
from audit.store import make_directory, sync_directory

KEY_BYTES: Final = 32
_NAME_BYTES: Final = 100  # a file name has 255 at most
_DIGITS: Final = 16


class MaskKeyError(AuditError):
    """A key cannot be used; what it is needed for is not stored unmasked instead."""

    def __init__(self, path: Path, problem: str) -> None:
        """Say which file it is, and what is wrong with it."""
        super().__init__(f"{inert(str(path))}: the key of masks cannot be used: {problem}")
        self.path = path
        self.problem = problem


def file_name(tenant: str) -> str:
    """Give a tenant's name as one name of a file: percent-encoded outside `A-Z a-z 0-9 _ -`, and not long."""
    coded = quote(tenant, safe="", encoding="utf-8", errors="surrogatepass")
    coded = coded.replace(".", "%2E").replace("~", "%7E")
    if len(coded) <= _NAME_BYTES:
        return coded
    digest = sha256(tenant.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{coded[:_NAME_BYTES]}~{digest[:_DIGITS]}"


@dataclass(frozen=True, slots=True)
class FileMaskKeys:
    """Keys as files `<tenant>.key` of one private directory, which is made when it is not there."""

    directory: Path
    known: dict[str, bytes] = field(default_factory=dict)

    def key(self, tenant: str) -> bytes:
        """Give a tenant's key, and make it if there is none; MaskKeyError when it is not ours alone."""
        found = self.known.get(tenant)
        if found is None:
            path = self.directory / f"{file_name(tenant)}.key"
            try:
                found = self.known[tenant] = _read(path) or _made(path)
            except OSError as err:
                raise MaskKeyError(path, err.strerror or type(err).__name__) from err
        return found


def _read(path: Path) -> bytes | None:
    try:
        # SECURITY: a link here could lead to a file that somebody else knows
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(number, "rb") as file:
        about = os.fstat(number)
        if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o077:
            raise MaskKeyError(path, "it must be a file of ours that nobody else can read (mode 0600)")
        text = file.read(4 * KEY_BYTES)
    try:
        key = bytes.fromhex(text.decode("ascii").removesuffix("\n"))
    except ValueError as err:
        raise MaskKeyError(path, "it does not hold 64 hexadecimal digits") from err
    if len(key) != KEY_BYTES:
        raise MaskKeyError(path, "it does not hold 64 hexadecimal digits")
    return key


def _made(path: Path) -> bytes:
    make_directory(path.parent)
    made = path.with_name(f".{path.name[:_NAME_BYTES]}.{secrets.token_hex(8)}")
    number = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES).hex().encode() + b"\n")
            file.flush()
            os.fsync(number)
        with contextlib.suppress(FileExistsError):  # another process was faster: its key is the one
            os.link(made, path)
    finally:
        made.unlink()
    sync_directory(path.parent)
    key = _read(path)
    if key is None:
        raise MaskKeyError(path, "it was taken away while it was made")
    return key
