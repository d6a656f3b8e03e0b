"""`wasmgate audit export`: a file in each form, with its manifest, and never half of one."""

from __future__ import annotations

import hashlib
import io
import json

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from audit.tlog.log import TransparencyLog
from tests import ocsf_schema
from tests.commands import Shell, opening
from tests.tlogs import new_keys, signed

FILES = 'permissions: {storage: {allow: [{id: in, uri: "fs:./in/**", mount: /in, access: [read]}]}}\n'
FORMS = ("csv", "ndjson", "parquet", "arrow", "ocsf", "cef")


@pytest.fixture(scope="module")
def log(tmp_path_factory, home):
    """A log of two runs of three calls; the second call of each was refused."""
    shell = Shell(tmp_path_factory.mktemp("exports"), home)
    (shell.folder / "in").mkdir()
    (shell.folder / "in/a").write_text("a")
    guest = opening(b"a", b"../b", then="(call $proc_exit (i32.const 0))")
    for _ in range(2):
        shell.run(guest, "--quiet", policy=FILES)
    return shell


def export(log, form, *words):
    return log.ask("audit", "export", "--audit-dir", log.log, "--form", form, *words)


def count(form, content):
    match form:
        case "csv":
            return pyarrow.csv.read_csv(io.BytesIO(content)).num_rows
        case "parquet":
            return pq.read_table(io.BytesIO(content)).num_rows
        case "arrow":
            return pa.ipc.open_stream(content).read_all().num_rows
        case _:
            return content.count(b"\n")


@pytest.mark.parametrize("form", FORMS)
def test_a_file_has_a_manifest_that_holds_its_digest(log, tmp_path, form):
    path = tmp_path / "out"
    done = export(log, form, "--out", path)
    assert (done.status, done.out) == (0, b"")
    content = path.read_bytes()
    manifest = json.loads((tmp_path / "out.manifest.json").read_bytes())
    assert manifest["sha256"] == hashlib.sha256(content).hexdigest()
    assert manifest["bytes"] == len(content)
    assert manifest["rows"] == count(form, content) == (2 if form == "cef" else 6)
    assert manifest["complete"] is True
    assert manifest["made_by"].startswith("user:")
    assert manifest["sha256"].encode() in done.err
    assert path.stat().st_mode & 0o77 == 0


def test_events_of_a_real_run_are_admitted(log, tmp_path):
    done = export(log, "ocsf", "--out", "-")
    found = [json.loads(line) for line in done.out.splitlines()]
    assert len(found) == 6
    assert [ocsf_schema.faults(event) for event in found] == [[]] * 6


@pytest.mark.parametrize("form", FORMS)
def test_standard_output_gets_the_same_bytes_as_a_file(log, tmp_path, form):
    done = export(log, form, "--out", "-", "--manifest", tmp_path / "m.json")
    assert done.status == 0
    assert json.loads((tmp_path / "m.json").read_bytes())["sha256"] == hashlib.sha256(done.out).hexdigest()


def test_a_filter_chooses_and_stands_in_the_manifest(log, tmp_path):
    path = tmp_path / "out"
    assert export(log, "ndjson", "--out", path, "--decision", "deny").status == 0
    assert {json.loads(line)["decision"] for line in path.read_bytes().splitlines()} == {"deny"}
    assert json.loads((tmp_path / "out.manifest.json").read_bytes())["filter"] == {"decision": "deny"}


def test_a_limit_makes_it_incomplete_and_is_told(log, tmp_path):
    done = export(log, "csv", "--out", tmp_path / "out", "--limit", "4", "--output", "json")
    assert (done.json["rows"], done.json["complete"]) == (4, 0)
    manifest = (tmp_path / "out.manifest.json").read_bytes()
    assert done.json["manifest_sha256"] == hashlib.sha256(manifest).hexdigest()
    assert json.loads(manifest)["cut"] == "limit of 4 rows"


@pytest.mark.parametrize("name", ["out", "out.manifest.json"])
def test_a_file_that_is_there_is_not_replaced_unasked(log, tmp_path, name):
    (tmp_path / name).write_text("mine")
    done = export(log, "csv", "--out", tmp_path / "out")
    assert done.status == 2
    assert b"is there already" in done.err
    assert (tmp_path / name).read_text() == "mine"
    assert export(log, "csv", "--out", tmp_path / "out", "--force").status == 0
    assert (tmp_path / name).read_text() != "mine"


def test_a_link_is_not_written_through(log, tmp_path):
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "out").symlink_to(tmp_path / "victim")
    assert export(log, "csv", "--out", tmp_path / "out").status == 2
    assert export(log, "csv", "--out", tmp_path / "out", "--force").status == 0
    assert (tmp_path / "victim").read_text() == "mine"
    assert not (tmp_path / "out").is_symlink()


@pytest.mark.parametrize(
    "words",
    [
        ("--out", "nowhere/out"),
        ("--out", "FOLDER/same", "--manifest", "FOLDER/same"),
        ("--out", "FOLDER/x", "--decision", "maybe"),
        ("--out", "FOLDER/x", "--limit", "0"),
        (),
    ],
)
def test_what_makes_no_sense_is_refused_and_leaves_nothing(log, tmp_path, words):
    before = sorted(path.name for path in tmp_path.iterdir())
    done = export(log, "csv", *(word.replace("FOLDER", str(tmp_path)) for word in words))
    assert done.status in {1, 2}
    assert done.err.count(b"\n") <= 5
    assert b"Traceback" not in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_an_export_is_on_record(log, tmp_path):
    assert export(log, "csv", "--out", tmp_path / "out").status == 0
    sha256 = hashlib.sha256((tmp_path / "out.manifest.json").read_bytes()).hexdigest()
    done = log.ask("audit", "control", "--audit-dir", log.log, "--output", "json")
    assert sha256.encode() in done.out


def test_an_event_names_the_sealed_chunk_and_the_signed_checkpoint(log, tmp_path):
    assert export(log, "csv", "--out", tmp_path / "first").status == 0  # seals what the runs left
    signed(TransparencyLog(log.log / "tlog"), new_keys(tmp_path))
    assert export(log, "ocsf", "--out", tmp_path / "out").status == 0
    checkpoint = (log.log / "tlog/checkpoint").read_text()
    chunks = {
        path.read_bytes()[at : at + 32].hex()
        for path in log.log.rglob("*.chunks")
        for at in range(0, path.stat().st_size, 32)
    }
    manifest = json.loads((tmp_path / "out.manifest.json").read_bytes())
    assert manifest["checkpoint"] == checkpoint
    assert manifest["tree_size"] == int(checkpoint.split("\n")[1])
    assert manifest["unsealed"] == 0
    for event in map(json.loads, (tmp_path / "out").read_bytes().splitlines()):
        (proof,) = event["attestation_list"]
        assert proof["fingerprint"]["value"] in chunks
        assert proof["signatures"][0]["digest"]["value"] == hashlib.sha256(checkpoint.encode()).hexdigest()
