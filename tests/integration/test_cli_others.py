"""The other commands: help, policies, modules, settings, the doctor, and the demo."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from api.cli import wasmgate
from tests import wasi2
from tests.commands import FUNCTIONS, Shell, exiting
from tests.programs import program

HELPS = (
    "", "demo", "run", "policy", "policy check", "policy show", "policy explain", "policy fmt", "policy diff",
    "policy test", "policy simulate", "policy learn", "policy resolve", "policy schema", "module",
    "module inspect", "module compile", "audit", "audit query", "audit show", "audit stats", "audit checkpoint", "audit hash", "audit key", "audit key show",
    "audit key new", "audit key rotate", "audit prove", "audit seal", "audit verify", "audit aggregate", "audit control",
    "audit executions", "audit export", "audit files", "audit follow", "audit followers", "audit followers check", "audit followers list", "audit timestamps", "audit status", "audit tail", "audit hold", "audit hold add", "audit hold list", "audit hold release", "audit prune", "audit report", "audit load", "audit push", "audit pull", "serve", "key",
    "key new", "key list", "key revoke", "doctor",
)  # fmt: skip
GRANT = 'permissions: {storage: {allow: [{id: in, uri: "fs:///srv/in/**", mount: /in, access: [read]}]}}\n'


def test_the_reference_of_commands_is_their_help(golden):
    page = [
        "# The command line",
        "",
        "The help of each command, as it prints it; `--accept-golden` writes this page.",
    ]
    for command in HELPS:
        done = CliRunner().invoke(
            wasmgate, [*command.split(), "--help"], prog_name="wasmgate", env={"COLUMNS": "80"}
        )
        assert done.exit_code == 0
        page += ["", f"## `{f'wasmgate {command}'.strip()}`", "", "```text", done.output.rstrip(), "```"]
    golden("../../docs/reference/cli.md", "\n".join(page) + "\n")


def test_help_imports_nothing_heavy(shell: Shell):
    script = (
        "import sys, api.cli; api.cli.run(['run', '--help']); print([m for m in sys.modules if m in {HEAVY}])"
    )
    heavy = {
        "casbin",
        "pydantic",
        "wasmtime",
        "numpy",
        "pyarrow",
        "duckdb",
        "opentelemetry",
        "yaml",
        "fastapi",
    }
    done = subprocess.run(
        [sys.executable, "-c", script.replace("{HEAVY}", repr(heavy))], capture_output=True, check=True, cwd=shell.folder,
        env={"PYTHONPATH": ":".join(path for path in sys.path if path)},
    )  # fmt: skip
    assert done.stdout.decode().splitlines()[-1] == "[]"


def test_checking_a_policy(shell: Shell):
    good = shell.ask("policy", "check", shell.policy(GRANT), "--output", "json")
    assert (good.status, good.json["is_valid"]) == (0, True)
    bad = shell.ask("policy", "check", shell.policy("mode: enforc\n"), "--output", "json")
    assert (bad.status, bad.json["is_valid"]) == (1, False)
    (finding,) = bad.json["findings"]
    assert (finding["id"], finding["line"], finding["column"], finding["field"]) == (
        "bad-value",
        3,
        7,
        "mode",
    )
    shown = shell.ask("policy", "check", "policy.yaml")
    assert shown.status == 1
    assert "  3 | mode: enforc\n    |       ^\n" in shown.text
    stored = shell.ask("policy", "check", "--stored", shell.policy(GRANT))
    assert (stored.status, "match" in stored.text) == (1, True)


def test_showing_and_explaining_a_policy(shell: Shell):
    policy = shell.policy(GRANT)
    plan = shell.ask("policy", "show", policy, "--output", "json").json
    assert plan["mounts"][0]["guest"] == "/in"
    assert "The network is not granted." in shell.ask("policy", "explain", policy).text
    question = ("policy", "explain", policy, "--call", "path_open", "--target", "/in/a", "--output", "json")
    assert shell.ask(*question).json["decision"] == "allow"
    refused = shell.ask(*question, "--access", "write").json
    assert (refused["decision"], refused["rule"]) == ("deny", "default")
    assert shell.ask("policy", "explain", policy, "--call", "no_such").status == 2


def test_inspecting_and_compiling_a_module(shell: Shell):
    (shell.folder / "m.wasm").write_bytes(exiting(0))
    found = shell.ask("module", "inspect", "m.wasm", "--policy", shell.policy(), "--output", "json").json
    assert [each["name"] for each in found["imports"]] == list(FUNCTIONS)
    assert set(found["not_granted"]) == {"path_open", "sock_send"}
    assert found["refusal"] is None
    assert "would run  yes" in shell.ask("module", "inspect", "m.wasm").text
    (shell.folder / "t.wasm").write_bytes(b"(module)")
    text = shell.ask("module", "inspect", "t.wasm")
    assert (text.status, "refused (text)" in text.text) == (125, True)
    compiled = shell.ask("module", "compile", "m.wasm", "--output", "json").json
    assert compiled["digest"] == found["digest"]
    assert shell.ask("module", "compile", "m.wasm", "--output", "json").json["is_cached"]


def test_a_component_is_compiled_before_it_is_run(shell: Shell):
    (shell.folder / "c.wasm").write_bytes(wasi2.command("(i32.const 0)", uses="random.get-random-u64"))
    assert not shell.ask("module", "compile", "c.wasm", "--output", "json").json["is_cached"]
    assert shell.ask("module", "compile", "c.wasm", "--output", "json").json["is_cached"]
    assert shell("run", "--policy", shell.policy(), "c.wasm").status == 0
    (shell.folder / "torn.wasm").write_bytes(b"\0asm\x0d\0\1\0\7")
    assert shell.ask("module", "compile", "torn.wasm").status != 0


def test_a_misspelt_setting_is_told(shell: Shell):
    (shell.folder / "m.wasm").write_bytes(exiting(0))
    wrong = {"WASMGATE_AUDITDIR": "/x"}
    done = shell("run", "--policy", shell.policy(), "m.wasm", environment=wrong)
    assert (done.status, "did you mean WASMGATE_AUDIT_DIR?" in done.said) == (125, True)
    assert shell.ask("doctor", environment=wrong).status == 1


def test_the_doctor_says_which_walls_stand(shell: Shell):
    done = shell.ask("doctor", "--output", "json")
    walls = {each["name"]: each["state"] for each in done.json["walls"]}
    assert (done.status, done.json["can_run"]) == (0, True)
    assert {walls[name] for name in ("engine", "monitor", "process", "audit log", "cache")} == {"stands"}
    tried = {"no_new_privs", "rlimits", "capabilities", "landlock", "seccomp", "namespaces"}
    assert {walls[name] for name in tried} <= {"stands", "missing"}
    assert walls["no_new_privs"] == walls["rlimits"] == "stands"  # every kernel has these
    assert walls["cgroup"] == "missing"  # none is named
    nowhere = shell.ask("doctor", environment={"WASMGATE_CGROUP": str(shell.folder / "none")})
    assert (nowhere.status, "delegated cgroup can't be used" in nowhere.text) == (1, True)
    assert "stands    rlimits" in nowhere.text  # the others were tried all the same
    # nothing can be written below a file
    broken = shell.ask("doctor", environment={"WASMGATE_AUDIT_DIR": str(shell.policy() / "x")})
    assert (broken.status, "cannot be run" in broken.text) == (1, True)


@pytest.mark.timeout(180)
def test_the_demo_shows_what_was_refused_and_its_commands_work(shell: Shell):
    assert program("cpython").is_file()
    done = shell("demo")
    assert (done.status, done.err) == (0, b"")
    assert "as expected" in done.text
    assert "\x1b" not in done.text
    assert "| region,total" in done.text
    commands = re.findall(r"^  (?:\S*python\S* -m api\.cli|wasmgate) (.*)$", done.text, re.MULTILINE)
    assert len(commands) == 4
    for command in commands[:2] + commands[3:]:
        again = shell(*command.split())
        assert (again.status, again.err) == (0, b"")
        assert again.out
