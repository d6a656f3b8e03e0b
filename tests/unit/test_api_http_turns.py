"""No key, however greedy, keeps the others of a service from what takes long."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http.problems import Problem
from api.http.turns import AllTurns, Turn, Turns
from api.signing import sign_once
from tests.http_service import hostile_guest, open_api

READS = [
    ("questions", "GET", "/v1/audit/stats", None),
    ("questions", "POST", "/v1/audit/aggregate", {"by": ["tenant"]}),
    ("questions", "GET", "/v1/audit/executions/{}", None),
    ("questions", "GET", "/v1/audit/executions/{}/files", None),
    ("questions", "GET", "/v1/audit/executions/{}/connections", None),
    ("pages", "GET", "/v1/audit/events", None),
    ("pages", "GET", "/v1/audit/executions/{}/events", None),
    ("pages", "GET", "/v1/audit/control", None),
    ("pages", "GET", "/v1/audit/proof/inclusion?exec={}&seq=0", None),
]
THREADS = 40  # that answer requests, in one process


def turns(most=3, most_of_one=2):
    return Turns("too-many-tails", "callers", most=most, most_of_one=most_of_one, retry_s=7)


def is_taken(of, mark):
    try:
        of.take(mark)
    except Problem:
        return False
    return True


def test_one_key_gets_a_part_and_another_still_gets_its_own():
    of = turns()
    assert [is_taken(of, "ann:1") for _ in range(3)] == [True, True, False]
    assert is_taken(of, "bob:1")
    assert not is_taken(of, "eve:1")  # now all are taken


def test_a_key_that_was_made_again_under_its_name_is_another_key():
    of = turns()
    assert [is_taken(of, "ann:1"), is_taken(of, "ann:1"), is_taken(of, "ann:2")] == [True, True, True]


def test_a_turn_is_given_back_once_however_often_it_is_ended():
    of = turns()
    first = of.take("ann:1")
    of.take("ann:1")
    first.end()
    first.end()
    assert len(of) == 1
    with of.take("ann:1"):
        assert not is_taken(of, "ann:1")
    assert is_taken(of, "ann:1")


def test_who_gets_none_hears_why_and_when_to_come_back():
    of = turns(most=2, most_of_one=1)
    of.take("ann:1")
    with pytest.raises(Problem, match="this key has 1 callers") as own:
        of.take("ann:1")
    of.take("bob:1")
    with pytest.raises(Problem, match="2 callers are going on") as all_of_them:
        of.take("eve:1")
    assert {own.value.status, all_of_them.value.status} == {429}
    assert own.value.headers == all_of_them.value.headers == {"Retry-After": "7"}


def test_turns_of_which_one_key_could_have_all_are_not_made():
    for most_of_one in (0, 3, 4):
        with pytest.raises(ValueError, match="one key"):
            turns(most_of_one=most_of_one)
    for each in fields(AllTurns):
        of = getattr(AllTurns(), each.name)
        assert 0 < of.most_of_one < of.most


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
def test_whatever_is_taken_and_ended_in_any_order_the_limits_hold(steps):
    of = turns()
    held: list[tuple[str, Turn]] = []
    naive: Counter[str] = Counter()
    for mark, is_begun in steps:
        if not is_begun:
            if held:
                owner, turn = held.pop(0)
                turn.end()
                naive[owner] -= 1
            continue
        is_room = naive[mark] < 2 and sum(naive.values()) < 3
        try:
            held.append((mark, of.take(mark)))
        except Problem:
            assert not is_room
        else:
            assert is_room
            naive[mark] += 1
        assert len(of) == sum(naive.values())


def test_of_many_threads_no_more_than_the_limit_get_a_turn():
    of, found, begin = turns(most=5, most_of_one=4), [], threading.Barrier(16)

    def ask(mark):
        begin.wait(10)
        found.append(is_taken(of, mark))

    threads = [threading.Thread(target=ask, args=("ann:1",)) for _ in range(16)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(10)
    assert found.count(True) == 4


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with open_api(tmp_path_factory.mktemp("home")) as found:
        found.mine = found.run(hostile_guest(), tenant="acme")["execution_id"]
        found.service.seal()
        sign_once(found.service.settings)
        yield found


def held(api, kind, name):
    """Everything of a kind that one key may have, held by it."""
    of = getattr(api.app.state.gateway.turns, kind)
    (mark,) = [each.mark for each in api.keys.known() if each.name == name]
    return [of.take(mark) for _ in range(of.most_of_one)]


def asked(api, client, read):
    _, method, path, body = read
    return client.request(method, path.format(api.mine), json=body)


@pytest.mark.parametrize("read", READS)
def test_a_key_with_slow_questions_going_on_is_told_to_wait_and_another_is_answered(api, read):
    greedy, other = (api.caller("auditor", name=f"{name}-{READS.index(read)}") for name in ("ann", "bob"))
    turns_held = held(api, read[0], f"ann-{READS.index(read)}")
    answer = asked(api, greedy, read)
    assert (answer.status_code, answer.json()["type"]) == (429, f"urn:wasmgate:problem:too-many-{read[0]}")
    assert answer.headers["retry-after"] == "1"
    assert asked(api, other, read).status_code == 200
    for turn in turns_held:
        turn.end()
    assert asked(api, greedy, read).status_code == 200
    assert len(getattr(api.app.state.gateway.turns, read[0])) == 0


def test_what_waits_for_the_log_in_a_thread_never_has_all_threads():
    of = AllTurns()
    assert of.questions.most + of.pages.most < THREADS


def test_a_question_that_is_refused_gives_its_turn_back(api):
    for _ in range(20):
        assert api.client.post("/v1/audit/aggregate", json={"by": ["nothing"]}).status_code == 400
    assert len(api.app.state.gateway.turns.questions) == 0


def test_a_key_with_streams_going_on_is_told_to_wait_and_another_is_sent_one(api):
    greedy, other = (api.caller("auditor", "exporter", name=f"{name}-s") for name in ("ann", "bob"))
    turns_held = held(api, "streams", "ann-s")
    answer = greedy.get("/v1/audit/events", headers={"Accept": "text/csv"})
    assert (answer.status_code, answer.json()["type"]) == (429, "urn:wasmgate:problem:too-many-streams")
    assert greedy.get("/v1/audit/events").status_code == 200  # a page is no stream
    assert other.get("/v1/audit/events", headers={"Accept": "text/csv"}).status_code == 200
    for turn in turns_held:
        turn.end()
    for _ in range(5):
        assert greedy.get("/v1/audit/events", headers={"Accept": "text/csv"}).status_code == 200
    assert len(api.app.state.gateway.turns.streams) == 0


def test_a_key_that_follows_as_often_as_it_may_is_told_to_wait(api):
    client = api.caller("auditor", name="ann-t")
    turns_held = held(api, "tails", "ann-t")
    answer = client.get("/v1/audit/tail")
    assert (answer.status_code, answer.json()["type"]) == (429, "urn:wasmgate:problem:too-many-tails")
    for turn in turns_held:
        turn.end()
    wrong = client.get("/v1/audit/tail", headers={"Last-Event-ID": "none"})
    assert wrong.status_code == 400
    assert len(api.app.state.gateway.turns.tails) == 0
