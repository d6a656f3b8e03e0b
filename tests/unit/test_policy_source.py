"""Reading YAML: what is kept as written, what is refused, and how soon."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from policy.errors import PolicyError
from policy.places import Spot
from policy.source import load_source


def findings(text: bytes):
    with pytest.raises(PolicyError) as caught:
        load_source(text, file="p.yaml")
    return caught.value.findings


def ids(text: bytes) -> set[str]:
    return {finding.id for finding in findings(text)}


def test_scalars_stay_as_they_were_written():
    source = load_source(b"a: 12:30\nb: 0644\nc: no\nd: 1e3\ne: 2026-01-01\nf: 'x'", file="p.yaml")
    assert source.value == {"a": "12:30", "b": "0644", "c": "no", "d": "1e3", "e": "2026-01-01", "f": "x"}


def test_an_empty_value_is_told_from_an_empty_text():
    assert load_source(b"a:\nb: ''\nc: null\nd: 'null'", file="p").value == {
        "a": None,
        "b": "",
        "c": None,
        "d": "null",
    }


def test_json_is_read():
    assert load_source(b'{"a": ["b", {"c": "d\\u00e9"}]}', file="p").value == {"a": ("b", {"c": "dé"})}


def test_each_value_and_key_has_its_place():
    source = load_source(b"a:\n  - b: c\n    d: [e, f]\n", file="p")
    assert source.spot(("a", 0, "d", 1)) == Spot(3, 12)
    assert source.key_spot(("a", 0, "d")) == Spot(3, 5)
    assert source.spot(("a", 0, "missing")) == Spot(2, 5)


def test_a_few_aliases_are_written_out():
    assert load_source(b"a: &x [1]\nb: *x", file="p").value == {"a": ("1",), "b": ("1",)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"a: 1\na: 2", "duplicate-key"),
        (b"a: !!python/object:os.system x", "tag"),
        (b"a: !x y", "tag"),
        (b"a: b\0c", "nul"),
        (b'a: "b\\0c"', None),
        (b"a: \xff", "not-utf-8"),
        (b"\xff\xfea\x00", "not-utf-8"),
        (b"a: \x1b[31m", "syntax"),
        (b"a: 1\n---\nb: 2", "several-documents"),
        (b"%YAML 1.1\n---\na: no", "directive"),
        (b"", "empty"),
        (b"# only a comment", "empty"),
        (b"? [a]\n: b", "bad-key"),
        (b"a: *nowhere", "bad-alias"),
        (b"a: &x [*x]", "bad-alias"),
        (b"a: [", "syntax"),
        (b"a: b: c", "syntax"),
        (b"\t- a", "syntax"),
        (b"x: " + b"a" * 70_000, None),
        (b"# " + b"\n" * 1_048_576, "too-large"),
    ],
)
def test_what_is_refused(text, expected):
    if expected is None:
        load_source(text, file="p")  # the schema refuses the NUL where it matters
    else:
        assert ids(text) == {expected}


def test_all_faults_are_reported_at_once():
    assert ids(b"a: !x 1\nb: 2\nb: 3\n? [c]\n: d") == {"tag", "duplicate-key", "bad-key"}


def test_a_duplicate_names_its_place_and_the_first():
    (finding,) = findings(b"a: 1\nb:\n  c: 1\n  c: 2\n")
    assert (finding.line, finding.column, finding.field) == (4, 3, "b.c")
    assert "line 3" in finding.render()


def read(text: bytes) -> list[str]:
    """The findings of a text, as they are shown; none when it can be read."""
    try:
        load_source(text, file="p")
    except PolicyError as err:
        return [finding.render_with_source() for finding in err.findings]
    return []


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_findings(text):
    assert all(read(text))


@given(st.text(alphabet="ab:-[]{}&*!|>'\"%#?,\n \t\\~<@`", max_size=40))
def test_any_yaml_gives_a_value_or_findings(text):
    assert all(read(text.encode()))


def second_opinion(text: str) -> object:
    """What another parser, which shares no code, makes of the text; None when it refuses it."""
    loader = YAML(typ="base", pure=True)
    try:
        return loader.load(text)
    except (YAMLError, ValueError, IndexError, NotImplementedError):
        return None


def plain(value: object) -> object:
    match value:
        case dict():
            return {str(key): plain(each) for key, each in value.items()}
        case list() | tuple():
            return [plain(each) for each in value]
        case _:
            return "" if value in {None, "null", "~"} else str(value)


@given(
    st.lists(
        st.sampled_from(
            [
                "a",
                "é",
                "x y",
                "'q'",
                '"d"',
                ":",
                ": ",
                "- ",
                "[",
                "]",
                "{",
                "}",
                ", ",
                "# c",
                " #",
                "|\n",
                ">\n",
                "\n",
                "\n  ",
                "\n    ",
                "fs:./x",
                "'",
                '"',
                "~",
                "null",
                "1",
            ]
        ),
        max_size=14,
    )
)
def test_another_parser_reads_the_same(tokens):
    text = "k: " + "".join(tokens)
    try:
        ours = load_source(text.encode(), file="p").value
    except PolicyError:
        return
    theirs = second_opinion(text)
    assert theirs is None or plain(theirs) == plain(ours)
