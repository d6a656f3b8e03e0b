"""A fuzzer over reading and compiling: whatever comes in, a plan or findings come out, and never anything else.

The slow set runs the long twin of each test.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.compiler import compile_policy
from policy.document import PolicyDocument, load_any
from policy.errors import PolicyError
from policy.fmt import format_document

SEEDS = sorted((Path(__file__).parent.parent.parent / "policies").glob("*/*.yaml"))

TOKENS = st.sampled_from(
    ["version: 1\n", "metadata: {name: p}\n", "permissions:\n", "  storage:\n", "    allow:\n", "      - ", "uri: ", '"fs:///a/**"', "access: ", "[read]",
     "{", "}", "[", "]", ", ", ": ", ":", "-", "- ", "? ", "&a ", "*a", "!t ", "|\n", ">-\n", "'", '"', "\\", "\\ud800", "#", " # c", "\n", "\n  ", "\n    ", " ", "\t",
     "\r", "\x00", "\x85", "\u2028", "\ufeff", "\u202e", "é", "e\u0301", "😀", "null", "~", "<<: *a\n", "%YAML 1.1\n", "---\n", "...\n", "kind: Boundary\n", "kind: PolicyTest\n",
     "kind: Baseline\n", "match: ", "ceiling:\n", "tests:\n", "rules:\n", "when: ", "then: ", "64Mi", "-1", "1e9", "9" * 30, "*", "**", "..", "/", "${tenant}", "${x}", "=", "[[a]]\n", "a.b = 1\n", '"""']
)  # fmt: skip


def inspect(text: bytes, file: str) -> None:
    """Read, compile and format; fails on anything but a result or a PolicyError whose findings can be shown."""
    try:
        document = load_any(text, file=file)
        if file.endswith(".yaml"):
            once = format_document(text, file=file)
            assert format_document(once.encode(), file=file) == once
        if isinstance(document, PolicyDocument):
            compile_policy(document, base_dir="/srv", now_ns=0, is_study=True)
    except PolicyError as err:
        for finding in err.findings:
            rendered = finding.render_with_source()
            assert finding.sentence
            assert all(char.isprintable() or char == "\n" for char in rendered)
            rendered.encode()


FILES = st.sampled_from(["p.yaml", "p.yaml", "p.json", "p.toml"])
SOUP = st.lists(TOKENS, max_size=30).map(lambda tokens: "".join(tokens).encode())


@st.composite
def mutants(draw: st.DrawFn) -> bytes:
    """A document that was valid before a few of its parts were cut, moved or overwritten."""
    text = draw(st.sampled_from(SEEDS)).read_text()
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        match draw(st.integers(0, 3)):
            case 0:
                text = text[:at] + draw(TOKENS) + text[at:]
            case 1:
                text = text[:at] + text[at + draw(st.integers(1, 40)) :]
            case 2:
                text = text[:at] + draw(TOKENS) + text[at + draw(st.integers(1, 5)) :]
            case _:
                lines = text.split("\n")
                first, second = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
                lines[first], lines[second] = lines[second], lines[first]
                text = "\n".join(lines)
    return text.encode()


@given(st.binary(max_size=300), FILES)
def test_any_bytes_give_a_plan_or_findings(text, file):
    inspect(text, file)


@given(SOUP, FILES)
def test_any_soup_of_tokens_gives_a_plan_or_findings(text, file):
    inspect(text, file)


@given(mutants())
def test_any_change_of_a_valid_document_gives_a_plan_or_findings(text):
    inspect(text, "p.yaml")


@pytest.mark.slow
@settings(settings.get_profile("slow"))
@given(st.one_of(st.binary(max_size=2_000), SOUP, mutants()), FILES)
def test_any_text_gives_a_plan_or_findings_for_long(text, file):
    inspect(text, file)
