"""Fixtures of attacks: what the tests of a module share, and one cache of compiled modules."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.cache import ArtifactCache
from tests.escape.native import Lab, opened
from tests.runs import Log, open_log


@pytest.fixture(scope="session")
def cache_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "artifacts"


@pytest.fixture(scope="session")
def cache(cache_root: Path) -> Iterator[ArtifactCache]:
    with ArtifactCache(cache_root) as made:
        yield made


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory, cache: ArtifactCache) -> Iterator[Lab]:
    """Where native attacks are run."""
    if platform.system() != "Linux":
        pytest.skip("needs Linux")
    with opened(tmp_path_factory.mktemp("lab"), cache) as made:
        yield made


@pytest.fixture(scope="session")
def log(tmp_path_factory: pytest.TempPathFactory, cache: ArtifactCache) -> Iterator[Log]:
    """Where guests that attack are run."""
    made = open_log(tmp_path_factory.mktemp("log"), cache)
    yield made
    made.close()
