"""`wasmgate policy check`: everything that is wrong with documents, before they are used.

What is wrong is found in `policy/`, which never looks at a disk: where a link leads is asked here. INVARIANT:
every file is looked at, whatever is wrong with the others, and one error among all gives exit status 1.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from api.library_options import library_options
from api.tables import output_option, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policy.errors import Finding

_BAD = 1


@click.command("check", short_help="Print everything that is wrong with documents.")
@output_option("table", "json", "ndjson", "sarif")
@library_options
@click.option("--stored", is_flag=True, help="Check it as one that the service keeps: `match` is required.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def COMMAND(  # noqa: N802  # the name that every command file gives its command
    *, files: tuple[str, ...], library: tuple[str, ...], tenant: str | None, output: str, stored: bool
) -> int:
    """Print everything that is wrong with each FILE; exit status 1 if any of it is an error.

    A file holds a policy, a baseline, a boundary, or tests.
    """
    from api.checking import check_files
    from api.loading import UnreadableError
    from policy.errors import PolicyError, Severity

    try:
        findings = check_files(files, library=library, tenant=tenant, is_stored=stored)
    except UnreadableError as err:
        raise click.ClickException(str(err)) from err
    except PolicyError as err:  # of the library
        findings = err.findings
    has_errors = any(finding.severity is Severity.ERROR for finding in findings)
    _write(findings, output, count=len(files), is_valid=not has_errors)
    return _BAD if has_errors else 0


def _write(findings: Sequence[Finding], output: str, *, count: int, is_valid: bool) -> None:
    from api.loading import show_findings

    match output:
        case "json":
            write_json({"is_valid": is_valid, "findings": [_as_json(each) for each in findings]})
        case "ndjson":
            for each in findings:
                write_json(_as_json(each))
        case "sarif":
            from api.version import program_version
            from policy.sarif import sarif

            write_json(sarif(findings, version=program_version()))
        case _:
            show_findings(tuple(findings), sys.stdout)
            if not findings:
                click.echo("no findings")
            if count > 1:
                wrong = len({each.file for each in findings if each.severity == "error"})
                click.echo(f"{count} files checked, {wrong} with errors")


def _as_json(finding: Finding) -> dict[str, object]:
    return {
        "id": finding.id,
        "severity": finding.severity.value,
        "file": finding.file,
        "line": finding.line,
        "column": finding.column,
        "field": finding.field,
        "message": finding.sentence,
        "suggestion": finding.suggestion or None,
    }
