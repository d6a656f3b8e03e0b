"""The columns of a stored record, and the codes in them.

How a ring's records become columns is the decoder's work (`sandbox.monitor.decode`); the OCSF classes
are in `ocsf.py`. The numbers of decisions are those of OCSF's `action_id`, with one more for limits.
INVARIANT: a column keeps its name, type and unit; a code keeps its meaning.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

SCHEMA_ID = "wasmgate.record.v2"


class Decision(IntEnum):
    """What was decided about a call; the words are in `WORDS`."""

    NONE = 0
    ALLOW = 1
    DENY = 2
    OBSERVE = 3  # allowed in audit mode, and would have been refused
    MODIFIED = 4  # reserved
    LIMIT = 5  # refused because a limit ended the guest


WORDS: dict[int, str] = {
    Decision.NONE: "none",
    Decision.ALLOW: "allow",
    Decision.DENY: "deny",
    Decision.OBSERVE: "would_deny",
    Decision.MODIFIED: "modified",
    Decision.LIMIT: "limit",
}
CODES: dict[str, int] = {word: code for code, word in WORDS.items()}

REFUSING = (Decision.DENY, Decision.OBSERVE, Decision.LIMIT)
"""What the list of refusals in a receipt holds."""

REFUSING_WORDS = frozenset(WORDS[code] for code in REFUSING)
"""The same as words."""


class Disposition(IntEnum):
    """OCSF `disposition_id`."""

    UNKNOWN = 0
    ALLOWED = 1
    BLOCKED = 2
    LOGGED = 17


class Stage(IntEnum):
    """At which point of a call its row was written."""

    EXIT = 1  # the call returned (`proc_exit` never does, and has this stage too)
    TRAP = 2  # it never returned: a trap, a kill, or the end of the log
    SUMMARY = 3  # the row stands for `n` calls


class Masked(IntFlag):
    """Which columns of a row the policy had blotted out."""

    TARGET = 1
    GUEST_TARGET = 2
    TARGET2 = 4
    PAYLOAD = 8  # of the bytes that were moved, less is kept than the level says


class TargetKind(IntEnum):
    """What `target` names."""

    NONE = 0
    PATH = 1
    ADDRESS = 2
    NAME = 3
    ARGUMENT = 4  # arguments or environment of the guest
    CLOCK = 5  # a clock, or the source of random bytes
    STREAM = 6  # `stdin`, `stdout` or `stderr`


NEVER_RETURNED = -1
"""`dur_ns` and `errno` of a call that never returned; a duration that nobody measured is null."""

_TEXT = pa.dictionary(pa.int32(), pa.string())

SCHEMA: pa.Schema = pa.schema(
    [
        pa.field("exec_id", _TEXT, nullable=False),
        pa.field("seq", pa.int64(), nullable=False),
        pa.field("t_ns", pa.int64(), nullable=False),
        pa.field("dur_ns", pa.int64()),
        pa.field("stage", pa.int8(), nullable=False),
        pa.field("tenant_id", _TEXT, nullable=False),
        pa.field("module_id", _TEXT, nullable=False),
        pa.field("policy_id", _TEXT, nullable=False),
        pa.field("rule_id", _TEXT),
        pa.field("call", _TEXT, nullable=False),
        pa.field("class_uid", pa.int32(), nullable=False),
        pa.field("activity_id", pa.int8(), nullable=False),
        pa.field("decision", pa.int8(), nullable=False),
        pa.field("disposition", pa.int8(), nullable=False),
        pa.field("errno", pa.int16(), nullable=False),
        pa.field("reason", _TEXT),
        pa.field("right", _TEXT),
        pa.field("fd", pa.int32(), nullable=False),
        pa.field("fd2", pa.int32(), nullable=False),
        pa.field("target_kind", pa.int8(), nullable=False),
        pa.field("target", _TEXT),
        pa.field("guest_target", _TEXT),
        pa.field("target2", _TEXT),
        pa.field("flags", pa.int64(), nullable=False),
        pa.field("bytes_in", pa.int64(), nullable=False),
        pa.field("bytes_out", pa.int64(), nullable=False),
        pa.field("n", pa.int64(), nullable=False),
        pa.field("opener_seq", pa.int64(), nullable=False),
        pa.field("t_last_ns", pa.int64(), nullable=False),
        pa.field("dur_max_ns", pa.int64()),
        pa.field("errnos", _TEXT),
        pa.field("masked", pa.int8(), nullable=False),
        pa.field("payload", pa.binary()),
        pa.field("payload_sha256", pa.binary(32)),
    ]
)

DELTA_CODED = ("seq", "t_ns", "dur_ns", "opener_seq", "t_last_ns", "dur_max_ns")
"""Numbers that grow or vary with each row; all other columns repeat and are dictionary coded."""

IN_FILES: pa.Schema = SCHEMA.set(
    SCHEMA.get_field_index("t_last_ns"), pa.field("t_last_ns", pa.int64(), nullable=True)
)
"""The columns as a segment file has them: `t_last_ns` is null where it is `t_ns`."""

OPENED: pa.Schema = pa.schema([("seq", pa.int64()), ("target", pa.string()), ("guest_target", pa.string())])
"""What later records of an execution need to know of the earlier calls that made a descriptor."""


def into_file(rows: pa.Table) -> pa.Table:
    """Give rows as a segment file has them."""
    times = rows.column("t_last_ns")
    repeated = pc.equal(times, rows.column("t_ns"))
    at = rows.schema.get_field_index("t_last_ns")
    return rows.set_column(at, IN_FILES.field(at), pc.if_else(repeated, None, times))


def out_of_file(rows: pa.Table) -> pa.Table:
    """Give rows of a segment file as they were: the other way; needs `t_ns` where there is `t_last_ns`."""
    at = rows.schema.get_field_index("t_last_ns")
    if at < 0:
        return rows
    whole = pc.coalesce(rows.column("t_last_ns"), rows.column("t_ns"))
    return rows.set_column(at, SCHEMA.field("t_last_ns"), whole)


def numbered(values: npt.NDArray[np.integer]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Number the distinct values as they first occur: for each its number, and where each number is first."""
    found = pa.array(values).dictionary_encode()
    codes = np.asarray(found.indices).astype(np.int64)
    first = np.empty(len(found.dictionary), np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    return codes, first


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Give a dictionary-coded column as plain text."""
    return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
