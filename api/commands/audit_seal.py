"""`wasmgate audit seal`: seals now what no program writes any more, and has it signed.

A service does both by itself; how is `api/sealing.py` and `api/signing.py`. INVARIANT: what fails leaves the
write-ahead log as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from api.record_options import audit_dir_option
from api.tables import output_option, write_json

if TYPE_CHECKING:
    from pathlib import Path


@click.command(name="seal", short_help="Seal what is recorded so far, and sign it.")
@audit_dir_option
@output_option("text", "json")
def COMMAND(*, audit_dir: Path | None, output: str) -> None:  # noqa: N802  # as in every command file
    """Seal what the runs that are over left, and sign the log, so that it can be verified.

    A service that runs seals by itself every few seconds; what it writes at the moment is left to it.
    """
    from api.sealing import seal_left
    from api.settings import SettingsError, load_settings
    from api.signing import sign_once
    from audit.errors import AuditError

    try:
        settings = load_settings(audit_dir=audit_dir)
        if not (settings.audit_dir / "wal").is_dir():
            raise click.ClickException(f"{settings.audit_dir} holds no audit log")
        done = seal_left(settings.audit_dir, keys_dir=settings.audit_keys_dir)
    except SettingsError as err:
        raise click.UsageError(str(err)) from err
    except AuditError as err:
        raise click.ClickException(str(err)) from err
    rows = sum(one.rows for one in done)
    try:
        signed = sign_once(settings)
    except AuditError as err:
        raise click.ClickException(f"sealed {rows} rows; not signed: {err}") from err
    if signed.problem is not None:
        raise click.ClickException(f"sealed {rows} rows; not signed: {signed.problem}")
    if output == "json":
        write_json({"files": len(done), "rows": rows, "size": signed.size})
        return
    click.echo(f"sealed {rows} rows of {len(done)} files; {signed.size} leaves are signed")
