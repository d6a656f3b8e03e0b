"""`wasmgate audit hold`: legal holds: what must not be deleted, whatever retention says.

What a hold covers is `audit/holds.py`. INVARIANT: a hold is durable in the log before the command says that
it is in force, and none is ever ended but by its id.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click

from api.record_options import audit_dir_option
from api.tables import output_option, write_json, write_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from api.retaining import Retaining

_COLUMNS = ("id", "at", "actor", "tenant", "execution", "module", "from", "to", "reason")
_UNKNOWN = 1

reason_option = click.option("--reason", metavar="TEXT", required=True, help="Why; it is put on record.")


@click.group(name="hold", short_help="Keep records whatever retention says.")
def COMMAND() -> None:  # noqa: N802  # as in every command file
    """Set, list and end legal holds; each change is an event in the log."""


@COMMAND.command()
@audit_dir_option
@click.option("--tenant", metavar="T", help="Everything of this tenant.")
@click.option("--exec", "execution", metavar="ID", help="This execution.")
@click.option("--module", metavar="D", help="Every run of the module with this digest.")
@click.option("--from", "from_", metavar="T", help="Of that, not what was before: a day, or RFC 3339.")
@click.option("--to", metavar="T", help="Of that, what was before: as --from.")
@reason_option
@output_option("table", "json")
def add(
    *,
    audit_dir: Path | None,
    tenant: str | None,
    execution: str | None,
    module: str | None,
    from_: str | None,
    to: str | None,
    reason: str,
    output: str,
) -> None:
    """Set a hold, on what is there and on what will be; print its id."""
    from api.control import local_actor
    from audit.holds import Scope

    with opened(audit_dir) as retaining:
        named = [each for each in (tenant, execution, module) if each is not None]
        if len(named) != 1:
            found = "none of them" if not named else "more than one"
            raise click.UsageError(f"expected one of --tenant, --exec and --module, found {found}")
        scope = Scope(
            tenant=tenant,
            execution=execution,
            module=module,
            from_ns=None if from_ is None else moment("from", from_),
            to_ns=None if to is None else moment("to", to),
        )
        made = retaining.hold(scope, reason=reason, actor=local_actor())
    if output == "json":
        write_json(made.as_json())
    else:
        click.echo(made.hold_id)


@COMMAND.command(name="list")
@audit_dir_option
@output_option("table", "json")
def list_holds(*, audit_dir: Path | None, output: str) -> None:
    """List the holds that are in force, the oldest first."""
    with opened(audit_dir) as retaining:
        rows = [one.as_json() for one in retaining.holds()]
    if not write_rows(rows, columns=_COLUMNS, output=output):
        click.echo("no holds", err=True)


@COMMAND.command()
@audit_dir_option
@reason_option
@output_option("table", "json")
@click.argument("hold")
def release(*, audit_dir: Path | None, hold: str, reason: str, output: str) -> int:
    """End a hold; what it kept may then be deleted."""
    from api.control import local_actor

    with opened(audit_dir) as retaining:
        found = retaining.release(hold, reason=reason, actor=local_actor())
    if found is None:
        click.echo(f"no hold {hold[:80]!r} is in force", err=True)
        return _UNKNOWN
    if output == "json":
        write_json(found.as_json())
    else:
        click.echo(f"released {found.hold_id}")
    return 0


def moment(option: str, text: str) -> int:
    """Give the time that a person typed: a day, which begins at midnight UTC, or as other commands take it.

    Raises FilterError.
    """
    from audit.filters import time_filter

    is_day = len(text) == len("2026-11-22") and "-" in text
    return time_filter(option, f"{text}T00:00:00Z" if is_day else text)


@contextlib.contextmanager
def opened(audit_dir: Path | None) -> Iterator[Retaining]:
    """Retention of the log in a folder, or in that of the settings; raises ClickException and UsageError."""
    from api.retaining import retaining_here
    from api.settings import SettingsError, load_settings
    from audit.errors import AuditError, FilterError, FormatError

    try:
        settings = load_settings(audit_dir=audit_dir)
        if not (settings.audit_dir / "wal").is_dir():
            raise click.ClickException(f"{settings.audit_dir} holds no audit log")
        yield retaining_here(settings)
    except (SettingsError, FilterError, FormatError) as err:
        raise click.UsageError(str(err)) from err
    except (AuditError, OSError) as err:
        raise click.ClickException(str(err)) from err
