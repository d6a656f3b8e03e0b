"""How a run ended, from all that is known: the ring's words, the cell's last message, its exit status.

Watching a run is `executor.py`. The order matters: what the supervisor did comes before what the monitor said,
and that before what the cell said, since the later ones are less to be trusted.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from audit.inert import inert
from audit.receipt import Outcome, OutcomeKind
from sandbox.engine_wasmtime import EndKind
from sandbox.monitor.layout import Stop

if TYPE_CHECKING:
    from sandbox.job import CellEnd

_STOPS = {
    Stop.HOST_CALLS: "host_calls",
    Stop.STDOUT: "stdout",
    Stop.STDERR: "stderr",
    Stop.AUDIT: "audit",
}
_LIMITS = {
    EndKind.CPU: "cpu",
    EndKind.FUEL: "fuel",
    EndKind.STACK: "stack",
    EndKind.MEMORY: "memory",
}
_MAX_MESSAGE = 600
CANCELLED = "ended by its caller"


@dataclass(frozen=True, slots=True)
class Signs:
    """What is known when a cell is gone."""

    limit: str  # the limit for which the supervisor killed it; empty when it did not
    is_cancelled: bool  # the supervisor killed it because its caller wanted that
    stop: int  # the ring's word
    has_exited: bool  # the guest called `proc_exit`
    exit_code: int  # with this
    end: CellEnd | None  # the cell's last message
    status: int  # exit status of the cell; negative for a signal


def judge(signs: Signs) -> Outcome:
    """Name the outcome."""
    if signs.limit:
        return _limit(signs.limit)
    if signs.is_cancelled:
        return Outcome(kind=OutcomeKind.KILLED, message=CANCELLED)
    if signs.stop in iter(Stop) and (name := _STOPS.get(Stop(signs.stop))):
        return _limit(name)
    if signs.end is None:
        if signs.status == -signal.SIGXCPU:
            return _limit("cpu")
        how = f"signal {-signs.status}" if signs.status < 0 else f"status {signs.status}"
        return Outcome(kind=OutcomeKind.KILLED, message=f"the cell ended with {how}")
    if signs.has_exited:
        return Outcome(kind=OutcomeKind.EXITED, exit_code=signs.exit_code)
    return _said(signs.end)


def _said(end: CellEnd) -> Outcome:
    message = inert(" ".join(end.message.split()))[:_MAX_MESSAGE] or None
    match end.kind:
        case EndKind.RETURNED:
            return Outcome(kind=OutcomeKind.EXITED, exit_code=0, message=message)
        case EndKind.EXITED:
            return Outcome(kind=OutcomeKind.EXITED, exit_code=end.exit_code)
        case EndKind.TRAPPED:
            return Outcome(kind=OutcomeKind.TRAPPED, message=message)
        case EndKind.REFUSED:
            return Outcome(kind=OutcomeKind.REFUSED, message=message)
        case EndKind.CPU | EndKind.FUEL | EndKind.STACK | EndKind.MEMORY:
            return _limit(_LIMITS[end.kind])


def _limit(name: str) -> Outcome:
    return Outcome(kind=OutcomeKind.LIMIT, limit=name, message=f"stopped by the limit `{name}`")
