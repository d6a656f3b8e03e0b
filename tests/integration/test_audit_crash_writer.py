"""`kill -9` of a writer under load, at any instant: acknowledged is recovered, and a reader never sees a torn frame."""

from __future__ import annotations

import random
import shutil
import threading
from pathlib import Path

import pytest

from audit.filters import RecordFilter
from audit.query import AuditReader
from audit.store import Store
from audit.wal import Place, read_on
from sandbox.monitor.decode import decode
from tests.faults import Faults
from tests.log_writers import check
from tests.records import STORY

GATE = pytest.param(range(40), id="gate")
SLOW = pytest.param(range(1000, 3000), id="slow", marks=[pytest.mark.slow, pytest.mark.timeout(3_600)])


@pytest.fixture
def forks(tmp_path):
    with Faults(tmp_path).forks("from tests.log_writers import load as main") as made:
        yield made


@pytest.mark.parametrize("rounds", [GATE, SLOW])
def test_a_writer_that_is_killed_leaves_all_that_it_acknowledged(tmp_path, forks, rounds):
    root, most = tmp_path / "log", 0
    for seed in rounds:
        shutil.rmtree(root, ignore_errors=True)
        done = forks.run(root, str(seed), kill_after_s=random.Random(seed).random() * 0.08)
        assert done.status == -9
        there = check(root, done.text)
        most = max(most, sum(len(one) for one in there.records.values()))
        assert all(one.problem in {None, "torn"} and not one.gaps for one in there.sealed)
    assert most > 10 * len(STORY)


class Watcher(threading.Thread):
    """Reads each log file on, as a tail does, and each query, until it is told to stop."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root, self.over = root, threading.Event()
        self.places: dict[Path, Place] = {}
        self.failures: list[BaseException] = []
        self.looks = 0

    def run(self) -> None:
        try:
            with AuditReader(self.root, decode) as reader:
                while not self.over.is_set():
                    self._look(reader)
        except BaseException as err:  # noqa: BLE001  # for the thread that started this one
            self.failures.append(err)

    def _look(self, reader: AuditReader) -> None:
        for path in Store(self.root).wal.glob("[!.]*.wal"):
            _, self.places[path] = read_on(memoryview(path.read_bytes()), self.places.get(path, Place()))
        seen: dict[str, list[int]] = {}
        for row in reader.stream(RecordFilter(ascending=True)):
            seen.setdefault(str(row["exec_id"]), []).append(int(row["seq"] or 0))
        for seqs in seen.values():
            assert sorted(seqs) == list(range(len(seqs)))
        self.looks += 1


@pytest.mark.parametrize("rounds", [GATE, SLOW])
def test_a_reader_sees_whole_frames_only_while_writers_are_killed(tmp_path, forks, rounds):
    root = tmp_path / "log"
    Store(root).create()
    watcher = Watcher(root)
    watcher.start()
    try:
        texts = [
            forks.run(root, str(seed), kill_after_s=random.Random(seed).random() * 0.1).text
            for seed in rounds[: max(2, len(rounds) // 20)]
        ]
    finally:
        watcher.over.set()
        watcher.join()
    assert watcher.failures == []
    assert watcher.looks > 0
    for path, place in watcher.places.items():  # what the reader took for whole is whole still
        _, end = read_on(memoryview(path.read_bytes()), Place())
        assert end.offset >= place.offset
    assert any(texts)
