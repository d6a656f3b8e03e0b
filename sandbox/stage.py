"""One run, from its job to its last record: the ring, the pipes and the cell, set up, watched and taken down.

What comes before (admission, compiling) and after (the receipt) is `runner.py`; the loop is `executor.py`.
INVARIANT: once a cell was asked for, its ring is emptied into the audit log, whatever happens in between.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from audit.errors import AuditError
from audit.events import MAX_TEXT, Gap
from audit.inert import inert
from audit.receipt import Outcome, OutcomeKind
from policy.plan import Isolation, StdinMode, StdoutMode
from sandbox.cell_handle import CellError, CellGoneError
from sandbox.determinism import Told, settled, story_of
from sandbox.device_free import device_free
from sandbox.executor import Ended, Supervision, Watch
from sandbox.monitor import tables
from sandbox.network.brief import Supplier, Supplies
from sandbox.network.brokers import BrokerHandle
from sandbox.order import OrderRefused
from sandbox.outcome import judge
from sandbox.outlet import Outlet
from sandbox.patience import Patience
from sandbox.ring import Ring, Totals
from sandbox.shared_memory import make_readable
from sandbox.spares import Kind
from sandbox.standard_input import for_reading
from sandbox.summary import resources_of

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from audit.receipt import Resources
    from audit.wal import RecordFrame
    from audit.writer import AuditWriter
    from policy.plan import Plan
    from sandbox.artifact import Artifact
    from sandbox.determinism import Story
    from sandbox.holder import Holder
    from sandbox.in_process import InProcess
    from sandbox.job import Job
    from sandbox.monitor_modules import MonitorModules
    from sandbox.network.account import Account
    from sandbox.order import Order
    from sandbox.spares import Spares

    _Start = Callable[[Kind, Sequence[int]], Holder]

_MOST_ENCODED, _MOST_KEPT_BYTES = 64, 1 << 20
_encoded: dict[tuple[str, str, frozenset[int]], tuple[Plan, bytes]] = {}
"""The tables of plans that ran lately."""
_LOST = "the audit log could not be written"


@dataclass(frozen=True, slots=True)
class Code:
    """The artifacts that a cell loads."""

    monitor: MonitorModules
    guest: Artifact
    digest: str  # of the guest's module

    @property
    def fds(self) -> tuple[int, ...]:
        """Their descriptors, in the order of `job.CODE`."""
        return self.monitor.gate.fd, self.monitor.probe.fd, self.monitor.monitor.fd, self.guest.fd


@dataclass(frozen=True, slots=True)
class Played:
    """What became of a run."""

    outcome: Outcome
    totals: Totals
    kept: tuple[RecordFrame, ...]  # records that the receipt names
    resources: Resources
    stdout: Outlet
    stderr: Outlet
    failure: BaseException | None  # ours, to be raised once the end is on record
    waited_s: float  # for a log that took nothing
    walls: tuple[str, ...]  # that stood around the guest
    account: Account | None = None  # of the broker, where there was one
    told: Told | None = None  # of a deterministic run that came to its end

    def pass_on(self, abandoned: threading.Event) -> None:
        """Wait until the last output is passed on; raises what failed, but not that a reader went away."""
        for outlet in (self.stdout, self.stderr):
            outlet.finish(abandoned)
        for failure in (self.failure, self.stdout.error, self.stderr.error):
            if failure is not None and (failure is self.failure or not isinstance(failure, OSError)):
                raise failure


@dataclass(slots=True)
class Stage:
    """Where cells are run."""

    spares: Spares
    writer: AuditWriter
    in_process: InProcess | None = None  # where this process may run guests itself
    supplier: Supplier | None = None  # gives what brokers need beside plans

    def play(self, order: Order, job: Job, code: Code) -> Played:
        """Run a job to its end; raises CellError or OSError when it could not be started.

        A cell that is gone before its guest began, and that nobody ended, is replaced once.
        """
        is_within = order.plan.runtime.isolation is Isolation.IN_PROCESS
        played = self._play(order, job, code, self._within if is_within else self.spares.take)
        if played is not None:
            return played
        played = self._play(order, job, code, self._within if is_within else self.spares.fork)
        if played is None:
            raise CellError("two cells ended before they could begin")
        return played

    def _supplies(self, plan: Plan) -> Supplies:
        """Give what the operator has for a plan; raises OSError, and OrderRefused where it is not all."""
        found = Supplies() if self.supplier is None else self.supplier(plan)
        missing = {each.credential for each in plan.network.requests} - {"", *found.secrets}
        if missing:
            names = ", ".join(sorted(map(inert, missing)))
            raise OrderRefused(f"the policy puts {names} into requests, and the operator has no such secret")
        return found

    def _within(self, _kind: Kind, code: Sequence[int]) -> Holder:
        if self.in_process is None:
            raise CellError("no guest runs in this process")
        return self.in_process.start(code)

    def _play(self, order: Order, job: Job, code: Code, start: _Start) -> Played | None:
        with contextlib.ExitStack() as stack:
            ring = Ring(order.exec_id, story := story_of(order))
            stack.callback(ring.close)
            try:
                watch, broker = self._set_up(order, job, code, (stack, ring, start))
            except CellGoneError:
                return None
            begun = time.monotonic()
            ended = Supervision(watch, self.writer).follow()
            wall_ms = int((time.monotonic() - begun) * 1_000)
            if ended.is_early:
                return None
            account = None if broker is None else broker.end()
            played = replace(self._finish(watch, ended, wall_ms=wall_ms), account=account)
            return played if story is None else replace(played, told=told_of(played, story, ended))

    def _set_up(
        self, order: Order, job: Job, code: Code, held: tuple[contextlib.ExitStack, Ring, _Start]
    ) -> tuple[Watch, BrokerHandle | None]:
        stack, ring, start = held
        with contextlib.ExitStack() as lent:
            readers, writers = _pipes(stack, lent)
            fds = {
                "ring": ring.fd,
                "tables": _lend(lent, make_readable("wasmgate-tables", _tables(order))),
                "stdin": _stdin(order, lent),
                **writers,
            }
            broker = None
            if job.has_network:
                broker = stack.enter_context(BrokerHandle(order.plan, self._supplies(order.plan)))
                fds |= {"channel": broker.channel.fileno(), "exchange": broker.exchange}
            cell = start(Kind(job.config, code.digest), code.fds)
            stack.callback(cell.close)
            cell.give(job, fds, code.guest.fd)
            if broker is not None:
                broker.channel.close()  # the cell's end: with the cell, the broker ends
        return Watch(
            cell=cell,
            control=cell.control,
            ring=ring,
            streams=_streams(order, readers),
            wall_ms=order.plan.limits.wall_ms,
            host_calls=order.plan.limits.host_calls,
            cpu_ms=job.cpu_ms,
            cancelled=order.cancelled,
            patience=Patience(order.plan.audit.on_full_ms),
            can_change=job.bounds is None or job.bounds.can_change,
        ), broker

    def _finish(self, watch: Watch, ended: Ended, *, wall_ms: int) -> Played:
        """Take the last records."""
        ring, failure = watch.ring, ended.failure
        try:
            totals = watch.patience.insist(lambda: ring.finish(self.writer))
            outcome = judge(ended.signs, is_sound=totals.is_sound)
        except AuditError as err:
            totals, failure = ring.totals(), failure or err
            message = f"{_LOST}: {ring.left} records are lost"
            outcome = Outcome(kind=OutcomeKind.LIMIT, limit="audit", message=message)
            self._note_gap(ring, err)
        return Played(
            outcome=outcome,
            totals=totals,
            kept=tuple(ring.kept.frames) if ring.kept.refusals else (),
            resources=resources_of(ring, totals, ended, wall_ms=wall_ms),
            stdout=watch.streams[0][2],
            stderr=watch.streams[1][2],
            failure=failure,
            waited_s=watch.patience.waited_s,
            walls=ended.walls,
        )

    def _note_gap(self, ring: Ring, err: AuditError) -> None:
        """Have the log say what it did not get, as soon as it takes that."""
        if (missing := ring.unrecorded) is None:
            return
        first, last = missing
        reason = str(err)[:MAX_TEXT]
        self.writer.note_gap(
            Gap(exec_id=ring.exec_id, first_seq=first, last_seq=last, reason=reason, at_ns=time.time_ns())
        )


def told_of(played: Played, story: Story, ended: Ended) -> Told | None:
    """What is no measure of a run that came to its end; None where its cell said nothing of it."""
    if ended.signs.end is None or played.stdout.sha256 is None or played.stderr.sha256 is None:
        return None
    return Told(
        outcome=played.outcome,
        story=story,
        stdout=played.stdout.sha256.hexdigest(),
        stderr=played.stderr.sha256.hexdigest(),
        memory_bytes=ended.signs.end.memory_bytes,
    )


def _lend(lent: contextlib.ExitStack, fd: int) -> int:
    lent.callback(os.close, fd)
    return fd


def _pipes(stack: contextlib.ExitStack, lent: contextlib.ExitStack) -> tuple[list[int], dict[str, int]]:
    """Pipes for the guest's output: the ends that are read here, and those that are written there."""
    readers, writers = [], {}
    for name in ("stdout", "stderr"):
        reader, writers[name] = os.pipe()
        stack.callback(os.close, reader)
        lent.callback(os.close, writers[name])
        os.set_blocking(reader, False)
        readers.append(reader)
    return readers, writers


def _tables(order: Order) -> bytes:
    plan = order.plan
    # a deterministic run has a seed of its own for each module
    name = (plan.plan_digest, order.module_digest if plan.runtime.deterministic else "", device_free(plan))
    kept, content = _encoded.get(name, (None, b""))
    # SECURITY: what is enforced is this plan, whatever digest it carries
    if kept is not plan and kept != plan:
        content = tables.encode(settled(plan, order.module_digest), plain=name[2]).content
        if len(_encoded) >= _MOST_ENCODED:
            _encoded.clear()
        if len(content) <= _MOST_KEPT_BYTES:
            _encoded[name] = (plan, content)
    return content


def _stdin(order: Order, lent: contextlib.ExitStack) -> int:
    fd = order.stdin_fd
    if order.plan.stdio.stdin is not StdinMode.NONE and fd is not None:
        return for_reading(fd, lent)
    return _lend(lent, os.open(os.devnull, os.O_RDONLY))


def _streams(order: Order, readers: list[int]) -> tuple[tuple[str, int, Outlet], ...]:
    stdio, limits = order.plan.stdio, order.plan.limits
    is_hashed = order.plan.runtime.deterministic
    return tuple(
        (
            name,
            reader,
            Outlet(onward, is_kept=mode is StdoutMode.CAPTURE, max_bytes=most, is_hashed=is_hashed),
        )
        for name, reader, onward, mode, most in (
            ("stdout", readers[0], order.on_stdout, stdio.stdout, limits.stdout_bytes),
            ("stderr", readers[1], order.on_stderr, stdio.stderr, limits.stderr_bytes),
        )
    )
