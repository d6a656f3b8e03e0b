"""`wasmgate audit timestamps`: the time stamps of an authority that are kept beside the log.

Who asks for them is a follower of the kind `timestamp`; what is checked is `audit/followers/timestamp.py`.
INVARIANT: nobody is asked: all that is needed is in the log's folder and in the file of certificates.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.record_options import audit_dir_option
from api.tables import output_option, write_json, write_rows

if TYPE_CHECKING:
    from audit.followers.timestamp import Timestamp
    from audit.tlog.log import TransparencyLog

_FALSE = 1


@click.command(name="timestamps", short_help="Show and verify time stamps.")
@audit_dir_option
@click.option(
    "--certificate",
    metavar="FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Root certificates of the authority, in PEM; without it nothing is verified.",
)
@output_option("table", "json")
def COMMAND(*, audit_dir: Path | None, certificate: Path | None, output: str) -> int:  # noqa: N802  # as in every command file
    """Say at which time an authority has seen which checkpoint; with --certificate, whether that is true.

    Ends with 1 if one of them is false.
    """
    from api.settings import SettingsError, load_settings
    from audit.errors import AuditError
    from audit.followers.timestamp import load_certificates, timestamps
    from audit.tlog.log import TransparencyLog

    try:
        log = TransparencyLog(load_settings(audit_dir=audit_dir).audit_dir / "tlog")
        roots = None if certificate is None else load_certificates(certificate.read_bytes())
        rows = [_row(found, log, roots) for found in timestamps(log.directory)]
    except SettingsError as err:
        raise click.UsageError(str(err)) from err
    except ValueError as err:
        raise click.BadParameter(f"expected {err}", param_hint="--certificate") from err
    except (AuditError, OSError) as err:
        raise click.ClickException(str(err)) from err
    if output == "json":
        write_json(rows)
    elif not write_rows(rows, columns=("size", "at", "verified", "problem"), output="table"):
        click.echo("there are no time stamps", err=True)
    return _FALSE if any(row["problem"] for row in rows) else 0


def _row(found: Timestamp, log: TransparencyLog, roots: tuple[object, ...] | None) -> dict[str, object]:
    from audit.followers.timestamp import verify_timestamp

    problem = None if roots is None else verify_timestamp(found, roots)  # type: ignore[arg-type]  # certificates, which only that module knows
    if problem is None:
        problem = _leaves_problem(found, log)
    return {
        "size": found.size,
        "at": None if found.at is None else f"{found.at:%Y-%m-%dT%H:%M:%SZ}",
        "verified": "no" if problem else "not asked" if roots is None else "yes",
        "problem": problem,
    }


def _leaves_problem(found: Timestamp, log: TransparencyLog) -> str | None:
    """Give what is wrong between a note and the log; None if the log begins with that tree."""
    from audit.errors import AuditError
    from audit.tlog.checkpoint import parse_checkpoint_text
    from audit.tlog.note import parse_note

    if found.note is None:
        return "the checkpoint that it is about is missing"
    if found.at is None:
        return "it can't be read"
    try:
        head = parse_checkpoint_text(parse_note(found.note).text)
        if head.size != found.size or log.hash_of_tree(head.size) != head.root:
            return "the log does not begin with the checkpoint that it is about"
    except AuditError as err:
        return str(err)
    return None
