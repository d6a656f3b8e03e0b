"""Many hostile guests at once over one runner: each ends at its limit, and whoever else is there is answered."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path

import pytest

from tests.limit_guests import CROWD, Hostile
from tests.runs import HELLO, exited, limit, limits, mount_rule, policy

MORE = {"timeout": "120s", "cpu": "60s"}


def family(pid: int) -> set[int]:
    """All processes that a process has started, and those that they have."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in task.read_text().split()]
        except OSError:  # that thread has ended
            continue
        found.update(children)
        for child in children:
            found |= family(child)
    return found


@contextmanager
def answering() -> Iterator[list[int]]:
    """A thread that asks, and one that answers, until the block is over; counts the answers."""
    ours, theirs = socket.socketpair()
    over, answers = threading.Event(), [0]

    def ask() -> None:
        while not over.is_set():
            ours.send(b"?")
            answers[0] += ours.recv(1) == b"!"

    def answer() -> None:
        while theirs.recv(1):
            theirs.send(b"!")

    threads = [threading.Thread(target=each) for each in (ask, answer)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        over.set()
        threads[0].join()
        ours.close()
        threads[1].join()
        theirs.close()


def play(log, folder: Path, hostile: Hostile):
    given = MORE | hostile.limits
    if not hostile.has_folder:
        return log.run(hostile.module, limits(**given))
    folder.mkdir()
    (folder / "f").write_bytes(b"")
    inner = ", ".join(f"{name}: {value}" for name, value in given.items())
    text = mount_rule(folder, "read, list, create, write") + f"resources: {{limits: {{{inner}}}}}\n"
    return log.run(hostile.module, policy(text))


def crowd(log, tmp_path: Path, count: int) -> None:
    before = family(os.getpid())
    # compiled first, so that what is under way at once are guests
    for each in CROWD.values():
        play(log, tmp_path / f"first-{each.ends_by}-{id(each)}", each)
    assert log.run(HELLO).stdout == b"hello\n"
    jobs = list(islice(cycle(CROWD.items()), count))
    with answering() as answers, ThreadPoolExecutor(count) as pool:
        begun = [
            pool.submit(play, log, tmp_path / f"mount-{n}", hostile) for n, (_, hostile) in enumerate(jobs)
        ]
        good = []
        while not all(each.done() for each in begun):
            good.append(log.run(HELLO, limits(**MORE)))
        met = answers[0]
    for (name, hostile), done in zip(jobs, begun, strict=True):
        assert (name, done.result().receipt.outcome) == (name, limit(hostile.ends_by))
        assert done.result().receipt.records == done.result().receipt.resources.host_calls
    assert {one.receipt.outcome for one in good} <= {exited()}
    assert good
    assert met >= 10 * count  # each is answered by two threads of the process that supervises them all
    assert log.runner.running == ()
    assert list((tmp_path / "scratch").glob("*-*")) == []
    log.runner.close()
    assert family(os.getpid()) <= before


def test_ten_hostile_guests_at_once_end_at_their_limits(log, tmp_path):
    crowd(log, tmp_path, 10)


@pytest.mark.slow
def test_a_hundred_hostile_guests_at_once_end_at_their_limits(log, tmp_path):
    crowd(log, tmp_path, 100)
