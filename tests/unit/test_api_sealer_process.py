"""The process that seals does what it is asked, comes back when it dies, and goes when its parent does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from api.sealer_process import SealedFile, SealerProcess, SealingError
from api.sealing import Sealing
from audit.catalogue import Catalogue
from audit.store import Store
from audit.writer import AuditWriter
from tests.records import STORY, start, tell

ROOT = Path(__file__).parents[2]


@pytest.fixture
def log(tmp_path):
    writer = AuditWriter(tmp_path)
    yield writer, tmp_path
    writer.close()


@pytest.fixture
def process(tmp_path):
    made = SealerProcess(tmp_path, keys_dir=None)
    yield made
    made.close()


def gone(pid):
    return not Path(f"/proc/{pid}").exists()


def test_it_seals_what_is_over_and_says_so(log, process):
    writer, root = log
    tell(writer, start())
    before = process.pid
    assert before is None
    assert process.seal() == ()  # the writer holds its file
    writer.rotate()
    (one,) = process.seal()
    assert (one.rows, one.segments, one.receipts, one.killed, one.problem) == (len(STORY), 1, 1, 0, None)
    assert one.entries == 4
    assert one.sentence is None
    assert process.pid not in {None, os.getpid()}
    assert len(Catalogue(Store(root)).segments()) == 1


def test_one_that_was_killed_is_started_again(log, process):
    writer, _ = log
    process.seal()
    first = process.pid
    os.kill(first, signal.SIGKILL)
    tell(writer, start())
    writer.rotate()
    (one,) = process.seal()
    assert one.rows == len(STORY)
    assert process.pid != first


def test_one_that_dies_is_not_asked_again_before_it_is_gone(log, process, monkeypatch):
    writer, _ = log
    process.seal()
    first = process.pid
    tell(writer, start())
    writer.rotate()
    write = os.write

    def fail_once(*_args: object) -> int:
        monkeypatch.setattr(os, "write", write)
        raise BrokenPipeError  # its pipe is closed, and it is still there

    monkeypatch.setattr(os, "write", fail_once)
    (one,) = process.seal()
    assert one.rows == len(STORY)
    assert process.pid not in {first, None}


def test_a_failure_is_told_and_the_next_request_works(log, process):
    writer, root = log
    tell(writer, start())
    writer.rotate()
    Store(root).seal_lock.mkdir()
    with pytest.raises(SealingError, match=r"seal\.lock"):
        process.seal()
    Store(root).seal_lock.rmdir()
    assert len(process.seal()) == 1


def test_one_that_always_dies_is_not_started_without_end(tmp_path):
    now = [0.0]
    process = SealerProcess(tmp_path, keys_dir=None, clock=lambda: now[0])
    process._command = [sys.executable, "-c", ""]
    waits = []
    for _ in range(12):
        with pytest.raises(SealingError, match="without an answer"):
            process.seal()
        with pytest.raises(SealingError, match="not started again yet"):
            process.seal()
        waits.append(process._not_before - now[0])
        now[0] = process._not_before
    assert waits[0] < 1
    assert waits == sorted(waits)
    assert waits[-1] == 30


def test_one_that_answers_nonsense_is_an_error(tmp_path):
    process = SealerProcess(tmp_path, keys_dir=None)
    process._command = [sys.executable, "-c", "input(); print('[]')"]
    with pytest.raises(SealingError, match="no answer"):
        process.seal()
    process.close()


def test_one_that_says_nothing_is_killed(tmp_path):
    process = SealerProcess(tmp_path, keys_dir=None, answer_s=0.01)
    process._command = [sys.executable, "-c", "import signal; signal.pause()"]
    with pytest.raises(SealingError, match="without an answer"):
        process.seal()
    assert process.pid is None


PARENT = """
import sys
from pathlib import Path
from api.sealer_process import SealerProcess
process = SealerProcess(Path(sys.argv[1]), keys_dir=None)
process.seal()
print(process.pid, flush=True)
sys.stdin.read()
"""


def test_it_ends_when_its_parent_is_killed(tmp_path):
    Store(tmp_path).create()
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        handle = os.pidfd_open(pid)
        parent.kill()
        parent.wait()
    poll = __import__("select").poll()
    poll.register(handle)
    assert poll.poll(10_000)
    os.close(handle)


def test_the_thread_seals_what_has_grown_without_being_asked(log):
    writer, root = log
    told = threading.Event()
    sealing = Sealing(root, writer, every_s=0.01, min_bytes=1, on_failure=lambda _err: told.set())
    tell(writer, start())
    catalogue = Catalogue(Store(root))
    pause = threading.Event()
    for _ in range(400):
        if catalogue.segments():
            break
        pause.wait(0.05)
    assert len(catalogue.segments()) == 1
    pid = sealing.pid
    sealing.close()
    assert not told.is_set()
    assert gone(pid)


def test_several_failures_in_a_row_are_told_once(log):
    writer, root = log
    Store(root).seal_lock.mkdir()
    told: list[object] = []
    often = threading.Event()
    sealing = Sealing(root, writer, every_s=0.01, min_bytes=1, on_failure=told.append)
    asked = sealing._process.seal

    def counted():
        try:
            return asked()
        finally:
            if told:
                often.set()

    sealing._process.seal = counted  # type: ignore[method-assign]  # the real one is asked
    tell(writer, start())
    assert often.wait(30)
    sealing.close()
    assert len(told) == 1


def test_damage_is_told_in_a_sentence():
    one = SealedFile(
        wal="a.wal", rows=3, segments=1, receipts=0, killed=0, entries=1, lost_bytes=9, problem="corrupt"
    )
    assert one.sentence == (
        "the log file a.wal is damaged: 3 records were sealed, 9 bytes could not be read and are kept beside it"
        " as .damaged"
    )
