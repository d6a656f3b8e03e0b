"""`wasmgate policy learn`: the least policy under which recorded runs pass, as a draft to review.

What is learned from is gathered in `api/learning.py`, and decided in `policy/learn/`. INVARIANT: the draft
goes to standard output or to a file that was not there, and what it leaves out is told on standard error.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.library_options import library_options
from api.record_options import not_recorded, question_here
from api.tables import output_option, write_json

if TYPE_CHECKING:
    from policy.learn import Draft

_BAD = 1


@click.command("learn", short_help="Draft the least policy under which recorded runs pass.")
@click.option("--from", "executions", metavar="ID", multiple=True, required=True, help="An execution.")
@click.option("--policy", metavar="FILE", help="The policy to extend, best the one that the runs used.")
@click.option("--boundary", metavar="FILE", multiple=True, help="A boundary to stay in, whatever it matches.")
@click.option("--audit-dir", metavar="DIR", type=click.Path(path_type=Path), help="Folder of the log.")
@click.option(
    "--write",
    "target",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write the draft to a new file.",
)
@output_option("yaml", "json")
@library_options
@click.argument("more", nargs=-1, metavar="[ID]...")
def COMMAND(  # noqa: N802  # the name that every command file gives its command
    *,
    executions: tuple[str, ...],
    more: tuple[str, ...],
    policy: str | None,
    boundary: tuple[str, ...],
    audit_dir: Path | None,
    target: Path | None,
    output: str,
    library: tuple[str, ...],
    tenant: str | None,
) -> int:
    """Print the least policy under which these executions pass; exit status 1 if it is not valid yet.

    Learn from runs that were refused things: start with a policy in mode `learn`, run the program, learn, run
    it with the draft, and learn again from all of the runs, until nothing is refused.
    """
    from api.learning import Lesson, gather, opened_log
    from api.loading import UnreadableError, show_policy_error
    from audit.errors import AuditError
    from policy.errors import PolicyError
    from policy.learn import LearnError, learn

    lesson = Lesson(
        executions=executions + more, start=policy, boundaries=boundary, library=library, tenant=tenant
    )
    try:
        with opened_log(audit_dir, question_here(), on_failure=not_recorded) as (reader, reading):
            material = gather(lesson, reader)
            reading.rows = sum(len(run.facts) for run in material.runs)
        draft = learn(material)
        if target is not None:
            _write(target, draft.text)
    except (UnreadableError, AuditError, LearnError) as err:
        raise click.ClickException(str(err)) from err
    except PolicyError as err:
        show_policy_error(err)
        return _BAD
    if output == "json":
        write_json(_as_json(draft))
    elif target is None:
        click.echo(draft.text, nl=False)
    _report(draft)
    return _BAD if draft.has_errors else 0


def _write(target: Path, text: str) -> None:
    from api.loading import UnreadableError

    try:
        with target.open("x", encoding="ascii") as file:
            file.write(text)
    except OSError as err:
        problem = (err.strerror or "cannot be written").lower()
        raise UnreadableError("draft", str(target), problem) from err


def _report(draft: Draft) -> None:
    """What is not in the draft, on standard error."""
    from api.loading import show_findings
    from audit.inert import inert
    from policy.learn import told

    for line in told(draft):
        click.echo(inert(line), err=True)
    show_findings(draft.findings, sys.stderr)


def _as_json(draft: Draft) -> dict[str, object]:
    from policy.learn import rule_as_json

    return {
        "policy": draft.text,
        "is_final": draft.is_final,
        "is_valid": not draft.has_errors,
        "rules": [rule_as_json(rule) for rule in draft.rules],
        "not_generalised": [
            {"what": each.where, "why": each.why, "instead": each.instead} for each in draft.refused
        ],
        "not_learned": [
            {
                "what": each.what,
                "why": each.why,
                "calls": seen.calls,
                "runs": len(seen.runs),
                "first": seen.first,
            }
            for each, seen in draft.not_learned
        ],
        "notes": list(draft.notes),
        "still_refused": list(draft.still_refused),
        "cannot_be_learned": list(draft.cannot),
        "findings": [each.render() for each in draft.findings],
    }
