"""`wasmgate policy simulate`: recorded calls replayed on a policy that did not decide them.

What becomes of each call is found in `policy.simulate`, what the log says in `api.evidence`. INVARIANT: with
`--fail-on-refusal` the exit status is 0 only if something was compared and none of it would be refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from api.library_options import library_options
from api.record_options import execution_options, filter_of, open_log
from api.studying import plan_to_study
from api.tables import output_option, write_json, write_rows

if TYPE_CHECKING:
    from pathlib import Path

    from policy.simulate import Change, Example, Simulation

_BAD = 1
_COLUMNS = ("records", "call", "target", "access", "recorded", "would be", "evidence")
_WANTED = "`all`, the id of an execution, `module=NAME`, `since=TIME` or `until=TIME`"


@click.command(name="simulate", short_help="Replay recorded calls on a policy.")
@click.option("--executions", metavar="FILTER", multiple=True, help=f"Which records: {_WANTED}.")
@execution_options
@library_options
@click.option(
    "--fail-on-refusal",
    is_flag=True,
    help="Exit status 1 if a call that happened would be refused, a limit exceeded, or no record fits.",
)
@output_option("table", "json")
@click.argument("file", metavar="POLICY")
def COMMAND(  # noqa: N802  # the name that every command file gives its command
    *,
    file: str,
    executions: tuple[str, ...],
    audit_dir: Path | None,
    library: tuple[str, ...],
    tenant: str | None,
    fail_on_refusal: bool,
    output: str,
    **wanted: str | None,
) -> int:
    """Say which recorded calls POLICY would refuse, allow, or can't be told.

    Nothing is run: what the log holds is compared with what POLICY says of the same calls.
    """
    plan = plan_to_study(file, library, tenant)
    if plan is None:
        return _BAD
    chosen = _chosen(executions, wanted)
    with open_log(audit_dir) as reader:
        from api.evidence import columns_of
        from policy.simulate import simulate

        found = simulate(plan, columns_of(reader, filter_of(chosen)))
    if output == "json":
        write_json(_as_json(found))
    else:
        _show(found)
    if not found.records:
        click.echo("no record was compared: nothing was shown", err=True)
    # SECURITY: a call beyond a budget happened as well, and would not; a name that is mistyped fits no record
    is_shown = found.records and not found.newly_refused and not found.exceeded
    return _BAD if fail_on_refusal and not is_shown else 0


def _chosen(executions: tuple[str, ...], wanted: dict[str, str | None]) -> dict[str, str | None]:
    """What `--executions` says, put together with the other options."""
    found = dict(wanted)
    keys = {"module": "module", "since": "from_", "until": "to"}
    if not executions and not any(found.values()):
        raise click.UsageError(f"say which records: --executions is {_WANTED}")
    for text in executions:
        name, split, value = text.partition("=")
        key, value = (keys.get(name, ""), value) if split else ("execution", text)
        if not key or not value:
            raise click.UsageError(f"--executions: expected {_WANTED}")
        if text != "all" and found.get(key) not in {None, value}:
            raise click.UsageError("--executions: one execution, one module and one span of time at a time")
        if text != "all":
            found[key] = value
    return found


def _show(found: Simulation) -> None:
    from policy.simulate import Verdict

    click.echo(
        f"{found.records} records: {found.unchanged} unchanged, {found.newly_refused} would be refused,"
        f" {found.newly_allowed} would be allowed, {found.unknown} unknown"
    )
    parts = (
        ("would be refused", [each for each in found.changes if each.is_refusal]),
        ("would be allowed", [each for each in found.changes if each.is_grant]),
        ("unknown", [each for each in found.changes if each.verdict is Verdict.UNKNOWN]),
    )
    for title, changes in parts:
        if changes:
            click.echo(f"\n{title}:")
            write_rows([_row(each) for each in changes], columns=_COLUMNS, output="table")
    if found.exceeded:
        click.echo("\nlimits that executions would exceed:")
        columns = ("limit", "allowed", "executions", "most", "evidence")
        rows = [
            {
                "limit": each.limit,
                "allowed": f"{each.allowed} {each.what}",
                "executions": each.executions,
                "most": each.examples[0][1],
                "evidence": each.examples[0][0],
            }
            for each in found.exceeded
        ]
        write_rows(rows, columns=columns, output="table")
    for note in found.notes:
        click.echo(f"note: {note}", err=True)


def _row(change: Change) -> dict[str, object]:
    example = change.examples[0]
    words = (change.recorded, change.recorded_rule), (change.verdict.name.lower(), change.rule)
    recorded, verdict = (" by ".join(part for part in pair if part) for pair in words)
    return {
        "records": change.count,
        "call": change.call,
        "target": example.target,
        "access": ", ".join(_rights(example)) or None,
        "recorded": recorded,
        "would be": verdict,
        "evidence": example.evidence,
    }


def _rights(example: Example) -> list[str]:
    return [str(right.name).lower() for right in example.wants]


def _as_json(found: Simulation) -> dict[str, object]:
    return {
        "policy": found.policy,
        "plan_digest": found.plan_digest,
        "records": found.records,
        "unchanged": found.unchanged,
        "newly_refused": found.newly_refused,
        "newly_allowed": found.newly_allowed,
        "unknown": found.unknown,
        "changes": [_change_as_json(each) for each in found.changes],
        "exceeded": [
            {
                "limit": each.limit,
                "allowed": each.allowed,
                "unit": each.what,
                "executions": each.executions,
                "examples": [{"execution": name, "used": used} for name, used in each.examples],
            }
            for each in found.exceeded
        ],
        "notes": list(found.notes),
    }


def _change_as_json(change: Change) -> dict[str, object]:
    return {
        "module": change.module,
        "call": change.call,
        "recorded": change.recorded,
        "recorded_rule": change.recorded_rule or None,
        "verdict": change.verdict.name.lower(),
        "rule": change.rule or None,
        "is_refusal": change.is_refusal,
        "is_grant": change.is_grant,
        "records": change.count,
        "examples": [
            {
                "target": each.target,
                "target2": each.target2,
                "access": _rights(each),
                "evidence": each.evidence,
            }
            for each in change.examples
        ],
    }
