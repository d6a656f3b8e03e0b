"""Globs mean in ClickHouse what they mean in the embedded engine."""

from __future__ import annotations

import re

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.filters import RecordFilter
from audit.scaleout.dialect import conditions, regex_of_glob, regex_of_like

LETTERS = st.sampled_from([*"ab-]![^\\é*?\n", "[a", "[!", "-z]"])


@pytest.fixture(scope="module")
def duck():
    with duckdb.connect(":memory:") as one:
        yield one


def holds(pattern: str, text: str) -> bool:
    """Match as RE2 does, with Python's engine."""
    if pattern == r"\z.":
        return False
    python = re.sub(r"\\x\{([0-9a-f]+)\}", lambda found: f"\\U{int(found[1], 16):08x}", pattern).replace(
        r"\z", r"\Z"
    )
    if "(?:)" in pattern:
        return re.search(python, text.encode().decode("latin-1")) is not None
    if "\\C" in pattern:
        return re.search(python.replace(r"\C", ".").encode(), text.encode()) is not None
    return re.search(python, text) is not None


@given(glob=st.lists(LETTERS, max_size=6).map("".join), text=st.lists(LETTERS, max_size=5).map("".join))
def test_a_glob_is_the_embedded_engines(duck, glob, text):
    expected = duck.execute("SELECT ? GLOB ?", [text, glob]).fetchone()[0]
    assert holds(regex_of_glob(glob), text) == expected


@given(
    like=st.lists(st.sampled_from(list("ab%_\\.é\n")), max_size=6).map("".join),
    text=st.lists(st.sampled_from(list("ab%_\\.é\n")), max_size=5).map("".join),
)
def test_a_pattern_of_like_is_the_embedded_engines(duck, like, text):
    expected = duck.execute("SELECT ? LIKE ?", [text, like]).fetchone()[0]
    assert holds(regex_of_like(like), text) == expected


def test_no_value_is_part_of_the_text():
    hostile = "x'); DROP TABLE records; -- {a:String}"
    wanted = RecordFilter(
        tenant=hostile, module=hostile, call=hostile, rule=hostile, path=hostile, path_prefix=hostile,
        path_glob=hostile, policy=hostile, q="target = 'x''); DROP' and rule in ('DROP') and call like 'DROP'",
    )  # fmt: skip
    found = conditions(wanted, module_ids=(hostile,), policy_ids=(hostile,))
    assert "DROP" not in found.text
    assert sum("DROP" in str(value) for _, value in found.values) >= 10
