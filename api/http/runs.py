"""The runs that were started over HTTP: each in its own thread, in which it waits for its turn as well.

What a run is, and that it is recorded, is the matter of `api/service.py`, whose turn it is that of
`api/run_queue.py`. Who asked may wait or come back later. INVARIANT: a run that was started is ended, here or
by the end of the service, and its outcome is on record.
"""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from api.http.problems import Problem
from api.logs import logger
from api.run_bounds import BusyError
from sandbox.shared_memory import make_readable

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.run_queue import Place
    from api.service import Service
    from sandbox.runner import Execution, Order

State = Literal["waiting", "running"]
_LOG = logger("http")
_LOOK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Run:
    """One run that was started."""

    order: Order
    place: Place
    begun: Future[None] = field(default_factory=Future)  # on record, or failed to get there
    ended: Future[Execution] = field(default_factory=Future)


class Runs:
    """Starts runs and knows those that go on; thread-safe."""

    def __init__(self, service: Service) -> None:
        """Run with `service`, which stays the caller's."""
        self._service = service
        bounds = service.queue.bounds
        self._threads = ThreadPoolExecutor(bounds.running + bounds.waiting, thread_name_prefix="wasmgate-run")
        self._lock = threading.Lock()
        self._going: dict[str, Run] = {}
        self._is_ending = False

    def start(self, order: Order, *, stdin: bytes | None) -> Run:
        """Start a run; raises Problem when there is no place for it, and nothing is recorded then."""
        with self._lock:
            run = Run(order, self._take_place(order.tenant))
            self._going[order.exec_id] = run
            try:
                self._threads.submit(self._work, run, stdin)
            except BaseException:  # no thread can be had
                self._forget(run)
                run.place.leave()
                raise
        return run

    @property
    def is_ending(self) -> bool:
        """Whether the service ends, so that nothing more is begun."""
        return self._is_ending

    def state(self, exec_id: str) -> State | None:
        """Say whether a run waits or goes on here; one whose output is still being kept goes on."""
        run = self._going.get(exec_id)
        if run is None:
            return None
        return "running" if run.place.has_turn else "waiting"

    def cancel(self, exec_id: str) -> bool:
        """End a run as `killed`; says whether it was there to be ended."""
        run = self._going.get(exec_id)
        if run is not None:
            run.order.cancelled.set()
        return run is not None

    @property
    def count(self) -> int:
        """How many runs go on."""
        return len(self._going)

    async def end(
        self, *, grace_s: float, kill_s: float, is_hurried: Callable[[], bool] = lambda: False
    ) -> bool:
        """Start nothing more, let runs go on for `grace_s`, then end them; says whether all are over.

        Those that wait are turned away. They are ended early when `is_hurried` says so.
        """
        with self._lock:
            self._is_ending = True
            self._service.queue.close()
        if not await self._is_quiet_within(grace_s, is_hurried):
            for exec_id in tuple(self._going):
                self.cancel(exec_id)
        is_over = await self._is_quiet_within(kill_s, lambda: False)
        self._threads.shutdown(wait=is_over)
        return is_over

    async def _is_quiet_within(self, seconds: float, is_hurried: Callable[[], bool]) -> bool:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while self._going and loop.time() < until and not is_hurried():  # noqa: ASYNC110  # threads end them
            await asyncio.sleep(_LOOK_EVERY_S)
        return not self._going

    def _work(self, run: Run, stdin: bytes | None) -> None:
        fd: int | None = None
        try:
            if stdin is not None:
                fd = make_readable("wasmgate-stdin", stdin)
                os.lseek(fd, 0, os.SEEK_SET)
            order = replace(run.order, stdin_fd=fd, on_progress=lambda _step: _settle(run.begun))
            execution = self._service.run(order, run.place)
            for finding in execution.findings:
                _LOG.warning("finding", execution_id=order.exec_id, finding=finding)
        except BaseException as err:  # noqa: BLE001  # it is raised again where the answer is made
            self._forget(run)
            _fail(run.begun, err)
            _fail(run.ended, err)
        else:
            self._forget(run)
            _settle(run.begun)
            run.ended.set_result(execution)
        finally:
            run.place.leave()  # it is left by now, unless the run came to nothing before
            if fd is not None:
                os.close(fd)

    def _take_place(self, tenant: str) -> Place:
        try:
            return self._service.queue.enter(tenant)
        except BusyError as err:
            kind = "busy" if err.is_closed else "too-many-runs"
            raise Problem(kind, str(err), headers={"Retry-After": str(err.retry_s)}) from err

    def _forget(self, run: Run) -> None:
        self._going.pop(run.order.exec_id, None)


def _settle(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _fail(future: Future[None] | Future[Execution], err: BaseException) -> None:
    if not future.done():
        future.set_exception(err)
