"""`wasmgate policy`: what is wrong with a policy, what it compiles to, and what it says in plain sentences.

All of that is found out in `policy/`; here it is only asked for and printed. INVARIANT: what is the plan that
would be enforced, and a policy with an error is never explained.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from api.commands import (
    policy_diff,
    policy_explain,
    policy_fmt,
    policy_learn,
    policy_resolve,
    policy_schema,
    policy_simulate,
    policy_test,
)
from api.library_options import library_options
from api.tables import output_option, write_json

if TYPE_CHECKING:
    from policy.errors import Finding
    from policy.plan import Plan

_BAD = 1


@click.group(short_help="Check, show and explain policies.")
def COMMAND() -> None:  # noqa: N802  # the name that every command file gives its command
    """Check a policy, show the plan it compiles to, or explain what it allows."""


@COMMAND.command()
@output_option("table", "json", "ndjson", "sarif")
@library_options
@click.option("--stored", is_flag=True, help="Check it as one that the service keeps: `match` is required.")
@click.argument("file")
def check(*, file: str, library: tuple[str, ...], tenant: str | None, output: str, stored: bool) -> int:
    """Print everything that is wrong with FILE; exit status 1 if any of it is an error."""
    from api.loading import UnreadableError, check_file, show_findings
    from api.version import program_version
    from policy.errors import PolicyError, Severity
    from policy.sarif import sarif

    try:
        findings = check_file(file, library=library, tenant=tenant, is_stored=stored)
    except UnreadableError as err:
        raise click.ClickException(str(err)) from err
    except PolicyError as err:
        findings = err.findings
    has_errors = any(finding.severity is Severity.ERROR for finding in findings)
    if output == "table":
        show_findings(findings, sys.stdout)
        if not findings:
            click.echo("no findings")
    elif output == "json":
        write_json({"is_valid": not has_errors, "findings": [_as_json(each) for each in findings]})
    elif output == "sarif":
        write_json(sarif(findings, version=program_version()))
    else:
        for each in findings:
            write_json(_as_json(each))
    return _BAD if has_errors else 0


@COMMAND.command()
@library_options
@output_option("table", "json")
@click.argument("file")
def show(*, file: str, library: tuple[str, ...], tenant: str | None, output: str) -> int:
    """Print the plan that FILE compiles to."""
    from policy.show import plan_as_json, render_plan

    plan = _plan(file, library, tenant)
    if plan is None:
        return _BAD
    if output == "json":
        write_json(plan_as_json(plan))
    else:
        click.echo(render_plan(plan), nl=False)
    return 0


def _plan(file: str, library: tuple[str, ...], tenant: str | None) -> Plan | None:
    from api.loading import UnreadableError, load_plan, show_policy_error
    from policy.errors import PolicyError

    try:
        return load_plan(file, library=library, tenant=tenant, is_study=True)
    except UnreadableError as err:
        raise click.ClickException(str(err)) from err
    except PolicyError as err:
        show_policy_error(err)
        return None


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


COMMAND.add_command(policy_diff.COMMAND)
COMMAND.add_command(policy_explain.COMMAND)
COMMAND.add_command(policy_fmt.COMMAND)
COMMAND.add_command(policy_learn.COMMAND)
COMMAND.add_command(policy_resolve.COMMAND)
COMMAND.add_command(policy_schema.COMMAND)
COMMAND.add_command(policy_simulate.COMMAND)
COMMAND.add_command(policy_test.COMMAND)
