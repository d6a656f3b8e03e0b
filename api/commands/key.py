"""`wasmgate key`: who may ask the HTTP service, and for what.

How keys are kept is `api/http/keys.py`, what a role may do is `policies/access`. INVARIANT: a key is shown
once, when it is made, and that one was made or revoked is in the audit log before it has an effect.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import click

from api.record_options import audit_dir_option
from api.tables import output_option, write_json, write_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from api.settings import Settings

_COLUMNS = ("name", "roles", "tenants", "made_at")


@click.group(short_help="Make, list and revoke keys to the HTTP service.")
def COMMAND() -> None:  # noqa: N802  # the name that every command file gives its command
    """Say who may ask the HTTP service, and for what."""


@COMMAND.command()
@audit_dir_option
@click.option(
    "--role", "roles", metavar="R", multiple=True, required=True,
    help="`auditor`, `tenant-auditor`, `exporter`, `runner` or `operator`; may be given again.",
)  # fmt: skip
@click.option("--tenant", "tenants", metavar="T", multiple=True, help="Only for this tenant; again for more.")
@click.option("--name", metavar="N", required=True, help="What the log calls whoever uses it.")
@output_option("table", "json")
def new(
    *, audit_dir: Path | None, roles: tuple[str, ...], tenants: tuple[str, ...], name: str, output: str
) -> None:
    """Make a key, and show it this once."""
    from api.control import brief_record, control_event, local_actor
    from api.http.access import load_roles
    from api.http.keys import KeyFile
    from audit.store import make_directory

    with _problems(), _settings(audit_dir) as settings:
        known = load_roles(settings).roles
        for role in roles:
            if role not in known:
                raise click.UsageError(f"no line gives role {role[:80]} anything; known: {', '.join(known)}")
        if "tenant-auditor" in roles and not tenants:
            raise click.UsageError("a tenant-auditor sees its tenants only: name one with --tenant")
        make_directory(settings.home)
        with brief_record(settings.audit_dir) as record:
            event = control_event(
                "key", actor=local_actor(), action="new", name=name, roles=",".join(roles),
                tenants=",".join(tenants) or "*",
            )  # fmt: skip
            key = KeyFile(settings.api_keys_file).make(
                name, roles=roles, tenants=tenants, now_ns=time.time_ns(), before=lambda: record(event)
            )
    if output == "json":
        write_json({"name": name, "roles": roles, "tenants": tenants, "key": key})
    else:
        click.echo(f"key: {key}")
        click.echo("Keep it: it is shown this once, and only its hash is stored.", err=True)


@COMMAND.command(name="list")
@output_option("table", "json")
def list_(*, output: str) -> None:
    """List the keys; of none more than its name, its roles and its tenants is known."""
    from api.http.keys import KeyFile

    with _problems(), _settings(None) as settings:
        file = KeyFile(settings.api_keys_file)
        rows = [key.as_json() for key in (file.known() if file.is_there() else ())]
    for row in rows:
        del row["hash"]
    if output == "table":
        for row in rows:
            row |= {"roles": ",".join(row["roles"]), "tenants": ",".join(row["tenants"]) or "*"}  # type: ignore[arg-type]  # lists of text
    if not write_rows(rows, columns=_COLUMNS, output=output):
        click.echo("no keys", err=True)


@COMMAND.command()
@audit_dir_option
@click.argument("name")
def revoke(*, audit_dir: Path | None, name: str) -> None:
    """Make a key good for nothing, from the next request on."""
    from api.control import brief_record, control_event, local_actor
    from api.http.keys import KeyFile

    with _problems(), _settings(audit_dir) as settings, brief_record(settings.audit_dir) as record:
        event = control_event("key", actor=local_actor(), action="revoke", name=name)
        KeyFile(settings.api_keys_file).revoke(name, before=lambda: record(event))


@contextlib.contextmanager
def _settings(audit_dir: Path | None) -> Iterator[Settings]:
    from api.settings import SettingsError, load_settings

    try:
        yield load_settings(audit_dir=audit_dir)
    except SettingsError as err:
        raise click.UsageError(str(err)) from err


@contextlib.contextmanager
def _problems() -> Iterator[None]:
    from api.http.access import AccessError
    from api.http.keys import KeyFileError, KeyNameError
    from audit.errors import AuditError

    try:
        yield
    except (AccessError, KeyFileError, KeyNameError, AuditError) as err:
        raise click.ClickException(str(err)) from err
