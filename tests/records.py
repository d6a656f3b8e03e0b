"""Records as the monitor would write them, made with numpy, and a log to put them in.

Tests of the audit log and of the decoder share them; real guests live in `tests/programs.py`.
INVARIANT: the same arguments give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from audit.identity import ExecutionId
from audit.receipt import Outcome, OutcomeKind, Receipt
from audit.start import ExecutionStart, MountPoint
from audit.wal import RecordFrame
from audit.writer import AuditWriter
from policy.calls import CALL_CODES
from sandbox.monitor.layout import ARENA_BYTES, FIRST_MOUNT, NO_OPENER, RECORD

T0 = 1_795_000_000_000_000_000
RULES = ("default", "builtin", "in", "out")
MOUNTS = (MountPoint("/in", "/srv/in"), MountPoint("/out", "tmp://out"), MountPoint("/", "/srv/root"))
IN, OUT, ROOT = (FIRST_MOUNT - mount for mount in range(3))


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One record, spelt out."""

    call: str
    path: bytes = b""
    path2: bytes = b""
    fields: Mapping[str, int] = field(default_factory=dict)


def call(name: str, path: bytes = b"", path2: bytes = b"", **fields: int) -> Call:
    return Call(call=name, path=path, path2=path2, fields=fields)


def pack(
    calls: Sequence[Call], *, first_seq: int = 0, arena_start: int = 0, t0: int = T0
) -> tuple[npt.NDArray[np.void], bytes]:
    """Give records and arena; a string that would not fit before the ring's end goes to its start."""
    made = np.zeros(len(calls), RECORD)
    arena = bytearray()
    for index, one in enumerate(calls):
        at = (arena_start + len(arena)) % ARENA_BYTES
        text = one.path + one.path2
        if at + len(text) > ARENA_BYTES:
            arena += bytes(ARENA_BYTES - at)
            at = 0
        arena += text
        values = {
            "t_ns": t0 + (first_seq + index) * 1000,
            "dur_ns": 50,
            "opener": NO_OPENER,
            "fd": -1,
            "fd2": -1,
        }
        values |= {"call": CALL_CODES[one.call], "target_at": at if text else 0}
        values |= {"target_len": len(one.path), "target2_len": len(one.path2)}
        for name, value in (values | dict(one.fields)).items():
            made[name][index] = value
    return made, bytes(arena)


def frame(calls: Sequence[Call], *, first_seq: int = 0, arena_start: int = 0) -> RecordFrame:
    made, arena = pack(calls, first_seq=first_seq, arena_start=arena_start)
    return RecordFrame(first_seq, len(calls), made.tobytes(), arena, arena_start)


def start(*, number: int = 0, **changes: object) -> ExecutionStart:
    """Give the start of an execution; `number` sets its time, and so its place among others."""
    values: dict[str, object] = {
        "exec_id": ExecutionId(f"01a1ee56-5e00-7000-8000-{number:012x}"),
        "started_at_ns": T0 + number * 1_000_000,
        "module_digest": "sha256:" + "ab" * 32,
        "module_name": "sample",
        "policy_name": "test",
        "policy_digest": "sha256:" + "cd" * 32,
        "plan_digest": "sha256:" + "ef" * 32,
        "mode": "enforce",
        "layout_version": 1,
        "rules": RULES,
        "mounts": MOUNTS,
        "host": (("engine", "cranelift"),),
    }
    return ExecutionStart(**(values | changes))  # type: ignore[arg-type]  # the names are checked by the call


def receipt(of: ExecutionStart, *, records: int = 0) -> Receipt:
    return Receipt(
        execution_id=of.exec_id,
        module_digest=of.module_digest,
        module_name=of.module_name,
        tenant=of.tenant,
        policy_name=of.policy_name,
        policy_digest=of.policy_digest,
        plan_digest=of.plan_digest,
        started_at_ns=of.started_at_ns,
        ended_at_ns=of.started_at_ns + 5_000_000,
        outcome=Outcome(kind=OutcomeKind.EXITED, exit_code=0),
        records=records,
    )


STORY: tuple[Call, ...] = (
    call("args_sizes_get", dur_ns=-2),
    call("path_open", b"a.csv", opener=IN, fd=3, fd2=5, rule=2),
    call("fd_read", opener=1, fd=5, aux=4096, rule=2),
    call("fd_write", fd=1, aux=12, rule=3),
    call("path_open", b"../../etc/passwd", opener=IN, fd=3, decision=1, errno=76, reason=2),
    call("path_open", b"out.txt", opener=OUT, fd=4, fd2=6, flags=1, rule=3),
    call("fd_pwrite", opener=5, fd=6, aux=100, rule=3),
    call("path_rename", b"out.txt", b"new.txt", opener=OUT, aux=OUT, fd=4, fd2=4, rule=3),
    call("path_unlink_file", b"secret", opener=IN, fd=3, decision=2, reason=1, right=6, rule=1),
    call("random_get", aux=32),
    call("proc_exit", dur_ns=-1, errno=-1),
)
"""A short run that touches most columns."""


def tell(writer: AuditWriter, of: ExecutionStart, *, rounds: int = 1, is_ended: bool = True) -> int:
    """Write `STORY` some times over as one execution; give the number of records."""
    writer.begin(of)
    for number in range(rounds):
        first = number * len(STORY)
        made, arena = pack(STORY, first_seq=first, t0=of.started_at_ns)
        for name in ("opener", "aux"):
            refers = (made[name] >= 0) & ((name == "opener") | (made["call"] == CALL_CODES["path_rename"]))
            made[name] = np.where(refers, made[name] + first, made[name])
        writer.append(of.exec_id, first_seq=first, records=made.tobytes(), arena=arena)
    writer.commit()
    count = rounds * len(STORY)
    if is_ended:
        writer.end(of.exec_id, receipt(of, records=count))
    return count
