"""`wasmgate audit key`, `checkpoint` and `prove`, as a person uses them."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from api.cli import wasmgate
from api.commands import audit_prove
from audit.tlog.checkpoint import open_checkpoint
from audit.tlog.log import TransparencyLog
from audit.tlog.vkey import parse_vkey
from tests.tlogs import entries_of


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def run(home):
    def run(*words, status=0):
        done = CliRunner().invoke(
            wasmgate, ["audit", *words], env={"WASMGATE_HOME": str(home)}, standalone_mode=True
        )
        assert (done.return_value or done.exit_code) == status, done.output
        return done

    return run


@pytest.fixture
def log(home):
    log = TransparencyLog(home / "audit/tlog")
    log.append(entries_of(300))
    return log


def test_a_key_is_made_once_shown_and_rotated(run, log, home):
    assert "`wasmgate audit key new` makes one" in run("key", "show", status=1).stderr
    first = run("key", "new", "--name", "example.com/audit").stdout.strip()
    assert parse_vkey(first).name == "example.com/audit"
    assert "there is a key already" in run("key", "new", status=1).stderr
    assert run("key", "show").stdout.strip() == first
    second = json.loads(run("key", "rotate", "--reason", "drill", "--output", "json").stdout)
    assert second["old"] == [first]
    shown = run("key", "show")
    assert shown.stdout.strip() == second["key"] != first
    assert shown.stderr == f"before, number 0: {first}\n"
    secret = (home / "audit-keys/signing.key").read_text().strip()
    for done in (run("key", "show"), run("key", "show", "--output", "json")):
        assert secret not in done.output


@pytest.mark.parametrize("reason", ["", "  ", "x" * 201])
def test_a_rotation_without_a_reason_or_with_a_long_one_is_refused(run, log, reason):
    run("key", "new")
    assert "1 to 200 characters" in run("key", "rotate", "--reason", reason, status=2).stderr


def test_a_rotation_without_a_key_leaves_no_folders(run, home):
    run("key", "rotate", "--reason", "x", status=1)
    assert not (home / "audit").exists()


def test_the_checkpoint_is_printed_as_it_is_signed(run, log):
    assert "nothing is signed yet" in run("checkpoint", status=1).stderr
    run("key", "new")
    run("key", "rotate", "--reason", "x")
    log.append([b"x"])
    done = run("checkpoint")
    key = parse_vkey(run("key", "show").stdout.strip())
    assert open_checkpoint(done.stdout.encode(), key.name, [key]).checkpoint.size == 301
    assert done.stderr.startswith("301 leaves, written ")
    assert done.stderr.endswith("; 1 leaves are not signed yet\n")
    found = json.loads(run("checkpoint", "--output", "json").stdout)
    assert (found["size"], found["unsigned_leaves"], found["note"]) == (301, 1, done.stdout)


def test_a_checkpoint_that_was_changed_is_not_printed(run, log):
    run("key", "new")
    run("key", "rotate", "--reason", "x")
    path = log.directory / "checkpoint"
    path.write_bytes(path.read_bytes().replace(b"\n301\n", b"\n302\n"))
    done = run("checkpoint", status=1)
    assert done.stdout == ""
    assert "signed note: expected a signature" in done.stderr


def test_growth_is_proved_between_any_two_trees_of_the_log(run, log):
    found = json.loads(run("prove", "--consistency", "100", "300").stdout)
    assert (found["first"]["size"], found["second"]["size"]) == (100, 300)
    assert "the tree has" in run("prove", "--consistency", "100", "301", status=1).stderr


def test_a_log_that_shrank_is_no_question(run, log):
    said = run("prove", "--consistency", "50", "10", status=2).stderr
    assert "a log of 10 leaves cannot begin with 50; did you mean --consistency 10 50?" in said
    run("prove", "--consistency", "0", "10", status=2)
    run("prove", "--consistency", "10", "50")


def test_a_proof_of_growth_is_checked_with_the_key_alone(run, log, tmp_path):
    good = run("prove", "--consistency", "100", "300").stdout
    key, proof = run("key", "show").stdout.strip(), tmp_path / "growth.json"
    unsigned = {name: value for name, value in json.loads(good).items() if "checkpoint" not in name}

    def check(content, status):
        proof.write_text(content)
        words = ["audit", "verify", "--key", key, "--proof", str(proof)]
        done = CliRunner().invoke(wasmgate, words, standalone_mode=False)
        assert done.return_value == status
        return done.stdout

    assert "nothing in it is signed" in check(json.dumps(unsigned, sort_keys=True, separators=(",", ":")), 1)
    assert check(good, 0).endswith("verified\n")
    assert "the first 101 leaves are not the beginning of these 300" in check(
        good.replace(":100}", ":101}"), 1
    )
    other = json.loads(run("prove", "--consistency", "99", "300").stdout)["first"]["root"]
    assert "are not the beginning" in check(good.replace(json.loads(good)["first"]["root"], other), 1)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("x", "--consistency", "1", "2"),
        ("--consistency", "1", "2", "--seq", "3"),
        ("nonsense",),
        ("--seq", "1"),
    ],
)
def test_an_unclear_question_is_a_usage_error(run, log, words):
    run("prove", *words, status=2)


def test_the_folder_for_proofs_is_made(tmp_path):
    assert audit_prove._write(tmp_path / "proofs" / "new", "x.json", b"{}").read_bytes() == b"{}"
