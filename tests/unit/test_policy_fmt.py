"""The canonical form of documents: comments stay where they belong, and nothing else changes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.document import load_any
from policy.errors import PolicyError
from policy.fmt import WIDTH, format_document

ROOT = Path(__file__).parent.parent.parent
SHIPPED = sorted((ROOT / "policies").glob("*/*.yaml"))


def formatted(text: str) -> str:
    return format_document(text.encode(), file="p.yaml")


HEAD = "version: 1\nmetadata: {name: p}\n"


def test_keys_come_in_the_order_of_the_schema():
    assert formatted("mode: audit\nmetadata:\n  owner: o\n  name: p\nversion: 1\n") == (
        "version: 1\nmetadata:\n  name: p\n  owner: o\nmode: audit\n"
    )


def test_free_keys_stay_in_their_order():
    text = "version: 1\nmetadata:\n  name: p\n  labels: {zone: b, area: a}\n"
    assert formatted(text) == text


def test_rights_and_ports_come_in_their_usual_order_and_globs_as_written():
    text = HEAD + (
        "permissions:\n  storage:\n    allow:\n"
        '      - {uri: "fs:///a/**", access: [write, read], include: ["b", "a*"]}\n'
        '  network: {tcp: [{to: a, ports: [443, "80-90", 8]}]}\n'
    )
    assert 'access: [read, write], include: ["b", "a*"]' in formatted(text)
    assert "ports: [8, 80-90, 443]" in formatted(text)


def test_a_short_rule_stands_on_one_line_and_a_long_one_on_several():
    text = (
        HEAD
        + "permissions:\n  storage:\n    allow:\n      - uri: fs:///a\n        access:\n          - read\n"
    )
    assert '      - {uri: "fs:///a", access: [read]}\n' in formatted(text)
    long = text.replace("fs:///a", "fs:///" + "a" * 90)
    assert f'      - uri: "fs:///{"a" * 90}"\n        access: [read]\n' in formatted(long)


def test_a_section_stays_as_its_author_laid_it_out():
    for metadata in ("metadata: {name: p, owner: o}\n", "metadata:\n  name: p\n  owner: o\n"):
        assert formatted("version: 1\n" + metadata) == "version: 1\n" + metadata


def test_quotes_stand_where_a_reader_could_take_the_text_for_something_else():
    text = "version: 1\nmetadata:\n  name: 'p'\n  labels:\n    a: 'yes'\n    b: \"1\"\n    c: 'x y'\n    d: ''\n    e: no\n"
    assert formatted(text) == (
        'version: 1\nmetadata:\n  name: p\n  labels:\n    a: "yes"\n    b: "1"\n    c: x y\n    d: ""\n    e: no\n'
    )


def test_a_long_text_is_folded_and_one_of_several_lines_stays_so():
    words = " ".join(["words"] * 30)
    text = f"version: 1\nmetadata:\n  name: p\n  description: {words}\n  reason: |\n    one\n\n    two\n"
    out = formatted(text)
    assert "  description: >-\n    words words" in out
    assert "  reason: |\n    one\n\n    two\n" in out
    assert max(map(len, out.splitlines())) <= WIDTH


def test_comments_stay_with_what_they_belong_to():
    text = (
        "# the file\n"
        "metadata: # who\n"
        "  # his name\n"
        "  name: p # beside\n"
        "  # at the end of the block\n"
        "\n"
        "# the version\n"
        "version: 1 # one\n"
        "permissions:\n"
        "  args: # all of them\n"
        "  - a # first\n"
        "  # before the second\n"
        "  - b\n"
        "  storage: {allow: [ # the list\n"
        "    # the rule\n"
        '    {uri: "fs:///a", access: [read]}, # the rule too\n'
        "  ]}\n"
        "# the end\n"
    )
    assert formatted(text) == (
        "# the file\n"
        "# the version\n"
        "version: 1 # one\n"
        "metadata: # who\n"
        "  # his name\n"
        "  name: p # beside\n"
        "  # at the end of the block\n"
        "permissions:\n"
        "  storage:\n"
        "    allow: # the list\n"
        "      # the rule\n"
        '      - {uri: "fs:///a", access: [read]} # the rule too\n'
        "  args: # all of them\n"
        "    - a # first\n"
        "    # before the second\n"
        "    - b\n"
        "# the end\n"
    )


def test_a_number_sign_in_a_text_is_no_comment():
    text = "version: 1\nmetadata:\n  name: p\n  description: a#b\n  reason: '# no comment' # one\n  owner: |\n    # none\n    x\n"
    out = formatted(text)
    assert out.count("#") == text.count("#")
    assert '  reason: "# no comment" # one\n' in out


def test_aliases_are_written_out_and_the_comments_inside_stay_at_the_first():
    text = HEAD + (
        "permissions:\n  storage:\n    allow:\n"
        "      - {uri: fs:///a, access: &rights [read, # why\n          list]}\n"
        "      - {uri: fs:///b, access: *rights}\n"
    )
    out = formatted(text)
    assert out.count("# why") == 1
    assert '- {uri: "fs:///b", access: [read, list]}' in out


@pytest.mark.parametrize(
    "text", ["version: 1\n", "version: 1\nmetadata: {name: p}\nmodes: audit\n", "a: [\n", "# c\n"]
)
def test_what_is_no_document_is_refused_with_findings(text):
    with pytest.raises(PolicyError):
        formatted(text)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_shipped_document_can_be_formatted(path):
    once = format_document(path.read_bytes(), file="p.yaml")
    assert formatted(once) == once


SCALARS = st.sampled_from(
    [
        "a",
        "'b c'",
        '"d: e"',
        "yes",
        "'no'",
        "1",
        '"2"',
        "''",
        "é",
        '"\\u2028"',
        "'#x'",
        "a#b",
        "x, y",
        "2027-01-01T00:00:00Z",
        "'-'",
        "a'b",
    ]
)


@st.composite
def documents(draw: st.DrawFn) -> str:  # noqa: C901  # one small part of a document each
    """A document with comments and blank lines wherever they are allowed; each comment is one of a kind."""
    number = 0

    def note(indent: int) -> str:
        nonlocal number
        lines = ""
        for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
            if draw(st.booleans()):
                number += 1
                lines += f"{' ' * draw(st.sampled_from([0, indent, indent, indent + 3]))}#c{number}.\n"
            else:
                lines += "\n"
        return lines

    def beside() -> str:
        nonlocal number
        if draw(st.integers(0, 3)):
            return "\n"
        number += 1
        return f" #c{number}.\n"

    def flow(parts: list[str], brackets: str) -> str:
        """A collection in brackets, with line ends and comments between its parts."""
        text = brackets[0]
        for index, part in enumerate(parts):
            text += beside() + note(10) + " " * 12 if draw(st.integers(0, 5)) == 0 else ""
            text += part + ("," if index < len(parts) - 1 else "") + " "
        text += beside() + note(10) + " " * 10 if draw(st.integers(0, 5)) == 0 else ""
        return text + brackets[1]

    def rule(indent: int) -> str:
        rights = draw(st.lists(st.sampled_from(["read", "list", "write"]), min_size=1, max_size=3))
        pairs = draw(
            st.permutations(
                [
                    ("uri", f'"fs:///{draw(st.integers(0, 9))}/**"'),
                    ("access", flow(rights, "[]")),
                    ("mount", "/m"),
                ]
            )
        )
        if draw(st.booleans()):
            return f"{' ' * indent}- {flow([f'{key}: {value}' for key, value in pairs], '{}')}{beside()}"
        lines = ""
        for index, (key, value) in enumerate(pairs):
            lead = f"{' ' * indent}- " if index == 0 else note(indent + 2) + " " * (indent + 2)
            lines += f"{lead}{key}: {value}{beside()}"
        return lines

    def labels(indent: int) -> str:
        return "".join(
            f"{note(indent)}{' ' * indent}l{n}: {draw(SCALARS)}{beside()}"
            for n in range(draw(st.integers(1, 3)))
        )

    metadata = [f"  name: p{beside()}", f"  labels:{beside()}{labels(4)}"]
    if draw(st.booleans()):
        metadata.append(f"  description: |{beside()}    one\n    # no comment\n\n    two\n")
    rules = "".join(note(6) + rule(6) for _ in range(draw(st.integers(1, 3))))
    sections = [
        f"version: 1{beside()}",
        f"metadata:{beside()}" + "".join(note(2) + each for each in draw(st.permutations(metadata))),
        f"permissions:{beside()}  storage:{beside()}    allow:{beside()}{rules}{note(6)}",
        f"mode: audit{beside()}",
    ]
    return "".join(note(0) + each for each in draw(st.permutations(sections))) + note(0)


def sorted_rights(value: object) -> object:
    if isinstance(value, dict):
        return {key: sorted(each) if key == "access" else sorted_rights(each) for key, each in value.items()}
    return [sorted_rights(each) for each in value] if isinstance(value, tuple) else value


def check(text: str) -> None:
    once = formatted(text)
    before, after = (load_any(each.encode(), file="p").source.value for each in (text, once))
    assert sorted_rights(after) == sorted_rights(before)
    assert formatted(once) == once
    assert sorted(re.findall(r"#c\d+\.", once)) == sorted(re.findall(r"#c\d+\.", text))


@given(documents())
def test_formatting_changes_no_value_and_no_comment_and_is_done_after_once(text):
    check(text)
