"""How far a log file makes sense, and what is lost behind that."""

from __future__ import annotations

import pytest

from audit.gather import Reading
from audit.senseless import lost, sensible
from audit.wal import NOBODY, Frame, Kind
from sandbox.monitor.decode import decode
from tests.records import STORY, pack, receipt, start

OF, OTHER = start(), start(number=1)


def records(of=OF, *, first_seq=0, kind=Kind.RECORDS, calls=STORY):
    made, arena = pack(calls, first_seq=first_seq)
    return Frame(kind, of.exec_id, made.tobytes(), arena, first_seq, len(calls))


BEGIN = Frame(Kind.START, OF.exec_id, OF.to_json())
END = Frame(Kind.END, OF.exec_id, receipt(OF).to_json())
GOOD = [BEGIN, records(), records(first_seq=11, kind=Kind.INTENT, calls=STORY[:1]), END]


def failing(*_):
    raise IndexError


def test_frames_that_make_sense_do_so_to_the_end():
    assert sensible(GOOD, Reading(decode)) == len(GOOD)
    assert lost(()) == {}


@pytest.mark.parametrize(
    "bad", [records(OTHER), Frame(Kind.EVENT, NOBODY, b"{"), Frame(Kind.END, OF.exec_id, b"")]
)
def test_the_first_frame_that_makes_no_sense_is_found(bad):
    for place in range(len(GOOD) + 1):
        assert sensible([*GOOD[:place], bad, *GOOD[place:]], Reading(decode)) == place


def test_records_that_cannot_be_decoded_or_masked_make_no_sense_whatever_the_error():
    assert sensible(GOOD, Reading(failing)) == 1
    assert sensible(GOOD, Reading(decode, failing)) == 1


def test_what_is_lost_is_told_by_execution_and_run():
    frames = [records(first_seq=11), records(OTHER), records(first_seq=22), records(first_seq=44), END]
    assert lost(frames) == {OF.exec_id: [(11, 32), (44, 54)], OTHER.exec_id: [(0, 10)]}
