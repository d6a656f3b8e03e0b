"""Rows for tests of exports: every call, decision and stage there is, and rows with hostile text and large numbers.

Records as the monitor writes them are `tests/records.py`. INVARIANT: the same arguments give the same rows.
"""

from __future__ import annotations

import json
import re
from itertools import product
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from audit.columns import SCHEMA, WORDS, Decision, Disposition, Masked, Stage, TargetKind
from audit.ocsf import activity
from policy.calls import CALLS

Row = dict[str, Any]
T0 = 1_795_000_000_123_456_789

PLAIN: Row = {
    "exec_id": "01a1ee56-5e00-7000-8000-000000000000", "seq": 0, "t_ns": T0, "dur_ns": 50, "stage": 1, "tenant_id": "default",
    "module_id": "sha256:" + "ab" * 32, "policy_id": "sha256:" + "cd" * 32, "rule_id": "in",
    "call": "wasi_snapshot_preview1.path_open", "class_uid": 1001, "activity_id": 14, "decision": 1, "disposition": 1, "errno": 0,
    "reason": None, "right": None, "fd": 3, "fd2": 5, "target_kind": 1, "target": "/srv/in/a.csv", "guest_target": "/in/a.csv",
    "target2": None, "flags": 0, "bytes_in": 0, "bytes_out": 0, "n": 1, "opener_seq": -2, "t_last_ns": T0, "dur_max_ns": None,
    "errnos": None, "masked": 0, "payload": None, "payload_sha256": None,
}  # fmt: skip


def row(**changes: Any) -> Row:
    made = PLAIN | changes
    return made | ({} if "t_last_ns" in changes else {"t_last_ns": made["t_ns"]})


def table(rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def every_call_decision_and_stage() -> list[Row]:
    found = []
    for seq, (call, decision, stage) in enumerate(product(CALLS, Decision, Stage)):
        is_refused = decision in {Decision.DENY, Decision.LIMIT}
        kind = activity(call.name, is_refused=is_refused)
        changes: Row = {
            "seq": seq, "t_ns": T0 + seq, "call": f"wasi_snapshot_preview1.{call.name}", "class_uid": kind.class_uid,
            "activity_id": kind.activity_id, "decision": int(decision), "stage": int(stage),
            "disposition": int(Disposition.BLOCKED if is_refused else Disposition.ALLOWED),
            "errno": -1 if stage is Stage.TRAP else 76 if is_refused else 0, "reason": "rule" if is_refused else None,
            "right": "read" if is_refused else None, "dur_ns": -1 if stage is Stage.TRAP else 50,
        }  # fmt: skip
        if stage is Stage.SUMMARY:
            changes |= {
                "n": 9,
                "t_last_ns": T0 + seq + 5_000_000,
                "dur_max_ns": 17,
                "errno": -2,
                "errnos": "0:7,8:2",
            }
        found.append(row(**changes))
    return found


UNUSUAL: list[Row] = [
    row(class_uid=0, activity_id=0),
    row(class_uid=1005, activity_id=3),
    row(class_uid=6003, activity_id=1, call="host.charge"),
    row(class_uid=4003, activity_id=1),  # no class that is written here
    row(class_uid=1001, activity_id=77),
    row(class_uid=4001, activity_id=1, target="[2001:db8::1]:443/tcp", target_kind=2, rule_id="db"),
    row(class_uid=4001, activity_id=1, target="10.0.0.7:80/tcp", target_kind=2),
    row(class_uid=4001, activity_id=1, target="10.0.0.7:99999/tcp", target_kind=2),
    row(class_uid=4001, activity_id=1, target="999.1.1.1:80", target_kind=2),
    row(class_uid=4001, activity_id=1, target="db.local", target_kind=3),
    row(class_uid=4001, activity_id=6, target=None, bytes_in=1 << 40, bytes_out=7),
    row(call="wasi_snapshot_preview1.proc_exit", class_uid=1007, activity_id=2, flags=3, errno=-1),
    row(call="wasi_snapshot_preview1.proc_exit", class_uid=1007, activity_id=2, flags=(1 << 32) - 1, errno=-1),
    row(call="wasi_snapshot_preview1.path_rename", activity_id=5, target2="/srv/out/b"),
    row(seq=1 << 40, n=1 << 33, flags=(1 << 63) - 1, bytes_in=(1 << 63) - 1, opener_seq=1 << 60, t_last_ns=T0 + 10**12),
    row(t_ns=-1), row(t_ns=0), row(t_ns=-(1 << 63)), row(t_ns=(1 << 63) - 1), row(t_ns=T0 // 10**9 * 10**9),
    row(masked=int(Masked.TARGET | Masked.PAYLOAD), target="hmac:" + "0" * 32, payload=b"\x00\xff", payload_sha256=b"\x07" * 32),
    row(target=None, guest_target=None, target_kind=int(TargetKind.NONE)), row(target=None), row(target="", guest_target=""),
    row(target="/"), row(target="tmp://out/"), row(disposition=99), row(module_id="not a digest", policy_id="", rule_id="", reason=""),
    row(rule_id=None, tenant_id="über\x00 tenant\x01"), row(exec_id='exec "\\\x01 id', target="\x01seq\x01 \x01path\x01"),
]  # fmt: skip
"""Rows that a decoder may give, or a cell that was taken over may write."""

NASTY = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.text(
        st.sampled_from("=+-@\t\r\n'\"\\|],;\x00\x01\x1b\u202e\ufeff\u2028 xu0ab\U000e0001\uff1d"),
        max_size=12,
    ),
    st.sampled_from(
        [
            "=1+1",
            "@SUM(1)",
            "-2",
            "+2",
            "'=1",
            "a,=1",
            'a;"=1',
            "\\x41",
            "\\",
            "\\\\",
            " a ",
            " ",
            "",
            "k=v x=y",
            "\x01seq\x01",
        ]
    ),
)
_INT = st.integers(-(1 << 63), (1 << 63) - 1)
_TEXT = st.none() | NASTY
ANY: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("exec_id", "tenant_id", "call", "module_id", "policy_id"), NASTY),
    **dict.fromkeys(("rule_id", "reason", "right", "target", "guest_target", "target2", "errnos"), _TEXT),
    **dict.fromkeys(("seq", "t_ns", "t_last_ns", "flags", "n", "bytes_in", "bytes_out", "opener_seq"), _INT),
    **dict.fromkeys(("dur_ns", "dur_max_ns"), st.none() | _INT),
    **dict.fromkeys(("fd", "fd2"), st.integers(-(1 << 31), (1 << 31) - 1)),
    **dict.fromkeys(("stage", "activity_id", "disposition", "target_kind", "masked"), st.integers(-128, 127)),
    "decision": st.sampled_from(sorted(int(code) for code in WORDS)), "errno": st.integers(-(1 << 15), (1 << 15) - 1),
    "class_uid": st.sampled_from([0, 1001, 1003, 1005, 1007, 4001, 6003, -1]),
    "payload": st.none() | st.binary(max_size=9), "payload_sha256": st.none() | st.binary(min_size=32, max_size=32),
}  # fmt: skip
ROWS = st.lists(
    st.fixed_dictionaries({}, optional=ANY).map(lambda changes: row(**changes)), min_size=1, max_size=4
)
"""Rows that differ from a plain one in some columns, in any way that their types allow."""


def by_path(event: Row, path: str) -> Any:
    """What is at a path such as `a.b.c`; None if there is nothing."""
    found: Any = event
    for step in path.split("."):
        found = found.get(step) if isinstance(found, dict) else None
    return found


def cef_values(line: str) -> tuple[list[str], dict[str, str]]:
    """The header and the extension of a line of CEF, by the rules of the format alone; values stay spelt."""
    header, rest = [], line
    for _ in range(7):
        field = re.match(r"(?:[^\\|]|\\.)*", rest)
        assert field is not None
        header.append(re.sub(r"\\([\\|])", r"\1", field[0]))
        rest = rest[field.end() + 1 :]
    keys = list(re.finditer(r"(?:^| )(\w+)=", re.sub(r"\\.", "__", rest)))
    ends = [match.start() for match in keys[1:]] + [len(rest)]
    found = {match[1]: rest[match.end() : end] for match, end in zip(keys, ends, strict=True)}
    return header, {key: re.sub(r"\\([\\=])", r"\1", value) for key, value in found.items()}


def lines(content: bytes) -> list[Row]:
    return [json.loads(line) for line in content.decode().split("\n")[:-1]]
