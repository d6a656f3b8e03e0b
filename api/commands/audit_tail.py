"""`wasmgate audit tail`: what is recorded, as it is recorded.

How records are found is `audit.query`; over HTTP it is `GET /v1/audit/tail`. INVARIANT: a line is printed for
each record once, in the order of its execution, and a place where records were missed is told.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from api.record_options import filter_of, filter_options, open_log, reading
from api.rows import plain_row
from api.tables import output_option, write_json, write_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_COLUMNS = ("time", "exec_id", "seq", "call", "decision", "errno", "target")
_POLL_S = 0.05


@click.command(name="tail", short_help="Print records as they are recorded.")
@filter_options
@click.option("--follow", "-f", is_flag=True, help="Print what is recorded from now on, until interrupted.")
@click.option(
    "--lines",
    metavar="N",
    type=click.IntRange(1, 10_000),
    default=10,
    show_default=True,
    help="Without --follow: so many of the last records.",
)
@output_option("ndjson", "table")
def COMMAND(*, audit_dir: Path | None, follow: bool, lines: int, output: str, **wanted: object) -> None:  # noqa: N802  # as in every command file
    """Print the last records, the oldest of them first; with --follow, records as they are made.

    With --follow it begins with what is not sealed yet.
    """
    with open_log(audit_dir) as reader:
        chosen = filter_of(wanted)
        if not follow:
            newest_first = tuple(reader.stream(replace(chosen, ascending=False), limit=lines))
            _write(newest_first[::-1], output)
            reading().rows = len(newest_first)
            if not newest_first:
                click.echo("no records", err=True)
            return
        follower = reader.follow()
        position = follower.start()
        while True:
            found = follower.poll(position, chosen)
            if found.is_gap:
                click.echo("records were missed here; `wasmgate audit query` has them", err=True)
            for row in found.rows:
                _write((row,), output)
            reading().rows += len(found.rows)
            position = found.position
            if not found.is_behind:
                time.sleep(_POLL_S)


def _write(rows: Sequence[Mapping[str, object]], output: str) -> None:
    from api.commands.audit import with_time

    if output == "table":
        write_rows([with_time(dict(row)) for row in rows], columns=_COLUMNS, output="table")
        return
    for row in rows:
        write_json(plain_row(row))
