"""The isolation `in-process`: the same monitor, records and limits in a thread of whoever runs the guest."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from api.service import Service
from api.settings import load_settings
from audit.receipt import OutcomeKind
from audit.writer import AuditWriter
from policy.plan import WALLS, Isolation, Plan
from sandbox.admission import digest_of
from sandbox.in_process import InProcess, ThreadCell
from sandbox.runner import Order, Runner
from tests.commands import CAT, Shell
from tests.runs import FOREVER, HELLO, SLEEP, Log, guest, limit, mount_rule, policy, says

NAP = SLEEP.replace("3600000000000", "800000000")
BARE = ("wasm", "monitor")


def trusted(module: bytes, text: str = "", limits: str = "") -> Plan:
    """A plan under which exactly this module runs in the process of its caller."""
    match = f'match: {{digest: "{digest_of(module)}"}}\nruntime: {{isolation: in-process}}\n'
    return policy(f"{match}{text}resources: {{limits: {{{limits}}}}}\n")


def descriptors() -> list[str]:
    return sorted(each.name for each in Path("/proc/self/fd").iterdir())


@pytest.fixture
def log(tmp_path, cache) -> Iterator[Log]:
    writer = AuditWriter(tmp_path / "log")
    runner = Runner(writer=writer, cache=cache, scratch=tmp_path / "scratch", in_process=InProcess())
    made = Log(tmp_path / "log", writer, runner)
    yield made
    made.close()


def test_the_receipt_says_in_what_the_guest_was_kept(log):
    here = log.run(HELLO, trusted(HELLO))
    receipt = here.receipt
    assert (receipt.outcome.kind, receipt.outcome.exit_code, here.stdout) == (
        OutcomeKind.EXITED,
        0,
        b"hello\n",
    )
    assert (receipt.isolation, receipt.walls) == ("in-process", BARE)
    assert receipt.missing_walls == ("process", *WALLS)
    assert json.loads(receipt.to_json())["isolation"] == "in-process"
    apart = log.run(HELLO).receipt
    assert apart.isolation == "confined"
    assert "process" in apart.walls


def test_the_same_calls_are_on_record_as_in_a_cell(log, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_bytes(b"abc")
    body, data = says(b"a", at=1024)
    opening = """(drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const 1)
      (i32.const 0) (i64.const 2) (i64.const 2) (i32.const 0) (i32.const 16)))
      (drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const 1)
      (i32.const 9) (i64.const 64) (i64.const 64) (i32.const 0) (i32.const 16)))"""
    module = guest(opening + body, uses="path_open fd_write", fields=data)
    rule = mount_rule(tmp_path / "d", "read, list")
    told = []
    for plan in (trusted(module, rule), policy(rule)):
        execution = log.run(module, plan)
        rows = log.check(execution)
        assert execution.stdout == b"a"
        told.append(
            [(row["call"], row["decision"], row["errno"], row["rule_id"], row["target"]) for row in rows]
        )
    assert told[0] == told[1]
    assert [row[1] for row in told[0]] == ["allow", "deny", "allow"]


@pytest.mark.parametrize("ends_by", ["cpu", "timeout", "fuel"])
def test_a_guest_that_computes_is_stopped_by_its_limit(log, ends_by):
    spins = guest(FOREVER)
    value = {"cpu": "cpu: 50ms", "timeout": "timeout: 80ms", "fuel": "fuel: 100000"}[ends_by]
    assert log.run(spins, trusted(spins, limits=value)).receipt.outcome == limit(ends_by)
    assert log.run(HELLO, trusted(HELLO)).stdout == b"hello\n"  # it is gone, and there is room for the next


def test_a_guest_that_waits_is_left_behind_and_no_other_runs_beside_it(log):
    naps = guest(NAP, uses="poll_oneoff")
    began = time.monotonic()
    left = log.run(naps, trusted(naps, limits="timeout: 100ms"))
    assert time.monotonic() - began < 0.8  # it did not wait for the guest
    assert left.receipt.outcome == limit("timeout")
    (call,) = log.rows(left)
    assert (call["call"], call["decision"]) == ("wasi_snapshot_preview1.poll_oneoff", "allow")
    refused = log.run(HELLO, trusted(HELLO)).receipt.outcome
    assert refused.kind is OutcomeKind.REFUSED
    assert "could not be stopped" in (refused.message or "")
    assert log.run(HELLO).stdout == b"hello\n"  # a cell of its own is another matter
    time.sleep(max(0.0, 1.2 - (time.monotonic() - began)))
    assert log.run(HELLO, trusted(HELLO)).stdout == b"hello\n"


def test_a_run_can_be_cancelled(log):
    spins = guest(FOREVER)
    order = Order(plan=trusted(spins), module=spins, module_name="m", on_progress=lambda _: None)
    order.cancelled.set()
    outcome = log.runner.run(order).receipt.outcome
    assert (outcome.kind, outcome.message) == (OutcomeKind.KILLED, "cancelled")


def test_nothing_is_left_of_a_run_that_is_over(log):
    log.run(HELLO, trusted(HELLO))
    before = len(descriptors())
    for _ in range(5):
        log.run(HELLO, trusted(HELLO))
    assert len(descriptors()) == before


def test_standard_input_is_the_callers_and_is_given_back(log, tmp_path):
    text = tmp_path / "text"
    text.write_bytes(b"from a file")
    plan = trusted(CAT, "permissions: {stdio: {stdin: caller}}\n")
    was = os.fstat(0) if _is_open(0) else None
    with text.open("rb") as file:
        assert log.run(CAT, plan, stdin_fd=file.fileno()).stdout == b"from a file"
    assert (os.fstat(0) if _is_open(0) else None) == was
    assert log.run(CAT, trusted(CAT), stdin_fd=0).stdout == b""


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_another_module_than_the_one_that_was_reviewed_does_not_run(log):
    outcome = log.run(guest("nop"), trusted(HELLO)).receipt.outcome
    assert outcome.kind is OutcomeKind.REFUSED
    assert log.run(HELLO, trusted(HELLO)).receipt.outcome.kind is OutcomeKind.EXITED


def test_a_wall_that_is_required_refuses_it(log):
    plan = trusted(HELLO)
    asking = replace(plan, runtime=replace(plan.runtime, require_walls=("seccomp",)))
    outcome = log.run(HELLO, asking).receipt.outcome
    assert outcome.kind is OutcomeKind.REFUSED
    assert "seccomp" in (outcome.message or "")
    assert asking.runtime.isolation is Isolation.IN_PROCESS


def test_one_that_is_closed_before_its_job_gives_its_descriptors_back():
    before = descriptors()
    cell = ThreadCell(())
    cell.close()
    cell.close()
    assert descriptors() == before


def test_a_service_runs_nobody_in_its_own_process(tmp_path):
    settings = load_settings(home=tmp_path / "home")
    text = f'match: {{digest: "{digest_of(HELLO)}"}}\nruntime: {{isolation: in-process}}\n'
    head = "version: 1\nkind: ModulePolicy\nmetadata: {name: p}\n"
    for is_brief, kind in ((False, OutcomeKind.REFUSED), (True, OutcomeKind.EXITED)):
        with Service(settings, is_brief=is_brief) as service:
            plan = service.policies.plan_inline((head + text).encode())
            outcome = service.run(Order(plan=plan, module=HELLO, module_name="m")).receipt.outcome
            assert outcome.kind is kind
            if kind is OutcomeKind.REFUSED:
                assert "serves nobody else" in (outcome.message or "")


def test_the_command_ends_with_a_guest_that_waits_for_ever(shell: Shell):
    sleeps = guest(SLEEP, uses="poll_oneoff")
    text = f'match: {{digest: "{digest_of(sleeps)}"}}\nruntime: {{isolation: in-process}}\n'
    done = shell.run(
        sleeps, "--receipt", "receipt.json", policy=text + "resources: {limits: {timeout: 200ms}}\n"
    )
    assert done.status == 137
    written = shell.receipt()
    assert (written["outcome"]["limit"], written["isolation"]) == ("timeout", "in-process")
