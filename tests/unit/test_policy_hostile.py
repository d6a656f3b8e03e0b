"""Documents that mean harm: each comes to an end soon, with a finding that says what is wrong.

Work is counted, not timed: function calls made while a document is read, and findings that come out of it.
`benchmarks/hostile_documents.py` says how long each takes.
"""

from __future__ import annotations

import sys
from types import FrameType

import pytest

from policy.compiler import compile_policy
from policy.document import load_document
from policy.errors import PolicyError
from policy.text import MAX_FINDINGS
from tests.hostile import DOCUMENTS, HEAD, allow, deny

MAX_CALLS = 6_000_000  # about a second without counting them

SYNTAX = {
    "quotes", "colons", "colons on lines", "toml of quotes", "toml of digits",
}  # fmt: skip
EXPECTED = {
    "64 MiB": "too-large",
    "alias bomb": "too-large",
    "one long anchor": "wrong-type",
    "many aliases": "too-many-aliases",
    "many anchors": "too-many-aliases",
    "tag directives": "directive",
    "documents": "several-documents",
    "comments": "empty",
    "one comment": "empty",
    "spaces": "empty",
    "one long tag": "tag",
    "duplicate keys": "duplicate-key",
    "same rules": "too-many-rules",
    "same ids": "too-many-rules",
    "empty rules": "too-many-rules",
    "a hundred thousand rules": "too-large",
    "toml of long keys": "too-deep",
    "toml of nested lists": "too-deep",
    "toml of nested tables": "too-deep",
    "toml of tiny values": "too-large",
    "toml of tiny tables": "too-large",
}
"""The finding of those whose name does not say it all."""


def read(name: str, text: bytes) -> tuple[str, ...]:
    """The ids of the findings about a text; none when it compiles."""
    try:
        document = load_document(text, file="p.toml" if name.startswith("toml") else "p.yaml")
        compile_policy(document, base_dir="/srv", now_ns=None)
    except PolicyError as err:
        for finding in err.findings[:MAX_FINDINGS]:
            rendered = finding.render_with_source()
            assert len(rendered) < 3_000
            assert all(char.isprintable() or char == "\n" for char in rendered)
        return tuple(finding.id for finding in err.findings)
    return ()


def counted(name: str, text: bytes) -> tuple[int, tuple[str, ...]]:
    """How many functions were called to read a text, and the findings."""
    calls = 0

    def count(_frame: FrameType, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        ids = read(name, text)
    finally:
        sys.setprofile(None)
    return calls, ids


QUICK = {
    "64 MiB", "nested lists", "nested maps", "nested dashes", "nested by indent", "alias bomb", "many aliases", "many anchors",
    "tag directives", "quotes", "colons", "colons on lines", "one comment", "spaces", "documents", "one long tag", "one long anchor",
    "one long key", "one long value", "escapes", "long unknown keys", "many digests", "questions after a star",
    "toml of long keys", "toml of nested lists", "toml of nested tables", "toml of quotes", "toml of digits",
}  # fmt: skip
"""Those that are over soon even while calls are counted; the slow set has the others too."""
ALL = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in DOCUMENTS]


@pytest.mark.parametrize("name", ALL)
def test_a_hostile_document_ends_soon_and_says_what_is_wrong(name):
    text = DOCUMENTS[name]()
    calls, ids = counted(name, text)
    assert calls < MAX_CALLS
    if name in EXPECTED:
        assert EXPECTED[name] in ids
    elif name in SYNTAX:
        assert ids == ("syntax",)
    elif name.startswith("nested"):
        assert ids == ("too-deep",)


@pytest.mark.parametrize(
    "text", [*(HEAD + b"".join(b"x%d: 1\n" % n for n in range(many)) for many in (1, 100, 5_000))]
)
def test_no_more_findings_are_told_than_a_person_reads(text):
    assert 1 <= len(read("", text)) <= MAX_FINDINGS + 1  # the last one says how many more there are


def test_globs_that_interlock_are_refused_before_their_table_is_large():
    text = DOCUMENTS["many stars twice"]()
    calls, ids = counted("", text)
    assert ids == ("too-many-states",)
    assert calls < MAX_CALLS


def test_many_ordinary_rules_compile():
    assert read("", deny([f"fs:///srv/t{number}/secret/**" for number in range(500)])) == ()


def test_text_that_hides_is_refused_and_its_escape_is_not():
    for char in ("\x85", "\u2028", "\u2029", "\ufeff", "\r", "\x1b", "\x7f", "\ufffe"):
        text = 'version: 1\nmetadata: {name: p, description: "a%sb"}\n'
        assert read("", (text % char).encode()) == ("syntax",)
        assert "syntax" not in read("", (text % f"\\u{ord(char):04x}").encode())


def test_comments_that_reorder_what_is_shown_are_refused():
    text = "version: 1\nmetadata: {name: p}  # %s } edom\n"
    for char in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069":
        assert read("", (text % char).encode()) == ("syntax",)
    assert read("", (text % "שלום é 😀").encode()) == ()


def test_half_a_character_is_refused_and_a_whole_one_is_not():
    text = 'version: 1\nmetadata: {name: p, description: "%s"}\n'
    assert read("", (text % "\\ud83d").encode()) == ("syntax",)
    assert read("", (text % "\\U0001f600").encode()) == ()


def test_a_byte_order_mark_and_windows_line_ends_are_read():
    assert read("", b"\xef\xbb\xbf" + HEAD.replace(b"\n", b"\r\n")) == ()


def test_one_grant_with_a_star_compiles():
    assert read("", allow(["fs:///srv/**"], ', include: ["**/*.csv"]')) == ()


def test_rules_are_counted_before_they_are_read():
    rules = "[" + "{}, " * 20_001 + "]"
    for section in ("permissions: {storage: {deny: %s}}", "permissions: {network: {tcp: %s}}", "rules: %s"):
        assert read("", HEAD + (section % rules).encode()) == ("too-many-rules",)
        assert "too-many-rules" not in read("", HEAD + (section % rules.replace("{}, ", "", 1)).encode())
