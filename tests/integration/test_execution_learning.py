"""Runs in mode learn, and plans that are for study: what is refused is on record, and what may not run does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from audit.receipt import OutcomeKind
from policy import Plan
from tests.documents import boundary, compiled, policy
from tests.runs import HELLO, exited, guest

OPEN = guest(
    """(if (i32.eqz (call $path_open (i32.const 3) (i32.const 0) (i32.const 900) (i32.const 1) (i32.const 0)
         (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 512))) (then (unreachable)))""",
    uses="path_open", fields='(data (i32.const 900) "f")',
)  # fmt: skip
"""Opens `f` in its first directory, and traps if that works."""


def learning(root: Path) -> Plan:
    ceiling = boundary("c", f"ceiling: {{storage: {{roots: ['fs://{root}/**'], access: [read]}}}}")
    return compiled(policy("mode: learn"), ceiling)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_refusal_in_the_root_of_a_boundary_is_recorded_with_its_path(log, tmp_path, is_there):
    root = tmp_path.resolve() / "root"
    if is_there:
        root.mkdir()
        (root / "f").write_text("secret")
    done = log.run(OPEN, learning(root))
    assert done.receipt.outcome == exited()
    (row,) = [row for row in log.check(done) if str(row["call"]).endswith("path_open")]
    assert (row["decision"], row["rule_id"], row["target"]) == ("deny", "default", f"{root}/f")
    assert not (root.exists() and not is_there)
    assert list((tmp_path / "scratch").glob("*-*")) == []


def test_the_same_file_is_read_where_a_rule_grants_it(log, tmp_path):
    root = tmp_path.resolve() / "root"
    root.mkdir()
    (root / "f").write_text("open")
    rule = f"permissions: {{storage: {{allow: [{{uri: 'fs://{root}/**', access: [read]}}]}}}}"
    done = log.run(OPEN, compiled(policy("mode: learn\n" + rule)))
    assert done.receipt.outcome.kind is OutcomeKind.TRAPPED


def test_a_plan_for_study_is_refused_and_the_same_that_accepts_it_runs(log):
    text = "permissions: {nn: {max_calls: 1}}"
    study = compiled(policy(text), is_study=True)
    done = log.run(HELLO, study)
    assert done.receipt.outcome.kind is OutcomeKind.REFUSED
    assert "permissions.nn" in str(done.receipt.outcome.message)
    accepted = compiled(policy(text + "\nwhen_unenforceable: warn"))
    done = log.run(HELLO, accepted)
    assert done.receipt.outcome == exited()
    assert done.receipt.unenforced == ("permissions.nn",)
    assert log.run(HELLO, replace(study, may_run=True)).receipt.outcome == exited()
