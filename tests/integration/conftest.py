"""Fixtures of whole runs: one cache of compiled modules for a test session, one log for a test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.cache import ArtifactCache
from sandbox.cells import Cells
from tests.commands import Shell
from tests.runs import Log, open_log


@pytest.fixture(scope="session")
def cache_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.getbasetemp()
    # workers of one session share what they compile
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "artifacts"


@pytest.fixture(scope="session")
def cache(cache_root: Path) -> Iterator[ArtifactCache]:
    with ArtifactCache(cache_root) as opened:
        yield opened


@pytest.fixture
def log(tmp_path: Path, cache: ArtifactCache) -> Iterator[Log]:
    """A log of its own, with a runner that starts a zygote of its own."""
    made = open_log(tmp_path, cache)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, cache: ArtifactCache) -> Iterator[Log]:
    """A log and a zygote that the tests of a module share."""
    made = open_log(tmp_path_factory.mktemp("shared"), cache)
    yield made
    made.close()


@pytest.fixture
def cells() -> Iterator[Cells]:
    made = Cells()
    yield made
    made.close()


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """State of the command line; tests name logs of their own, and share what is compiled."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "home"


@pytest.fixture
def shell(tmp_path: Path, home: Path) -> Shell:
    """The command line in an empty folder."""
    return Shell(tmp_path, home)
