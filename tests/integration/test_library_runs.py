"""Shipped examples run on the guests they are for: what is allowed works, and one forbidden thing is refused.

They run by the command line, with the library around them: baselines are merged and boundaries hold. What each
policy says about single calls is tested by `tests/unit/test_policy_examples.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands import ROOT, Done, Shell
from tests.programs import program


@pytest.fixture
def srv(shell: Shell) -> Path:
    """A copy of the library in the shell's folder, whose `/srv` is a folder of the test."""
    srv = shell.folder / "srv"
    for path in (ROOT / "policies").rglob("*.yaml"):
        if path.parent.name == "bad":
            continue
        copy = shell.folder / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text(encoding="utf-8").replace("fs:///srv/", f"fs://{srv}/"))
    return srv


def keep(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def run(shell: Shell, example: str, guest: str, *args: str, tenant: str) -> Done:
    words = (
        "--library",
        "policies",
        "--tenant",
        tenant,
        "--audit-dir",
        shell.log,
        "--receipt",
        "receipt.json",
    )
    policy = f"policies/examples/{example}.yaml"
    return shell("run", "--policy", policy, *words, "--quiet", program(guest), "--", *args)


def refused(shell: Shell) -> set[tuple[str, str]]:
    """Calls that were refused, and the rules that did it."""
    return {(each["call"], each["rule"]) for each in shell.receipt()["refusals"]}


def test_a_module_that_computes_prints_and_makes_no_file(shell, srv):
    settings = ("-i", "12", "-o", "60")
    done = run(shell, "compute-only", "icepll", *settings, tenant="acme")
    assert done.status == 0, done.said
    assert "F_PLLOUT:   60.000 MHz (achieved)" in done.text
    assert shell.receipt()["refusals"] == []
    other = run(shell, "compute-only", "icepll", *settings, "-f", "/pll.v", tenant="acme")
    assert other.status != 0


REPORT = """
import * as std from "qjs:std";
import * as os from "qjs:os";
const rows = os.readdir("/in/data")[0].filter(name => name.endsWith(".json")).sort();
const total = rows.map(name => JSON.parse(std.loadFile("/in/data/" + name)).n).reduce((a, b) => a + b, 0);
const part = std.open("/scratch/part.txt", "w");
part.puts(String(total));
part.close();
print(std.loadFile("/scratch/part.txt"), std.loadFile("/in/notes.txt"), std.open("/in/data/a.json", "w"), Math.random());
"""


def test_a_script_reports_on_data_that_stays_where_it_is(shell, srv):
    folder = srv / "input/offline-lab"
    keep(folder, main_js=REPORT, data__a_json='{"n": 40}', data__b_json='{"n": 2}', notes_txt="private")
    done = run(shell, "javascript-report", "quickjs", tenant="offline-lab")
    assert done.status == 0, done.said
    assert done.text.startswith("42 null null 0.")
    assert ("path_open", "default") in refused(shell)
    assert (folder / "data/a.json").read_text() == '{"n": 40}'
    again = run(shell, "javascript-report", "quickjs", tenant="offline-lab")
    assert again.text == done.text


def test_the_caller_cannot_turn_the_script_into_another(shell, srv):
    keep(srv / "input/offline-lab", main_js="print(1)")
    done = run(shell, "javascript-report", "quickjs", "-e", "print(2)", tenant="offline-lab")
    assert (done.status, done.out) == (125, b"")


JOB = """
import csv
total = sum(int(row["n"]) for row in csv.DictReader(open("/in/may.csv")))
open("/out/sum.csv", "w").write(f"total\\n{total}\\n")
for path in ("/in/passwords.txt", "/out/sum.csv", "/in/__pycache__/x.csv"):
    try:
        print(open(path).read())
    except OSError as err:
        print("refused", path)
"""


@pytest.mark.timeout(180)
def test_a_tenants_job_runs_on_its_own_uploads(shell, srv):
    folder = srv / "uploads/acme"
    keep(folder / "in", may_csv="n\n40\n2\n", passwords_txt="x")
    keep(folder / "in/__pycache__", x_csv="n\n1\n")
    keep(folder, job__main_py=JOB)
    (folder / "out").mkdir()
    done = run(shell, "python-job", "cpython", tenant="acme")
    assert done.status == 0, done.said
    assert done.text.splitlines() == [
        "refused /in/passwords.txt", "refused /out/sum.csv", "refused /in/__pycache__/x.csv",
    ]  # fmt: skip
    assert (folder / "out/sum.csv").read_text() == "total\n42\n"
    assert refused(shell) >= {("path_open", "default"), ("path_open", "no-bytecode-files")}


def test_a_job_is_not_run_for_a_tenant_that_it_is_not_for(shell, srv):
    keep(srv / "uploads/initech", job__main_py="print(1)")
    done = run(shell, "python-job", "cpython", tenant="initech")
    assert (done.status, done.out) == (125, b""), done.said


def test_a_tool_writes_the_file_that_the_build_asks_for(shell, srv):
    generated = shell.folder / "policies/examples/generated"
    generated.mkdir()
    settings = ("-i", "12", "-o", "60", "-f")
    done = run(shell, "pll-generator", "icepll", *settings, "/generated/pll.v", tenant="default")
    assert done.status == 0, done.said
    assert "SB_PLL40_CORE" in (generated / "pll.v").read_text()
    assert shell.receipt()["refusals"] == []
    other = run(shell, "pll-generator", "icepll", *settings, "/generated/Makefile", tenant="default")
    assert other.status != 0
    assert refused(shell) == {("path_open", "default")}
    assert [path.name for path in generated.iterdir()] == ["pll.v"]


def test_another_module_than_the_reviewed_one_is_not_run(shell, srv):
    done = run(shell, "pll-generator", "icepack", "--help", tenant="default")
    assert (done.status, done.out) == (125, b"")
    assert json.loads((shell.folder / "receipt.json").read_text())["outcome"]["kind"] == "refused"


def test_findings_of_a_bad_example_are_told_as_sarif(shell):
    bad = ROOT / "policies/examples/bad/python-script.yaml"
    done = shell.ask("policy", "check", bad, "--library", ROOT / "policies", "--output", "sarif")
    assert done.status == 0  # they are warnings
    (found,) = done.json["runs"]
    places = [each["locations"][0]["physicalLocation"]["region"]["startLine"] for each in found["results"]]
    text = bad.read_text(encoding="utf-8").splitlines()
    assert places
    assert all("# expect: " in text[line - 1] for line in places)
