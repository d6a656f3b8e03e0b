"""A supervisor that is killed in the middle of a run: its processes end, and what it acknowledged is recovered."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from audit.filters import RecordFilter
from audit.query import AuditReader
from audit.receipt import OutcomeKind
from audit.recovery import recover
from audit.writer import AuditWriter
from sandbox.cells import Cells
from sandbox.monitor.decode import decode
from sandbox.runner import Runner
from tests.integration.test_execution_records import TELLS
from tests.runs import FOREVER, HELLO, Log, exited, guest, limit, limits, mount_rule, open_log

ROOT = Path(__file__).resolve().parents[2]
SUPERVISOR = """
import os, sys
from pathlib import Path
from sandbox.cache import ArtifactCache
from tests.runs import open_log, policy
root, cache, text = sys.argv[1:]
log = open_log(Path(root), ArtifactCache(Path(cache)))
log.runner.warm()
print(log.runner._cells._zygote.process.pid, flush=True)
log.run(Path(root, "guest.wasm").read_bytes(), policy(text))
"""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def wait_for(what, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("sync", ["deny", "all"])
def test_what_the_guest_was_told_is_in_the_log_after_the_supervisor_was_killed(
    tmp_path, cache_root, cache, sync
):
    folder = tmp_path / "d"
    folder.mkdir()
    (tmp_path / "guest.wasm").write_bytes(TELLS)
    text = (
        mount_rule(folder, "read, list, create, write")
        + '  # and scratch, which must not be left behind\n      - {id: s, uri: "tmp://s", mount: /s, access: [read]}\n'
        + f"resources: {{limits: {{host_calls: unlimited, timeout: 60s, cpu: 60s}}}}\naudit: {{sync: {sync}}}\n"
    )
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(tmp_path), str(cache_root), text],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert supervisor.stdout is not None
    zygote = int(supervisor.stdout.readline())
    seen = folder / "seen"
    wait_for(lambda: seen.exists() and seen.stat().st_size > 50)
    cells = children(zygote)
    assert cells
    scratch = list((tmp_path / "scratch").glob("*-*"))
    assert len(scratch) == 1
    if sync == "deny":  # nobody is left then who could end the cell but the kernel
        os.kill(zygote, signal.SIGKILL)
    supervisor.send_signal(signal.SIGKILL)
    supervisor.wait()
    supervisor.stdout.close()
    wait_for(lambda: not any(map(is_alive, (zygote, *cells))))
    told = seen.stat().st_size

    (sealed,) = recover(tmp_path / "log", decode)
    (receipt,) = sealed.receipts
    assert receipt.outcome.kind is OutcomeKind.KILLED
    assert sealed.killed == (receipt.execution_id,)
    with AuditReader(tmp_path / "log", decode) as reader:
        rows = list(reader.stream(RecordFilter(execution=receipt.execution_id)))
    assert sorted(int(row["seq"] or 0) for row in rows) == list(range(receipt.records))
    refused = [row for row in rows if row["decision"] == "deny"]
    assert len(refused) >= told
    if sync == "all":
        # each byte that was written, too, is on record: complete, or as the intent that it was
        assert len([row for row in rows if row["call"] == "wasi_snapshot_preview1.fd_write"]) >= told

    # the next start takes away what is left of the scratch directory
    log = open_log(tmp_path, cache)
    assert not scratch[0].exists()
    log.close()


def started(zygote: int) -> list[int]:
    """Cells whose guests run: they have a second thread, which counts their processor time."""
    return [pid for pid in children(zygote) if len([*Path(f"/proc/{pid}/task").iterdir()]) > 1]


def test_a_run_outlives_its_zygote(log):
    log.runner.warm()
    zygote = log.runner._cells._zygote.process.pid
    cells: list[int] = []

    def kill() -> None:
        wait_for(lambda: started(zygote))
        cells.extend(started(zygote))
        os.kill(zygote, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    done = log.run(guest(FOREVER), limits(timeout="1s", cpu="30s"))
    thread.join()
    assert done.receipt.outcome == limit("timeout")
    assert cells
    wait_for(lambda: not any(map(is_alive, cells)))
    # and the next run has another one
    assert log.run(guest("")).receipt.outcome.kind is OutcomeKind.EXITED


def log_of(root: Path, cache, program: str) -> Log:
    writer = AuditWriter(root / "log")
    runner = Runner(writer=writer, cache=cache, scratch=root / "scratch", cells=Cells(program))
    return Log(root / "log", writer, runner)


def test_a_cell_that_is_lost_before_its_guest_began_is_replaced(tmp_path, cache):
    log = log_of(tmp_path, cache, "tests.frail_zygote")
    for _ in range(3):
        done = log.run(HELLO)
        assert (done.receipt.outcome, done.stdout) == (exited(), b"hello\n")
        assert len(log.check(done)) == 1
    log.close()


def test_what_the_supervisor_writes_its_messages_to_is_left_alone(tmp_path, cache_root):
    (tmp_path / "guest.wasm").write_bytes(HELLO)
    messages = tmp_path / "messages"
    messages.write_text("kept\n")
    with messages.open("a") as file:
        subprocess.run(
            [sys.executable, "-c", SUPERVISOR, str(tmp_path), str(cache_root), ""],
            cwd=ROOT, stdout=subprocess.DEVNULL, stderr=file, check=True,
        )  # fmt: skip
    assert messages.read_text() == "kept\n"


def test_a_machine_on_which_every_cell_dies_refuses_the_run(tmp_path, cache):
    log = log_of(tmp_path, cache, "tests.fatal_zygote")
    receipt = log.run(HELLO).receipt
    assert receipt.outcome.kind is OutcomeKind.REFUSED
    assert "ended before they could begin" in (receipt.outcome.message or "")
    assert log.check(receipt) == []
    log.close()
