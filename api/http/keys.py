"""The keys of the service: made once, shown once, kept as hashes with what they are for.

Who asks for one is `guard.py`; what a role may do is `policy.access`. INVARIANT: a key itself is never
written, and a key file that is not ours alone or not understood opens nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import re
import secrets
import stat
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NoReturn, cast

from audit.errors import FormatError, WriteError
from audit.store import locked, publish
from audit.times import to_ns, to_rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PREFIX = "wg_"
"""Of every key, so that scanners for leaked secrets can know one."""

OPERATOR = "operator"
"""The role that may do everything, and the name of the key that the first start makes."""

MAX_KEYS = 1_000
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
"""What keys, roles and tenants are called."""

_KEY_BYTES = 32
_FORM = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}\Z")
_HASH = re.compile(r"[0-9a-f]{64}\Z")
_MAX_FILE = 4 << 20
_VERSION, _ALGORITHM = 2, "sha256"


class KeyFileError(Exception):
    """The key file cannot be used; nobody gets in until somebody has looked at it."""

    def __init__(self, path: Path, problem: str, advice: str = "") -> None:
        """Keep which file, what is wrong with it, and what to do."""
        advice = advice or "move it away: `wasmgate serve --new-key` makes a new one"
        super().__init__(f"{path}: {problem} ({advice})")
        self.path = path
        self.problem = problem


class KeyNameError(Exception):
    """A key that is asked for cannot be made, or is not there."""


class Presented(Enum):
    """What was presented instead of a key."""

    MISSING = "missing"
    WRONG = "wrong"

    def __bool__(self) -> NoReturn:
        """Refuse to be taken for yes or no."""
        raise TypeError("match on Key, MISSING and WRONG: this has no truth value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What is known of a key; not the key itself."""

    name: str
    roles: tuple[str, ...]
    tenants: tuple[str, ...]  # what it is confined to; empty: to nothing
    digest: bytes
    made_at_ns: int

    def __bool__(self) -> NoReturn:
        """Refuse to be taken for yes or no."""
        raise TypeError("match on Key, MISSING and WRONG: this has no truth value")

    @property
    def actor(self) -> str:
        """Give how the log names whoever used it."""
        return f"key:{self.name}"

    @property
    def mark(self) -> str:
        """Give what tells it from every other key, one that had its name before included."""
        return f"{self.name}:{self.digest.hex()[:16]}"

    def as_json(self) -> dict[str, object]:
        """Give it as the file has it."""
        return {
            "name": self.name,
            "roles": list(self.roles),
            "tenants": list(self.tenants),
            "made_at": to_rfc3339(self.made_at_ns),
            "hash": self.digest.hex(),
        }


class KeyCheck:
    """Says of what was presented which key it is."""

    def __init__(self, keys: tuple[Key, ...]) -> None:
        """`keys` are all that are good."""
        self._keys = keys

    def judge(self, presented: str | None) -> Key | Presented:
        """Compare with each key, in a time that does not depend on where the first difference is."""
        if not presented:
            return Presented.MISSING
        digest = digest_of(presented)
        found: Key | None = None
        for key in self._keys:
            # SECURITY: digests are compared, so the time says nothing about a key even if
            # `compare_digest` did; and all of them, so it does not say which one it is
            if hmac.compare_digest(digest, key.digest):
                found = key
        return found if found is not None and _FORM.match(presented) else Presented.WRONG


def digest_of(key: str) -> bytes:
    """Hash a key.

    SHA-256 and no slow hash: a key has 256 random bits, so nobody finds it by trying, however fast; a slow
    hash protects short secrets that people choose, and would make each request slow.
    """
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


class KeyFile:
    """The file with the hashes of the keys."""

    def __init__(self, path: Path) -> None:
        """Use `path`, in a folder that is there and private."""
        self.path = path

    def is_there(self) -> bool:
        """Say whether a key was made here, valid or not."""
        return os.path.lexists(self.path)

    def make(
        self,
        name: str = OPERATOR,
        *,
        roles: tuple[str, ...] = (OPERATOR,),
        tenants: tuple[str, ...] = (),
        now_ns: int = 0,
        before: Callable[[], None] = lambda: None,
    ) -> str:
        """Make a key and give it, this once; the operator's takes the place of the one before.

        `before` is called when it is sure that it can be made, and before it is good for anything. Raises
        KeyNameError and KeyFileError.
        """
        text = PREFIX + secrets.token_urlsafe(_KEY_BYTES)
        made = Key(name=name, roles=roles, tenants=tenants, digest=digest_of(text), made_at_ns=now_ns)
        for what in (name, *roles, *tenants):
            if not NAME.match(what):
                raise KeyNameError(
                    "expected names of at most 64 of A-Z a-z 0-9 . _ -, a letter or digit first"
                )
        if not roles:
            raise KeyNameError("a key without a role is good for nothing")
        with _locked(self.path):
            kept = self.known() if self.is_there() else ()
            others = tuple(key for key in kept if key.name != name)
            if len(others) != len(kept) and name != OPERATOR:
                raise KeyNameError(f"there is a key of the name {name}; revoke it, or choose another name")
            if len(others) >= MAX_KEYS:
                raise KeyNameError(f"there are {MAX_KEYS} keys")
            before()
            self._write((*others, made))
        return text

    def revoke(self, name: str, *, before: Callable[[], None] = lambda: None) -> None:
        """Make a key good for nothing from the next request on; raises KeyNameError and KeyFileError."""
        with _locked(self.path):
            kept = self.known()
            others = tuple(key for key in kept if key.name != name)
            if len(others) == len(kept):
                raise KeyNameError("there is no key of that name")
            before()
            self._write(others)

    def check(self) -> KeyCheck:
        """Read the hashes; raises KeyFileError."""
        return KeyCheck(self.known())

    def known(self) -> tuple[Key, ...]:
        """Read what is known of the keys, by name; raises KeyFileError."""
        try:
            document = cast("object", json.loads(self._read()))
        except (ValueError, RecursionError):
            raise KeyFileError(self.path, "holds no hashes of keys") from None
        match document:
            case {"version": 2, "algorithm": "sha256", "keys": list(items), **rest} if not rest:
                found = tuple(_key(item) for item in cast("list[object]", items))
            case _:
                found = (None,)
        names = {key.name for key in found if key is not None}
        if len(names) != len(found):
            raise KeyFileError(self.path, "holds no hashes of keys that this version understands")
        return tuple(sorted((key for key in found if key is not None), key=lambda key: key.name))

    def _write(self, keys: tuple[Key, ...]) -> None:
        items = [key.as_json() for key in sorted(keys, key=lambda key: key.name)]
        content = json.dumps({"version": _VERSION, "algorithm": _ALGORITHM, "keys": items}, indent=1)
        try:
            publish(self.path, content.encode() + b"\n")  # mode 0600, whole or not at all
        except WriteError as err:
            raise KeyFileError(self.path, err.problem, "nothing was changed") from err

    def _read(self) -> bytes:
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as err:
            raise KeyFileError(self.path, f"cannot be read: {err.strerror}") from err
        with os.fdopen(handle, "rb") as file:
            about = os.fstat(file.fileno())
            # SECURITY: whoever can write this file chooses the keys
            if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o077:
                raise KeyFileError(self.path, "must be a file of yours with mode 0600")
            return file.read(_MAX_FILE)


class LiveKeys:
    """The keys of a file as they are at each request, so that one that is revoked opens nothing more."""

    def __init__(self, file: KeyFile) -> None:
        """Read them now; raises KeyFileError."""
        self._file = file
        self._known = (self._stamp(), file.check())

    def judge(self, presented: str | None) -> Key | Presented:
        """Say which key it is; none, while the file cannot be used."""
        stamp = self._stamp()
        known, check = self._known
        if stamp != known:
            try:
                check = self._file.check()
            except KeyFileError:
                check = KeyCheck(())
            self._known = (stamp, check)
        return check.judge(presented)

    def _stamp(self) -> tuple[int, ...]:
        try:
            about = self._file.path.stat(follow_symlinks=False)
        except OSError:
            return ()
        return about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a key file, so that of two who change it none undoes what the other did."""
    try:
        with locked(path.with_name(f"{path.name}.lock")):
            yield
    except WriteError as err:
        raise KeyFileError(path, err.problem, "nothing was changed") from err


def _key(item: object) -> Key | None:
    match item:
        case {
            "name": str(name),
            "roles": list(roles),
            "tenants": list(tenants),
            "made_at": str(made_at),
            "hash": str(digest),
            **rest,
        } if not rest and _HASH.match(digest):
            pass
        case _:
            return None
    texts = [name, *cast("list[object]", roles), *cast("list[object]", tenants)]
    if not roles or not all(isinstance(each, str) and NAME.match(each) for each in texts):
        return None
    try:
        moment = to_ns(made_at)
    except FormatError:
        return None
    return Key(
        name=name,
        roles=tuple(cast("list[str]", roles)),
        tenants=tuple(cast("list[str]", tenants)),
        digest=bytes.fromhex(digest),
        made_at_ns=moment,
    )
