"""Each read of the log is on record before its answer: by whom, of what, how much; and none happens without."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
from structlog.testing import capture_logs

from api.exports import MAX_GOING_OF_ONE, Written, new_export
from audit.errors import WriteError
from tests.http_service import hostile_guest, open_api


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with open_api(tmp_path_factory.mktemp("home")) as found:
        found.mine = found.run(hostile_guest(), tenant="acme")["execution_id"]
        yield found


@pytest.fixture
def recorded(api, monkeypatch):
    found = []
    record = api.service._writer.record_event

    def keep(event):
        record(event)
        found.append(event)

    monkeypatch.setattr(api.service._writer, "record_event", keep)
    return found


READS = [
    ("list_events", "GET", "/v1/audit/events?decision=allow", None, 3),
    ("get_stats", "GET", "/v1/audit/stats", None, 3),
    ("aggregate_events", "POST", "/v1/audit/aggregate", {"by": ["tenant"]}, 1),
    ("list_audit_executions", "GET", "/v1/audit/executions", None, 1),
    ("get_audit_execution", "GET", "/v1/audit/executions/{}", None, 1),
    ("list_execution_events", "GET", "/v1/audit/executions/{}/events", None, 3),
    ("list_execution_files", "GET", "/v1/audit/executions/{}/files", None, 1),
    ("list_execution_connections", "GET", "/v1/audit/executions/{}/connections", None, 0),
    ("list_executions", "GET", "/v1/executions", None, 1),
    ("get_execution", "GET", "/v1/executions/{}", None, 1),
    ("list_control_events", "GET", "/v1/audit/control?event=hold", None, 0),
]


@pytest.mark.parametrize("read", READS)
def test_a_read_is_on_record_with_who_what_and_how_much(api, recorded, read):
    what, method, path, body, rows = read
    client = api.caller("tenant-auditor", tenants=("acme",), name=f"ann-{what}")
    assert client.request(method, path.format(api.mine), json=body).status_code == 200
    (event,) = recorded
    assert (event.event, event.actor, event.tenant) == ("read", f"key:ann-{what}", "acme")
    assert event.details["what"] == what
    assert event.details["scope"] == "acme"
    assert (event.details["rows"], event.details["complete"]) == (rows, 1)
    asked = json.loads(event.details["filter"])
    assert ("decision" in path) == ("decision" in asked)


@pytest.mark.parametrize("read", READS)
def test_what_cannot_be_recorded_is_not_answered(api, monkeypatch, read):
    _, method, path, body, _ = read

    def fail(_event):
        raise WriteError(api.home, "the disk is full")

    monkeypatch.setattr(api.service._writer, "record_event", fail)
    with capture_logs():
        answer = api.client.request(method, path.format(api.mine), json=body)
        streamed = api.client.get("/v1/audit/events", headers={"Accept": "text/csv"})
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:wasmgate:problem:unavailable")
    assert api.mine not in answer.text
    assert streamed.status_code == 503


def test_a_stream_is_on_record_when_it_begins_and_when_it_ends(api, recorded):
    answer = api.client.get("/v1/audit/events", headers={"Accept": "text/csv"})
    assert answer.status_code == 200
    begun, ended = recorded
    assert (begun.event, begun.details["rows"]) == ("export", None)
    assert (ended.event, ended.details["of"], ended.details["complete"]) == ("export", begun.event_id, 1)
    assert ended.details["rows"] == 3
    assert len(ended.details["sha256"]) == 64


def test_a_stream_whose_caller_left_before_the_first_byte_is_on_record_as_over_and_keeps_no_place(
    api, recorded
):
    head = [
        (b"host", b"localhost"),
        (b"accept", b"text/csv"),
        (b"authorization", f"Bearer {api.key}".encode()),
    ]
    about = {"http_version": "1.1", "scheme": "http", "root_path": "", "query_string": b"", "client": None}
    scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "method": "GET", **about}
    asked: dict[str, Any] = scope | {
        "path": "/v1/audit/events",
        "raw_path": b"/v1/audit/events",
        "headers": head,
        "server": None,
    }

    async def leave():
        said = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive():
            return said.pop() if said else {"type": "http.disconnect"}

        async def send(_message):
            await asyncio.sleep(0)

        await api.app(asked, receive, send)

    for _ in range(5):  # more than one key may have
        asyncio.run(leave())
        begun, ended = recorded
        assert (ended.details["of"], ended.details["complete"], ended.details["rows"]) == (
            begun.event_id,
            0,
            0,
        )
        recorded.clear()
    assert len(api.app.state.gateway.turns.streams) == 0


def test_an_export_is_on_record_when_it_is_asked_for_made_and_fetched(api, recorded):
    export = api.client.post("/v1/audit/exports", json={"form": "csv", "filter": {}}).json()["export_id"]
    while api.client.get(f"/v1/audit/exports/{export}").json()["state"] == "running":
        pass
    api.client.get(f"/v1/audit/exports/{export}/file")
    asked, made, fetched = recorded
    assert {each.event for each in recorded} == {"export"}
    assert made.details["of"] == asked.event_id
    assert made.details["rows"] == fetched.details["rows"] == 3
    assert json.loads(fetched.details["filter"])["export"] == export


def test_an_export_that_is_refused_is_not_on_record_as_one(api, recorded):
    client, go = api.caller("auditor", "exporter", name="greedy"), threading.Event()
    (mark,) = [each.mark for each in api.keys.known() if each.name == "greedy"]

    def write(_out):
        go.wait(30)
        return Written(0, b"{}")

    try:
        for _ in range(MAX_GOING_OF_ONE):
            api.service.desk.exports.start(new_export(owner=mark, form="csv", media_type="text/csv"), write)
        answer = client.post("/v1/audit/exports", json={"form": "csv", "filter": {}})
    finally:
        go.set()
    assert (answer.status_code, answer.json()["type"]) == (429, "urn:wasmgate:problem:too-many-exports")
    assert answer.headers["retry-after"] == "60"
    assert recorded == []


def test_a_value_whose_hash_is_asked_for_is_not_recorded(api, recorded):
    api.client.post("/v1/audit/hash", json={"tenant": "acme", "value": "secret-value"})
    (event,) = recorded
    assert "secret-value" not in repr(event)


def test_what_holds_no_event_is_not_recorded(api, recorded):
    for path in ("checkpoint", "status", "tile/0/000", "proof/consistency?first=0"):
        api.client.get(f"/v1/audit/{path}")
    assert recorded == []


def test_a_refused_question_is_not_recorded_as_a_read(api, recorded):
    assert api.client.get("/v1/audit/events?cursor=x").status_code == 400
    assert api.caller("runner").get("/v1/audit/events").status_code == 403
    assert recorded == []
