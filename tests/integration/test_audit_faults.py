"""A disk that fails at any point: what was acknowledged is recovered, once, and what is not there is told."""

from __future__ import annotations

import errno
import shutil

import pytest

from tests.faults import Faults
from tests.log_writers import ALL, check

CODE = "from tests.log_writers import write as main"
CALLS = ("write", "fdatasync", "fsync", "rename", "open", "mkdir")
ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
GATE, SLOW = (
    pytest.param(11, id="gate"),
    pytest.param(1, id="slow", marks=[pytest.mark.slow, pytest.mark.timeout(3_600)]),
)


@pytest.fixture(scope="module")
def forks(tmp_path_factory):
    faults = Faults(tmp_path_factory.mktemp("faults"))
    with faults.forks(CODE) as made:
        yield made


@pytest.fixture
def root(tmp_path, forks):
    forks.faults.clear()
    yield tmp_path / "log"
    forks.faults.clear()


def emptied(root):
    shutil.rmtree(root, ignore_errors=True)
    return root


@pytest.mark.parametrize("step", [GATE, SLOW])
@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_fails_once_loses_nothing(forks, root, call, step):
    points = forks.points(call, under=root, arguments=[root, "1"])
    assert points > 0
    for number in range(0, points, step):
        rule = forks.faults.fail(call, under=emptied(root), error=ERRORS[number % 4], skip=number, times=1)
        done = forks.run(root, "3")
        assert (done.status, rule.hit) == (0, 1), done.text
        there = check(root, done.text)
        assert sum(len(one) for one in there.records.values()) == ALL
        assert len(there.ends) == 3
        forks.faults.clear()


@pytest.mark.parametrize("step", [GATE, SLOW])
@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_fails_from_some_point_on_leaves_what_was_acknowledged(forks, root, call, step):
    points = forks.points(call, under=root, arguments=[root, "1"])
    assert points > 0
    for number in range(0, points, step):
        forks.faults.fail(call, under=emptied(root), error=ERRORS[number % 4], skip=number)
        done = forks.run(root, "3")
        forks.faults.clear()
        assert done.status in {0, 1}
        check(root, done.text)


@pytest.mark.parametrize("step", [GATE, SLOW])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("is_after", [False, True])
def test_a_writer_that_is_killed_at_a_call_leaves_what_was_acknowledged(forks, root, call, is_after, step):
    points = forks.points(call, under=root, arguments=[root, "1"])
    assert points > 0
    for number in range(0, points, step):
        rule = forks.faults.kill(call, under=emptied(root), skip=number, is_after=is_after)
        done = forks.run(root, "1")
        assert (done.status, rule.hit) == (-9, 1)
        forks.faults.clear()
        check(root, done.text)


@pytest.mark.parametrize("step", [GATE, SLOW])
@pytest.mark.parametrize("size", [1, 87, 88, 100, 500])
def test_a_write_that_is_cut_short_leaves_no_part_of_a_frame(forks, root, size, step):
    points = forks.points("write", under=root, arguments=[root, "1"])
    assert points > 0
    for number in range(0, points, step):
        # the rest of the frame fails, then the disk has room
        forks.faults.cut_short(under=emptied(root), error=errno.ENOSPC, size=size, skip=number, times=2)
        done = forks.run(root, "4")
        forks.faults.clear()
        assert done.status == 0, done.text
        there = check(root, done.text)
        assert sum(len(one) for one in there.records.values()) == ALL
        assert all(one.lost_bytes == 0 for one in there.sealed)


@pytest.mark.parametrize("step", [GATE, SLOW])
def test_a_part_of_a_frame_that_cannot_be_cut_away_is_cut_away_later(forks, root, step):
    points = forks.points("write", under=root, arguments=[root, "1"])
    assert points > 0
    for number in range(0, points, step):
        emptied(root)
        forks.faults.cut_short(under=root, error=errno.EIO, size=100, skip=number, times=2)
        forks.faults.fail("ftruncate", under=root, error=errno.EIO, times=2)
        done = forks.run(root, "6")
        forks.faults.clear()
        assert done.status == 0, done.text
        assert sum(len(one) for one in check(root, done.text).records.values()) == ALL


@pytest.mark.parametrize("second", ["fsync", "rename", "open", "write", "ftruncate", "fdatasync", "unlink"])
@pytest.mark.parametrize("step", [GATE, SLOW])
def test_what_a_failed_sync_left_in_doubt_is_in_one_file_only(forks, root, second, step):
    points = forks.points("fdatasync", under=root, arguments=[root, "1"])
    assert points > 0
    for number in range(0, points, step):
        emptied(root)
        forks.faults.fail("fdatasync", under=root, error=errno.EIO, skip=number, times=1)
        # and something fails on the way to the next file
        follows = forks.faults.fail(second, under=root, error=errno.EIO, skip=7 + number % 3, times=2)
        done = forks.run(root, "8")
        forks.faults.clear()
        assert done.status == 0, (done.text, follows.hit)
        there = check(root, done.text)
        assert sum(len(one) for one in there.records.values()) == ALL
