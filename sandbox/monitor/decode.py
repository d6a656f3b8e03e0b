"""Turns the ring's bytes into columns, for any number of records at once.

Where bytes lie is `layout.py`, which columns there are is `audit.columns`, and how paths are joined is
`targets.py`. Nothing here runs once per record in Python. INVARIANT: any bytes decode to one row a
record, because a cell that was taken over may have written anything; a code that does not exist
gives an empty column, never an error, and never a code that does exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audit import columns
from audit.columns import NEVER_RETURNED, SCHEMA, Disposition, Stage, TargetKind
from audit.ocsf import UNKNOWN, activity
from audit.start import ExecutionStart
from audit.wal import RecordFrame
from policy.calls import CALL_CODES, CALLS, MODULE
from policy.plan import RIGHTS
from sandbox.monitor.layout import IN_FLIGHT, RECORD, UNTIMED, Decision, Reason
from sandbox.monitor.payload_columns import payload_columns
from sandbox.monitor.targets import Strings, Targets, resolve

Ints = npt.NDArray[np.int64]

_DECISIONS = {
    Decision.ALLOW: (columns.Decision.ALLOW, Disposition.ALLOWED),
    Decision.DENY: (columns.Decision.DENY, Disposition.BLOCKED),
    Decision.WOULD_DENY: (columns.Decision.OBSERVE, Disposition.LOGGED),
    Decision.LIMIT: (columns.Decision.LIMIT, Disposition.BLOCKED),
}
_INWARDS = ("fd_read", "fd_pread", "fd_readdir", "random_get", "sock_recv")
_OUTWARDS = ("fd_write", "fd_pwrite", "sock_send")
_KINDS = {"args": TargetKind.ARGUMENT, "environment": TargetKind.ARGUMENT, "clocks": TargetKind.CLOCK}

OPEN_CREATES = 1
"""Bit of the `flags` of a `path_open`: `oflags` has `creat`."""


def _by_code(values: Iterable[tuple[int, int]], *, default: int = 0) -> Ints:
    table = np.full(256, default, dtype=np.int64)
    for code, value in values:
        table[code] = value
    return table


def _by_call(value: Callable[[str], int], *, default: int = 0) -> Ints:
    return _by_code(((code, value(call.name)) for code, call in enumerate(CALLS)), default=default)


_CALL_INDEX = _by_code(((code, code) for code in range(len(CALLS))), default=len(CALLS))
_CALL_NAMES = (*(f"{MODULE}.{call.name}" for call in CALLS), f"{MODULE}.?")
_DECISION = _by_code((ring, stored) for ring, (stored, _) in _DECISIONS.items())
_DISPOSITION = _by_code((ring, stored) for ring, (_, stored) in _DECISIONS.items())
_CLASS = _by_call(lambda name: activity(name).class_uid, default=UNKNOWN.class_uid)
_ACTIVITY = _by_call(lambda name: activity(name).activity_id, default=UNKNOWN.activity_id)
_REFUSED = _by_call(lambda name: activity(name, is_refused=True).activity_id, default=UNKNOWN.activity_id)
_IS_IN = _by_call(lambda name: name in _INWARDS)
_IS_OUT = _by_call(lambda name: name in _OUTWARDS)
_KIND = _by_code(
    (
        code,
        TargetKind.CLOCK if call.name == "random_get" else _KINDS.get(call.capability, TargetKind.NONE),
    )
    for code, call in enumerate(CALLS)
)
_REASONS = tuple(reason.name.lower() for reason in Reason if reason)
_RIGHTS = tuple(str(right.name).lower() for right in RIGHTS)
_PATH_OPEN, _PROC_EXIT = CALL_CODES["path_open"], CALL_CODES["proc_exit"]
_CREATE = activity("path_open", is_creating=True).activity_id


@dataclass(frozen=True, slots=True)
class _Batch:
    """The records of some frames, one behind the other, and their strings."""

    seq: Ints
    fields: npt.NDArray[np.void]
    strings: Strings


def decode(start: ExecutionStart, frames: Sequence[RecordFrame], opened: pa.Table) -> pa.Table:
    """Give the rows (`audit.columns.SCHEMA`) of frames of one execution, which come in order of `seq`.

    `opened` (`audit.columns.OPENED`) names the calls in earlier frames that made a descriptor.
    """
    batch = _batch(frames)
    if not len(batch.seq):
        return SCHEMA.empty_table()
    targets = resolve(start.mounts, batch.seq, batch.fields, batch.strings, opened=opened)
    values = _numbers(batch.seq, batch.fields) | _words(start, batch.fields) | _targets(batch.fields, targets)
    values |= payload_columns(start, batch.fields, batch.strings)
    return pa.table([values[name] for name in SCHEMA.names], schema=SCHEMA)


def _batch(frames: Sequence[RecordFrame]) -> _Batch:
    parts = [np.frombuffer(frame.records, RECORD, count=frame.n_records) for frame in frames]
    ranges = [
        np.arange(frame.first_seq, frame.first_seq + frame.n_records, dtype=np.int64) for frame in frames
    ]
    if not parts:
        return _Batch(np.empty(0, np.int64), np.empty(0, RECORD), Strings.none())
    fields = np.concatenate(parts)
    return _Batch(np.concatenate(ranges), fields, Strings.of(frames, fields))


def _numbers(seq: Ints, fields: npt.NDArray[np.void]) -> dict[str, pa.Array]:
    call, decision, errno, dur = fields["call"], fields["decision"], fields["errno"], fields["dur_ns"]
    returned = errno != IN_FLIGHT
    moved = np.where(errno == 0, np.maximum(fields["aux"], 0), 0)
    decided = _DECISION[decision]
    refused = (decided == columns.Decision.DENY) | (decided == columns.Decision.LIMIT)
    activities = np.where(refused, _REFUSED[call], _ACTIVITY[call])
    creates = (call == _PATH_OPEN) & ((fields["flags"] & OPEN_CREATES) != 0)
    numbers: dict[str, npt.NDArray[np.generic]] = {
        "seq": seq,
        "t_ns": fields["t_ns"],
        "stage": np.where(returned | (call == _PROC_EXIT), Stage.EXIT, Stage.TRAP),
        "class_uid": _CLASS[call],
        "activity_id": np.where(creates, _CREATE, activities),
        "decision": decided,
        "disposition": _DISPOSITION[decision],
        "errno": np.where(returned, errno, NEVER_RETURNED),
        "fd": fields["fd"],
        "fd2": fields["fd2"],
        "flags": fields["flags"],
        "bytes_in": np.where(_IS_IN[call] == 1, moved, 0),
        "bytes_out": np.where(_IS_OUT[call] == 1, moved, 0),
        "n": np.ones(len(seq), np.int64),
        "opener_seq": fields["opener"],
        "t_last_ns": fields["t_ns"],
    }
    arrays = {
        name: pa.array(np.ascontiguousarray(value), pa.int64()).cast(SCHEMA.field(name).type)
        for name, value in numbers.items()
    }
    lasted = np.where(dur == IN_FLIGHT, NEVER_RETURNED, dur)
    return arrays | {"dur_ns": pa.array(lasted, pa.int64(), mask=dur == UNTIMED)} | _empty(len(seq))


def _empty(count: int) -> dict[str, pa.Array]:
    """The columns that single calls leave empty."""
    names = ("dur_max_ns", "errnos")
    return {name: pa.nulls(count, SCHEMA.field(name).type) for name in names}


def _words(start: ExecutionStart, fields: npt.NDArray[np.void]) -> dict[str, pa.Array]:
    count = len(fields)
    rule, reason, right = (fields[name].astype(np.int64) for name in ("rule", "reason", "right"))
    # Rule 0 is the default deny: on a call that was allowed it means that no rule was asked.
    rule = np.where((rule == 0) & (fields["decision"] == Decision.ALLOW), -1, rule)
    return {
        "exec_id": _constant(start.exec_id, count),
        "tenant_id": _constant(start.tenant, count),
        "module_id": _constant(start.module_digest, count),
        "policy_id": _constant(start.policy_digest, count),
        "rule_id": _coded(rule, start.rules),
        "call": _coded(_CALL_INDEX[fields["call"]], _CALL_NAMES),
        "reason": _coded(reason - 1, _REASONS),
        "right": _coded(right - 1, _RIGHTS),
    }


def _targets(fields: npt.NDArray[np.void], found: Targets) -> dict[str, pa.Array]:
    kind = np.where(found.kind == TargetKind.NONE, _KIND[fields["call"]], found.kind)
    return {
        "target_kind": pa.array(kind, pa.int64()).cast(pa.int8()),
        "target": _coded(found.target, found.texts),
        "guest_target": _coded(found.guest_target, found.texts),
        "target2": _coded(found.target2, found.texts),
    }


def _constant(text: str, count: int) -> pa.DictionaryArray:
    return _coded(np.zeros(count, np.int64), (text,))


def _coded(indices: Ints, words: Sequence[str]) -> pa.DictionaryArray:
    """Give text by index; an index that has no word gives null, a word that nobody uses is left out."""
    missing = (indices < 0) | (indices >= len(words))
    places = np.where(missing, 0, indices)
    used = np.zeros(max(len(words), 1), np.bool_)
    used[places[~missing]] = True
    renumbered = (np.cumsum(used) - 1)[places].astype(np.int32)
    kept = [words[place] for place in np.flatnonzero(used).tolist()]
    codes = pa.array(renumbered, pa.int32(), mask=missing)
    return pa.DictionaryArray.from_arrays(codes, pa.array(kept, pa.string()))
