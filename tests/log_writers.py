"""Programs that write a log while a disk fails or somebody kills them, and what has to be there afterwards.

The faults are `tests/faults.py`; records are those of `tests/records.py`. A program prints a line for what was
acknowledged, once it was. INVARIANT: `acknowledged` is read from what a program printed, and from nothing else.
"""

# ruff: noqa: T201  # programs that say what they did
from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from audit.errors import LogFullError
from audit.events import Gap
from audit.recovery import recover
from audit.sealer import Sealed
from audit.start import ExecutionStart
from audit.store import Store
from audit.tlog.log import TransparencyLog
from audit.wal import Kind, read_frames
from audit.writer import AuditWriter
from sandbox.monitor.decode import decode
from tests.records import STORY, pack, receipt, start

_T = TypeVar("_T")
RUNS, ROUNDS = 3, 6
ALL = RUNS * ROUNDS * len(STORY)


def insist(act: Callable[[], _T], tries: int) -> _T:
    """Ask again, as often as is said."""
    for left in range(tries, 0, -1):
        try:
            return act()
        except LogFullError:
            if left == 1:
                raise
    raise AssertionError


def told(writer: AuditWriter, of: ExecutionStart, number: int, tries: int) -> None:
    """Append one round of the story, with its last record as an intent before."""
    first = number * len(STORY)
    made, arena = pack(STORY, first_seq=first, t0=of.started_at_ns)
    for name in ("opener", "aux"):
        made[name] = -1
    raw, last = made.tobytes(), made[-1:].tobytes()
    insist(lambda: writer.append(of.exec_id, first_seq=first, records=raw[:-64], arena=arena), tries)
    seq = first + len(STORY) - 1
    insist(lambda: writer.intent(of.exec_id, seq=seq, record=last), tries)
    insist(lambda: writer.append(of.exec_id, first_seq=seq, records=last), tries)


def write(root: str, tries: str = "1") -> None:
    """Write some executions that go on side by side, over several files; say what is durable."""
    many = int(tries)
    writer = insist(lambda: AuditWriter(Path(root)), many)
    runs = [start(number=number) for number in range(RUNS)]
    for of in runs:
        insist(lambda of=of: writer.begin(of), many)  # type: ignore[misc]  # bound at once
    for number in range(ROUNDS):
        for of in runs:
            told(writer, of, number, many)
        if number % 2:
            insist(writer.commit, many)
            for of in runs:
                print(f"{of.exec_id} {(number + 1) * len(STORY)}", flush=True)
        if number == ROUNDS // 2:
            insist(writer.rotate, many)
    for of in runs:
        insist(lambda of=of: writer.end(of.exec_id, receipt(of, records=ROUNDS * len(STORY))), many)  # type: ignore[misc]  # as above
        print(f"{of.exec_id} end", flush=True)
    writer.close()


def load(root: str, seed: str) -> None:
    """Write executions from three threads, until somebody kills the process; say what is durable."""
    writer, say = AuditWriter(Path(root), rotate_bytes=150_000), threading.Lock()

    def work(number: int) -> None:
        chance, number = random.Random(f"{seed}:{number}"), int(seed) * 10_000 + number
        of, done = start(number=number), 0
        writer.begin(of)
        while True:
            for _ in range(chance.choice([1, 1, 2, 5])):
                told(writer, of, done, 1)
                done += 1
            writer.commit(of.exec_id)
            writer.rotate_if_large()
            with say:
                print(f"{of.exec_id} {done * len(STORY)}", flush=True)
            if chance.random() < 0.02:
                writer.end(of.exec_id, receipt(of, records=done * len(STORY)))
                with say:
                    print(f"{of.exec_id} end", flush=True)
                number += 100
                of, done = start(number=number), 0
                writer.begin(of)

    for number in range(3):
        threading.Thread(target=work, args=(number,), daemon=True).start()
    threading.Event().wait()


@dataclass(frozen=True, slots=True)
class Found:
    """What is in a log after recovery."""

    sealed: tuple[Sealed, ...]
    records: dict[str, Counter[int]] = field(default_factory=dict)  # how often each number is there
    ends: frozenset[str] = frozenset()
    gaps: tuple[Gap, ...] = ()


def found(root: Path) -> Found:
    """Read the log files of writers that are gone, then recover them, and see that both say the same."""
    gaps: list[Gap] = []
    records: dict[str, Counter[int]] = {}
    for path in sorted(Store(root).wal.glob("[!.]*.wal")):
        for frame in read_frames(path).frames:
            if frame.kind is Kind.GAP:
                gaps.append(Gap.from_json(frame.payload))
            if frame.kind is Kind.RECORDS:
                seqs = range(frame.first_seq, frame.first_seq + frame.n_records)
                records.setdefault(frame.exec_id, Counter()).update(seqs)
    sealed = recover(root, decode)
    assert sum(one.rows for one in sealed) >= sum(len(each) for each in records.values())
    ends = frozenset(
        one.execution_id for each in sealed for one in each.receipts if one.outcome.exit_code == 0
    )
    TransparencyLog(Store(root).tlog).root()
    return Found(sealed, records, ends, tuple(gaps))


def acknowledged(text: str) -> tuple[dict[str, int], frozenset[str]]:
    """Give what a program said is durable: records by execution, and ends."""
    counts, ends = {}, set()
    for line in text.splitlines(keepends=True):
        name, _, what = line.strip().partition(" ")
        if not line.endswith("\n") or len(name) != 36:
            continue
        if what == "end":
            ends.add(name)
        else:
            counts[name] = int(what)
    return counts, frozenset(ends)


def check(root: Path, text: str) -> Found:
    """See that what was acknowledged is there, and nothing twice."""
    counts, ends = acknowledged(text)
    there = found(root)
    for records in there.records.values():
        assert set(records.values()) <= {1}
        assert list(records) == list(range(len(records)))
    for name, count in counts.items():
        assert len(there.records[name]) >= count
    assert ends <= there.ends
    return there
