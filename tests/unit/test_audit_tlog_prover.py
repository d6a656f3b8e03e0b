"""Proofs of receipts, records and growth: true ones are given and pass, and no other."""

from __future__ import annotations

import dataclasses
import json
import shutil
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit import canonical
from audit.chunks import canonical_records, chunk_leaves, context_of
from audit.columns import SCHEMA
from audit.errors import FormatError
from audit.identity import ExecutionId
from audit.tlog.errors import DamageError, NoteError, ProofError, RangeError, UnprovableError
from audit.tlog.merkle import leaf_hash, root_of, verify_consistency
from audit.tlog.prover import Prover
from audit.tlog.record_proof import parse_record_proof
from audit.tlog.signer import sign_head
from audit.tlog.tlog_proof import parse_proof
from audit.verify import standalone
from tests.tlogs import ORIGIN, entries_of, named_key, new_keys, new_log

ONE, OTHER, UNSIGNED, MISSING = (
    ExecutionId(f"01a1ee56-5e00-7000-8000-{number:012x}") for number in (1, 2, 3, 4)
)
NAMES = ("default", "sha256:" + "ab" * 32, "sha256:" + "cd" * 32)


def records(rows):
    return canonical_records(rows).tobytes()


def rows_of(exec_id, first, count):
    """Rows as they might be, each another one."""
    row = {
        "exec_id": exec_id, "t_ns": 0, "dur_ns": 5, "stage": 1, "tenant_id": NAMES[0], "module_id": NAMES[1], "policy_id": NAMES[2],
        "call": "wasi_snapshot_preview1.fd_read", "class_uid": 1001, "activity_id": 2, "decision": 1, "disposition": 1, "errno": 0, "fd": 4,
        "fd2": -1, "target_kind": 1, "target": "/srv/in/ä", "flags": 0, "bytes_in": 1 << 60, "bytes_out": 0, "n": 1, "opener_seq": -1,
        "t_last_ns": 0, "masked": 0, "payload": b"\xff\0",
    }  # fmt: skip
    return pa.Table.from_pylist(
        [row | {"seq": seq, "t_ns": seq, "t_last_ns": seq} for seq in range(first, first + count)],
        schema=SCHEMA,
    )


def seal(root, stem, parts):
    """A segment of some executions' rows, as the sealer would leave it."""
    name = f"seg/tenant=default/day=2026-11-22/{stem}.parquet"
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.concat_tables([rows for _, rows in parts]), path)
    leaves = {exec_id: chunk_leaves(rows, exec_id, context_of(exec_id, *NAMES)) for exec_id, rows in parts}
    path.with_suffix(".chunks").write_bytes(b"".join(b"".join(some) for some in leaves.values()))
    executions = [
        {"exec_id": exec_id, "first_seq": rows.column("seq")[0].as_py(), "chunks": len(leaves[exec_id])} for exec_id, rows in parts
    ]  # fmt: skip
    path.with_suffix(".manifest.json").write_bytes(
        canonical.dumps({"segment": name, "executions": executions}) + b"\n"
    )
    return name, leaves


def receipt_leaf(exec_id, leaves, segments):
    fields = {
        "type": "receipt",
        "v": 1,
        "exec_id": exec_id,
        "root": root_of(leaves).hex(),
        "chunks": len(leaves),
        "segments": segments,
    }
    return canonical.dumps(fields)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit")
    first, leaves_1 = seal(folder, "a", [(ONE, rows_of(ONE, 0, 300)), (OTHER, rows_of(OTHER, 0, 5))])
    second, leaves_2 = seal(folder, "b", [(ONE, rows_of(ONE, 300, 200))])
    log, keys = new_log(folder, 300), new_keys(folder)
    log.append(
        [
            receipt_leaf(OTHER, leaves_1[OTHER], [first]),
            receipt_leaf(ONE, leaves_1[ONE] + leaves_2[ONE], [first, second]),
        ]
    )
    log.append(entries_of(50))
    sign_head(log, keys)
    log.append([receipt_leaf(UNSIGNED, (), [])])
    return folder, keys.load().verifier


@pytest.fixture
def changed(tmp_path, made):
    shutil.copytree(made[0], tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.parametrize("guess", [lambda _: None, lambda _: 301, lambda _: 7, lambda _: -1, lambda _: 10**9])
def test_a_receipt_is_proved_wherever_the_index_says_it_is(made, guess):
    folder, key = made
    proof = parse_proof(Prover(folder, leaf_of=guess).receipt(ONE).content)
    assert proof.index == 301
    assert proof.extra is not None
    assert json.loads(proof.extra)["exec_id"] == ONE
    assert proof.verify(leaf_hash(proof.extra), ORIGIN, [key]).checkpoint.size == 352


def test_what_is_not_there_or_not_signed_has_no_proof(made, tmp_path):
    prover = Prover(made[0])
    with pytest.raises(UnprovableError, match="no receipt of execution"):
        prover.receipt(MISSING)
    with pytest.raises(UnprovableError, match="leaf 352 is not signed yet: the checkpoint has 352 leaves"):
        prover.receipt(UNSIGNED)
    with pytest.raises(UnprovableError, match="nothing is signed yet"):
        Prover(tmp_path).receipt(ONE)
    assert (prover.signed_size(), Prover(tmp_path).signed_size()) == (352, 0)


@pytest.mark.parametrize("seq", [0, 1, 127, 128, 255, 256, 299, 300, 427, 428, 499])
def test_a_record_is_proved_and_passes_with_the_key_alone(made, seq):
    folder, key = made
    proof = Prover(folder).record(ONE, seq, records)
    again = parse_record_proof(proof.content)
    assert again == proof
    found = again.verify(ORIGIN, [key])
    assert found.record == records(rows_of(ONE, seq, 1))
    assert found.checkpoint.checkpoint.size == 352
    assert (again.row["seq"], again.row["bytes_in"], again.row["target"], again.row["payload"]) == (
        str(seq),
        str(1 << 60),
        "/srv/in/ä",
        "/wA=",
    )


def test_the_verifier_that_shares_no_code_accepts_the_proofs(made):
    folder, key = made
    keys = [standalone.Key.parse(key.text)]
    assert (
        standalone.check_proof(Prover(folder).record(ONE, 300, records).content, keys)["row"]["seq"] == "300"
    )
    assert standalone.check_proof(Prover(folder).receipt(ONE).content, keys)["index"] == 301
    other = [standalone.Key.parse(named_key(5).verifier.text)]
    with pytest.raises(standalone.Problem):
        standalone.check_proof(Prover(folder).record(ONE, 300, records).content, other)


def test_a_record_that_is_not_there_has_no_proof(made):
    with pytest.raises(UnprovableError, match="has no row for call 500"):
        Prover(made[0]).record(ONE, 500, records)


def test_a_proof_of_another_execution_key_or_place_fails(made):
    folder, key = made
    proof = Prover(folder).record(ONE, 130, records)
    other = Prover(folder).record(OTHER, 2, records)
    proof.verify(ORIGIN, [key])
    bad: list[dict[str, Any]] = [
        {"exec_id": OTHER}, {"seq": 131}, {"position": 3}, {"position": 128}, {"position": -1}, {"chunk": 0}, {"chunks": 4}, {"first_seq": 0},
        {"path": proof.path[1:]}, {"path": ()}, {"tenant_id": "other"}, {"module_id": "x"}, {"policy_id": "x"}, {"receipt": other.receipt},
        {"records": proof.records[:-160]}, {"records": proof.records[:-1]}, {"records": b""}, {"records": proof.records * 2}, {"first_seq": -1},
        {"receipt": dataclasses.replace(proof.receipt, extra=None)}, {"receipt": dataclasses.replace(proof.receipt, extra=b"{}")},
    ]  # fmt: skip
    for change in bad:
        with pytest.raises(ProofError):
            dataclasses.replace(proof, **change).verify(ORIGIN, [key])
    for at in (0, 2 * 160, 128 * 160 - 1):
        flipped = bytearray(proof.records)
        flipped[at] ^= 1
        with pytest.raises(ProofError):
            dataclasses.replace(proof, records=bytes(flipped)).verify(ORIGIN, [key])
    with pytest.raises(NoteError):
        proof.verify(ORIGIN, [named_key(5).verifier])


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"schema":"wasmgate.record-proof.v2"}'])
def test_any_other_file_is_no_proof_of_a_record(made, content):
    with pytest.raises(FormatError):
        parse_record_proof(content)
    good = Prover(made[0]).record(OTHER, 2, records).content
    for old, new in (
        (b'"seq":"2"', b'"seq":2'),
        (b'"seq":"2"', b'"seq":"02"'),
        (b'"records":"', b'"records":"!'),
        (b'"chunk":0', b'"chunk":"0"'),
    ):
        with pytest.raises((FormatError, NoteError)):
            parse_record_proof(good.replace(old, new))


def test_files_that_were_changed_give_no_proof(changed):
    prover = Prover(changed)
    stem = changed / "seg/tenant=default/day=2026-11-22/a"
    good = stem.with_suffix(".chunks").read_bytes()
    for bad in (good[:64], good[:31], bytes(32) + good[32:], good[32:64] + good[:32] + good[64:]):
        stem.with_suffix(".chunks").write_bytes(bad)
        with pytest.raises(DamageError):
            prover.record(ONE, 5, records)
    stem.with_suffix(".chunks").write_bytes(good)
    assert prover.record(ONE, 5, records).seq == 5
    pq.write_table(pa.concat_tables([rows_of(ONE, 0, 5), rows_of(ONE, 6, 294)]), stem.with_suffix(".parquet"))
    with pytest.raises(DamageError, match="chunk 0 of execution"):
        prover.record(ONE, 4, records)
    stem.with_suffix(".parquet").write_bytes(b"no parquet")
    with pytest.raises(DamageError):
        prover.record(ONE, 4, records)
    stem.with_suffix(".parquet").unlink()
    with pytest.raises(UnprovableError, match="a retention may have removed it"):
        prover.record(ONE, 4, records)
    assert prover.receipt(ONE).index == 301


def test_a_changed_leaf_gives_no_proof(changed):
    bundle = changed / "tlog/tile/entries/001.p/97"
    bundle.write_bytes(bundle.read_bytes().replace(b'"v":1', b'"v":2'))
    with pytest.raises(DamageError):
        Prover(changed).receipt(ONE)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd.parquet", "/etc/passwd.parquet", "seg/../x.parquet", "seg/x"]
)
def test_a_leaf_cannot_lead_out_of_the_log(tmp_path, name):
    log, keys = new_log(tmp_path), new_keys(tmp_path)
    log.append([receipt_leaf(ONE, (), [name])])
    sign_head(log, keys)
    with pytest.raises(DamageError, match="names a segment"):
        Prover(tmp_path).record(ONE, 0, records)


def test_segments_that_did_not_fit_into_the_leaf_are_found_by_their_manifests(tmp_path):
    log, keys = new_log(tmp_path), new_keys(tmp_path)
    _, leaves_2 = seal(tmp_path, "a", [(ONE, rows_of(ONE, 200, 50))])  # named against the order of its rows
    _, leaves_1 = seal(tmp_path, "b", [(ONE, rows_of(ONE, 0, 200))])
    log.append([receipt_leaf(ONE, leaves_1[ONE] + leaves_2[ONE], None)])
    sign_head(log, keys)
    found = Prover(tmp_path).record(ONE, 220, records).verify(ORIGIN, [keys.load().verifier])
    assert found.record == records(rows_of(ONE, 220, 1))


def test_growth_is_proved(made):
    proof = Prover(made[0]).growth(100, 352)
    verify_consistency(100, 352, path=proof.path, first_root=proof.first_root, second_root=proof.second_root)
    assert json.loads(json.dumps(proof.as_json()))["second"]["size"] == 352
    with pytest.raises(RangeError):
        Prover(made[0]).growth(100, 354)
