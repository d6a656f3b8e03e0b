"""`wasmgate audit load`: brings sealed segments into ClickHouse, each exactly once.

How that is done is `audit/scaleout/loader.py`. INVARIANT: nothing of the log is changed, and doing it again
changes nothing there.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from api.record_options import audit_dir_option
from api.tables import output_option, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from audit.scaleout.backend import Backend
    from audit.scaleout.loader import Loaded, Loader

_EVERY_S = 1.0
_WRONG = 1


@click.command(name="load", short_help="Load sealed segments into ClickHouse.")
@audit_dir_option
@click.option("--backend", metavar="DSN", help="Where to; that of the settings if not given.")
@click.option("--follow", is_flag=True, help="Go on, and load what is sealed from now on.")
@click.option("--check", is_flag=True, help="Count again what is loaded, and name what is not whole.")
@click.option("--print-schema", is_flag=True, help="Print the statements that make the tables, and end.")
@output_option("table", "json")
def COMMAND(  # noqa: N802  # as in every command file
    *,
    audit_dir: Path | None,
    backend: str | None,
    follow: bool,
    check: bool,
    print_schema: bool,
    output: str,
) -> int:
    """Load sealed segments into ClickHouse, each exactly once.

    Segments that were pruned here are taken out there. Ends with 1 if --check finds a segment that is not
    whole.
    """
    from api.settings import SettingsError, load_settings
    from audit.errors import AuditError
    from audit.scaleout.backend import EXPECTED, Backend
    from audit.scaleout.errors import BackendError

    try:
        settings = load_settings(audit_dir=audit_dir)
        chosen = Backend.parse(settings.audit_backend if backend is None else backend)
    except (SettingsError, BackendError) as err:
        raise click.UsageError(str(err)) from err
    if print_schema:
        from audit.scaleout.tables import schema

        click.echo(";\n\n".join(schema(chosen.database)) + ";")
        return 0
    if chosen.kind == "embedded":
        raise click.UsageError(f"nothing is loaded into the embedded engine: expected {EXPECTED}")
    if not (settings.audit_dir / "wal").is_dir():
        raise click.ClickException(f"{settings.audit_dir} holds no audit log")
    try:
        return _load(settings.audit_dir, chosen, is_followed=follow, is_checked=check, output=output)
    except (AuditError, OSError) as err:
        raise click.ClickException(str(err)) from err
    except KeyboardInterrupt:
        return 0


def _load(root: Path, backend: Backend, *, is_followed: bool, is_checked: bool, output: str) -> int:
    from audit.scaleout.clickhouse import ClickHouse
    from audit.scaleout.loader import Loader
    from audit.store import Store

    with ClickHouse(backend) as engine:
        loader = Loader(Store(root), engine)
        done = loader.run()
        _print(done, backend, output=output)
        wrong = _checked(loader) if is_checked else ()
        while is_followed:
            time.sleep(_EVERY_S)
            done = loader.run()
            if done.segments or done.executions or done.dropped:
                _print(done, backend, output=output)
    return _WRONG if wrong else 0


def _checked(loader: Loader) -> tuple[str, ...]:
    wrong = loader.wrong()
    for segment in wrong:
        click.echo(f"not whole: {segment}", err=True)
    return wrong


def _print(done: Loaded, backend: Backend, *, output: str) -> None:
    if output == "json":
        write_json({**asdict(done), "rows_per_second": done.rows_per_second, "backend": backend.shown})
        return
    more = f", {done.repaired} repaired" if done.repaired else ""
    more += f", {done.dropped} taken out" if done.dropped else ""
    speed = f", {done.rows_per_second} rows/s" if done.rows else ""
    click.echo(
        f"{done.segments} segments, {done.rows} rows and {done.executions} executions"
        f" loaded into {backend.shown}{more}{speed}"
    )
