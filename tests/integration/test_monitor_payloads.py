"""What is kept of the bytes that calls move is what was moved, and a guest sees nothing of it."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.columns import OPENED, Decision, Masked
from audit.terms import AuditTerms, Payload
from audit.wal import RecordFrame
from policy.audit_terms import parse_payload
from policy.plan import UNLIMITED, Plan
from sandbox.engine_wasmtime import EndKind
from sandbox.monitor import layout
from sandbox.monitor.decode import decode
from tests import machines, records
from tests.guests import DATA, LOG, OUTSIDE, Script
from tests.machines import Collected, Watched, allow_all, run_watched
from tests.sequences import SEQUENCES, plant

CONTENT = random.Random(4).randbytes(300_000)


class Kept(Collected):
    """Keeps every collector, so that a test can decode what was taken."""

    last: Collected

    def __init__(self) -> None:
        super().__init__()
        Kept.last = self


@pytest.fixture(autouse=True)
def keep_frames(monkeypatch):
    monkeypatch.setattr(machines, "Collected", Kept)


def plan_of(root, payload: str, **changes: Any) -> Plan:
    plan = allow_all(root)
    return replace(plan, audit=replace(plan.audit, payload=parse_payload(payload)), **changes)


def rows(payload: str, **more: Any) -> list[dict[str, Any]]:
    frames, seq = [], 0
    for raw, arena, start in Kept.last.records:
        count = len(raw) // layout.RECORD_BYTES
        frames.append(RecordFrame(seq, count, raw, arena, start))
        seq += count
    terms = AuditTerms(payload=Payload.parse(payload))
    values: dict[str, Any] = {"layout_version": layout.VERSION, "audit": terms} | more
    found: list[dict[str, Any]] = decode(records.start(**values), frames, OPENED.empty_table()).to_pylist()
    return found


def run(script: Script, plan: Plan, stdin: bytes = b"") -> Watched:
    found = run_watched(script, plan, stdin=stdin)
    assert found.end is EndKind.RETURNED, found.message
    return found


def of_call(payload: str, *names: str) -> list[dict[str, Any]]:
    return [row for row in rows(payload) if row["call"].split(".")[-1] in names]


LENGTHS = [0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 4_096, 16_383, 16_384, 16_385, 40_000]


@pytest.mark.parametrize("payload", ["digest", "head:64", "full"])
def test_each_write_is_digested_whatever_its_length(tmp_path, payload):
    script = Script()
    at = script.put(CONTENT[:40_000])
    for length in LENGTHS:
        script.call("fd_write", 1, *script.vectors((at, length)), script.out(4))
    found = run(script, plan_of(tmp_path, payload))
    assert len(found.stdout) == sum(LENGTHS)
    for row, length in zip(of_call(payload, "fd_write"), LENGTHS, strict=True):
        kept = {"digest": b"", "head:64": CONTENT[: min(64, length)], "full": CONTENT[:length]}[payload]
        assert row["payload"] == (kept or None)
        assert row["payload_sha256"] == (hashlib.sha256(CONTENT[:length]).digest() if length else None)
        assert row["masked"] == 0


@pytest.mark.parametrize("name", ["fd_read", "fd_pread"])
def test_each_read_is_digested_after_it_was_made(tmp_path, name):
    (tmp_path / "file").write_bytes(CONTENT)
    script = Script()
    script.open("file")
    buffer = script.out(40_000)
    place = 0
    offsets = []
    for length in LENGTHS:
        offset = () if name == "fd_read" else (1_000,)
        script.call(name, 4, *script.vectors((0, 0), (buffer, length), (buffer, 9)), *offset, script.out(4))
        moved = length or 9
        offsets.append((place if name == "fd_read" else 1_000, moved))
        place += moved
    run(script, plan_of(tmp_path, "full"))
    for row, (start, length) in zip(of_call("full", name), offsets, strict=True):
        assert row["bytes_in"] == length
        assert row["payload"] == CONTENT[start : start + length]
        assert row["payload_sha256"] == hashlib.sha256(row["payload"]).digest()


def test_standard_input_is_kept_like_a_file(tmp_path):
    script = Script()
    script.call("fd_read", 0, *script.vectors((script.out(64), 64)), script.out(4))
    run(script, plan_of(tmp_path, "full"), stdin=b"from the caller")
    (row,) = of_call("full", "fd_read")
    assert row["payload"] == b"from the caller"


def test_nothing_is_kept_unless_the_plan_says_so(tmp_path):
    script = Script()
    script.call("fd_write", 1, *script.vectors(script.text("hello")), script.out(4))
    found = run(script, plan_of(tmp_path, "none"))
    assert found.header["arena"] == 0
    assert [(row["payload"], row["payload_sha256"], row["masked"]) for row in rows("none")] == [
        (None, None, 0)
    ]


def test_a_refused_write_moves_nothing_and_leaves_nothing(tmp_path):
    script = Script()
    script.call("fd_write", 1, *script.vectors(script.text("hello")), script.out(4))
    plan = plan_of(tmp_path, "full")
    refusing = machines.storage(tmp_path, more="permissions:\n  stdio: {stdout: none}")
    found = run(script, replace(refusing, audit=plan.audit))
    (row,) = rows("full")
    assert found.records[0].decision.name == "DENY"
    assert (row["decision"], row["payload"], row["payload_sha256"]) == (Decision.DENY, None, None)


def test_a_failed_read_leaves_nothing(tmp_path):
    script = Script()
    script.call("fd_read", 3, *script.vectors((script.out(8), 8)), script.out(4))
    run(script, plan_of(tmp_path, "full"))
    (row,) = of_call("full", "fd_read")
    assert (row["errno"] != 0, row["payload"], row["masked"]) == (True, None, 0)


def test_what_is_longer_than_the_arena_takes_is_cut_and_says_so(tmp_path):
    script = Script()
    size = layout.PAYLOAD_MAX + 1
    script.call("fd_write", 1, *script.vectors((DATA, size)), script.out(4))
    script.call("fd_write", 1, *script.vectors((DATA, size - 1)), script.out(4))
    found = run(script, plan_of(tmp_path, "full"))
    cut, whole = of_call("full", "fd_write")
    assert (len(cut["payload"]), cut["masked"]) == (layout.PAYLOAD_MAX, Masked.PAYLOAD)
    assert cut["payload_sha256"] == hashlib.sha256(found.stdout[:size]).digest()
    assert (len(whole["payload"]), whole["masked"]) == (layout.PAYLOAD_MAX, 0)
    assert whole["payload"] == found.stdout[size:]


def test_a_full_arena_is_drained_and_never_overrun(tmp_path):
    script = Script()
    (tmp_path / "file").write_bytes(CONTENT)
    at = script.out(40_000)
    for index in range(60):
        script.stat(f"missing-{index}")
        script.call("fd_write", 1, *script.vectors((at, 39_000 - index)), script.out(4))
        script.stat("file")
    found = run(script, plan_of(tmp_path, "full"))
    place = 0
    for index, row in enumerate(of_call("full", "fd_write")):
        length = 39_000 - index
        assert row["payload"] == found.stdout[place : place + length]
        place += length
    targets = [record.target for record in found.records if record.call == "path_filestat_get"]
    assert targets == [name for n in range(60) for name in (f"missing-{n}".encode(), b"file")]


def test_without_room_the_guest_ends_before_the_call(tmp_path):
    script = Script()
    for _ in range(4):
        script.call("fd_write", 1, *script.vectors((DATA, 500_000)), script.out(4))
    found = run_watched(script, plan_of(tmp_path, "full"), answer=1)
    assert found.end is EndKind.TRAPPED
    assert len(found.stdout) == 1_000_000


def test_an_answer_that_falls_on_what_was_read_is_noticed(tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    script = Script()
    script.open("file")
    buffer = script.out(64)
    script.call("fd_read", 4, *script.vectors((buffer, 64)), buffer + 60)
    script.call("fd_read", 4, *script.vectors((buffer, 60)), buffer + 60)
    run(script, plan_of(tmp_path, "full"))
    torn, sound = of_call("full", "fd_read")
    assert (torn["payload"], torn["payload_sha256"], torn["masked"]) == (None, None, Masked.PAYLOAD)
    assert (sound["payload"], sound["masked"]) == (CONTENT[64:124], 0)


def test_an_answer_that_falls_on_what_was_written_changes_nothing(tmp_path):
    script = Script()
    at, length = script.text(b"0123456789abcdef")
    script.call("fd_write", 1, *script.vectors((at, length)), at + 4 - at % 4)
    found = run(script, plan_of(tmp_path, "full"))
    (row,) = of_call("full", "fd_write")
    assert row["payload"] == found.stdout == b"0123456789abcdef"


def test_what_is_read_may_fall_on_the_list_of_buffers(tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    script = Script()
    script.open("file")
    vectors = script.out(8)
    script.memory[vectors : vectors + 8] = vectors.to_bytes(4, "little") + (8).to_bytes(4, "little")
    script.call("fd_read", 4, vectors, 1, script.out(4))
    run(script, plan_of(tmp_path, "full"))
    (row,) = of_call("full", "fd_read")
    assert row["payload"] == CONTENT[:8]


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 9_000), st.integers(0, 50_000)), max_size=12), st.data()
)
@settings(max_examples=25)
def test_any_calls_are_kept_as_python_sees_them(tmp_path_factory, steps, data):
    payload = data.draw(st.sampled_from(["digest", "head:1", "head:100", "full"]))
    root = tmp_path_factory.mktemp("p")
    (root / "file").write_bytes(CONTENT)
    script = Script()
    script.open("file")
    at = script.put(CONTENT[:9_000])
    buffer = script.out(9_000)
    expected = []
    for is_read, length, offset in steps:
        if is_read:
            script.call("fd_pread", 4, *script.vectors((buffer, length)), offset, script.out(4))
            expected.append(CONTENT[offset : offset + length])
        else:
            script.call("fd_write", 2, *script.vectors((at, length)), script.out(4))
            expected.append(CONTENT[:length])
    run(script, plan_of(root, payload))
    head = {"digest": 0, "full": 1 << 30}.get(payload) or int(payload.partition(":")[2] or 0)
    found = [
        (row["payload"] or b"", row["payload_sha256"]) for row in of_call(payload, "fd_pread", "fd_write")
    ]
    assert found == [(raw[:head], hashlib.sha256(raw).digest() if raw else None) for raw in expected]


def test_a_cell_that_lies_about_its_payloads_gets_no_more_than_the_terms(tmp_path):
    script = Script()
    script.call("fd_write", 1, *script.vectors(script.text("hello")), script.out(4))
    run(script, plan_of(tmp_path, "full"))
    assert rows("none")[0]["payload"] is None
    assert rows("none")[0]["payload_sha256"] is None
    assert rows("head:2")[0]["payload"] == b"he"
    assert rows("full", layout_version=1)[0]["payload"] is None


def test_buffers_outside_the_memory_are_for_the_host_to_refuse(tmp_path):
    for vectors in ([(OUTSIDE, 64)], [(DATA, 1 << 31)], [(0xFFFF_FFFF, 2)], [(LOG, 0), (OUTSIDE, 1)]):
        ends = []
        for payload in ("none", "full"):
            script = Script()
            script.call("fd_write", 1, *script.vectors(*vectors), script.out(4))
            script.call("fd_read", 0, *script.vectors(*vectors), script.out(4))
            found = run_watched(script, plan_of(tmp_path, payload), stdin=b"abc")
            ends.append((found.end, found.errnos, found.stdout))
        assert ends[0] == ends[1]


@pytest.mark.parametrize("name", sorted(SEQUENCES))
def test_no_sequence_of_calls_sees_a_difference(tmp_path, name):
    seen = []
    for text in ("none", "full"):
        script = Script()
        SEQUENCES[name](script)
        roots = plant(tmp_path / "top")
        plan = allow_all(*roots)
        plan = replace(plan, audit=replace(plan.audit, payload=parse_payload(text)))
        found = run_watched(script, plan, stdin=b"from the caller")
        seen.append(
            (found.errnos, found.end, found.stdout, found.stderr, [record.aux for record in found.records])
        )
        assert plan.limits.host_calls == UNLIMITED
    assert seen[0] == seen[1]
