"""`wasmgate audit pull`: fetches from a copy on S3-compatible storage what is missing here.

How that is done is `audit/scaleout/pulling.py`. INVARIANT: nothing that is here is replaced, and nothing is
written that the transparency log does not name.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from api.commands.audit_push import opened, place_options
from api.record_options import audit_dir_option
from api.tables import output_option, write_json


@click.command(name="pull", short_help="Fetch a copy of the log from object storage.")
@audit_dir_option
@place_options("from")
@click.option("--key", metavar="VKEY|FILE", multiple=True, help="Key that must have signed the copy.")
@output_option("table", "json")
def COMMAND(  # noqa: N802  # as in every command file
    *,
    audit_dir: Path | None,
    place: str,
    endpoint: str | None,
    region: str | None,
    key: tuple[str, ...],
    output: str,
) -> None:
    """Fetch what is missing here: segments, receipts and the transparency log.

    Check it with `audit verify` afterwards.
    """
    from api.settings import SettingsError, load_settings
    from audit.errors import AuditError
    from audit.scaleout.pulling import Puller
    from audit.store import Store
    from audit.tlog.errors import NoteError
    from audit.tlog.vkey import parse_vkey

    try:
        root = load_settings(audit_dir=audit_dir).audit_dir
        keys = [parse_vkey(_key(one)) for one in key]
    except (SettingsError, NoteError, OSError) as err:
        raise click.UsageError(str(err)) from err
    objects = opened(place, endpoint, region)
    try:
        done = Puller(Store(root), objects, keys=keys).pull()
    except (AuditError, OSError) as err:
        raise click.ClickException(str(err)) from err
    if output == "json":
        write_json({**asdict(done), "place": objects.place.shown})
        return
    more = f"; {done.pruned} segments were deleted on record" if done.pruned else ""
    click.echo(
        f"{objects.place.shown}: {done.leaves} leaves; {done.objects} objects fetched,"
        f" {done.size_bytes} bytes{more}"
    )


def _key(text: str) -> str:
    path = Path(text)
    return text if "+" in text and not path.exists() else path.read_text(encoding="utf-8").strip()
