"""OTLP: refusals as log records for a collector of OpenTelemetry, over HTTP in JSON.

What a record says is `audit/export/otlp.py`; spans are `api/telemetry.py`. It is sent without the SDK, whose
exporters drop what they can't deliver and never say so. SPEC: OTLP 1.x, OTLP/HTTP; the attribute
`log.record.uid` is the same when a record is sent again. INVARIANT: an answer of 200 and nothing else means
that it was taken; what a collector rejects is counted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from audit.export.otlp import log_record
from audit.followers.errors import SinkError
from audit.followers.exchange import Endpoint, post
from audit.followers.refusals import Batch, Notice, key_of_row, rows_of
from audit.inert import inert

_MOST = 65_536
_EVENT = "wasmgate.notice"


@dataclass(frozen=True, slots=True)
class OtlpSink:
    """One collector; `to` is its address for logs, as `https://host:4318/v1/logs`."""

    to: Endpoint
    now_ns: Callable[[], int] = field(default=time.time_ns)

    def send(self, batch: Batch) -> int:
        """Send refusals and notices; gives how many the collector rejected."""
        body = json.dumps(self._request(batch), ensure_ascii=True).encode()
        found = post(self.to, body, kind="application/json", most=_MOST)
        if found.status != 200:
            raise SinkError(self.to.shown, f"it answered {found.status}")
        return _rejected(found.body)

    def _request(self, batch: Batch) -> dict[str, object]:
        observed_ns = self.now_ns()
        records = []
        for row in rows_of(batch):
            record = log_record(row, observed_ns=observed_ns)
            cast("list[object]", record["attributes"]).append(_text("log.record.uid", key_of_row(row)))
            records.append(record)
        records += [_record(notice, observed_ns) for notice in batch.notices]
        scope = {"scope": {"name": "wasmgate.audit"}, "logRecords": records}
        resource = {"attributes": [_text("service.name", "wasmgate")]}
        return {"resourceLogs": [{"resource": resource, "scopeLogs": [scope]}]}


def _record(notice: Notice, observed_ns: int) -> dict[str, object]:
    attributes: list[dict[str, object]] = [
        _text("log.record.uid", notice.key),
        _text("wasmgate.notice", notice.word),
    ]
    if notice.count is not None:
        attributes.append({"key": "wasmgate.suppressed", "value": {"intValue": str(notice.count)}})
    return {
        "timeUnixNano": str(notice.at_ns),
        "observedTimeUnixNano": str(observed_ns),
        "severityNumber": 13,
        "severityText": "WARN",
        "eventName": _EVENT,
        "body": {"stringValue": inert(notice.text)},
        "attributes": attributes,
    }


def _text(key: str, value: str) -> dict[str, object]:
    return {"key": key, "value": {"stringValue": value}}


def _rejected(body: bytes) -> int:
    """Give how many records a collector says it rejected. SPEC: they must not be sent again."""
    try:
        said = cast("dict[str, dict[str, object]]", json.loads(body or b"{}"))
        return max(int(str(said.get("partialSuccess", {}).get("rejectedLogRecords", 0))), 0)
    except (ValueError, AttributeError, RecursionError):
        return 0
