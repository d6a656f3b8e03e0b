"""The cell: the single-use process in which one execution runs.

It is forked by `zygote.py`, often before there is anything to do, and told what by a `Job`; limits that stop
the guest from outside are the supervisor's (`executor.py`). INVARIANT: a guest byte runs only under all
limits and behind all walls, those that the policy requires among them; the `start` section, which runs before
the monitor is armed, reaches stubs that refuse. What the walls are is `confinement/`.
"""

from __future__ import annotations

import _thread
import contextlib
import json
import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn

from sandbox.confinement import process
from sandbox.confinement.bounds import Bounds
from sandbox.confinement.walls import Site, confine_cell, make_ready, site_of
from sandbox.engine_wasmtime import OWN_STREAMS, Artifacts, Code, End, EndKind, GuestError, Machine
from sandbox.guest import StoreLimits, World
from sandbox.job import (
    CODE,
    LONG_JOB,
    MAX_MESSAGE,
    MAX_TEXT,
    NETWORK,
    OUR_CODE,
    STOP,
    WORLD,
    CellEnd,
    Job,
    Request,
    Spawn,
)
from sandbox.network.wires import Network
from sandbox.preopens import held
from sandbox.shared_memory import read_all

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandbox.preopens import Preopens

_CPU_GRACE_S = 0.05  # for the engine to interrupt the guest at its CPU limit, before the kernel ends the cell
_LAST_RESORT_S = 2  # how much later than the supervisor the kernel ends a cell, should the supervisor hang


class _MissingWallsError(Exception):
    """The policy requires what does not stand here."""

    def __init__(self, walls: Sequence[str]) -> None:
        super().__init__(f"the policy requires what does not stand on this machine: {', '.join(walls)}")


_STREAMS = ("stdin", "stdout", "stderr")


@dataclass(frozen=True, slots=True)
class Born:
    """What a cell has from the process that it was forked from."""

    walls: Sequence[str]  # that stand already
    code: Code | None  # an engine with our own modules, for its configuration; None: it loads them itself


class Cell:
    """A process with an engine and the monitor's code in it, that waits for the one job it is for."""

    def __init__(self, spawn: Spawn, control: socket.socket, fds: Mapping[str, int], born: Born) -> None:
        """Load what can be loaded before the job is known, and is not there from birth."""
        self._walls = born.walls
        self.control = control
        # SECURITY: what the service writes its own messages to is nothing that a cell may hold, or open anew
        os.dup2(1, 2)
        self._leash = fds["leash"]
        process.end_with(self._leash)
        process.close_others((0, 1, 2, control.fileno(), *fds.values()))
        paths = {name: path_of(fds[name]) for name in OUR_CODE}
        self._code = born.code or Code.load(spawn.config, Artifacts(**paths))
        if spawn.has_guest:
            self._code.load_guest(path_of(fds["guest"]))
        for name in CODE if spawn.has_guest else OUR_CODE:
            os.close(fds[name])
        self._rehearse(spawn)
        self._machine = Machine(self._code)
        self._writable_code = process.writable_code()

    def _rehearse(self, spawn: Spawn) -> None:
        """Do what a run does, with nothing in it: the pages that it writes are copied now, and not then."""
        world = World(("",), (), (), has_stdin=False)
        limits = StoreLimits(-1, -1, -1, -1, -1)
        job = Job(spawn.config, limits, world, ("",), 0, -1, -1, 0, 0, Bounds())
        Job.from_json(job.to_json())
        make_ready(self._leash)
        with held(()):
            Machine(self._code).rehearse(has_fuel=spawn.config.has_fuel)

    def run(self) -> NoReturn:
        """Wait for the job, run it, report its end on the control socket, and end the process."""
        job, fds = self._receive()
        machine, control = self._machine, self.control
        for number, name in enumerate(_STREAMS):
            os.dup2(fds[name], number)
            os.close(fds[name])
        with held(job.world.preopens) as (preopens, directories):
            begin(machine, job, preopens)
            site = None if job.bounds is None else site_of(job.bounds, directories, self._leash)

        def start() -> None:
            _set_last_resort(job)
            # the last function that C calls is made by now
            process.make_unwritable(self._writable_code)
            say_start(control, job, (*stand(site, self._walls), *job.outer))
            _watch_cpu(machine, job.cpu_ms)

        network = Network.of(fds)
        perform(machine, job, Wires(control, fds["ring"], fds["tables"], start, network, time.process_time))
        os._exit(0)  # nothing is given up in order: it would be written to pages that are only code now

    def _receive(self) -> tuple[Job, dict[str, int]]:
        most = len(WORLD) + len(NETWORK) + 2
        text, got, _, _ = socket.recv_fds(self.control, MAX_MESSAGE, most, flags=socket.MSG_CMSG_CLOEXEC)
        if not got:  # the supervisor is gone, or has no work any more
            os._exit(0)
        fds: dict[str, int] = dict(zip(WORLD, got, strict=False))
        left = got[len(WORLD) :]
        if self._code.guest is None:
            guest = left.pop(0)
            self._code.load_guest(path_of(guest))
            os.close(guest)
        if text == LONG_JOB:
            text = read_all(left[-1])
            os.close(left.pop())
        return Job.from_json(text), fds | dict(zip(NETWORK, left, strict=False))


def path_of(fd: int) -> str:
    """A path that leads to what this process has open."""
    return f"/proc/self/fd/{fd}"


def lament(control: socket.socket, err: BaseException) -> None:
    """Tell the supervisor that the cell itself failed."""
    with contextlib.suppress(OSError):
        end = End(EndKind.REFUSED, f"{type(err).__name__}: {err}")
        _send_end(control, end, cpu_s=time.process_time())


def stand(site: Site | None, before: Sequence[str]) -> tuple[str, ...]:
    """Put the walls up; names all that stand now."""
    return (*before, *(() if site is None else confine_cell(site)))


@dataclass(frozen=True, slots=True)
class Wires:
    """What joins a run with its supervisor."""

    control: socket.socket
    ring: int
    tables: int
    start: Callable[[], None]  # what is done last before the guest's code runs; ends with `say_start`
    network: Network | None
    cpu_s: Callable[[], float]  # processor time that was used so far


def begin(machine: Machine, job: Job, preopens: Preopens, streams: tuple[str, str] = OWN_STREAMS) -> None:
    """Tell the engine what the guest may use, and what it finds."""
    machine.begin(
        limits=job.limits,
        fuel=job.fuel if job.config.has_fuel else None,
        world=replace(job.world, preopens=preopens),
        streams=streams,
    )


def perform(machine: Machine, job: Job, wires: Wires) -> None:
    """Assemble, run to the end, and report that."""
    unarmed = 0
    try:
        unarmed = machine.assemble(
            drain=_drain(wires.control, job.full_ms),
            ring_fd=wires.ring,
            ring_bytes=job.ring_bytes,
            tables=read_all(wires.tables),
            before_guest=wires.start,
            parts=job.parts,
            **({} if wires.network is None else wires.network.wires()),
        )
        end = play(machine, job)
    except GuestError as err:
        end = err.end
    except _MissingWallsError as err:
        end = End(EndKind.REFUSED, str(err))
    _report(wires, end, memory_bytes=machine.memory_bytes, unarmed=unarmed)


def say_start(control: socket.socket, job: Job, walls: Sequence[str]) -> None:
    """Say that the guest starts, behind these walls; does not return where the policy requires others."""
    if missing := [wall for wall in job.required if wall not in walls]:
        raise _MissingWallsError(missing)
    control.send(bytes([Request.START]) + json.dumps(walls).encode())


def play(machine: Machine, job: Job) -> End:
    """Call the guest's entries, one after the other."""
    end = End(EndKind.RETURNED)
    for entry in job.entries:
        end = machine.run(entry)
        if end.kind is not EndKind.RETURNED:
            break
    return end


def _ask(control: socket.socket, request: Request) -> int:
    control.send(bytes([request]))
    answer = control.recv(1)
    # SECURITY: no answer is no: without a supervisor nothing is on record
    return answer[0] if answer else STOP


def _drain(control: socket.socket, full_ms: int) -> Callable[[int], int]:
    def drain(why: int) -> int:
        request = Request(why)
        if request is Request.FULL and full_ms == 0:
            return STOP
        control.settimeout(full_ms / 1_000 if full_ms > 0 else None)
        try:
            return _ask(control, request)
        except OSError:
            return STOP

    return drain


def _set_last_resort(job: Job) -> None:
    """Have the kernel end this process some time after the limits, whatever the supervisor does."""
    if job.wall_ms >= 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, job.wall_ms / 1_000 + _LAST_RESORT_S)
    if job.cpu_ms >= 0:
        # an instruction that fills gigabytes, and work of the host, are not interrupted by the engine
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, job.cpu_ms / 1_000 + _CPU_GRACE_S)
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        seconds = int(time.process_time()) + -(-job.cpu_ms // 1_000) + _LAST_RESORT_S
        if hard == resource.RLIM_INFINITY or seconds < hard:
            # SECURITY: the signal at the soft limit can be blocked, SIGKILL at the hard one can't
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))


def _watch_cpu(machine: Machine, cpu_ms: int) -> None:
    """End the guest when the process has used this much CPU time from now on.

    One thread that sleeps for what is left and looks again: no tick, and one epoch at most.
    """
    if cpu_ms < 0:
        return
    spent = time.process_time

    def watch(until: float) -> None:
        while (left := until - spent()) > 0:
            time.sleep(max(left, 0.001))
        machine.interrupt()

    # not `threading`, which waits until the thread runs, and that may take milliseconds
    _thread.start_new_thread(watch, (spent() + cpu_ms / 1_000,))


def _report(wires: Wires, end: End, *, memory_bytes: int, unarmed: int) -> None:
    _send_end(wires.control, end, cpu_s=wires.cpu_s(), memory_bytes=memory_bytes, unarmed=unarmed)


def _send_end(
    control: socket.socket, end: End, *, cpu_s: float, memory_bytes: int = 0, unarmed: int = 0
) -> None:
    report = CellEnd(
        kind=end.kind,
        message=end.message[:MAX_TEXT],
        exit_code=end.exit_code,
        memory_bytes=memory_bytes,
        cpu_ms=int(cpu_s * 1_000),
        unarmed=unarmed,
    )
    control.settimeout(None)
    control.send(bytes([Request.END]) + report.to_json())
