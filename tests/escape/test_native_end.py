"""Native code in a cell says that its guest is over and goes on: it has nothing left to change, or is waited for."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from audit.receipt import OutcomeKind
from sandbox.executor import Supervision
from sandbox.guest import EndKind
from tests.escape.native import WHOLE
from tests.escape.test_native_control import end, say
from tests.runs import mount_rule, policy


def say_end_and_spin(spent_ms: str) -> str:
    """Use some processor time, say the end, which claims that none was used, and use more for ever."""
    burn(spent_ms)
    say(end())
    while True:
        pass


def burn(spent_ms: str) -> str:
    """Use some processor time, and end as a guest does."""
    until = time.process_time() + int(spent_ms) / 1_000
    while time.process_time() < until:
        pass
    return ""


def say_end_and_write(folder: str) -> str:
    """Say the end, then make a file after another for ever."""
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    say(end(EndKind.RETURNED))
    number = 0
    while True:
        number += 1
        try:
            os.close(os.open(f"made-{number}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, dir_fd=at))
        except PermissionError:
            continue


@pytest.fixture
def folder(tmp_path) -> Path:
    made = Path(tmp_path) / "mount"
    made.mkdir()
    return made


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()


def test_who_goes_on_after_its_end_is_killed_at_once(lab):
    receipt = lab.attempt(say_end_and_spin, 0).execution.receipt
    assert receipt.outcome.kind is OutcomeKind.EXITED
    until = time.monotonic() + 10
    while children(lab.zygote) and time.monotonic() < until:
        time.sleep(0.01)
    assert children(lab.zygote) == []


def test_what_a_cell_used_is_measured_and_not_believed(lab):
    spent = lab.attempt(say_end_and_spin, 200).execution.receipt.resources.cpu_ms
    assert (spent or 0) >= 200
    assert (lab.attempt(say).execution.receipt.resources.cpu_ms or 0) < 200


def test_what_a_cell_used_is_known_also_when_it_is_gone_before_anybody_looks(lab, monkeypatch):
    hear = Supervision._on_end

    def hear_late(self: Supervision, said: bytes) -> None:
        hear(self, said)
        self._watch.cell.wait()

    prompt = lab.attempt(burn, 100).execution.receipt.resources.cpu_ms
    monkeypatch.setattr(Supervision, "_on_end", hear_late)
    late = lab.attempt(burn, 100).execution.receipt.resources.cpu_ms
    assert min(prompt or 0, late or 0) >= 100


def test_with_something_to_change_the_cell_is_gone_before_its_receipt_is_written(lab, folder):
    plan = policy(mount_rule(folder, "read, list, create, write") + "  extra_args: true\n")
    lab.attempt(say_end_and_write, folder, plan=plan)
    there = sorted(path.name for path in folder.iterdir())  # what it made until it was killed
    time.sleep(0.2)
    assert sorted(path.name for path in folder.iterdir()) == there


def test_with_nothing_to_change_nothing_is(lab, folder):
    plan = policy(mount_rule(folder, "read, list") + "  extra_args: true\n")
    attempt = lab.attempt(say_end_and_write, folder, plan=plan)
    assert attempt.execution.receipt.outcome.kind is OutcomeKind.EXITED
    time.sleep(0.2)
    assert list(folder.iterdir()) == []


def test_without_walls_the_cell_is_waited_for(lab, folder):
    plan = policy(WHOLE + "runtime: {isolation: process}\n")
    lab.attempt(say_end_and_write, folder, plan=plan)
    there = sorted(path.name for path in folder.iterdir())
    time.sleep(0.2)
    assert sorted(path.name for path in folder.iterdir()) == there
