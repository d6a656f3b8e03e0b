"""Small logs for ClickHouse, where to load them, and what is in it then."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from audit.recovery import recover
from audit.scaleout.backend import Backend
from audit.scaleout.clickhouse import ClickHouse
from audit.scaleout.tables import OF_SEGMENTS
from audit.store import Store
from audit.writer import AuditWriter
from sandbox.monitor.decode import decode
from tests.records import IN, STORY, call, pack, receipt, start, tell

ENGINES = ("chdb", "server")
RUNS = (
    start(number=1),
    start(number=2, tenant="acme", module_digest="sha256:" + "99" * 32, module_name="other"),
    start(number=3, tenant="a'b\\c"),
    start(number=70_000),
)
HOSTILE = "x'; DROP TABLE records; --\n\x1b[2J{p:String}\\ é[a]".encode()


def backend_of(engine, folder):
    """One of `ENGINES`, the embedded one with a folder of its own; skips where there is no server."""
    if engine == "chdb":
        return Backend.parse(f"chdb://{folder}")
    server = os.environ.get("WASMGATE_TEST_CLICKHOUSE")
    if server is None:
        pytest.skip("needs WASMGATE_TEST_CLICKHOUSE")
    return Backend.parse(server)


@contextmanager
def empty_database(backend) -> Iterator[ClickHouse]:
    """A connection to a database of its own, which is there as long as the context lasts."""
    with ClickHouse(replace(backend, database=f"t{os.urandom(6).hex()}")) as one:
        yield one
        one.command(f"DROP DATABASE {one.name}")


def made(root, runs=RUNS):
    """A log of a segment for each run, of several tenants."""
    for of in runs:
        writer = AuditWriter(root)
        tell(writer, of, rounds=3, is_ended=False)
        calls, arena = pack(
            [call("path_open", HOSTILE, opener=IN, fd=3, decision=1, errno=76, reason=1)],
            first_seq=3 * len(STORY), t0=of.started_at_ns,
        )  # fmt: skip
        writer.append(of.exec_id, first_seq=3 * len(STORY), records=calls.tobytes(), arena=arena)
        writer.commit()
        writer.end(of.exec_id, replace(receipt(of, records=3 * len(STORY) + 1), tenant=of.tenant))
        writer.close()
        recover(root, decode)
    return Store(root)


def sums(engine):
    """How much each table holds, and what the roll-ups add up to."""
    counts = [
        engine.rows(f"SELECT toInt64(count()) AS n FROM {engine.name}.{table}")[0]["n"]
        for table in OF_SEGMENTS[:2]
    ]
    rolled = engine.rows(
        f"SELECT call, decision, rule_id, minute, tenant_id, toString(sum(n)) AS n, toString(sum(bytes_in)) AS i,"
        f" toInt64(sum(rows)) AS rows, max(dur_max_ns) AS d FROM {engine.name}.rollups"
        " GROUP BY call, decision, rule_id, minute, tenant_id ORDER BY ALL"
    )
    return counts, rolled
