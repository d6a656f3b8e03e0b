"""Examples of what is sent and answered, for the OpenAPI document; data only.

The models that they follow are in `models.py` and `views.py`, and a test holds them to that. INVARIANT: the
module is the smallest that runs, and the policy is one that can be checked as it stands.
"""

from __future__ import annotations

from typing import Any

Example = dict[str, Any]

DIGEST = "sha256:5647c39a1d25d8728350f9619025292a62e78a602068a2ad9b6f075751c93d99"
"""Of `(module (func (export "_start")))`."""

POLICY_TEXT = """\
version: 1
metadata: {name: nothing-but-output}
permissions:
  stdio: {stdout: capture, stderr: capture}
  clocks: {wall: none, monotonic: none}
"""
EXECUTION_ID = "0199c0de-0000-7000-8000-000000000001"
_POLICY_DIGEST = "sha256:1f0e3c6f7f0b2f4a6d8e9c0b1a2d3e4f5061728394a5b6c7d8e9f00112233445"
_PLAN_DIGEST = "sha256:9a8b7c6d5e4f30211203f4e5d6c7b8a99a8b7c6d5e4f30211203f4e5d6c7b8a9"
STARTED = "2026-11-22T18:14:40.000000000Z"

HEALTH: Example = {"status": "ok", "version": "0.1.0"}

MODULE: Example = {"digest": DIGEST, "name": "nothing.wasm", "size_bytes": 36, "stored_at": STARTED}
MODULES: Example = {"modules": [MODULE]}
INSPECTED: Example = {
    **MODULE,
    "policy": "nothing-but-output",
    "refusal": None,
    "inspection": {
        "imports": [
            {
                "module": "wasi_snapshot_preview1",
                "name": "clock_time_get",
                "kind": "function",
                "signature": "(i32, i64, i32) -> i32",
                "provision": "provided",
                "standing": "refused",
                "rule": "clocks",
                "note": "set `permissions.clocks.wall: real`",
            }
        ],
        "not_granted": ["clock_time_get"],
        "exports": [{"name": "_start", "kind": "function", "signature": "()", "is_callable": True}],
        "exports_total": 1,
        "functions": 1,
        "code_bytes": 2,
        "memories": [{"minimum_bytes": 65_536, "maximum_bytes": None}],
        "tables": 0,
        "has_start": False,
        "custom_sections": [],
        "notes": [],
    },
}

POLICIES: Example = {"policies": [{"name": "nothing-but-output"}]}
CHECKED: Example = {
    "is_valid": False,
    "findings": [
        {
            "message": 'unknown key "storge" (did you mean "storage"?)',
            "field": "permissions.storge",
            "line": 4,
            "column": 3,
            "found": "",
            "expected": "",
            "suggestion": 'did you mean "storage"?',
            "id": "unknown-key",
            "severity": "error",
        }
    ],
    "policy_name": None,
    "policy_digest": None,
    "plan_digest": None,
    "explanation": [],
}
POLICY: Example = {
    "is_valid": True,
    "findings": [],
    "policy_name": "nothing-but-output",
    "policy_digest": _POLICY_DIGEST,
    "plan_digest": _PLAN_DIGEST,
    "explanation": ["No file is granted.", "The network is not granted."],
    "name": "nothing-but-output",
    "text": POLICY_TEXT,
}

RUN_REQUEST: Example = {"module": DIGEST, "policy_document": POLICY_TEXT, "args": ["--verbose"], "wait": True}
_LINKS = {
    "self": f"/v1/executions/{EXECUTION_ID}",
    "events": f"/v1/audit/executions/{EXECUTION_ID}/events",
    "stdout": f"/v1/executions/{EXECUTION_ID}/stdout",
    "stderr": f"/v1/executions/{EXECUTION_ID}/stderr",
}
RUNNING: Example = {
    "execution_id": EXECUTION_ID,
    "status": "running",
    "tenant": "default",
    "module": {"digest": DIGEST, "name": "nothing.wasm"},
    "policy": {"digest": _POLICY_DIGEST, "name": "nothing-but-output"},
    "started_at": STARTED,
    "receipt": None,
    "links": _LINKS,
}
EXECUTION: Example = {
    **RUNNING,
    "status": "done",
    "receipt": {
        "execution_id": EXECUTION_ID,
        "tenant": "default",
        "module": {"digest": DIGEST, "name": "nothing.wasm"},
        "policy": {"digest": _POLICY_DIGEST, "name": "nothing-but-output"},
        "plan_digest": _PLAN_DIGEST,
        "started_at": STARTED,
        "ended_at": "2026-11-22T18:14:40.004000000Z",
        "outcome": {"kind": "exited", "exit_code": 0, "limit": None, "message": None},
        "calls": {"path_open": {"deny": 1}},
        "records": 1,
        "refusals": [
            {"seq": 0, "call": "path_open", "target": "/srv/in/a.key", "rule": "default", "reason": "rule"}
        ],
        "resources": {
            "wall_ms": 3,
            "waited_ms": 0,
            "cpu_ms": 2,
            "peak_memory_bytes": 65_536,
            "bytes_read": 0,
            "bytes_written": 0,
            "host_calls": 1,
        },
        "walls": ["wasm", "monitor", "process"],
        "gaps": [],
    },
}
QUEUE: Example = {
    "total": {"running": 3, "waiting": 2},
    "tenants": [
        {"tenant": "acme", "running": 2, "waiting": 2},
        {"tenant": "default", "running": 1, "waiting": 0},
    ],
    "bounds": {
        "running": 4,
        "running_of_tenant": 3,
        "waiting": 64,
        "waiting_of_tenant": 32,
        "wait_s": 60,
    },
    "is_ending": False,
}
EXECUTIONS: Example = {"executions": [EXECUTION], "next": None}

RECORD: Example = {
    "exec_id": EXECUTION_ID,
    "seq": 0,
    "t_ns": 1_795_371_280_000_000_000,
    "dur_ns": None,
    "stage": 1,
    "tenant_id": "default",
    "module_id": DIGEST,
    "policy_id": _POLICY_DIGEST,
    "rule_id": "default",
    "call": "wasi_snapshot_preview1.path_open",
    "class_uid": 1001,
    "activity_id": 14,
    "decision": "deny",
    "disposition": 2,
    "errno": 76,
    "reason": "rule",
    "right": "read",
    "fd": 3,
    "fd2": -1,
    "target_kind": 1,
    "target": "/srv/in/a.key",
    "guest_target": "/in/a.key",
    "target2": None,
    "flags": 0,
    "bytes_in": 0,
    "bytes_out": 0,
    "n": 1,
    "opener_seq": -2,
    "t_last_ns": 1_795_371_280_000_000_000,
    "dur_max_ns": None,
    "errnos": None,
    "masked": 0,
    "payload": None,
    "payload_sha256": None,
}
STATS: Example = {
    "records": 1,
    "executions": 1,
    "calls": {"path_open": {"deny": 1}},
    "refusals_by_rule": {"default": 1},
    "refusals_by_reason": {"rule": 1},
    "bytes_in": 0,
    "bytes_out": 0,
    "first_t_ns": 1_795_371_280_000_000_000,
    "last_t_ns": 1_795_371_280_000_000_000,
}
