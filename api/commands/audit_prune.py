"""`wasmgate audit prune`: deletes what no policy and no hold keeps, on record.

What may go is `audit/retention.py`, how it goes `api/retaining.py`. INVARIANT: with --dry-run nothing is
changed; without it, nothing is deleted that the signed log does not name as deleted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from api.commands.audit_hold import moment, opened
from api.record_options import audit_dir_option
from api.tables import output_option, write_json, write_rows

if TYPE_CHECKING:
    from pathlib import Path

    from api.retaining import Pruned

_COLUMNS = ("action", "tenant", "from", "to", "rows", "bytes", "executions", "why", "segment")


@click.command(name="prune", short_help="Delete what nothing keeps any more.")
@audit_dir_option
@click.option("--dry-run", is_flag=True, help="Say what would go and what stays, and delete nothing.")
@click.option("--until", metavar="T", help="Only what ended before: RFC 3339, or a day as 2026-11-22.")
@click.option("--tenant", metavar="T", help="Only of this tenant.")
@output_option("table", "json")
def COMMAND(  # noqa: N802  # as in every command file
    *, audit_dir: Path | None, dry_run: bool, until: str | None, tenant: str | None, output: str
) -> None:
    """Delete whole segments whose executions are all older than their policies keep them.

    A segment on hold stays. The deletion is in the signed log before any file goes; manifests, hashes and
    receipts stay, so that the rest of the log verifies as before.
    """
    from api.control import local_actor
    from api.retaining import pruned_json, pruned_rows

    with opened(audit_dir) as retaining:
        until_ns = None if until is None else moment("until", until)
        if dry_run:
            done = retaining.plan(tenant=tenant, until_ns=until_ns)
        else:
            done = retaining.prune(actor=local_actor(), tenant=tenant, until_ns=until_ns)
    if output == "json":
        write_json(pruned_json(done))
        return
    write_rows(pruned_rows(done), columns=_COLUMNS, output=output)
    click.echo(_sentence(done), err=True)


def _sentence(done: Pruned) -> str:
    going, staying = done.plan.going, done.plan.staying
    if done.deleted is None:
        more = f"; {len(done.unfinished)} are deleted only in part" if done.unfinished else ""
        return f"{len(going)} segments would go, {len(staying)} stay{more}"
    gone = done.deleted
    more = f"; {gone.held} that were on record stay for a hold" if gone.held else ""
    return f"{gone.segments} segments deleted, {gone.freed_bytes} bytes freed, {len(staying)} stay{more}"
