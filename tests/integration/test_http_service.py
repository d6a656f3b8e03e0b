"""The service as its users have it: a process of its own, asked over a socket, ended by signals, started again."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from api.http import connection
from tests.http_service import (
    HOSTILE,
    POLICY,
    ROOT,
    STORED,
    ServiceProcess,
    busy_guest,
    endless_guest,
    hostile_guest,
)
from tests.modules import module


def home_of(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    (home / "policies").mkdir(parents=True)
    (home / "policies/stored.yaml").write_text(STORED)
    return home


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with ServiceProcess(
        home_of(tmp_path_factory.mktemp("service")), variables={"WASMGATE_MAX_UPLOAD_BYTES": "65536"}
    ) as found:
        yield found


def pages(service, path, size):
    """All pages of a query, until there is none any more."""
    found, cursor = [], ""
    while True:
        glue = "&" if "?" in path else "?"
        page = service.ask(
            "GET", f"{path}{glue}limit={size}" + (f"&cursor={cursor}" if cursor else "")
        ).json()
        found.append(page["events"])
        cursor = page["next"]
        if cursor is None:
            return found


def wait_until_done(service, path):
    until = time.monotonic() + 30
    while time.monotonic() < until:
        found = service.ask("GET", path).json()
        if found["status"] == "done":
            return found
        time.sleep(0.02)  # a poll, as a caller would
    raise AssertionError("still running")


def test_from_the_first_start_to_the_second(tmp_path):
    home = home_of(tmp_path)
    with ServiceProcess(home) as service:
        assert service.key.startswith("wg_")
        assert len([line for line in service.said if service.key in line]) == 1
        inline = service.run(busy_guest(500))
        assert inline.status == 201
        stored = service.run(hostile_guest(), policy="stored").json()
        assert stored["policy"]["name"] == "stored"
        assert service.ask("GET", stored["links"]["stdout"]).body == HOSTILE.encode()
        first = inline.json()["execution_id"]
        found = pages(service, f"/v1/audit/events?execution={first}&order=asc", 70)
        assert [len(page) for page in found] == [70] * 7 + [10]
        records = [record for page in found for record in page]
        assert [record["seq"] for record in records] == list(range(500))
        everything = [record for page in pages(service, "/v1/audit/events", 33) for record in page]
        assert len({(each["exec_id"], each["seq"]) for each in everything}) == len(everything) == 503
        listed = service.ask("GET", "/v1/executions").json()
        key = service.key
        assert service.stop() == 0
        assert key not in "\n".join(service.log)
    for path in home.rglob("*"):
        assert not path.is_file() or key.encode() not in path.read_bytes()
    with ServiceProcess(home) as service:
        assert service.key == ""
        assert service.ask("GET", "/v1/modules").status == 401
        service.key = key
        assert service.ask("GET", "/v1/executions").json() == listed
        assert [each for page in pages(service, "/v1/audit/events", 100) for each in page] == everything
        assert service.ask("GET", stored["links"]["stdout"]).body == HOSTILE.encode()
        assert service.run(module()).json()["receipt"]["outcome"]["kind"] == "exited"
        service.key = key[:-1] + ("A" if key[-1] != "A" else "B")
        assert service.ask("GET", "/v1/executions").status == 401
    with ServiceProcess(home, options=("--new-key",)) as service:
        assert service.key not in {"", key}
        assert service.ask("GET", "/v1/modules").status == 200
        service.key = key
        assert service.ask("GET", "/v1/modules").status == 401


def test_nothing_of_a_guest_is_ever_a_page(service):
    execution = service.run(hostile_guest()).json()
    for path in (*execution["links"].values(), "/v1/audit/events", "/v1/executions", "/v1/audit/stats"):
        answer = service.ask("GET", path)
        assert answer.status == 200
        assert "html" not in answer.headers["content-type"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        if answer.headers["content-type"] == "application/json":
            assert not set(answer.body) & set(b"<>\x1b\n")
    lines = service.ask(
        "GET", f"/v1/audit/events?execution={execution['execution_id']}", accept="application/x-ndjson"
    )
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert not set(lines.body) & set(b"<>\x1b\r")
    assert [json.loads(line)["seq"] for line in lines.body.splitlines()] == [0, 1, 2]
    assert "\x1b" not in "".join(service.log)


def test_lines_say_where_the_next_page_begins(service):
    execution = service.run(busy_guest(5)).json()["execution_id"]
    path, seen, cursor = f"/v1/audit/events?execution={execution}&limit=2", [], ""
    while True:
        answer = service.ask(
            "GET", path + (f"&cursor={cursor}" if cursor else ""), accept="application/x-ndjson"
        )
        seen += [json.loads(line)["seq"] for line in answer.body.splitlines()]
        cursor = answer.headers.get("x-next-cursor")
        if cursor is None:
            break
    assert seen == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "wrong",
    [
        "cursor=x",
        "cursor=W10",
        "from=yesterday",
        "from=2026-13-01T00:00:00Z",
        "decision=maybe",
        "limit=0",
        "limit=10001",
        "execution=x",
        "call=",
        "order=up",
        "q=1",
    ],
)
def test_a_filter_that_means_nothing_is_a_problem(service, wrong):
    answer = service.ask("GET", f"/v1/audit/events?{wrong}")
    assert answer.status in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["message"]


def test_filters_find_what_they_name(service):
    execution = service.run(hostile_guest()).json()["execution_id"]
    base = f"/v1/audit/events?execution={execution}"
    assert len(service.ask("GET", base).json()["events"]) == 3
    (opened,) = service.ask("GET", f"{base}&call=path_*").json()["events"]
    moment = opened["t_ns"]
    for query, count in {
        f"decision={opened['decision']}&call=path_open": 1,
        "decision=limit": 0,
        "call=fd_*": 2,
        f"from={moment}": 3,
        f"to={moment}": 0,
        "from=2020-01-01T00:00:00Z": 3,
        "to=2020-01-01T00:00:00Z": 0,
        "path_prefix=/nowhere": 0,
        "limit=2": 2,
    }.items():
        assert len(service.ask("GET", f"{base}&{query}").json()["events"]) == count, query
    stats = service.ask("GET", f"/v1/audit/stats?execution={execution}").json()
    assert stats["records"] == 3
    assert stats["calls"]["fd_write"] == {"allow": 2}


def test_a_cursor_belongs_to_its_query(service):
    execution = service.run(busy_guest(9)).json()["execution_id"]
    path = f"/v1/audit/events?execution={execution}&limit=3"
    cursor = service.ask("GET", path).json()["next"]
    assert service.ask("GET", f"{path}&cursor={cursor}").status == 200
    for other in (
        f"{path}&call=fd_*&cursor={cursor}",
        f"/v1/audit/events?cursor={cursor}",
        f"{path}&order=desc&cursor={cursor}",
    ):
        assert service.ask("GET", other).status == 400


def test_two_runs_go_on_at_the_same_time(service):
    bodies = [
        {"module": service.upload(endless_guest()), "policy_document": POLICY, "wait": False}
        for _ in range(2)
    ]
    answers = [
        service.ask("POST", "/v1/executions", json.dumps(body).encode(), content_type="application/json")
        for body in bodies
    ]
    assert [answer.status for answer in answers] == [202, 202]
    paths = [answer.headers["location"] for answer in answers]
    assert {service.ask("GET", path).json()["status"] for path in paths} == {"running"}
    assert service.run(module()).json()["status"] == "done"  # a third does not wait for them
    for path in paths:
        assert service.ask("DELETE", path).status == 202
    assert {wait_until_done(service, path)["receipt"]["outcome"]["kind"] for path in paths} == {"killed"}


def test_a_signal_in_the_middle_of_runs_leaves_a_whole_trail(tmp_path):
    home = home_of(tmp_path)
    with ServiceProcess(home) as service:
        digest = service.upload(endless_guest())
        body = json.dumps({"module": digest, "policy_document": POLICY}).encode()
        waiting: list[int] = []

        def wait():
            waiting.append(
                service.ask("POST", "/v1/executions", body, content_type="application/json").status
            )

        caller = threading.Thread(target=wait)
        caller.start()
        asked = service.ask(
            "POST", "/v1/executions", body, content_type="application/json", prefer="respond-async"
        )
        assert asked.status == 202
        until = time.monotonic() + 20
        while len(service.ask("GET", "/v1/executions").json()["executions"]) < 2 and time.monotonic() < until:
            time.sleep(0.05)  # a poll, as a caller would
        began = time.monotonic()
        assert service.stop(signal.SIGTERM) == 0
        assert time.monotonic() - began < 20
        caller.join(timeout=10)
        assert waiting == [201]  # who waited was told how it ended
        key = service.key
    with ServiceProcess(home) as service:
        service.key = key
        for execution in service.ask("GET", "/v1/executions").json()["executions"]:
            receipt = execution["receipt"]
            assert receipt["outcome"]["kind"] == "killed"
            records = service.ask("GET", execution["links"]["events"]).json()["events"]
            assert [each["seq"] for each in records] == list(range(receipt["records"])) == [0, 1]
            assert receipt["gaps"] == []


def raw(service, request: bytes, *, is_half_closed: bool = False) -> bytes:
    """What comes back for bytes as they are, until the other side closes."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as wire:
        wire.sendall(request)
        if is_half_closed:
            wire.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := wire.recv(65_536):
            answer += chunk
        return answer


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\xff\xfe\x00\r\n\r\n",
        b"GET /v1/health\r\n\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 70_000,
        b"POST /v1/modules HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/modules HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
)
def test_what_is_no_http_is_a_problem_as_well(service, request_bytes):
    answer = raw(service, request_bytes)
    assert answer.startswith(b"HTTP/1.1 400 ")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    assert json.loads(body)["type"] == "urn:wasmgate:problem:bad-request"
    assert service.ask("GET", "/v1/health").status == 200


def test_a_large_body_is_refused_before_it_is_sent(service):
    head = (
        f"POST /v1/modules HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {service.key}\r\n"
        f"Content-Type: application/wasm\r\nContent-Length: {{}}\r\nExpect: 100-continue\r\n\r\n"
    )
    assert raw(service, head.format(65_537).encode()).startswith(b"HTTP/1.1 413 ")
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as wire:
        wire.sendall(head.format(65_536).encode())
        assert wire.recv(1_000).startswith(b"HTTP/1.1 100 ")


def test_a_body_that_ends_early_is_no_module(service):
    count = len(service.ask("GET", "/v1/modules").json()["modules"])
    head = (
        f"POST /v1/modules HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {service.key}\r\n"
        "Content-Type: application/wasm\r\nContent-Length: 100\r\n\r\nabc"
    )
    raw(service, head.encode(), is_half_closed=True)
    assert len(service.ask("GET", "/v1/modules").json()["modules"]) == count
    assert list((service.home / "modules").glob(".*")) == []


def test_many_connections_are_refused_and_few_are_not(service):
    wires = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(connection.MAX_CONNECTIONS)]
    try:
        answer = raw(service, b"")
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"urn:wasmgate:problem:busy" in answer
    finally:
        for wire in wires:
            wire.close()
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            assert service.ask("GET", "/v1/health").status == 200
        except (AssertionError, http.client.HTTPException, ConnectionError):
            continue
        return
    raise AssertionError("the service stays full")


def test_the_folder_is_private(service):
    for path in (service.home / "modules", service.home / "exec", service.home / "audit"):
        assert path.stat().st_mode & 0o077 == 0
    assert (service.home / "key.json").stat().st_mode & 0o777 == 0o600


def test_the_command_shows_the_key_once_and_never_logs_it(tmp_path):
    start = "from api.cli import run; import sys; sys.exit(run(sys.argv[1:]))"
    variables = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "WASMGATE_PORT": "0",
        "WASMGATE_HOME": str(home_of(tmp_path)),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", start, "serve"],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    said: list[str] = []
    while not (said and said[-1].startswith("listening on ")):
        said.append(process.stdout.readline())
        assert said[-1], process.communicate()
    process.send_signal(signal.SIGINT)
    rest, log = process.communicate(timeout=40)
    assert process.returncode == 0
    key = said[0].removeprefix("key: ").strip()
    assert key.startswith("wg_")
    assert ("".join(said) + rest).count(key) == 1
    assert key not in log
