"""TOML: the same values as from YAML, with places, and the same strictness."""

from __future__ import annotations

import json
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.document import load_document
from policy.errors import PolicyError
from policy.places import Spot
from policy.source import load_source

TEXT = b"""# c
version = 1
match.name = ["a", 'b']
[metadata]
name = "x"
labels = {a = "1", "b c" = 'd'}
[[permissions.storage.allow]]
uri = "fs:///a"
access = [
  "read", # c
  "list",
]
[[permissions.storage.allow]]
uri = "fs:///b"
access = ["read"]
"""


def ids(text: bytes) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        load_source(text, file="p.toml")
    return [finding.id for finding in caught.value.findings]


def test_each_value_and_key_has_its_place():
    source = load_source(TEXT, file="p.toml")
    assert source.spot(("version",)) == Spot(2, 11)
    assert source.spot(("match", "name", 1)) == Spot(3, 20)
    assert source.key_spot(("metadata", "labels", "b c")) == Spot(6, 20)
    assert source.spot(("permissions", "storage", "allow", 0, "access", 1)) == Spot(11, 3)
    assert source.spot(("permissions", "storage", "allow", 1)) == Spot(13, 1)


def test_a_policy_means_the_same_in_yaml_json_and_toml():
    values = tomllib.loads(TEXT.decode())
    as_json = json.dumps(values).encode()
    toml = load_document(TEXT, file="p.toml").model
    assert toml == load_document(as_json, file="p.json").model == load_document(as_json, file="p.yaml").model


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"a = 1.5\nb = 2026-01-01 10:00:00\nc = 10:00:00\nd = inf", ["wrong-type"] * 4),
        (b"a = 99999999999999999999", ["wrong-type"]),
        (b"a = 1\na = 2", ["duplicate-key"]),
        (b"a = [", ["syntax"]),
        (b'a = "\\ud800"', ["syntax"]),
        (b"a = 1 b = 2", ["syntax"]),
        (b"", ["empty"]),
        (b"a = \0", ["nul"]),
        (b"a." * 20 + b"b = 1", ["too-deep"]),
    ],
)
def test_what_is_refused(text, expected):
    assert ids(text) == expected


KEYS = st.sampled_from(["a", "b-c", "1", "x y", "é", "a.b", ""])
VALUES = st.recursive(
    st.one_of(
        st.integers(-99, 99), st.booleans(), st.text(st.characters(exclude_categories=["C", "Z"]), max_size=5)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)


def written(value: object) -> str:
    match value:
        case dict():
            return (
                "{" + ", ".join(f"{json.dumps(key)} = {written(each)}" for key, each in value.items()) + "}"
            )
        case list():
            return "[" + ", ".join(map(written, value)) + "]"
        case _:
            return json.dumps(value, ensure_ascii=False)


@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=4))
def test_any_values_are_read_as_from_json(values):
    text = "".join(f"{json.dumps(key)} = {written(each)}\n" for key, each in values.items())
    assert (
        load_source(text.encode(), file="p.toml").value
        == load_source(json.dumps(values, ensure_ascii=False).encode(), file="p").value
    )
