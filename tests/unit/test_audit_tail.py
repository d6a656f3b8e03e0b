"""What is not sealed yet can be read while it is written, and is decoded once."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from audit import tail
from audit.catalogue import Catalogue
from audit.filters import RecordFilter
from audit.query import AuditReader
from audit.recovery import recover
from audit.store import Store
from audit.tail import TailReader
from audit.writer import AuditWriter
from sandbox.monitor.decode import decode
from tests.records import STORY, pack, start, tell


def everything(_):
    return True


def reader_of(root, decoder=decode) -> TailReader:
    store = Store(root)
    return TailReader(store, Catalogue(store), decoder)


def test_it_holds_what_was_written_so_far(tmp_path):
    writer, one, two = AuditWriter(tmp_path), start(), start(number=1)
    reader = reader_of(tmp_path)
    assert reader.look(everything).table.num_rows == 0
    tell(writer, one)
    tell(writer, two, rounds=2, is_ended=False)
    found = reader.look(everything)
    assert found.sources == {writer.path.name}
    assert found.live == ((two.exec_id, 2 * len(STORY) - 1),)
    assert found.table.num_rows == 3 * len(STORY)
    assert reader.look(lambda of: of.exec_id == two.exec_id).table.num_rows == 2 * len(STORY)
    assert {of.exec_id: receipt is not None for of, receipt in reader.known()} == {
        one.exec_id: True,
        two.exec_id: False,
    }
    writer.close()
    reader.close()


def test_each_record_is_decoded_once_and_only_those_that_are_asked_for(tmp_path):
    decoded: list[Any] = []

    def counting(of, frames, known):
        decoded.extend((of.exec_id, frame.first_seq) for frame in frames)
        return decode(of, frames, known)

    writer, one, two = AuditWriter(tmp_path), start(), start(number=1)
    reader = reader_of(tmp_path, counting)
    tell(writer, one, is_ended=False)
    tell(writer, two)
    for _ in range(3):
        assert reader.look(lambda of: of.exec_id == one.exec_id).table.num_rows == len(STORY)
    assert decoded == [(one.exec_id, 0)]
    made, arena = pack(STORY[:3], first_seq=len(STORY))
    writer.append(one.exec_id, first_seq=len(STORY), records=made.tobytes(), arena=arena)
    assert reader.look(lambda of: of.exec_id == one.exec_id).table.num_rows == len(STORY) + 3
    assert decoded == [(one.exec_id, 0), (one.exec_id, len(STORY))]
    writer.close()
    reader.close()


def test_rows_are_the_same_before_and_after_sealing(tmp_path):
    writer, of = AuditWriter(tmp_path), start()
    tell(writer, of, rounds=3, is_ended=False)
    with AuditReader(tmp_path, decode) as reader:
        before = list(reader.stream(RecordFilter()))
        writer.rotate()
        recover(tmp_path, decode)
        assert list(reader.stream(RecordFilter())) == before
        # the next file begins in the middle: what is open is known from the one before
        made, arena = pack(STORY[6:7], first_seq=3 * len(STORY))
        made["opener"] = 5
        writer.append(of.exec_id, first_seq=3 * len(STORY), records=made.tobytes(), arena=arena)
        newest = reader.records(RecordFilter(limit=1)).rows[0]
        assert newest["target"] == "tmp://out/out.txt"
    writer.close()


def test_a_call_in_flight_is_there_once_and_what_became_of_it_too(tmp_path):
    writer, of = AuditWriter(tmp_path), start()
    reader = reader_of(tmp_path)
    writer.begin(of)
    made, arena = pack(STORY[:1])
    writer.intent(of.exec_id, seq=0, record=made.tobytes(), arena=arena)
    assert reader.look(everything).table.num_rows == 1
    writer.append(of.exec_id, first_seq=0, records=made.tobytes(), arena=arena)
    assert reader.look(everything).table.num_rows == 1
    assert reader.look(everything).live == ((of.exec_id, 0),)
    writer.close()
    reader.close()


def test_a_file_that_is_sealed_between_listing_and_reading_is_passed_over(tmp_path, monkeypatch):
    writer = AuditWriter(tmp_path)
    tell(writer, start())
    gone = Store(tmp_path).wal / "run-0-000000.wal"
    monkeypatch.setattr(tail, "wal_files", lambda _: [gone, writer.path])
    reader = reader_of(tmp_path)
    assert reader.look(everything).sources == {writer.path.name}
    writer.close()
    reader.close()


def test_a_frame_that_is_half_written_is_not_there_yet(tmp_path):
    writer = AuditWriter(tmp_path)
    count = tell(writer, start())
    whole = writer.path.read_bytes()
    other = tmp_path / "other"
    Store(other).create()
    path = other / "wal" / writer.path.name
    reader = reader_of(other)
    seen = 0
    for size in range(0, len(whole), 97):
        with path.open("ab") as file:
            file.write(whole[path.stat().st_size : size])
        rows = reader.look(everything).table.num_rows
        assert rows in {0, count}
        assert rows >= seen
        seen = rows
    writer.close()
    reader.close()


def test_what_was_decoded_is_forgotten_when_it_is_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr(tail, "_CACHE_BYTES", 1)
    writer = AuditWriter(tmp_path)
    reader = reader_of(tmp_path)
    for number in range(3):
        tell(writer, start(number=number))
    for _ in range(2):
        for number in range(3):
            assert reader.look(start(number=number).__eq__).table.num_rows == len(STORY)
    assert sum(bool(run.tables) for run in reader._runs.values()) == 1
    writer.close()
    reader.close()


@pytest.mark.timeout(60)
def test_each_record_is_found_once_while_one_writes_and_another_seals(tmp_path):
    writer, problems, is_over = AuditWriter(tmp_path), [], threading.Event()
    written = []

    def write():
        for number in range(25):
            tell(writer, start(number=number), rounds=2)
            written.append(number)
            writer.rotate()
        is_over.set()

    def seal():
        while not is_over.is_set():
            recover(tmp_path, decode)

    with AuditReader(tmp_path, decode) as reader:
        threads = [threading.Thread(target=one) for one in (write, seal)]
        for thread in threads:
            thread.start()
        while not is_over.is_set():
            done = len(written)
            rows = [
                (str(row["exec_id"]), row["seq"])
                for row in reader.stream(RecordFilter(fields=("exec_id", "seq")))
            ]
            if len(set(rows)) != len(rows):
                problems.append("twice")
            if len([one for one in rows if one[0] <= start(number=done - 1).exec_id]) < done * 2 * len(STORY):
                problems.append("lost")
        for thread in threads:
            thread.join()
        assert not problems
        assert reader.stats(RecordFilter()).records == 25 * 2 * len(STORY)
    writer.close()
