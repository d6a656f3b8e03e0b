"""A zygote has an engine for each configuration, with which its cells are born; a guest it never loads."""

from __future__ import annotations

import os
import re
import select
from dataclasses import replace
from pathlib import Path

import pytest

from audit.receipt import OutcomeKind
from sandbox import monitor_modules
from sandbox.engine_config import EngineConfig
from sandbox.job import MAX_MESSAGE, Request, Spawn
from sandbox.shared_memory import make_readable
from tests.runs import FOREVER, HELLO, guest, limits, policy

ARTIFACT = re.compile(r"memfd:wasmgate-artifact|\.cwasm")


def zygote_of(log) -> int:
    zygote = log.runner._cells._zygote
    assert zygote is not None
    return int(zygote.process.pid)


def loaded(pid: int) -> set[str]:
    """The artifacts that a process has mapped, by inode."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {line.split()[4] for line in lines if ARTIFACT.search(line)}


def test_our_code_is_loaded_once_for_a_configuration_and_the_guest_never(log):
    log.run(HELLO)
    zygote = zygote_of(log)
    ours = loaded(zygote)
    assert len(ours) == 3  # gate, probe, monitor
    log.run(guest("nop"))
    log.run(HELLO)
    assert (zygote_of(log), loaded(zygote)) == (zygote, ours)
    log.run(HELLO, limits(fuel=10_000))
    assert len(loaded(zygote)) == 6
    tasks = Path(f"/proc/{zygote}/task")
    assert len(list(tasks.iterdir())) == 1


def test_configurations_do_not_mix(log):
    spins = guest(FOREVER)
    for _ in range(2):
        assert log.run(spins, limits(fuel=10_000, timeout="10s")).receipt.outcome.limit == "fuel"
        assert log.run(spins, limits(cpu="50ms")).receipt.outcome.limit == "cpu"
        assert log.run(HELLO, policy("runtime: {engine: pulley}\n")).stdout == b"hello\n"


def test_more_configurations_than_are_kept_run_all_the_same(log):
    for kib in (*range(256, 272), 256):
        done = log.run(HELLO, limits(stack=f"{kib}Ki"))
        assert (done.receipt.outcome.kind, done.stdout) == (OutcomeKind.EXITED, b"hello\n")
    assert len(loaded(zygote_of(log))) <= 8 * 3
    assert len({*log.runner._modules}) == 1  # they differ in nothing that decides the code


def test_code_that_can_not_be_loaded_is_told_by_the_cell_and_ends_no_zygote(cells, cache):
    modules = monitor_modules.load(EngineConfig(), cache)
    ours = [modules.gate.fd, modules.probe.fd, modules.monitor.fd]
    torn = make_readable("wasmgate-artifact", b"\0")
    try:
        spawn = Spawn(replace(EngineConfig(), stack_bytes=300 << 10), has_guest=False)
        lost = cells.start(spawn, [*ours[:2], torn])
        zygote = cells._zygote
        said = lost.control.recv(MAX_MESSAGE)
        assert said[0] == Request.END
        assert b"does not load an artifact" in said
        lost.close()
        kept = cells.start(spawn, ours)
        assert cells._zygote is zygote
        ready = select.poll()
        ready.register(kept.control.fileno(), select.POLLIN)
        assert not ready.poll(300)  # it waits for its job, and has nothing to say
        kept.close()
    finally:
        os.close(torn)
        modules.close()


@pytest.mark.parametrize("spares", [0, 2])
def test_a_successor_has_them_too(log, spares):
    log.runner._spares._most = spares
    log.run(HELLO)
    first = zygote_of(log)
    os.kill(first, 9)
    assert log.run(HELLO).stdout == b"hello\n"
    assert zygote_of(log) != first
    assert len(loaded(zygote_of(log))) == 3
