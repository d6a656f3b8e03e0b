"""`wasmgate audit status`: what waits to be sealed and signed, and how much room the log takes and has.

The figures are gathered in `api/log_status.py`; those of a running service are at `GET /v1/audit/status`.
INVARIANT: asking changes nothing.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from api.record_options import audit_dir_option
from api.tables import output_option, render_table, write_json

if TYPE_CHECKING:
    from pathlib import Path


@click.command(name="status", short_help="Say how the log is doing.")
@audit_dir_option
@output_option("table", "json")
def COMMAND(*, audit_dir: Path | None, output: str) -> None:  # noqa: N802  # as in every command file
    """Say what waits to be sealed and signed, and how much room the log takes and has."""
    from api.followers import follower_statuses
    from api.log_status import LogFigures
    from api.settings import SettingsError, load_settings

    try:
        settings = load_settings(audit_dir=audit_dir)
    except SettingsError as err:
        raise click.UsageError(str(err)) from err
    root = settings.audit_dir
    if not (root / "wal").is_dir():
        raise click.ClickException(f"{root} holds no audit log")
    found = LogFigures(root, settings.audit_disk_bytes).now(followers=follower_statuses(settings))
    if output == "json":
        write_json({**asdict(found), "dropped": 0})
        return
    signed = "nothing is signed yet"
    if found.checkpoint_size is not None:
        signed = f"{found.checkpoint_size} leaves, {found.checkpoint_age_s} s ago"
    budget = f" of {found.budget_bytes}" if found.budget_bytes else ""
    rows = [
        ["leaves", str(found.tree_size)],
        ["signed", signed],
        [
            "not sealed",
            f"{found.unsealed_files} files, {found.unsealed_bytes} bytes, {found.unsealed_age_s} s",
        ],
        ["damaged", f"{found.damaged_files} files"],
        ["disk", f"{found.used_bytes}{budget} bytes used, {found.free_bytes} free"],
    ]
    for each in found.followers:
        behind = f"{each.lag} leaves behind" if each.lag else "has everything"
        rows.append([f"follower {each.name}", f"{behind}; {each.problem}" if each.problem else behind])
    click.echo(render_table(rows), nl=False)
    for problem in found.problems:
        click.echo(problem, err=True)
    unsigned = found.tree_size - (found.checkpoint_size or 0)
    if unsigned > 0:
        says = f"{unsigned} leaves are not signed yet: commands that read the log put that on record as well"
        click.echo(f"{says}; `wasmgate audit seal` signs them, and a running service by itself", err=True)
