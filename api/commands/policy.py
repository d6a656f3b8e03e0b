"""`wasmgate policy`: what is wrong with a policy, what it compiles to, and what it says in plain sentences.

All of that is found out in `policy/`; here it is only asked for and printed. INVARIANT: what is the plan that
would be enforced, and a policy with an error is never explained.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from api.commands import policy_diff, policy_fmt, policy_learn, policy_resolve, policy_simulate, policy_test
from api.library_options import library_options
from api.tables import output_option, write_json

if TYPE_CHECKING:
    from policy.errors import Finding
    from policy.plan import Plan, Right

_BAD = 1


@click.group(short_help="Check, show and explain policies.")
def COMMAND() -> None:  # noqa: N802  # the name that every command file gives its command
    """Check a policy, show the plan it compiles to, or explain what it allows."""


@COMMAND.command()
@output_option("table", "json", "ndjson")
@library_options
@click.option("--stored", is_flag=True, help="Check it as one that the service keeps: `match` is required.")
@click.argument("file")
def check(*, file: str, library: tuple[str, ...], tenant: str | None, output: str, stored: bool) -> int:
    """Print everything that is wrong with FILE; exit status 1 if any of it is an error."""
    from api.loading import UnreadableError, check_file, show_findings
    from policy.errors import PolicyError, Severity

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


@COMMAND.command()
@click.option("--call", metavar="NAME", help="Explain what happens to this host call, as `path_open`.")
@click.option("--target", metavar="PATH", help="Its path in the guest, or `stdin`, `wall` and so on.")
@click.option("--target2", metavar="PATH", help="Where a rename or a link leads.")
@click.option("--access", multiple=True, metavar="RIGHT", help="What `path_open` asks for, as `read`.")
@library_options
@output_option("table", "json")
@click.argument("file")
def explain(
    *,
    file: str,
    library: tuple[str, ...],
    tenant: str | None,
    call: str | None,
    target: str | None,
    target2: str | None,
    access: tuple[str, ...],
    output: str,
) -> int:
    """Say in sentences what FILE allows, or what it says about one call and why."""
    from policy.calls import MODULE
    from policy.decide import UnknownCallError
    from policy.explain import explain_plan

    plan = _plan(file, library, tenant)
    if plan is None:
        return _BAD
    if call is None and (target is not None or target2 is not None or access):
        raise click.UsageError("--target, --target2 and --access say more about a call: name it with --call")
    if call is None:
        lines = explain_plan(plan)
        if output == "json":
            write_json({"policy": plan.name, "sentences": lines})
        else:
            click.echo("\n".join(lines))
        return 0
    try:
        # as records name it, with the module that it is imported from
        _explain_call(
            plan, call.removeprefix(f"{MODULE}."), target, target2, wants=_rights(access), output=output
        )
    except UnknownCallError as err:
        raise click.UsageError(str(err)) from err
    return 0


def _explain_call(
    plan: Plan, call: str, target: str | None, target2: str | None, *, wants: Right | None, output: str
) -> None:
    from policy.decide import decide
    from policy.explain import explain_decision

    decision = decide(plan, call, target=target, target2=target2, wants=wants)
    lines = explain_decision(decision)
    if output == "json":
        verdict = lines[0].partition(":")[0]
        rule, reason, chain = decision.rule_id or None, decision.reason, list(decision.chain)
        hint = getattr(decision, "hint", "") or None
        write_json({"decision": verdict, "rule": rule, "reason": reason, "steps": chain, "hint": hint})
    else:
        click.echo("\n".join(lines))


def _rights(access: tuple[str, ...]) -> Right | None:
    from policy.plan import RIGHTS, Right

    known = {str(right.name).lower(): right for right in RIGHTS}
    wanted = Right(0)
    for word in access:
        if word not in known:
            raise click.UsageError(f"--access: expected one of {', '.join(known)}")
        wanted |= known[word]
    return wanted or None


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
COMMAND.add_command(policy_fmt.COMMAND)
COMMAND.add_command(policy_learn.COMMAND)
COMMAND.add_command(policy_resolve.COMMAND)
COMMAND.add_command(policy_simulate.COMMAND)
COMMAND.add_command(policy_test.COMMAND)
