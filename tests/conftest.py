"""What every test shares: golden files, property-test profiles, and the rule about skips.

Programs to run are found by `tests/programs.py`.
A test that is skipped for a reason that is not listed here fails: a skip nobody decided on hides a hole.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import HealthCheck, settings

GOLDEN = Path(__file__).parent / "golden"

SKIPS = {
    "needs Linux": "shared pages, cells and their walls exist there only",
    "needs a cgroup in which others can be made": "the wall stands for operators who delegate one",
    "needs Python 3.12 for aics-tlog": "a second opinion on formats that published vectors pin on every version",
    "needs WASMGATE_TEST_CLICKHOUSE": "the same questions go to the same engine in the process (chdb) everywhere",
    "needs the package aics-tlog": "as above; `pip install aics-tlog` beside the rest brings it",
}
"""Reasons a test may be skipped for, word for word, and why each is no hole."""

settings.register_profile("gate", max_examples=50, deadline=None, derandomize=True, database=None)
settings.register_profile(
    "slow", max_examples=2_000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("gate")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--accept-golden",
        action="store_true",
        help="write the golden files anew; read the diff before a commit",
    )


class Golden(Protocol):
    """Compares `text` with the golden file `name`."""

    def __call__(self, name: str, text: str) -> None: ...


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Say that a text is what a person once read and accepted; `--accept-golden` accepts it."""
    is_accepting = bool(request.config.getoption("--accept-golden"))

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if is_accepting:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
            return
        if not path.exists():
            pytest.fail(f"no golden file {name}: run this test with --accept-golden, and read what it wrote")
        assert text == path.read_bytes().decode(), f"differs from tests/golden/{name}; see --accept-golden"

    return compare


def _refuse_unlisted_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    if reason not in SKIPS:
        report.outcome = "failed"
        report.longrepr = f"skipped for a reason that tests/conftest.py does not list: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_unlisted_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_unlisted_skip(report)
    return report
