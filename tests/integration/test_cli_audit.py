"""`wasmgate audit`: what a run left in the log, asked in each form."""

from __future__ import annotations

import os
import signal

from audit.columns import SCHEMA
from tests.commands import SPINNING, Shell, exiting, opening, printing

FILES = 'permissions: {storage: {allow: [{id: in, uri: "fs:./in/**", mount: /in, access: [read]}]}}\n'


def test_records_can_be_queried_right_after_a_run(shell: Shell):
    (shell.folder / "in").mkdir()
    (shell.folder / "in/a").write_text("a")
    guest = opening(b"a", b"../b", then="(call $proc_exit (i32.const 0))")
    shell.run(guest, "--receipt", "receipt.json", "--quiet", policy=FILES)
    execution = shell.receipt()["execution_id"]

    def query(*words):
        done = shell.ask("audit", "query", "--audit-dir", shell.log, *words, "--output", "ndjson")
        assert (done.status, done.err) == (0, b"")
        return done.lines

    rows = query("--execution", execution)
    assert [(row["seq"], row["call"].split(".")[1], row["decision"]) for row in rows] == [
        (0, "path_open", "allow"),
        (1, "path_open", "deny"),
        (2, "proc_exit", "allow"),
    ]
    assert all(list(row) == SCHEMA.names for row in rows)
    assert [row["seq"] for row in query("--decision", "deny")] == [1]
    assert [row["seq"] for row in query("--call", "proc_*")] == [2]
    assert [row["seq"] for row in query("--path-prefix", f"{shell.folder}/in/")] == [0]
    assert [row["seq"] for row in query("--rule", "beneath")] == [1]
    assert len(query("--limit", "2")) == 2
    middle = str(rows[0]["t_ns"] + 1)
    assert len(query("--from", middle)) + len(query("--to", middle)) == 3
    assert query("--from", "2200-01-01T00:00:00Z") == []
    stats = shell.ask("audit", "stats", "--audit-dir", shell.log, "--output", "json").json
    assert stats["calls"] == {"path_open": {"allow": 1, "deny": 1}, "proc_exit": {"allow": 1}}
    assert stats["records"] == 3
    shown = shell.ask("audit", "show", "--audit-dir", shell.log, execution)
    assert "storage     |" in shown.text
    assert "refused, the first ones" in shown.text


def test_tables_are_for_people_and_say_when_there_is_more(shell: Shell):
    shell.run(printing(b"x", then="(call $proc_exit (i32.const 0))"), "--quiet")
    done = shell.ask("audit", "query", "--audit-dir", shell.log, "--limit", "1")
    assert done.text.splitlines()[0].split() == [
        "time",
        "seq",
        "call",
        "decision",
        "errno",
        "target",
        "rule_id",
    ]
    assert "there are more" in done.said
    assert shell.ask("audit", "stats", "--audit-dir", shell.log).text.startswith("2 records of 1 executions")


def test_a_run_whose_supervisor_was_killed_is_finished_by_the_next_question(shell: Shell):
    (shell.folder / "guest.wasm").write_bytes(printing(b"up", then=SPINNING))
    words = ("run", "--policy", shell.policy(), "--audit-dir", shell.log, "guest.wasm")
    with shell.start(*words) as process:
        assert process.stdout is not None
        process.stdout.read(2)
        # until the record is in the log, which the supervisor does within milliseconds
        while not shell.ask("audit", "query", "--audit-dir", shell.log, "--output", "ndjson").out:
            pass
        process.send_signal(signal.SIGKILL)
        process.wait(20)
    (row,) = shell.ask("audit", "query", "--audit-dir", shell.log, "--output", "ndjson").lines
    shown = shell.ask("audit", "show", "--audit-dir", shell.log, row["exec_id"], "--output", "json").json
    assert shown["receipt"]["outcome"]["kind"] == "killed"
    assert shown["receipt"]["records"] == 1


def test_what_is_not_there_is_told(shell: Shell):
    missing = shell.ask("audit", "query", "--audit-dir", shell.log)
    assert (missing.status, missing.out) == (1, b"")
    assert "holds no audit log" in missing.said
    shell.run(exiting(0), "--quiet")
    unknown = "01a20490-d053-754d-9ff7-0772ed2a8a2b"
    assert shell.ask("audit", "show", "--audit-dir", shell.log, unknown).status == 1
    wrong = shell.ask("audit", "query", "--audit-dir", shell.log, "--decision", "perhaps")
    assert (wrong.status, "decision: expected one of" in wrong.said) == (2, True)
    kind = shell.ask("audit", "control", "--audit-dir", shell.log, "--event", "reed")
    assert (kind.status, "'reed' is not one of" in kind.said) == (2, True)


def test_a_reader_that_goes_away_is_no_error(shell: Shell):
    shell.run(exiting(0), "--quiet")
    read, write = os.pipe()
    os.close(read)
    try:
        done = shell("audit", "query", "--audit-dir", shell.log, "--output", "ndjson", stdout=write)
    finally:
        os.close(write)
    assert (done.status, done.err) == (141, b"")
