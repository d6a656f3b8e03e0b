"""Where each word of the ring and of a record lies: one definition for writer and readers.

The generator of the monitor writes by these offsets, the supervisor drains and the decoder reads
by them. How records are stored durably lives in `audit/`. Change anything here and `VERSION` goes
up: sealed logs name the version that they were written with.

INVARIANT: the monitor completes at most one record at a time, so `done <= head <= done + 1`, and
the sum of the counters is `done` or, when a kill fell between the two stores, `done + 1`; then the
record at `done` is complete.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from policy.calls import CALL_CODES
from policy.component_calls import BASES, NAMES

VERSION = 2
"""Of the records. In version 1 no call on a descriptor had anything in the arena."""

PAGE = 65_536

# --- header of the ring, two blocks of 4 KiB; all words little-endian -------------------------------
HEAD = 0  # u64: records begun, which is the next sequence number
DONE = 8  # u64: records completed
TAIL = 16  # u64: records drained; written by the supervisor only
ARENA_HEAD = 24  # u64: arena bytes ever used, skipped ones included
ARENA_TAIL = 32  # u64: arena bytes given back; written by the supervisor only
NOW = 40  # i64: UTC nanoseconds, refreshed by the supervisor
STOP = 48  # u32: a `Stop`, set just before the monitor ends the guest
ARMED = 52  # u32: 1 once the monitor stands
EXIT_CODE = 56  # u32: what the guest passed to `proc_exit`
EXITED = 60  # u32: 1 once `proc_exit` was called
COUNTERS = 64  # u64 [calls][4]: completed records by call and decision (allow, deny, would_deny, limit)
DECISIONS = 4
TOTALS = COUNTERS + len(NAMES) * DECISIONS * 8
BYTES_READ = TOTALS  # u64
BYTES_WRITTEN = TOTALS + 8  # u64: files and standard streams
STDOUT_BYTES = TOTALS + 16  # u64
STDERR_BYTES = TOTALS + 24  # u64
DISK_BYTES = TOTALS + 32  # u64: written to files
FILES_MADE = TOTALS + 40  # u64
OPEN_FILES = TOTALS + 48  # u64: descriptors now open, standard streams and mounts left out
HEADER_BYTES = 8_192

# --- records, then the arena -------------------------------------------------------------------
RECORD_BYTES = 64
RING_RECORDS = 16_384  # power of two
RECORDS = HEADER_BYTES
ARENA = RECORDS + RING_RECORDS * RECORD_BYTES
ARENA_BYTES = 1_048_576  # power of two
ARENA_SPARE = 64  # never used, so that a full arena is never taken for an empty one
RING_BYTES = -(-(ARENA + ARENA_BYTES) // PAGE) * PAGE
RING_PAGES = RING_BYTES // PAGE

IN_FLIGHT = -1  # `dur_ns` and `errno` of a call that has not returned
UNTIMED = -2  # `dur_ns` of a call whose duration was not measured

NO_OPENER = -1
FIRST_MOUNT = -2  # `opener` of what lies directly in mount `m` is `FIRST_MOUNT - m`

RECORD = np.dtype(
    [
        ("t_ns", "<i8"),  # UTC, when the call was entered; never goes back within a run
        ("dur_ns", "<i8"),  # in the host function; or IN_FLIGHT, or UNTIMED
        ("aux", "<i8"),  # bytes moved; for path_link and path_rename the opener of the second descriptor
        ("flags", "<i8"),  # see `sandbox.monitor.calls`: what the call was asked to do
        ("opener", "<i8"),  # sequence number of the call that made `fd`; NO_OPENER; FIRST_MOUNT - mount
        ("fd", "<i4"),  # -1 none
        ("fd2", "<i4"),  # second descriptor, or the one that was made; -1 none
        ("target_at", "<u4"),  # offset in the arena of the path as the guest gave it
        ("target_len", "<u2"),  # of calls that keep what they move: half of a 32-bit length, see below
        ("target2_len", "<u2"),  # the second path follows the first
        ("rule", "<u2"),  # index into `Plan.rules`
        ("call", "u1"),  # index into `policy.component_calls.NAMES`
        ("decision", "u1"),  # a `Decision`
        ("errno", "<i2"),  # WASI errno; IN_FLIGHT
        ("reason", "u1"),  # a `Reason`
        ("right", "u1"),  # 1 + index of the right that was missing; 0 none
    ]
)
assert RECORD.itemsize == RECORD_BYTES
assert OPEN_FILES + 8 <= HEADER_BYTES


PAYLOAD_CALLS = tuple(CALL_CODES[name] for name in ("fd_pread", "fd_pwrite", "fd_read", "fd_write"))
"""Calls that may have in the arena what they moved: its SHA-256, then as many of its bytes as are kept."""

PAYLOAD_CODES = tuple(code for code, base in enumerate(BASES) if base in PAYLOAD_CALLS)
"""The same, with the calls of components that are decided as they are."""

DIGEST_BYTES = 32
PAYLOAD_MAX = ARENA_BYTES // 2 - ARENA_SPARE - DIGEST_BYTES
"""Bytes that are kept of one call at most: twice that is always free, wherever the arena ends."""


def arena_bytes(records: npt.NDArray[np.void]) -> npt.NDArray[np.int64]:
    """How many bytes of the arena each record has; both versions."""
    low, high = records["target_len"].astype(np.int64), records["target2_len"].astype(np.int64)
    return np.where(np.isin(records["call"], PAYLOAD_CODES), low | high << 16, low + high)


class Decision(IntEnum):
    """What the monitor decided; the codes of the ring (those of the log are in `audit.columns`)."""

    ALLOW = 0
    DENY = 1
    WOULD_DENY = 2
    LIMIT = 3


class Reason(IntEnum):
    """Which check decided against a call."""

    NONE = 0
    RULE = 1  # a rule of the plan: see `rule` and `right`
    ESCAPE = 2  # the path leads out of the directory it starts from
    SYMLINK = 3  # a link on a path that rules split
    HANDLE = 4  # the descriptor was opened without that right
    FILE_TYPE = 5  # neither a regular file nor a directory
    BUDGET = 6  # a budget is spent: bytes, files or descriptors
    STOPPED = 7  # a limit that ends the guest
    CLOCK = 8  # a wait on a clock that the plan replaces
    WIDENS = 9  # a rename or link would give rights that the source does not have
    TOO_LONG = 10  # a path of 4096 bytes or more


class Stop(IntEnum):
    """Why the monitor ended the guest."""

    NONE = 0
    HOST_CALLS = 1
    STDOUT = 2
    STDERR = 3
    AUDIT = 4  # the trail could not be kept in time
