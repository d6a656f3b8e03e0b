"""Native code in a cell writes to its ring and cuts it: the supervisor goes on, and calls the run unsound.

The ring is the cell's own to write, so what it says there later may be a lie that fits: no test can tell it from
the truth. It cannot take back what was drained, and lies that contradict themselves end the run.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import struct

import pytest

from audit.receipt import OutcomeKind
from sandbox.monitor import layout
from sandbox.outcome import UNSOUND
from tests.escape.native import WHOLE, tried
from tests.runs import exited, mount_rule, policy

WORDS = {"done": layout.DONE, "head": layout.HEAD}


def rings() -> list[int]:
    """Descriptors of files that are as large as a ring."""
    found = []
    for number in range(3, 64):
        try:
            size = os.lseek(number, 0, os.SEEK_END)
        except OSError:
            continue
        if size == layout.RING_BYTES:
            found.append(number)
    return found


def overwrite(word: str, value: str) -> str:
    (ring,) = rings()
    with mmap.mmap(ring, layout.RING_BYTES) as pages:
        struct.pack_into("<Q", pages, WORDS[word], int(value))
    return "written"


def cut() -> str:
    (ring,) = rings()
    return (
        f"{tried(lambda: os.ftruncate(ring, 0))} {tried(lambda: os.ftruncate(ring, 2 * layout.RING_BYTES))}"
    )


def seal() -> str:
    (ring,) = rings()
    return tried(lambda: fcntl.fcntl(ring, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE))


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("value", [1 << 40, (1 << 64) - 1])
def test_a_ring_that_contradicts_itself_ends_the_run(word, value, lab):
    attempt = lab.attempt(overwrite, word, value)
    outcome = attempt.execution.receipt.outcome
    assert (outcome.kind, outcome.message) == (OutcomeKind.KILLED, UNSOUND)
    lab.log.check(attempt.execution)


def test_a_ring_that_is_left_alone_is_sound(lab):
    attempt = lab.attempt(overwrite, "head", 0)
    assert attempt.execution.receipt.outcome == exited()


def test_a_ring_cannot_be_cut_or_made_larger(lab, tmp_path):
    attempt = lab.attempt(cut, plan=policy(mount_rule(tmp_path, "read, write") + "  extra_args: true\n"))
    assert attempt.said == f"{errno.errorcode[errno.EPERM]} {errno.errorcode[errno.EPERM]}"
    assert lab.attempt(cut, plan=policy(WHOLE)).is_killed  # no such call is on the list of this plan
    assert attempt.execution.receipt.outcome == exited()


def test_a_ring_cannot_be_sealed(lab):
    confined, bare = lab.both(seal)
    assert confined.is_killed
    assert bare.said in {"EPERM", "EBUSY"}
