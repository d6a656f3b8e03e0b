"""The log as it grows, over a socket: live, resumed, ended by a revoked key, and never at a guest's cost."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Iterator

import pytest

from api.http.keys import KeyFile
from tests.http_service import STORED, ServiceProcess, busy_guest, hostile_guest


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    home = tmp_path_factory.mktemp("tail") / "home"
    (home / "policies").mkdir(parents=True)
    (home / "policies/stored.yaml").write_text(STORED)
    with ServiceProcess(home) as found:
        yield found


class Stream:
    """What one caller is sent, event by event."""

    def __init__(self, service, *, key="", position="", query=""):
        self.connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
        headers = {"Authorization": f"Bearer {key or service.key}"}
        headers |= {"Last-Event-ID": position} if position else {}
        self.connection.request("GET", f"/v1/audit/tail{query}", headers=headers)
        self.answer = self.connection.getresponse()

    def events(self) -> Iterator[dict[str, str]]:
        found: dict[str, str] = {}
        while line := self.answer.readline():
            text = line.decode().rstrip("\n")
            if not text:
                if found:
                    yield found
                found = {}
            elif not text.startswith(":"):
                name, _, value = text.partition(": ")
                found[name] = value

    def take(self, count):
        """As many records, and the position behind the last ones."""
        rows = []
        for event in self.events():
            if event["event"] == "record":
                rows.append(json.loads(event["data"]))
            elif event["event"] == "position" and len(rows) >= count:
                return rows, event["id"]
        return rows, ""


@contextlib.contextmanager
def following(service, **about):
    stream = Stream(service, **about)
    try:
        yield stream
    finally:
        stream.connection.close()


def test_records_are_sent_as_they_are_recorded_and_are_those_of_a_query(service):
    with following(service) as stream:
        assert stream.answer.getheader("content-type", "").startswith("text/event-stream")
        assert stream.answer.getheader("cache-control") == "no-store"
        execution = service.run(hostile_guest()).json()
        answered = time.monotonic()
        rows, position = stream.take(3)
        late_s = time.monotonic() - answered
    assert position
    assert late_s < 1  # 0.1 on a machine that has nothing else to do
    events = service.ask("GET", execution["links"]["events"]).json()["events"]
    assert [row["seq"] for row in rows] == [0, 1, 2]
    assert rows == events


def test_a_caller_who_comes_back_misses_nothing_and_gets_nothing_twice(service):
    with following(service) as stream:
        service.run(busy_guest(300))
        rows, position = stream.take(300)
    service.run(busy_guest(200))
    with following(service, position=position) as stream:
        service.run(busy_guest(100))
        more, _ = stream.take(300)
    seen = [(row["exec_id"], row["seq"]) for row in rows + more]
    assert len(seen) == len(set(seen)) == 600
    by_execution: dict[str, list[int]] = {}
    for name, seq in seen:
        by_execution.setdefault(name, []).append(seq)
    assert sorted(map(len, by_execution.values())) == [100, 200, 300]
    assert all(seqs == list(range(len(seqs))) for seqs in by_execution.values())


def test_a_place_that_is_not_known_is_a_gap_and_one_that_is_none_is_refused(service):
    with following(service, position="0123456789abcdef.3.0") as stream:
        first = next(stream.events())
        assert (first["event"], json.loads(first["data"])) == ("gap", {"after": "0123456789abcdef.3.0"})
        assert first["id"] != "0123456789abcdef.3.0"
    with following(service, position="none") as stream:
        assert stream.answer.status == 400


def test_filters_hold_and_a_key_of_one_tenant_is_sent_its_own(service):
    file = KeyFile(service.home / "key.json")
    key = file.make("ann", roles=("tenant-auditor",), tenants=("acme",))
    with following(service, key=key) as own, following(service, query="?call=path_*") as opened:
        service.run(hostile_guest(), tenant="globex")
        service.run(hostile_guest(), tenant="acme")
        rows, _ = own.take(3)
        opens, _ = opened.take(2)
    assert {row["tenant_id"] for row in rows} == {"acme"}
    assert {row["call"] for row in opens} == {"wasi_snapshot_preview1.path_open"}
    assert {row["tenant_id"] for row in opens} == {"acme", "globex"}


def test_one_key_follows_so_often_and_no_more_and_another_follows_as_well(service):
    file = KeyFile(service.home / "key.json")
    greedy, other = (file.make(name, roles=("auditor",)) for name in ("greedy", "other"))
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(following(service, key=greedy)) for _ in range(5)]
        assert [stream.answer.status for stream in streams] == [200, 200, 200, 200, 429]
        assert streams[-1].answer.getheader("retry-after") == "10"
        assert stack.enter_context(following(service, key=other)).answer.status == 200
        file.revoke("greedy")
        assert list(streams[0].events()) == []
        again = file.make("greedy", roles=("auditor",))
        assert stack.enter_context(following(service, key=again)).answer.status == 200


def test_a_revoked_key_ends_the_stream_and_another_goes_on(service):
    file = KeyFile(service.home / "key.json")
    key = file.make("bob", roles=("auditor",))
    with following(service, key=key) as ended, following(service) as going:
        file.revoke("bob")
        assert list(ended.events()) == []
        service.run(hostile_guest())
        assert len(going.take(3)[0]) == 3


def test_a_caller_who_reads_nothing_holds_up_no_guest(service):
    with following(service) as slow:
        began = time.monotonic()
        outcome = service.run(busy_guest(50_000)).json()["receipt"]["outcome"]
        spent_s = time.monotonic() - began
        assert outcome["kind"] == "exited"
        assert spent_s < 20
        assert slow.answer.status == 200


def test_reading_along_is_on_record_at_its_beginning_and_its_end(service):
    def reads():
        events = service.ask("GET", "/v1/audit/control?event=read").json()["events"]
        return [each for each in events if each["details"]["what"] == "tail_events"]

    def end():
        return next((each for each in reads() if each["details"].get("of") == newest["id"]), None)

    with following(service) as stream:
        # the end of an earlier one may come after the beginning of this one
        newest = next(each for each in reads() if each["details"]["rows"] is None)
        service.run(hostile_guest())
        stream.take(3)
    until = time.monotonic() + 10
    while (found := end()) is None and time.monotonic() < until:
        service.run(hostile_guest())  # the service notices that the caller is gone when it sends
    assert found is not None
    assert found["details"]["rows"] >= 3


def test_the_end_of_the_service_ends_the_streams(tmp_path):
    (tmp_path / "policies").mkdir()
    with ServiceProcess(tmp_path) as service, following(service) as stream:
        assert service.stop() == 0
        assert [each for each in stream.events() if each["event"] == "record"] == []
