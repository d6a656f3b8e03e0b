"""`wasmgate audit export`: records of the log in a file, with a manifest that says what they are.

What the forms hold is `audit/export`, which records are meant `record_options.py`. INVARIANT: a file that has
its name is whole and its manifest is beside it; a file that is there is not replaced unasked.
"""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from api.record_options import event_options, filter_of, open_log, reading

if TYPE_CHECKING:
    from collections.abc import Callable

    from audit.export.make import Request
    from audit.export.manifest import ExportManifest
    from audit.filters import RecordFilter
    from audit.query import AuditReader

FORMS = ("csv", "ndjson", "parquet", "arrow", "ocsf", "cef")
_BINARY = {"parquet", "arrow"}
_STDOUT = "-"


@click.command("export", short_help="Write records to a file.")
@event_options
@click.option("--form", type=click.Choice(FORMS), required=True, help="Form of the file.")
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    required=True,
    help="Where to; `-` is standard output.",
)
@click.option(
    "--manifest",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the manifest goes; FILE.manifest.json if not given, and nowhere with `--out -`.",
)
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="At most so many records.")
@click.option("--all", "is_all", is_flag=True, help="In cef: all records, not only refusals.")
@click.option("--force", is_flag=True, help="Replace files that are there.")
@click.option(
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Form of what is told about the export.",
)
def COMMAND(  # noqa: N802  # the name that every command file gives its command
    *,
    audit_dir: Path | None,
    form: str,
    out: Path,
    manifest: Path | None,
    limit: int | None,
    is_all: bool,
    force: bool,
    output: str,
    **wanted: str | int | None,
) -> None:
    """Write the records that are meant, and a manifest with their number, digest and signed checkpoint."""
    from api.audit_desk import told
    from api.control import local_actor
    from api.settings import SettingsError, load_settings
    from api.version import program_version
    from audit.export.make import Request
    from audit.export.ocsf_events import Source

    is_stdout = str(out) == _STDOUT
    beside = manifest if manifest is not None or is_stdout else out.with_name(f"{out.name}.manifest.json")
    _check(form, () if is_stdout else (out,), beside, is_stdout=is_stdout, force=force)
    request = Request(
        made_by=local_actor(),
        made_at_ns=time.time_ns(),
        limit=limit,
        is_all=is_all,
        source=Source(version=program_version()),
    )
    try:
        root = load_settings(audit_dir=audit_dir).audit_dir
    except SettingsError as err:
        raise click.ClickException(str(err)) from err
    with open_log(audit_dir) as reader:
        write = partial(_written, reader, filter_of(wanted), root=root, form=form, request=request)
        if is_stdout:
            made = write(out=sys.stdout.buffer)
            sys.stdout.buffer.flush()
        else:
            made = _to_file(write, path=out, manifest=beside)
        reading().rows, reading().more = made.rows, told(made)
    if is_stdout and beside is not None:
        _publish(beside, made.to_json())
    _tell(made, out, beside, output=output, is_stdout=is_stdout)


def _check(form: str, outs: tuple[Path, ...], manifest: Path | None, *, is_stdout: bool, force: bool) -> None:
    files = (*outs, *(() if manifest is None else (manifest,)))
    if len(set(files)) != len(files):
        raise click.UsageError("the export and its manifest need files of their own")
    for path in files:
        if not force and (path.exists() or path.is_symlink()):
            raise click.UsageError(f"{path} is there already; --force replaces it")
        if not path.parent.is_dir():
            raise click.UsageError(f"{path.parent} is no folder")
    if is_stdout and form in _BINARY and sys.stdout.isatty():
        raise click.UsageError(f"{form} is not for a terminal: name a file, or send it on")


def _written(
    reader: AuditReader, wanted: RecordFilter, *, root: Path, form: str, request: Request, out: BinaryIO
) -> ExportManifest:
    from audit.export.make import Form, export
    from audit.export.sealed import open_evidence

    evidence = open_evidence(root)
    return export(reader, wanted, form=Form(form), out=out, evidence=evidence, request=request)


def _to_file(write: Callable[..., ExportManifest], *, path: Path, manifest: Path | None) -> ExportManifest:
    from audit.store import hidden_name, publish_existing

    hidden = hidden_name(path)
    try:
        # what the log keeps private stays private
        handle = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as file:
            made = write(out=file)
        # the manifest first: whoever sees the file finds its manifest beside it
        if manifest is not None:
            _publish(manifest, made.to_json())
        publish_existing(hidden, path)
    except OSError as err:
        raise click.ClickException(f"{path}: {err.strerror or err}") from err
    finally:
        hidden.unlink(missing_ok=True)
    return made


def _publish(path: Path, content: bytes) -> None:
    from audit.errors import WriteError
    from audit.store import publish

    try:
        publish(path, content)
    except WriteError as err:
        raise click.ClickException(f"{path}: {err.problem}") from err


def _tell(made: ExportManifest, out: Path, manifest: Path | None, *, output: str, is_stdout: bool) -> None:
    if output == "json":
        facts: dict[str, object] = {
            "file": None if is_stdout else str(out),
            "manifest": str(manifest) if manifest else None,
        }
        from audit.inert import json_line

        facts |= {key: value for key, value in made.details().items() if key != "filter"}
        click.echo(json_line(facts), err=is_stdout)
        return
    cut = "" if made.is_complete else f", cut: {made.cut}"
    left = f", {made.left_out} that were not refused left out" if made.left_out else ""
    covered = "" if made.tree_size is None else f", under a checkpoint of {made.tree_size} leaves"
    where = "standard output" if is_stdout else str(out)
    click.echo(f"{made.rows} records in {made.size_bytes} bytes to {where}{left}{cut}{covered}", err=True)
    click.echo(f"sha256 {made.sha256}", err=True)
