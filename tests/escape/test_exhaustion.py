"""Guests that take all there is of something: each ends at the limit that its receipt names, and its twin does not.

Every size and shape of it is in `tests/integration/test_limits_*.py`; here is one attack for each thing.
"""

from __future__ import annotations

import time

import pytest

from audit.receipt import Outcome
from tests import limit_guests as guests
from tests.escape.guests import Scene
from tests.runs import HELLO, exited, guest, limit, limits

SLEEP_NS = 20_000_000
ENDS: dict[str, tuple[bytes, bytes, str, dict[str, object]]] = {
    "processor time": (guests.SPINS, guests.calls_with_work(100), "cpu", {"cpu": "100ms"}),
    "time asleep": (guests.sleeps(3_600 * 10**9), guests.sleeps(SLEEP_NS), "timeout", {"timeout": "300ms"}),
    "fuel": (guests.SPINS, guests.calls_with_work(100), "fuel", {"fuel": "10M"}),
    "memory": (guests.keeps_objects(), guests.keeps_objects(1_000), "memory", {"memory": "2Mi"}),
    "stack": (guests.recurses(10_000_000), guests.recurses(100), "stack", {}),
    "output": (guests.prints(b"x" * 1_000), guests.prints(b"x", 10), "stdout", {"stdout": "20Ki"}),
    "complaints": (guests.prints(b"x", fd=2), guests.prints(b"x", 10, fd=2), "stderr", {"stderr": 500}),
    "host calls": (guests.CALLS, HELLO, "host_calls", {"host_calls": 1_000}),
}
"""For each: who takes it all, who takes some, the limit that ends the first, and what is set."""


@pytest.mark.parametrize("name", ENDS)
def test_who_takes_all_of_it_is_ended_and_who_takes_some_is_not(name, log):
    greedy, modest, ends_by, given = ENDS[name]
    bounds: dict[str, object] = {"timeout": "20s", "cpu": "20s"}
    plan = limits(**bounds | given)
    begun = time.monotonic()
    done = log.run(greedy, plan)
    assert done.receipt.outcome == limit(ends_by)
    assert time.monotonic() - begun < 20  # not by the limits that bound the test
    log.check(done)
    done = log.run(modest, plan)
    assert done.receipt.outcome == exited()
    log.check(done)


REFUSES: dict[str, tuple[bytes, Outcome, bytes, Outcome, dict[str, object]]] = {
    "memory by pages": (
        guest("(call $proc_exit (memory.grow (i32.const 32)))", uses="proc_exit"),
        exited(-1 & 0xFFFF_FFFF),
        guest("(call $proc_exit (memory.grow (i32.const 31)))", uses="proc_exit"),
        exited(1),
        {"memory": "2Mi"},
    ),
    "tables": (
        guests.grows_table(1_000),
        exited(4_001),
        guests.grows_table(999),
        exited(4_996),
        {"table_elements": 5_000},
    ),
}
"""What a guest is refused and goes on without: who asks for too much, who does not, how each exits."""


@pytest.mark.parametrize("name", REFUSES)
def test_who_asks_for_too_much_is_refused_and_goes_on(name, log):
    greedy, at_limit, modest, within, given = REFUSES[name]
    assert log.run(greedy, limits(**given)).receipt.outcome == at_limit
    assert log.run(modest, limits(**given)).receipt.outcome == within


_OPEN = guests.opens()
_KEEP = guests.makes(guests.opens(length=4), uses="path_open", times=40)
_DISK = guests.with_file(guests.WRITE, uses="fd_write", times=200, size=1_000)
_MAKE = guests.makes(f"(i32.or {guests.opens(length=4)} (call $fd_close (i32.load (i32.const 512))))",
                     uses="path_open fd_close", times=40)  # fmt: skip


OF_FILES = {
    "bytes on disk": (_DISK, "disk: 100000", "limit.disk", 19, 0),
    "files": (_MAKE, "files: 10", "limit.files", 10, 40),
    "descriptors": (_KEEP, "open_files: 20", "limit.open_files", 20, 40),
}
"""For each: the guest, what is set, the rule that refuses, and how it exits with that and without."""


@pytest.mark.parametrize("name", OF_FILES)
def test_who_fills_the_disk_or_its_descriptors_is_refused_and_goes_on(name, log, tmp_path):
    module, given, rule, bounded, free = OF_FILES[name]
    scene = Scene.made(tmp_path / "scene")
    done = log.run(module, scene.granting(after=f"resources: {{limits: {{{given}}}}}\n"))
    assert {refusal.rule for refusal in done.receipt.refusals} == {rule}
    assert done.receipt.outcome == exited(bounded)
    log.check(done)
    roomy = "resources: {limits: {disk: 1Gi, files: 100, open_files: 100}}\n"
    done = log.run(module, Scene.made(tmp_path / "another").granting(after=roomy))
    assert done.receipt.refusals == ()
    assert done.receipt.outcome == exited(free)
