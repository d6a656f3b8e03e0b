"""`wasmgate run`, as scripts rely on it: streams, exit statuses, receipts, the report, signals."""

from __future__ import annotations

import json
import os
import re
import signal
import time

import pytest

from tests.commands import CAT, ECHOING, SPINNING, Shell, exiting, guest, opening, printing

FILES = 'permissions: {storage: {allow: [{id: in, uri: "fs:./in/**", mount: /in, access: [read]}]}}\n'
HOSTILE = b"a\nb\x1b[31mc\"d'e</script>\xff\xe2\x80\xaef"
RECEIPT = {
    "execution_id": str,
    "tenant": str,
    "module": {"digest": str, "name": str},
    "policy": {"digest": str, "name": str},
    "plan_digest": str,
    "started_at": str,
    "ended_at": str,
    "outcome": {"kind": str, "exit_code": int, "limit": object, "message": object},
    "calls": dict,
    "records": int,
    "refusals": list,
    "resources": {
        "wall_ms": int,
        "waited_ms": int,
        "cpu_ms": int,
        "peak_memory_bytes": int,
        "bytes_read": int,
        "bytes_written": int,
        "host_calls": int,
    },
    "walls": list,
    "missing_walls": list,
}


def has_shape(value, shape) -> bool:
    if isinstance(shape, dict):
        return set(value) == set(shape) and all(has_shape(value[key], each) for key, each in shape.items())
    return isinstance(value, shape)


@pytest.mark.parametrize(("code", "status"), [(0, 0), (42, 42), (256, 255), (-1, 255)])
def test_the_status_is_the_guests_own_and_never_success_by_accident(shell: Shell, code, status):
    assert shell.run(exiting(code)).status == status


def test_output_passes_byte_for_byte(shell: Shell):
    everything = bytes(range(256)) * 40
    done = shell.run(printing(everything))
    assert (done.status, done.out, done.err) == (0, everything, b"")
    done = shell.run(printing(everything, fd=2))
    assert (done.status, done.out, done.err) == (0, b"", everything)


def test_a_receipt_holds_every_key(shell: Shell):
    (shell.folder / "in").mkdir()
    done = shell.run(opening(b"x", rights=64), "--receipt", "receipt.json", policy=FILES)
    receipt = shell.receipt()
    assert done.status == 0
    assert has_shape(receipt, RECEIPT)
    assert receipt["calls"] == {"path_open": {"deny": 1}}
    assert receipt["records"] == 1
    assert receipt["refusals"] == [
        {"seq": 0, "call": "path_open", "target": f"{shell.folder}/in/x", "rule": "default", "reason": "rule"}
    ]


def test_a_trap_a_limit_and_a_refusal_have_statuses_of_their_own(shell: Shell):
    trapped = shell.run(guest("unreachable"), "--receipt", "receipt.json")
    assert (trapped.status, shell.receipt()["outcome"]["kind"]) == (134, "trapped")
    limited = shell.run(
        printing(b"before", then=SPINNING),
        "--receipt",
        "receipt.json",
        policy="resources: {limits: {timeout: 200ms}}",
    )
    assert (limited.status, limited.out, shell.receipt()["outcome"]["limit"]) == (137, b"before", "timeout")
    assert "stopped by the limit `timeout`" in limited.said
    refused = shell.run(b"(module)", "--receipt", "receipt.json")
    outcome = shell.receipt()["outcome"]
    assert (refused.status, outcome["kind"], outcome["exit_code"]) == (125, "refused", None)
    assert "compile it first" in refused.said
    assert shell.receipt()["records"] == 0


def test_the_report_says_what_was_refused_and_how_to_allow_it(shell: Shell, golden):
    (shell.folder / "in").mkdir()
    done = shell.run(opening(b"x", b"x", b"../etc/passwd", rights=64), policy=FILES)
    text = done.said.replace(str(shell.folder), "FOLDER")
    text = re.sub(r"look closer: .* audit show", "look closer: wasmgate audit show", text)
    golden("report.txt", re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", text))


def test_quiet_leaves_the_report_out_and_nothing_else(shell: Shell):
    (shell.folder / "in").mkdir()
    done = shell.run(opening(b"x", rights=64), "--quiet", "--receipt", "receipt.json", policy=FILES)
    assert (done.status, done.err) == (0, b"")
    assert shell.receipt()["records"] == 1


def test_a_report_as_json_is_the_receipt(shell: Shell):
    done = shell.run(exiting(3), "--output", "json", "--receipt", "receipt.json")
    assert json.loads(done.err) == shell.receipt()


def test_hostile_names_come_out_inert(shell: Shell):
    (shell.folder / "in").mkdir()
    done = shell.run(
        opening(HOSTILE, rights=64), "--receipt", "receipt.json", policy=FILES, name="a\x1b[2Jb.wasm"
    )
    assert done.status == 0
    for unsafe in (b"\x1b", b"\xff", b"\xe2\x80\xae", b"a\nb"):
        assert unsafe not in done.err
    assert "a\\x0ab\\x1b[31mc\"d'e</script>\\xff\\u202ef" in done.said
    assert b"\x1b" not in (shell.folder / "receipt.json").read_bytes()
    for form in ("table", "ndjson", "json"):
        shown = shell.ask("audit", "query", "--audit-dir", shell.log, "--decision", "deny", "--output", form)
        assert shown.out.count(b"\n") == (2 if form == "table" else 1)
        assert not {0x1B, 0xFF} & set(shown.out)
        assert b"\xe2\x80\xae" not in shown.out


def test_arguments_follow_those_of_the_policy_as_they_are(shell: Shell):
    done = shell.run(
        ECHOING, "--", "--policy", "two words", "\x1b[1m\n", "", policy="permissions: {args: [first]}"
    )
    assert done.out == b"guest.wasm\0first\0--policy\0two words\0\x1b[1m\n\0\0"


def test_a_policy_can_forbid_more_arguments(shell: Shell):
    policy = "permissions: {args: [first], extra_args: false}"
    done = shell.run(ECHOING, "--", "second", policy=policy)
    assert (done.status, done.out) == (125, b"")
    assert "extra_args: false" in done.said
    assert shell.run(ECHOING, policy=policy).out == b"guest.wasm\0first\0"


def test_a_policy_for_another_module_does_not_run_this_one(shell: Shell):
    done = shell.run(exiting(0), policy="match: {name: other.wasm}")
    assert done.status == 125
    assert "modules of another name" in done.said
    assert shell.run(exiting(0), policy="match: {name: guest.wasm}").status == 0


def test_another_export_can_be_called(shell: Shell):
    module = printing(b"hello", entry="greet")
    assert shell.run(module, "--invoke", "greet").out == b"hello"
    missing = shell.run(module)
    assert missing.status == 125
    assert "--invoke" in missing.said


def test_standard_input_is_passed_when_the_policy_grants_it(shell: Shell):
    granted = shell.run(CAT, policy="permissions: {stdio: {stdin: caller}}", stdin=b"\0\xffdata")
    assert granted.out == b"\0\xffdata"
    assert shell.run(CAT, stdin=b"data").out == b""


def test_a_bad_policy_is_told_in_full_and_nothing_runs(shell: Shell):
    done = shell.run(exiting(0), policy="mode: enforc\npermisions: {}\n")
    assert done.status == 125
    assert 'did you mean "enforce"?' in done.said
    assert 'did you mean "permissions"?' in done.said
    assert "2 errors, 0 warnings" in done.said


@pytest.mark.parametrize(
    "words", [("--policy", "none.yaml", "x.wasm"), ("--policy", "policy.yaml", "none.wasm")]
)
def test_a_file_that_is_missing_is_told(shell: Shell, words):
    shell.policy()
    done = shell("run", *words)
    assert (done.status, done.out) == (125, b"")
    assert "no such file" in done.said


def test_wrong_usage_is_no_refusal(shell: Shell):
    assert shell("run", "--polcy", "x", "y").status == 2


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_guest_and_its_record_is_complete(shell: Shell, number, status):
    (shell.folder / "guest.wasm").write_bytes(printing(b"up", then=SPINNING))
    words = ("--policy", shell.policy(), "--audit-dir", shell.log, "--receipt", "receipt.json", "guest.wasm")
    with shell.start("run", *words) as process:
        assert process.stdout is not None
        assert process.stdout.read(2) == b"up"
        process.send_signal(number)
        assert process.wait(20) == status
    receipt = shell.receipt()
    assert receipt["outcome"]["kind"] == "killed"
    assert receipt["calls"] == {"fd_write": {"allow": 1}}
    shown = shell.ask(
        "audit", "show", "--audit-dir", shell.log, receipt["execution_id"], "--output", "json"
    ).json
    assert shown["receipt"] == receipt


def test_a_reader_that_goes_away_ends_only_the_output(shell: Shell):
    read, write = os.pipe()
    os.close(read)
    try:
        done = shell.run(printing(b"x" * 100, then="(call $proc_exit (i32.const 7))"), stdout=write)
    finally:
        os.close(write)
    assert (done.status, done.err) == (7, b"")


def test_a_reader_that_does_not_read_holds_up_no_limit(shell: Shell):
    flood = guest(
        "(i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 60000))"
        "(loop (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (br 0))"
    )
    (shell.folder / "guest.wasm").write_bytes(flood)
    policy = shell.policy("resources: {limits: {timeout: 500ms, stdout: 1G}}")
    with shell.start("run", "--policy", policy, "--audit-dir", shell.log, "guest.wasm") as process:
        start = time.monotonic()
        # nothing is read: the record of the end is there all the same, long before anybody reads
        while not list(shell.log.glob("exec/*.receipt.json")):
            assert time.monotonic() - start < 20
            time.sleep(0.05)
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(20) == 137


def test_closed_standard_streams_are_no_way_into_other_files(shell: Shell):
    (shell.folder / "guest.wasm").write_bytes(printing(b"not into the log"))
    words = ["run", "--policy", str(shell.policy()), "--audit-dir", str(shell.log), "guest.wasm"]
    process = shell.start(*words, stdout=None, before=lambda: os.close(1))
    with process:
        process.communicate(timeout=60)
    assert process.returncode == 0
    kept = b"".join(path.read_bytes() for path in shell.log.rglob("*") if path.is_file())
    assert b"not into the log" not in kept


def test_an_artifact_that_is_not_what_was_stored_is_told_even_when_quiet(tmp_path):
    (tmp_path / "work").mkdir()
    shell = Shell(tmp_path / "work", tmp_path / "home")  # a cache of its own: other tests share one
    assert shell.run(exiting(0), "--quiet").err == b""
    assert shell.run(exiting(0), "--quiet").err == b""
    for artifact in shell.home.glob("cache/*.cwasm"):
        artifact.chmod(0o600)
        content = bytearray(artifact.read_bytes())
        content[len(content) // 2] ^= 1
        artifact.write_bytes(content)
    done = shell.run(exiting(0), "--quiet")
    assert done.status == 0
    assert b"is not what was stored" in done.err
