"""The composition root: opens the state, and puts policy, sandbox and audit together for every surface.

Surfaces live beside this file (`cli.py`, `http/`); what they show is theirs. Nothing here knows of HTTP or of
a terminal; it is longer because everything meets here. INVARIANT: what is found half done in the audit log is
finished before the first new run.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Self

from api.audit_desk import AuditDesk
from api.control import control_event, local_actor
from api.followers import followed
from api.in_force import PoliciesInForce
from api.library import Folder
from api.log_watch import watch_log
from api.modules import ModuleStore
from api.outputs import OutputStore
from api.policies import PolicyStore
from api.request_supplies import RequestSupplies
from api.retaining import retaining_of
from api.run_bounds import TurnedAwayError, WaitedOutError, bounds_of
from api.run_queue import RunQueue
from api.sealing import Sealing, is_much_left, open_reader, seal_left
from api.secret_file import secret_of
from api.settings import Settings, is_export_wanted
from api.signing import open_signer, sign_once
from api.telemetry import open_telemetry
from api.version import program_version
from audit.errors import AuditError
from audit.identity import ExecutionId
from audit.receipt import Outcome, OutcomeKind
from audit.store import make_directory
from audit.writer import ROTATE_BYTES, AuditWriter
from sandbox.cache import ArtifactCache
from sandbox.cells import Cells
from sandbox.confinement.cgroup import Cgroup
from sandbox.in_process import InProcess
from sandbox.order import Unstarted
from sandbox.outcome import CANCELLED
from sandbox.runner import Order, Runner

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from api.run_queue import Place
    from api.sealer_process import SealedFile
    from api.signing import SignerProcess
    from audit.events import ControlEvent
    from audit.filters import RecordFilter
    from audit.query import AuditReader, Follower, Page, Stats
    from audit.query import Execution as KnownExecution
    from audit.receipt import Receipt
    from sandbox.runner import Execution

SEAL_EVERY_S = 5.0  # design of the audit log: seal at least this often when idle
_BRIEF_EVERY_S = 1.0


def _ignore(_err: AuditError) -> None:
    """Leave what could not be sealed to the next start."""


class Service:
    """Everything that a surface needs, opened once for a process; thread-safe.

    `is_brief` is for a program that runs one module and ends: it leaves its short log unsealed, which queries
    read as well, starts faster, and runs a guest in itself where the policy asks for that. `on_seal_failure`
    hears of a log that can't be sealed at the moment, `on_problem` why it can't be signed.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        is_brief: bool = False,
        cells: Cells | None = None,
        on_seal_failure: Callable[[AuditError], None] = _ignore,
        on_problem: Callable[[str], None] = lambda _problem: None,
    ) -> None:
        """Open the state; raises AuditError, CacheError or OSError when it is not ours to use.

        `cells` may have been warmed before; it becomes the service's own.
        """
        self.settings = settings
        self._is_brief = is_brief
        self._is_open = True
        self._has_masked = False  # a run went on whose policy masks values
        self._signer: SignerProcess | None = None
        self._on_problem = on_problem
        self._stack = contextlib.ExitStack()
        self._lock = threading.Lock()
        self._reader: AuditReader | None = None
        self._follower: Follower | None = None
        self.queue = RunQueue(bounds_of(settings))
        try:
            self._open(on_seal_failure, cells)
            self._begin()
        except BaseException:
            self._stack.close()
            raise

    def _open(self, on_seal_failure: Callable[[AuditError], None], cells: Cells | None) -> None:
        settings, stack = self.settings, self._stack
        for folder in (settings.home, settings.modules_dir, settings.documents_dir, settings.outputs_dir):
            make_directory(folder)
        self.modules = ModuleStore(settings.modules_dir)
        self.policies = PolicyStore(
            named=settings.policies_dir,
            uploaded=settings.documents_dir,
            is_optional=Folder.of_settings(settings).is_optional,
        )
        self.outputs = OutputStore(settings.outputs_dir)
        self._telemetry = open_telemetry(is_export_wanted=is_export_wanted())
        stack.callback(self._telemetry.close)
        self._writer = AuditWriter(settings.audit_dir)
        stack.callback(self._writer.close)
        if not self._is_brief:
            seal_left(settings.audit_dir, keys_dir=settings.audit_keys_dir)
        self._sealing = Sealing(
            settings.audit_dir,
            self._writer,
            every_s=_BRIEF_EVERY_S if self._is_brief else SEAL_EVERY_S,
            min_bytes=ROTATE_BYTES if self._is_brief else 1,
            on_failure=on_seal_failure,
            keys_dir=settings.audit_keys_dir,
            on_sealed=self._poke_signer,
        )
        stack.callback(self._sealing.close)
        cache = stack.enter_context(ArtifactCache(settings.cache_dir, max_bytes=settings.cache_max_bytes))
        cells = cells or Cells()
        if settings.cgroup_folders:
            cgroup = Cgroup.open(settings.cgroup_folders)
            stack.callback(cgroup.close)
            cells.bound_by(cgroup)
        self._runner = Runner(
            writer=self._writer,
            cache=cache,
            scratch=settings.scratch_dir,
            cells=cells,
            spare_cells=0 if self._is_brief else settings.spare_cells,
            max_compilers=settings.max_compilers,
            protected=settings.own_dirs,
            in_process=InProcess() if self._is_brief else None,
            supplier=RequestSupplies(settings.http_secrets_dir, settings.http_ca_file).of,
        )
        stack.callback(self._runner.close)

    def _begin(self) -> None:
        """Open what only a service that goes on has, and put its beginning on record."""
        self.desk = AuditDesk(
            self.settings,
            reader=lambda: self.audit,
            problems=self._problems,
            waited_s=lambda: self._runner.waited_s,
        )
        self._in_force = PoliciesInForce(self.desk.policy_events, self.record_event)
        if self._is_brief:
            return
        self._signer = open_signer(self.settings, on_problem=self._on_problem)
        self._stack.callback(self.desk.close)
        self.record_event(control_event("audit-on", actor=local_actor(), version=program_version()))
        signer = self._signer
        self.retaining = retaining_of(self.settings, event=self.record_event, seal=self.seal, signer=signer)
        self._stack.callback(watch_log(self.settings, self.desk, self.retaining, tell=self._on_problem).close)
        self._stack.enter_context(followed(self.settings, on_problem=self._on_problem))

    def _poke_signer(self) -> None:
        if self._signer is not None:
            self._signer.poke()

    def _problems(self) -> tuple[str, ...]:
        said = None if self._signer is None else self._signer.status.problem
        return () if said is None else (said,)

    def __enter__(self) -> Self:
        """Give the service itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """End what runs, and give everything back; a second call does nothing."""
        self.cancel_all()
        if self._is_open and not self._is_brief:
            # a log that fails at the end has lost no record of a run: those were on it before
            with contextlib.suppress(AuditError):
                self.record_event(control_event("audit-off", actor=local_actor()))
        self._is_open = False
        self._stack.close()  # the exports that are being written come to their end, and read meanwhile
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        # what is to be masked does not stay as it was recorded for longer than the run
        if not self._is_brief or self._has_masked or is_much_left(self.settings.audit_dir):
            with contextlib.suppress(AuditError):
                seal_left(self.settings.audit_dir, keys_dir=self.settings.audit_keys_dir)
                if self._signer is None:
                    sign_once(self.settings)
        if self._signer is not None:  # last: it signs what was sealed last
            self._signer.close()
            self._signer = None

    # --- runs ---------------------------------------------------------------------------------

    def warm(self) -> None:
        """Start in the background what the first run will need."""
        self._runner.warm()

    def run(self, order: Order, place: Place | None = None) -> Execution:
        """Run to the end, in this thread, when its turn has come.

        `place` is one in `queue`, entered for this run; it is left here. Without one it is taken: raises
        BusyError when there is none. Raises AuditError when not even the beginning can be recorded;
        everything else that can happen is an outcome in the receipt, a turn that did not come included.
        """
        with place or self.queue.enter(order.tenant) as taken:
            self._has_masked |= bool(order.plan.audit.mask)
            self._in_force.note(order)
            execution = self._runner.run(order, wait=lambda: self._wait(order, taken))
        with contextlib.suppress(OSError):  # a full disk: the run is over, and on record
            self.outputs.put(order.exec_id, "stdout", execution.stdout)
            self.outputs.put(order.exec_id, "stderr", execution.stderr)
        self._telemetry.executed(execution.receipt)
        return execution

    def _wait(self, order: Order, place: Place) -> None:
        if not place.has_turn:
            order.tell("wait")
        try:
            place.wait(self.settings.max_wait_s, order.cancelled)
        except WaitedOutError as err:
            outcome = Outcome(kind=OutcomeKind.REFUSED, limit="wait", message=str(err))
            raise Unstarted(outcome) from err
        except TurnedAwayError as err:
            message = CANCELLED if order.cancelled.is_set() else "the service ended before its turn came"
            raise Unstarted(Outcome(kind=OutcomeKind.KILLED, message=message)) from err

    def cancel(self, exec_id: str) -> bool:
        """End a run, or take it out of the queue: its outcome is `killed`.

        Gives False when no such run goes on here.
        """
        return self._runner.cancel(ExecutionId(exec_id))

    def cancel_all(self) -> None:
        """End every run of this process, those that wait as well, and begin no other."""
        self.queue.close()
        for exec_id in self._runner.running:
            self.cancel(exec_id)

    @property
    def running(self) -> tuple[str, ...]:
        """The executions that go on in this process."""
        return self._runner.running

    # --- the audit log ------------------------------------------------------------------------

    def seal(self) -> tuple[SealedFile, ...]:
        """Seal now what is recorded so far; raises AuditError. Records can be queried before that."""
        return self._sealing.seal()

    def record_event(self, event: ControlEvent) -> None:
        """Put a control-plane event on record; it is durable when this returns. Raises AuditError."""
        self._writer.record_event(event)

    @property
    def audit(self) -> AuditReader:
        """Queries on the log, the newest records included."""
        with self._lock:
            if self._reader is None:
                settings = self.settings
                self._reader = open_reader(
                    settings.audit_dir,
                    keys_dir=settings.audit_keys_dir,
                    cursor_key=secret_of(settings.cursor_key_file),
                    memory_mb=settings.audit_memory_bytes >> 20,
                    totals_seconds=settings.audit_query_s,
                    backend=settings.audit_backend,
                )
            return self._reader

    @property
    def follower(self) -> Follower:
        """Live tails of the log; one for all who follow."""
        reader = self.audit
        with self._lock:
            if self._follower is None:
                self._follower = reader.follow()
            return self._follower

    def records(self, wanted: RecordFilter) -> Page:
        """Give one page of records; raises FilterError and QueryError."""
        return self.audit.records(wanted)

    def stats(self, wanted: RecordFilter) -> Stats:
        """Give totals over records; raises FilterError and QueryError."""
        return self.audit.stats(wanted)

    def execution(self, exec_id: str) -> KnownExecution | None:
        """Give an execution, running or over; None if the log does not know it."""
        return self.audit.execution(exec_id)

    def executions(
        self,
        *,
        limit: int,
        module: str | None = None,
        before: tuple[int, str] | None = None,
        tenants: tuple[str, ...] | None = None,
    ) -> tuple[KnownExecution, ...]:
        """Give the newest executions; `module` is a digest or a name, `before` a start time and an id.

        `tenants` are those whose executions may be seen; None is all of them.
        """
        return self.audit.executions(limit=limit, module=module, before=before, tenants=tenants)

    def receipt(self, exec_id: str) -> Receipt | None:
        """Give the receipt of an execution that is over."""
        found = self.execution(exec_id)
        return found.receipt if found else None
