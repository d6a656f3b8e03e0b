"""The HTTP service for tests: in this process behind a client, or as a process of its own; and guests for it.

The guests are assembled here from text; policies for them are documents, as callers send them.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import wasmtime
from starlette.testclient import TestClient

from api.http.app import Application, build_app
from api.http.keys import KeyFile, LiveKeys
from api.http.runs import Runs
from api.service import Service
from api.settings import load_settings

ROOT = Path(__file__).resolve().parents[1]
WASM = {"Content-Type": "application/wasm"}
HOSTILE = "</script><script>alert(1)</script>\n\x1b[31m\u202e&\"'\r"

POLICY = """\
version: 1
metadata: {name: inline}
permissions:
  storage:
    allow:
      - {id: scratch, uri: "tmp://s", mount: /s, access: [read, list]}
  stdio: {stdin: caller, stdout: capture, stderr: capture}
resources:
  limits: {cpu: 20s, timeout: 20s}
"""
STORED = POLICY.replace("name: inline", "name: stored").replace(
    "permissions:", 'match: {name: "*"}\npermissions:'
)

_CALL = '(import "wasi_snapshot_preview1" "{}" (func ${} (param {}) (result i32)))'


def _wat(body: str, data: str = "") -> bytes:
    calls = [
        _CALL.format("fd_write", "write", "i32 i32 i32 i32"),
        _CALL.format("fd_read", "read", "i32 i32 i32 i32"),
        _CALL.format("clock_res_get", "res", "i32 i32"),
        _CALL.format("path_open", "open", "i32 i32 i32 i32 i32 i64 i64 i32 i32"),
    ]
    text = f'(module {" ".join(calls)} (memory (export "memory") 2) {data} (func (export "_start") {body}))'
    return bytes(wasmtime.wat2wasm(text))


def _data(at: int, content: bytes) -> str:
    return f'(data (i32.const {at}) "{"".join(f"{chr(92)}{byte:02x}" for byte in content)}")'


def hostile_guest(text: str = HOSTILE) -> bytes:
    """Opens a path and writes to both streams, all of them `text`."""
    raw = text.encode()
    data = _data(100, raw) + _data(0, (100).to_bytes(4, "little") + len(raw).to_bytes(4, "little"))
    return _wat(
        f"""(drop (call $open (i32.const 3) (i32.const 0) (i32.const 100) (i32.const {len(raw)}) (i32.const 0)
              (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 48)))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 48)))
        (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 48)))""",
        data,
    )


def busy_guest(calls: int) -> bytes:
    """Makes as many cheap calls, then ends."""
    return _wat(
        f"""(local $n i32) (loop $again (drop (call $res (i32.const 0) (i32.const 64)))
        (br_if $again (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const {calls}))))"""
    )


def endless_guest() -> bytes:
    """Makes one call, writes a letter, then spins until it is ended."""
    data = _data(0, (100).to_bytes(4, "little") + (1).to_bytes(4, "little")) + _data(100, b"x")
    return _wat(
        """(drop (call $res (i32.const 0) (i32.const 64)))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 48)))
        (loop $again (br $again))""",
        data,
    )


def echo_guest() -> bytes:
    """Writes to its standard output what it reads, up to 1,000 bytes."""
    data = _data(0, (100).to_bytes(4, "little") + (1_000).to_bytes(4, "little"))
    return _wat(
        """(drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 48)))""",
        data,
    )


@dataclass
class Api:
    """The application in this process, with a caller that has the key and one that has not."""

    home: Path
    key: str
    app: Application
    service: Service
    runs: Runs
    client: TestClient
    stranger: TestClient
    keys: KeyFile
    mine: str = ""  # an execution, where a test keeps one
    theirs: str = ""

    def caller(self, *roles: str, tenants: tuple[str, ...] = (), name: str = "") -> TestClient:
        """A caller with a key of these roles."""
        made = self.keys.make(name or f"key-{len(self.keys.known())}", roles=roles, tenants=tenants)
        headers = {"Authorization": f"Bearer {made}"}
        return TestClient(
            self.app, base_url="http://localhost", headers=headers, raise_server_exceptions=False
        )

    def upload(self, module: bytes, name: str = "") -> str:
        """Hand a module over; gives its digest."""
        answer = self.client.post(
            "/v1/modules", params={"name": name} if name else {}, content=module, headers=WASM
        )
        assert answer.status_code in {200, 201}, answer.text
        return str(answer.json()["digest"])

    def run(self, module: bytes, **wanted: Any) -> dict[str, Any]:
        """Run a module, and give the execution."""
        body = {
            "module": self.upload(module),
            **({} if "policy" in wanted else {"policy_document": POLICY}),
            **wanted,
        }
        answer = self.client.post("/v1/executions", json=body)
        assert answer.status_code in {201, 202}, answer.text
        return dict(answer.json())


@contextlib.contextmanager
def open_api(home: Path, **settings: str) -> Iterator[Api]:
    """The application over a service in `home`."""
    loaded = load_settings({f"WASMGATE_{name.upper()}": value for name, value in settings.items()}, home=home)
    (home / "policies").mkdir(exist_ok=True)
    (home / "policies" / "stored.yaml").write_text(STORED)
    with Service(loaded) as service:
        file = KeyFile(home / "key.json")
        key = file.make()
        runs = Runs(service)
        app = build_app(service, runs, keys=LiveKeys(file))
        base = "http://localhost"
        caller = {"Authorization": f"Bearer {key}"}
        with (
            TestClient(app, base_url=base, headers=caller, raise_server_exceptions=False) as client,
            TestClient(app, base_url=base, raise_server_exceptions=False) as stranger,
        ):
            yield Api(home, key, app, service, runs, client, stranger, file)


_SERVE = """
import sys
from pathlib import Path
from api.http.server import serve
from api.logs import configure_logs
from api.service import Service
from api.settings import load_settings

configure_logs("info", sys.stdout, is_terminal=False)
with Service(load_settings(home=Path(sys.argv[1]))) as service:
    serve(
        service,
        say=lambda line: print(line, file=sys.stderr, flush=True),
        is_key_wanted="--new-key" in sys.argv,
        grace_s=0.5,
    )
"""


@dataclass
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as a value."""
        return json.loads(self.body)


@dataclass
class ServiceProcess:
    """The service as a process of its own on a free port; its log is in `log`."""

    home: Path
    options: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)
    key: str = ""
    port: int = 0
    log: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "WASMGATE_PORT": "0", **self.variables}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, str(self.home), *self.options],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        assert self.process.stderr
        lines: queue.Queue[str] = queue.Queue()
        self._readers = [
            threading.Thread(target=_copy, args=(self.process.stdout, self.log.append), daemon=True),
            threading.Thread(target=_copy, args=(self.process.stderr, lines.put), daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        while not self.port:
            line = lines.get(timeout=30)
            self.said.append(line)
            if line.startswith("key: "):
                self.key = line.removeprefix("key: ")
            if line.startswith("listening on "):
                self.port = int(line.rpartition(":")[2])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it with a signal, and give its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(timeout=40)
        for reader in self._readers:
            reader.join(timeout=5)
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                stream.close()
        return status

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        """Send one request with the key; a header `x_y` is sent as `x-y`."""
        sent = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def upload(self, module: bytes) -> str:
        """Hand a module over; gives its digest."""
        return str(self.ask("POST", "/v1/modules", module, content_type="application/wasm").json()["digest"])

    def run(self, module: bytes, **wanted: Any) -> Reply:
        """Run a module under the policy, inline unless `policy` names another."""
        policy = {} if "policy" in wanted else {"policy_document": POLICY}
        body = json.dumps({"module": self.upload(module), **policy, **wanted}).encode()
        return self.ask("POST", "/v1/executions", body, content_type="application/json")


def _copy(stream: IO[str], take: Any) -> None:
    with contextlib.suppress(ValueError):
        for line in stream:
            take(line.rstrip("\n"))


def encoded(content: bytes) -> str:
    """Bytes in base64."""
    return base64.b64encode(content).decode()
