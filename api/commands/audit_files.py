"""`wasmgate audit files`: which files an execution touched, or, with `--connections`, whom it talked to.

The records behind it are shown by `audit query`. INVARIANT: paths are shown inert.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import click

from api.record_options import audit_dir_option, open_log, reading
from api.tables import output_option, write_rows

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_COLUMNS = ("target", "guest_target", "calls", "decisions", "bytes_in", "bytes_out", "first", "last")
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
        rows: list[dict[str, object]] = [dict(row) for row in found]
        reading().rows = len(rows)
        if output == "table":
            rows = [_readable(row) for row in rows]
        if not write_rows(rows, columns=_COLUMNS, output=output):
            click.echo("nothing was touched", err=True)
    return 0


def _readable(row: Mapping[str, object]) -> dict[str, object]:
    from audit.times import to_rfc3339

    counts = cast("Mapping[str, int]", row["decisions"])
    times = {name: to_rfc3339(cast("int", row[f"{name}_t_ns"]))[:23] + "Z" for name in ("first", "last")}
    return {**row, "decisions": ", ".join(f"{count} {word}" for word, count in counts.items()), **times}
