"""The generated pages about documents: every field and every finding, each with an example that is tried."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from policy.catalogue import MEANINGS
from policy.checks import CHECKS, SITUATIONAL_CHECKS
from tests import reference_fields, reference_findings
from tests.reference_findings import EXAMPLES, ids

ROOT = Path(__file__).resolve().parents[2]
WORD = re.compile(r"[a-z]+(-[a-z0-9]+)*")
# Where each of these takes the id of a finding.
MAKERS = {"finding": 0, "report": 0, "stop": 0, "fault": 0, "Finding": 0, "finding_at": 3, "_quantity": 0, "_pattern": 0, "_text": 0, "_report": 0, "_unknown": 2}  # fmt: skip
NAMES = {"ID", "_MORE", "rule"}


def emitted(tree: ast.AST) -> set[str]:
    """The ids that a module gives to findings."""
    found: list[ast.expr] = []
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=args, keywords=others) if (
                name in MAKERS
            ):
                found += [
                    *args[MAKERS[name] : MAKERS[name] + 1],
                    *(each.value for each in others if each.arg == "id"),
                ]
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in NAMES:
                found += [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]
            case _:
                pass
    texts = [each.value for each in found if isinstance(each, ast.Constant)]
    return {text for text in texts if isinstance(text, str) and WORD.fullmatch(text)}


def test_the_page_of_fields_is_current(golden):
    golden("../../docs/reference/policy-fields.md", reference_fields.page())


def test_the_page_of_findings_is_current(golden):
    golden("../../docs/reference/findings.md", reference_findings.page())


@pytest.mark.parametrize("kind", reference_fields.TEXTS)
def test_each_field_has_its_heading(kind):
    page = reference_fields.page()
    missing = [path for path, _, _ in reference_fields.fields(kind) if f"\n### `{path}`\n" not in page]
    assert missing == []


def test_each_finding_that_can_be_made_has_its_heading_and_no_other():
    files = [*(ROOT / "policy").rglob("*.py"), ROOT / "api/checking.py"]
    found = set[str]().union(*(emitted(ast.parse(path.read_text(encoding="utf-8"))) for path in files))
    found -= {"schemes", "never", "private", "listen"}  # keys of a ceiling, in `policy/network/ceiling.py`
    assert found == set(MEANINGS)
    page = reference_findings.page()
    assert [rule for rule in MEANINGS if f"\n### {rule}\n" not in page] == []


def test_an_id_is_found_where_it_is_made():
    code = "ID = 'a-b'\nrule = 'c' if x else 'd'\nsource.finding('e', path)\nfinding_at(f, l, s, 'g')\nFinding(id='h')\nprint('i')"
    assert emitted(ast.parse(code)) == {"a-b", "c", "d", "e", "g", "h"}


@pytest.mark.parametrize("check", [*CHECKS, *SITUATIONAL_CHECKS], ids=lambda check: check.ID)
def test_each_lint_says_what_it_finds_and_why(check):
    page = reference_findings.page()
    assert check.SUMMARY in page
    assert check.WHY in page


@pytest.mark.parametrize("rule", EXAMPLES)
def test_the_bad_example_has_the_finding_and_the_good_one_has_none_of_it(rule):
    bad, good = EXAMPLES[rule]
    assert rule in ids(bad)
    assert rule not in ids(good)
    assert "error" not in [
        each.severity for each in reference_findings.findings(good) if each.id != "not-enforceable-yet"
    ]
