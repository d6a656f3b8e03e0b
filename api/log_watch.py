"""Looks after the log while a service runs: tells when its disk budget runs out, and prunes once a day.

What a level is says `disk_budget.py`; what may be deleted, `retaining.py`. INVARIANT: an alarm is on record
before the operator reads of it, and a look that fails is told and tried again.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

from api.control import control_event
from api.disk_budget import level_of, sentence
from audit.errors import AuditError

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.audit_desk import AuditDesk
    from api.log_status import LogStatus
    from api.retaining import Retaining
    from api.settings import Settings
    from audit.events import ControlEvent

ACTOR = "service"
LOOK_S = 60.0
DAY_S = 86_400.0


class LogWatch:
    """Watches one log until it is closed; `look` is what it does, again and again."""

    def __init__(
        self,
        *,
        status: Callable[[], LogStatus],
        record: Callable[[ControlEvent], None],
        tell: Callable[[str], None],
        prune: Callable[[], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take what it needs; `prune` is None where nothing is deleted by itself."""
        self._status, self._record, self._tell, self._prune = status, record, tell, prune
        self._clock = clock
        self._level = 0
        self._pruned_s: float | None = None
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look, in a thread of its own."""
        self._thread = threading.Thread(target=self._work, name="wasmgate-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; waits for the look that goes on."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()

    def look(self) -> None:
        """Look once."""
        try:
            self._look_at_disk()
            self._prune_daily()
        except (AuditError, OSError) as err:
            self._tell(f"the audit log could not be looked after: {err}")

    def _look_at_disk(self) -> None:
        found = self._status()
        level = level_of(found.used_bytes, found.budget_bytes, before=self._level)
        if level == self._level:
            return
        rose, self._level = level > self._level, level
        try:
            self._record(
                control_event(
                    "disk",
                    actor=ACTOR,
                    level=level,
                    used_bytes=str(found.used_bytes),
                    budget_bytes=str(found.budget_bytes),
                    free_bytes=str(found.free_bytes),
                )
            )
        finally:
            if rose:
                self._tell(sentence(found.used_bytes, found.budget_bytes))

    def _prune_daily(self) -> None:
        now = self._clock()
        if self._prune is None or (self._pruned_s is not None and now - self._pruned_s < DAY_S):
            return
        self._pruned_s = now
        self._prune()

    def _work(self) -> None:
        with contextlib.suppress(RuntimeError):  # the program ends
            while not self._closing.is_set():
                self.look()
                self._closing.wait(LOOK_S)


def watch_log(
    settings: Settings, desk: AuditDesk, retaining: Retaining, *, tell: Callable[[str], None]
) -> LogWatch:
    """Begin to look after the log of a service; close it in the end."""
    watch = LogWatch(
        status=desk.status,
        record=retaining.record,
        tell=tell,
        prune=None if settings.audit_prune == "off" else lambda: retaining.prune(actor=ACTOR),
    )
    watch.start()
    return watch
