"""A cgroup for tests, as an operator delegates one: of version 2, or of version 1 where that has the controllers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path("/sys/fs/cgroup")
CONTROLLERS = ("memory", "pids", "cpu")


@contextmanager
def delegated() -> Iterator[tuple[Path, ...]]:
    """Folders for `WASMGATE_CGROUP`, removed afterwards; skips the test where none can be made."""
    made: list[Path] = []
    try:
        for folder in _places():
            made.append(folder / f"wasmgate-tests-{os.getpid()}")
            made[-1].mkdir()
    except OSError:
        _remove(made)
        pytest.skip("needs a cgroup in which others can be made")
    try:
        yield tuple(made)
    finally:
        _remove(made)


def _places() -> tuple[Path, ...]:
    """Where cgroups with all controllers can be made; raises OSError where there is no such place."""
    if all((ROOT / name / "cgroup.procs").exists() for name in CONTROLLERS):
        return tuple(ROOT / name for name in CONTROLLERS)
    there = set((ROOT / "cgroup.subtree_control").read_text().split())
    if not there.issuperset(CONTROLLERS):
        raise OSError("not all controllers are there")
    return (ROOT,)


def _remove(made: list[Path]) -> None:
    for folder in made:
        if folder.is_dir():
            folder.rmdir()
