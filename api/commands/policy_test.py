"""`wasmgate policy test`: runs the tests of policies, and writes tests from what was recorded.

Tests are run in `policy.testing` and written in `policy.minting`; which policies a file of tests is about is
found out here. INVARIANT: the exit status is 0 only if every test ran and passed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from api.library_options import library_options
from api.record_options import audit_dir_option, open_log
from api.tables import output_option, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from api.policy_tests import Tested

_BAD = 1


@click.command(name="test", short_help="Run the tests of policies.")
@click.option("--policy", "policies", metavar="P", multiple=True, help="Run the tests on this policy.")
@click.option(
    "--min-coverage",
    metavar="PCT",
    type=click.IntRange(0, 100),
    help="Fail when fewer of a policy's rules decided a test.",
)
@click.option("--mint", metavar="EXECUTION", help="Write tests from the records of an execution instead.")
@audit_dir_option
@library_options
@output_option("table", "json")
@click.argument("files", metavar="FILE...", nargs=-1)
def COMMAND(  # noqa: N802  # the name that every command file gives its command
    *,
    files: tuple[str, ...],
    policies: tuple[str, ...],
    min_coverage: int | None,
    mint: str | None,
    audit_dir: Path | None,
    library: tuple[str, ...],
    tenant: str | None,
    output: str,
) -> int:
    """Run the tests in each FILE: a document of tests, or a policy or boundary that holds its own.

    A document of tests names its policy, by a file beside it or a name in the library; the tests of a
    boundary are run on the policies of the library. --policy names others. Exit status 1 if a test fails.
    """
    from api.loading import UnreadableError, show_policy_error
    from api.policy_tests import NoPolicyError, run_files
    from policy.errors import PolicyError

    try:
        if mint is not None:
            return _mint(mint, files, policies, audit_dir=audit_dir, library=library, tenant=tenant)
        if not files:
            raise click.UsageError("name the files with tests")
        done = run_files(files, policies, library=library, tenant=tenant)
    except (UnreadableError, NoPolicyError) as err:
        raise click.ClickException(str(err)) from err
    except PolicyError as err:
        show_policy_error(err)
        return _BAD
    if output == "json":
        write_json(_as_json(done))
    else:
        _show(done)
    is_covered = min_coverage is None or all(each.percent >= min_coverage for each in done.coverage)
    if not is_covered:
        click.echo(f"coverage is below {min_coverage} %", err=True)
    if not done.outcomes:
        click.echo("there is no test in these files: nothing was shown", err=True)
        return _BAD
    return 0 if is_covered and all(each.is_passed for each in done.outcomes) else _BAD


def _mint(
    execution: str,
    files: tuple[str, ...],
    policies: tuple[str, ...],
    *,
    audit_dir: Path | None,
    library: tuple[str, ...],
    tenant: str | None,
) -> int:
    from api.evidence import facts_of
    from api.loading import load_plan
    from audit.filters import RecordFilter
    from policy.minting import mint

    if files or len(policies) != 1:
        raise click.UsageError("--mint takes the policy of the execution, as --policy P, and no FILE")
    with open_log(audit_dir) as reader:
        wanted = RecordFilter(execution=execution)
        if reader.execution(execution) is None:
            raise click.ClickException(f"no execution {execution} in this log")
        facts = facts_of(reader, wanted)
    plan = load_plan(policies[0], library=library, tenant=tenant, is_study=True)
    made = mint(plan, facts, source=f"execution {execution}")
    if not made.tests:
        raise click.ClickException("no record of this execution is decided by this policy as it was recorded")
    click.echo(made.text, nl=False)
    return 0


def _show(done: Tested) -> None:
    from policy.errors import printable

    for each in done.outcomes:
        name = printable(each.name)
        if each.is_passed:
            click.echo(f"ok      {name}")
            continue
        wanted = " by ".join(part for part in (each.expected, each.expected_rule) if part)
        found = " by ".join(part for part in (each.found, each.rule) if part)
        click.echo(f"FAILED  {name} ({printable(each.policy)})")
        click.echo(
            f"        expected {printable(wanted)}, found {printable(found)}: {printable(each.reason)}"
        )
        for step in each.steps:
            click.echo(f"          {printable(step)}")
    failed = sum(not each.is_passed for each in done.outcomes)
    click.echo(f"\n{len(done.outcomes)} tests, {failed} failed")
    for covered in done.coverage:
        many = len(covered.reached) + len(covered.unreached)
        click.echo(f"{printable(covered.policy)}: {len(covered.reached)} of {many} rules decided a test")
        for rule in covered.unreached:
            click.echo(f"        no test reaches {printable(rule)}")


def _as_json(done: Tested) -> dict[str, object]:
    return {
        "tests": len(done.outcomes),
        "failed": sum(not each.is_passed for each in done.outcomes),
        "outcomes": [
            {
                "name": each.name,
                "policy": each.policy,
                "is_passed": each.is_passed,
                "expected": each.expected,
                "expected_rule": each.expected_rule or None,
                "found": each.found,
                "rule": each.rule or None,
                "reason": each.reason,
                "steps": list(each.steps),
            }
            for each in done.outcomes
        ],
        "coverage": [
            {
                "policy": each.policy,
                "percent": each.percent,
                "reached": dict(each.reached),
                "unreached": list(each.unreached),
            }
            for each in done.coverage
        ],
    }
