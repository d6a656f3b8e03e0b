"""Runs of components that make requests, and what came of them: shared by the tests of requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from audit.query import Row
from audit.receipt import OutcomeKind
from policy.plan import Plan
from sandbox.cache import ArtifactCache
from sandbox.network.brief import Supplies
from sandbox.runner import Execution
from tests.component_scripts import ComponentScript
from tests.http_scripts import Asking, asking
from tests.runs import Log, open_log, policy
from tests.wasi2 import HTTP_CODES

Told = dict[str, list[bytes]]
ANSWERED = b"\x01\x00\x00"
SECRET = "Bearer 7d1f-not-for-guests"


def network(text: str) -> Plan:
    return policy(f"permissions:\n  network:\n    {text}\n")


def rule(port: int, more: str = "access: full", *, host: str = "127.0.0.1", scheme: str = "http") -> Plan:
    return network(f'http: [{{id: there, url: "{scheme}://{host}:{port}", {more}}}]')


def here(port: int, **asked: object) -> ComponentScript:
    return asking(Asking(authority=f"127.0.0.1:{port}", **asked))  # type: ignore[arg-type]  # each test knows its own


def run(log: Log, script: ComponentScript, plan: Plan) -> tuple[Told, list[Row], Execution]:
    execution = log.run(script.component(), plan)
    assert execution.receipt.outcome.kind is OutcomeKind.EXITED, execution.receipt.outcome
    told: Told = {}
    for name, what in script.told(execution.stdout):
        told.setdefault(name, []).append(what)
    return told, log.check(execution), execution


def of(rows: list[Row], name: str) -> list[Row]:
    return [row for row in rows if str(row["call"]).endswith(f".{name}")]


def failed(code: str) -> bytes:
    """What `future-incoming-response.get` tells of a failure."""
    return bytes([1, 0, 0, 1, HTTP_CODES.index(code)])


@contextmanager
def supplied(tmp_path: Path, cache: ArtifactCache, supplies: Supplies) -> Iterator[Log]:
    """A log whose runner has what an operator supplies."""
    made = open_log(tmp_path / "own", cache, supplier=lambda _: supplies)
    try:
        yield made
    finally:
        made.close()
