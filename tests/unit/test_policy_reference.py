"""The page about policy documents: what it says of kinds, rights, rules and built-in denials is all there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from policy import fixed
from policy.builtin_denies import BUILTIN_DENIES
from policy.document import MODELS, load_document
from policy.network.builtins import builtin_rules
from policy.placeholders import NAMES
from policy.plan import RIGHTS, Mode
from policy.schema_temporal import When

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/reference/policy.md").read_text(encoding="utf-8")
FIRST_CELLS = {
    word
    for line in PAGE.splitlines()
    if line.startswith("| `")
    for word in re.findall(r"`([^`]+)`", line.split(" | ")[0])
}


def test_each_kind_mode_right_and_trigger_has_its_row():
    assert set(MODELS) <= FIRST_CELLS
    assert {mode.value for mode in Mode} <= FIRST_CELLS
    assert {str(right.name).lower() for right in RIGHTS} <= FIRST_CELLS
    assert set(When.model_fields) <= FIRST_CELLS


def test_each_standing_rule_has_its_row():
    rules = {str(rule.id) for rule in (*fixed.FIXED_RULES, *builtin_rules())} | {
        str(deny.id) for deny in BUILTIN_DENIES
    }
    rules |= {str(value) for name, value in vars(fixed).items() if name.isupper() and isinstance(value, str)}
    assert rules - {"default"} <= FIRST_CELLS


def test_each_row_of_a_built_in_rule_is_one():
    rules = {str(rule.id) for rule in builtin_rules()} | {str(deny.id) for deny in BUILTIN_DENIES}
    assert {cell for cell in FIRST_CELLS if cell.startswith("builtin.")} == rules


@pytest.mark.parametrize("deny", BUILTIN_DENIES, ids=lambda deny: deny.id)
def test_each_built_in_denial_lists_its_paths(deny):
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{deny.id}`")]
    assert re.findall(r"`(/[^`]+)`", row) == [f"/{glob}" for glob in deny.globs]


def test_each_placeholder_is_named():
    assert [name for name in NAMES if f"`${{{name}}}`" not in PAGE] == []


def test_the_example_of_the_page_is_a_policy():
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert load_document(example.encode(), file="page").model.metadata.name == "csv-cleaner"
