"""`wasmgate audit verify`: the same answers as the file that auditors take away."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.commands import Shell
from tests.sealed_logs import small_log

VERIFY = ("audit", "verify")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("log"))


def test_a_log_verifies_and_a_damaged_one_does_not(made, shell: Shell, tmp_path):
    place = ("--audit-dir", str(made.folder), "--key", made.vkey)
    good = shell.ask(*VERIFY, *place)
    assert (good.status, good.text.splitlines()[-1]) == (0, "verified")
    found = shell.ask(*VERIFY, *place, "--output", "json").json
    assert (found["result"], found["status"], found["findings"]) == ("verified", 0, [])
    path = made.folder / "tlog/checkpoint"
    kept = path.read_bytes()
    path.write_bytes(kept.replace(b"example", b"exomple"))
    bad = shell.ask(*VERIFY, *place, "--output", "json")
    path.write_bytes(kept)
    assert bad.status == 1
    assert {one["file"] for one in bad.json["findings"]} == {"tlog/checkpoint"}


def test_wrong_usage_is_told_in_a_sentence(made, shell: Shell, tmp_path):
    done = shell.ask(*VERIFY, "--audit-dir", str(made.folder), "--key", "nonsense")
    assert (done.status, "cannot read a key from nonsense" in done.said) == (2, True)
    gone = shell.ask(*VERIFY, "--audit-dir", str(tmp_path / "none"), "--key", made.vkey)
    assert (gone.status, "No such file" in gone.said) == (1, True)


def test_the_verifier_that_is_handed_out_runs_by_itself(made, shell: Shell, tmp_path):
    target = tmp_path / "wasmgate_verify.py"
    assert shell.ask(*VERIFY, "--write-verifier", str(target)).status == 0
    done = subprocess.run(
        [sys.executable, "-I", str(target), str(made.folder), "--key", made.vkey],
        capture_output=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stdout.decode().splitlines()[-1]) == (0, "verified")
