"""Fixtures of attacks: a laboratory that the tests of a module share, and one cache of compiled modules."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator

import pytest

from sandbox.cache import ArtifactCache
from tests.escape.native import Lab, opened


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArtifactCache]:
    base = tmp_path_factory.getbasetemp()
    with ArtifactCache((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "artifacts") as made:
        yield made


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, cache: ArtifactCache) -> Iterator[Lab]:
    """Where native attacks are run."""
    if platform.system() != "Linux":
        pytest.skip("needs Linux")
    with opened(tmp_path_factory.mktemp("lab"), cache) as made:
        yield made
