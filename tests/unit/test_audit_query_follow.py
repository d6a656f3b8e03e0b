"""A live tail gives each durable record once, whatever is sealed meanwhile, and says when it cannot."""

from __future__ import annotations

import pytest

from audit.errors import FilterError
from audit.filters import RecordFilter
from audit.query import AuditReader
from audit.recovery import recover
from audit.writer import AuditWriter
from sandbox.monitor.decode import decode
from tests.records import STORY, pack, start, tell

ALL = RecordFilter()


def drained(follower, position, wanted=ALL, *, limit=1000):
    """Give the names of all records since a position, and the position behind them."""
    found = []
    for _ in range(100):
        polled = follower.poll(position, wanted, limit=limit)
        assert not polled.is_gap
        found += [(row["exec_id"], row["seq"]) for row in polled.rows]
        position = polled.position
        if not polled.is_behind:
            return found, position
    raise AssertionError("polling does not end")


def names(of, count, first=0):
    return [(of.exec_id, seq) for seq in range(first, first + count)]


def test_it_begins_now_and_gives_what_comes(tmp_path):
    writer = AuditWriter(tmp_path)
    tell(writer, start())
    with AuditReader(tmp_path, decode) as reader:
        follower = reader.follow()
        position = follower.now()
        assert drained(follower, position)[0] == []
        count = tell(writer, start(number=1))
        found, position = drained(follower, position)
        assert found == names(start(number=1), count)
        assert drained(follower, position)[0] == []
        assert drained(follower, follower.start())[0] == names(start(), count) + found
    writer.close()


@pytest.mark.parametrize("limit", [1, 3, 7, 1000])
def test_a_position_survives_sealing_and_rotation(tmp_path, limit):
    writer, one, two = AuditWriter(tmp_path), start(), start(number=1)
    with AuditReader(tmp_path, decode) as reader:
        follower = reader.follow()
        position = follower.now()
        count = tell(writer, one, is_ended=False)
        half = follower.poll(position, ALL, limit=5)
        assert [(row["exec_id"], row["seq"]) for row in half.rows] == names(one, 5)
        writer.rotate()
        recover(tmp_path, decode)
        made, arena = pack(STORY[:3], first_seq=count)
        writer.append(one.exec_id, first_seq=count, records=made.tobytes(), arena=arena)
        writer.commit()
        tell(writer, two)
        writer.rotate()
        recover(tmp_path, decode)
        found, _ = drained(follower, half.position, limit=limit)
        assert found == names(one, count - 5, 5) + names(one, 3, count) + names(two, count)
    writer.close()


def test_a_file_that_came_and_went_unseen_is_given_as_well(tmp_path):
    AuditWriter(tmp_path).close()
    with AuditReader(tmp_path, decode) as reader:
        follower = reader.follow()
        position = follower.now()
        writer = AuditWriter(tmp_path)
        count = tell(writer, start(), rounds=2)
        writer.close()
        recover(tmp_path, decode)
        assert drained(follower, position, limit=4)[0] == names(start(), count)


def test_filters_and_tenants_hold(tmp_path):
    writer = AuditWriter(tmp_path)
    with AuditReader(tmp_path, decode) as reader:
        follower = reader.follow()
        position = follower.now()
        tell(writer, start())
        tell(writer, start(number=1, tenant="acme"))
        found, _ = drained(follower, position, RecordFilter(tenants=("acme",), decision="deny"))
        assert found == [(start(number=1).exec_id, 4)]
        assert drained(follower, position, RecordFilter(tenants=()))[0] == []
    writer.close()


def test_a_position_of_another_process_is_a_gap(tmp_path):
    writer = AuditWriter(tmp_path)
    count = tell(writer, start())
    with AuditReader(tmp_path, decode) as reader:
        other, follower = reader.follow(), reader.follow()
        polled = follower.poll(other.now(), ALL)
        assert polled.is_gap
        assert len(polled.rows) == count
        assert not follower.poll(polled.position, ALL).is_gap
    writer.close()


@pytest.mark.parametrize(
    "position", ["", "x", "0.0.0", "0" * 16 + ".-1.0", "0" * 16 + ".1", "z" * 16 + ".1.1"]
)
def test_a_position_that_is_none_is_refused(tmp_path, position):
    AuditWriter(tmp_path).close()
    with AuditReader(tmp_path, decode) as reader, pytest.raises(FilterError, match="position"):
        reader.follow().poll(position, ALL)


def test_what_is_forgotten_is_a_gap(tmp_path, monkeypatch):
    monkeypatch.setattr("audit.tail_files._MAX_ENTRIES", 2)
    writer = AuditWriter(tmp_path)
    with AuditReader(tmp_path, decode) as reader:
        follower = reader.follow()
        position = follower.now()
        for number in range(4):
            tell(writer, start(number=number))
        polled = follower.poll(position, ALL)
        assert polled.is_gap
        assert {row["exec_id"] for row in polled.rows} == {start(number=2).exec_id, start(number=3).exec_id}
    writer.close()
