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
from policy.calls import CALL_CODES, CALLS
from policy.component_calls import BASES, MAX_CODES, MODULES, NAMES
from policy.plan import RIGHTS
from sandbox.monitor.arena_strings import Strings
from sandbox.monitor.layout import IN_FLIGHT, RECORD, UNTIMED, Decision, Reason
from sandbox.monitor.payload_columns import payload_columns
from sandbox.monitor.targets import Fields, Targets, dictionary, resolve

Ints = npt.NDArray[np.int64]
Table = npt.NDArray[np.integer]

_DECISIONS = {
    Decision.ALLOW: (columns.Decision.ALLOW, Disposition.ALLOWED),
    Decision.DENY: (columns.Decision.DENY, Disposition.BLOCKED),
    Decision.WOULD_DENY: (columns.Decision.OBSERVE, Disposition.LOGGED),
    Decision.LIMIT: (columns.Decision.LIMIT, Disposition.BLOCKED),
}
_INWARDS = ("fd_read", "fd_pread", "fd_readdir", "random_get", "sock_recv", "sock_recv_from", "http_response")
_OUTWARDS = ("fd_write", "fd_pwrite", "sock_send", "sock_send_to", "http_request")
_KINDS = {"args": TargetKind.ARGUMENT, "environment": TargetKind.ARGUMENT, "clocks": TargetKind.CLOCK}

OPEN_CREATES = 1
"""Bit of the `flags` of a `path_open`: `oflags` has `creat`."""


def _by_code(values: Iterable[tuple[int, int]], *, default: int = 0, of: str = "n") -> Table:
    """Make a table by code for a column, in the column's own type."""
    table = np.full(256, default, dtype=SCHEMA.field(of).type.to_pandas_dtype())
    for code, value in values:
        table[code] = value
    return table


def _by_call(value: Callable[[str], int], *, default: int = 0, of: str = "n") -> Table:
    return _by_code(((code, value(call.name)) for code, call in enumerate(CALLS)), default=default, of=of)


_CALL_INDEX = _by_code(((code, code) for code in range(len(NAMES))), default=len(NAMES))
_CALL_NAMES = (*map(".".join, zip(MODULES, NAMES, strict=True)), f"{MODULES[0]}.?")
_BASE = _by_code(enumerate(BASES), default=MAX_CODES)
_DECISION = _by_code(((ring, stored) for ring, (stored, _) in _DECISIONS.items()), of="decision")
_DISPOSITION = _by_code(((ring, stored) for ring, (_, stored) in _DECISIONS.items()), of="disposition")
_CLASS = _by_call(lambda name: activity(name).class_uid, default=UNKNOWN.class_uid, of="class_uid")
_ACTIVITY = _by_call(lambda name: activity(name).activity_id, default=UNKNOWN.activity_id, of="activity_id")
_REFUSED = _by_call(
    lambda name: activity(name, is_refused=True).activity_id, default=UNKNOWN.activity_id, of="activity_id"
)
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
_REASON = _by_code(((at + 1, at) for at in range(len(_REASONS))), default=-1)
_RIGHT = _by_code(((at + 1, at) for at in range(len(_RIGHTS))), default=-1)
_PATH_OPEN, _PROC_EXIT = CALL_CODES["path_open"], CALL_CODES["proc_exit"]
_CREATE = np.int8(activity("path_open", is_creating=True).activity_id)
_EXIT, _TRAP, _NEVER = np.int8(Stage.EXIT), np.int8(Stage.TRAP), np.int16(NEVER_RETURNED)


@dataclass(frozen=True, slots=True)
class _Batch:
    """The records of some frames, one behind the other, and their strings."""

    seq: Ints
    fields: Fields
    strings: Strings


def decode(start: ExecutionStart, frames: Sequence[RecordFrame], opened: pa.Table) -> pa.Table:
    """Give the rows (`audit.columns.SCHEMA`) of frames of one execution, which come in order of `seq`.

    `opened` (`audit.columns.OPENED`) names the calls in earlier frames that made a descriptor.
    """
    if not any(frame.n_records for frame in frames):
        return SCHEMA.empty_table()
    batch = _batch(frames)
    targets = resolve(start.mounts, batch.seq, batch.fields, batch.strings, opened=opened)
    values = _numbers(batch.seq, batch.fields) | _words(start, batch.fields) | _targets(batch.fields, targets)
    values |= payload_columns(start, batch.fields, batch.strings)
    return pa.table([values[name] for name in SCHEMA.names], schema=SCHEMA)


def _batch(frames: Sequence[RecordFrame]) -> _Batch:
    parts = [np.frombuffer(frame.records, RECORD, count=frame.n_records) for frame in frames]
    ranges = [
        np.arange(frame.first_seq, frame.first_seq + frame.n_records, dtype=np.int64) for frame in frames
    ]
    records = parts[0] if len(parts) == 1 else np.concatenate(parts)
    fields = {name: np.ascontiguousarray(records[name]) for name in RECORD.names or ()}
    # what is said of a call of WASI 0.1 holds for those of components that it decides
    fields |= {"name": fields["call"], "call": _BASE[fields["call"]].astype(np.uint8)}
    return _Batch(np.concatenate(ranges), fields, Strings.of(frames, records))


def _numbers(seq: Ints, fields: Fields) -> dict[str, pa.Array]:
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
        "stage": np.where(returned | (call == _PROC_EXIT), _EXIT, _TRAP),
        "class_uid": _CLASS[call],
        "activity_id": np.where(creates, _CREATE, activities),
        "decision": decided,
        "disposition": _DISPOSITION[decision],
        "errno": np.where(returned, errno, _NEVER),
        "fd": fields["fd"],
        "fd2": fields["fd2"],
        "flags": fields["flags"],
        "bytes_in": moved * _IS_IN[call],
        "bytes_out": moved * _IS_OUT[call],
        "n": np.ones(len(seq), np.int64),
        "opener_seq": fields["opener"],
        "t_last_ns": fields["t_ns"],
    }
    # each has the type of its column by now: nothing is copied
    arrays = {name: pa.array(value, SCHEMA.field(name).type) for name, value in numbers.items()}
    lasted = np.where(dur == IN_FLIGHT, NEVER_RETURNED, dur)
    return arrays | {"dur_ns": pa.array(lasted, pa.int64(), mask=dur == UNTIMED)} | _empty(len(seq))


def _empty(count: int) -> dict[str, pa.Array]:
    """The columns that single calls leave empty."""
    names = ("dur_max_ns", "errnos")
    return {name: pa.nulls(count, SCHEMA.field(name).type) for name in names}


def _words(start: ExecutionStart, fields: Fields) -> dict[str, pa.Array]:
    count, rules = len(fields["call"]), start.rules
    # Rule 0 is the default deny: on a call that was allowed it means that no rule was asked.
    unasked = (fields["rule"] == 0) & (fields["decision"] == Decision.ALLOW)
    rule = np.where(unasked, len(rules), np.minimum(fields["rule"], len(rules)))
    return {
        "exec_id": _constant(start.exec_id, count),
        "tenant_id": _constant(start.tenant, count),
        "module_id": _constant(start.module_digest, count),
        "policy_id": _constant(start.policy_digest, count),
        "rule_id": _coded(rule, np.append(np.arange(len(rules)), -1), rules),
        "call": _coded(fields["name"], _CALL_INDEX, _CALL_NAMES),
        "reason": _coded(fields["reason"], _REASON, _REASONS),
        "right": _coded(fields["right"], _RIGHT, _RIGHTS),
    }


def _targets(fields: Fields, found: Targets) -> dict[str, pa.Array]:
    kind = np.where(found.kind == TargetKind.NONE, _KIND[fields["call"]], found.kind)
    return {
        "target_kind": pa.array(kind.astype(np.int8)),
        "target": found.target,
        "guest_target": found.guest_target,
        "target2": found.target2,
    }


def _constant(text: str, count: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([text], pa.string()))


def _coded(codes: npt.NDArray[np.integer], places: Table, words: Sequence[str]) -> pa.DictionaryArray:
    """Give text by code: `places` says for each code which word it has, -1 for none.

    A word that nobody uses is left out.
    """
    used = places[np.flatnonzero(np.bincount(codes, minlength=len(places)))]
    kept = np.unique(used[used >= 0])
    numbers = np.full(len(words) + 1, -1, np.int32)
    numbers[kept] = np.arange(len(kept))
    indices = numbers[places][codes]
    return dictionary(indices, pa.array([words[place] for place in kept.tolist()], pa.string()))
