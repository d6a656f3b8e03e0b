"""Many runs at once, one after the other, and through a zygote that dies: no trail is mixed, nothing is left over."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from audit.receipt import OutcomeKind
from tests.runs import HELLO, exited, guest, policy, says


def numbered(number: int) -> bytes:
    body, data = says(b"%03d" % number)
    calls = "(drop (call $sched_yield))" * number
    return guest(
        f"{calls} {body} (call $proc_exit (i32.const {number}))",
        uses="sched_yield fd_write proc_exit",
        fields=data,
    )


def test_twenty_runs_from_eight_threads_leave_twenty_trails(log):
    modules = [numbered(number) for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda module: log.run(module, policy("runtime: {engine: pulley}\n")), modules))
    for number, one in enumerate(done):
        assert (one.receipt.outcome, one.stdout) == (exited(number), b"%03d" % number)
        names = [str(row["call"]).rpartition(".")[2] for row in log.check(one)]
        assert names == ["sched_yield"] * number + ["fd_write", "proc_exit"]
    assert len({one.receipt.execution_id for one in done}) == 20


def test_a_zygote_that_died_between_runs_is_replaced(log):
    log.run(HELLO)
    first = log.runner._cells._zygote.process
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert log.run(HELLO).stdout == b"hello\n"
    assert log.runner._cells._zygote.process.pid != first.pid


def test_runs_go_on_while_zygotes_are_killed(log):
    log.run(HELLO)
    stop = threading.Event()

    def kill() -> None:
        while not stop.wait(0.7):
            zygote = log.runner._cells._zygote
            if zygote is not None:
                zygote.process.send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            done = list(pool.map(lambda _: log.run(HELLO), range(24)))
    finally:
        stop.set()
        killer.join()
    kinds = {one.receipt.outcome.kind for one in done}
    assert OutcomeKind.EXITED in kinds
    assert kinds <= {OutcomeKind.EXITED, OutcomeKind.KILLED, OutcomeKind.REFUSED}
    for one in done:
        log.check(one)
        assert one.receipt.outcome.kind is not OutcomeKind.EXITED or one.stdout == b"hello\n"
    assert log.run(HELLO).stdout == b"hello\n"


def descriptors() -> list[str]:
    return sorted(
        target
        for fd in Path("/proc/self/fd").iterdir()
        if (target := _target(fd)) and "/proc/" not in target and "wal" not in target
    )


def _target(fd: Path) -> str:
    try:
        return str(fd.readlink()).partition(":[")[0]
    except OSError:
        return ""


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def leave_nothing(log, tmp_path: Path, runs: int) -> None:
    plan = policy(
        'permissions:\n  storage:\n    allow:\n      - {id: s, uri: "tmp://s", mount: /s, access: [read, list]}\n'
    )
    refused = b"(module)"
    trapped = guest("(unreachable)")
    each = (HELLO, trapped, refused)
    heard: list[bytes] = []
    for module in each:
        log.run(module, plan, on_stdout=heard.append)
    gc.collect()
    zygote = log.runner._cells._zygote.process.pid
    # of other tests in this process, some threads and descriptors may still be on their way out
    before, threads = Counter(descriptors()), set(threading.enumerate())
    inside = len(list(Path(f"/proc/{zygote}/fd").iterdir()))
    for number in range(runs):
        log.run(each[number % 3], plan, on_stdout=heard.append)
    assert Counter(descriptors()) <= before
    assert set(threading.enumerate()) <= threads
    assert len(list(Path(f"/proc/{zygote}/fd").iterdir())) == inside
    assert children(zygote) == []
    assert list((tmp_path / "scratch").glob("*-*")) == []


def test_runs_leave_no_descriptor_no_process_and_no_directory(log, tmp_path):
    leave_nothing(log, tmp_path, 30)


@pytest.mark.slow
def test_many_runs_leave_no_descriptor_no_process_and_no_directory(log, tmp_path):
    leave_nothing(log, tmp_path, 600)


def test_more_descriptors_than_select_knows_are_no_obstacle(log):
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(1_100)]
    try:
        assert max(held) > 1_024
        assert log.run(HELLO).stdout == b"hello\n"
    finally:
        for fd in held:
            os.close(fd)
