"""Which walls hold on this machine: each is tried from inside a cell, by a whole run of its own.

What a probe does is `sandbox.confinement.probes`. The runs have a log and scratch of their own, which are
thrown away. INVARIANT: a wall stands only if a probe met it; one that said nothing that can be read, for
whatever reason but the kernel's, found it broken.
"""

from __future__ import annotations

import socket
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from policy import Plan
    from sandbox.runner import Execution, Runner

_POLICY = b"""\
version: 1
kind: ModulePolicy
metadata: {name: wasmgate-doctor, description: What the probes of walls run under.}
permissions: {extra_args: true}
resources: {limits: {cpu: unlimited, memory: 1Mi, memories: 1, open_files: 16}}
"""
_PROBES = "sandbox.confinement.probes"
_HELD = {
    "rlimits": "a gibibyte of memory, and 500 descriptors, were not to be had",
    "capabilities": "the root directory could not be changed",
    "landlock": "a file that all may read, and a port that listens, were out of reach",
    "seccomp": "the kernel ended the cell that made a socket",
    "cgroup": "the kernel ended the cell that took a gibibyte of memory",
    "namespaces": "a port that listens outside could not be reached",
}
# an empty module with a `_start`: the probe runs instead of it
_MODULE = bytes.fromhex("0061736d0100000001040160000003020100070a01065f737461727400000a040102000b")


@dataclass(frozen=True, slots=True)
class Probed:
    """What came of trying one wall."""

    wall: str
    holds: bool
    summary: str


def probe_walls(cgroup: Sequence[Path] = ()) -> Iterator[Probed]:
    """Try one wall after the other; raises what a run raises when not even that can be had.

    `cgroup` has the folders of a delegated one; without them that wall is not tried.
    """
    from sandbox.confinement.probes import PROBES

    with ExitStack() as stack:
        runner = _runner(stack, cgroup)
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        plan = _plan()
        for wall in PROBES:
            if wall == "cgroup" and not cgroup:
                continue
            yield _judged(wall, _run(runner, plan, (wall, str(listener.getsockname()[1]))))


def _runner(stack: ExitStack, cgroup: Sequence[Path]) -> Runner:
    from audit.writer import AuditWriter
    from sandbox.cells import Cells
    from sandbox.confinement.cgroup import Cgroup
    from sandbox.runner import Runner

    root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wasmgate-doctor-")))
    writer = AuditWriter(root / "log")
    stack.callback(writer.close)
    cells = Cells(_PROBES)
    if cgroup:
        place = Cgroup.open(cgroup)
        stack.callback(place.close)
        cells.bound_by(place)
    runner = Runner(writer=writer, cache=None, scratch=root / "scratch", cells=cells)
    stack.callback(runner.close)
    return runner


def _plan() -> Plan:
    from policy import compile_policy, load_document

    return compile_policy(load_document(_POLICY, file="doctor.yaml"), base_dir="/", now_ns=None)


def _run(runner: Runner, plan: Plan, arguments: tuple[str, ...]) -> Execution:
    from sandbox.runner import Order

    return runner.run(Order(plan=plan, module=_MODULE, module_name="probe.wasm", extra_args=arguments))


def _judged(wall: str, run: Execution) -> Probed:
    from audit.inert import inert
    from sandbox.confinement.landlock import abi, missing
    from sandbox.confinement.probes import HELD
    from sandbox.outcome import FORBIDDEN

    said, outcome = run.stdout.decode(errors="replace"), run.receipt.outcome
    if outcome.message == FORBIDDEN and wall == "seccomp":
        return Probed(wall, holds=True, summary=_HELD[wall])
    if outcome.limit == "memory" and wall == "cgroup":
        return Probed(wall, holds=True, summary=_HELD[wall])
    if not said:
        return Probed(wall, holds=False, summary=inert(outcome.message or outcome.kind.value))
    word, _, more = said.partition(" ")
    if wall == "landlock" and word == HELD and (gaps := missing(abi())):
        more = more or f"{_HELD[wall]}; this kernel can't refuse {', '.join(gaps)}"
    return Probed(wall, word == HELD, inert(more) or (_HELD[wall] if word == HELD else "a cell got past it"))
