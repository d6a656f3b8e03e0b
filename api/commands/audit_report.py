"""`wasmgate audit report`: what happened in a period, for reviewers: one page of HTML, or JSON.

What is in it is `api/report_gathering.py`, the page `api/report_page.py`. INVARIANT: the page needs nothing
beside it and runs no script; a log that does not verify is said on it, and in the exit status.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.commands.audit_hold import moment
from api.record_options import audit_dir_option, open_log, reading
from api.tables import output_option

if TYPE_CHECKING:
    from api.report_facts import Facts
    from api.report_gathering import Asked

_STATUS = {"failed": 1, "incomplete": 3}


@click.command(name="report", short_help="Report on a period for reviewers.")
@audit_dir_option
@click.option("--from", "from_", metavar="T", required=True, help="First day or time: 2026-11-01, RFC 3339.")
@click.option("--to", metavar="T", required=True, help="Day or time that is not included any more.")
@click.option("--tenant", metavar="T", help="Of this tenant.")
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), help="Write it here, not to stdout.")
@click.option("--no-verify", is_flag=True, help="Leave out the verification; the report says so.")
@output_option("html", "json")
def COMMAND(  # noqa: N802  # as in every command file
    *,
    audit_dir: Path | None,
    from_: str,
    to: str,
    tenant: str | None,
    out: Path | None,
    no_verify: bool,
    output: str,
) -> int:
    """Report calls, refusals, policies, coverage, readers and verification of a period.

    A browser prints the page to PDF. Ends with 1 if the log does not verify, 3 if not all could be checked.
    """
    from api.report_gathering import Asked

    begin, end = _moment("from", from_), _moment("to", to)
    if end <= begin:
        raise click.UsageError("--to: expected a time after --from")
    facts = _facts(audit_dir, Asked(begin, end, tenant, is_verified=not no_verify))
    content = _content(facts, output)
    if out is None:
        click.echo(content, nl=False)
    else:
        try:
            out.write_bytes(content)
        except OSError as err:
            raise click.ClickException(f"{out}: {err.strerror}") from err
    if facts.verification.state in _STATUS:
        click.echo(f"the log does not verify: {facts.verification.result}", err=True)
    return _STATUS.get(facts.verification.state, 0)


def _facts(audit_dir: Path | None, asked: Asked) -> Facts:
    import time

    from api.audit_desk import AuditDesk
    from api.control import local_actor
    from api.report_gathering import Gathering
    from api.settings import load_settings

    with open_log(audit_dir) as reader:
        settings = load_settings(audit_dir=audit_dir)
        desk = AuditDesk(settings, reader=lambda: reader)
        now_ns = time.time_ns()
        made = Gathering(settings, reader, desk, asked, actor=local_actor(), now_ns=now_ns).facts()
        reading().rows = len(made.examples)  # records that it shows; the rest are totals
        return made


def _content(facts: Facts, output: str) -> bytes:
    from api.report_page import render
    from audit.inert import json_line

    text = json_line(facts.as_json()) + "\n" if output == "json" else render(facts)
    return text.encode("utf-8", "backslashreplace")


def _moment(option: str, text: str) -> int:
    from audit.errors import AuditError

    try:
        return moment(option, text)
    except AuditError as err:
        raise click.UsageError(f"--{err}") from err
