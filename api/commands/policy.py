"""`wasmgate policy`: what is wrong with a policy, what it compiles to, and what it says in plain sentences.

All of that is found out in `policy/`; here it is only asked for and printed. INVARIANT: what is the plan that
would be enforced, and a policy with an error is never explained.
"""

from __future__ import annotations

import click

from api.commands import (
    policy_check,
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
from api.studying import plan_to_study
from api.tables import output_option, write_json

_BAD = 1


@click.group(short_help="Check, show and explain policies.")
def COMMAND() -> None:  # noqa: N802  # the name that every command file gives its command
    """Check a policy, show the plan it compiles to, or explain what it allows."""


@COMMAND.command()
@library_options
@output_option("table", "json")
@click.argument("file")
def show(*, file: str, library: tuple[str, ...], tenant: str | None, output: str) -> int:
    """Print the plan that FILE compiles to."""
    from policy.show import plan_as_json, render_plan

    plan = plan_to_study(file, library, tenant)
    if plan is None:
        return _BAD
    if output == "json":
        write_json(plan_as_json(plan))
    else:
        click.echo(render_plan(plan), nl=False)
    return 0


COMMAND.add_command(policy_check.COMMAND)
COMMAND.add_command(policy_diff.COMMAND)
COMMAND.add_command(policy_explain.COMMAND)
COMMAND.add_command(policy_fmt.COMMAND)
COMMAND.add_command(policy_learn.COMMAND)
COMMAND.add_command(policy_resolve.COMMAND)
COMMAND.add_command(policy_schema.COMMAND)
COMMAND.add_command(policy_simulate.COMMAND)
COMMAND.add_command(policy_test.COMMAND)
