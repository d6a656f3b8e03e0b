from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from api.telemetry import SPAN, Silence, Spans, attributes, open_telemetry
from audit.identity import new_execution_id
from audit.receipt import CallCount, Outcome, OutcomeKind, Receipt, Resources

RECEIPT = Receipt(
    execution_id=new_execution_id(),
    module_digest="sha256:" + "a" * 64,
    module_name="m.wasm",
    policy_name="p",
    policy_digest="sha256:" + "b" * 64,
    plan_digest="sha256:" + "c" * 64,
    started_at_ns=1_700_000_000_000_000_000,
    ended_at_ns=1_700_000_000_500_000_000,
    outcome=Outcome(kind=OutcomeKind.LIMIT, limit="timeout", message="stopped"),
    calls=(
        CallCount(call="fd_read", decision="allow", count=5),
        CallCount(call="fd_read", decision="deny", count=2),
    ),
    records=7,
    resources=Resources(host_calls=7),
)


class Collector:
    def __init__(self):
        self.bodies: list[tuple[str, bytes]] = []
        kept = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                kept.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *_args: object) -> None:  # noqa: A002  # the name of the base class
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_a_span_with_its_counts_reaches_the_collector(collector, monkeypatch):
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "gate-of-a-test")
    spans = open_telemetry(is_export_wanted=True)
    spans.executed(RECEIPT)
    spans.close()
    ((path, body),) = collector.bodies
    request = ExportTraceServiceRequest.FromString(body)
    (resource,) = request.resource_spans
    (span,) = resource.scope_spans[0].spans
    names = {item.key: item.value.string_value for item in resource.resource.attributes}
    found = {item.key: item.value.int_value or item.value.string_value for item in span.attributes}
    assert (path, span.name, names["service.name"]) == ("/v1/traces", SPAN, "gate-of-a-test")
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (
        RECEIPT.started_at_ns,
        RECEIPT.ended_at_ns,
    )
    assert found["wasmgate.records"] == 7
    assert found["wasmgate.refusals"] == 2
    assert found["wasmgate.host_calls"] == 7
    assert found["wasmgate.outcome.kind"] == "limit"
    assert found["wasmgate.outcome.limit"] == "timeout"
    assert found["wasmgate.execution.id"] == RECEIPT.execution_id
    assert all(key.startswith("wasmgate.") for key in attributes(RECEIPT))


def test_a_collector_that_is_away_costs_seconds_at_most(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("api.telemetry._LEAVE_S", 0.2)
    spans = Spans()
    spans.executed(RECEIPT)
    spans.close()  # the time limit of the test would end what waits


def test_without_a_collector_the_sdk_is_not_even_imported():
    assert isinstance(open_telemetry(is_export_wanted=False), Silence)
    script = (
        "import sys, api.service; sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    assert subprocess.run([sys.executable, "-c", script], env=environment, check=False).returncode == 0
