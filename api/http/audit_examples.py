"""Examples of what is asked of the audit log and answered, for the OpenAPI document; data only.

The models that they follow are in `audit_models.py` and `audit_views.py`, and a test holds them to that.
INVARIANT: as in `examples.py`, nothing here is of a real log.
"""

from __future__ import annotations

from api.http.examples import EXECUTION as RUN
from api.http.examples import EXECUTION_ID, RECORD, STARTED, Example

_LATER = "2026-11-22T18:14:41.000000000Z"
_EXPORT_ID = "0199c0de-0000-7000-8000-0000000000e1"
_ROOT = "tdQr7xIfhHoQWLg9HQy7PtJZqzzm2n1Y1kGmVq0z5Wk="
_AT = f"/v1/audit/executions/{EXECUTION_ID}"

EVENTS: Example = {"events": [RECORD], "next": "AgAB"}
LINKS: Example = {
    "self": _AT,
    "events": f"{_AT}/events",
    "files": f"{_AT}/files",
    "connections": f"{_AT}/connections",
}
LISTED: Example = {
    **{name: value for name, value in RUN.items() if name != "links"},
    "leaf": {"index": 7, "kind": "receipt"},
    "gaps": [],
    "links": LINKS,
}
EXECUTIONS: Example = {"executions": [LISTED], "next": None}
EXECUTION: Example = {
    **LISTED,
    "totals": {"events": 1, "bytes_in": 0, "bytes_out": 0, "calls": {"path_open": {"deny": 1}}},
}
FILES: Example = {"rows": [{"target": "/srv/in/a.key", "guest_target": "/in/a.key", "calls": 1, "denied": 1}]}
CONNECTIONS: Example = {"rows": []}

AGGREGATE_REQUEST: Example = {
    "by": ["call", "decision"],
    "metrics": ["count", "p95"],
    "filter": {"from": "2026-11-22T00:00:00Z", "to": "2026-11-23T00:00:00Z"},
}
AGGREGATE: Example = {
    "rows": [{"call": "wasi_snapshot_preview1.path_open", "decision": "deny", "count": 1, "p95": None}],
    "source": "scan",
    "is_truncated": False,
}

TAIL = """\
event: record
data: {"exec_id":"0199c0de-0000-7000-8000-000000000001","seq":0,"call":"wasi_snapshot_preview1.path_open"}

id: 3f2a91c0d4e5b687.12.0
event: position
data: {}

"""

EXPORT_REQUEST: Example = {"form": "ndjson", "filter": {"decision": "deny"}}
EXPORT_GOING: Example = {
    "export_id": _EXPORT_ID,
    "form": "ndjson",
    "state": "running",
    "asked_at": STARTED,
    "rows": None,
    "size_bytes": None,
    "problem": None,
    "manifest": None,
    "file": f"/v1/audit/exports/{_EXPORT_ID}/file",
}
EXPORT: Example = {
    **EXPORT_GOING,
    "state": "done",
    "rows": 1,
    "size_bytes": 612,
    "manifest": {"schema": "wasmgate.export.v1", "rows": 1},
}
EXPORTS: Example = {"exports": [EXPORT]}

CHECKPOINT = f"""\
wasmgate.local/audit
8
{_ROOT}

— wasmgate.local/audit 6t5mYw9tVQ==
"""
CONSISTENCY: Example = {
    "schema": "wasmgate.consistency.v1",
    "first": {"size": 7, "root": _ROOT},
    "second": {"size": 8, "root": _ROOT},
    "path": [_ROOT],
}
RECORD_PROOF: Example = {
    "schema": "wasmgate.record-proof.v1",
    "exec_id": EXECUTION_ID,
    "seq": "0",
    "tenant_id": RECORD["tenant_id"],
    "module_id": RECORD["module_id"],
    "policy_id": RECORD["policy_id"],
    "first_seq": "0",
    "records": "AAAA",
    "position": 0,
    "chunk": 0,
    "chunks": 1,
    "path": [],
    "row": {"seq": "0", "call": "wasi_snapshot_preview1.path_open"},
    "receipt_proof": f"c2sp.org/tlog-proof@v1\nindex 7\n{_ROOT}\n\n{CHECKPOINT}",
}
VERIFY_REQUEST: Example = {"execution": EXECUTION_ID}
VERIFY_LINES = [
    {"kind": "progress", "checked": {"entries": 8, "segments": 1}},
    {
        "kind": "result",
        "checked_at": "2026-11-22T18:14:40.000000000Z",
        "result": "verified",
        "status": 0,
        "findings": [],
        "not_listed": 0,
        "checked": {"entries": 8, "segments": 2},
    },
]
HASH_REQUEST: Example = {"tenant": "acme", "value": "/srv/in/a.key"}
HASH: Example = {"tenant": "acme", "hash": "hmac:1c8f2f6e0f5d4a3b2c1d0e9f8a7b6c5d"}

STATUS: Example = {
    "tree_size": 8,
    "checkpoint": {"size": 8, "age_s": 0.4},
    "unsealed_files": 1,
    "unsealed_bytes": 4_096,
    "unsealed_age_s": 1.5,
    "damaged_files": 0,
    "dropped": 0,
    "gaps": 0,
    "back_pressure_s": 0.0,
    "running": 0,
    "problems": [],
    "disk": {"used_bytes": 1_048_576, "free_bytes": 107_374_182_400, "budget_bytes": 0},
    "followers": [],
}
CONTROL: Example = {
    "events": [
        {
            "id": "0199c0de-0000-7000-8000-0000000000c1",
            "at": _LATER,
            "event": "read",
            "actor": "key:ann",
            "tenant": "acme",
            "details": {"what": "list_events", "scope": "acme", "filter": "{}", "rows": 1, "complete": 1},
            "leaf": 6,
        }
    ],
    "next": None,
}
