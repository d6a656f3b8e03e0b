"""Runs one module under one plan: admit, compile, run in a cell, write the receipt.

The steps themselves live in `admission.py`, `compiler.py` and `stage.py`; who asks for a run and where its
output goes is the matter of `api/`. INVARIANT: an execution that was begun in the audit log is ended there,
whatever happens in between, and a module that was refused leaves a receipt too.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from audit.errors import AuditError, LogFullError
from audit.receipt import Outcome, OutcomeKind
from policy.plan import Isolation
from sandbox import monitor_modules
from sandbox.admission import Admitted, admit
from sandbox.cell_handle import CellError
from sandbox.cells import Cells
from sandbox.compile_turns import DEFAULT_MOST, Cancelled, CompileTurns
from sandbox.compiler import CompileLimits, prepare
from sandbox.determinism import run_digest
from sandbox.engine_config import EngineConfig, engine_key
from sandbox.order import Order, OrderRefused, Unstarted, check_order, job_of, start_of
from sandbox.outcome import CANCELLED
from sandbox.patience import Patience
from sandbox.preopens import MountRefused, open_mounts
from sandbox.refusal import AdmissionRefused
from sandbox.refused_calls import RefusedCall, refused_calls
from sandbox.scratch import Scratch
from sandbox.spares import Spares
from sandbox.stage import Code, Played, Stage
from sandbox.summary import Begun, Trail, receipt_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from audit.identity import ExecutionId
    from audit.receipt import Receipt
    from audit.writer import AuditWriter
    from sandbox.cache import ArtifactCache
    from sandbox.compiler import Prepared
    from sandbox.in_process import InProcess
    from sandbox.monitor_modules import MonitorModules
    from sandbox.network.brief import Supplier

__all__ = ["Execution", "Order", "Runner"]


@dataclass(frozen=True, slots=True)
class Execution:
    """A run that is over."""

    receipt: Receipt
    stdout: bytes = b""  # what was captured
    stderr: bytes = b""
    refused: tuple[RefusedCall, ...] = ()  # the first ones, with more than the receipt says of each
    findings: tuple[str, ...] = ()  # what was wrong and did not keep the run from going on, for operators
    is_cached: bool = False  # the module had been compiled before


class Runner:
    """Runs modules; thread-safe, one call at a time per thread."""

    def __init__(
        self,
        *,
        writer: AuditWriter,
        cache: ArtifactCache | None,
        scratch: Path,
        cells: Cells | None = None,
        spare_cells: int = 0,
        max_compilers: int = DEFAULT_MOST,
        protected: tuple[Path, ...] = (),
        in_process: InProcess | None = None,
        supplier: Supplier | None = None,
    ) -> None:
        """Records go to `writer`, `tmp://` directories are made below `scratch`; `cells` becomes ours.

        At most `spare_cells` are kept ready for modules that ran lately, and at most `max_compilers` compile
        at the same time.

        `supplier` gives what brokers of runs that make requests need: no cell is given any of it.

        Guests run in this process itself only with `in_process`, and where their policy says so.
        No guest is given a directory to write to that holds one of `protected`, or lies in one.
        """
        self._protected = protected
        self._writer = writer
        self._cache = cache
        self._scratch = Scratch(scratch)
        self._cells = cells or Cells()
        self._spares = Spares(self._cells, spare_cells)
        self._stage = Stage(self._spares, writer, in_process=in_process, supplier=supplier)
        self._compiling = CompileTurns(max_compilers)
        self._lock = threading.Lock()
        self._modules: dict[tuple[str, bool], MonitorModules] = {}
        self._running: dict[ExecutionId, Order] = {}
        self._waited_s = 0.0
        self._scratch.sweep()

    @property
    def running(self) -> tuple[ExecutionId, ...]:
        """The executions that go on now."""
        return tuple(self._running)

    @property
    def waited_s(self) -> float:
        """How long runs that are over waited for a log that took nothing."""
        return self._waited_s

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
        self._spares.close()
        self._cells.close()
        with self._lock:
            for modules in self._modules.values():
                modules.close()
            self._modules.clear()

    def run(self, order: Order, *, wait: Callable[[], None] | None = None) -> Execution:
        """Run to the end, whatever that is: it is in the receipt.

        `wait` is called when the run is on record, returns when its turn has come, and may raise Unstarted.
        Raises AuditError when the beginning or the end cannot be recorded (the guest is over then), and what
        the order's own functions raise, or an interrupt, once the end is on record.
        """
        begun = Begun()
        self._writer.begin(start_of(order, begun.started_ns))
        self._running[order.exec_id] = order
        try:
            if wait is not None:
                wait()
                begun = begun.over()
            return self._run(order, begun)
        except Unstarted as err:
            begun, outcome = begun.over(), err.outcome
        except AdmissionRefused as err:
            outcome = Outcome(kind=OutcomeKind.REFUSED, limit=err.limit, message=str(err))
        except (MountRefused, OrderRefused) as err:
            outcome = Outcome(kind=OutcomeKind.REFUSED, message=str(err))
        except (CellError, OSError) as err:
            outcome = Outcome(kind=OutcomeKind.REFUSED, message=f"could not start: {err}")
        except Cancelled:
            outcome = Outcome(kind=OutcomeKind.KILLED, message=CANCELLED)
        except _Ended as ended:
            raise ended.failure from None
        except AuditError:
            raise
        except BaseException as err:
            outcome = Outcome(
                kind=OutcomeKind.KILLED, message=f"ended before its start: {type(err).__name__}"
            )
            with contextlib.suppress(AuditError):
                self._record_end(order, receipt_of(order, begun, outcome))
            raise
        finally:
            self._running.pop(order.exec_id, None)
            self._spares.replenish()
        receipt = receipt_of(order, begun, outcome)
        self._record_end(order, receipt)
        return Execution(receipt)

    def _record_end(self, order: Order, receipt: Receipt) -> None:
        """Put the end on record, as soon as the disk takes it when it does not now; raises AuditError."""
        patience = Patience(order.plan.audit.on_full_ms)
        try:
            patience.insist(lambda: self._writer.end(order.exec_id, receipt))
        except LogFullError:
            self._writer.give_up(order.exec_id, receipt)
            raise
        finally:
            self._count_wait(patience.waited_s)

    def _count_wait(self, seconds: float) -> None:
        with self._lock:
            self._waited_s += seconds

    def _run(self, order: Order, begun: Begun) -> Execution:
        plan = order.plan
        check_order(order, is_in_process=self._stage.in_process is not None)
        module = order.read_module()
        admitted = admit(
            module,
            name=order.module_name,
            plan=plan,
            invoke=order.invoke,
            tenant=order.tenant,
            digest=order.module_digest,
        )
        if plan.runtime.isolation is not Isolation.IN_PROCESS:
            self._cells.warm()
        with contextlib.ExitStack() as stack:
            config = replace(EngineConfig.of(plan), for_components=admitted.parts is not None)
            modules = self._monitor(config)
            prepared = self._prepare(order, admitted, module, config)
            guest = stack.enter_context(prepared.artifact)
            scratch = None
            if any(mount.scratch or mount.is_optional for mount in plan.mounts):
                scratch = stack.enter_context(self._scratch.directory(order.exec_id))
            job = job_of(order, admitted, open_mounts(plan, scratch, protected=self._protected))
            order.tell("run")
            if order.cancelled.is_set():
                raise Cancelled
            played = self._stage.play(order, job, Code(modules, guest, admitted.digest))
            self._count_wait(played.waited_s)
        return self._end(order, begun, played, prepared)

    def _prepare(self, order: Order, admitted: Admitted, module: bytes, config: EngineConfig) -> Prepared:
        order.tell("compile")
        return prepare(
            module,
            digest=admitted.digest,
            config=config,
            engine_key=engine_key(config),
            limits=CompileLimits(wall_ms=order.plan.limits.compile_ms, cancelled=order.cancelled),
            cache=self._cache if order.plan.runtime.cache else None,
            turns=self._compiling,
        )

    def _monitor(self, config: EngineConfig) -> MonitorModules:
        key = engine_key(config), config.for_components
        with self._lock:
            if key not in self._modules:
                self._modules[key] = monitor_modules.load(config, self._cache)
            return self._modules[key]

    def _end(self, order: Order, begun: Begun, played: Played, prepared: Prepared) -> Execution:
        refused = refused_calls(start_of(order, begun.started_ns), played.kept) if played.kept else ()
        repeated = "" if played.told is None else run_digest(order, played.told)
        trail = Trail(played.totals, refused, played.resources, played.walls, repeated, played.account)
        receipt = receipt_of(order, begun, played.outcome, trail)
        try:
            self._record_end(order, receipt)
            played.pass_on(order.cancelled)
        except BaseException as err:
            raise _Ended(err) from err
        return Execution(
            receipt,
            bytes(played.stdout.kept),
            bytes(played.stderr.kept),
            refused,
            findings=(prepared.finding,) if prepared.finding else (),
            is_cached=prepared.is_cached,
        )


class _Ended(Exception):  # noqa: N818  # carries what is to be raised past what `run` makes of errors
    """The run is over and on record, as far as it can be, and something of ours failed."""

    def __init__(self, failure: BaseException) -> None:
        super().__init__(failure)
        self.failure = failure
