"""Prints how fast the audit log takes, seals and answers records, and how large they become.

Nothing is asserted but that every record came back. The records have the shape of a program that
opens files, reads and writes them in pieces, and asks for the time; run it on an idle machine:
`PYTHONPATH=. python benchmarks/audit_log.py [RECORDS]`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from api.evidence import columns_of
from audit.filters import RecordFilter
from audit.identity import new_execution_id
from audit.query import AuditReader
from audit.receipt import Outcome, OutcomeKind, Receipt
from audit.recovery import recover
from audit.start import ExecutionStart, MountPoint
from audit.writer import AuditWriter
from policy import compile_policy, load_document
from policy.calls import CALL_CODES
from policy.simulate import simulate
from sandbox.monitor.decode import decode
from sandbox.monitor.layout import ARENA_BYTES, FIRST_MOUNT, IN_FLIGHT, NO_OPENER, RECORD, UNTIMED

FRAME_RECORDS = 8_192
_PIECES = 20  # calls on a file between its `path_open` and its `fd_close`


def records(count: int, started_ns: int) -> tuple[npt.NDArray[np.void], list[bytes]]:
    """Give `count` records, and the path of each record that has one."""
    random = np.random.default_rng(1)
    cycle = [
        "path_open",
        "fd_filestat_get",
        *["fd_read"] * (_PIECES - 6),
        "clock_time_get",
        "fd_write",
        "fd_seek",
        "fd_close",
    ]
    made = np.zeros(count, RECORD)
    step = np.arange(count) % len(cycle)
    file = np.arange(count) // len(cycle)
    call = np.array([CALL_CODES[name] for name in cycle])[step]
    made["call"] = call
    made["t_ns"] = started_ns + np.cumsum(random.gamma(2.0, 400.0, count)).astype(np.int64)
    made["dur_ns"] = np.where(
        call == CALL_CODES["clock_time_get"], UNTIMED, random.gamma(3.0, 300.0, count).astype(np.int64)
    )
    opens = step == 0
    made["opener"] = np.where(opens, FIRST_MOUNT, file * len(cycle))
    made["fd"] = np.where(opens, 3, 4)
    made["fd2"] = np.where(opens, 4, -1)
    writes = call == CALL_CODES["fd_write"]
    made["fd"][writes], made["opener"][writes] = 1, NO_OPENER
    reads = call == CALL_CODES["fd_read"]
    made["aux"] = np.where(reads, 4096, 0) + np.where(writes, random.integers(10, 200, count), 0)
    made["rule"] = 2
    denied = opens & (file % 50 == 0)
    made["decision"][denied], made["errno"][denied], made["rule"][denied], made["reason"][denied] = (
        1,
        76,
        0,
        1,
    )
    paths = [f"reports/2026/{number % 3000:05d}/table-{number % 7}.csv".encode() for number in file[opens]]
    made["target_len"][opens] = [len(path) for path in paths]
    assert not (made["errno"] == IN_FLIGHT).any()
    return made, paths


def fill(writer: AuditWriter, start: ExecutionStart, made: npt.NDArray[np.void], paths: list[bytes]) -> float:
    """Append and commit everything in frames, as the drain of a ring would; give the seconds."""
    frames, at, path = [], 0, 0
    for first in range(0, len(made), FRAME_RECORDS):
        part = made[first : first + FRAME_RECORDS]
        opens = np.flatnonzero(part["target_len"])
        lengths = part["target_len"][opens].astype(np.int64)
        part["target_at"][opens] = (at + np.cumsum(lengths) - lengths) % ARENA_BYTES
        arena = b"".join(paths[path : path + len(opens)])
        frames.append((first, part.tobytes(), arena, at % ARENA_BYTES))
        path, at = path + len(opens), at + len(arena)
    begin = time.perf_counter()
    writer.begin(start)
    for first, raw, arena, arena_start in frames:
        writer.append(start.exec_id, first_seq=first, records=raw, arena=arena, arena_start=arena_start)
        writer.commit()
    return time.perf_counter() - begin


def main(count: int) -> None:
    """Fill a log in a temporary folder, seal it, ask it, and print a table."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        started_ns = time.time_ns()
        start = ExecutionStart(
            exec_id=new_execution_id(),
            started_at_ns=started_ns,
            module_digest="sha256:" + "ab" * 32,
            module_name="benchmark",
            policy_name="benchmark",
            policy_digest="sha256:" + "cd" * 32,
            plan_digest="sha256:" + "ef" * 32,
            mode="enforce",
            layout_version=1,
            rules=("default", "builtin", "in"),
            mounts=(MountPoint("/in", "/srv/in"),),
        )
        writer = AuditWriter(root)
        seconds = fill(writer, start, *records(count, started_ns))
        size = writer.size_bytes
        speed("durable append", count, seconds, size)
        with AuditReader(root, decode) as reader:
            ask(reader, start.exec_id, "not sealed")
        writer.end(start.exec_id, receipt(start, count))
        writer.close()
        begin = time.perf_counter()
        sealed = recover(root, decode)
        seconds = time.perf_counter() - begin
        assert [one.rows for one in sealed] == [count]
        (segment,) = sealed[0].segments
        assert segment is not None
        size = segment.stat().st_size
        speed("decode and seal", count, seconds, size)
        with AuditReader(root, decode) as reader:
            ask(reader, start.exec_id, "sealed")
            replay(reader, count)


def replay(reader: AuditReader, count: int) -> None:
    """Time what `wasmgate policy simulate` does with every record of the log."""
    text = b"""version: 1
metadata: {name: candidate}
permissions:
  storage:
    allow:
      - {uri: "fs:///srv/in/**", mount: /in, access: [read, list], include: ["reports/**/table-[0-4].csv"]}
"""
    plan = compile_policy(load_document(text, file="candidate.yaml"), base_dir="/", now_ns=None)
    begin = time.perf_counter()
    columns = columns_of(reader, RecordFilter())
    read = time.perf_counter()
    found = simulate(plan, columns)
    done = time.perf_counter()
    assert found.records == count
    print(f"{'replayed on another policy':36} {read - begin:8.2f} s to group, {done - read:.2f} s to decide")


def receipt(start: ExecutionStart, count: int) -> Receipt:
    """Give a receipt, so that the sealer need not count."""
    return Receipt(
        execution_id=start.exec_id,
        module_digest=start.module_digest,
        module_name=start.module_name,
        policy_name=start.policy_name,
        policy_digest=start.policy_digest,
        plan_digest=start.plan_digest,
        started_at_ns=start.started_at_ns,
        ended_at_ns=start.started_at_ns,
        outcome=Outcome(kind=OutcomeKind.EXITED, exit_code=0),
        records=count,
    )


def speed(name: str, count: int, seconds: float, size: int) -> None:
    """Print one line."""
    print(f"{name:28} {count / seconds / 1e6:8.2f} M records/s {size / count:8.2f} bytes a record")


def ask(reader: AuditReader, exec_id: str, state: str) -> None:
    """Time some questions."""
    questions = {
        "refusals": RecordFilter(decision="deny"),
        "path prefix": RecordFilter(path_prefix="/in/reports/2026/00017/"),
        "page of an execution": RecordFilter(execution=exec_id, limit=500),
    }
    for name, wanted in questions.items():
        begin = time.perf_counter()
        assert reader.records(wanted).rows
        print(f"{f'{name}, {state}':36} {(time.perf_counter() - begin) * 1e3:8.1f} ms")
    begin = time.perf_counter()
    assert reader.stats(RecordFilter()).executions == 1
    print(f"{f'totals, {state}':36} {(time.perf_counter() - begin) * 1e3:8.1f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
