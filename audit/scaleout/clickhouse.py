"""One connection to ClickHouse: a server over HTTP, or the same engine in this process (chdb).

What is asked and stored is said in the other modules of this package. This is the only importer of
`clickhouse_connect`. INVARIANT: values are bound, never part of a statement, and no error repeats a password.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias, cast

import pyarrow as pa

from audit.errors import OutOfTimeError, QueryError
from audit.scaleout.errors import BackendError
from audit.scaleout.signal_handlers import kept_handlers

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from audit.scaleout.backend import Backend

Value: TypeAlias = "int | str | list[str] | list[int]"

_TIMEOUT_EXCEEDED: Final = 159
_CONNECT_S, _ANSWER_S = 10, 600
_MISSING: Final = "the package clickhouse-connect (`pip install wasmgate[clickhouse]`), and chdb for chdb://"

_READ_ONLY: Final = 2  # nothing is changed, and a question may still have limits of its own
_READING: Final = {
    "prefer_column_name_to_alias": 1,  # in `sum(n) AS n` and its like, `n` is the column
    "output_format_arrow_low_cardinality_as_dictionary": 0,
}
_WRITING: Final = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    # without it a repeated insert is dropped, and counted once more in the views that are made of it
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "max_partitions_per_insert_block": 0,
}


class ClickHouse:
    """One database of one engine; thread-safe."""

    def __init__(self, backend: Backend) -> None:
        """Connect, and make the database if it is missing; raises QueryError, BackendError."""
        self.backend = backend
        try:
            from clickhouse_connect import get_client  # noqa: PLC0415  # an extra: not everybody has it
            from clickhouse_connect.driver.exceptions import Error  # noqa: PLC0415
        except ImportError as err:
            raise BackendError(_MISSING) from err
        self._error: type[Exception] = Error
        try:
            with kept_handlers() if backend.kind == "chdb" else nullcontext():
                self._client: Client = self._opened(get_client)
                self.command(f"CREATE DATABASE IF NOT EXISTS {backend.database}")
        except (Error, ImportError, OSError) as err:
            raise self._told(err) from None
        self.name = backend.database

    def __enter__(self) -> Self:
        """Give the connection itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Give up the connection."""
        self._client.close()

    def ask(
        self, statement: str, values: Mapping[str, Value] | None = None, *, seconds: float | None = None
    ) -> pa.Table:
        """Give what a statement of ours selects; QueryError, and OutOfTimeError after so many seconds."""
        settings: dict[str, int | float] = dict(_READING)
        if self.backend.kind == "clickhouse":  # chdb would stay so
            settings["readonly"] = _READ_ONLY
        if seconds is not None:
            settings["max_execution_time"] = seconds
        try:
            return self._client.query_arrow(
                statement, parameters=dict(values or {}), settings=settings, use_strings=True
            )
        except self._error as err:
            if getattr(err, "code", None) == _TIMEOUT_EXCEEDED:
                raise OutOfTimeError(seconds or 0.0) from None
            raise self._told(err) from None

    def rows(self, statement: str, values: Mapping[str, Value] | None = None) -> list[dict[str, object]]:
        """Give the same as rows."""
        return list(self.ask(statement, values).to_pylist())

    def command(self, statement: str, values: Mapping[str, Value] | None = None) -> None:
        """Have something done; QueryError."""
        try:
            self._client.command(statement, parameters=dict(values or {}))
        except self._error as err:
            raise self._told(err) from None

    def insert(self, table: str, rows: pa.Table, *, token: str) -> None:
        """Add rows, unless an insert with this token was done before; QueryError."""
        settings = {**_WRITING, "insert_deduplication_token": token}
        try:
            self._client.insert_arrow(table, rows, database=self.name, settings=settings)
        except self._error as err:
            raise self._told(err) from None

    def _opened(self, get_client: object) -> Client:
        if not callable(get_client):
            raise TypeError("get_client")
        to = self.backend
        if to.kind == "chdb":
            options: dict[str, Any] = {"interface": "chdb", "path": to.path}
        else:
            options = {
                "host": to.host,
                "port": to.port,
                "username": to.user,
                "password": to.password,
                "interface": "https" if to.is_secure else "http",
                "connect_timeout": _CONNECT_S,
                "send_receive_timeout": _ANSWER_S,
                "autogenerate_session_id": False,  # a session takes one question at a time
            }
        return cast("Client", get_client(**options))

    def _told(self, err: BaseException) -> QueryError:
        said = (str(err).splitlines() or [type(err).__name__])[0]
        if self.backend.password:
            said = said.replace(self.backend.password, "***")
        return QueryError(f"{self.backend.shown}: {said}")
