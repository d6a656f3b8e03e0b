"""How a run ended, from all that is known: the ring's words, the cell's last message, its exit status.

Watching a run is `executor.py`. The order matters: what the supervisor did comes before what the monitor
said, and that before what the cell said, since the later ones are less to be trusted.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from audit.inert import inert
from audit.receipt import Outcome, OutcomeKind
from sandbox.guest import EndKind
from sandbox.monitor.layout import Stop

if TYPE_CHECKING:
    from sandbox.job import CellEnd

_STOPS: dict[int, str] = {
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
# what the cell has the kernel end it by
_SIGNALS: dict[int, str] = {signal.SIGPROF: "cpu", signal.SIGXCPU: "cpu", signal.SIGALRM: "timeout"}
_MAX_MESSAGE = 600
# the engine's advice to whoever started it, which is nobody who reads this
_ADVICE = re.compile(r" note: using the `WASMTIME_\w+=1` environment variable .*?(?= Caused by:|$)")
CANCELLED = "cancelled"
FORBIDDEN = "the cell made a system call that no guest needs: it may have been taken over"
UNSOUND = "the cell's records contradict each other: it may have been taken over"


@dataclass(frozen=True, slots=True)
class Signs:
    """What is known when a cell is gone."""

    limit: str  # the limit for which the supervisor killed it; empty when it did not
    killed_for: str  # why else the supervisor killed it; empty when it did not
    stop: int  # the ring's word
    has_exited: bool  # the guest called `proc_exit`
    exit_code: int  # with this
    end: CellEnd | None  # the cell's last message
    status: int  # exit status of the cell; negative for a signal


def judge(signs: Signs, *, is_sound: bool) -> Outcome:
    """Name the outcome; `is_sound` says whether the records agree with the monitor's own counters."""
    outcome = _judge(signs)
    if not is_sound:
        outcome = replace(outcome, kind=OutcomeKind.KILLED, exit_code=None, limit=None, message=UNSOUND)
    early = signs.end.unarmed if signs.end else 0
    if early:
        said = f"{early} host calls of the module's start section were refused: no monitor stood yet"
        outcome = replace(outcome, message=f"{outcome.message}; {said}" if outcome.message else said)
    return outcome


def _judge(signs: Signs) -> Outcome:
    if signs.limit:
        return _limit(signs.limit)
    if signs.killed_for:
        return Outcome(kind=OutcomeKind.KILLED, message=signs.killed_for)
    if signs.stop in _STOPS:
        return _limit(_STOPS[signs.stop])
    if signs.end is None:
        return _died(signs.status)
    if signs.has_exited:
        return Outcome(kind=OutcomeKind.EXITED, exit_code=signs.exit_code)
    return _said(signs.end)


def _died(status: int) -> Outcome:
    if -status in _SIGNALS:
        return _limit(_SIGNALS[-status])
    if -status == signal.SIGSYS:
        return Outcome(kind=OutcomeKind.KILLED, message=FORBIDDEN)
    how = f"signal {-status}" if status < 0 else f"status {status}"
    return Outcome(kind=OutcomeKind.KILLED, message=f"the cell ended with {how}")


def _said(end: CellEnd) -> Outcome:
    message = inert(_ADVICE.sub("", " ".join(end.message.split())))[:_MAX_MESSAGE] or None
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
