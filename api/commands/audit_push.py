"""`wasmgate audit push`: copies the signed log to S3-compatible storage.

How that is done is `audit/scaleout/pushing.py`. INVARIANT: nothing of the log is changed, nothing there is
replaced but an older checkpoint, and nothing is deleted there unless that is asked for.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from api.record_options import audit_dir_option
from api.tables import output_option, write_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from audit.scaleout.objects import Objects


def place_options(word: str) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """The options that name a place: `--to` or `--from`, and how it is reached."""

    def added(command: Callable[..., object]) -> Callable[..., object]:
        for option in (
            click.option("--region", metavar="R", help="Its region; us-east-1 if not given."),
            click.option("--endpoint", metavar="URL", help="Of storage that is not Amazon's."),
            click.option(f"--{word}", "place", metavar="URL", required=True, help="As `s3://bucket/folder`."),
        ):
            command = option(command)
        return command

    return added


def opened(place: str, endpoint: str | None, region: str | None) -> Objects:
    """The place; raises UsageError. Keys are those of the `AWS_` variables, as with other such programs."""
    from audit.scaleout.errors import BackendError
    from audit.scaleout.objects import Objects, Place

    try:
        return Objects(Place.parse(place, endpoint=endpoint, region=region))
    except BackendError as err:
        raise click.UsageError(str(err)) from err


@click.command(name="push", short_help="Copy the log to object storage.")
@audit_dir_option
@place_options("to")
@click.option("--check", is_flag=True, help="Compare what is there already, byte for byte.")
@click.option("--delete-pruned", is_flag=True, help="Delete there what was deleted here, on record.")
@output_option("table", "json")
def COMMAND(  # noqa: N802  # as in every command file
    *,
    audit_dir: Path | None,
    place: str,
    endpoint: str | None,
    region: str | None,
    check: bool,
    delete_pruned: bool,
    output: str,
) -> None:
    """Copy segments, receipts and the transparency log to S3-compatible storage, as far as it is signed.

    What is there already is not sent again. Records that retention deleted here stay in the copy, unless
    --delete-pruned is given. A bucket with a default retention (Object Lock) keeps each object
    from deletion; this command sets none.
    """
    from api.settings import SettingsError, load_settings
    from audit.errors import AuditError
    from audit.scaleout.pushing import Pusher
    from audit.store import Store

    try:
        root = load_settings(audit_dir=audit_dir).audit_dir
    except SettingsError as err:
        raise click.UsageError(str(err)) from err
    objects = opened(place, endpoint, region)
    try:
        pusher = Pusher(Store(root), objects)
        done = pusher.push(is_full=check)
        deleted = pusher.delete_pruned() if delete_pruned else 0
    except (AuditError, OSError) as err:
        raise click.ClickException(str(err)) from err
    if output == "json":
        write_json({**asdict(done), "deleted": deleted, "place": objects.place.shown})
        return
    click.echo(
        f"{objects.place.shown}: {done.leaves} leaves; {done.objects} objects sent, {done.size_bytes} bytes,"
        f" {done.there} were there" + (f", {deleted} deleted" if delete_pruned else "")
    )
