"""What a writer acknowledged is on disk; when it can't keep that promise, it says so and stops."""

from __future__ import annotations

import threading

import pytest

from audit.errors import OrderError, UnknownExecutionError, WriteError
from audit.receipt import Receipt
from audit.recovery import recover
from audit.store import Store
from audit.wal import Kind, read_frames
from audit.writer import AuditWriter
from sandbox.monitor.decode import decode
from tests.records import STORY, pack, receipt, start, tell


def kinds(path):
    return [frame.kind for frame in read_frames(path).frames]


def test_a_run_is_a_start_records_and_an_end(tmp_path):
    writer, of = AuditWriter(tmp_path), start()
    tell(writer, of, rounds=2)
    assert kinds(writer.path) == [Kind.START, Kind.RECORDS, Kind.RECORDS, Kind.END]
    assert Receipt.from_json(Store(tmp_path).receipt(of.exec_id).read_bytes()) == receipt(
        of, records=2 * len(STORY)
    )
    writer.close()


def test_records_are_kept_as_they_are(tmp_path):
    writer, of = AuditWriter(tmp_path), start()
    made, arena = pack(STORY)
    writer.begin(of)
    writer.append(
        of.exec_id, first_seq=0, records=memoryview(made.tobytes()), arena=bytearray(arena), arena_start=7
    )
    frame = read_frames(writer.path).frames[1]
    assert (bytes(frame.payload), bytes(frame.arena), frame.arena_start) == (made.tobytes(), arena, 7)
    assert (frame.first_seq, frame.n_records) == (0, len(STORY))
    writer.close()


def test_the_log_is_its_owners_alone(tmp_path):
    writer = AuditWriter(tmp_path / "log")
    assert writer.path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o700
    writer.close()


def test_an_order_with_a_gap_or_twice_is_refused_and_the_right_one_is_taken(tmp_path):
    writer, of, record = AuditWriter(tmp_path), start(), bytes(64)
    writer.begin(of)
    writer.append(of.exec_id, first_seq=0, records=record)
    for wrong in (0, 2):
        with pytest.raises(OrderError):
            writer.append(of.exec_id, first_seq=wrong, records=record)
    with pytest.raises(OrderError):
        writer.append(of.exec_id, first_seq=1, records=record[:-1])
    with pytest.raises(OrderError):
        writer.intent(of.exec_id, seq=0, record=record)
    writer.intent(of.exec_id, seq=1, record=record)
    writer.append(of.exec_id, first_seq=1, records=record)
    assert kinds(writer.path) == [Kind.START, Kind.RECORDS, Kind.INTENT, Kind.RECORDS]
    writer.close()


def test_records_of_an_execution_that_is_not_open_are_refused(tmp_path):
    writer, of = AuditWriter(tmp_path), start()
    with pytest.raises(UnknownExecutionError):
        writer.append(of.exec_id, first_seq=0, records=bytes(64))
    tell(writer, of)
    with pytest.raises(UnknownExecutionError):
        writer.append(of.exec_id, first_seq=len(STORY), records=bytes(64))
    with pytest.raises(UnknownExecutionError):
        writer.end(of.exec_id, receipt(of))
    writer.close()


def test_begun_twice_is_refused(tmp_path):
    writer, of = AuditWriter(tmp_path), start()
    writer.begin(of)
    with pytest.raises(UnknownExecutionError):
        writer.begin(of)
    assert writer.live == {of.exec_id}
    writer.close()


def test_a_shard_with_a_slash_is_refused(tmp_path):
    with pytest.raises(WriteError):
        AuditWriter(tmp_path, shard="../x")
    AuditWriter(tmp_path, shard="service").close()


def test_a_closed_writer_takes_nothing(tmp_path):
    writer = AuditWriter(tmp_path)
    writer.close()
    writer.close()
    with pytest.raises(WriteError, match="closed"):
        writer.begin(start())
    assert list(Store(tmp_path).wal.iterdir()) == []


def test_going_on_in_a_new_file_repeats_what_later_frames_need(tmp_path):
    writer, of, over = AuditWriter(tmp_path, rotate_bytes=1), start(), start(number=1)
    tell(writer, over)
    tell(writer, of, is_ended=False)
    writer.intent(of.exec_id, seq=len(STORY), record=bytes(64))
    old = writer.rotate_if_large()
    assert old is not None
    assert kinds(writer.path) == [Kind.INTENT, Kind.START]
    assert recover(tmp_path, decode)[0].wal == old.name
    assert writer.path.exists()
    writer.end(of.exec_id, receipt(of))
    writer.close()


def test_a_small_or_empty_file_is_not_rotated(tmp_path):
    writer = AuditWriter(tmp_path)
    assert writer.rotate() is None
    writer.begin(start())
    assert writer.rotate_if_large() is None
    writer.close()


def test_threads_share_a_writer_and_lose_nothing(tmp_path):
    writer, runs = AuditWriter(tmp_path, rotate_bytes=20_000), [start(number=number) for number in range(6)]
    failures = []

    def work(of):
        try:
            tell(writer, of, rounds=15)
            writer.rotate_if_large()
        except Exception as err:  # noqa: BLE001 -- handed to the main thread
            failures.append(err)

    threads = [threading.Thread(target=work, args=(of,)) for of in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    assert failures == []
    sealed = recover(tmp_path, decode)
    assert sum(one.rows for one in sealed) == 6 * 15 * len(STORY)
    assert all(not one.killed and not one.gaps and one.problem is None for one in sealed)
