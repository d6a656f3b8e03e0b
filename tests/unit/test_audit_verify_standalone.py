"""The stand-alone verifier's own implementation of the formats, against specifications, oracles and attackers."""

from __future__ import annotations

import ast
import base64
import json
import os
import shutil
import struct
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import canonical
from audit.chunks import canonical_records, chunk_leaves, context_of
from audit.columns import SCHEMA, into_file
from audit.identity import ExecutionId
from audit.recovery import recover
from audit.times import to_rfc3339
from audit.tlog.key_files import KeyFolder
from audit.tlog.log import TransparencyLog
from audit.tlog.merkle import consistency_path, leaf_hash, root_of
from audit.tlog.prover import Prover
from audit.tlog.signer import sign_head
from audit.verify import standalone
from audit.verify.standalone import (
    Key,
    Problem,
    Span,
    Tree,
    check_proof,
    loads,
    open_note,
    root_by_path,
    verify,
)
from audit.writer import AuditWriter
from sandbox.monitor.decode import decode
from tests.records import IN, STORY, T0, call, frame, pack, start
from tests.sealed_logs import SealedLog, rows_of, small_log
from tests.tlogs import oracle_leaf, oracle_path, oracle_root

FILE = Path(standalone.__file__)
NOTE_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n\n"
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)  # the example of Go's `sumdb/note`


def records_bytes(table: pa.Table) -> bytes:
    return bytes(canonical_records(table).tobytes())


# --- one file, and nothing of ours in it ---------------------------------------------------------


def test_it_imports_the_standard_library_and_cryptography_only():
    names = set()
    for node in ast.walk(ast.parse(FILE.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {one.name.split(".")[0] for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    assert names - set(sys.stdlib_module_names) == {"cryptography"}


def test_it_runs_away_from_the_project_and_says_what_it_could_not_check_without_pyarrow(tmp_path):
    made = small_log(tmp_path / "log")
    (tmp_path / "wasmgate_verify.py").write_bytes(FILE.read_bytes())
    for blocked, status, said in (
        ((), 0, "verified"),
        (("pyarrow", "pyarrow.compute", "pyarrow.parquet"), 3, "the records in segments were not read"),
    ):
        blocks = ";".join(f"sys.modules[{name!r}] = None" for name in blocked) or "pass"
        script = f"import sys; {blocks}; import runpy; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
        done = subprocess.run(
            [sys.executable, "-I", "-c", script, str(tmp_path / "wasmgate_verify.py"), str(made.folder), "--key", made.vkey],
            capture_output=True, cwd=tmp_path, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (status, b"")
        assert said in done.stdout.decode()


# --- records -------------------------------------------------------------------------------------

TEXT = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
I64, I32, I16, I8 = (st.integers(-(1 << bits - 1), (1 << bits - 1) - 1) for bits in (64, 32, 16, 8))


@st.composite
def tables(draw) -> pa.Table:
    rows = draw(st.integers(1, 6))
    columns = {}
    for field in SCHEMA:
        kind = field.type
        values: Any = {
            pa.int64(): I64,
            pa.int32(): I32,
            pa.int16(): I16,
            pa.int8(): I8,
        }.get(kind)
        if field.name == "n":
            values = st.integers(1, 3)
        elif field.name == "payload_sha256":
            values = st.none() | st.binary(min_size=32, max_size=32)
        elif field.name == "payload":
            values = st.none() | st.binary(max_size=5)
        elif values is None:
            values = TEXT if field.nullable else st.sampled_from(["a", "b"])
        elif field.nullable:
            values = st.none() | values
        columns[field.name] = pa.array(draw(st.lists(values, min_size=rows, max_size=rows)), kind)
    return pa.table(columns, schema=SCHEMA)


@settings(deadline=None)
@given(tables())
def test_records_are_those_of_the_writer_with_numpy_and_without(table):
    wanted = records_bytes(table)
    assert standalone.records_slowly(table) == wanted
    assert standalone.records_fast(table) == wanted


@pytest.mark.parametrize("cuts", [(0, 300), (0, 1, 300), (0, 127, 128, 129, 300), (0, 200, 201, 300)])
def test_chunks_are_those_of_the_writer_however_the_rows_come(cuts):
    of = start()
    rows = rows_of(of, STORY * 28)
    wanted = chunk_leaves(
        rows.slice(0, 300), of.exec_id, context_of(of.exec_id, of.tenant, of.module_digest, of.policy_digest)
    )
    for is_fast in (True, False):
        span = Span(of.exec_id, (of.tenant, of.module_digest, of.policy_digest))
        for first, end in pairwise(cuts):
            part = rows.slice(first, end - first)
            at, names = standalone.coded(part, "call")
            if is_fast:
                span.add_fast(standalone.records(part), at, names)
            else:
                span.add(standalone.records_slowly(part), [names[i] for i in at])
        span.hash(is_last=True)
        assert tuple(span.leaves) == wanted
        assert (span.rows, span.calls, span.first, span.last, span.holes) == (300, 300, 0, 299, [])


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9), st.sampled_from([1, 1, 1, 3])),
        min_size=1,
        max_size=80,
    )
)
def test_counting_with_numpy_and_without_agree(calls):
    table = rows_of(start(), STORY * 8).slice(0, len(calls))
    for name, at in (("seq", 0), ("t_ns", 1), ("n", 2)):
        table = table.set_column(
            SCHEMA.get_field_index(name), SCHEMA.field(name), pa.array([one[at] for one in calls])
        )
    at, names = standalone.coded(table, "call")
    slow, fast = (Span("01a1ee56-5e00-7000-8000-000000000000", ("a", "b", "c")) for _ in range(2))
    slow.add(standalone.records_slowly(table), [names[i] for i in at])
    fast.add_fast(standalone.records_fast(table), at, names)
    for name in ("rows", "calls", "first", "last", "last_ns", "counts", "moved", "refused", "is_condensed"):
        assert getattr(slow, name) == getattr(fast, name), name
    assert {seq for seq, _ in slow.wrong} == {seq for seq, _ in fast.wrong}
    assert slow.back == fast.back
    assert slow.is_condensed or slow.holes == fast.holes


# --- tree, notes, proofs -------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 70))
def test_roots_of_every_beginning_and_inclusion_are_those_of_the_formulas(size):
    entries = [struct.pack(">I", number) for number in range(size)]
    tree = Tree([oracle_leaf(entry) for entry in entries])
    assert [tree.root(n) for n in range(size + 1)] == [oracle_root(entries[:n]) for n in range(size + 1)]
    for index in range(size):
        path = oracle_path(index, entries)
        assert root_by_path(oracle_leaf(entries[index]), index, size, path) == oracle_root(entries)
        for wrong in ([*path, bytes(32)], path[:-1] if path else [bytes(32)]):
            with pytest.raises(Problem):
                root_by_path(oracle_leaf(entries[index]), index, size, wrong)


def test_a_published_note_is_opened_and_an_altered_one_is_not():
    key = Key.parse(NOTE_KEY)
    assert open_note(NOTE.encode(), [key])[1] == [key]
    for wrong in (
        NOTE.replace("answer", "Answer"),
        NOTE[:-1],
        NOTE.replace("\n\n", "\n"),
        NOTE.replace("x08go/ZJ", "x08go/ZK"),
    ):
        with pytest.raises(Problem):
            open_note(wrong.encode(), [key])
    assert open_note(NOTE.encode(), [])[1] == []
    with pytest.raises(Problem):
        Key.parse(NOTE_KEY.replace("c74f", "c74e"))


def test_a_witness_must_have_signed_when_it_is_named(tmp_path):
    made = small_log(tmp_path)
    witness = Key("witness.example", 4, _public(b"w" * 32))
    keys = [Key.parse(made.vkey), witness]
    assert [one.message for one in verify(str(made.folder), keys)[0].findings] == [
        "the witness witness.example has not signed it"
    ]
    path = made.folder / "tlog/checkpoint"
    text, _, _ = path.read_text().rpartition("\n\n")
    message = f"cosignature/v1\ntime 1700000000\n{text}\n".encode()
    raw = witness.id + struct.pack(">Q", 1_700_000_000) + _sign(b"w" * 32, message)
    path.write_text(path.read_text() + f"\u2014 witness.example {base64.b64encode(raw).decode()}\n")
    assert verify(str(made.folder), keys)[0].result == "verified"


@pytest.mark.parametrize("is_forged", [False, True])
def test_a_witness_may_have_signed_in_a_file_of_its_own(tmp_path, is_forged):
    made = small_log(tmp_path)
    witness = Key("witness.example", 4, _public(b"w" * 32))
    text, _, signatures = (made.folder / "tlog/checkpoint").read_text().rpartition("\n\n")
    message = f"cosignature/v1\ntime 1700000000\n{text}\n".encode()
    raw = (
        witness.id + struct.pack(">Q", 1_700_000_000) + _sign(b"x" * 32 if is_forged else b"w" * 32, message)
    )
    line = f"\u2014 witness.example {base64.b64encode(raw).decode()}\n"
    (made.folder / "tlog/checkpoint.witnessed").write_text(f"{text}\n\n{signatures}{line}")
    report = verify(str(made.folder), [Key.parse(made.vkey), witness])[0]
    assert report.result == ("FAILED" if is_forged else "verified")
    assert {one.file for one in report.findings} <= {"tlog/checkpoint.witnessed"}


def test_the_key_of_a_witness_alone_verifies_nothing(tmp_path):
    # a forger signs with any key, or none: whoever names only a witness's key must not be told that all is well
    made = small_log(tmp_path)
    shutil.rmtree(made.folder / "tlog/keys")
    path = made.folder / "tlog/checkpoint"
    text, _, _ = path.read_text().rpartition("\n\n")
    path.write_text(f"{text}\n\n\u2014 example.com/audit AAAAAAAA\n")
    witness = Key("witness.example", 4, _public(b"w" * 32))
    report = verify(str(made.folder), [witness])[0]
    assert report.result == "FAILED"
    assert ("signature", "no key of the log was given") in {(f.what, f.message) for f in report.findings}


def test_keys_of_the_log_and_of_witnesses_are_not_mistaken_for_each_other(tmp_path, capsys):
    made = small_log(tmp_path)
    witness = Key("witness.example", 4, _public(b"w" * 32))
    for keys in (["--key", witness.vkey], ["--key", made.vkey, "--witness", made.vkey]):
        with pytest.raises(SystemExit) as ended:
            standalone.main([str(made.folder), *keys])
        assert ended.value.code == 2
        assert "is a key of" in capsys.readouterr().err
    assert standalone.main([str(made.folder), "--key", made.vkey]) == 0


def test_a_receipt_cannot_name_a_segment_that_has_nothing_of_its_execution(tmp_path):
    for is_named in (False, True):
        made = SealedLog.create(tmp_path / str(is_named))
        one, two = start(number=1), start(number=2)
        made.seal([(one, rows_of(one, STORY))])
        other = made.seal([(two, rows_of(two, STORY))])
        made.finish(two)
        if is_named:  # as if another segment were gone: what would not be counted then
            made.parts[one.exec_id].append((other, rows_of(one, ()), ()))
        made.finish(one)
        made.sign()
        report = verify(str(made.folder), [Key.parse(made.vkey)])[0]
        assert report.result == ("FAILED" if is_named else "verified")


def test_what_a_cell_claims_to_have_moved_does_not_break_the_log(tmp_path):
    # more than 64 bits in all: the roll-up says the most that it can
    for moved in (10, (1 << 63) - 1):
        of = start(number=1)
        writer = AuditWriter(tmp_path / f"{moved}/audit")
        writer.begin(of)
        made, _ = pack([call("fd_read", opener=IN, fd=5, aux=moved)] * 200)
        writer.append(of.exec_id, first_seq=0, records=made.tobytes())
        writer.close()
        recover(tmp_path / f"{moved}/audit", decode)
        keys = KeyFolder(tmp_path / f"{moved}/keys")
        keys.create("example.com/audit")
        sign_head(TransparencyLog(tmp_path / f"{moved}/audit/tlog"), keys)
        key = Key.parse(keys.load().verifier.text)
        findings = verify(str(tmp_path / f"{moved}/audit"), [key])[0].findings
        assert [one for one in findings if one.severity != "note"] == []


def test_gaps_that_follow_each_other_may_be_on_record_one_by_one(tmp_path):
    for second in ((16, 21), (17, 21)):
        made = SealedLog.create(tmp_path / str(second[0]))
        of = start(number=1)
        made.seal([(of, rows_of(of, STORY))])
        made.seal([(of, rows_of(of, STORY, first_seq=22))])
        for first, last in ((11, 15), second):
            made.append(
                {
                    "type": "gap", "v": 1, "at": "2026-11-18T00:00:00.000000000Z", "exec_id": of.exec_id,
                    "first": first, "last": last, "reason": "lost",
                }
            )  # fmt: skip
        made.finish(of, gaps=((11, 21),))
        made.sign()
        report = verify(str(made.folder), [Key.parse(made.vkey)])[0]
        said = {one.what for one in report.findings if one.severity == "error"}
        assert said == (set() if second[0] == 16 else {"sequence"})


def _private(seed: bytes):
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(seed)


def _public(seed: bytes) -> bytes:
    return bytes(_private(seed).public_key().public_bytes_raw())


def _sign(seed: bytes, message: bytes) -> bytes:
    return bytes(_private(seed).sign(message))


@pytest.fixture(scope="module")
def proofs(tmp_path_factory) -> SimpleNamespace:
    made = small_log(tmp_path_factory.mktemp("proofs"))
    prover = Prover(made.folder)
    exec_id = ExecutionId(start(number=1).exec_id)
    receipt = prover.receipt(exec_id).content
    record = prover.record(exec_id, 130, records_bytes).content
    return SimpleNamespace(keys=[Key.parse(made.vkey)], receipt=receipt, record=record, exec_id=exec_id)


def test_proofs_of_a_receipt_and_of_a_record_need_the_key_only(proofs):
    assert check_proof(proofs.receipt, proofs.keys)["entry"]["exec_id"] == proofs.exec_id
    found = check_proof(proofs.record, proofs.keys)
    assert (found["row"]["seq"], found["row"]["exec_id"]) == ("130", proofs.exec_id)
    stranger = [Key("example.com/audit", 1, _public(bytes(32)))]
    for content in (proofs.receipt, proofs.record):
        with pytest.raises(Problem):
            check_proof(content, stranger)


@settings(deadline=None, max_examples=400)
@given(st.data())
def test_a_proof_that_was_altered_proves_nothing_else(proofs, data):
    content = data.draw(st.sampled_from([proofs.receipt, proofs.record]))
    at = data.draw(st.integers(0, len(content) - 1))
    changed = content[:at] + bytes([content[at] ^ data.draw(st.integers(1, 255))]) + content[at + 1 :]
    try:
        found = check_proof(changed, proofs.keys)
    except (Problem, struct.error, ValueError, AttributeError, TypeError):
        return
    assert found == check_proof(content, proofs.keys), "something else was proved"


@pytest.mark.parametrize(
    "field",
    [
        "call",
        "target",
        "guest_target",
        "seq",
        "t_ns",
        "t_last_ns",
        "decision",
        "rule_id",
        "tenant_id",
        "module_id",
        "masked",
    ],
)
def test_each_column_of_a_proved_row_is_proved(proofs, field):
    document = json.loads(proofs.record)
    document["row"][field] = 3 if isinstance(document["row"][field], int) else "7"
    with pytest.raises(Problem):
        check_proof(canonical.dumps(document) + b"\n", proofs.keys)


# --- hostile input -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b'{"a":1,"a":1}', b'{"b":1,"a":1}', b'{"a": 1}', b'{"a":1.50}', b'{"a":NaN}', b'{"a":"\\ud800"}', b'{"a":"\\u0041"}',
     b"[" * 100_000, b'{"a":' * 100_000, b'{"a":' + b"9" * 5000 + b"}", b"\xff{}", b'{"a":1}\n'],
)  # fmt: skip
def test_json_that_is_not_canonical_is_refused(content):
    with pytest.raises(Problem):
        loads(content)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(1 << 53) + 1, (1 << 53) - 1) | TEXT,
        lambda c: st.lists(c) | st.dictionaries(st.text("abcXYZ_09"), c),
        max_leaves=9,
    )
)
def test_canonical_json_is_that_of_the_writer(value):
    text = canonical.dumps({"a": value})
    assert standalone.dumps({"a": value}) == text
    assert loads(text) == {"a": value}


@pytest.mark.parametrize(
    "path",
    ["../secret", "a/../../secret", "/etc/passwd", "a//b", "", ".", "a\0b", "link/x", "pipe", "a", "link"],
)
def test_no_path_leads_out_of_the_log(tmp_path, path):
    (tmp_path / "secret").write_text("x")
    root = tmp_path / "log"
    (root / "a").mkdir(parents=True)
    (root / "link").symlink_to(tmp_path)
    (tmp_path / "x").write_text("x")
    os.mkfifo(root / "pipe")
    files = standalone.Files(str(root))
    with pytest.raises(Problem):
        files.read(path, 100)
    assert set(files.odd) == {"link", "pipe"}
    files.close()


def test_a_file_is_not_read_beyond_its_bound(tmp_path):
    with (tmp_path / "big").open("wb") as file:
        file.truncate(1 << 40)
    files = standalone.Files(str(tmp_path))
    with pytest.raises(Problem, match="more than 10 bytes"):
        files.read("big", 10)
    files.close()


def test_a_head_or_checkpoint_with_an_absurd_size_costs_nothing(tmp_path):
    made = small_log(tmp_path)
    for size in (1 << 40, 9_223_372_036_854_775_807):
        (made.folder / "tlog/head").write_bytes(
            canonical.dumps({"size": size if size < 1 << 53 else str(size), "root": "00" * 32}) + b"\n"
        )
        assert verify(str(made.folder), [Key.parse(made.vkey)])[0].result == "FAILED"
        note = (made.folder / "tlog/checkpoint").read_text().split("\n")
        (made.folder / "tlog/checkpoint").write_text("\n".join([note[0], str(size), *note[2:]]))
        assert verify(str(made.folder), [Key.parse(made.vkey)])[0].result == "FAILED"


@pytest.mark.parametrize(
    "change",
    [bytes.upper, lambda head: head.removesuffix(b"\n"), lambda head: head + b"\n", lambda head: b" " + head],
)
def test_a_head_that_is_written_another_way_was_altered(tmp_path, change):
    made = small_log(tmp_path)
    path = made.folder / "tlog/head"
    assert verify(str(made.folder), [Key.parse(made.vkey)])[0].status == 0
    path.write_bytes(change(path.read_bytes()).replace(b"SIZE", b"size").replace(b"ROOT", b"root"))
    report = verify(str(made.folder), [Key.parse(made.vkey)])[0]
    assert (report.result, {one.file for one in report.findings}) == ("FAILED", {"tlog/head"})


def test_text_of_the_log_cannot_drive_a_terminal():
    assert standalone.shown("a\x1b[31m\u202e\x00é") == "a\\x1b[31m\\u202e\\x00é"


def test_an_empty_folder_and_one_that_is_not_there_are_told(tmp_path, capsys):
    key = "--key", NOTE_KEY
    assert standalone.main([str(tmp_path), *key]) == 1
    assert "the file is missing [tlog/checkpoint]" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        standalone.main([str(tmp_path / "none"), *key])
    with pytest.raises(SystemExit, match="2"):
        standalone.main([str(tmp_path), "--key", "nonsense"])
    with pytest.raises(SystemExit, match="2"):
        standalone.main([*key])


@given(st.integers(0, 253_402_300_799_999_999_999))
def test_times_are_read_as_the_writer_writes_them(t_ns):
    assert standalone.time_ns(to_rfc3339(t_ns)) == t_ns


def test_a_log_in_use_may_seal_a_file_while_it_is_looked_at(tmp_path, monkeypatch):
    made = small_log(tmp_path)
    path = made.folder / "wal" / "run-0-000000.wal"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")
    look = standalone.Files.__init__

    def look_and_seal(self: standalone.Files, root: str) -> None:
        look(self, root)
        path.unlink()

    monkeypatch.setattr(standalone.Files, "__init__", look_and_seal)
    found = verify(str(made.folder), [Key.parse(made.vkey)])[0]
    assert [(one.what, one.severity, one.file) for one in found.findings] == [
        ("wal", "note", "wal/run-0-000000.wal")
    ]
    assert found.status == 0


def test_frames_that_are_not_sealed_are_checked(tmp_path):
    from audit.writer import AuditWriter
    from tests.records import tell

    root = tmp_path / "audit"
    writer = AuditWriter(root)
    tell(writer, start())
    writer.close()
    (path,) = (root / "wal").glob("*.wal")
    content = path.read_bytes()
    assert standalone.read_frames(content) == (len(content), "")
    for at in (0, 20, 60, 100, len(content) - 1):
        changed = bytearray(content)
        changed[at] ^= 1
        good, wrong = standalone.read_frames(bytes(changed))
        assert (wrong != "", good <= at) == (True, True)
    assert standalone.read_frames(content[:-1])[1].startswith("torn")
    assert frame(STORY).n_records == len(STORY)


def unfinished(made: SealedLog) -> list[tuple[str, str | None]]:
    report = verify(str(made.folder), [Key.parse(made.vkey)])[0]
    assert report.status == 0
    return [(one.what, one.execution) for one in report.findings if one.what != "no-note"]


def test_rows_of_an_execution_without_a_receipt_are_told_of(tmp_path):
    made, one, two = SealedLog.create(tmp_path), start(number=1), start(number=2)
    made.seal([(one, rows_of(one, STORY)), (two, rows_of(two, STORY))])
    made.finish(two)
    made.sign()
    assert unfinished(made) == [("running", one.exec_id)]
    # its writer went on with another file, in which it has nothing
    made.seal([(start(number=3), rows_of(start(number=3), STORY))])
    made.sign()
    assert unfinished(made) == [("no-receipt", one.exec_id), ("running", start(number=3).exec_id)]
    for of in (one, start(number=3)):
        made.finish(of)
    made.sign()
    assert unfinished(made) == []


def test_an_execution_that_nobody_ended_for_a_day_is_late(tmp_path):
    made, of = SealedLog.create(tmp_path), start(number=1)
    made.seal([(of, rows_of(of, STORY))])
    event = {"type": "event", "v": 1, "event": "audit-on", "actor": "a", "tenant": None, "details": {}}
    for number, (hours, what) in enumerate(((24, "running"), (25, "no-receipt"))):
        at = to_rfc3339(T0 + hours * 3600 * 10**9)
        made.append({**event, "id": str(number), "at": at})
        made.sign()
        assert unfinished(made) == [(what, of.exec_id)]


@given(st.integers(1, 40), st.integers(1, 40))
def test_growth_holds_for_the_trees_that_are_and_for_no_others(first, second):
    first, second = sorted((first, second))
    leaves = [leaf_hash(bytes([number])) for number in range(second)]
    roots = root_of(leaves[:first]), root_of(leaves)
    path = consistency_path(leaves, first)
    standalone.check_growth(first, second, roots, path)
    wrong = [
        (first + 1, second, roots, path), (first - 1, second, roots, path), (0, second, roots, path),
        (first, second, roots, [*path, bytes(32)]), (second, first, roots, path) if first < second else None,
        (first, second, (bytes(32), roots[1]), path), (first, second, (roots[0], bytes(32)), path),
        *((first, second, roots, path[:at] + path[at + 1 :]) for at in range(len(path))),
    ]  # fmt: skip
    for one in (each for each in wrong if each is not None):
        with pytest.raises(Problem):
            standalone.check_growth(*one)


def test_calls_of_one_row_within_one_tick_of_the_clock_are_what_was_logged():
    # a segment file leaves out a last time that is the first one
    rows = rows_of(start(), STORY[:1])
    for name, value in (("n", 2), ("stage", 3), ("errnos", "0:2")):
        at = SCHEMA.get_field_index(name)
        rows = rows.set_column(at, SCHEMA.field(name), pa.array([value]).cast(SCHEMA.field(name).type))
    logged = canonical_records(rows).tobytes()
    assert standalone.records(rows) == logged
    assert standalone.records(into_file(rows)) == logged
    for each in (standalone.records_fast, standalone.records_slowly):
        assert each(rows) == logged


def test_times_that_a_hostile_cell_wrote_do_not_make_the_log_fail_for_good(tmp_path):
    made = SealedLog.create(tmp_path)
    of = start()
    rows = rows_of(of, STORY)
    times = rows.column("t_ns").to_pylist()
    for name in ("t_ns", "t_last_ns"):
        at = SCHEMA.get_field_index(name)
        rows = rows.set_column(
            at, SCHEMA.field(name), pa.array([times[0] - n * 5 for n in range(len(times))])
        )
    made.seal([(of, rows)])
    made.finish(of)
    made.sign()
    report = verify(str(made.folder), [Key.parse(made.vkey)])[0]
    notes = [
        (one.what, one.severity, one.execution, one.seq) for one in report.findings if one.what == "time"
    ]
    assert notes == [("time", "note", of.exec_id, 1)]
    assert report.status == 0
