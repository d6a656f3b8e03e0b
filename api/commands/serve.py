"""`wasmgate serve`: the HTTP service, until a signal ends it.

Routes, keys and the server itself live in `api/http`. INVARIANT: what is found half done in the audit log is
finished before the first request is answered.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from audit.errors import AuditError


@click.command(short_help="Start the HTTP service on a loopback address.")
@click.option("--audit-dir", metavar="DIR", type=click.Path(path_type=Path), help="Folder of the audit log.")
@click.option("--new-key", is_flag=True, help="Make a new operator's key; the old one opens nothing more.")
def COMMAND(*, audit_dir: Path | None, new_key: bool) -> int:  # noqa: N802  # the name of every file's command
    """Start the HTTP service; `WASMGATE_HOST` and `WASMGATE_PORT` say where.

    Every route but the health check needs a key: the operator's is made, and shown once, at the first start,
    others with `wasmgate key new`.
    """
    from api.http.access import AccessError
    from api.http.keys import KeyFileError
    from api.http.server import ListenError, serve
    from api.logs import configure_logs, logger
    from api.service import Service
    from api.settings import SettingsError, load_settings
    from api.terminal import Paint
    from audit.errors import AuditError as Failure
    from sandbox.cache import CacheError

    def on_seal_failure(err: AuditError) -> None:
        logger("sealing").warning("the audit log cannot be sealed for the moment", problem=str(err))

    def on_problem(problem: str) -> None:
        logger("audit").warning("the audit log needs attention", problem=problem)

    try:
        settings = load_settings(audit_dir=audit_dir)
        paint = Paint(sys.stderr)
        configure_logs(
            settings.log_level, sys.stderr, is_terminal=paint.is_terminal, has_colours=paint.is_coloured
        )
        with Service(settings, on_seal_failure=on_seal_failure, on_problem=on_problem) as service:
            serve(service, say=click.echo, is_key_wanted=new_key)
    except SettingsError as err:
        raise click.UsageError(str(err)) from err
    except (Failure, CacheError, AccessError, KeyFileError, ListenError, OSError) as err:
        raise click.ClickException(str(err)) from err
    return 0
