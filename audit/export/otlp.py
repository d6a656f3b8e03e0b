"""One refused call as a log record of OpenTelemetry, in the JSON form of its protocol (OTLP).

Sending it is `api.telemetry`'s work. Names are our own, as no convention for WASI exists. INVARIANT: the
record is plain values; 64-bit numbers are text, as OTLP/JSON wants them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from audit.call_names import bare
from audit.columns import SCHEMA
from audit.inert import inert

Cell = int | str | bytes | None
Attribute: TypeAlias = "dict[str, str | dict[str, str]]"

EVENT = "wasmgate.call"
_SEVERITIES = {"deny": (13, "WARN"), "limit": (13, "WARN"), "would_deny": (10, "INFO2")}
_USUAL = (9, "INFO")


def log_record(row: Mapping[str, Cell], *, observed_ns: int) -> dict[str, object]:
    """Give the log record of a row as `AuditReader.records` gives it; empty columns are left out."""
    number, text = _SEVERITIES.get(str(row.get("decision")), _USUAL)
    word = str(row.get("decision"))
    call = bare(str(row.get("call")))
    return {
        "timeUnixNano": str(row.get("t_ns")),
        "observedTimeUnixNano": str(observed_ns),
        "severityNumber": number,
        "severityText": text,
        "eventName": EVENT,
        "body": {"stringValue": f"{inert(call)}: {inert(word)}"},
        "attributes": list(_attributes(row)),
    }


def _attributes(row: Mapping[str, Cell]) -> list[Attribute]:
    found: list[Attribute] = []
    for name in SCHEMA.names:
        value = row.get(name)
        match value:
            case None:
                continue
            case int():
                typed = {"intValue": str(value)}
            case bytes():
                typed = {"stringValue": value.hex()}
            case _:
                typed = {"stringValue": value}
        found.append({"key": f"wasmgate.{name}", "value": typed})
    return found
