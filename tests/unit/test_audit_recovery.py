"""Whatever was interrupted, the next start has every acknowledged record, once."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from audit.catalogue import Catalogue
from audit.columns import WORDS
from audit.errors import WriteError
from audit.events import ControlEvent
from audit.filters import RecordFilter
from audit.query import AuditReader
from audit.receipt import CallCount, OutcomeKind
from audit.recovery import recover, writer_of
from audit.sealer import Sealer
from audit.store import Store
from audit.verify.standalone import Key, verify
from audit.wal import FIRST, NOBODY, Frame, Kind, Problem, encode, read_frames
from audit.writer import AuditWriter
from sandbox.monitor.decode import decode
from tests.records import IN, STORY, T0, call, pack, receipt, start, tell
from tests.sealed_logs import SealedLog, rows_of

ROOT = Path(__file__).parents[2]


def seqs(root, exec_id):
    with AuditReader(root, decode) as reader:
        return [row["seq"] for row in reader.stream(RecordFilter(execution=exec_id))]


def rows(root):
    with AuditReader(root, decode) as reader:
        return list(reader.stream(RecordFilter(ascending=True)))


def test_an_empty_folder_has_nothing_to_recover(tmp_path):
    assert recover(tmp_path, decode) == ()
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_is_sealed_and_its_log_file_goes(tmp_path):
    writer, of = AuditWriter(tmp_path), start()
    count = tell(writer, of, rounds=3)
    writer.close()
    (sealed,) = recover(tmp_path, decode)
    assert (sealed.rows, sealed.killed, sealed.gaps, sealed.lost_bytes) == (count, (), (), 0)
    assert seqs(tmp_path, of.exec_id) == list(range(count))
    assert list(Store(tmp_path).wal.iterdir()) == []
    assert recover(tmp_path, decode) == ()


def test_a_file_that_a_writer_holds_is_left_alone(tmp_path):
    writer, of = AuditWriter(tmp_path), start()
    tell(writer, of)
    assert recover(tmp_path, decode) == ()
    assert writer.path.exists()
    writer.close()
    assert len(recover(tmp_path, decode)) == 1


def test_a_run_without_an_end_was_killed(tmp_path):
    writer, of = AuditWriter(tmp_path), start()
    count = tell(writer, of, is_ended=False)
    writer.close()
    (sealed,) = recover(tmp_path, decode)
    assert sealed.killed == (of.exec_id,)
    (made,) = sealed.receipts
    assert made.outcome.kind is OutcomeKind.KILLED
    assert made.outcome.message == "the supervisor ended before the run did"
    assert made.records == made.resources.host_calls == count == sum(item.count for item in made.calls)
    assert [(item.seq, item.call, item.reason) for item in made.refusals] == [
        (4, "path_open", "escape"),
        (8, "path_unlink_file", "rule"),
    ]
    assert (made.resources.bytes_read, made.resources.bytes_written) == (4096 + 32, 112)
    assert Catalogue(Store(tmp_path)).receipt(of.exec_id) == made


def test_a_call_in_flight_stays_one_unless_it_was_completed(tmp_path):
    for is_completed in (False, True):
        root = tmp_path / str(is_completed)
        writer, of = AuditWriter(root), start()
        flying, arena = pack([call("path_open", b"x", opener=IN, errno=-1, dur_ns=-1)])
        done, _ = pack([call("path_open", b"x", opener=IN)])
        writer.begin(of)
        writer.intent(of.exec_id, seq=0, record=flying.tobytes(), arena=arena)
        writer.commit()
        if is_completed:
            writer.append(of.exec_id, first_seq=0, records=done.tobytes(), arena=arena)
        writer.close()
        recover(root, decode)
        (row,) = rows(root)
        assert (row["stage"], row["errno"], row["dur_ns"]) == ((1, 0, 50) if is_completed else (2, -1, -1))
        assert row["target"] == "/srv/in/x"


def test_cut_anywhere_the_whole_frames_are_recovered(tmp_path):
    writer, of = AuditWriter(tmp_path / "log"), start()
    tell(writer, of, rounds=3)
    content = writer.path.read_bytes()
    writer.close()
    for number, length in enumerate(range(0, len(content) + 1, 211)):
        root = tmp_path / str(number)
        Store(root).create()
        (Store(root).wal / "run-0-000000.wal").write_bytes(content[:length])
        (sealed,) = recover(root, decode)
        assert sealed.problem in {None, Problem.TORN}
        assert sealed.rows % len(STORY) == 0
        assert seqs(root, of.exec_id) == list(range(sealed.rows))
        assert list(Store(root).wal.iterdir()) == []


def test_a_damaged_file_gives_what_is_good_and_is_kept(tmp_path):
    writer, of = AuditWriter(tmp_path), start()
    tell(writer, of, rounds=3)
    size = writer.size_bytes
    path = writer.path
    writer.close()
    content = bytearray(path.read_bytes())
    content[size // 2] ^= 1
    path.write_bytes(content)
    (sealed,) = recover(tmp_path, decode)
    assert sealed.problem is Problem.CORRUPT
    assert 0 < sealed.rows < 3 * len(STORY)
    assert sealed.lost_bytes > 0
    assert sealed.killed == ()  # its receipt had been written
    assert path.with_suffix(".damaged").read_bytes() == bytes(content)
    assert recover(tmp_path, decode) == ()


def test_a_missing_number_is_on_record(tmp_path):
    writer, of = AuditWriter(tmp_path), start()
    tell(writer, of, is_ended=False)
    made, arena = pack(STORY[:1])
    writer._next_seq[of.exec_id] = 20
    writer.append(of.exec_id, first_seq=20, records=made.tobytes(), arena=arena)
    writer.close()
    (sealed,) = recover(tmp_path, decode)
    assert sealed.gaps == ((of.exec_id, len(STORY), 19),)
    assert sealed.receipts[0].gaps == ((len(STORY), 19),)


STEPS = ["segment", "manifest", "receipt", "catalogue", "catalogue entry", "all but the log file"]


@pytest.mark.parametrize("lost", STEPS)
@pytest.mark.parametrize("is_ended", [True, False])
def test_a_crash_between_two_steps_loses_and_doubles_nothing(tmp_path, lost, is_ended):
    writer, of = AuditWriter(tmp_path), start()
    count = tell(writer, of, rounds=2, is_ended=is_ended)
    path = writer.path
    writer.close()
    kept = path.read_bytes()
    (first,) = recover(tmp_path, decode)
    before, store = rows(tmp_path), Store(tmp_path)
    (segment,) = first.segments
    path.write_bytes(kept)  # the log file goes last: here it did not
    manifest = segment.with_suffix(".manifest.json")
    harmed = {
        "segment": [segment, manifest],
        "manifest": [manifest],
        "receipt": [store.receipt(of.exec_id)],
        "catalogue": [*tmp_path.glob("catalog.*")],
        "catalogue entry": [],
        "all but the log file": [store.segments, store.receipts, *tmp_path.glob("catalog.*")],
    }[lost]
    for one in harmed:
        shutil.rmtree(one) if one.is_dir() else one.unlink()
    if lost == "catalogue entry":
        with Catalogue(store)._transaction() as db:
            db.execute("DELETE FROM segments")
            db.execute("DELETE FROM executions")
            db.execute("DELETE FROM leaves")
            db.execute("UPDATE progress SET entries = 0")
    store.create()
    recover(tmp_path, decode)
    assert rows(tmp_path) == before
    assert len(before) == count
    assert Catalogue(store).receipt(of.exec_id) == first.receipts[0]
    assert not path.exists()


class Crash(BaseException):
    """What a kill looks like from inside."""


@pytest.mark.parametrize("step", ["_segments", "_leaves", "append", "_dispose"])
def test_a_sealer_that_dies_is_followed_by_one_that_ends_the_work(tmp_path, monkeypatch, step):
    writer, of = AuditWriter(tmp_path), start()
    count = tell(writer, of, is_ended=False)
    writer.close()

    def die(*_args, **_kw):
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(Sealer, step, die)
        with pytest.raises(Crash):
            recover(tmp_path, decode)
    assert seqs(tmp_path, of.exec_id) == list(range(count))
    assert len(recover(tmp_path, decode)) == 1
    assert seqs(tmp_path, of.exec_id) == list(range(count))


def test_a_run_that_spans_several_files_is_one_run(tmp_path):
    writer, of = AuditWriter(tmp_path, rotate_bytes=1), start()
    writer.begin(of)
    opens, arena = pack(
        [call("path_open", b"dir", opener=IN, fd2=5), call("path_open", b"f", opener=0, fd2=6)]
    )
    writer.append(of.exec_id, first_seq=0, records=opens.tobytes(), arena=arena)
    flying, _ = pack([call("fd_read", opener=1, fd=6, aux=9, errno=-1)], first_seq=2)
    done, _ = pack([call("fd_read", opener=1, fd=6, aux=9)], first_seq=2)
    writer.intent(of.exec_id, seq=2, record=flying.tobytes())
    writer.rotate_if_large()
    assert len(rows(tmp_path)) == 3
    first = recover(tmp_path, decode)
    assert [(one.rows, one.killed) for one in first] == [(2, ())]
    assert [row["stage"] for row in rows(tmp_path)] == [1, 1, 2]
    writer.append(of.exec_id, first_seq=2, records=done.tobytes())
    writer.rotate_if_large()
    later, arena = pack([call("path_open", b"g", opener=0, fd=5, fd2=7)], first_seq=3)
    writer.append(of.exec_id, first_seq=3, records=later.tobytes(), arena=arena)
    expected = [(0, "/srv/in/dir"), (1, "/srv/in/dir/f"), (2, "/srv/in/dir/f"), (3, "/srv/in/dir/g")]
    assert [(row["seq"], row["target"]) for row in rows(tmp_path)] == expected
    writer.close()
    second = recover(tmp_path, decode)
    assert [one.killed for one in second] == [(), (of.exec_id,)]
    assert [(row["seq"], row["target"]) for row in rows(tmp_path)] == expected
    assert second[-1].receipts[0].records == 4
    assert second[-1].receipts[0].gaps == ()


def test_a_writer_that_died_while_it_went_on_leaves_a_killed_run(tmp_path):
    writer, of = AuditWriter(tmp_path, rotate_bytes=1), start()
    tell(writer, of, is_ended=False)
    writer.rotate_if_large()
    path = writer.path
    writer.close()
    path.write_bytes(b"")  # the new file's first frames never reached the disk
    assert [one.killed for one in recover(tmp_path, decode)] == [(of.exec_id,), ()]


def test_leftovers_of_a_dead_sealer_are_swept(tmp_path):
    writer = AuditWriter(tmp_path)
    tell(writer, start())
    writer.close()
    (sealed,) = recover(tmp_path, decode)
    (segment,) = sealed.segments
    old, young = Store(tmp_path).wal / ".a.part", Store(tmp_path).wal / ".b.part"
    leftover = segment.with_name(".x.parquet.1.ab.part")
    for path in (old, young, leftover):
        path.touch()
    os.utime(old, (0, 0))
    writer = AuditWriter(tmp_path)
    recover(tmp_path, decode)
    assert [path.exists() for path in (old, young, leftover)] == [False, True, False]
    writer.close()


def test_frames_that_make_no_sense_block_no_other_file(tmp_path):
    writer, of = AuditWriter(tmp_path, shard="a"), start()
    writer.begin(of)
    del writer._starts[of.exec_id]
    writer._append(Frame(Kind.END, of.exec_id, b"{}"))
    writer.close()
    other = AuditWriter(tmp_path, shard="b")
    tell(other, start(number=1))
    other.close()
    bad, good = recover(tmp_path, decode)
    assert (bad.problem, bad.rows, good.rows) == (Problem.CORRUPT, 0, len(STORY))
    assert [path.suffix for path in Store(tmp_path).wal.iterdir()] == [".damaged"]


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    Store(tmp_path).create()
    (Store(tmp_path).wal / "run-0-000000.wal").touch()
    Store(tmp_path).seal_lock.mkdir()
    with pytest.raises(WriteError):
        recover(tmp_path, decode)


def test_files_of_one_writer_share_a_name():
    assert writer_of(Path("wal/run-0af-000003.wal")) == "run-0af"


WRITE = """
import sys
from pathlib import Path
from audit.writer import AuditWriter
from tests.records import STORY, pack, start
writer, of = AuditWriter(Path(sys.argv[1]), rotate_bytes=40_000), start(number=int(sys.argv[2]))
writer.begin(of)
seq = 0
while True:
    made, arena = pack(STORY, first_seq=seq)
    writer.append(of.exec_id, first_seq=seq, records=made.tobytes(), arena=arena)
    writer.commit()
    seq += len(made)
    print(of.exec_id, seq, flush=True)
    writer.rotate_if_large()
"""


def test_what_was_acknowledged_before_a_kill_is_recovered(tmp_path):
    for number in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITE, str(tmp_path), str(number)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert child.stdout is not None
        acknowledged = [child.stdout.readline() for _ in range(37 * (number + 1))]
        child.send_signal(signal.SIGKILL)
        acknowledged += child.stdout.readlines()
        child.wait()
        child.stdout.close()
        exec_id, count = acknowledged[-1].split()
        assert recover(tmp_path, decode)[-1].killed == (exec_id,)
        found = seqs(tmp_path, exec_id)
        assert found == list(range(len(found)))
        assert len(found) >= int(count)


def write_some(root, number):
    for turn in range(5):
        writer = AuditWriter(Path(root))
        tell(writer, start(number=number * 100 + turn), rounds=4)
        writer.close()
        recover(Path(root), decode)


def test_two_processes_write_and_seal_side_by_side(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=write_some, args=(str(tmp_path), number)) for number in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    recover(tmp_path, decode)
    with AuditReader(tmp_path, decode) as reader:
        stats = reader.stats(RecordFilter())
    assert (stats.executions, stats.records) == (10, 10 * 4 * len(STORY))
    made = Catalogue(Store(tmp_path)).segments()
    assert len(made) == 10
    assert sum(pq.read_metadata(one.path).num_rows for one in made) == stats.records


def rewritten(frames):
    """The bytes of a file of these frames, each chained to the one before."""
    content, previous = b"", FIRST
    for number, frame in enumerate(frames):
        header, previous = encode(frame, frame_no=number, previous=previous)
        content += header + bytes(frame.payload) + bytes(frame.arena)
    return content


def story_frames(root):
    """Two executions side by side, six frames of records, an event and two ends."""
    writer = AuditWriter(root)
    pair = (start(), start(number=1))
    for of in pair:
        writer.begin(of)
    for number in range(3):
        first = number * len(STORY)
        for of in pair:
            made, arena = pack(STORY, first_seq=first)
            writer.append(of.exec_id, first_seq=first, records=made.tobytes(), arena=arena)
            writer.commit()
    event = ControlEvent(event_id=str(start(number=9).exec_id), at_ns=T0, event="read", actor="a")
    writer.record_event(event)
    for of in pair:
        counted = Counter(
            (str(row["call"]).rpartition(".")[2], WORDS[row["decision"]])
            for row in rows_of(of, STORY).to_pylist()
        )
        calls = tuple(CallCount(call=c, decision=d, count=3 * n) for (c, d), n in sorted(counted.items()))
        writer.end(of.exec_id, replace(receipt(of, records=3 * len(STORY)), calls=calls))
    path = writer.path
    writer.close()
    return path, [replace(one, payload=bytes(one.payload), arena=bytes(one.arena)) for one in
                  read_frames(path.read_bytes()).frames]  # fmt: skip


NONSENSE = {
    "an event that is none": lambda _: Frame(Kind.EVENT, NOBODY, b"{}"),
    "a gap that is none": lambda _: Frame(Kind.GAP, NOBODY, b'{"at":1}'),
    "records of nobody": lambda one: replace(one, kind=Kind.RECORDS, exec_id=start(number=7).exec_id),
    "fewer records than it says": lambda one: Frame(
        Kind.RECORDS, start().exec_id, one.payload[:10], n_records=3, first_seq=90
    ),
    "an end that is none": lambda _: Frame(Kind.END, start().exec_id, b"[]"),
    "a start that is none": lambda _: Frame(Kind.START, start(number=8).exec_id, b'{"exec_id":'),
}


@pytest.mark.parametrize("kind", sorted(NONSENSE))
def test_what_stands_before_a_frame_that_makes_no_sense_is_sealed(tmp_path, kind):
    source, frames = story_frames(tmp_path / "source")
    for place in range(len(frames)):
        log = SealedLog.create(tmp_path / str(place))
        store = Store(log.folder)
        store.create()
        content = rewritten([*frames[:place], NONSENSE[kind](frames[place]), *frames[place + 1 :]])
        path = store.wal / source.name
        path.write_bytes(content)
        for written in Store(source.parent.parent).receipts.iterdir():  # by the writer, when the run ended
            shutil.copy(written, store.receipts)
        (sealed,) = recover(log.folder, decode)
        before = [one for one in frames[:place] if one.kind is Kind.RECORDS]
        assert sealed.rows == sum(one.n_records for one in before)
        assert sealed.problem is Problem.CORRUPT
        assert path.with_suffix(".damaged").read_bytes() == content
        assert [one.name for one in store.wal.iterdir()] == [f"{path.stem}.damaged"]
        log.sign()
        findings = verify(str(log.folder), [Key.parse(log.vkey)])[0].findings
        assert [one for one in findings if one.severity != "note"] == []
        assert "damage" in {one.what for one in findings}
        # which calls were in what is kept aside is on record as well
        after = [one for one in frames[place + 1 :] if one.kind is Kind.RECORDS]
        told = {(one.execution, one.seq) for one in findings if one.what == "gap"}
        firsts = {one.exec_id: one.first_seq for one in reversed(after)}
        assert {(str(exec_id), first) for exec_id, first in firsts.items()} <= told
        assert recover(log.folder, decode) == ()
