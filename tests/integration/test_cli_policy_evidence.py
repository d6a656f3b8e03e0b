"""The loop from a run to tests and to a replay: `wasmgate policy test --mint` and `policy simulate`."""

from __future__ import annotations

import pytest

from tests.commands import Shell
from tests.programs import program

SCRIPT = r"""
print(std.loadFile("/data/a.txt")); std.loadFile("/data/x.key"); std.loadFile("/data/missing");
let f = std.open("/out/x", "w"); f.puts("hello"); f.close();
std.open("/data/new\"# {}: \u{1F600}\n", "w"); os.readdir("/data"); os.stat("/data");
os.remove("/data/a.txt"); os.rename("/out/x", "/out/y");
"""
POLICY = """version: 1
metadata: {{name: {name}}}
permissions:
  storage:
    allow:
      - {{id: in, uri: "fs:./data/**", mount: /data, access: [{data}], exclude: ["*.key"]}}
      - {{id: out, uri: "tmp://out", mount: /out, access: [{out}]}}
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> tuple[Shell, str]:
    """A shell in whose log is one run of a script."""
    folder = tmp_path_factory.mktemp("evidence")
    shell = Shell(folder, folder / "home")
    (folder / "data").mkdir()
    for name, text in (("a.txt", "hello\n"), ("x.key", "secret"), ("run.js", SCRIPT)):
        (folder / "data" / name).write_text(text)
    (folder / "same.yaml").write_text(
        POLICY.format(name="same", data="read, list", out="read, create, write")
    )
    (folder / "less.yaml").write_text(POLICY.format(name="less", data="read", out="create, write, delete"))
    done = shell(
        "run",
        "--policy",
        "same.yaml",
        "--audit-dir",
        "log",
        program("quickjs"),
        "--",
        "--std",
        "/data/run.js",
    )
    assert done.status == 0, done.said
    (first, *_) = shell.ask("audit", "query", "--audit-dir", "log", "--output", "ndjson").lines
    return shell, str(first["exec_id"])


def test_minted_tests_pass_on_the_policy_that_made_the_records(ran):
    shell, execution = ran
    minted = shell.ask("policy", "test", "--mint", execution, "--policy", "same.yaml", "--audit-dir", "log")
    (shell.folder / "minted.yaml").write_bytes(minted.out)
    done = shell.ask(
        "policy", "test", "--policy", "same.yaml", "--output", "json", "minted.yaml", "--min-coverage", "100"
    )
    assert (done.status, done.json["failed"]) == (0, 0)
    calls = {(each["name"].split()[0], each["expected"]) for each in done.json["outcomes"]}
    assert calls >= {
        ("path_open", "allow"),
        ("path_open", "deny"),
        ("path_unlink_file", "deny"),
        ("fd_readdir", "allow"),
    }


def test_minted_tests_fail_on_a_policy_that_decides_otherwise(ran):
    shell, execution = ran
    minted = shell.ask("policy", "test", "--mint", execution, "--policy", "same.yaml", "--audit-dir", "log")
    (shell.folder / "minted.yaml").write_bytes(minted.out)
    done = shell.ask("policy", "test", "--policy", "less.yaml", "minted.yaml")
    assert done.status == 1
    assert "FAILED  fd_readdir" in done.text
    assert "expected allow by in, found deny by default" in done.text


def test_the_policy_that_made_the_records_changes_nothing(ran):
    shell, execution = ran
    words = ("policy", "simulate", "same.yaml", "--audit-dir", "log", "--output", "json", "--fail-on-refusal")
    done = shell.ask(*words, "--executions", execution)
    assert done.status == 0
    assert (done.json["newly_refused"], done.json["newly_allowed"], done.json["unknown"]) == (0, 0, 0)
    assert done.json["records"] == done.json["unchanged"] > 20


def test_another_policy_is_told_apart_and_can_fail_a_build(ran):
    shell, _ = ran
    words = ("policy", "simulate", "less.yaml", "--audit-dir", "log", "--executions", "all")
    done = shell.ask(*words)
    assert done.status == 0
    assert "would be refused:" in done.text
    assert "fd_readdir" in done.text
    assert "would be allowed:" in done.text
    assert "path_rename" in done.text
    assert shell.ask(*words, "--fail-on-refusal").status == 1


def test_a_budget_that_would_not_last_fails_a_build_too(ran):
    shell, execution = ran
    text = (shell.folder / "same.yaml").read_text()
    words = ("policy", "simulate", "--audit-dir", "log", "--executions", execution, "--fail-on-refusal")
    (shell.folder / "short.yaml").write_text(text + "resources: {limits: {host_calls: 1}}\n")
    done = shell.ask(*words, "short.yaml")
    assert done.status == 1
    assert "0 would be refused" in done.text
    assert "limit.host_calls" in done.text
    (shell.folder / "long.yaml").write_text(text + "resources: {limits: {host_calls: 100000}}\n")
    assert shell.ask(*words, "long.yaml").status == 0


def test_a_replay_of_no_records_shows_nothing(ran):
    shell, _ = ran
    words = ("policy", "simulate", "same.yaml", "--audit-dir", "log", "--executions", "module=mistyped.wasm")
    done = shell(*words)
    assert done.status == 0
    assert b"no record was compared: nothing was shown" in done.err
    assert shell(*words, "--fail-on-refusal").status == 1


def test_tests_of_a_policy_that_nobody_gave_are_a_clear_error(ran):
    shell, execution = ran
    minted = shell.ask("policy", "test", "--mint", execution, "--policy", "same.yaml", "--audit-dir", "log")
    (shell.folder / "alone.yaml").write_bytes(minted.out)
    done = shell("policy", "test", "alone.yaml")
    assert done.status == 1
    assert b"name a policy with --policy" in done.err
    assert b"Traceback" not in done.err


@pytest.mark.parametrize("text", ["everything", "tenant=acme", "module="])
def test_a_filter_that_means_nothing_is_a_mistake_of_the_caller(ran, text):
    shell, _ = ran
    done = shell("policy", "simulate", "less.yaml", "--audit-dir", "log", "--executions", text)
    assert done.status in {1, 2}
    assert done.said
    assert b"Traceback" not in done.err


def test_records_must_be_chosen(ran):
    shell, _ = ran
    assert shell("policy", "simulate", "less.yaml", "--audit-dir", "log").status == 2


def test_a_policy_without_tests_passes_none(ran):
    shell, _ = ran
    done = shell.ask("policy", "test", "same.yaml")
    assert done.status == 1
    assert "there is no test" in done.said
