"""The tutorial about policies, done as it is written: each command says what the page shows.

Which commands and options the other pages show is checked by `tests/unit/test_docs_commands.py`.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.commands import ROOT, Shell
from tests.programs import program

PAGE = ROOT / "docs/tutorial/first-policy.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
FILES = {
    "in/may.csv": "who,cents\nada,120\ngrace,80\n",
    "in/june.csv": "who,cents\nada,30\n",
    "in/salaries.txt": "",
}


class Reader:
    """Somebody who follows the page, block by block."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self.documents = iter(self._documents())
        self.said = ""

    def _documents(self):
        """What is done with each block of YAML, in their order."""
        policy, tests = self.shell.folder / "ledger.yaml", self.shell.folder / "tests.yaml"
        for _ in range(3):
            yield policy.write_text
        yield tests.write_text
        yield lambda text: policy.write_text(policy.read_text().replace("resources:", text + "resources:"))
        yield lambda text: tests.write_text(tests.read_text() + text)
        yield lambda text: policy.write_text(
            policy.read_text().replace("permissions:", text + "permissions:")
        )

    def follow(self, kind: str, text: str) -> None:
        if kind == "python":
            (self.shell.folder / "app/totals.py").write_text(text)
        elif kind == "yaml":
            next(self.documents)(text)
        elif kind == "text":
            assert self.comparable(self.said) == self.comparable(text)
        elif "$PWD" not in text:  # the first block tells where things lie
            self.said = "".join(self.do(line) for line in text.splitlines())
            if "findings" not in text and "acess" in (self.shell.folder / "ledger.yaml").read_text():
                self.mend()

    def do(self, line: str) -> str:
        words = shlex.split(line.replace("$PYTHON", str(program("cpython"))))
        folder = self.shell.folder
        if words[0] == "cat":
            return (folder / words[1]).read_text()
        if words[0] == "cp":
            (folder / words[2]).write_bytes((folder / words[1]).read_bytes())
            return ""
        if words[0] == "grep":
            kept = [line for line in (folder / "ledger.yaml").read_text().splitlines() if "salar" not in line]
            (folder / "wider.yaml").write_text("".join(f"{line}\n" for line in kept if "deny:" not in line))
            return ""
        if words[1] == "run":
            self.mend()
            done = self.shell(*words[1:])
        else:
            done = self.shell.ask(*words[1:])
        return done.text + done.said

    def mend(self) -> None:
        """Do what the page says after the slip."""
        policy = self.shell.folder / "ledger.yaml"
        policy.write_text(policy.read_text().replace("acess", "access").replace("256MB", "256Mi"))

    def comparable(self, text: str) -> list[str]:
        """What does not differ between machines; the hint where to look closer is left out of the page."""
        text = text.replace(str(self.shell.folder), "/home/ada/ledger")
        lines = re.sub(r"\d+ of \d+ host", "N of N host", text).splitlines()
        return [line for line in lines if "look closer" not in line and "formatted" not in line]


@pytest.mark.timeout(180)
def test_the_tutorial_says_what_happens(shell: Shell):
    for name in ("app", "in", "out"):
        (shell.folder / name).mkdir()
    for name, text in FILES.items():
        (shell.folder / name).write_text(text)
    reader = Reader(shell)
    blocks = BLOCK.findall(Path(PAGE).read_text(encoding="utf-8"))
    assert len(blocks) > 25
    for kind, text in blocks:
        reader.follow(kind, text)
    assert next(reader.documents, None) is None
    assert (shell.folder / "out/totals.txt").read_text() == "ada 150\ngrace 80\n"
