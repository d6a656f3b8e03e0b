"""The engine is given up while it is asked: what goes on is stopped, and nobody is left waiting."""

from __future__ import annotations

import threading
import time

import pytest

from audit.errors import OutOfTimeError, QueryError
from audit.query.engine import Engine

ENDLESS = "SELECT count(*) AS n FROM range(1000000000000) WHERE range % 1000 = $n"
SHORT = "SELECT $n AS n"


@pytest.fixture
def engine(tmp_path):
    made = Engine(tmp_path, memory_mb=256, threads=2)
    yield made
    made.close()


def ask(engine, statement, seconds=None):
    return engine.ask(statement, [("n", 7)], tables={}, seconds=seconds).column("n").to_pylist()


@pytest.mark.parametrize("started_s", [0.0, 0.001, 0.3])
def test_what_is_being_asked_is_stopped_when_it_is_closed(engine, started_s):
    ends = []

    def work():
        try:
            ends.append(ask(engine, ENDLESS))
        except QueryError as err:
            ends.append(str(err))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for one in threads:
        one.start()
    time.sleep(started_s)
    engine.close()
    for one in threads:
        one.join(20)
    assert ends == ["the audit log could not be read: its reader was closed"] * 4


def test_a_closed_one_is_not_asked_and_an_open_one_is(engine):
    assert ask(engine, SHORT) == [7]
    engine.close()
    with pytest.raises(QueryError, match="was closed"):
        ask(engine, SHORT)
    engine.close()


def test_what_takes_too_long_is_stopped_and_the_next_is_answered(engine):
    with pytest.raises(OutOfTimeError):
        ask(engine, ENDLESS, seconds=0.2)
    assert ask(engine, SHORT) == [7]
