"""One guest under each engine, with and without fuel and cache: the same transcript; and what the cache is trusted with."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from policy import Plan
from policy.plan import Engine
from sandbox.cache import ArtifactCache
from sandbox.runner import Execution
from tests.runs import HELLO, exited, guest, limit, mount_rule, open_log, policy, says

VARIED = guest(
    f"""(drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 900) (i32.const 1) (i32.const 9)
         (i64.const 66) (i64.const 0) (i32.const 0) (i32.const 512)))
        (drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 910) (i32.const 4) (i32.const 0)
         (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 512)))
        {says(b"out")[0]} {says(b"out", fd=4)[0]} {says(b"out", fd=9)[0]}
        (drop (call $fd_close (i32.const 4))) (call $proc_exit (i32.const 7))""",
    uses="path_open fd_write fd_close proc_exit",
    fields=says(b"out")[1] + '(data (i32.const 900) "f") (data (i32.const 910) "../x")',
)


def transcript(rows) -> list[tuple[object, ...]]:
    names = (
        "seq",
        "call",
        "decision",
        "errno",
        "fd",
        "fd2",
        "target",
        "guest_target",
        "bytes_out",
        "rule_id",
        "reason",
    )
    return [tuple(row[name] for name in names) for row in rows]


def variant(plan: Plan, engine: Engine, *, has_fuel: bool, is_cached: bool) -> Plan:
    return replace(
        plan,
        runtime=replace(plan.runtime, engine=engine, cache=is_cached),
        limits=replace(plan.limits, fuel=1_000_000 if has_fuel else -1),
    )


def test_every_engine_gives_the_same_transcript(shared, tmp_path):
    plan = policy(mount_rule(tmp_path, "read, list, create, write"))
    found = []
    for engine, has_fuel, is_cached in itertools.product(Engine, (False, True), (False, True)):
        (tmp_path / "f").unlink(missing_ok=True)
        done = shared.run(VARIED, variant(plan, engine, has_fuel=has_fuel, is_cached=is_cached))
        assert done.receipt.outcome == exited(7)
        found.append((done.stdout, (tmp_path / "f").read_bytes(), transcript(shared.check(done))))
    assert all(one == found[0] for one in found)
    assert found[0][:2] == (b"out", b"out")
    assert len(found[0][2]) == 7


@pytest.mark.parametrize("engine", list(Engine))
def test_every_engine_is_stopped_by_its_limits(shared, engine):
    spins = guest("(loop $l (br $l))")
    plan = variant(policy("resources: {limits: {cpu: 60ms}}\n"), engine, has_fuel=False, is_cached=True)
    assert shared.run(spins, plan).receipt.outcome == limit("cpu")
    plan = variant(policy(), engine, has_fuel=True, is_cached=True)
    assert shared.run(spins, plan).receipt.outcome == limit("fuel")


@pytest.fixture
def own_cache(tmp_path):
    with ArtifactCache(tmp_path / "cache") as cache:
        yield cache


def run_twice(root: Path, cache: ArtifactCache, plan: Plan) -> list[Execution]:
    log = open_log(root, cache)
    try:
        return [log.run(HELLO, plan) for _ in range(2)]
    finally:
        log.close()


def test_a_second_run_takes_the_artifact_from_the_cache(tmp_path, own_cache):
    assert [one.is_cached for one in run_twice(tmp_path, own_cache, policy())] == [False, True]


def test_a_policy_without_cache_leaves_nothing_of_the_guest_in_it(tmp_path, own_cache):
    done = run_twice(tmp_path, own_cache, policy("runtime: {cache: false}\n"))
    assert [one.is_cached for one in done] == [False, False]
    assert len(list((tmp_path / "cache").glob("*.cwasm"))) == 3  # the monitor's own modules


@pytest.mark.parametrize("damage", ["forged", "cut", "another's"])
def test_an_artifact_that_is_not_what_was_stored_is_compiled_anew_and_told(tmp_path, own_cache, damage):
    log = open_log(tmp_path, own_cache)
    log.run(HELLO)
    files = set((tmp_path / "cache").glob("*.cwasm"))
    other = guest("(unreachable)")
    log.run(other)
    (second,) = set((tmp_path / "cache").glob("*.cwasm")) - files
    content = second.read_bytes()
    second.unlink()
    match damage:
        case "forged":
            content = content[:-200] + bytes(200)
        case "cut":
            content = content[: len(content) // 2]
        case _:
            content = max(files, key=lambda file: file.stat().st_mtime).read_bytes()
    second.write_bytes(content)
    second.chmod(0o400)
    done = log.run(other)
    assert (done.receipt.outcome.kind.value, done.is_cached) == ("trapped", False)
    assert "it is not what was stored" in done.findings[0]
    again = log.run(other)
    assert (again.is_cached, again.findings) == (True, ())
    log.close()
