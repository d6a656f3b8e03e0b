"""Writing with and without ten reading processes, in turns, for `audit_engine.py`.

Run as a program it is one of the readers, or, to compare, a program of the same priority that fills 16 MiB of
memory again and again and reads nothing. INVARIANT: with and without take turns over the same records, in one
run, and the log is sealed meanwhile as the service does it.
"""

from __future__ import annotations

import contextlib
import select
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from audit_log_of_record import COMMIT_RECORDS, fill
from audit_shapes import Piece, Workload

from api.priority import giving_way
from api.sealing import Sealing, open_reader
from audit.errors import QueryError
from audit.filters import RecordFilter
from audit.identity import new_execution_id
from audit.writer import AuditWriter

READERS, ROUNDS, RECORDS = 10, 5, 2_000_000
RATES = (("all it can", None, RECORDS), ("100,000 records a second", 1e5, 400_000))
PAUSES = (("once a second", 1.0), ("ten times a second", 0.1), ("without a pause", 0.0))
FILLS, FILL_BYTES = -1.0, 16 << 20  # instead of a pause: it asks nothing
T = TypeVar("T")


def side_by_side(folder: Path) -> None:
    """Print how fast records become durable alone, and while ten processes read."""
    fill(folder / "log", RECORDS, batches=10, file_records=250_000)
    print("\nTen readers beside a writer\n")
    print(
        "| it writes | each reader asks | alone, M records/s | beside them, M records/s | lost, % | pages a second |"
    )
    print("|---|---|---|---|---|---|")
    for name, rate, count in RATES:
        pieces = list(Workload(count, seed=2).pieces())
        for asks, pause in (*PAUSES, ("nothing: it fills memory", FILLS)):
            found = [_round(folder / "log", pieces, rate, pause) for _ in range(ROUNDS)]
            alone, beside, pages = (statistics.median(one[at] for one in found) for at in range(3))
            lost = statistics.median((1 - slow / fast) * 100 for fast, slow, _ in found)
            print(
                f"| {name} | {asks} | {alone / 1e6:.3f} | {beside / 1e6:.3f} | {lost:.0f} | {pages:.0f} |",
                flush=True,
            )


def _round(root: Path, pieces: list[Piece], rate: float | None, pause: float) -> tuple[float, float, float]:
    alone = _written(root, pieces, rate)
    command = [sys.executable, __file__, str(root), str(pause)]
    readers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(READERS)
    ]
    for one in readers:
        _there(one.stdout).readline()  # it has asked once
    begun = time.perf_counter()
    beside = _written(root, pieces, rate)
    took = time.perf_counter() - begun
    counts = [int(one.communicate("\n")[0]) for one in readers]
    return alone, beside, sum(counts) / took


def _written(root: Path, pieces: list[Piece], rate: float | None) -> float:
    """Give how many records became durable a second."""
    writer = AuditWriter(root)
    sealing = Sealing(root, writer, every_s=5.0, min_bytes=1, on_failure=print)
    names = {piece.start.exec_id: new_execution_id() for piece in pieces}
    done = uncommitted = 0
    begun = time.perf_counter()
    for piece in pieces:
        name = names[piece.start.exec_id]
        if piece.receipt is not None:
            writer.end(name, replace(piece.receipt, execution_id=name))
        elif piece.records is None:
            writer.begin(replace(piece.start, exec_id=name))
        else:
            writer.append(name, first_seq=piece.first_seq, records=piece.records.tobytes(), arena=piece.arena)
            done, uncommitted = done + len(piece.records), uncommitted + len(piece.records)
            if uncommitted >= COMMIT_RECORDS or rate is not None:
                writer.commit()
                uncommitted = 0
            if rate is not None:
                time.sleep(max(begun + done / rate - time.perf_counter(), 0))
    writer.commit()
    took = time.perf_counter() - begun
    sealing.seal()
    sealing.close()
    writer.close()
    return done / took


def fill_memory() -> None:
    """Fill memory until there is a line to read."""
    memory, page = bytearray(FILL_BYTES), bytes(FILL_BYTES)
    with giving_way():
        print("ready", flush=True)
        while not select.select([sys.stdin], [], [], 0)[0]:
            memory[:] = page
    print(0)


def read(root: Path, pause: float) -> None:
    """Ask for the newest records, and for a page of refusals, until there is a line to read; say how many."""
    count = 0
    with giving_way(), open_reader(root) as reader:  # as `audit query` does
        while True:
            wanted = RecordFilter(limit=100) if count % 2 else RecordFilter(decision="deny", limit=100)
            with contextlib.suppress(QueryError):
                reader.records(wanted)
            count += 1
            if count == 1:
                print("ready", flush=True)
            if select.select([sys.stdin], [], [], pause)[0]:
                break
    print(count)


def _there(found: T | None) -> T:
    if found is None:
        raise TypeError("no pipe")
    return found


if __name__ == "__main__":
    if float(sys.argv[2]) == FILLS:
        fill_memory()
    else:
        read(Path(sys.argv[1]), float(sys.argv[2]))
