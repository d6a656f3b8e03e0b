"""Commands that the pages show: each exists, and has the options that it is shown with.

What the commands say is checked by `tests/integration/test_tutorial.py`, paths and links by `test_docs.py`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from api.cli import wasmgate

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "policies/README.md", *(ROOT / "docs").rglob("*.md")])
FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`(wasmgate [^`\n]+)`")
ENDS = {"|", "||", "&&", ";", ">", "2>&1", "--"}


def shown(text: str) -> Iterator[list[str]]:
    """The words of each command, up to what is the shell's or the guest's."""
    blocks = [block.replace("\\\n", " ") for kind, block in FENCED.findall(text) if kind in {"", "sh"}]
    lines = [line for block in blocks for line in block.splitlines()]
    for line in [*lines, *INLINE.findall(FENCED.sub("", text))]:
        found = re.search(r"\bwasmgate ((?:policy|module|audit|run|serve|demo|doctor)\b.*)", line)
        if found is None or "[" in found[1]:
            continue  # a pattern of a command, with [options]
        words = shlex.split(found[1].replace(";", " ; "), comments=True)
        yield words[: next((at for at, word in enumerate(words) if word in ENDS), len(words))]


def fault(words: list[str]) -> str:
    command: click.Command = wasmgate
    rest = list(words)
    while isinstance(command, click.Group) and rest:
        name = rest.pop(0)
        found = command.get_command(click.Context(command), name)
        if found is None:
            return f"no command {name}"
        command = found
    known = {option for each in command.params if isinstance(each, click.Option) for option in each.opts}
    unknown = [word for word in rest if word.startswith("--") and word.partition("=")[0] not in known]
    return f"{command.name} has no {unknown[0]}" if unknown and "--help" not in rest else ""


def test_a_wrong_command_is_found():
    text = "```\nwasmgate policy chek x\nwasmgate policy check --strict x | less\nwasmgate run x -- --fast\n```\n"
    assert [fault(words) for words in shown(text)] == ["no command chek", "check has no --strict", ""]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_each_command_of_a_page_exists(page):
    faults = {" ".join(words): fault(words) for words in shown(page.read_text(encoding="utf-8"))}
    assert {words: each for words, each in faults.items() if each} == {}
