"""The options that say which records of the log a command is about, and the log opened for them.

What can be asked is `audit.filters`, who answers `audit.query`. INVARIANT: nothing that a question finds is
changed; what an ended supervisor left behind is sealed first, and that the log is read is on record before
anything is shown, where the log can be written.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from api.control import Question, Reading
    from audit.filters import RecordFilter
    from audit.query import AuditReader

_READING = "wasmgate.reading"
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
_SUBJECTS = (
    click.option("--tenant", metavar="T", help="Of this tenant."),
    click.option("--policy", metavar="P", help="Of runs under a policy, by digest or name."),
)
_CALLS = (
    click.option("--call", metavar="GLOB", help="Of these calls, as `path_*`."),
    click.option("--decision", metavar="D", help="`allow`, `deny`, `would_deny` or `limit`."),
    click.option("--rule", metavar="ID", help="Decided by this rule."),
    click.option(
        "--path-prefix", metavar="P", help="About paths that start so, on the host or in the guest."
    ),
)
_DETAILS = (
    click.option("--class", "class_", metavar="N", type=int, help="Of this OCSF class, as 1001."),
    click.option("--errno", metavar="N", type=int, help="For which the guest got this, as 76."),
    click.option("--path", metavar="P", help="About this path, on the host or in the guest."),
    click.option("--path-glob", metavar="GLOB", help="About paths as `/srv/**/*.key`."),
    click.option("--addr", metavar="A", help="About this address, or a range as 10.0.0.0/8."),
    click.option("--port", metavar="N", type=click.IntRange(0, 65_535), help="About this port."),
    click.option("--min-bytes", metavar="N", type=click.IntRange(min=0), help="That moved so many bytes."),
    click.option(
        "--min-duration", metavar="NS", type=click.IntRange(min=0), help="That took so many nanoseconds."
    ),
    click.option("--q", metavar="Q", help="For which a condition holds, in the language of queries."),
)


def filter_options(command: C) -> C:
    """The log, and every option that says which of its records are meant."""
    return _added(command, (audit_dir_option, *_RUNS, *_CALLS, *_TIMES))


def event_options(command: C) -> C:
    """The log, and every option that the audit log itself can be asked with."""
    return _added(command, (audit_dir_option, *_RUNS, *_SUBJECTS, *_CALLS, *_DETAILS, *_TIMES))


def execution_options(command: C) -> C:
    """The log, and the options that say of which executions and times the records are meant."""
    return _added(command, (audit_dir_option, *_RUNS, *_TIMES))


def _added(command: C, options: tuple[Callable[[C], C], ...]) -> C:
    for option in reversed(options):
        command = option(command)
    return command


@contextlib.contextmanager
def open_log(audit_dir: Path | None) -> Iterator[AuditReader]:
    """Queries on the log in a folder, or in that of the settings; raises UsageError and ClickException."""
    from api.control import recorded
    from api.priority import giving_way
    from api.sealing import open_reader, seal_left
    from api.settings import SettingsError, load_settings
    from audit.errors import AuditError, FilterError

    try:
        settings = load_settings(audit_dir=audit_dir)
        root = settings.audit_dir
        with contextlib.suppress(AuditError, OSError):  # a log that can't be written can still be read
            seal_left(root, keys_dir=settings.audit_keys_dir)
        with (
            giving_way(),
            open_reader(root, keys_dir=settings.audit_keys_dir, backend=settings.audit_backend) as reader,
            recorded(
                root, question_here(), keys_dir=settings.audit_keys_dir, on_failure=not_recorded
            ) as begun,
        ):
            click.get_current_context().meta[_READING] = begun
            yield reader
            begun.is_complete = True
    except FilterError as err:
        raise click.UsageError(str(err)) from err
    except (SettingsError, AuditError) as err:
        raise click.ClickException(str(err)) from err


def reading() -> Reading:
    """What the log will say of the read that goes on; a command that knows it says how many rows it gave."""
    from api.control import Reading as Uncounted

    return cast("Reading", click.get_current_context().meta.get(_READING) or Uncounted())


def question_here() -> Question:
    """What the command that goes on asks, as the command line says it."""
    from api.control import Question, local_actor

    asked = click.get_current_context()
    word = "export" if asked.info_name == "export" else "read"
    return Question(local_actor(), asked.command_path, "*", dict(asked.params), word)


def not_recorded(problem: str) -> None:
    """Say on standard error why a read that is answered all the same is not on record."""
    click.echo(f"this read is not on record: {problem}", err=True)


def filter_of(wanted: Mapping[str, object]) -> RecordFilter:
    """What the options say; raises FilterError."""
    from api.periods import check_range
    from audit.filters import RecordFilter, time_filter

    given = {name: value for name, value in wanted.items() if value is not None}
    for name, option in (("from_", "from"), ("to", "to")):
        if name in given:
            given[f"{option}_ns"] = time_filter(option, str(given.pop(name)))
    for name, field in (("class_", "class_uid"), ("min_duration", "min_duration_ns")):
        if name in given:
            given[field] = given.pop(name)
    check_range(cast("int | None", given.get("from_ns")), cast("int | None", given.get("to_ns")))
    return RecordFilter(**given)  # type: ignore[arg-type]  # the options have the types of its fields
