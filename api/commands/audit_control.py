"""`wasmgate audit control`: who read the log, who changed what it trusts, when recording began and ended.

Records of host calls are shown by `audit query`. INVARIANT: what the events tell is shown inert.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import click

from api.record_options import audit_dir_option, filter_of, open_log, reading
from api.tables import output_option, write_rows
from audit.events import EventName

if TYPE_CHECKING:
    from pathlib import Path

_COLUMNS = ("at", "event", "actor", "tenant", "leaf", "what")


@click.command(name="control", short_help="List control-plane events.")
@audit_dir_option
@click.option(
    "--event",
    "kind",
    metavar="E",
    type=click.Choice(get_args(EventName)),
    help="Of this kind, as `read` or `key`.",
)
@click.option("--tenant", "tenants", metavar="T", multiple=True, help="About this tenant; again for more.")
@click.option("--from", "from_", metavar="T", help="Not before: RFC 3339, or nanoseconds since 1970.")
@click.option("--to", metavar="T", help="Before: as --from.")
@click.option("--limit", metavar="N", type=click.IntRange(1, 10_000), default=100, show_default=True)
@output_option("table", "json", "ndjson")
def COMMAND(  # noqa: N802  # as in every command file
    *,
    audit_dir: Path | None,
    kind: str | None,
    tenants: tuple[str, ...],
    from_: str | None,
    to: str | None,
    limit: int,
    output: str,
) -> None:
    """List control-plane events, newest first."""
    from api.audit_desk import AuditDesk
    from api.settings import load_settings
    from audit.times import to_rfc3339

    with open_log(audit_dir) as reader:
        desk = AuditDesk(load_settings(audit_dir=audit_dir), reader=lambda: reader)
        times = filter_of({"from_": from_, "to": to})
        found = desk.control_events(
            kind=kind,
            tenants=tenants or None,
            from_ns=times.from_ns,
            to_ns=times.to_ns,
            limit=limit,
        )
        rows: list[dict[str, object]] = [
            {
                "id": each.event_id,
                "at": to_rfc3339(each.at_ns),
                "event": each.event,
                "actor": each.actor,
                "tenant": each.tenant,
                "details": dict(each.details),
                "leaf": each.leaf,
            }
            for each in found
        ]
        reading().rows = len(rows)
        if output == "table":
            for row, each in zip(rows, found, strict=True):
                told = {name: value for name, value in each.details.items() if value is not None}
                row["what"] = ", ".join(f"{name}={value}" for name, value in told.items())
        if not write_rows(rows, columns=_COLUMNS, output=output):
            click.echo("no events", err=True)
