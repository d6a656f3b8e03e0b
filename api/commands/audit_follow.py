"""`wasmgate audit follow` and `wasmgate audit followers`: send on what was recorded, and look at who gets it.

A running service follows by itself; `follow --once` is for a log that no service runs on. What can be
followed is `audit/followers/config.py`. INVARIANT: `check` and `list` send nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from api.record_options import audit_dir_option
from api.tables import output_option, write_json, write_rows

if TYPE_CHECKING:
    from pathlib import Path

    from api.followers import Followers

_BEHIND = 1


@click.command(name="follow", short_help="Send on what was recorded.")
@audit_dir_option
@click.option("--once", is_flag=True, required=True, help="Send all that there is now, and end.")
@click.option("--only", metavar="NAME", multiple=True, help="Only this follower; more than once if wanted.")
@output_option("table", "json")
def FOLLOW(*, audit_dir: Path | None, once: bool, only: tuple[str, ...], output: str) -> int:  # noqa: ARG001, N802  # as in every command file; `once` only has to be there
    """Let each follower send what is sealed and signed, one after the other.

    A running service does it by itself. Ends with 1 if a follower could not send everything: it goes on from
    there the next time.
    """
    from api.followers import follow_once
    from audit.errors import AuditError

    followers = _followers(audit_dir)
    names = [config.name for config in followers.configs]
    for name in only:
        if name not in names:
            known = ", ".join(names) or "none"
            raise click.UsageError(f"no follower of that name; there are: {known}")
    rows: list[dict[str, object]] = []
    for config in followers.configs:
        if only and config.name not in only:
            continue
        try:
            status, steps = follow_once(followers, config)
        except AuditError as err:
            rows.append({"name": config.name, "sent": 0, "lag": None, "problem": str(err)})
            continue
        rows.append({"name": status.name, "sent": steps, "lag": status.lag, "problem": status.problem})
    if output == "json":
        write_json(rows)
    elif not write_rows(rows, columns=("name", "sent", "lag", "problem"), output="table"):
        click.echo("there are no followers", err=True)
    return _BEHIND if any(row["problem"] for row in rows) else 0


@click.group(name="followers", short_help="Look at who the log is sent on to.")
def FOLLOWERS() -> None:  # noqa: N802  # as in every command file
    """Look at the file `followers.toml` in the home, and at how far each follower is."""


@FOLLOWERS.command()
@audit_dir_option
@output_option("table", "json")
def check(*, audit_dir: Path | None, output: str) -> int:
    """Say what is wrong with the file; ends with 1 if anything is."""
    from audit.followers.errors import FollowersFileError

    faults: tuple[str, ...] = ()
    try:
        followers = _read(audit_dir)
        followers.check()
        count = len(followers.configs)
    except FollowersFileError as err:
        faults, count = err.faults, 0
    if output == "json":
        write_json({"is_valid": not faults, "followers": count, "faults": list(faults)})
        return 1 if faults else 0
    for fault in faults:
        click.echo(fault, err=True)
    if not faults:
        click.echo(f"{count} followers")
    return 1 if faults else 0


@FOLLOWERS.command(name="list")
@audit_dir_option
@output_option("table", "json")
def list_followers(*, audit_dir: Path | None, output: str) -> None:
    """Say who gets what, how many leaves of the log each has not had, and why it does not go on."""
    followers = _followers(audit_dir)
    rows: list[dict[str, object]] = [
        {
            "name": config.name,
            "kind": config.kind,
            "sends": config.sends,
            "lag": status.lag,
            "problem": status.problem,
        }
        for config, status in zip(followers.configs, followers.statuses(), strict=True)
    ]
    if output == "json":
        write_json(rows)
    elif not write_rows(rows, columns=("name", "kind", "sends", "lag", "problem"), output="table"):
        click.echo("there are no followers", err=True)


def _followers(audit_dir: Path | None) -> Followers:
    from audit.followers.errors import FollowersFileError

    try:
        return _read(audit_dir)
    except FollowersFileError as err:
        raise click.ClickException(str(err)) from err


def _read(audit_dir: Path | None) -> Followers:
    """Read the file; raises FollowersFileError."""
    from api.followers import Followers
    from api.settings import SettingsError, load_settings

    try:
        return Followers.of(load_settings(audit_dir=audit_dir))
    except SettingsError as err:
        raise click.UsageError(str(err)) from err
