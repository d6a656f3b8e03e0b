"""Spans for whoever watches this service from outside: one for each execution, with its counts.

The evidence of a run is its records and its receipt (`audit/`); telemetry may be sampled, late or lost. This
is the only importer of OpenTelemetry, and it is imported only when an exporter is wanted. INVARIANT: an
execution never waits for a collector, and never fails because of one.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from audit.receipt import Receipt

SPAN = "wasm.execution"
_LEAVE_S = 3.0  # for spans to be sent at the end of the program; a collector that is away costs no more
_REFUSING = ("deny", "would_deny", "limit")


class Telemetry(Protocol):
    """Takes note of executions; thread-safe."""

    def executed(self, receipt: Receipt) -> None:
        """Take note of an execution that is over; returns at once."""

    def close(self) -> None:
        """Send what waits, for a few seconds at most."""


class Silence:
    """No exporter: nothing is kept and nothing is imported."""

    def executed(self, receipt: Receipt) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Spans:
    """Sends spans with OTLP over HTTP, as the `OTEL_` variables say."""

    def __init__(self) -> None:
        """Import the SDK, which takes a tenth of a second, and start its sender."""
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        # what the operator names in OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES comes before ours
        resource = Resource.create({SERVICE_NAME: "wasmgate"}).merge(OTELResourceDetector().detect())
        self._provider: TracerProvider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("wasmgate")

    def executed(self, receipt: Receipt) -> None:
        """Make the span of an execution, from its beginning to its end."""
        from opentelemetry.trace import Status, StatusCode

        span = self._tracer.start_span(SPAN, start_time=receipt.started_at_ns, attributes=attributes(receipt))
        if receipt.outcome.kind.value != "exited":
            span.set_status(Status(StatusCode.ERROR, receipt.outcome.message))
        span.end(end_time=receipt.ended_at_ns)

    def close(self) -> None:
        """Send what waits; given up after three seconds."""
        # WORKAROUND: the SDK's own shutdown waits up to half a minute for a collector that is away
        leaving = threading.Thread(target=self._provider.shutdown, daemon=True)
        leaving.start()
        leaving.join(_LEAVE_S)


def open_telemetry(*, is_export_wanted: bool) -> Telemetry:
    """The exporter, or nothing at all; see `settings.is_export_wanted`."""
    return Spans() if is_export_wanted else Silence()


def attributes(receipt: Receipt) -> dict[str, str | int]:
    """What a span says of an execution: who, under what, how it ended, how many."""
    outcome, used = receipt.outcome, receipt.resources
    found: dict[str, str | int] = {
        "wasmgate.execution.id": receipt.execution_id,
        "wasmgate.module.digest": receipt.module_digest,
        "wasmgate.module.name": receipt.module_name,
        "wasmgate.tenant": receipt.tenant,
        "wasmgate.policy.name": receipt.policy_name,
        "wasmgate.policy.digest": receipt.policy_digest,
        "wasmgate.plan.digest": receipt.plan_digest,
        "wasmgate.outcome.kind": outcome.kind.value,
        "wasmgate.records": receipt.records,
        "wasmgate.refusals": sum(one.count for one in receipt.calls if one.decision in _REFUSING),
        "wasmgate.host_calls": used.host_calls,
        "wasmgate.bytes_read": used.bytes_read,
        "wasmgate.bytes_written": used.bytes_written,
    }
    if outcome.exit_code is not None:
        found["wasmgate.outcome.exit_code"] = outcome.exit_code
    if outcome.limit is not None:
        found["wasmgate.outcome.limit"] = outcome.limit
    return found
