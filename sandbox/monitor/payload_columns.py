"""Turns what records keep of the bytes that calls moved into columns, and says where less is kept than asked.

How the bytes come into the ring is `payloads.py`, where they lie `arena_strings.py`. INVARIANT: a row has no
more than the terms of its execution say, whatever a cell wrote.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audit.columns import SCHEMA, Masked
from audit.start import ExecutionStart
from audit.terms import Kept
from policy.calls import CALLS, MODULE
from sandbox.monitor.arena_strings import Strings
from sandbox.monitor.layout import DIGEST_BYTES, PAYLOAD_CALLS, Decision
from sandbox.monitor.targets import Fields

Ints = npt.NDArray[np.int64]

_FIRST_VERSION = 2
_ALL = 1 << 62


def payload_columns(start: ExecutionStart, fields: Fields, strings: Strings) -> dict[str, pa.Array]:
    """Give `payload`, `payload_sha256` and `masked` of records; `strings` says where they lie."""
    call, by_call = fields["call"], _wanted(start)
    count = len(call)
    if by_call.max() < 0:
        return _nothing(count)
    wanted = by_call[call]
    moved = np.where(fields["errno"] == 0, np.maximum(fields["aux"], 0), 0)
    # SECURITY: of a refused call nothing was moved, and a cell's word for more is not taken
    moved = np.where(np.isin(fields["decision"], (Decision.DENY, Decision.LIMIT)), 0, moved)
    is_asked = (wanted >= 0) & (moved > 0)
    length = strings.length if len(strings.length) else np.zeros(count, np.int64)
    has = is_asked & (length >= DIGEST_BYTES)
    digests = np.zeros((count, DIGEST_BYTES), np.uint8)
    places = strings.at[has][:, None] + np.arange(DIGEST_BYTES)
    digests[has] = strings.data[places]
    has_digest = digests.any(axis=1)
    due = np.minimum(moved, wanted)
    kept = np.where(has, np.minimum(length - DIGEST_BYTES, due), 0)
    less = is_asked & ((kept < due) | ~has_digest)
    sizes = pa.py_buffer(np.ascontiguousarray(digests[has_digest]))
    digest = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(DIGEST_BYTES), int(has_digest.sum()), [None, sizes]
    )
    return {
        "payload": _gathered(strings, np.where(kept > 0, strings.at + DIGEST_BYTES, 0), kept),
        "payload_sha256": digest.take(pa.array(np.cumsum(has_digest) - 1, pa.int64(), mask=~has_digest)),
        "masked": pa.array(np.where(less, int(Masked.PAYLOAD), 0), pa.int64()).cast(
            SCHEMA.field("masked").type
        ),
    }


def _nothing(count: int) -> dict[str, pa.Array]:
    """What there is where nothing is to be kept."""
    made = {name: pa.nulls(count, SCHEMA.field(name).type) for name in ("payload", "payload_sha256")}
    return made | {"masked": pa.array(np.zeros(count, np.int8))}


def _wanted(start: ExecutionStart) -> Ints:
    """How many bytes the terms keep of each call by its code; -1: not even a digest."""
    found = np.full(256, -1, np.int64)
    if start.layout_version < _FIRST_VERSION:
        return found
    own = start.audit.payloads
    for code in PAYLOAD_CALLS:
        payload = own.get(f"{MODULE}.{CALLS[code].name}", start.audit.payload)
        sizes = {Kept.NONE: -1, Kept.DIGEST: 0, Kept.HEAD: payload.head_bytes, Kept.FULL: _ALL}
        found[code] = sizes[payload.kept]
    return found


def _gathered(strings: Strings, at: Ints, length: Ints) -> pa.Array:
    """Give bytes by place, null where there are none."""
    ends = np.cumsum(length)
    total = int(ends[-1])
    if not total:
        return pa.nulls(len(length), pa.binary())
    places = np.arange(total, dtype=np.int64) + np.repeat(at - (ends - length), length)
    offsets = np.concatenate([[0], ends]).astype(np.int64)
    data = pa.py_buffer(np.ascontiguousarray(strings.data[places]))
    whole = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(length), [None, pa.py_buffer(offsets), data]
    )
    rows = pa.array(np.arange(len(length)), pa.int64(), mask=length == 0)
    return whole.take(rows).cast(pa.binary())
