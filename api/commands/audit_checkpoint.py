"""`wasmgate audit checkpoint`: the signed head of the log.

Who signs it is `api/signing.py`. INVARIANT: what is printed has a true signature of the log's key.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from api.record_options import audit_dir_option
from api.tables import output_option, write_json

if TYPE_CHECKING:
    from pathlib import Path

_NS = 1_000_000_000


@click.command(name="checkpoint", short_help="Show the signed head of the log.")
@audit_dir_option
@output_option("note", "json")
def COMMAND(*, audit_dir: Path | None, output: str) -> None:  # noqa: N802  # as in every command file
    """Print the newest checkpoint, and how old it is; keep a copy elsewhere, to notice a log that was cut."""
    from api.settings import SettingsError, load_settings
    from audit.errors import AuditError
    from audit.tlog.log import TransparencyLog
    from audit.tlog.rotation import open_published

    try:
        root = load_settings(audit_dir=audit_dir).audit_dir / "tlog"
        found = open_published(root)
        leaves = TransparencyLog(root).size
    except SettingsError as err:
        raise click.UsageError(str(err)) from err
    except AuditError as err:
        raise click.ClickException(str(err)) from err
    if found is None:
        raise click.ClickException(f"{root}: nothing is signed yet")
    signed, written_ns = found
    head = signed.checkpoint
    age_s = max(time.time_ns() - written_ns, 0) // _NS
    note = signed.note.content.decode()
    if output == "json":
        write_json(
            {
                "origin": head.origin,
                "size": head.size,
                "root": head.root.hex(),
                "age_s": age_s,
                "unsigned_leaves": leaves - head.size,
                "signers": [key.text for key in signed.signers],
                "note": note,
            }
        )
        return
    click.echo(note, nl=False)
    behind = leaves - head.size
    more = f"; {behind} leaves are not signed yet" if behind else ""
    click.echo(f"{head.size} leaves, written {age_s} s ago{more}", err=True)
