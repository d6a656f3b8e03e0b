"""`wasmgate audit aggregate`: records counted by groups.

What can be counted, and apart by what, is `audit.query`. INVARIANT: the numbers are exact, whatever they came
from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from api.record_options import event_options, filter_of, open_log, reading
from api.tables import output_option, write_json, write_rows

if TYPE_CHECKING:
    from pathlib import Path


@click.command(name="aggregate", short_help="Count records by groups.")
@event_options
@click.option(
    "--by",
    metavar="KEY",
    multiple=True,
    help="Apart by this, as `target:2` or `time:60`; again for more.",
)
@click.option(
    "--metric",
    "metrics",
    metavar="M",
    multiple=True,
    help="Give this, as `p95_duration`; else `count`.",
)
@click.option(
    "--limit", metavar="N", type=click.IntRange(1, 10_000), default=1_000, help="At most so many groups."
)
@click.option("--explain", is_flag=True, help="Say which files would be read, and read none.")
@output_option("table", "json")
def COMMAND(  # noqa: N802  # as in every command file
    *,
    audit_dir: Path | None,
    by: tuple[str, ...],
    metrics: tuple[str, ...],
    limit: int,
    explain: bool,
    output: str,
    **wanted: object,
) -> None:
    """Count records, all together or by groups, those with the largest first metric first."""
    from audit.query import Aggregation

    with open_log(audit_dir) as reader:
        of = Aggregation(by=by, metrics=metrics or ("count",), wanted=filter_of(wanted), limit=limit)
        if explain:
            for line in reader.explain(of).lines():
                click.echo(line)
            return
        found = reader.aggregate(of)
        reading().rows = len(found.rows)
        if output == "json":
            write_json({"rows": found.rows, "source": found.source, "is_truncated": found.is_truncated})
            return
        write_rows(found.rows, columns=(*by, *of.metrics), output="table")
        if found.is_truncated:
            click.echo(f"there are more groups: these are the first {limit}, see --limit", err=True)
