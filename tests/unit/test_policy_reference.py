"""The reference page of policies: each field, check, rule and right stands in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from policy import fixed
from policy.builtin_denies import BUILTIN_DENIES
from policy.checks import CHECKS, SITUATIONAL_CHECKS
from policy.document import _model_in, load_document
from policy.plan import RIGHTS
from policy.schema import LimitsSection, PolicyModel

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/reference/policy.md").read_text(encoding="utf-8")
FIRST_CELLS = {
    word
    for line in PAGE.splitlines()
    if line.startswith("| `")
    for word in re.findall(r"`([^`]+)`", line.split(" | ")[0])
}
WHOLE = {
    "permissions.network.tcp", "permissions.network.udp", "permissions.network.deny", "permissions.network.dns",
    "permissions.network.http", "permissions.host_functions", "permissions.nn.models", "audit.rules",
}  # fmt: skip
"""Sections that are refused as a whole: their fields are described when they can be used."""


def leaves(model: type[BaseModel], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, field in model.model_fields.items():
        path = prefix + (field.alias or name)
        inner = _model_in(field.annotation)
        found |= {path} if inner is None or path in WHOLE else leaves(inner, path + ".")
    return found


@pytest.mark.parametrize("path", sorted(leaves(PolicyModel)))
def test_each_field_has_its_row(path):
    assert path in FIRST_CELLS


def test_each_row_is_a_field_or_something_else_that_exists():
    known = leaves(PolicyModel)
    dotted = {word for word in FIRST_CELLS if word.split(".")[0] in PolicyModel.model_fields}
    assert [
        word for word in dotted if not any(path == word or path.startswith(word + ".") for path in known)
    ] == []


@pytest.mark.parametrize("check", [*CHECKS, *SITUATIONAL_CHECKS], ids=lambda check: check.ID)
def test_each_check_has_one_shape_and_its_row(check):
    assert check.ID in FIRST_CELLS
    assert check.SUMMARY in PAGE
    assert check.WHY
    assert check.__name__ == "policy.checks." + check.ID.replace("-", "_").replace(
        "environment_name", "environment_names"
    )


def test_each_standing_rule_and_each_right_has_its_row():
    rules = {str(rule.id) for rule in fixed.FIXED_RULES} | {str(deny.id) for deny in BUILTIN_DENIES}
    rules |= {str(value) for name, value in vars(fixed).items() if name.isupper() and isinstance(value, str)}
    assert rules - {"default"} <= FIRST_CELLS
    assert {str(right.name).lower() for right in RIGHTS} <= FIRST_CELLS


@pytest.mark.parametrize("deny", BUILTIN_DENIES, ids=lambda deny: deny.id)
def test_each_built_in_denial_lists_its_paths(deny):
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{deny.id}`")]
    assert re.findall(r"`(/[^`]+)`", row) == [f"/{glob}" for glob in deny.globs]


@pytest.mark.parametrize("name", LimitsSection.model_fields)
def test_the_default_of_each_limit_is_what_the_page_says(name):
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `resources.limits.{name}`")]
    said = row.split(" | ")[1].strip("`")
    default = LimitsSection.model_fields[name].default
    assert default is not PydanticUndefined
    if said == "–":
        assert default is None
        return
    text = f"version: 1\nmetadata: {{name: x}}\nresources: {{limits: {{{name}: {said}}}}}\n"
    assert getattr(load_document(text.encode(), file="x").model.resources.limits, name) == default


def test_the_example_of_the_page_is_a_policy():
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert load_document(example.encode(), file="page").model.metadata.name == "csv-cleaner"
