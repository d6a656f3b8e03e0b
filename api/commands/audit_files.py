"""`wasmgate audit files`: which files an execution touched, or, with `--connections`, whom it talked to.

The records behind it are shown by `audit query`. INVARIANT: paths are shown inert.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from api.record_options import audit_dir_option, open_log, reading
from api.tables import output_option, write_rows

if TYPE_CHECKING:
    from pathlib import Path

_UNKNOWN = 1


@click.command(name="files", short_help="List the files that an execution touched.")
@audit_dir_option
@click.option("--connections", is_flag=True, help="Addresses and names instead of files.")
@output_option("table", "json", "ndjson")
@click.argument("execution")
def COMMAND(*, audit_dir: Path | None, connections: bool, output: str, execution: str) -> int:  # noqa: N802  # as in every command file
    """List distinct targets of EXECUTION with counts."""
    with open_log(audit_dir) as reader:
        if reader.execution(execution) is None:
            click.echo(f"no execution {execution} in this log", err=True)
            return _UNKNOWN
        found = reader.connections(execution) if connections else reader.files(execution)
        rows = [dict(row) for row in found]
        reading().rows = len(rows)
        columns = tuple(rows[0]) if rows else ()
        if not write_rows(rows, columns=columns, output=output):
            click.echo("nothing was touched", err=True)
    return 0
