"""Runs one module under one plan: admit, compile, start a cell, watch it, write the receipt.

The steps themselves live in `admission.py`, `compiler.py`, `cells.py` and `executor.py`; who asks for a run and
where its output goes is the matter of `api/`. INVARIANT: an execution that was begun in the audit log is ended
there, whatever happens in between, and a module that was refused leaves a receipt too.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from audit.errors import AuditError
from audit.identity import new_execution_id
from audit.receipt import CallCount, Outcome, OutcomeKind, Receipt, Resources
from audit.start import ExecutionStart, MountPoint
from policy.calls import CALLS
from policy.plan import UNLIMITED, StdinMode, StdoutMode
from sandbox import monitor_modules
from sandbox.admission import Admitted, admit, digest_of
from sandbox.cells import CellError, Cells
from sandbox.compiler import Cancelled, CompileLimits, prepare
from sandbox.engine_wasmtime import EngineConfig, StoreLimits, World, engine_key
from sandbox.executor import Ended, Supervision, Watch
from sandbox.job import Job
from sandbox.monitor import layout, tables
from sandbox.outcome import CANCELLED, judge
from sandbox.preopens import MountRefused, open_mounts
from sandbox.refusal import AdmissionRefused
from sandbox.refused_calls import RefusedCall, refused_calls
from sandbox.ring import Ring
from sandbox.shared_memory import make_shared

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

    from audit.identity import ExecutionId
    from audit.writer import AuditWriter
    from policy.plan import Plan
    from sandbox.artifact import Artifact
    from sandbox.cache import ArtifactCache
    from sandbox.executor import OnOutput
    from sandbox.monitor_modules import MonitorModules

WALLS = ("wasm", "monitor", "process")
"""What confines a run today: the engine's sandbox, the reference monitor, and a process of its own."""

_DECISIONS = ("allow", "deny", "would_deny", "limit")


def _ignore(_chunk: bytes) -> None:
    """Drop output that nobody asked for."""


@dataclass(frozen=True, slots=True)
class Order:
    """One run that somebody asked for."""

    plan: Plan
    module: bytes
    module_name: str
    extra_args: tuple[str, ...] = ()
    invoke: str | None = None
    stdin_fd: int | None = None  # read by the guest when the plan grants it; stays the caller's
    on_stdout: OnOutput = _ignore
    on_stderr: OnOutput = _ignore
    on_progress: Callable[[str], None] | None = None  # `compile`, `run`: for people who wait
    exec_id: ExecutionId = field(default_factory=new_execution_id)
    cancelled: threading.Event = field(default_factory=threading.Event)  # set it to end the run, at any time


@dataclass(slots=True)
class _Capture:
    """Keeps what the plan says to keep, and passes on what the plan lets out."""

    mode: StdoutMode
    onward: OnOutput
    kept: bytearray = field(default_factory=bytearray)

    def __call__(self, chunk: bytes, /) -> None:
        if self.mode is StdoutMode.CAPTURE:
            self.kept += chunk
        self.onward(chunk)


@dataclass(frozen=True, slots=True)
class Execution:
    """A run that is over."""

    receipt: Receipt
    stdout: bytes = b""  # what was captured
    stderr: bytes = b""
    refused: tuple[RefusedCall, ...] = ()  # the first ones, with more than the receipt says of each


class Runner:
    """Runs modules; thread-safe, one call at a time per thread."""

    def __init__(
        self, *, writer: AuditWriter, cache: ArtifactCache | None, scratch: Path, cells: Cells | None = None
    ) -> None:
        """Records go to `writer`, `tmp://` directories are made below `scratch`; `cells` becomes ours."""
        self._writer = writer
        self._cache = cache
        self._scratch = scratch
        self._cells = cells or Cells()
        self._lock = threading.Lock()
        self._modules: dict[str, MonitorModules] = {}
        self._running: dict[ExecutionId, Order] = {}

    @property
    def running(self) -> tuple[ExecutionId, ...]:
        """The executions that go on now."""
        return tuple(self._running)

    def cancel(self, exec_id: ExecutionId) -> bool:
        """End a run as `killed`, from any thread; says whether it was there to be ended."""
        # without a lock: a signal handler may have interrupted a thread that holds it
        order = self._running.get(exec_id)
        if order is not None:
            order.cancelled.set()
        return order is not None

    def warm(self) -> None:
        """Start the zygote in the background, so that the first run does not wait for it."""
        self._cells.warm()

    def close(self) -> None:
        """End all cells; the writer and the cache stay the caller's."""
        self._cells.close()
        for modules in self._modules.values():
            for artifact in (modules.gate, modules.probe, modules.monitor):
                artifact.close()
        self._modules.clear()

    def run(self, order: Order) -> Execution:
        """Run to the end; raises AuditError when not even the beginning can be recorded."""
        started_ns = time.time_ns()
        self._writer.begin(_start(order, started_ns))
        self._running[order.exec_id] = order
        try:
            return self._run(order, started_ns)
        except (AdmissionRefused, MountRefused) as err:
            outcome = Outcome(kind=OutcomeKind.REFUSED, message=str(err))
        except (CellError, OSError) as err:
            outcome = Outcome(kind=OutcomeKind.REFUSED, message=f"could not start: {err}")
        except Cancelled:
            outcome = Outcome(kind=OutcomeKind.KILLED, message=CANCELLED)
        except AuditError:
            raise  # the log takes nothing any more
        except BaseException:
            outcome = Outcome(kind=OutcomeKind.KILLED, message="ended by an error of wasmgate itself")
            self._writer.end(order.exec_id, _receipt(order, started_ns, outcome))
            raise
        finally:
            self._running.pop(order.exec_id, None)
        receipt = _receipt(order, started_ns, outcome)
        self._writer.end(order.exec_id, receipt)
        return Execution(receipt)

    def _run(self, order: Order, started_ns: int) -> Execution:
        plan = order.plan
        _check_args(order)
        admitted = admit(order.module, name=order.module_name, plan=plan, invoke=order.invoke)
        config = EngineConfig(
            engine=plan.runtime.engine,
            has_fuel=plan.limits.fuel != UNLIMITED,
            stack_bytes=plan.limits.stack_bytes if plan.limits.stack_bytes != UNLIMITED else 1 << 40,
        )
        with contextlib.ExitStack() as stack:
            modules = self._monitor(config)
            guest = stack.enter_context(self._prepare(order, admitted, config))
            mounts = open_mounts(plan, self._scratch_for(order, stack))
            if order.on_progress:
                order.on_progress("run")
            job = _job(order, admitted, config, mounts)
            return self._watch(stack, order, job, (modules, guest), started_ns)

    def _prepare(self, order: Order, admitted: Admitted, config: EngineConfig) -> Artifact:
        if order.on_progress:
            order.on_progress("compile")
        return prepare(
            order.module,
            digest=admitted.digest,
            config=config,
            engine_key=engine_key(config),
            limits=CompileLimits(wall_ms=order.plan.limits.compile_ms, cancelled=order.cancelled),
            cache=self._cache if order.plan.runtime.cache else None,
        ).artifact

    def _monitor(self, config: EngineConfig) -> MonitorModules:
        key = engine_key(config)
        with self._lock:
            if key not in self._modules:
                self._modules[key] = monitor_modules.load(config, self._cache)
            return self._modules[key]

    def _scratch_for(self, order: Order, stack: contextlib.ExitStack) -> Path | None:
        if not any(mount.scratch for mount in order.plan.mounts):
            return None
        self._scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = Path(tempfile.mkdtemp(prefix=f"{order.exec_id}-", dir=self._scratch))
        # SECURITY: what the guest made is removed without following its links
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        return folder

    def _watch(
        self,
        stack: contextlib.ExitStack,
        order: Order,
        job: tuple[Job, bytes],
        artifacts: tuple[MonitorModules, Artifact],
        started_ns: int,
    ) -> Execution:
        plan, writer = order.plan, self._writer
        modules, guest = artifacts
        ring = Ring(order.exec_id)
        stack.callback(ring.close)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.callback(ours.close)
        pipes = {name: os.pipe() for name in ("stdout", "stderr")}
        for read, _ in pipes.values():
            stack.callback(os.close, read)
        with contextlib.ExitStack() as lent:
            lent.callback(theirs.close)
            for _, write in pipes.values():
                lent.callback(os.close, write)
            tables_fd = make_shared("wasmgate-tables", len(job[1]))
            lent.callback(os.close, tables_fd)
            os.pwrite(tables_fd, job[1], 0)
            cell = self._cells.start(
                job[0],
                {
                    "control": theirs.fileno(),
                    "ring": ring.fd,
                    "tables": tables_fd,
                    "gate": modules.gate.fd,
                    "probe": modules.probe.fd,
                    "monitor": modules.monitor.fd,
                    "guest": guest.fd,
                    "stdin": _stdin(order, lent),
                    "stdout": pipes["stdout"][1],
                    "stderr": pipes["stderr"][1],
                },
            )
        stack.callback(cell.close)
        out = _Capture(plan.stdio.stdout, order.on_stdout)
        err = _Capture(plan.stdio.stderr, order.on_stderr)
        watch = Watch(
            cell=cell,
            control=ours,
            ring=ring,
            stdout_fd=pipes["stdout"][0],
            stderr_fd=pipes["stderr"][0],
            wall_ms=plan.limits.wall_ms,
            cancelled=order.cancelled,
            on_stdout=out,
            on_stderr=err,
        )
        clock = time.monotonic()
        ended = Supervision(watch, writer).follow()
        wall_ms = int((time.monotonic() - clock) * 1_000)
        counters = ring.finish(writer)
        refused = refused_calls(_start(order, started_ns), ring.kept.frames)
        trail = _Trail(ring, counters, refused, ended, wall_ms)
        receipt = _receipt(order, started_ns, judge(ended.signs), trail)
        writer.end(order.exec_id, receipt)
        return Execution(receipt, bytes(out.kept), bytes(err.kept), refused)


@dataclass(frozen=True, slots=True)
class _Trail:
    """What a run left behind, for its receipt."""

    ring: Ring
    counters: npt.NDArray[np.uint64]
    refused: tuple[RefusedCall, ...]
    ended: Ended
    wall_ms: int


def _check_args(order: Order) -> None:
    if order.extra_args and not order.plan.is_extra_args_allowed:
        raise MountRefused("the policy takes no arguments from the caller (`extra_args: false`)")
    for arg in order.extra_args:
        # SECURITY: the engine cuts an argument at NUL without a word
        if "\0" in arg:
            raise MountRefused("an argument holds a NUL character")


def _start(order: Order, started_ns: int) -> ExecutionStart:
    plan = order.plan
    return ExecutionStart(
        exec_id=order.exec_id,
        started_at_ns=started_ns,
        module_digest=digest_of(order.module),
        module_name=order.module_name,
        policy_name=plan.name,
        policy_digest=plan.policy_digest,
        plan_digest=plan.plan_digest,
        mode=plan.mode.value,
        layout_version=layout.VERSION,
        record_bytes=layout.RECORD_BYTES,
        rules=tuple(rule.id for rule in plan.rules),
        mounts=tuple(MountPoint(guest=mount.guest, base=mount.base) for mount in plan.mounts),
        retain_days=plan.audit.retain_days,
    )


def _job(
    order: Order, admitted: Admitted, config: EngineConfig, mounts: tuple[tuple[str, str, bool], ...]
) -> tuple[Job, bytes]:
    plan = order.plan
    content = tables.encode(plan).content
    job = Job(
        config=config,
        limits=StoreLimits(
            memory_bytes=plan.limits.memory_bytes,
            table_elements=plan.limits.table_elements,
            instances=plan.limits.instances,
            tables=plan.limits.tables,
            memories=plan.limits.memories,
        ),
        world=World(
            argv=(order.module_name, *plan.args, *order.extra_args),
            environment=plan.environment,
            preopens=mounts,
            has_stdin=plan.stdio.stdin is not StdinMode.NONE,
        ),
        entries=("_initialize", admitted.entry) if admitted.has_initializer else (admitted.entry,),
        fuel=max(plan.limits.fuel, 0),
        cpu_ms=plan.limits.cpu_ms,
        full_ms=plan.audit.on_full_ms,
        ring_bytes=layout.RING_BYTES,
        tables_bytes=len(content),
    )
    return job, content


def _stdin(order: Order, lent: contextlib.ExitStack) -> int:
    if order.plan.stdio.stdin is not StdinMode.NONE and order.stdin_fd is not None:
        return order.stdin_fd
    fd = os.open(os.devnull, os.O_RDONLY)
    lent.callback(os.close, fd)
    return fd


def _receipt(order: Order, started_ns: int, outcome: Outcome, trail: _Trail | None = None) -> Receipt:
    plan = order.plan
    counts = _counts(trail.counters) if trail else ()
    return Receipt(
        execution_id=order.exec_id,
        module_digest=digest_of(order.module),
        module_name=order.module_name,
        policy_name=plan.name,
        policy_digest=plan.policy_digest,
        plan_digest=plan.plan_digest,
        started_at_ns=started_ns,
        ended_at_ns=max(time.time_ns(), started_ns),
        outcome=outcome,
        calls=counts,
        records=sum(count.count for count in counts),
        refusals=tuple(one.refusal() for one in trail.refused) if trail else (),
        resources=_resources(trail) if trail else Resources(),
        walls=WALLS if trail else (),
    )


def _counts(counters: npt.NDArray[np.uint64]) -> tuple[CallCount, ...]:
    return tuple(
        CallCount(call=call.name, decision=decision, count=int(counters[code, place]))
        for code, call in enumerate(CALLS)
        for place, decision in enumerate(_DECISIONS)
        if counters[code, place]
    )


def _resources(trail: _Trail) -> Resources:
    end = trail.ended.signs.end
    return Resources(
        wall_ms=trail.wall_ms,
        cpu_ms=trail.ended.cpu_ms,
        peak_memory_bytes=end.memory_bytes if end else trail.ended.rss_bytes,
        bytes_read=trail.ring.long(layout.BYTES_READ),
        bytes_written=trail.ring.long(layout.BYTES_WRITTEN),
        host_calls=int(trail.counters.sum()),
    )
