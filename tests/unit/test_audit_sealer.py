"""Segments, receipts and entries agree with what was written, whatever interrupts the sealing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from audit.catalogue import Catalogue
from audit.chunks import chunk_leaves, context_of
from audit.columns import SCHEMA
from audit.events import ControlEvent, Gap
from audit.gather import Reading
from audit.identity import ExecutionId
from audit.receipt import CallCount
from audit.recovery import recover
from audit.store import Store
from audit.terms import AuditTerms, Level
from audit.tlog.log import TransparencyLog
from audit.tlog.merkle import root_of
from audit.wal import Frame, Kind, Problem
from audit.writer import AuditWriter
from sandbox.monitor.decode import decode
from tests.records import IN, STORY, call, pack, receipt, start, tell

NIL = ExecutionId("00000000-0000-0000-0000-000000000000")
TEXTS = [field.name for field in SCHEMA if pa.types.is_dictionary(field.type)]


def entries(root):
    log = TransparencyLog(root / "tlog")
    return [json.loads(entry) for entry in log.entries(0, log.size)]


def of_kind(root, kind):
    return [entry for entry in entries(root) if entry["type"] == kind]


def rows_of(path):
    return pq.read_table(path, read_dictionary=TEXTS, partitioning=None).select(SCHEMA.names)


def sealed_rows(root):
    found = [row for one in Catalogue(Store(root)).segments() for row in rows_of(one.path).to_pylist()]
    return sorted(found, key=lambda row: (row["exec_id"], row["seq"]))


def check(root):
    """Everything that is sealed leads to entries, and no entry is there twice."""
    found = entries(root)
    named = {"segment": "segment", "receipt": "exec_id", "event": "id"}
    keys = [
        (entry["type"], entry.get(named.get(entry["type"], "exec_id")), entry.get("seq"), entry.get("first"))
        for entry in found
    ]
    assert len(set(keys)) == len(keys)
    leaves: dict[str, list[tuple[int, str, tuple[bytes, ...]]]] = {}
    for entry in (one for one in found if one["type"] == "segment"):
        content = (root / entry["manifest"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]
        made = json.loads(content)
        assert content.endswith(b"\n")
        folder = (root / entry["segment"]).parent
        for one in (one for one in made["files"].values() if one is not None):
            raw = (folder / one["name"]).read_bytes()
            assert (len(raw), hashlib.sha256(raw).hexdigest()) == (one["bytes"], one["sha256"])
        own: list[bytes] = []
        rows = rows_of(root / entry["segment"])
        assert rows.num_rows == entry["rows"] == made["rows"]
        assert pc.sum(rows.column("n")).as_py() == entry["calls"]
        for execution in made["executions"]:
            some = rows.filter(pc.equal(rows.column("exec_id"), execution["exec_id"]))
            first = some.slice(0, 1).to_pylist()[0]
            assert first["tenant_id"] == entry["tenant"]
            context = context_of(
                *(first[name] for name in ("exec_id", "tenant_id", "module_id", "policy_id"))
            )
            hashes = chunk_leaves(some, execution["exec_id"], context)
            assert len(hashes) == execution["chunks"]
            own += hashes
            leaves.setdefault(execution["exec_id"], []).append(
                (execution["first_seq"], entry["segment"], hashes)
            )
        assert root_of(own).hex() == entry["root"] == made["root"]
        assert (folder / made["files"]["chunks"]["name"]).read_bytes() == b"".join(own)
    for entry in (one for one in found if one["type"] == "receipt"):
        content = (root / "exec" / f"{entry['exec_id']}.receipt.json").read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]
        parts = sorted(leaves.get(entry["exec_id"], []))
        assert [path for _, path, _ in parts] == entry["segments"]
        hashes = tuple(one for _, _, some in parts for one in some)
        assert (len(hashes), root_of(hashes).hex()) == (entry["chunks"], entry["root"])


def test_the_manifest_says_what_is_in_the_segment(tmp_path):
    writer, runs = AuditWriter(tmp_path), [start(number=number) for number in (2, 0, 1)]
    for of in runs:
        tell(writer, of)
    size, name = writer.size_bytes, writer.path.name
    writer.close()
    (sealed,) = recover(tmp_path, decode)
    (path,) = sealed.segments
    made = json.loads(path.with_suffix(".manifest.json").read_text())
    assert (made["schema"], made["record_schema"]) == ("wasmgate.segment.v1", "wasmgate.record.v2")
    assert made["segment"] == path.relative_to(tmp_path).as_posix()
    assert made["rows"] == made["calls"] == 3 * len(STORY) == pq.read_metadata(path).num_rows
    assert made["source"] == {"wal": name, "bytes": size, "lost_bytes": 0, "problem": None}
    assert (made["modules"], made["policies"]) == ([runs[0].module_digest], [runs[0].policy_digest])
    assert [
        (
            one["exec_id"],
            one["first_seq"],
            one["last_seq"],
            one["rows"],
            one["calls"],
            one["chunks"],
            one["gaps"],
        )
        for one in made["executions"]
    ] == [
        (of.exec_id, 0, len(STORY) - 1, len(STORY), len(STORY), 1, [])
        for of in sorted(runs, key=lambda of: of.exec_id)
    ]
    check(tmp_path)


def test_refusals_and_traps_are_beside_the_records(tmp_path):
    writer, of = AuditWriter(tmp_path), start()
    tell(writer, of, rounds=80)
    writer.close()
    (sealed,) = recover(tmp_path, decode)
    (path,) = sealed.segments
    refused = [row for row in rows_of(path).to_pylist() if row["decision"] in {2, 3, 5} or row["stage"] == 2]
    assert rows_of(path.with_suffix(".deny.parquet")).to_pylist() == refused
    # so many have an entry of their own
    leaved = of_kind(tmp_path, "refusal")
    assert [(one["seq"], one["decision"]) for one in leaved] == [
        (row["seq"], {2: "deny", 3: "would_deny", 5: "limit"}[row["decision"]]) for row in refused[:100]
    ]
    assert len(refused) == 160
    check(tmp_path)


def test_without_refusals_there_is_no_file_of_them(tmp_path):
    writer, of = AuditWriter(tmp_path), start()
    writer.begin(of)
    made, arena = pack([call("path_open", b"a", opener=IN, fd2=5)])
    writer.append(of.exec_id, first_seq=0, records=made.tobytes(), arena=arena)
    writer.end(of.exec_id, receipt(of, records=1))
    writer.close()
    (sealed,) = recover(tmp_path, decode)
    (path,) = sealed.segments
    assert not path.with_suffix(".deny.parquet").exists()
    assert json.loads(path.with_suffix(".manifest.json").read_text())["files"]["refusals"] is None
    assert of_kind(tmp_path, "refusal") == []


def test_rows_are_sorted_by_execution_and_number(tmp_path):
    writer = AuditWriter(tmp_path)
    for number in (2, 0, 1):
        tell(writer, start(number=number), rounds=2)
    writer.close()
    (sealed,) = recover(tmp_path, decode)
    rows = rows_of(sealed.segments[0]).to_pylist()
    keys = [(row["exec_id"], row["seq"]) for row in rows]
    assert keys == sorted(keys)
    check(tmp_path)


def test_each_tenant_has_a_segment_of_its_own(tmp_path):
    writer = AuditWriter(tmp_path)
    tenants = ["acme", "b/../..", "acme"]
    for number, tenant in enumerate(tenants):
        tell(writer, start(number=number, tenant=tenant))
    writer.begin(start(number=3, tenant="silent"))
    writer.close()
    (sealed,) = recover(tmp_path, decode)
    assert [path.parts[-3] for path in sealed.segments] == ["tenant=acme", "tenant=b%2F%2E%2E%2F%2E%2E"]
    for path, tenant in zip(sealed.segments, ("acme", "b/../.."), strict=True):
        assert {row["tenant_id"] for row in rows_of(path).to_pylist()} == {tenant}
    assert {one["tenant"] for one in of_kind(tmp_path, "receipt")} == {"acme", "b/../..", "silent"}
    check(tmp_path)


def test_a_decoder_that_loses_rows_is_not_believed(tmp_path):
    writer = AuditWriter(tmp_path)
    tell(writer, start())
    writer.close()
    (sealed,) = recover(tmp_path, lambda of, frames, known: decode(of, frames, known).slice(1))
    assert (sealed.problem, sealed.rows) == (Problem.CORRUPT, 0)
    assert len(list(Store(tmp_path).wal.glob("*.damaged"))) == 1
    assert [path for path in Store(tmp_path).segments.rglob("*") if path.is_file()] == []
    (event,) = of_kind(tmp_path, "event")
    assert (event["event"], event["details"]["file"]) == ("damage", sealed.wal)
    # what was in it, and how the run ended, is on record: its start makes sense
    gaps = {(one["exec_id"], one["first"], one["last"]) for one in of_kind(tmp_path, "gap")}
    assert gaps == {(start().exec_id, 0, len(STORY) - 1)}
    assert [one["records"] for one in of_kind(tmp_path, "receipt")] == [len(STORY)]


def test_events_and_gaps_of_the_control_plane_become_entries(tmp_path):
    writer, of = AuditWriter(tmp_path), start()
    read = ControlEvent(
        event_id=str(start(number=5).exec_id),
        at_ns=5,
        event="read",
        actor="a",
        details={"rows": 3, "q": "x" * 16_000},
    )
    huge = replace(
        read, event_id=str(start(number=6).exec_id), details={str(n): "\0" * 16_000 for n in range(9)}
    )
    gap = Gap(exec_id=of.exec_id, first_seq=3, last_seq=9, reason="the disk was full", at_ns=7)
    unknown = [replace(gap, exec_id=None, first_seq=None, last_seq=None, at_ns=at) for at in (8, 9)]
    for event in (read, huge):
        writer._append(Frame(Kind.EVENT, NIL, event.to_json()))
    for one in (gap, *unknown):
        writer._append(Frame(Kind.GAP, NIL, one.to_json()))
    writer.close()
    recover(tmp_path, decode)
    first, second = of_kind(tmp_path, "event")
    assert (first["id"], first["event"], first["actor"], first["details"]["rows"]) == (
        read.event_id,
        "read",
        "a",
        3,
    )
    assert list(second["details"]) == ["sha256"]
    gaps = of_kind(tmp_path, "gap")
    assert [(one["exec_id"], one["first"], one["last"]) for one in gaps] == [
        (of.exec_id, 3, 9),
        (None, None, None),
        (None, None, None),
    ]
    assert [event.event_id for event in Catalogue(Store(tmp_path)).events(kind="read")] == [
        huge.event_id,
        read.event_id,
    ]
    check_events = Catalogue(Store(tmp_path)).events(from_ns=5, to_ns=6, limit=1)
    assert [event.leaf for event in check_events] == [1]


def test_numbers_that_are_missing_are_entries_once_and_on_the_receipt(tmp_path):
    writer, of = AuditWriter(tmp_path), start()
    tell(writer, of, is_ended=False)
    made, arena = pack(STORY[:1])
    writer._next_seq[of.exec_id] = 20
    writer.append(of.exec_id, first_seq=20, records=made.tobytes(), arena=arena)
    writer._append(
        Frame(
            Kind.GAP,
            NIL,
            Gap(exec_id=of.exec_id, first_seq=11, last_seq=19, reason="full", at_ns=7).to_json(),
        )
    )
    writer.end(of.exec_id, receipt(of, records=25))
    writer.close()
    recover(tmp_path, decode)
    assert [(one["first"], one["last"], one["reason"]) for one in of_kind(tmp_path, "gap")] == [
        (11, 19, "full"),
        (21, 24, "sequence numbers are missing from the log"),
    ]
    kept = json.loads(Store(tmp_path).receipt(of.exec_id).read_text())
    assert kept["gaps"] == [{"first": 11, "last": 19}, {"first": 21, "last": 24}]
    check(tmp_path)


def test_a_run_over_several_files_has_one_tree(tmp_path):
    writer, of = AuditWriter(tmp_path), start()
    writer.begin(of)
    for number in range(3):
        first = number * 30 * len(STORY)
        made, arena = pack(STORY * 30, first_seq=first)
        writer.append(of.exec_id, first_seq=first, records=made.tobytes(), arena=arena)
        writer.rotate()
        recover(tmp_path, decode)
        assert of_kind(tmp_path, "receipt") == []
    counts = (CallCount(call="fd_read", decision="deny", count=90 * len(STORY)),)
    writer.end(of.exec_id, replace(receipt(of, records=90 * len(STORY)), calls=counts))
    writer.close()
    recover(tmp_path, decode)
    (entry,) = of_kind(tmp_path, "receipt")
    assert (len(entry["segments"]), entry["chunks"], entry["records"]) == (3, 9, 90 * len(STORY))
    assert entry["refusals"] == entry["records"]
    assert [path.name for path in Store(tmp_path).wal.iterdir()] == []
    check(tmp_path)


def test_an_earlier_segment_that_was_changed_is_on_record_and_stops_nothing(tmp_path):
    writer, of = AuditWriter(tmp_path), start()
    tell(writer, of, is_ended=False)
    writer.rotate()
    (sealed,) = recover(tmp_path, decode)
    chunks = sealed.segments[0].with_suffix(".chunks")
    chunks.write_bytes(bytes(len(chunks.read_bytes())))
    writer.end(of.exec_id, receipt(of, records=len(STORY)))
    writer.close()
    recover(tmp_path, decode)
    (event,) = of_kind(tmp_path, "event")
    assert (event["event"], event["details"]["execution"]) == ("damage", of.exec_id)
    (entry,) = of_kind(tmp_path, "receipt")
    assert entry["chunks"] == 0


def test_rows_are_condensed_and_stand_for_all_calls(tmp_path):
    writer, of = AuditWriter(tmp_path), start(audit=AuditTerms(level=Level.SUMMARY))
    count = tell(writer, of, rounds=50, is_ended=False)
    writer.close()
    (sealed,) = recover(tmp_path, decode)
    assert sealed.rows < count
    assert sealed.receipts[0].records == count == sum(one.count for one in sealed.receipts[0].calls)
    (entry,) = of_kind(tmp_path, "receipt")
    assert entry["records"] == count
    check(tmp_path)


def test_later_files_are_joined_to_what_was_opened_before_it_was_masked(tmp_path):
    def blot(rows, of):
        seen.append(rows.column("guest_target").to_pylist())
        hidden = pa.array(["masked"] * rows.num_rows).dictionary_encode()
        at = rows.column_names.index("target")
        return rows.set_column(at, SCHEMA.field("target"), hidden)

    seen, opens = [], {}

    def spying(of, frames, known):
        opens[frames[0].first_seq] = known.to_pylist()
        return decode(of, frames, known)

    writer, of = AuditWriter(tmp_path), start()
    writer.begin(of)
    calls = [
        call("path_open", b"a", opener=IN, fd2=5),
        call("path_open", b"b", opener=IN, fd2=6),
        call("fd_close", opener=1, fd=6),
        call("fd_read", opener=0, fd=5),
    ]
    made, arena = pack(calls[:3])
    writer.append(of.exec_id, first_seq=0, records=made.tobytes(), arena=arena)
    writer.rotate()
    recover(tmp_path, Reading(spying, blot))
    states = list(Store(tmp_path).wal.glob("*.opened"))
    assert len(states) == 1
    assert states[0].stat().st_mode & 0o777 == 0o600
    writer.rotate()  # a file without a record of it keeps what is open
    recover(tmp_path, Reading(spying, blot))
    made, arena = pack(calls[3:], first_seq=3)
    writer.append(of.exec_id, first_seq=3, records=made.tobytes(), arena=arena)
    writer.close()
    recover(tmp_path, Reading(spying, blot))
    assert opens[3] == [{"seq": 0, "target": "/srv/in/a", "guest_target": "/in/a"}]
    assert {row["target"] for row in sealed_rows(tmp_path)} == {"masked"}
    assert b"/srv/in/a" not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert list(Store(tmp_path).wal.iterdir()) == []


def test_a_receipt_that_has_an_entry_is_never_written_again(tmp_path):
    writer, of = AuditWriter(tmp_path), start()
    tell(writer, of)
    path = writer.path
    writer.close()
    kept = path.read_bytes()
    recover(tmp_path, decode)
    before = entries(tmp_path)
    note = Store(tmp_path).receipt(of.exec_id)
    note.write_bytes(note.read_bytes().replace(b"sample", b"simple"))
    path.write_bytes(kept)
    recover(tmp_path, decode)
    assert b"simple" in note.read_bytes()
    assert entries(tmp_path) == before


def test_a_receipt_that_was_ruined_is_written_again_before_its_entry_and_stops_nothing(tmp_path):
    writer, of = AuditWriter(tmp_path), start()
    tell(writer, of)
    note = Store(tmp_path).receipt(of.exec_id)
    whole = note.read_bytes()
    note.write_bytes(b"{")
    writer.close()
    recover(tmp_path, decode)
    assert note.read_bytes() == whole
    check(tmp_path)


def test_whatever_a_cell_writes_is_sealed(tmp_path):
    writer, of = AuditWriter(tmp_path), start()
    writer.begin(of)
    random = np.random.default_rng(1)
    ends = np.array([0, 255], np.uint8)
    made = random.choice(ends, (500, 64)).astype(np.uint8)
    made[::2] = random.integers(0, 256, (250, 64), np.uint8)
    made[:4] = [[0] * 7 + [128] + [0] * 56, [255] * 7 + [127] + [255] * 56, [0] * 64, [255] * 64]
    writer.append(of.exec_id, first_seq=0, records=made.tobytes())
    writer.close()
    (sealed,) = recover(tmp_path, decode)
    assert (sealed.rows, sealed.problem) == (500, None)
    check(tmp_path)


def test_a_refusal_with_endless_names_still_has_its_entry(tmp_path):
    writer, of = AuditWriter(tmp_path), start()
    writer.begin(of)
    long = bytes(range(1, 32)) * 600
    refused = call("path_rename", long, long, opener=IN, aux=IN, fd=3, decision=1, errno=76, reason=1)
    made, arena = pack([refused])
    writer.append(of.exec_id, first_seq=0, records=made.tobytes(), arena=arena)
    writer.close()
    recover(tmp_path, decode)
    (entry,) = of_kind(tmp_path, "refusal")
    (row,) = sealed_rows(tmp_path)
    for name in ("target", "guest_target", "target2"):
        if row[name] is not None and len(row[name]) > 2000:
            assert entry[name] == "sha256:" + hashlib.sha256(row[name].encode()).hexdigest()


# --- crashes ------------------------------------------------------------------------------------


class Crash(BaseException):
    """What a kill looks like from inside."""


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A log of two writers: several tenants, a run over three files, one without an end, events and a gap."""
    root = tmp_path_factory.mktemp("story")
    writer, other = AuditWriter(root, shard="a"), AuditWriter(root, shard="b")
    runs = [start(number=number, tenant=tenant) for number, tenant in enumerate(["acme", "b", "acme"])]
    writer.begin(runs[0])
    for number in range(2):
        first = number * 3
        made, arena = pack(
            [call("path_open", b"x", opener=IN, fd2=5), call("fd_read", opener=first, fd=5), STORY[4]],
            first_seq=first,
        )
        writer.append(runs[0].exec_id, first_seq=first, records=made.tobytes(), arena=arena)
        tell(writer, start(number=10 + number, tenant="b"))
        writer.rotate()
    read = ControlEvent(event_id=str(start(number=7).exec_id), at_ns=5, event="read", actor="a")
    writer._append(Frame(Kind.EVENT, NIL, read.to_json()))
    made, arena = pack([call("fd_read", opener=3, fd=5)], first_seq=8)
    writer._next_seq[runs[0].exec_id] = 8
    writer.append(runs[0].exec_id, first_seq=8, records=made.tobytes(), arena=arena)
    writer.end(runs[0].exec_id, receipt(runs[0], records=9))
    tell(other, runs[1], is_ended=False)
    tell(other, runs[2])
    writer.close()
    other.close()
    return root


def facts(root):
    """All that must be the same however often sealing began: files by their bytes, entries but for their time."""
    files = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for folder in ("seg", "exec", "wal")
        for path in (root / folder).rglob("*")
        if path.is_file()
    }
    told = Counter(json.dumps({**entry, "at": ""}, sort_keys=True) for entry in entries(root))
    catalogue = Catalogue(Store(root))
    return files, told, [replace(one, path=Path(one.path.name)) for one in catalogue.segments()]


STEPS: dict[str, Any] = {"fsync": os.fsync, "rename": os.rename, "unlink": os.unlink, "mkdir": os.mkdir}


def dying(step, number, monkeypatch):
    """Make the process die at the `number`th call of a function of the operating system, before it acts."""
    left = [number]

    def die(*values, **named):
        left[0] -= 1
        if left[0] == 0:
            raise Crash
        return STEPS[step](*values, **named)

    monkeypatch.setattr(os, step, die)


def crash_everywhere(tmp_path, monkeypatch, story, *, step, following):
    """Crash at one call after the other, and seal again; gives how many crashes there were."""
    calm = tmp_path / "calm"
    shutil.copytree(story, calm)
    recover(calm, decode)
    check(calm)
    expected = facts(calm)
    assert len(expected[2]) == 7
    number, crashes = 1, 0
    while True:
        root = tmp_path / str(number)
        shutil.copytree(story, root)
        with monkeypatch.context() as patched:
            dying(step, number, patched)
            try:
                recover(root, decode)
            except Crash:
                crashes += 1
            else:
                return crashes
        recover(root, decode)
        assert facts(root) == expected, (step, number)
        shutil.rmtree(root)
        number = following(number)


@pytest.mark.parametrize("step", ["fsync", "rename"])
def test_a_crash_at_a_step_changes_nothing_in_the_end(tmp_path, monkeypatch, story, step):
    assert crash_everywhere(tmp_path, monkeypatch, story, step=step, following=lambda number: number * 3) > 3


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_step_changes_nothing_in_the_end(tmp_path, monkeypatch, story, step):
    assert crash_everywhere(tmp_path, monkeypatch, story, step=step, following=lambda number: number + 1) > 3
