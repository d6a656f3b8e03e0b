"""`wasmgate audit tail`: what is recorded, as it is recorded.

How records are found is `audit.query`; over HTTP it is `GET /v1/audit/tail`. INVARIANT: a line is printed for
each record once, in the order of its execution, and a place where records were missed is told.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from api.record_options import filter_of, filter_options, open_log, reading
from api.rows import plain_row
from api.tables import output_option, write_json, write_rows

if TYPE_CHECKING:
    from pathlib import Path

_COLUMNS = ("time", "exec_id", "seq", "call", "decision", "errno", "target")
_POLL_S = 0.05


@click.command(name="tail", short_help="Print records as they are recorded.")
@filter_options
@click.option("--follow", "-f", is_flag=True, help="Go on until interrupted.")
@output_option("ndjson", "table")
def COMMAND(*, audit_dir: Path | None, follow: bool, output: str, **wanted: object) -> None:  # noqa: N802  # as in every command file
    """Print what is not sealed yet, and with --follow what is recorded from then on."""
    from api.commands.audit import with_time

    with open_log(audit_dir) as reader:
        chosen, follower = filter_of(wanted), reader.follow()
        position = follower.start()
        while True:
            found = follower.poll(position, chosen)
            if found.is_gap:
                click.echo("records were missed here; `wasmgate audit query` has them", err=True)
            for row in found.rows:
                if output == "ndjson":
                    write_json(plain_row(row))
                else:
                    write_rows([with_time(dict(row))], columns=_COLUMNS, output="table")
            reading().rows += len(found.rows)
            position = found.position
            if found.is_behind:
                continue
            if not follow:
                return
            time.sleep(_POLL_S)
