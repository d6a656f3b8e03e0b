"""The file that names the followers, `followers.toml`: read strictly, with every fault in one error.

    [followers.offsite]          # a name: a-z, 0-9 and `-`, 40 at most
    kind = "folder"              # folder, webhook, syslog, otlp, witness, timestamp
    path = "/mnt/offsite/audit"

What a kind has beside that is in `FIELDS`; what is made of it, in `build.py`. Secrets are named by file and
never written here. INVARIANT: a key that is unknown, missing or of another type is a fault, never a default.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeAlias, cast

from audit.followers.errors import FollowersFileError

Value: TypeAlias = "str | int | bool"

MAX_FOLLOWERS = 32
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?\Z")
_MAX_TEXT = 4_096


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a follower."""

    kind: type[str | int | bool]
    says: str
    default: Value | None = None
    low: int = 0
    high: int = 0
    words: tuple[str, ...] = ()
    is_path: bool = False
    is_required: bool = False


_TIMEOUT = Field(int, "seconds that one exchange may take", 10, 1, 300)
_CA_FILE = Field(
    str, "file with the certificates that are believed, in PEM; those of the system without it", is_path=True
)
_TOKEN = Field(str, "file with a token, which is sent as `Authorization: Bearer`", is_path=True)
_URL = Field(str, "https URL, or http to a loopback address; without a user or password")
_URL_FILE = Field(str, "file with the URL, for one that is a secret itself", is_path=True)
_EVERY = Field(int, "seconds between two checkpoints at least", 0, 0, 86_400)
_SENDS = Field(str, "what is sent", "refusals", words=("refusals", "checkpoints"))
_RATE = Field(int, "refusals of one second, in one segment, that are sent; 0 for all", 0, 0, 1_000_000)
_HTTP = {"url": _URL, "url_file": _URL_FILE, "token_file": _TOKEN, "ca_file": _CA_FILE, "timeout_s": _TIMEOUT}

FIELDS: Mapping[str, Mapping[str, Field]] = {
    "folder": {
        "path": Field(
            str, "folder that is there already, on another file system", is_path=True, is_required=True
        ),
        "every_s": _EVERY,
    },
    "webhook": {**_HTTP, "sends": _SENDS, "every_s": _EVERY, "most_per_second": _RATE},
    "syslog": {
        "address": Field(
            str, "`tls://host:port`, `tcp://host:port`, `udp://host:port`, `unix:///path`", is_required=True
        ),
        "sends": _SENDS,
        "format": Field(str, "how a refusal is spelt", "rfc5424", words=("rfc5424", "cef")),
        "hostname": Field(str, "name of this machine in messages", "-"),
        "enterprise": Field(int, "private enterprise number in messages", 32_473, 1, 2**32 - 1),
        "unsafe_plain": Field(bool, "whether tcp and udp may leave this machine", default=False),
        "ca_file": _CA_FILE,
        "timeout_s": _TIMEOUT,
        "every_s": _EVERY,
        "most_per_second": _RATE,
    },
    "otlp": {**_HTTP, "most_per_second": _RATE},
    "witness": {
        **_HTTP,
        "vkey": Field(str, "its public key, as name+12345678+base64", is_required=True),
        "every_s": _EVERY,
    },
    "timestamp": {
        **_HTTP,
        "certificate_file": Field(
            str, "root certificates of the authority, in PEM", is_path=True, is_required=True
        ),
        "every_s": Field(int, "seconds between two checkpoints at least", 600, 0, 86_400),
    },
}
"""What each kind of follower has, beside `kind`."""


@dataclass(frozen=True, slots=True)
class FollowerConfig:
    """One follower as the file has it: every key of its kind, those that are left out with their defaults."""

    name: str
    kind: str
    values: Mapping[str, Value | None]

    def text(self, key: str) -> str | None:
        """Give a value that is text; None if it is not there."""
        value = self.values.get(key)
        return value if isinstance(value, str) else None

    def number(self, key: str) -> int:
        """Give a value that is a number; 0 if the kind has none."""
        value = self.values.get(key)
        return value if isinstance(value, int) else 0

    @property
    def sends(self) -> str:
        """`refusals` or `checkpoints`."""
        return self.text("sends") or ("refusals" if self.kind == "otlp" else "checkpoints")


def read_followers(content: bytes) -> tuple[FollowerConfig, ...]:
    """Read the file; raises FollowersFileError with every fault. No other file is opened."""
    try:
        document = cast("dict[str, object]", tomllib.loads(content.decode()))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as err:
        raise FollowersFileError((f"expected TOML: {err}",)) from None
    faults = [
        f"{_shown(key)}: unknown key (expected tables as [followers.name])"
        for key in document
        if key != "followers"
    ]
    named = document.get("followers", {})
    if not isinstance(named, dict):
        raise FollowersFileError((*faults, "followers: expected tables as [followers.name]"))
    if len(named) > MAX_FOLLOWERS:
        faults.append(f"followers: expected at most {MAX_FOLLOWERS}, found {len(named)}")
    found = [_follower(str(name), table, faults) for name, table in named.items()]
    if faults:
        raise FollowersFileError(tuple(faults))
    return tuple(one for one in found if one is not None)


def _follower(name: str, table: object, faults: list[str]) -> FollowerConfig | None:
    where = f"followers.{_shown(name)}"
    if not _NAME.match(name):
        faults.append(f"{where}: expected a name of a-z, 0-9 and `-`, at most 40")
        return None
    if not isinstance(table, dict):
        faults.append(f"{where}: expected a table")
        return None
    given = cast("dict[str, object]", table)
    kind = given.get("kind")
    if not isinstance(kind, str) or kind not in FIELDS:
        faults.append(f"{where}.kind: expected one of {', '.join(FIELDS)}{_found(kind)}")
        return None
    fields = FIELDS[kind]
    for key in given:
        if key != "kind" and key not in fields:
            near = get_close_matches(key, fields, n=1)
            advice = f"did you mean {near[0]}?" if near else f"known: {', '.join(fields)}"
            faults.append(f"{where}.{_shown(key)}: unknown key ({advice})")
    values = {key: _value(f"{where}.{key}", field, given.get(key), faults) for key, field in fields.items()}
    if "url" in fields and (given.get("url") is None) == (given.get("url_file") is None):
        faults.append(f"{where}: expected url or url_file, one of them")
    return FollowerConfig(name, kind, values)


def _value(where: str, field: Field, value: object, faults: list[str]) -> Value | None:
    if value is None:
        if field.is_required:
            faults.append(f"{where}: missing: {field.says}")
        return field.default
    # a flag is a number to Python, and no number to anybody else
    if not isinstance(value, field.kind) or (field.kind is int and isinstance(value, bool)):
        faults.append(f"{where}: expected {_TYPES[field.kind]}{_found(value)}")
        return None
    problem = None
    if isinstance(value, int) and not isinstance(value, bool) and not field.low <= value <= field.high:
        problem = f"{field.low} to {field.high}"
    if isinstance(value, str):
        problem = _text_problem(field, value)
    if problem is not None:
        faults.append(f"{where}: expected {problem}{_found(value)}")
    return value


def _text_problem(field: Field, value: str) -> str | None:
    if field.words and value not in field.words:
        return f"one of {', '.join(field.words)}"
    if not value or len(value) > _MAX_TEXT or "\0" in value:
        return f"text of 1 to {_MAX_TEXT} characters"
    if field.is_path and not value.startswith("/"):
        return "an absolute path"
    return None


_TYPES: Mapping[type, str] = {str: "text", int: "a whole number", bool: "true or false"}


def _found(value: object) -> str:
    # SECURITY: a URL or a token in the wrong place would be repeated
    return f", found {value}" if isinstance(value, bool | int) else ""


def _shown(name: str) -> str:
    return name[:40]
