"""Whose run is next: bounds, shares, the order within a tenant, and waiting; against an oracle that is naive."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.run_bounds import Bounds, BusyError, Load, TurnedAwayError, WaitedOutError, bounds_of
from api.run_queue import RunQueue
from api.settings import load_settings

NEVER = threading.Event()


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def queue_of(running=2, of_tenant=1, waiting=8, waiting_of_tenant=6, clock=None):
    bounds = Bounds(
        running=running,
        running_of_tenant=of_tenant,
        waiting=waiting,
        waiting_of_tenant=waiting_of_tenant,
    )
    return RunQueue(bounds, clock=clock or Clock())


# --- one at a time ----------------------------------------------------------------------------------------


def test_a_turn_comes_at_once_while_there_is_one():
    queue = queue_of(running=2, of_tenant=2)
    first, second, third = (queue.enter("a") for _ in range(3))
    assert (first.has_turn, second.has_turn, third.has_turn) == (True, True, False)
    assert queue.load == Load(running=2, waiting=1)
    first.leave()
    assert third.has_turn
    assert queue.load == Load(running=2, waiting=0)


def test_no_tenant_has_every_turn():
    queue = queue_of(running=3, of_tenant=2)
    mine = [queue.enter("a") for _ in range(4)]
    assert [place.has_turn for place in mine] == [True, True, False, False]
    assert queue.enter("b").has_turn
    assert queue.loads() == {"a": Load(2, 2), "b": Load(1, 0)}


def test_within_a_tenant_who_came_first_is_first():
    queue = queue_of(running=1)
    first, *others = (queue.enter("a") for _ in range(4))
    for place in (first, *others):
        assert place.has_turn
        place.leave()


def test_a_place_that_was_left_twice_is_left_once():
    queue = queue_of(running=1)
    first, second, third = (queue.enter("a") for _ in range(3))
    first.leave()
    first.leave()
    assert second.has_turn
    assert not third.has_turn
    assert queue.load == Load(1, 1)


def test_who_waits_can_leave():
    queue = queue_of(running=1)
    first, second, third = (queue.enter("a") for _ in range(3))
    second.leave()
    first.leave()
    assert not second.has_turn
    assert third.has_turn


@pytest.mark.parametrize(("waiting", "of_tenant", "fits"), [(3, 2, 2), (2, 8, 2), (8, 8, 8)])
def test_no_more_wait_than_may(waiting, of_tenant, fits):
    queue = queue_of(running=1, waiting=waiting, waiting_of_tenant=of_tenant)
    queue.enter("a")
    for _ in range(fits):
        queue.enter("a")
    with pytest.raises(BusyError) as refused:
        queue.enter("a")
    assert refused.value.retry_s >= 1
    assert not refused.value.is_closed
    assert queue.load == Load(1, fits)


def test_a_tenant_that_fills_its_part_leaves_room_for_others():
    queue = queue_of(running=1, waiting=4, waiting_of_tenant=2)
    places = [queue.enter("a") for _ in range(3)]
    with pytest.raises(BusyError, match="of tenant a"):
        queue.enter("a")
    assert not queue.enter("b").has_turn
    assert not queue.enter("c").has_turn
    with pytest.raises(BusyError, match="4 runs wait already"):
        queue.enter("d")
    assert "d" not in queue.loads()
    assert places[0].has_turn


def test_the_name_of_a_tenant_is_harmless_in_what_is_said():
    queue = queue_of(running=1, waiting_of_tenant=1)
    for _ in range(2):
        queue.enter("\x1b[31m\n")
    with pytest.raises(BusyError) as refused:
        queue.enter("\x1b[31m\n")
    assert str(refused.value).isprintable()


def test_who_is_refused_is_told_to_come_back_when_there_may_be_room():
    clock = Clock()
    queue = queue_of(running=1, waiting=40, waiting_of_tenant=40, clock=clock)
    waiting = [queue.enter("a") for _ in range(41)]
    for place in waiting[:20]:
        clock.now += 30  # runs take half a minute
        place.leave()
    for _ in range(20):
        queue.enter("a")
    with pytest.raises(BusyError) as refused:
        queue.enter("a")
    assert refused.value.retry_s == 60
    quick = queue_of(running=1, waiting=2, waiting_of_tenant=2)
    for _ in range(3):
        quick.enter("a")
    with pytest.raises(BusyError) as refused:
        quick.enter("a")
    assert refused.value.retry_s == 1


# --- shares -----------------------------------------------------------------------------------------------


def test_a_tenant_with_many_runs_does_not_hold_up_one_with_few():
    clock = Clock()
    queue = queue_of(running=1, waiting=100, waiting_of_tenant=90, clock=clock)
    many = [queue.enter("many") for _ in range(50)]
    clock.now += 1
    one = queue.enter("one")
    many[0].leave()  # both had as much by then, and who waits for longer is first
    assert many[1].has_turn
    clock.now += 1
    many[1].leave()
    assert one.has_turn


def test_long_runs_count_for_as_long_as_they_are():
    clock = Clock()
    queue = queue_of(running=1, waiting=100, waiting_of_tenant=90, clock=clock)
    waiting = {name: [queue.enter(name) for _ in range(30)] for name in ("long", "short")}
    took = {"long": 10.0, "short": 1.0}
    had = {"long": 0.0, "short": 0.0}
    for _ in range(22):
        (name,) = (name for name, places in waiting.items() if places[0].has_turn)
        clock.now += took[name]
        had[name] += took[name]
        waiting[name].pop(0).leave()
    assert abs(had["long"] - had["short"]) <= 10.0  # one run


def test_time_that_nobody_asked_for_is_not_saved_up():
    clock = Clock()
    queue = queue_of(running=1, waiting=100, waiting_of_tenant=90, clock=clock)
    for _ in range(100):
        place = queue.enter("busy")
        clock.now += 10
        place.leave()
    mine = [queue.enter("busy") for _ in range(3)]
    clock.now += 10
    late = [queue.enter("late") for _ in range(3)]
    order = []
    for _ in range(6):
        (name, places), *_ = (
            (name, all_) for name, all_ in (("busy", mine), ("late", late)) if all_ and all_[0].has_turn
        )
        order.append(name)
        clock.now += 10
        places.pop(0).leave()
    assert order == ["busy", "late", "busy", "late", "busy", "late"]


# --- against an oracle ------------------------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), st.integers(0, 3)),
        st.tuples(st.just("leave"), st.integers(0, 30)),
        st.tuples(st.just("pass"), st.integers(1, 20)),
    ),
    max_size=60,
)


class Oracle:
    """The same queue, as plainly as it can be said: lists, and everything counted anew each time."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.had: dict[str, float] = {}
        self.running: list[tuple[str, int, float]] = []  # tenant, number, since
        self.waiting: list[tuple[str, int]] = []
        self.floor = 0.0

    def spent(self, name: str, now: float) -> float:
        return self.had[name] + sum(now - since for one, _, since in self.running if one == name)

    def there(self) -> set[str]:
        return {each[0] for each in self.running} | {each[0] for each in self.waiting}

    def raise_floor(self, now: float) -> None:
        if self.there():
            self.floor = max(self.floor, min(self.spent(name, now) for name in self.there()))

    def may_run(self, name: str) -> bool:
        mine = sum(each[0] == name for each in self.running)
        return len(self.running) < self.bounds.running and mine < self.bounds.running_of_tenant

    def enter(self, name: str, number: int, now: float) -> bool:
        self.raise_floor(now)
        if name not in self.there():
            self.had[name] = max(self.had.get(name, 0.0), self.floor)
        if self.may_run(name):
            self.running.append((name, number, now))
            return True
        mine = sum(each[0] == name for each in self.waiting)
        if mine >= self.bounds.waiting_of_tenant or len(self.waiting) >= self.bounds.waiting:
            return False
        self.waiting.append((name, number))
        return True

    def leave(self, number: int, now: float) -> None:
        for name, one, since in self.running:
            if one == number:
                self.had[name] += now - since
        self.running = [each for each in self.running if each[1] != number]
        self.waiting = [each for each in self.waiting if each[1] != number]
        while True:
            ready = [(name, one) for name, one in self.waiting if self.may_run(name)]
            if not ready:
                break
            name, one = min(
                ready,
                key=lambda each: (
                    self.spent(each[0], now),
                    sum(other[0] == each[0] for other in self.running),
                    each[1],
                ),
            )
            self.waiting.remove((name, one))
            self.running.append((name, one, now))
        if not self.there():
            self.had, self.floor = {}, 0.0


@settings(max_examples=300)
@given(
    steps=STEPS,
    running=st.integers(1, 4),
    of_tenant=st.integers(1, 4),
    waiting=st.integers(1, 8),
    waiting_of_tenant=st.integers(1, 8),
)
def test_turns_are_given_as_the_oracle_gives_them(steps, running, of_tenant, waiting, waiting_of_tenant):
    clock = Clock()
    queue = queue_of(running, min(of_tenant, running), waiting, min(waiting, waiting_of_tenant), clock)
    oracle = Oracle(queue.bounds)
    places = {}
    for number, (what, value) in enumerate(steps):
        if what == "pass":
            clock.now += value
        elif what == "enter":
            name = f"tenant-{value}"
            clock.now += 1e-6  # nobody enters at the same moment
            is_in = oracle.enter(name, number, clock.now)
            try:
                places[number] = queue.enter(name)
            except BusyError:
                assert not is_in
            else:
                assert is_in
        elif places:
            left = sorted(places)[value % len(places)]
            oracle.leave(left, clock.now)
            places.pop(left).leave()
        assert {number for number, place in places.items() if place.has_turn} == {
            each[1] for each in oracle.running
        }
        assert queue.load == Load(len(oracle.running), len(oracle.waiting))


# --- waiting ----------------------------------------------------------------------------------------------


def test_who_waits_hears_of_its_turn():
    queue = queue_of(running=1)
    first, second = queue.enter("a"), queue.enter("a")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(second.wait, 30, NEVER)
        assert not waiting.done()
        first.leave()
        waiting.result(30)
    assert second.has_turn


def test_who_waited_too_long_is_told_so():
    queue = queue_of(running=1)
    first, second = queue.enter("a"), queue.enter("a")
    with pytest.raises(WaitedOutError):
        second.wait(0.01, NEVER)
    first.wait(0.01, NEVER)


def test_who_is_cancelled_waits_no_longer():
    queue = queue_of(running=1)
    first, second = queue.enter("a"), queue.enter("a")
    cancelled = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(second.wait, 30, cancelled)
        cancelled.set()
        with pytest.raises(TurnedAwayError):
            waiting.result(30)
    first.wait(0.01, NEVER)


def test_a_queue_that_is_closed_turns_away_who_waits_and_keeps_who_runs():
    queue = queue_of(running=1)
    first, second = queue.enter("a"), queue.enter("a")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(second.wait, 30, NEVER)
        queue.close()
        with pytest.raises(TurnedAwayError):
            waiting.result(30)
    with pytest.raises(BusyError) as refused:
        queue.enter("b")
    assert refused.value.is_closed
    assert first.has_turn
    second.leave()
    first.leave()
    assert queue.load == Load(0, 0)


def test_many_threads_at_once_leave_nothing_behind():
    queue = RunQueue(Bounds(running=3, running_of_tenant=2, waiting=200, waiting_of_tenant=200))
    most = threading.Semaphore(3)

    def run(number):
        with queue.enter(f"tenant-{number % 4}") as place:
            place.wait(30, NEVER)
            assert most.acquire(blocking=False)
            most.release()
        return number

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(run, range(400))) == list(range(400))
    assert queue.load == Load(0, 0)
    assert queue.loads() == {}


# --- bounds -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "bounds"),
    [
        ({}, (4, 3, 64, 32)),
        ({"MAX_CONCURRENT_RUNS": "1", "MAX_WAITING_RUNS": "1"}, (1, 1, 1, 1)),
        ({"MAX_TENANT_RUNS": "9", "MAX_TENANT_WAITING_RUNS": "99"}, (4, 4, 64, 64)),
        ({"MAX_TENANT_RUNS": "2", "MAX_TENANT_WAITING_RUNS": "3"}, (4, 2, 64, 3)),
    ],
)
def test_bounds_come_from_the_settings(variables, bounds, tmp_path):
    loaded = load_settings({f"WASMGATE_{name}": value for name, value in variables.items()}, home=tmp_path)
    found = bounds_of(loaded)
    assert (found.running, found.running_of_tenant, found.waiting, found.waiting_of_tenant) == bounds
