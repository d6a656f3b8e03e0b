"""Nothing that a guest wrote acts on a terminal or a log line."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.inert import inert, inert_json, json_line

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40)
ACTIVE = {"Cc", "Cf", "Zl", "Zp", "Cs"}


def is_active(character: str) -> bool:
    return unicodedata.category(character) in ACTIVE


@given(ANY_TEXT)
def test_no_active_character_is_left(text):
    assert not any(map(is_active, inert(text)))


def test_every_active_character_is_known():
    left = [hex(code) for code in range(0x110000) if is_active(chr(code)) and inert(chr(code)) == chr(code)]
    assert left == []


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=40))
def test_ordinary_text_stays(text):
    hidden = {"\u115f", "\u1160", "\u3164", "\uffa0"}  # letters that show nothing
    assert inert("".join(c for c in text if c not in hidden)) == "".join(c for c in text if c not in hidden)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", "a\\x0ab"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9b2J", "\\x9b2J"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("a\u2028b", "a\\u2028b"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("naïve 漢字 <b>\\ \"'", "naïve 漢字 <b>\\ \"'"),
    ],
)
def test_how_it_looks(text, shown):
    assert inert(text) == shown


@given(
    st.dictionaries(
        ANY_TEXT.filter(lambda text: not any(0xD800 <= ord(c) < 0xE000 for c in text)), st.integers()
    )
)
def test_a_json_line_is_inert_and_parses_to_the_value(value):
    line = json_line(value)
    assert not any(map(is_active, line))
    assert json.loads(line) == value


def test_a_character_beyond_the_first_plane_becomes_a_pair():
    assert inert_json('"\U000e0041"') == '"\\udb40\\udc41"'
