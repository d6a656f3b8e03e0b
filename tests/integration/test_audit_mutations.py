"""Whatever is changed in a log, verification finds it and says where; an untouched log verifies."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
import shutil
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from audit import canonical
from audit.columns import WORDS
from audit.tlog.key_files import KeyFolder
from audit.tlog.keys import SigningKey
from audit.tlog.log import TransparencyLog
from audit.tlog.signer import sign_head
from audit.tlog.vkey import NamedKey
from audit.verify.standalone import Finding, Key, Report, verify
from tests.records import STORY, start
from tests.sealed_logs import ORIGIN, SealedLog, real_log, rows_of, small_log

# The whole list of what may change without a finding, and why.
MEANINGLESS = {
    "catalog.sqlite",  # an index that can be made again from the rest
    "seal.lock",  # nobody reads what is in it
    "catalog.lock",
    "exec/.part",  # names with a leading dot are unfinished, and nobody reads them
}
# Partial tiles and bundles that the tree has outgrown may be deleted (C2SP tlog-tiles); altered they are found.
PARTIAL = re.compile(r"(tlog/tile/\S+\.p)/(\d+)")
GATE, SLOW = 60, 10_000


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> SealedLog:
    made = small_log(tmp_path_factory.mktemp("log"))
    for name in MEANINGLESS:
        (made.folder / name).write_bytes(b"index")
    return made


@pytest.fixture
def log(made, tmp_path) -> Path:
    shutil.copytree(made.folder, tmp_path / "audit")
    return Path(tmp_path, "audit")


def look(folder: Path, vkey: str, **more) -> Report:
    return verify(str(folder), [Key.parse(vkey)], **more)[0]


def errors(report: Report) -> list[Finding]:
    return [one for one in report.findings if one.severity == "error"]


def files_of(folder: Path) -> list[str]:
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return sorted(names - MEANINGLESS)


def is_outgrown(name: str, among: list[str]) -> bool:
    """Say whether there is a wider partial tile in the same place."""
    match = PARTIAL.fullmatch(name)
    others = [int(m[2]) for m in map(PARTIAL.fullmatch, among) if m and match and m[1] == match[1]]
    return match is not None and int(match[2]) < max(others)


def names(report: Report, name: str) -> bool:
    """Does a finding name the file, or the segment or execution or tile that it belongs to?"""
    stem = name.rpartition("/")[2].split(".")[0]
    places = [f"{one.file} {one.execution}" for one in report.findings]
    return any(name in place or stem in place for place in places)


def reroot(log: Path, entries: list[bytes], keys: KeyFolder | None = None) -> TransparencyLog:
    """Write the tree again over other entries, and sign it if there are keys."""
    folder = log / "tlog"
    kept = {path.name: path.read_bytes() for path in (folder / "keys").glob("*")}
    note = (folder / "checkpoint").read_bytes()
    shutil.rmtree(folder)
    tree = TransparencyLog(folder)
    tree.append(entries)
    (folder / "checkpoint").write_bytes(note)
    (folder / "keys").mkdir(exist_ok=True)
    for name, content in kept.items():
        (folder / "keys" / name).write_bytes(content)
    if keys is not None:
        (folder / "checkpoint").unlink()
        keys.remembered.unlink(missing_ok=True)
        sign_head(tree, keys)
    return tree


def entries_of(folder: Path) -> list[bytes]:
    tree = TransparencyLog(folder / "tlog")
    return list(tree.entries(0, tree.size))


# --- the twin ---------------------------------------------------------------------------------


def test_an_untouched_log_verifies_with_the_key_in_force_and_with_the_one_before(made):
    for vkey in (made.vkey, (made.keys.path / "old" / "0.vkey").read_text()):
        report = look(made.folder, vkey)
        assert (report.result, report.status, report.findings) == ("verified", 0, [])
        assert report.checked["rows"] == report.checked["rows"] == 194
        assert report.checked["receipts that add up"] == 3


def test_what_carries_no_meaning_may_change(made, log):
    for name in MEANINGLESS:
        (log / name).write_bytes(b"other")
    assert look(log, made.vkey).result == "verified"


def test_outgrown_partial_tiles_may_be_deleted(made, log):
    names = files_of(log)
    gone = [log / name for name in names if is_outgrown(name, names)]
    assert len(gone) > 4
    for path in gone:
        path.unlink()
    assert look(log, made.vkey).result == "verified"


# --- attacks ----------------------------------------------------------------------------------

SEGMENT = "seg/tenant=default/day=2026-11-18/w-000001"
STRANGER = NamedKey(ORIGIN, SigningKey.from_seed(bytes(32)))


def swap_rows(folder: Path, first: int, second: int) -> None:
    """Swap the calls of two rows of one segment, and make its manifest name the file that this gives."""
    path = folder / f"{SEGMENT}.parquet"
    table = pq.read_table(path, partitioning=None)
    order = list(range(table.num_rows))
    order[first], order[second] = second, first
    kept = {"seq", "t_ns", "t_last_ns"}
    columns = [table.column(c) if c in kept else table.column(c).take(order) for c in table.column_names]
    pq.write_table(table.from_arrays(columns, names=table.column_names), path)
    manifest = json.loads((folder / f"{SEGMENT}.manifest.json").read_bytes())
    content = path.read_bytes()
    manifest["files"]["records"] |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / f"{SEGMENT}.manifest.json").write_bytes(canonical.dumps(manifest) + b"\n")


def edited(entries: list[bytes], at: int, **fields: object) -> list[bytes]:
    return [*entries[:at], canonical.dumps(json.loads(entries[at]) | fields), *entries[at + 1 :]]


def index_of(entries: list[bytes], kind: str, number: int = 0) -> int:
    return [at for at, entry in enumerate(entries) if json.loads(entry)["type"] == kind][number]


def keys_of(made: SealedLog, base: Path) -> KeyFolder:
    """The keys themselves, for attacks by whoever has stolen them."""
    shutil.copytree(made.keys.path, base / "stolen")
    return KeyFolder(base / "stolen")


def whats(report: Report) -> set[str]:
    return {one.what for one in errors(report)}


def test_swapped_rows_are_found_though_the_manifest_was_changed_too(made, log):
    swap_rows(log, 10, 20)
    (found,) = (one for one in errors(look(log, made.vkey)) if one.what == "manifest")
    assert (found.file, found.leaf) == (f"{SEGMENT}.manifest.json", 1)


def test_swapped_rows_are_found_by_number_though_everything_was_signed_again_with_the_stolen_key(
    made, log, tmp_path
):
    swap_rows(log, 10, 20)
    digest = hashlib.sha256((log / f"{SEGMENT}.manifest.json").read_bytes()).hexdigest()
    reroot(log, edited(entries_of(log), 1, sha256=digest), keys_of(made, tmp_path))
    report = look(log, made.vkey)
    chunk = next(one for one in errors(report) if one.what == "chunk")
    assert (chunk.file, chunk.execution, chunk.seq) == (f"{SEGMENT}.parquet", start(number=1).exec_id, 0)
    assert "calls 0 to 127" in chunk.message


def test_an_altered_file_is_read_only_when_asked_to_and_then_the_calls_are_named(made, log):
    before = (log / f"{SEGMENT}.manifest.json").read_bytes()
    swap_rows(log, 130, 131)
    (log / f"{SEGMENT}.manifest.json").write_bytes(before)
    size = json.loads(before)["files"]["records"]["bytes"]
    path = log / f"{SEGMENT}.parquet"
    assert whats(look(log, made.vkey)) == {"file"}
    if path.stat().st_size <= size:  # a longer file is not even read to its end
        assert "chunk" in whats(look(log, made.vkey, locate=True))


def test_an_edited_receipt_is_found_with_its_digest_in_the_leaf_or_not(made, log, tmp_path):
    path = next((log / "exec").glob("*1.receipt.json"))
    receipt = json.loads(path.read_bytes())
    receipt["calls"]["fd_read"]["allow"] -= 1
    receipt["calls"]["fd_write"]["allow"] += 1
    path.write_bytes(canonical.dumps(receipt) + b"\n")
    assert "receipt" in whats(look(log, made.vkey))
    entries = entries_of(log)
    at = index_of(entries, "receipt", 1)
    entries = edited(entries, at, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    reroot(log, entries)
    assert "root" in whats(look(log, made.vkey))
    reroot(log, entries, keys_of(made, tmp_path))
    report = look(log, made.vkey)
    says = [one.message for one in errors(report) if one.what == "counters"]
    assert says == ["fd_read allow: 41 in the rows, 40 counted", "fd_write allow: 41 in the rows, 42 counted"]


def test_a_checkpoint_of_another_key_is_no_checkpoint(made, log):
    entries = entries_of(log)
    tree = reroot(log, entries[:-1])
    text = f"{ORIGIN}\n{tree.size}\n{base64.b64encode(tree.root()).decode()}\n"
    note = text.encode() + b"\n" + STRANGER.sign(text).line.encode()
    (log / "tlog/checkpoint").write_bytes(note)
    assert {"signature"} <= whats(look(log, made.vkey))
    stranger = look(log, STRANGER.verifier.text)
    assert "signature" not in whats(stranger)  # the twin: the signature itself is a true one


def test_the_old_key_signs_nothing_after_it_was_followed(made, log):
    tree = TransparencyLog(log / "tlog")
    signing = made.keys.path / "old"
    assert signing.is_dir()
    first = (log / "tlog/keys/0.checkpoint").read_bytes()
    (log / "tlog/checkpoint").write_bytes(first)
    assert "signature" in whats(look(log, (signing / "0.vkey").read_text()))
    assert tree.size == 55


def test_a_tail_that_was_cut_is_found(made, log):
    whole = (log / "tlog/checkpoint").read_bytes()
    entries = entries_of(log)
    reroot(log, entries[:-1])
    report = look(log, made.vkey)
    cut = next(one for one in errors(report) if one.what == "cut")
    assert cut.leaf == len(entries) - 1
    assert (log / "tlog/checkpoint").read_bytes() == whole


def test_a_rollback_to_an_earlier_state_is_found_by_who_remembers(tmp_path):
    made = SealedLog.create(tmp_path / "a")
    one = start(number=1)
    made.seal([(one, rows_of(one, STORY))])
    made.sign()
    shutil.copytree(made.folder, tmp_path / "earlier")
    made.finish(one)
    made.sign()
    memory = str(tmp_path / "memory")
    assert look(made.folder, made.vkey, remember=memory).result == "verified"
    kept = Path(memory).read_bytes()
    assert look(made.folder, made.vkey, remember=memory).result == "verified"
    assert look(tmp_path / "earlier", made.vkey).status == 0  # whoever forgets cannot know
    (found,) = errors(look(tmp_path / "earlier", made.vkey, remember=memory))
    assert (found.what, found.message) == ("memory", "rolled back: 3 leaves, 4 were seen before")
    assert Path(memory).read_bytes() == kept


def test_a_log_that_grew_is_no_rollback(tmp_path):
    made = SealedLog.create(tmp_path / "a")
    one = start(number=1)
    made.seal([(one, rows_of(one, STORY))])
    made.sign()
    memory = str(tmp_path / "memory")
    assert [one.what for one in look(made.folder, made.vkey, remember=memory).findings] == ["running"]
    made.finish(one)
    made.sign()
    report = look(made.folder, made.vkey, remember=memory)
    assert (report.result, report.checked["remembered leaves"]) == ("verified", 3)


def test_another_history_under_the_stolen_key_is_found_by_who_remembers(made, log, tmp_path):
    memory = str(tmp_path / "memory")
    assert look(log, made.vkey, remember=memory).result == "verified"
    entries = entries_of(log)
    changed = edited(entries, 0, actor="somebody else")
    (log / "tlog/keys/0.checkpoint").unlink()  # which would contradict it too
    reroot(log, changed, keys_of(made, tmp_path))
    found = [one for one in errors(look(log, made.vkey, remember=memory)) if one.what == "memory"]
    assert found[0].message == "forked: its first 55 leaves are not those that were seen before"


def test_what_an_old_key_signed_contradicts_another_history(made, log, tmp_path):
    reroot(log, edited(entries_of(log), 0, actor="somebody else"), keys_of(made, tmp_path))
    assert [one.file for one in errors(look(log, made.vkey))] == ["tlog/keys/0.checkpoint"]


def test_the_last_receipt_cannot_go(made, log):
    entries = entries_of(log)
    last = json.loads(entries[-1])
    assert last["type"] == "receipt"
    (log / f"exec/{last['exec_id']}.receipt.json").unlink()
    found, note = errors(look(log, made.vkey))
    assert note.file == f"exec/{last['exec_id']}.receipt.note"  # of a receipt that is not there
    assert (found.what, found.leaf, found.execution, found.message) == (
        "receipt",
        len(entries) - 1,
        last["exec_id"],
        "the file is missing",
    )


def test_a_segment_cannot_go_with_its_leaf(made, log, tmp_path):
    entries = entries_of(log)
    at = index_of(entries, "segment", 2)
    for path in (log / "seg").rglob("w-000003.*"):
        path.unlink()
    kept = [
        entry
        for entry in entries
        if entry != entries[at] and (b'"refusal"' not in entry or entries.index(entry) < at)
    ]
    reroot(log, kept, keys_of(made, tmp_path))
    says = [one.message for one in errors(look(log, made.vkey)) if one.what == "receipt"]
    assert says == [f"a segment that it names has no leaf: {json.loads(entries[at])['segment']}"]


def test_a_refusal_that_its_leaf_tells_in_another_way_is_found(made, log, tmp_path):
    entries = entries_of(log)
    at = index_of(entries, "refusal", 3)
    reroot(log, edited(entries, at, target="/etc/hosts"), keys_of(made, tmp_path))
    found = [one for one in errors(look(log, made.vkey)) if one.what == "refusal"]
    assert [(one.leaf, one.message) for one in found] == [(at, "its leaf says other things: target")]


def test_a_refusal_without_a_leaf_and_a_leaf_without_a_refusal_are_found(made, log, tmp_path):
    entries = entries_of(log)
    at = index_of(entries, "refusal", 3)
    seq = json.loads(entries[at])["seq"]
    reroot(log, edited(entries, at, seq=seq + 1), keys_of(made, tmp_path))
    found = [(one.seq, one.message) for one in errors(look(log, made.vkey)) if one.what == "refusal"]
    assert sorted(found) == [(seq, "it has no leaf"), (seq + 1, "no row is like it")]


def test_damage_to_the_file_of_refusals_is_one_finding(made, log):
    path = log / f"{SEGMENT}.deny.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    (found,) = errors(look(log, made.vkey))
    assert (found.what, found.file) == ("file", f"{SEGMENT}.deny.parquet")


def test_a_file_that_no_leaf_names_is_found(made, log):
    for name in (f"{SEGMENT[:-1]}9.parquet", f"exec/{start(number=9).exec_id}.receipt.json"):
        (log / name).write_bytes(b"")
    assert [one.what for one in errors(look(log, made.vkey))] == ["unnamed", "unnamed"]


def test_a_segment_that_was_pruned_on_record_is_no_loss_and_one_that_is_gone_is(made, tmp_path):
    made = small_log(tmp_path / "a")
    gone = list((made.folder / "seg").rglob("w-000001.*"))
    for path in gone:
        path.unlink()
    assert "manifest" in whats(look(made.folder, made.vkey))
    details = {"segment": f"{SEGMENT}.parquet"}
    made.append(
        {
            "type": "event",
            "v": 1,
            "at": "2026-11-18T00:00:00.000000000Z",
            "id": "7",
            "event": "prune",
            "actor": "a",
            "tenant": None,
            "details": details,
        }
    )
    made.sign()
    report = look(made.folder, made.vkey)
    assert (report.result, errors(report)) == ("verified with notes", [])
    assert {one.what for one in report.findings} == {"pruned"}


def test_records_that_are_missing_must_be_on_record(tmp_path):
    made = SealedLog.create(tmp_path / "a")
    one = start(number=1)
    rows = rows_of(one, STORY)
    counted: Counter[tuple[str, str]] = Counter()
    made.seal([(one, rows.slice(0, 5))])
    made.seal([(one, rows.slice(7, 4))])
    for call, decision in zip(*(rows.column(c).to_pylist() for c in ("call", "decision")), strict=True):
        counted[call.rpartition(".")[2], WORDS[decision]] += 1
    made.finish(one, gaps=((5, 6),), counted=counted)
    made.sign()
    (found,) = errors(look(made.folder, made.vkey))
    assert (found.what, found.seq, found.message) == (
        "sequence",
        5,
        "calls 5 to 6 are missing, not on record",
    )
    vague = [(None, None, None), (None, 5, 6), (one.exec_id, None, None), (one.exec_id, 5, None)]
    vague += [(one.exec_id, 5, 5), (start(number=2).exec_id, 5, 6)]
    for exec_id, first, last in (*vague, (one.exec_id, 5, 6)):
        # one that does not say whose records these are, or says less, excuses nothing
        assert [each.what for each in errors(look(made.folder, made.vkey))] == ["sequence"]
        made.append(
            {
                "type": "gap", "v": 1, "at": "2026-11-18T00:00:00.000000000Z", "exec_id": exec_id,
                "first": first, "last": last, "reason": "damage",
            }
        )  # fmt: skip
        made.sign()
    report = look(made.folder, made.vkey)
    assert (report.result, {one.what for one in report.findings}) == ("verified with notes", {"gap"})
    unknown = [one for one in report.findings if one.execution is None]
    assert {one.message for one in unknown} == {
        "records of unknown executions are missing, on record: damage"
    }


# --- random mutations -------------------------------------------------------------------------


def mutate(folder: Path, rng: random.Random) -> tuple[str, list[str]]:  # noqa: PLR0911  # one a kind
    """Change one thing; give what was done, and the files of which one has to be named."""
    names = files_of(folder)
    one, other = rng.sample(names, 2)
    kinds = ["flip", "flip", "flip", "byte", "cut", "grow", "swap", "copy", "insert", "link", "clear"]
    kinds += [] if is_outgrown(one, names) else ["delete"]
    path, content = folder / one, (folder / one).read_bytes()
    match rng.choice(kinds):
        case "flip" if content:
            at = rng.randrange(len(content) * 8)
            changed = bytearray(content)
            changed[at // 8] ^= 1 << at % 8
            path.write_bytes(changed)
            return f"flip bit {at} of {one}", [one]
        case "byte" if content:
            at = rng.randrange(len(content))
            path.write_bytes(
                content[:at] + bytes([(content[at] + rng.randrange(1, 256)) % 256]) + content[at + 1 :]
            )
            return f"change byte {at} of {one}", [one]
        case "cut" if content:
            size = rng.randrange(len(content))
            path.write_bytes(content[:size])
            return f"cut {one} after {size}", [one]
        case "insert":
            at = rng.randrange(len(content) + 1)
            path.write_bytes(content[:at] + rng.randbytes(rng.randrange(1, 40)) + content[at:])
            return f"insert into {one} at {at}", [one]
        case "delete":
            path.unlink()
            return f"delete {one}", [one]
        case "swap" if (folder / other).read_bytes() != content:
            path.write_bytes((folder / other).read_bytes())
            (folder / other).write_bytes(content)
            return f"swap {one} and {other}", [one, other]
        case "copy" if (folder / other).read_bytes() != content:
            shutil.copyfile(folder / other, path)
            return f"{other} over {one}", [one]
        case "link":
            path.unlink()
            path.symlink_to(folder / other)
            return f"a link in the place of {one}", [one]
        case "clear" if content:
            path.write_bytes(bytes(len(content)))
            return f"zeros in the place of {one}", [one]
        case _:
            path.write_bytes(content + rng.randbytes(rng.randrange(1, 40)))
            return f"bytes after the end of {one}", [one]


def run_mutations(made: SealedLog, base: Path, count: int, seed: int) -> None:
    missed = []
    where: Counter[str] = Counter()
    folder = base / "audit"
    shutil.copytree(made.folder, folder)
    clean = {name: (made.folder / name).read_bytes() for name in files_of(made.folder)}
    for number in range(count):
        rng = random.Random(seed * 1_000_003 + number)
        done, touched = mutate(folder, rng)
        report = look(folder, made.vkey)
        if report.result == "verified" or not any(names(report, name) for name in touched):
            missed.append((seed, number, done, report.result, [one.line() for one in report.findings[:3]]))
        where[touched[0].split("/")[0]] += 1
        for name in touched:
            (folder / name).unlink(missing_ok=True)
            (folder / name).write_bytes(clean[name])
    assert missed == []
    assert set(where) == {"seg", "exec", "tlog"}


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> SealedLog:
    return real_log(tmp_path_factory.mktemp("real"))


def test_a_log_that_was_written_sealed_and_signed_by_the_product_verifies(real):
    report = look(real.folder, real.vkey)
    assert (report.result, report.findings) == ("verified", [])
    assert (report.checked["receipts that add up"], report.checked["rows"]) == (4, 34 * len(STORY))
    assert report.checked["receipt notes"] == 4


def test_random_mutations_are_found_where_they_are(real, tmp_path):
    run_mutations(real, tmp_path, GATE, 1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(8))
def test_ten_thousand_random_mutations_are_found_where_they_are(real, tmp_path, seed):
    run_mutations(real, tmp_path, SLOW // 8, 100 + seed)
