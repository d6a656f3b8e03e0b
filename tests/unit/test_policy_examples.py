"""The library in `policies/`: each document is clean, formatted, inside its boundary, and tested rule by rule.

Bad examples carry the findings that they must produce; what happens when examples are run is checked by
`tests/integration/test_library_runs.py`.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

from api.library import Folder, Library, load_library
from api.policy_tests import run_files
from policy import check_policy, compile_policy, load_document
from policy.checks import CHECKS, SITUATIONAL_CHECKS
from policy.decide import Allow, Deny, decide
from policy.errors import Finding, PolicyError
from policy.fmt import format_document
from policy.plan import Plan, Right, RuleKind
from policy.subject import Subject

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "policies"
EXAMPLES = sorted((LIBRARY / "examples").glob("*.yaml"))
BAD = sorted((LIBRARY / "examples/bad").glob("*.yaml"))
BASELINES = sorted((LIBRARY / "baselines").glob("*.yaml"))
BOUNDARIES = sorted((LIBRARY / "boundaries").glob("*.yaml"))
TESTS = sorted((LIBRARY / "tests").glob("*.yaml"))
GOOD = [*EXAMPLES, *BASELINES, *BOUNDARIES, *TESTS]

NOW = 1_790_000_000 * 10**9  # September 2026
NOT_YET = {"not-enforceable-yet"}
EXPECTED = {
    "classifier.yaml": NOT_YET,
    "crm-connector.yaml": NOT_YET,
    # a module of anybody, and whatever Python somebody has at hand: their comments say so
    "compute-only.yaml": {"no-digest", "unsure-boundary"},
    "python-script.yaml": {"no-digest"},
}
"""Findings that a good example has, and nothing else."""

ELSEWHERE = {
    "relative-baseline": "a bad baseline in the folder would be an error for everybody: tested below",
    "leads-elsewhere": "depends on links on a disk: tests/unit/test_policy_checks.py",
}
"""Checks that no bad example shows."""

INHERITED = {
    "compute-only.yaml": "pure-compute",
    "crm-connector.yaml": "http-client",
    "classifier.yaml": "ml-inference",
    "javascript-report.yaml": "interpreter-javascript",
    "pll-generator.yaml": "command-line-tool",
    "python-job.yaml": "interpreter-python",
    "report-transform.yaml": "data-transform",
}
OWN = {RuleKind.ALLOW, RuleKind.DENY, RuleKind.TEMPORAL}


def named(path: Path) -> str:
    return path.relative_to(LIBRARY).as_posix()


@functools.cache
def library() -> Library:
    return load_library((Folder(LIBRARY, "policies"),))


def findings(path: Path, tenant: str | None = None, *, is_stored: bool = True) -> tuple[Finding, ...]:
    try:
        return check_policy(
            load_document(path.read_bytes(), file=named(path)),
            base_dir="/srv/jobs",
            now_ns=NOW,
            is_stored=is_stored,
            bundle=library().bundle,
            subject=Subject(tenant=tenant),
        )
    except PolicyError as err:
        return err.findings


def plan_of(name: str, tenant: str | None = None) -> Plan:
    return compile_policy(
        load_document((LIBRARY / "examples" / name).read_bytes(), file=name),
        base_dir="/srv/jobs",
        now_ns=NOW,
        is_stored=True,
        bundle=library().bundle,
        subject=Subject(tenant=tenant),
        is_study=True,
    )


# --- good documents ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EXAMPLES, ids=named)
def test_each_example_has_no_finding_but_those_that_it_must_have(path):
    assert {finding.id for finding in findings(path)} == EXPECTED.get(path.name, set())


@pytest.mark.parametrize("path", EXAMPLES, ids=named)
def test_each_example_makes_a_plan_for_each_of_its_tenants(path):
    text = path.read_bytes()
    match = load_document(text, file=path.name).model.match
    assert match is not None
    for tenant in match.tenant or ("acme", "globex", "default"):
        assert plan_of(path.name, tenant).may_run == (EXPECTED.get(path.name) != NOT_YET)


def test_the_example_for_everybody_lies_inside_the_boundary_of_each_tenant():
    for tenant in ("acme", "offline-lab"):
        found = findings(LIBRARY / "examples/compute-only.yaml", tenant)
        assert {finding.id for finding in found} == {"no-digest"}


@pytest.mark.parametrize("path", BASELINES, ids=named)
def test_each_baseline_is_clean_and_has_an_example(path):
    assert {finding.id for finding in findings(path, "default", is_stored=False)} <= NOT_YET
    heirs = [name for name, baseline in INHERITED.items() if baseline == path.stem]
    assert len(heirs) == 1
    assert f"extends: [baseline/{path.stem}]" in (LIBRARY / "examples" / heirs[0]).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", GOOD, ids=named)
def test_each_document_is_formatted(path):
    text = path.read_text(encoding="utf-8")
    assert text == format_document(text.encode(), file=path.name)


@pytest.mark.parametrize("path", [*EXAMPLES, *BASELINES, *BOUNDARIES], ids=named)
def test_each_document_is_named_in_the_readme(path):
    assert f"`policies/{named(path)}`" in (LIBRARY / "README.md").read_text(encoding="utf-8")


# --- their tests ---------------------------------------------------------------------------------------


@pytest.fixture
def away(tmp_path, monkeypatch):
    """No settings of whoever runs the tests."""
    monkeypatch.setenv("WASMGATE_HOME", str(tmp_path))


def test_all_tests_pass_and_reach_every_rule_of_every_example(away):
    done = run_files([*map(str, EXAMPLES), *map(str, TESTS)], (), library=[str(LIBRARY)], tenant=None)
    assert [each for each in done.outcomes if not each.is_passed] == []
    tested = {each.policy for each in done.outcomes}
    assert tested == {path.stem for path in EXAMPLES}
    unreached = {each.policy: set(each.unreached) for each in done.coverage}
    for path in EXAMPLES:
        own = {str(rule.id) for rule in plan_of(path.name).rules if rule.kind in OWN}
        assert own & unreached[path.stem] == set(), path.name


def test_the_tests_of_boundaries_pass(away):
    done = run_files([*map(str, BOUNDARIES)], (), library=[str(LIBRARY)], tenant=None)
    assert [each for each in done.outcomes if not each.is_passed] == []
    assert {each.policy for each in done.outcomes} >= {"csv-cleaner", "crm-connector", "javascript-report"}


@pytest.mark.parametrize(
    ("example", "target", "wants", "is_allowed"),
    [
        ("csv-cleaner.yaml", "/in/x/a.csv", Right.READ, True),
        ("csv-cleaner.yaml", "/in/x/a.txt", Right.READ, False),
        ("csv-cleaner.yaml", "/in/.x/a.csv", Right.READ, False),
        ("csv-cleaner.yaml", "/out/a.csv", Right.CREATE | Right.WRITE, True),
        ("csv-cleaner.yaml", "/out/a.csv", Right.DELETE, False),
        ("python-script.yaml", "/app/main.py", Right.READ, True),
        ("python-script.yaml", "/app/other.py", Right.READ, False),
        ("python-script.yaml", "/in/a.csv", Right.READ, True),
        ("python-script.yaml", "/in/my-secret-keys/a.csv", Right.READ, False),
        ("python-script.yaml", "/out/a.csv", Right.WRITE, True),
        ("python-script.yaml", "/out/a.csv", Right.READ, False),
        ("pll-generator.yaml", "/generated/pll.v", Right.CREATE | Right.WRITE, True),
        ("pll-generator.yaml", "/generated/pll.v", Right.READ, False),
        ("javascript-report.yaml", "/in/data/a.json", Right.READ, True),
        ("javascript-report.yaml", "/in/data/a.json", Right.WRITE, False),
        ("compute-only.yaml", "/etc/passwd", Right.READ, False),
    ],
)
def test_an_example_grants_what_it_says(example, target, wants, is_allowed):
    decision = decide(plan_of(example), "path_open", target=target, wants=wants)
    assert isinstance(decision, Allow if is_allowed else Deny)


def test_the_compute_only_example_has_no_clock_and_no_randomness():
    plan = plan_of("compute-only.yaml")
    for call, target in (("random_get", None), ("clock_time_get", "wall"), ("clock_time_get", "monotonic")):
        assert isinstance(decide(plan, call, target=target), Deny)


# --- bad documents -------------------------------------------------------------------------------------


def expected(path: Path) -> list[tuple[int, str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return sorted(
        (number, finding)
        for number, line in enumerate(lines, 1)
        for names in re.findall(r"# expect: (.+)", line)
        for finding in names.split(", ")
    )


def test_there_is_a_bad_example_beside_each_good_one():
    assert [path.name for path in BAD] == [path.name for path in EXAMPLES]


@pytest.mark.parametrize("path", BAD, ids=named)
def test_a_bad_example_has_the_findings_that_it_expects_and_no_other(path):
    found = findings(path)
    assert sorted((finding.line, finding.id) for finding in found) == expected(path)
    assert {finding.file for finding in found} == {named(path)}


def test_the_bad_examples_show_every_check():
    shown = {finding for path in BAD for _, finding in expected(path)}
    assert {check.ID for check in (*CHECKS, *SITUATIONAL_CHECKS)} - shown == ELSEWHERE.keys()
    assert shown >= {
        "unknown-key", "missing-key", "wrong-type", "bad-quantity", "bad-path", "bad-host", "bad-placeholder",
        "duplicate-id", "dead-rule", "outside-boundary", "unknown-baseline", "unsure-boundary",
    }  # fmt: skip


def test_a_baseline_with_a_path_of_its_own_folder_is_found():
    text = (
        "version: 1\nkind: Baseline\nmetadata: {name: b}\npermissions: {storage: {deny: [{uri: 'fs:./x'}]}}\n"
    )
    found = check_policy(load_document(text.encode(), file="b.yaml"), base_dir="/", now_ns=None)
    assert [(finding.line, finding.id) for finding in found] == [(4, "relative-baseline")]
