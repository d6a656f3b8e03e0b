"""Whose run is next: a queue with fair shares for tenants, and bounds on how many run and wait.

A run takes a place, waits for its turn and gives the place back; running it is the matter of `service.py`.
The next turn goes to the tenant that has had the least time of those that wait, the runs that go on counted
in; within a tenant, first come, first served. Nobody is interrupted, so that a tenant may have only a part of
all turns at once. INVARIANT: no more run, in all and of any one tenant, than the bounds say; nobody waits
while there is a turn that he may have; a place is given back once.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from api.run_bounds import BusyError, Load, TurnedAwayError, WaitedOutError
from audit.inert import inert

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from api.run_bounds import Bounds

# how late a run that waits hears that it was cancelled by somebody who does not know the queue
_LOOK_S = 0.2
# 1,000 tenants that are not there now are remembered: what they have had counts when they are back soon.
_MOST_ABSENT = 1_000
_RETRY_S = (1, 60)
_RETRY_CLOSED_S = 10  # somebody may start the service again
_FIRST_GUESS_S = 1.0
_WEIGHT = 0.1  # of the newest run in the mean of how long runs take


@dataclass(slots=True)
class _Tenant:
    """What is known of one tenant."""

    had_s: float  # time of turns that are over, and what it was raised to when it came back
    running: set[Place] = field(default_factory=set)
    waiting: deque[Place] = field(default_factory=deque)

    @property
    def is_there(self) -> bool:
        return bool(self.running or self.waiting)

    def spent_s(self, now_s: float) -> float:
        """Time that it has had, up to now."""
        return self.had_s + sum(now_s - place.began_s for place in self.running)


class Place:
    """One run's place in the queue, from `RunQueue.enter` until it is left; thread-safe."""

    __slots__ = ("_queue", "began_s", "entered_s", "is_closed", "tenant", "turn")

    def __init__(self, queue: RunQueue, tenant: str, entered_s: float) -> None:
        """Be the place of a run of `tenant` in `queue`."""
        self._queue = queue
        self.tenant = tenant
        self.entered_s = entered_s
        self.began_s = math.inf
        self.turn = threading.Event()
        self.is_closed = False

    @property
    def has_turn(self) -> bool:
        """Whether its turn has come."""
        return self.began_s != math.inf

    def wait(self, most_s: float, cancelled: threading.Event) -> None:
        """Return when its turn has come; at once if it has.

        Raises WaitedOutError after `most_s` seconds, and TurnedAwayError when `cancelled` is set or the queue
        is closed before that.
        """
        until = time.monotonic() + most_s
        while not self.turn.wait(min(_LOOK_S, max(until - time.monotonic(), 0.0))):
            if cancelled.is_set():
                raise TurnedAwayError
            if time.monotonic() >= until:
                raise WaitedOutError(most_s)
        if self.is_closed or cancelled.is_set():
            raise TurnedAwayError

    def leave(self) -> None:
        """Give the place back, whether its turn has come or not; a second call does nothing."""
        self._queue.leave(self)

    def __enter__(self) -> Self:
        """Give the place itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave it."""
        self.leave()


class RunQueue:
    """The queue; thread-safe, and without a thread of its own."""

    def __init__(self, bounds: Bounds, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Be empty; `clock` gives seconds that only grow."""
        self.bounds = bounds
        self._clock = clock
        self._lock = threading.Lock()
        self._tenants: OrderedDict[str, _Tenant] = OrderedDict()  # who entered last is the last
        self._places: set[Place] = set()
        self._running = self._waiting = 0
        self._least_s = 0.0  # what everybody there has had: whoever is new starts there
        self._mean_s = _FIRST_GUESS_S
        self._is_closed = False

    @property
    def load(self) -> Load:
        """How many run and wait."""
        with self._lock:
            return Load(self._running, self._waiting)

    def loads(self) -> dict[str, Load]:
        """How many run and wait of each tenant that is there."""
        with self._lock:
            return {
                name: Load(len(tenant.running), len(tenant.waiting))
                for name, tenant in self._tenants.items()
                if tenant.is_there
            }

    def enter(self, tenant: str) -> Place:
        """Take a place, without waiting; raises BusyError when there is none."""
        with self._lock:
            if self._is_closed:
                raise BusyError("the service is ending", retry_s=_RETRY_CLOSED_S, is_closed=True)
            known = self._known(tenant)
            place = Place(self, tenant, self._clock())
            if self._running < self.bounds.running and self._may_run(known):
                # nobody waits who could have this turn: he would have it already
                self._begin(known, place)
            else:
                self._check_room(tenant, known)
                known.waiting.append(place)
                self._waiting += 1
            self._places.add(place)
            return place

    def leave(self, place: Place) -> None:
        """Give a place back, and its turn to whoever is next; a second call does nothing."""
        with self._lock:
            if place not in self._places:
                return
            self._places.remove(place)
            tenant = self._tenants[place.tenant]
            if place in tenant.running:
                took_s = self._clock() - place.began_s
                tenant.running.remove(place)
                tenant.had_s += took_s
                self._running -= 1
                self._mean_s += _WEIGHT * (took_s - self._mean_s)
            else:
                tenant.waiting.remove(place)
                self._waiting -= 1
            self._give_turns()
            self._forget(place.tenant, tenant)

    def close(self) -> None:
        """Take no more, and turn away those that wait; those that run keep their places."""
        with self._lock:
            self._is_closed = True
            for place in self._places:
                if not place.has_turn:
                    place.is_closed = True
                    place.turn.set()

    def _known(self, name: str) -> _Tenant:
        self._advance()
        tenant = self._tenants.get(name)
        if tenant is None:
            tenant = self._tenants[name] = _Tenant(self._least_s)
        elif not tenant.is_there:
            # time that somebody did not ask for can't be asked for later
            tenant.had_s = max(tenant.had_s, self._least_s)
        self._tenants.move_to_end(name)
        return tenant

    def _advance(self) -> None:
        """Note what those that are there have had at least; it never goes back."""
        now_s = self._clock()
        there = [tenant.spent_s(now_s) for tenant in self._tenants.values() if tenant.is_there]
        if there:
            self._least_s = max(self._least_s, min(there))

    def _may_run(self, tenant: _Tenant) -> bool:
        return len(tenant.running) < self.bounds.running_of_tenant

    def _check_room(self, name: str, tenant: _Tenant) -> None:
        if len(tenant.waiting) >= self.bounds.waiting_of_tenant:
            problem = f"{len(tenant.waiting)} runs of tenant {inert(name)} wait already, and no more may"
            raise BusyError(problem, retry_s=self._retry_s(len(tenant.waiting)))
        if self._waiting >= self.bounds.waiting:
            self._forget(name, tenant)
            problem = f"{self._waiting} runs wait already, and no more may"
            raise BusyError(problem, retry_s=self._retry_s(self._waiting))

    def _retry_s(self, ahead: int) -> int:
        """When about half of those ahead are done, by how long runs took lately."""
        low, high = _RETRY_S
        return min(max(math.ceil(ahead * self._mean_s / self.bounds.running / 2), low), high)

    def _begin(self, tenant: _Tenant, place: Place) -> None:
        place.began_s = self._clock()
        tenant.running.add(place)
        self._running += 1
        place.turn.set()

    def _give_turns(self) -> None:
        while self._running < self.bounds.running and not self._is_closed:
            now_s = self._clock()
            ready = [one for one in self._tenants.values() if one.waiting and self._may_run(one)]
            if not ready:
                return
            # who has fewer runs going on comes first where both had as much, and then who waits for longer
            tenant = min(
                ready, key=lambda one: (one.spent_s(now_s), len(one.running), one.waiting[0].entered_s)
            )
            self._waiting -= 1
            self._begin(tenant, tenant.waiting.popleft())

    def _forget(self, name: str, tenant: _Tenant) -> None:
        """Forget a tenant that is not there and would start where new ones do, or for which no room is."""
        if not self._places:  # nobody is there: there is nothing to be fair about
            self._tenants.clear()
            self._least_s = 0.0
            return
        if tenant.is_there:
            return
        self._advance()
        if tenant.had_s <= self._least_s:
            del self._tenants[name]
            return
        absent = [key for key, one in self._tenants.items() if not one.is_there]
        for key in absent[: max(0, len(absent) - _MOST_ABSENT)]:
            del self._tenants[key]
