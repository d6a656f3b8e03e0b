"""When the disk takes nothing, or somebody touches the files, a writer says so, goes on, and tells what is missing."""

from __future__ import annotations

import os
import resource
import shutil
import threading
from contextlib import contextmanager

import pytest

from audit.errors import LogFullError, LogLostError, UnknownExecutionError
from audit.events import Gap
from audit.filters import RecordFilter
from audit.log_file import LogFile
from audit.query import AuditReader
from audit.recovery import recover
from audit.store import Store
from audit.unsynced import MAX_RECORDS
from audit.wal import Kind, read_frames
from audit.writer import AuditWriter
from sandbox.monitor.decode import decode
from tests.records import STORY, T0, receipt, start, tell

RECORD = bytes(64)


def frames(root, kind):
    return [
        frame
        for path in sorted(Store(root).wal.glob("[!.]*.wal"))
        for frame in read_frames(path).frames
        if frame.kind is kind
    ]


def gaps(root):
    return [Gap.from_json(frame.payload) for frame in frames(root, Kind.GAP)]


@contextmanager
def full(writer):
    """Let no file grow beyond what the log has now: writes are refused as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (writer.size_bytes + 10, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_full_refuses_and_takes_the_same_once_it_has_room(tmp_path):
    writer, of = AuditWriter(tmp_path), start()
    writer.begin(of)
    with full(writer):
        for _ in range(3):
            with pytest.raises(LogFullError, match="File too large"):
                writer.append(of.exec_id, first_seq=0, records=RECORD)
    writer.append(of.exec_id, first_seq=0, records=RECORD)
    writer.commit()
    assert [frame.kind for frame in read_frames(writer.path).frames] == [Kind.START, Kind.RECORDS]
    writer.close()


def test_an_end_that_the_disk_does_not_take_is_written_once_it_does(tmp_path):
    writer, of, other = AuditWriter(tmp_path), start(), start(number=1)
    tell(writer, of, is_ended=False)
    with full(writer):
        with pytest.raises(LogFullError):
            writer.end(of.exec_id, receipt(of, records=len(STORY)))
        writer.note_gap(
            Gap(exec_id=of.exec_id, first_seq=len(STORY), last_seq=40, reason="it was full", at_ns=T0)
        )
        writer.give_up(of.exec_id, receipt(of, records=len(STORY)))
        assert writer.live == {of.exec_id}
    writer.begin(other)
    assert writer.live == {other.exec_id}
    writer.commit()
    kinds = [frame.kind for frame in read_frames(writer.path).frames]
    assert kinds == [Kind.START, Kind.RECORDS, Kind.START, Kind.GAP, Kind.END]
    writer.close()
    (gap,) = gaps(tmp_path)
    assert (gap.exec_id, gap.first_seq, gap.last_seq) == (of.exec_id, len(STORY), 40)
    (sealed,) = recover(tmp_path, decode)
    assert [one.execution_id for one in sealed.receipts if one.outcome.exit_code == 0] == [of.exec_id]


def test_what_is_owed_when_a_writer_is_closed_is_written_then(tmp_path):
    writer = AuditWriter(tmp_path)
    with full(writer):
        writer.note_gap(Gap(exec_id=None, first_seq=None, last_seq=None, reason="it was full", at_ns=T0))
        assert gaps(tmp_path) == []
    writer.close()
    assert [gap.reason for gap in gaps(tmp_path)] == ["it was full"]


def test_a_writer_that_is_closed_while_the_disk_is_full_says_that_something_is_lost(tmp_path):
    writer = AuditWriter(tmp_path)
    with full(writer):
        writer.note_gap(Gap(exec_id=None, first_seq=None, last_seq=None, reason="it was full", at_ns=T0))
        with pytest.raises(LogFullError):
            writer.close()


def harm(writer, how):
    folder = writer.path.parent
    if how == "cut":
        os.truncate(writer.path, writer.size_bytes - 70)
    elif how == "renamed":
        writer.path.rename(folder / "elsewhere")
    elif how == "folder replaced":
        folder.rename(folder.with_name("old"))
        folder.mkdir()
    elif how == "folder removed":
        shutil.rmtree(folder)
    elif how == "root removed":
        shutil.rmtree(folder.parent)
    else:
        writer.path.unlink()
        if how == "replaced":
            writer.path.write_bytes(b"")


HARMS = ["removed", "replaced", "renamed", "cut", "folder replaced", "folder removed", "root removed"]


@pytest.mark.parametrize("how", HARMS)
def test_a_log_that_somebody_touched_is_told_to_each_run_once_and_is_a_gap_on_record(tmp_path, how):
    root = tmp_path / "log"
    writer, over, one, two = AuditWriter(root), start(), start(number=1), start(number=2)
    tell(writer, over)
    for of in (one, two):
        tell(writer, of, is_ended=False)
    writer.append(one.exec_id, first_seq=len(STORY), records=RECORD)  # not durable: it is kept
    harm(writer, how)
    with pytest.raises(LogLostError, match=r"removed or replaced|cut"):
        writer.commit(one.exec_id)
    with pytest.raises(LogLostError):
        writer.append(two.exec_id, first_seq=len(STORY), records=RECORD)
    # each has heard of it: their ends can be recorded
    writer.append(two.exec_id, first_seq=len(STORY), records=RECORD)
    for of in (one, two):
        writer.commit(of.exec_id)
        writer.end(of.exec_id, receipt(of, records=len(STORY) + 1))
    writer.close()
    found = {gap.exec_id: (gap.first_seq, gap.last_seq) for gap in gaps(root)}
    assert writer.path.name.encode()[:-10] in gaps(root)[0].reason.encode()
    whole = (0, len(STORY) - 1)
    if how == "cut":
        # only the last frame was cut, and it is in the new file
        assert found == {None: (None, None)}
    else:
        assert found == {None: (None, None), over.exec_id: whole, one.exec_id: whole, two.exec_id: whole}
    rows: dict[str, list[int]] = {}
    for frame in frames(root, Kind.RECORDS):
        rows.setdefault(frame.exec_id, []).append(frame.first_seq)
    first = [0] if how == "cut" else []
    assert rows[one.exec_id] == rows[two.exec_id] == [*first, len(STORY)]
    recover(root, decode)


def test_a_log_that_cannot_be_made_anew_refuses_until_it_can(tmp_path):
    root = tmp_path / "log"
    writer, of = AuditWriter(root), start()
    tell(writer, of, is_ended=False)
    root.rename(tmp_path / "away")
    root.write_text("in the way")
    with pytest.raises(LogLostError):
        writer.commit(of.exec_id)
    for _ in range(2):
        with pytest.raises(LogFullError):
            writer.append(of.exec_id, first_seq=len(STORY), records=RECORD)
    root.unlink()
    writer.append(of.exec_id, first_seq=len(STORY), records=RECORD)
    writer.commit(of.exec_id)
    assert [(gap.first_seq, gap.last_seq) for gap in gaps(root)] == [(None, None), (0, len(STORY) - 1)]
    assert [frame.kind for frame in read_frames(writer.path).frames] == [
        Kind.START,
        Kind.GAP,
        Kind.GAP,
        Kind.RECORDS,
    ]
    writer.close()


def test_more_than_a_group_of_records_is_never_without_a_sync(tmp_path):
    writer, of = AuditWriter(tmp_path), start()
    writer.begin(of)
    block = bytes(64 * 8_192)
    for number in range(20):
        writer.append(of.exec_id, first_seq=number * 8_192, records=block)
        unsynced = sum(frame.n_records for frame in writer._unsynced)
        assert unsynced <= MAX_RECORDS
    assert writer._durable > 0
    writer.close()


def test_threads_that_commit_at_once_share_a_sync(tmp_path):
    writer, of = AuditWriter(tmp_path), start()
    writer.begin(of)
    syncs: list[bool] = []
    gate = threading.Barrier(8)

    class Counting(LogFile):
        __slots__ = ()

        def sync(self, size, *, is_needed=True):
            syncs.append(is_needed)
            LogFile.sync(self, size, is_needed=is_needed)

    writer._file.__class__ = Counting

    def work(number):
        mine = start(number=number + 1)
        writer.begin(mine)
        gate.wait()
        writer.commit()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(syncs) == 8
    assert syncs.count(True) == 1
    writer.close()


def test_an_event_is_durable_when_it_was_recorded_and_a_gap_needs_no_run(tmp_path):
    from audit.events import ControlEvent

    writer = AuditWriter(tmp_path)
    event = ControlEvent(
        event_id="01a1ee56-5e00-7000-8000-0000000000ff", at_ns=T0, event="read", actor="user:x"
    )
    writer.record_event(event)
    writer.note_gap(Gap(exec_id=start().exec_id, first_seq=3, last_seq=None, reason="why", at_ns=T0))
    assert [frame.kind for frame in read_frames(writer.path).frames] == [Kind.EVENT, Kind.GAP]
    assert ControlEvent.from_json(read_frames(writer.path).frames[0].payload) == event
    assert writer._durable == writer.size_bytes
    writer.close()
    recover(tmp_path, decode)


def test_only_a_run_that_goes_on_is_given_up(tmp_path):
    writer, of = AuditWriter(tmp_path), start()
    tell(writer, of)
    writer.give_up(of.exec_id, receipt(of))
    writer.commit()
    assert [frame.kind for frame in read_frames(writer.path).frames][-1:] == [Kind.END]
    with pytest.raises(UnknownExecutionError):
        writer.end(of.exec_id, receipt(of))
    writer.close()


def test_a_reader_that_saw_what_was_taken_back_sees_it_once(tmp_path):
    writer, of = AuditWriter(tmp_path), start()
    tell(writer, of, is_ended=False)
    with AuditReader(tmp_path, decode) as reader:
        wanted = RecordFilter(ascending=True)
        writer.append(of.exec_id, first_seq=len(STORY), records=RECORD * 3)
        assert len(list(reader.stream(wanted))) == len(STORY) + 3
        writer._file.is_trusted = False  # as after a sync that failed
        old = writer.path
        writer.commit(of.exec_id)
        assert writer.path != old
        seqs = [int(row["seq"] or 0) for row in reader.stream(wanted)]
        assert sorted(seqs) == list(range(len(STORY) + 3))
        writer.append(of.exec_id, first_seq=len(STORY) + 3, records=RECORD)
        assert len(list(reader.stream(wanted))) == len(STORY) + 4
    recover(tmp_path, decode)
    writer.close()
