"""How many runs may go on and wait at once, and what comes of those that find no place.

The queue itself is `run_queue.py`. INVARIANT: no tenant may have more than there is of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from api.settings import Settings


class BusyError(Exception):
    """There is no place for a run: not now, or not any more."""

    def __init__(self, problem: str, *, retry_s: int, is_closed: bool = False) -> None:
        """Keep why, and after how many seconds it may be worth while to ask again."""
        super().__init__(problem)
        self.retry_s = retry_s
        self.is_closed = is_closed


class WaitedOutError(Exception):
    """A run did not get its turn within the time that it may wait."""

    def __init__(self, waited_s: float) -> None:
        """Say how long it waited."""
        super().__init__(f"waited {waited_s:g} s for its turn, and may wait no longer")


class TurnedAwayError(Exception):
    """A run was taken out of the queue: it was cancelled, or the queue was closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How many may run and wait at once, in all and of one tenant; each at least 1."""

    running: int
    running_of_tenant: int
    waiting: int
    waiting_of_tenant: int


def bounds_of(settings: Settings) -> Bounds:
    """Give the bounds that the settings ask for; no tenant has more than there is of all."""
    running, waiting = settings.max_concurrent_runs, settings.max_waiting_runs
    return Bounds(
        running=running,
        running_of_tenant=min(settings.max_tenant_runs or max(1, running - 1), running),
        waiting=waiting,
        waiting_of_tenant=min(settings.max_tenant_waiting_runs or max(1, waiting // 2), waiting),
    )


@dataclass(frozen=True, slots=True)
class Load:
    """How many run and wait, at one moment."""

    running: int = 0
    waiting: int = 0
