"""What all of a cell takes together is bounded where the operator delegates a cgroup, and what is missing is said."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from api import probing
from api.settings import SettingsError, load_settings
from audit.receipt import OutcomeKind
from audit.writer import AuditWriter
from sandbox.cells import Cells
from sandbox.confinement import cgroup
from sandbox.confinement.cgroup import Cgroup, CgroupError
from sandbox.runner import Runner
from tests.cgroups import delegated
from tests.runs import HELLO, SLEEP, Log, guest, policy

ASKED = "runtime: {require_walls: [cgroup]}\n"
GIBIBYTE = 1 << 30


@pytest.fixture
def folders() -> Iterator[tuple[Path, ...]]:
    with delegated() as made:
        yield made


@pytest.fixture
def place(folders) -> Iterator[Cgroup]:
    made = Cgroup.open(folders)
    yield made
    made.close()
    assert [each for folder in folders for each in folder.iterdir() if each.is_dir()] == []  # nothing is left


@pytest.fixture
def log(tmp_path, cache, place) -> Iterator[Log]:
    cells = Cells()
    cells.bound_by(place)
    writer = AuditWriter(tmp_path / "log")
    runner = Runner(writer=writer, cache=cache, scratch=tmp_path / "scratch", cells=cells, spare_cells=2)
    made = Log(tmp_path / "log", writer, runner)
    yield made
    made.close()


def read(place: Cgroup, *names: str) -> set[str]:
    """What the first of these files says, of each cell that there is."""
    found = set()
    for folder in place.folders:
        for path in (one for name in names for one in folder.glob(f"cell-*/{name}")):
            with contextlib.suppress(OSError):
                found.update(path.read_text().split("\n"))
    return found - {""}


def test_a_policy_that_requires_it_runs_where_it_stands(log):
    done = log.run(HELLO, policy(ASKED))
    assert (done.stdout, "cgroup" in done.receipt.walls) == (b"hello\n", True)
    bare = log.run(HELLO, policy("runtime: {isolation: process}\n")).receipt
    assert "cgroup" not in bare.walls  # it was in one, and nothing was bounded
    assert "cgroup" in bare.missing_walls


def test_one_that_can_not_be_made_is_missing_and_refuses_who_requires_it(log, place, folders):
    log.run(HELLO)
    place.folders = tuple(folder / "gone" for folder in folders)
    log.runner._spares._most = 0  # those that wait are in theirs
    receipt = log.run(HELLO).receipt
    assert (receipt.outcome.exit_code, "cgroup" in receipt.missing_walls) == (0, True)
    refused = log.run(HELLO, policy(ASKED)).receipt.outcome
    assert (refused.kind, "cgroup" in (refused.message or "")) == (OutcomeKind.REFUSED, True)
    place.folders = tuple(
        folder / f"wasmgate-{os.getpid()}-{cgroup._born(os.getpid())}" for folder in folders
    )


def test_the_limits_are_those_of_the_plan(log, place):
    plan = policy(
        "resources: {limits: {memory: 32Mi, memories: 2, tables: 1, table_elements: 1000}}\n" + ASKED
    )
    sleeps = guest(SLEEP, uses="poll_oneoff")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log.runner._spares, "_most", 0)
        stopped = threading.Event()
        thread = threading.Thread(target=log.run, args=(sleeps, plan), kwargs={"cancelled": stopped})
        thread.start()
        # 32 MiB twice, 1,000 elements of 16 bytes, 256 MiB for the engine, 64 for the cell; whole pages
        expected = str((2 * (32 << 20) + 16_000 + (256 << 20) + (64 << 20)) // 4_096 * 4_096)
        until = time.monotonic() + 30
        while expected not in read(place, "memory.max", "memory.limit_in_bytes"):
            assert time.monotonic() < until
            time.sleep(0.01)
        assert read(place, "pids.max") == {"64"}
        assert read(place, "cpu.max", "cpu.cfs_quota_us") <= {"200000", "200000 100000"}
        (pid,) = read(place, "cgroup.procs")
        assert f"/cell-{place._number}" in Path(f"/proc/{pid}/cgroup").read_text()
        stopped.set()
        thread.join()


def test_memory_that_no_other_wall_counts_is_counted(place, folders):
    judged = {each.wall: each.holds for each in probing.probe_walls(folders)}
    assert judged["cgroup"]
    assert "cgroup" not in {each.wall for each in probing.probe_walls()}


@pytest.mark.parametrize("is_bounded", [True, False])
def test_who_takes_too_much_is_ended_by_the_kernel_and_the_limit_is_named(tmp_path, place, is_bounded):
    cells = Cells("sandbox.confinement.probes")
    if is_bounded:
        cells.bound_by(place)
    writer = AuditWriter(tmp_path / "log")
    runner = Runner(writer=writer, cache=None, scratch=tmp_path / "scratch", cells=cells)
    try:
        run = probing._run(runner, probing._plan(), ("cgroup", "0"))
    finally:
        runner.close()
        writer.close()
    if is_bounded:
        assert (run.receipt.outcome.kind, run.receipt.outcome.limit) == (OutcomeKind.LIMIT, "memory")
        assert run.stdout == b""
    else:
        assert run.stdout.startswith(b"broken")


def test_what_a_supervisor_that_was_killed_left_is_removed_by_the_next(folders):
    script = (
        "import sys, os, pathlib; from sandbox.confinement.cgroup import Cgroup;"
        "made = Cgroup.open([pathlib.Path(each) for each in sys.argv[1:]]);"
        "[(folder / 'cell-1').mkdir() for folder in made.folders]; os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script, *map(str, folders)], check=False)
    assert done.returncode == -9
    (left,) = [each for each in folders[0].iterdir() if each.is_dir()]
    assert (left / "cell-1").is_dir()
    here = Cgroup.open(folders)
    again = Cgroup.open(folders)  # of the same process: what lives is not swept
    assert not left.exists()
    assert all(folder.is_dir() for folder in here.folders)
    again.close()
    here.close()


def test_a_cgroup_that_can_not_be_used_is_told(folders, tmp_path):
    with pytest.raises(CgroupError, match="can't be used"):
        Cgroup.open([tmp_path / "none"])
    with pytest.raises(CgroupError, match="has no controller for cpu, memory, pids"):
        Cgroup.open([tmp_path])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SettingsError, match="WASMGATE_CGROUP"):
        load_settings({"WASMGATE_CGROUP": "wasmgate"}, home=tmp_path)
    named = load_settings({"WASMGATE_CGROUP": ":".join(map(str, folders))}, home=tmp_path)
    assert named.cgroup_folders == folders


def test_a_plan_without_a_bound_of_memory_leaves_the_rest_bounded(place):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        group = place.enter(child.pid)
        assert group.bound(-1)
        assert read(place, "pids.max") == {"64"}
        assert not group.is_out_of_memory
        assert group.bound(GIBIBYTE)
    finally:
        child.kill()
        child.communicate()
    group.close()
    group.close()
    assert read(place, "pids.max") == set()
