"""The options that say which records of the log a command is about, and the log opened for them.

What can be asked is `audit.filters`, who answers `audit.query`. INVARIANT: nothing that a question finds is
changed; what an ended supervisor left behind is sealed first, where the log can be written.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from audit.filters import RecordFilter
    from audit.query import AuditReader

C = TypeVar("C", bound="Callable[..., object]")

audit_dir_option = click.option(
    "--audit-dir", metavar="DIR", type=click.Path(path_type=Path), help="Folder of the log."
)
"""Adds `audit_dir: Path | None`."""

_RUNS = (
    click.option("--execution", metavar="ID", help="Of this execution."),
    click.option("--module", metavar="M", help="Of a module, by digest or name."),
)
_TIMES = (
    click.option("--from", "from_", metavar="T", help="Not before: RFC 3339, or nanoseconds since 1970."),
    click.option("--to", metavar="T", help="Before: as --from."),
)
_CALLS = (
    click.option("--call", metavar="GLOB", help="Of these calls, as `path_*`."),
    click.option("--decision", metavar="D", help="`allow`, `deny`, `would_deny` or `limit`."),
    click.option("--rule", metavar="ID", help="Decided by this rule."),
    click.option(
        "--path-prefix", metavar="P", help="About paths that start so, on the host or in the guest."
    ),
)


def filter_options(command: C) -> C:
    """The log, and every option that says which of its records are meant."""
    return _added(command, (audit_dir_option, *_RUNS, *_CALLS, *_TIMES))


def execution_options(command: C) -> C:
    """The log, and the options that say of which executions and times the records are meant."""
    return _added(command, (audit_dir_option, *_RUNS, *_TIMES))


def _added(command: C, options: tuple[Callable[[C], C], ...]) -> C:
    for option in reversed(options):
        command = option(command)
    return command


@contextlib.contextmanager
def open_log(audit_dir: Path | None) -> Iterator[AuditReader]:
    """Queries on the log in a folder, or in that of the settings; raises ClickException."""
    from api.sealing import open_reader, seal_left
    from api.settings import SettingsError, load_settings
    from audit.errors import AuditError

    try:
        root = load_settings(audit_dir=audit_dir).audit_dir
        with contextlib.suppress(AuditError, OSError):  # a log that can't be written can still be read
            seal_left(root)
        with open_reader(root) as reader:
            yield reader
    except (SettingsError, AuditError) as err:
        raise click.ClickException(str(err)) from err


def filter_of(wanted: dict[str, str | None]) -> RecordFilter:
    """What the options say; raises FilterError."""
    from audit.filters import RecordFilter, time_filter

    from_text, to_text = wanted.get("from_"), wanted.get("to")
    return RecordFilter(
        execution=wanted.get("execution"),
        module=wanted.get("module"),
        call=wanted.get("call"),
        decision=wanted.get("decision"),
        rule=wanted.get("rule"),
        path_prefix=wanted.get("path_prefix"),
        from_ns=None if from_text is None else time_filter("from", from_text),
        to_ns=None if to_text is None else time_filter("to", to_text),
    )
