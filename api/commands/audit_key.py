"""`wasmgate audit key`: the key that signs the audit log.

How keys are kept is `audit.tlog.key_files`, how one follows another `audit.tlog.rotation`. INVARIANT: no
command prints a secret.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import click

from api.record_options import audit_dir_option
from api.tables import output_option, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from api.settings import Settings
    from audit.tlog.vkey import VerifierKey

_REASON = 200  # characters


@click.group(name="key", short_help="Show, make and rotate the key that signs the log.")
def COMMAND() -> None:  # noqa: N802  # the name that every command file gives its command
    """Manage the key that signs the log's checkpoints; give its public half to whoever verifies."""


@COMMAND.command()
@audit_dir_option
@output_option("table", "json")
def show(*, audit_dir: Path | None, output: str) -> None:
    """Show the public key that signs now, and those before it."""
    from audit.tlog.key_files import KeyFolder

    with _settings(audit_dir) as settings:
        keys = KeyFolder(settings.audit_keys_dir)
        current, old = keys.load().verifier, keys.old()
        _write(current, tuple(one for one in old if one != current), output)


@COMMAND.command()
@audit_dir_option
@click.option("--name", metavar="NAME", help="Name of the log, as `example.com/audit`; else the setting's.")
@output_option("table", "json")
def new(*, audit_dir: Path | None, name: str | None, output: str) -> None:
    """Make the first key; the service does the same when there is none."""
    from audit.tlog.key_files import KeyFolder

    with _settings(audit_dir) as settings:
        made = KeyFolder(settings.audit_keys_dir).create(name or settings.audit_origin)
        _write(made, (), output)


@COMMAND.command()
@audit_dir_option
@click.option("--reason", metavar="TEXT", required=True, help="Why; it is in the log for good.")
@output_option("table", "json")
def rotate(*, audit_dir: Path | None, reason: str, output: str) -> None:
    """Let a new key sign from now on; the old one vouches for it, and its secret is destroyed."""
    from audit.store import Store
    from audit.tlog.key_files import KeyFolder
    from audit.tlog.log import TransparencyLog
    from audit.tlog.rotation import rotate as rotate_key

    if not reason.strip() or len(reason) > _REASON:
        raise click.UsageError(f"--reason takes 1 to {_REASON} characters")
    with _settings(audit_dir) as settings:
        store, keys = Store(settings.audit_dir), KeyFolder(settings.audit_keys_dir)
        keys.load()  # before any folder is made
        store.create()
        made = rotate_key(
            TransparencyLog(store.root / "tlog"),
            keys,
            reason=reason,
            at_ns=time.time_ns(),
            seal_lock=store.seal_lock,
        )
        _write(made, tuple(one for one in keys.old() if one != made), output)


def _write(current: VerifierKey, old: tuple[VerifierKey, ...], output: str) -> None:
    if output == "json":
        write_json({"key": current.text, "name": current.name, "old": [one.text for one in old]})
        return
    click.echo(current.text)
    for number, one in enumerate(old):
        click.echo(f"before, number {number}: {one.text}", err=True)


@contextlib.contextmanager
def _settings(audit_dir: Path | None) -> Iterator[Settings]:
    from api.settings import SettingsError, load_settings
    from audit.errors import AuditError

    try:
        yield load_settings(audit_dir=audit_dir)
    except SettingsError as err:
        raise click.UsageError(str(err)) from err
    except (AuditError, OSError) as err:
        raise click.ClickException(str(err)) from err
