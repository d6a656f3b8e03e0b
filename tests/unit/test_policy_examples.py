"""The example policies: each compiles without a finding, and grants what its comments say."""

from __future__ import annotations

from pathlib import Path

import pytest

from policy import check_policy, compile_policy, load_document
from policy.decide import Allow, Deny, decide
from policy.plan import Plan, Right

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "policies/examples").glob("*.yaml"))
EXPECTED_WARNINGS = {"compute-only.yaml": {"no-digest"}, "python-script.yaml": {"no-digest"}}


def plan_of(name: str) -> Plan:
    text = (ROOT / "policies/examples" / name).read_bytes()
    return compile_policy(load_document(text, file=name), base_dir="/srv/jobs", now_ns=None, is_stored=True)


def test_there_are_examples():
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_each_example_compiles(path):
    document = load_document(path.read_bytes(), file=path.name)
    findings = check_policy(document, base_dir="/srv/jobs", now_ns=None, is_stored=True)
    assert {finding.id for finding in findings} == EXPECTED_WARNINGS.get(path.name, set())
    assert compile_policy(document, base_dir="/srv/jobs", now_ns=None, is_stored=True).name


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_each_example_is_named_in_the_readme(path):
    assert f"`policies/examples/{path.name}`" in (ROOT / "policies/README.md").read_text(encoding="utf-8")


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
