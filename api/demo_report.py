"""What the demo shows once its run is over: a picture, what was allowed and refused, and how to look closer.

The run itself is `demo.py`. INVARIANT: everything shown comes from the plan, the receipt and the records, and
what the script wrote is inert.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from api.demo import ATTEMPTS, Attempt, Stage, is_as_expected, result_of
from api.invocation import command
from api.report import cut, outcome_line, refusal_groups, refused_count, render_group
from api.sealing import open_reader
from api.tables import render_table, write_json
from api.terminal import Paint
from api.timeline import MAX_ROWS, render_timeline, timeline
from audit.filters import RecordFilter

if TYPE_CHECKING:
    from api.settings import Settings
    from audit.receipt import Receipt
    from policy.plan import Plan
    from sandbox.runner import Execution

_SHOWN_LINES = 16
_SHOWN_COLUMNS = 110


def show(settings: Settings, stage: Stage, plan: Plan, execution: Execution, *, spent_s: float) -> None:
    """Print the report of the demo."""
    paint = Paint(sys.stdout)
    receipt = execution.receipt
    parts = [
        _head(stage, receipt, paint, spent_s),
        _picture(settings, receipt, paint),
        [paint.bold("Allowed"), *_indented(_allowed(receipt))],
        [paint.bold("Refused"), *_refused(plan, execution, paint)],
        [paint.bold("What the script tried"), *_tried(stage, execution, paint)],
        [paint.bold("What the script printed"), *_quoted(_text(execution.stdout))],
        [paint.bold(f"The job it was there for: {stage.result}"), *_quoted(result_of(stage))],
        [paint.bold("Look closer"), *_indented(_commands(settings, stage, receipt))],
    ]
    if execution.stderr:
        parts.insert(6, [paint.bold("Errors of the script"), *_quoted(_text(execution.stderr))])
    click.echo("\n\n".join("\n".join(part) for part in parts))


def show_json(stage: Stage, execution: Execution) -> None:
    """Print the same for scripts, as one line of JSON."""
    tried = [
        {"what": one.what, "rule": one.rule, "is_refused": one.is_refused(execution)} for one in ATTEMPTS
    ]
    write_json(
        {
            "is_as_expected": is_as_expected(stage, execution),
            "receipt": json.loads(execution.receipt.to_json()),
            "attempts": tried,
            "stdout": _text(execution.stdout),
            "result": result_of(stage),
        }
    )


def _head(stage: Stage, receipt: Receipt, paint: Paint, spent_s: float) -> list[str]:
    total, guest_ms = refused_count(receipt), receipt.resources.wall_ms
    rows = [
        ["  program", f"CPython for WebAssembly, {receipt.module_digest[:23]}…"],
        ["  script", f"{stage.root}/app/summarise.py, which nobody here wrote"],
        ["  policy", str(stage.policy)],
        ["  outcome", f"{outcome_line(receipt)}; {guest_ms} ms for the guest, {spent_s:.1f} s in all"],
        ["  calls", f"{receipt.resources.host_calls} host calls, each decided and recorded; {total} refused"],
    ]
    return [paint.bold("An untrusted Python script under a policy"), render_table(rows).rstrip("\n")]


def _picture(settings: Settings, receipt: Receipt, paint: Paint) -> list[str]:
    with open_reader(settings.audit_dir) as reader:
        picture = timeline(reader.stream(RecordFilter(execution=receipt.execution_id), limit=MAX_ROWS + 1))
    is_unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    first, *rest = render_timeline(picture, paint=paint, is_unicode=is_unicode)
    return [paint.bold(first[0].upper() + first[1:]), *rest]


def _allowed(receipt: Receipt) -> list[str]:
    counts = [f"{item.call} {item.count}" for item in receipt.calls if item.decision == "allow"]
    lines: list[str] = []
    for text in counts:
        if lines and len(lines[-1]) + len(text) + 3 <= _SHOWN_COLUMNS - 2:
            lines[-1] += f", {text}"
        else:
            lines[-1:] = [*(f"{last}," for last in lines[-1:]), text]
    return lines


def _refused(plan: Plan, execution: Execution, paint: Paint) -> list[str]:
    groups = refusal_groups(plan, execution.refused)
    return [line for group in groups for line in render_group(group, paint)]


def _tried(stage: Stage, execution: Execution, paint: Paint) -> list[str]:
    lines = [_verdict(attempt, execution, paint) for attempt in ATTEMPTS]
    lines += [
        f"  {paint('empty  ', 'yellow')} look for secrets in the environment: it finds REGION alone",
        f"  {paint('unasked', 'yellow')} open /etc/passwd by its name, make a socket: its own C library has",
        "          no mount and no host call for that, so the host was never asked",
    ]
    mark = (
        paint("as expected", "green") if is_as_expected(stage, execution) else paint("NOT as expected", "red")
    )
    return [*lines, f"  {mark}"]


def _verdict(attempt: Attempt, execution: Execution, paint: Paint) -> str:
    if attempt.is_refused(execution):
        return f"  {paint('refused', 'green')} {attempt.what}: rule {attempt.rule}"
    return f"  {paint('NOT SEEN', 'red')} {attempt.what}: expected a refusal by rule {attempt.rule}"


def _text(output: bytes) -> str:
    return output.decode("utf-8", "backslashreplace")


def _quoted(text: str) -> list[str]:
    lines = text.splitlines()
    more = [f"  | and {len(lines) - _SHOWN_LINES} more lines"] if len(lines) > _SHOWN_LINES else []
    return [f"  | {cut(line, _SHOWN_COLUMNS)}" for line in lines[:_SHOWN_LINES]] + more or ["  | nothing"]


def _commands(settings: Settings, stage: Stage, receipt: Receipt) -> list[str]:
    log = ("--audit-dir", str(settings.audit_dir))
    explained = ("--call", "path_open", "--target", "/in/payroll.xlsx")
    return [
        f"cat {stage.receipt}",
        command("audit", "show", *log, receipt.execution_id),
        command("audit", "query", *log, "--execution", receipt.execution_id, "--decision", "deny"),
        command(
            "audit", "query", *log, "--execution", receipt.execution_id, "--path-prefix", f"{stage.root}/in"
        ),
        command("policy", "explain", str(stage.policy), *explained),
    ]


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines]
