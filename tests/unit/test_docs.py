"""The pages: each path they name exists, each link leads somewhere, nothing waits to be written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHELVES = ("tutorial", "how-to", "reference", "explanation", "decisions")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "changes").glob("*.md")])
TOPS = (
    "policy",
    "sandbox",
    "audit",
    "api",
    "policies",
    "tests",
    "docs",
    "benchmarks",
    "requirements",
    "changes",
    ".ci",
)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
PLACEHOLDER = re.compile(r"[*?<>{}…$]|\.\.\.")


def named_paths(text: str) -> list[str]:
    """Words in backticks that look like a path of this repository; patterns are no paths."""
    words = [word for word in CODE.findall(FENCED.sub("", text)) if " " not in word]
    return [
        word for word in words
        if "/" in word and word.split("/")[0] in TOPS and not PLACEHOLDER.search(word)
    ]  # fmt: skip


def links(text: str) -> list[str]:
    found = [target.split("#")[0] for target in LINK.findall(FENCED.sub("", text))]
    return [target for target in found if target and "://" not in target and not target.startswith("mailto:")]


def test_a_path_is_told_from_other_words():
    text = "`api/cli.py`, `tests/`, `docs/*.md`, `audit query`, `/etc/passwd`, `fd_read`, `wasmgate run`"
    assert named_paths(text) == ["api/cli.py", "tests/"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_each_path_that_a_page_names_exists(page):
    missing = [path for path in named_paths(page.read_text(encoding="utf-8")) if not (ROOT / path).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_each_link_of_a_page_leads_to_a_file(page):
    missing = [path for path in links(page.read_text(encoding="utf-8")) if not (page.parent / path).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_page_waits_for_text(page):
    assert re.findall(r"<!-- fill.*?-->", page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("shelf", SHELVES)
def test_each_page_of_a_shelf_is_reached_from_the_index(shelf):
    index = links((ROOT / "docs/README.md").read_text(encoding="utf-8"))
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs" / shelf).glob("*.md")}
    assert pages
    assert pages <= set(index)


def test_decisions_are_numbered_without_a_gap():
    numbers = sorted(int(page.name[:4]) for page in (ROOT / "docs/decisions").glob("[0-9]*.md"))
    assert numbers == list(range(1, len(numbers) + 1))
