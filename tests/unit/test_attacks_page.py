"""The page that says which test attacks which row of the threat model: its tests exist, and its rows are the model's."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests/escape"
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
MODEL = (ROOT / "docs/explanation/threat-model.md").read_text(encoding="utf-8")


def named() -> list[tuple[Path, str]]:
    """Each file that a row names, with a test in it, or none; `::test` belongs to the file before it."""
    found: list[tuple[Path, str]] = []
    for cell in re.findall(r"^\| .*? \| (.*) \|$", PAGE, re.MULTILINE):
        file = FOLDER
        for text in re.findall(r"`([^`]+)`", cell):
            name, _, test = text.partition("::")
            if name.endswith(".py"):
                file = ROOT / name if name.startswith("tests/") else FOLDER / name
            elif "()" in name:
                continue
            found.append((file, test))
    return found


def test_each_test_that_is_named_exists():
    assert len(named()) > 30
    for path, test in named():
        files = sorted(path.parent.glob(path.name))
        assert files, path
        assert not test or f"def {test}(" in files[0].read_text(encoding="utf-8"), (path, test)


def test_each_file_of_attacks_is_named():
    there = {path.name for path in FOLDER.glob("test_*.py")}
    assert there <= {path.name for path, _ in named()}


def test_each_row_about_native_code_is_one_of_the_threat_model():
    section = PAGE.partition("## Native code in a cell")[2]
    model = MODEL.partition("### Native code in a cell")[2].partition("### The log")[0]
    rows = re.findall(r"^\| (.*?) \|", model, re.MULTILINE)[2:]
    assert rows
    for row in rows:
        start = re.split(r"[,;:]", row)[0]
        assert start in section, row
