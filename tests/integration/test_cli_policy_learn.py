"""`wasmgate policy learn` and `wasmgate module inspect` with a policy, as a person types them."""

from __future__ import annotations

import json

import pytest

from tests.commands import exiting, opening

LEARNING = """mode: learn
permissions:
  storage:
    allow:
      - {id: d, uri: "fs:./d/**", mount: /d, access: []}
"""


@pytest.fixture
def ran(shell):
    """A shell in which a program was refused two files, and the id of that run."""
    (shell.folder / "d/sub").mkdir(parents=True)
    (shell.folder / "d/a.txt").write_text("a")
    (shell.folder / "d/sub/b.txt").write_text("b")
    guest = opening(b"a.txt", b"sub/b.txt")
    done = shell.run(guest, "--receipt", "receipt.json", policy=LEARNING)
    assert done.status == 0, done.said
    return shell, shell.receipt()["execution_id"]


def test_a_draft_is_written_and_runs_with_nothing_refused(ran):
    shell, run = ran
    done = shell.ask("policy", "learn", "--from", run, "--policy", "policy.yaml", "--audit-dir", shell.log,
                     "--write", "draft.yaml")  # fmt: skip
    assert (done.status, done.out) == (0, b""), done.said
    assert "1 rule learned" in done.said
    again = shell(
        "run", "--policy", "draft.yaml", "--audit-dir", shell.log, "--receipt", "two.json", "guest.wasm"
    )
    assert again.status == 0, again.said
    receipt = json.loads((shell.folder / "two.json").read_text())
    assert receipt["refusals"] == []
    last = shell.ask("policy", "learn", "--from", run, receipt["execution_id"], "--policy", "policy.yaml",
                     "--audit-dir", shell.log, "--output", "json")  # fmt: skip
    assert last.json["is_final"]
    assert last.json["is_valid"]
    (rule,) = last.json["rules"]
    assert rule["access"] == ["read"]
    assert [(each["glob"], each["runs"]) for each in rule["include"]] == [("a.txt", 2), ("sub/b.txt", 2)]


def test_without_the_policy_that_was_used_the_mount_is_read_off_the_log(ran):
    shell, run = ran
    done = shell.ask("policy", "learn", "--from", run, "--audit-dir", shell.log)
    assert done.status == 0, done.said
    assert f'uri: "fs://{shell.folder}/d/**"' in done.text
    assert "mount: /d\n" in done.text


def test_a_file_that_is_there_is_not_replaced(ran):
    shell, run = ran
    (shell.folder / "draft.yaml").write_text("mine")
    done = shell.ask("policy", "learn", "--from", run, "--audit-dir", shell.log, "--write", "draft.yaml")
    assert (done.status, done.said) == (1, "draft draft.yaml: file exists")
    assert (shell.folder / "draft.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--from", "01a20535-050c-72b9-a47f-5d097cdad7de"),
            "no execution 01a20535-050c-72b9-a47f-5d097cdad7de",
        ),
        (("--from", "../../etc"), "execution"),
        (("--from", "RUN", "--policy", "missing.yaml"), "policy missing.yaml: no such file"),
        (("--from", "RUN", "--boundary", "policy.yaml"), "a document of kind ModulePolicy, not Boundary"),
    ],
)
def test_bad_input_gets_one_sentence(ran, words, said):
    shell, run = ran
    words = [run if word == "RUN" else word for word in words]
    done = shell.ask("policy", "learn", *words, "--audit-dir", shell.log)
    assert done.status in {1, 2}
    assert said in done.said
    assert len(done.said.splitlines()) == 1


def test_a_run_that_never_started_teaches_nothing(shell):
    shell.run(b"\0asm\1\0\0\0", "--receipt", "receipt.json")
    run = shell.receipt()["execution_id"]
    done = shell.ask("policy", "learn", "--from", run, "--audit-dir", shell.log)
    assert done.status == 1
    assert "was refused before it started" in done.said


def test_inspect_lays_a_module_beside_a_policy_an_older_version_and_its_runs(ran):
    shell, _ = ran
    (shell.folder / "old.wasm").write_bytes(exiting(0))
    policy = shell.policy(LEARNING.replace("mode: learn\n", "").replace("[]", "[read, delete]"))
    done = shell("run", "--policy", policy, "--audit-dir", shell.log, "guest.wasm")
    assert done.status == 0, done.said
    words = ("module", "inspect", "guest.wasm", "--policy", policy, "--audit-dir", shell.log)
    table = shell.ask(*words, "--records", "--against", "old.wasm")
    assert table.status == 0, table.said
    assert "grants that no import can use" in table.text
    assert "delete in the rule d" in table.text
    assert "against old.wasm: needs no more than before" in table.text
    assert "-        access: [read, delete]\n+        access: [read]" in table.text
    found = shell.ask(*words, "--records", "--output", "json").json
    assert found["records"]["unused"][0]["rights"] == ["delete"]
    assert "sock_send" in [each["import"] for each in found["lacking"]]


def reads(shell):
    """The reads that the log has on record, oldest first."""
    asked = ("audit", "control", "--event", "read", "--audit-dir", shell.log, "--output", "ndjson")
    return [each["details"] for each in reversed(shell.ask(*asked).lines)]


def test_learning_from_the_log_and_laying_a_module_beside_it_are_on_record_as_reads(ran):
    shell, run = ran
    learned = shell.ask("policy", "learn", "--from", run, "--policy", "policy.yaml", "--audit-dir", shell.log)
    inspected = shell.ask(
        "module", "inspect", "guest.wasm", "--policy", "policy.yaml", "--records", "--audit-dir", shell.log
    )
    assert (learned.status, inspected.status) == (0, 0)
    begun, ended, looked, seen = reads(shell)[:4]
    assert [each["what"] for each in (begun, ended, looked, seen)] == ["wasmgate policy learn"] * 2 + [
        "wasmgate module inspect"
    ] * 2
    assert run in begun["filter"]
    assert (ended["complete"], seen["complete"], seen["rows"]) == (1, 1, 1)
    assert ended["rows"] > 0


def test_inspecting_a_module_without_its_records_reads_no_log(ran):
    shell, _ = ran
    assert shell.ask("module", "inspect", "guest.wasm", "--audit-dir", shell.log).status == 0
    assert [each["what"] for each in reads(shell) if each["what"] == "wasmgate module inspect"] == []


def test_a_failed_lesson_is_on_record_as_a_read_that_is_not_complete(ran):
    shell, _ = ran
    lost = "01a20535-050c-72b9-a47f-5d097cdad7de"
    assert shell.ask("policy", "learn", "--from", lost, "--audit-dir", shell.log).status == 1
    begun, ended = reads(shell)[:2]
    assert (begun["what"], ended["complete"]) == ("wasmgate policy learn", 0)


def test_records_need_a_policy(shell):
    (shell.folder / "guest.wasm").write_bytes(exiting(0))
    done = shell.ask("module", "inspect", "guest.wasm", "--records")
    assert done.status == 2
    assert "--policy" in done.said
