"""`wasmgate audit executions`: which executions the log knows, newest first.

What one of them called is `audit query`; a picture of it is `audit show`. INVARIANT: text of guests and of
those who named modules is shown inert.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from api.record_options import audit_dir_option, open_log, reading
from api.tables import output_option, write_rows

if TYPE_CHECKING:
    from pathlib import Path

    from audit.query import Execution

_COLUMNS = ("started_at", "execution_id", "tenant", "module", "policy", "outcome", "records", "refusals")


@click.command(name="executions", short_help="List executions, newest first.")
@audit_dir_option
@click.option("--module", metavar="M", help="Of a module, by digest or name.")
@click.option("--tenant", "tenants", metavar="T", multiple=True, help="Of this tenant; again for more.")
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="At most so many.",
)
@output_option("table", "json", "ndjson")
def COMMAND(  # noqa: N802  # as in every command file
    *, audit_dir: Path | None, module: str | None, tenants: tuple[str, ...], limit: int, output: str
) -> None:
    """List executions, running or over, newest first."""
    with open_log(audit_dir) as reader:
        found = reader.executions(limit=limit, module=module, tenants=tenants or None)
        rows = [_row(each) for each in found]
        reading().rows = len(rows)
        if not write_rows(rows, columns=_COLUMNS, output=output):
            click.echo("no executions", err=True)


def _row(found: Execution) -> dict[str, object]:
    from audit.times import to_rfc3339

    receipt, about = found.receipt, found.receipt or found.start
    if about is None:
        return {"execution_id": found.exec_id}
    refused = ("deny", "would_deny", "limit")
    return {
        "started_at": to_rfc3339(about.started_at_ns),
        "execution_id": found.exec_id,
        "tenant": about.tenant,
        "module": about.module_name,
        "module_digest": about.module_digest,
        "policy": about.policy_name,
        "policy_digest": about.policy_digest,
        "outcome": "running" if receipt is None else receipt.outcome.kind.value,
        "records": None if receipt is None else receipt.records,
        "refusals": None
        if receipt is None
        else sum(item.count for item in receipt.calls if item.decision in refused),
    }
