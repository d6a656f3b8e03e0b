"""What a user stumbled on, or would: the shipped examples with real programs, and what the surfaces say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.commands import ROOT, Shell, exiting, opening
from tests.programs import program

GRANT = 'permissions: {storage: {allow: [{id: in, uri: "fs:./in/**", mount: /in, access: [read]}]}}\n'


@pytest.mark.timeout(180)
def test_the_example_for_python_scripts_runs_a_python_script(shell: Shell):
    shutil.copy(ROOT / "policies/examples/python-script.yaml", shell.folder / "policy.yaml")
    for name in ("script", "in", "out"):
        (shell.folder / name).mkdir()
    (shell.folder / "in/a.txt").write_text("from a\n")
    (shell.folder / "script/main.py").write_text(
        'import sys\nopen("/out/b.txt", "w").write(open("/in/a.txt").read())\nprint(sys.argv)\n'
    )
    cpython = program("cpython")
    done = shell("run", "--policy", "policy.yaml", "--audit-dir", "log", "--quiet", cpython)
    assert (done.status, done.out) == (0, b"['/app/main.py']\n")
    assert (shell.folder / "out/b.txt").read_text() == "from a\n"
    more = shell("run", "--policy", "policy.yaml", "--audit-dir", "log", cpython, "--", "-c", "print(1)")
    assert (more.status, more.out) == (125, b"")


@pytest.mark.timeout(180)
def test_the_report_says_what_was_over_a_grants_amount(shell: Shell):
    (shell.folder / "out").mkdir()
    rule = '{id: out, uri: "fs:./out/**", mount: /out, access: [create, write], max_files: 1}'
    policy = shell.policy(
        f"permissions: {{storage: {{allow: [{rule}]}}}}\nresources: {{limits: {{memory: 256Mi}}}}\n"
    )
    script = 'for name in "ab": open("/out/" + name, "w")'
    done = shell("run", "--policy", policy, "--audit-dir", "log", program("cpython"), "--", "-c", script)
    assert done.status == 1
    assert f"path_open {shell.folder}/out/b: over what the rule gives\n" in done.said
    assert "to allow it: raise max_files of permissions.storage.allow[0]\n" in done.said


def test_the_report_of_an_audit_run_tells_what_was_refused_from_what_would_be(shell: Shell):
    (shell.folder / "in").mkdir()
    (shell.folder / "in/a").write_bytes(b"")
    outside = shell.run(opening(b"../x"), policy="mode: audit\n" + GRANT)
    assert "1 of " in outside.said
    assert " host calls refused\n" in outside.said
    deny = "mode: audit\n" + GRANT.replace("}]}}", '}], deny: [{id: no, uri: "fs:./in/a"}]}}')
    inside = shell.run(opening(b"a"), policy=deny)
    assert " host calls would be refused\n" in inside.said


def test_a_receipt_that_cannot_be_written_is_told_before_anything_runs(shell: Shell):
    done = shell.run(exiting(0), "--receipt", "nowhere/receipt.json")
    assert (done.status, done.said) == (
        125,
        "wasmgate: receipt nowhere/receipt.json: no such file or directory\n",
    )
    assert not list(shell.log.glob("exec/*"))


def test_a_receipt_of_an_earlier_run_does_not_pass_for_this_ones(shell: Shell):
    receipt = shell.folder / "receipt.json"
    assert shell.run(exiting(0), "--receipt", receipt).status == 0
    assert receipt.read_bytes()
    assert shell.run(exiting(0), "--receipt", receipt, policy="mode: no-such\n").status == 125
    assert receipt.read_bytes() == b""


def test_a_receipt_overwrites_neither_the_policy_nor_the_module(shell: Shell):
    for name in ("policy.yaml", "guest.wasm"):
        done = shell.run(exiting(0), "--receipt", name)
        assert (done.status, "would overwrite what the run needs" in done.said) == (125, True)
        assert (shell.folder / name).read_bytes()


def test_a_full_disk_is_told_in_a_sentence(shell: Shell):
    policy = shell.policy("mode: audit\n")
    with Path("/dev/full").open("wb") as full:
        done = shell("policy", "explain", policy, stdout=full.fileno())
    assert (done.status, done.said) == (1, "Error: No space left on device\n")
    done = shell.run(exiting(3), "--receipt", "/dev/full")
    assert (done.status, done.said) == (3, "wasmgate: the receipt was not written: no space left on device\n")


def test_the_version_is_told_without_an_installation_too(shell: Shell):
    done = shell("--version")
    assert (done.status, done.err) == (0, b"")
    assert done.text.startswith("wasmgate, version ")
    assert "--version" in shell("--help").text


def test_a_call_is_explained_by_the_name_that_records_give_it(shell: Shell):
    question = ("policy", "explain", shell.policy(GRANT), "--target", "/in/a", "--output", "json")
    short = shell.ask(*question, "--call", "path_open")
    assert shell.ask(*question, "--call", "wasi_snapshot_preview1.path_open").json == short.json
    assert short.json["decision"] == "allow"
    alone = shell.ask(*question)
    assert (alone.status, "name it with --call" in alone.said) == (2, True)


@pytest.mark.timeout(180)
def test_the_demo_speaks_to_scripts(shell: Shell):
    assert program("cpython").is_file()
    done = shell("demo", "--output", "json")
    assert (done.status, done.err) == (0, b"")
    told = json.loads(done.out)
    assert told["is_as_expected"]
    assert all(each["is_refused"] for each in told["attempts"])
    assert told["receipt"]["outcome"]["kind"] == "exited"
    assert told["result"].startswith("region,total\n")
