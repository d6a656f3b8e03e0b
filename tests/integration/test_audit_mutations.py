"""Whatever is changed in a log, verification finds it and says where; an untouched log verifies."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import shutil
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from audit import canonical
from audit.tlog.key_files import KeyFolder
from audit.tlog.keys import SigningKey
from audit.tlog.log import TransparencyLog
from audit.tlog.signer import sign_head
from audit.tlog.vkey import NamedKey
from audit.verify.standalone import Finding, Key, Report, verify
from tests.records import STORY, start
from tests.sealed_logs import ORIGIN, SealedLog, rows_of, small_log

MEANINGLESS = {
    # Sizes and roots of the right edge: not signed, an aid of the writer; a wrong one is found all the same.
    # The whole list of what may change without a finding:
    "catalog.sqlite",  # an index that can be made again from the rest
    "seal.lock",  # nobody reads what is in it
    "catalog.lock",
    "exec/.part",  # names with a leading dot are unfinished, and nobody reads them
}
GATE, SLOW = 150, 10_000


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> SealedLog:
    made = small_log(tmp_path_factory.mktemp("log"))
    for name in MEANINGLESS:
        (made.folder / name).write_bytes(b"index")
    return made


@pytest.fixture
def log(made, tmp_path) -> Path:
    shutil.copytree(made.folder, tmp_path / "audit")
    return tmp_path / "audit"


def look(folder: Path, vkey: str, **more) -> Report:
    return verify(str(folder), [Key.parse(vkey)], **more)[0]


def errors(report: Report) -> list[Finding]:
    return [one for one in report.findings if one.severity == "error"]


def files_of(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).as_posix() not in MEANINGLESS
    )  # fmt: skip


def names(report: Report, name: str) -> bool:
    """Does a finding name the file, or the segment or execution or tile that it belongs to?"""
    stem = name.rpartition("/")[2].split(".")[0]
    places = [f"{one.file} {one.execution}" for one in report.findings]
    return any(name in place or stem in place for place in places)


def reroot(log: SealedLog | Path, entries: list[bytes], keys: KeyFolder | None = None) -> TransparencyLog:
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


# --- random mutations -------------------------------------------------------------------------


def mutate(folder: Path, rng: random.Random) -> tuple[str, list[str]]:
    """Change one thing; give what was done, and the files of which one has to be named."""
    names = files_of(folder)
    one, other = rng.sample(names, 2)
    path, content = folder / one, (folder / one).read_bytes()
    match rng.choice(("flip", "flip", "flip", "byte", "cut", "grow", "delete", "swap", "copy", "insert", "link", "clear")):
        case "flip" if content:
            at = rng.randrange(len(content) * 8)
            changed = bytearray(content)
            changed[at // 8] ^= 1 << at % 8
            path.write_bytes(changed)
            return f"flip bit {at} of {one}", [one]
        case "byte" if content:
            at = rng.randrange(len(content))
            path.write_bytes(content[:at] + bytes([(content[at] + rng.randrange(1, 256)) % 256]) + content[at + 1 :])
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


def test_random_mutations_are_found_where_they_are(made, tmp_path):
    run_mutations(made, tmp_path, GATE, 1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(8))
def test_ten_thousand_random_mutations_are_found_where_they_are(made, tmp_path, seed):
    run_mutations(made, tmp_path, SLOW // 8, 100 + seed)
