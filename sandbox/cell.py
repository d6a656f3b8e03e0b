"""The cell: the single-use process in which one execution runs.

It is forked by `zygote.py` and told what to do by a `Job`; limits that stop the guest from outside are the
supervisor's (`executor.py`). INVARIANT: a guest byte runs only after the ring is mapped and the monitor armed;
the `start` section, which runs earlier, reaches stubs that refuse. The operating system does not confine the
cell yet: see docs/explanation/threat-model.md.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import threading
import time
from typing import TYPE_CHECKING

from sandbox.engine_wasmtime import Artifacts, End, EndKind, GuestError, Machine
from sandbox.job import MAX_TEXT, CellEnd, Request

if TYPE_CHECKING:
    from sandbox.job import Job

_GO_ON, _STOP = 0, 1


def run(job: Job, fds: dict[str, int]) -> None:
    """Run the job in this process and report its end on the control socket."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.dup2(fds[name], number)
        os.close(fds[name])
    control = socket.socket(fileno=fds["control"])
    machine = Machine(job.config, limits=job.limits, fuel=job.fuel, world=job.world)
    unarmed = 0
    try:
        unarmed = machine.assemble(
            Artifacts(*(f"/proc/self/fd/{fds[name]}" for name in ("gate", "probe", "monitor", "guest"))),
            drain=_drain(control, job.full_ms),
            ring_fd=fds["ring"],
            ring_bytes=job.ring_bytes,
            tables=_read(fds["tables"], job.tables_bytes),
        )
        _ask(control, Request.ARMED)
        _watch_cpu(machine, job.cpu_ms)
        end = End(EndKind.RETURNED)
        for entry in job.entries:
            end = machine.run(entry)
            if end.kind is not EndKind.RETURNED:
                break
    except GuestError as err:
        end = err.end
    _report(control, end, machine.memory_bytes, unarmed)


def lament(control: int, err: BaseException) -> None:
    """Tell the supervisor that the cell itself failed; `control` is the descriptor of its socket."""
    with contextlib.suppress(OSError):
        text = f"{type(err).__name__}: {err}"
        _report(socket.socket(fileno=control), End(EndKind.REFUSED, text), 0, 0)


def _read(fd: int, size: int) -> bytes:
    with mmap.mmap(fd, size, prot=mmap.PROT_READ) as pages:
        return pages[:]


def _ask(control: socket.socket, request: Request) -> int:
    control.send(bytes([request]))
    answer = control.recv(1)
    # SECURITY: no answer is no: without a supervisor nothing is on record
    return answer[0] if answer else _STOP


def _drain(control: socket.socket, full_ms: int):  # noqa: ANN202
    def drain(why: int) -> int:
        request = Request(why)
        if request is Request.FULL and full_ms == 0:
            return _STOP
        control.settimeout(full_ms / 1_000 if full_ms > 0 else None)
        try:
            return _ask(control, request)
        except OSError:
            return _STOP

    return drain


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

    threading.Thread(target=watch, args=(spent() + cpu_ms / 1_000,), daemon=True).start()


def _report(control: socket.socket, end: End, memory_bytes: int, unarmed: int) -> None:
    report = CellEnd(
        kind=end.kind,
        message=end.message[:MAX_TEXT],
        exit_code=end.exit_code,
        memory_bytes=memory_bytes,
        cpu_ms=int(time.process_time() * 1_000),
        unarmed=unarmed,
    )
    control.settimeout(None)
    control.send(bytes([Request.END]) + report.to_json())
