"""Hostile text becomes one harmless line, and comes back exactly."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given

from audit.errors import FormatError
from audit.export.spelling import named, spelt, unspelt
from tests.export_rows import NASTY


@given(NASTY)
def test_what_is_spelt_comes_back(text):
    found = spelt(text)
    assert unspelt(found) == text
    assert len(f"x{found}x".splitlines()) == 1
    assert not [one for one in found if unicodedata.category(one) in {"Cc", "Cf", "Zl", "Zp"}]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a\x00b", r"a\x00b"),
        ("\n", r"\x0a"),
        ("\\n", r"\\n"),
        ("\u202e", r"\u202e"),
        ("\U000e0001", r"\U000e0001"),
        ("plain é", "plain é"),
    ],
)
def test_the_escapes_are_those_that_are_documented(text, wanted):
    assert spelt(text) == wanted


@pytest.mark.parametrize("text", ["\\", "a\\b", "\\x4", "\\u12", "\\U00110000", "\\Uffffffff", "\\n"])
def test_an_escape_that_was_not_written_here_is_refused(text):
    with pytest.raises(FormatError):
        unspelt(text)


@pytest.mark.parametrize("one", [";", "\xa0", "\u3000", "\U0001f600"])
def test_a_named_character_comes_back(one):
    assert unspelt(named(one)) == one
