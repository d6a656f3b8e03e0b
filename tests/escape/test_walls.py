"""Which walls stand is on record, and a policy can ask for them: what is missing is never passed over."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from api import probing
from audit.receipt import OutcomeKind
from audit.writer import AuditWriter
from policy.plan import WALLS
from sandbox.cells import Cells
from sandbox.confinement.bounds import Bounds
from sandbox.confinement.walls import ConfinementError, confine_cell, site_of
from sandbox.runner import Runner
from tests.runs import HELLO, Log, open_log, policy

ALWAYS = ("wasm", "monitor", "process")
BARE = ("no_new_privs", "rlimits", "capabilities")


def required(*walls: str) -> str:
    return f"runtime: {{require_walls: [{', '.join(walls)}]}}\n"


@pytest.fixture
def bare(tmp_path, cache) -> Iterator[Log]:
    """A log whose cells are on a machine without Landlock, filters and namespaces."""
    writer = AuditWriter(tmp_path / "log")
    runner = Runner(
        writer=writer, cache=cache, scratch=tmp_path / "scratch", cells=Cells("tests.escape.bare_zygote")
    )
    made = Log(tmp_path / "log", writer, runner)
    yield made
    made.close()


def test_a_receipt_names_what_stood_and_what_did_not(bare):
    here = bare.run(HELLO).receipt
    assert (here.walls, set(here.missing_walls)) == ((*ALWAYS, *BARE), set(WALLS) - set(BARE))
    assert bare.run(HELLO, policy("runtime: {isolation: process}\n")).receipt.walls == ALWAYS


def test_a_required_wall_that_does_not_stand_refuses_the_run(bare):
    refused = bare.run(HELLO, policy(required("landlock", "seccomp"))).receipt
    assert refused.outcome.kind is OutcomeKind.REFUSED
    assert "landlock, seccomp" in (refused.outcome.message or "")
    assert refused.records == 0  # the guest made no call
    allowed = bare.run(HELLO, policy(required(*BARE)))
    assert (allowed.receipt.outcome.kind, allowed.stdout) == (OutcomeKind.EXITED, b"hello\n")


def test_a_required_wall_that_stands_lets_the_run_go_on(tmp_path, cache):
    log = open_log(tmp_path, cache)
    try:
        done = log.run(HELLO, policy(required("no_new_privs", "rlimits", "capabilities")))
        assert done.stdout == b"hello\n"
        refused = log.run(HELLO, policy(required("cgroup"))).receipt.outcome
        assert refused.kind is OutcomeKind.REFUSED  # none was named
    finally:
        log.close()


def test_the_doctor_finds_every_wall_broken_where_none_stands(monkeypatch):
    monkeypatch.setattr(probing, "_PROBES", "tests.escape.open_probes")
    found = {probed.wall: probed.holds for probed in probing.probe_walls()}
    assert found == dict.fromkeys((wall for wall in WALLS if wall != "cgroup"), False)


def test_the_doctor_finds_the_walls_that_stand():
    stands = {probed.wall for probed in probing.probe_walls() if probed.holds}
    assert {"no_new_privs", "rlimits"} <= stands


def test_a_cell_that_has_threads_already_is_not_confined():
    gate = threading.Event()
    thread = threading.Thread(target=gate.wait)
    thread.start()
    site = site_of(Bounds(), (), -1)
    try:
        with pytest.raises(ConfinementError, match="threads"):
            confine_cell(site)
    finally:
        gate.set()
        thread.join()
        if site.ruleset is not None:
            os.close(site.ruleset)
