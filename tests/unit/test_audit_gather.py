"""Frames are put back together: each record once, in order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import FormatError
from audit.gather import blocks, gaps, gather
from audit.wal import Frame, Kind, RecordFrame
from tests.records import receipt, start

ONE, TWO = start(), start(number=1)


def begin(of):
    return Frame(Kind.START, of.exec_id, of.to_json())


def records(of, first, count):
    return Frame(Kind.RECORDS, of.exec_id, bytes(64 * count), b"", first, count)


def intent(of, seq):
    return Frame(Kind.INTENT, of.exec_id, bytes(64), b"", seq, 1)


def ranges(found, **kw):
    return [(frame.first_seq, frame.n_records) for frame in found.frames(**kw)]


def test_executions_that_are_interleaved_come_apart():
    found = gather([begin(TWO), begin(ONE), records(ONE, 0, 2), records(TWO, 0, 1), records(ONE, 2, 3)])
    assert list(found) == sorted([ONE.exec_id, TWO.exec_id])
    assert ranges(found[ONE.exec_id], is_continued=False) == [(0, 2), (2, 3)]
    assert found[TWO.exec_id].start == TWO


def test_an_intent_gives_way_to_the_completed_record():
    found = gather([begin(ONE), intent(ONE, 0), records(ONE, 0, 1), intent(ONE, 1)])[ONE.exec_id]
    assert ranges(found, is_continued=False) == [(0, 1), (1, 1)]
    assert ranges(found, is_continued=True) == [(0, 1)]


def test_an_intent_before_the_start_of_a_later_file_counts():
    found = gather([intent(ONE, 5), begin(ONE)])[ONE.exec_id]
    assert ranges(found, is_continued=False) == [(5, 1)]


def test_the_end_is_found():
    end = Frame(Kind.END, ONE.exec_id, receipt(ONE).to_json())
    assert gather([begin(ONE)])[ONE.exec_id].receipt is None
    assert gather([begin(ONE), end])[ONE.exec_id].receipt == receipt(ONE)


def test_records_without_a_start_are_refused():
    with pytest.raises(FormatError):
        gather([records(ONE, 0, 1)])


@pytest.mark.parametrize(
    ("ranges", "missing"),
    [([], ()), ([(0, 4)], ()), ([(0, 1), (2, 3)], ()), ([(1, 2)], ((0, 0),)), ([(5, 6), (0, 2)], ((3, 4),))],
)
def test_gaps(ranges, missing):
    assert gaps(ranges) == missing


def test_a_later_file_may_begin_later():
    assert gaps([(7, 9)], first=7) == ()


@given(st.lists(st.integers(1, 50), max_size=20), st.integers(1, 60))
def test_blocks_keep_all_frames_and_stay_small(counts, limit):
    frames = [RecordFrame(at, count, b"", b"", 0) for at, count in enumerate(counts)]
    made = list(blocks(frames, max_records=limit))
    assert [frame for block in made for frame in block] == frames
    assert all(len(block) == 1 or sum(frame.n_records for frame in block) <= limit for block in made)
