"""Native code in a cell takes all it can get: that is what the plan bounds, and no process outlives its run."""

from __future__ import annotations

import mmap
import os
import threading
from pathlib import Path

from audit.receipt import OutcomeKind
from policy.plan import Plan
from sandbox.confinement.bounds import bounds_of
from tests.escape.native import UNCONFINED, WHOLE
from tests.runs import limit, policy

MIB = 1 << 20
SMALL = "resources: {limits: {memory: 1Mi, memories: 1, open_files: 16, timeout: 2s, cpu: 20s}}\n"


def small(head: str = WHOLE) -> Plan:
    return policy(head + SMALL)


def take_memory(most: str) -> str:
    """Map pages that can be written until there are no more; gives how many MiB that were."""
    held: list[mmap.mmap] = []
    try:
        while len(held) * 16 < int(most):
            held.append(mmap.mmap(-1, 16 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    except OSError:
        pass
    return str(len(held) * 16)


def take_descriptors(most: str) -> str:
    held: list[int] = []
    try:
        while len(held) < int(most):
            held.append(os.dup(0))
    except OSError:
        pass
    return str(len(held))


def take_threads() -> str:
    """Start threads until none is to be had, then wait for ever."""
    os.write(1, str(os.getpid()).encode())
    gate = threading.Event()
    for _ in range(2_000):
        try:
            threading.Thread(target=gate.wait, daemon=True).start()
        except RuntimeError:
            break
    gate.wait()
    return ""


def test_memory_ends_where_the_plan_says(lab):
    bound = (bounds_of(small()).memory_bytes) // MIB
    assert int(lab.attempt(take_memory, 4 * bound, plan=small()).said) <= bound
    assert int(lab.attempt(take_memory, 4 * bound, plan=small(UNCONFINED)).said) > bound


def test_descriptors_end_where_the_plan_says(lab):
    bound = bounds_of(small()).open_files
    assert int(lab.attempt(take_descriptors, 500, plan=small()).said) <= bound
    assert int(lab.attempt(take_descriptors, 500, plan=small(UNCONFINED)).said) > bound


def test_threads_end_with_the_run(lab):
    attempt = lab.attempt(take_threads, plan=small())
    assert attempt.execution.receipt.outcome == limit("timeout")
    assert not Path(f"/proc/{attempt.said}").exists()


def print_for_ever() -> str:
    while True:
        os.write(1, b"x" * 65_536)


def test_output_ends_where_the_plan_says(lab):
    receipt = lab.attempt(print_for_ever).execution.receipt
    assert (receipt.outcome.kind, receipt.outcome.limit) == (OutcomeKind.LIMIT, "stdout")
