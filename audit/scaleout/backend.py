"""Which engine answers questions, read from one line of text.

Who opens it is `clickhouse.py`. INVARIANT: a password is in no `repr`, no `shown` and no error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

from audit.scaleout.errors import BackendError

Kind: TypeAlias = Literal["embedded", "clickhouse", "chdb"]

EXPECTED: Final = (
    "`embedded`, `clickhouse://[user[:password]@]host[:port]/database[?secure=1]` or `chdb:///path`"
)
_DATABASE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}\Z")
_HTTP, _HTTPS = 8123, 8443
_NAME: Final = "wasmgate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One engine: the embedded one, a ClickHouse server, or ClickHouse's engine in this process."""

    kind: Kind = "embedded"
    host: str = ""
    port: int = 0
    database: str = _NAME
    user: str = "default"
    password: str = field(default="", repr=False)
    is_secure: bool = False  # by TLS
    path: str = ""  # of chdb's folder

    @property
    def shown(self) -> str:
        """Its name, as it may be shown to anybody."""
        match self.kind:
            case "clickhouse":
                return f"clickhouse://{self.host}:{self.port}/{self.database}"
            case "chdb":
                return f"chdb://{self.path}"
            case "embedded":
                return "embedded"

    @staticmethod
    def parse(text: str) -> Backend:
        """Read it; BackendError."""
        if text in {"", "embedded"}:
            return Backend()
        wrong = BackendError(EXPECTED)
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise wrong from None
        if parts.scheme == "chdb":
            path = unquote(parts.path)
            if parts.netloc or parts.query or not path.startswith("/") or ".." in path.split("/"):
                raise wrong
            return Backend(kind="chdb", path=path)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        database = parts.path.removeprefix("/") or _NAME
        if parts.scheme != "clickhouse" or not parts.hostname or parts.fragment or set(options) - {"secure"}:
            raise wrong
        is_secure = options.get("secure", "0") in {"1", "true"}
        if not _DATABASE.match(database):
            raise wrong
        return Backend(
            kind="clickhouse",
            host=parts.hostname,
            port=port or (_HTTPS if is_secure else _HTTP),
            database=database,
            user=unquote(parts.username or "default"),
            password=unquote(parts.password or ""),
            is_secure=is_secure,
        )
