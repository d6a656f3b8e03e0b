"""`wasmgate audit`: questions to the log, answered from what is sealed and what is not sealed yet.

What can be asked, and the log that is asked, are `record_options.py`; who answers is `audit.query`.
INVARIANT: nothing that a question finds is changed.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, cast

import click

from api.commands import (
    audit_aggregate,
    audit_checkpoint,
    audit_control,
    audit_executions,
    audit_export,
    audit_files,
    audit_follow,
    audit_hash,
    audit_hold,
    audit_key,
    audit_load,
    audit_prove,
    audit_prune,
    audit_pull,
    audit_push,
    audit_report,
    audit_seal,
    audit_status,
    audit_tail,
    audit_timestamps,
    audit_verify,
)
from api.record_options import audit_dir_option, event_options, filter_of, open_log, reading
from api.rows import plain_row
from api.tables import output_option, write_json, write_rows

if TYPE_CHECKING:
    from pathlib import Path

_COLUMNS = ("time", "seq", "call", "decision", "errno", "target", "rule_id")
_TABLE_LIMIT = 100
_UNKNOWN = 1


@click.group(short_help="Query the audit log.")
def COMMAND() -> None:  # noqa: N802  # the name that every command file gives its command
    """Ask what ran, what it called, and what was refused."""


@COMMAND.command()
@event_options
@click.option(
    "--limit", metavar="N", type=click.IntRange(min=1), help="At most so many; 100 in a table, else all."
)
@click.option("--explain", is_flag=True, help="Say which files would be read, and read none.")
@output_option("table", "json", "ndjson")
def query(*, audit_dir: Path | None, limit: int | None, explain: bool, output: str, **wanted: object) -> None:
    """Print records, oldest first within one execution, else newest first."""
    with open_log(audit_dir) as reader:
        chosen = filter_of(wanted)
        if explain:
            for line in reader.plan_of(chosen).lines():
                click.echo(line)
            return
        if output != "table":
            rows_given = write_rows(
                map(plain_row, reader.stream(chosen, limit=limit)), columns=(), output=output
            )
            reading().rows = rows_given
            return
        most = limit or _TABLE_LIMIT
        rows = [with_time(dict(row)) for row in reader.stream(chosen, limit=most + 1)]
        reading().rows = len(rows[:most])
        if not write_rows(rows[:most], columns=_COLUMNS, output=output):
            click.echo("no records", err=True)
        if len(rows) > most:
            click.echo(f"there are more: these are the first {most}, see --limit", err=True)


@COMMAND.command()
@event_options
@output_option("table", "json")
def stats(*, audit_dir: Path | None, output: str, **wanted: object) -> None:
    """Count records by call and decision, and refusals by rule."""
    with open_log(audit_dir) as reader:
        found = reader.stats(filter_of(wanted))
        reading().rows = found.records
    if output == "json":
        write_json(asdict(found))
        return
    click.echo(f"{found.records} records of {found.executions} executions")
    click.echo(f"{found.bytes_in} bytes in, {found.bytes_out} bytes out\n")
    decisions = sorted({word for counts in found.calls.values() for word in counts})
    rows = [
        {"call": call} | {word: counts.get(word, 0) for word in decisions}
        for call, counts in found.calls.items()
    ]
    write_rows(rows, columns=("call", *decisions), output="table")
    if found.refusals_by_rule:
        click.echo()
        write_rows(
            [{"refused by": rule, "count": count} for rule, count in found.refusals_by_rule.items()],
            columns=("refused by", "count"),
            output="table",
        )


@COMMAND.command()
@audit_dir_option
@output_option("table", "json")
@click.argument("execution")
def show(*, audit_dir: Path | None, output: str, execution: str) -> int:
    """Show one execution: its receipt, and a timeline of its calls by kind."""
    from api.gone import gone_of
    from api.settings import load_settings
    from api.showing import render_execution
    from api.terminal import Paint
    from api.timeline import MAX_ROWS, timeline
    from audit.filters import RecordFilter

    with open_log(audit_dir) as reader:
        wanted = RecordFilter(execution=execution)
        found = reader.execution(execution)
        if found is None:
            click.echo(f"no execution {execution} in this log", err=True)
            return _UNKNOWN
        gone = gone_of(load_settings(audit_dir=audit_dir).audit_dir, execution)
        picture = timeline(reader.stream(wanted, limit=MAX_ROWS + 1))
        if output == "json":
            receipt = None if found.receipt is None else json.loads(found.receipt.to_json())
            deleted = [each.as_json() for each in gone]
            write_json(
                {
                    "execution_id": execution,
                    "receipt": receipt,
                    "timeline": picture.as_json(),
                    "deleted": deleted,
                }
            )
        else:
            encoding = (sys.stdout.encoding or "").lower()
            text = render_execution(
                found, picture, paint=Paint(sys.stdout), is_unicode=encoding.startswith("utf")
            )
            click.echo(text, nl=False)
            for each in gone:
                click.echo(each.sentence(), err=True)
    return 0


def with_time(row: dict[str, object]) -> dict[str, object]:
    """Give a row as a table shows it."""
    from audit.call_names import bare
    from audit.times import to_rfc3339

    row["time"] = to_rfc3339(cast("int", row["t_ns"]))[:23] + "Z"
    row["call"] = bare(str(row["call"]))
    row["target"] = row["target"] if row["target"] is not None else row["guest_target"]
    return row


COMMAND.add_command(audit_checkpoint.COMMAND)
COMMAND.add_command(audit_export.COMMAND)
COMMAND.add_command(audit_follow.FOLLOW)
COMMAND.add_command(audit_follow.FOLLOWERS)
COMMAND.add_command(audit_hash.COMMAND)
COMMAND.add_command(audit_hold.COMMAND)
COMMAND.add_command(audit_key.COMMAND)
COMMAND.add_command(audit_load.COMMAND)
COMMAND.add_command(audit_prove.COMMAND)
COMMAND.add_command(audit_prune.COMMAND)
COMMAND.add_command(audit_report.COMMAND)
COMMAND.add_command(audit_pull.COMMAND)
COMMAND.add_command(audit_push.COMMAND)
COMMAND.add_command(audit_seal.COMMAND)
COMMAND.add_command(audit_timestamps.COMMAND)
COMMAND.add_command(audit_verify.COMMAND)


for _command in (audit_aggregate, audit_control, audit_executions, audit_files, audit_status, audit_tail):
    COMMAND.add_command(_command.COMMAND)
