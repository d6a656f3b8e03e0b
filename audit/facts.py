"""Records counted by all that decides them: the question behind learning, replaying and minted tests.

The engine that answers it is `query.py`; what a group means to a policy is known in `api/evidence.py`.
INVARIANT: each record is in exactly one group, and a group names its earliest record.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from audit.call_names import bare
from audit.columns import Masked

Kept: TypeAlias = Literal["module_id", "policy_id", "exec_id"]
"""What groups can be kept apart by besides what decides a call."""

_OPEN_MASK = 0x800F | 1 << 16 | (1 << 1 | 1 << 6) << 34
"""Of the flags of a `path_open`: how it was opened, `append`, and the rights to read and to write."""

_OPENS = ("path_open", "descriptor.open-at")
_WHOLE_FLAGS = (
    *("clock_time_get", "clock_res_get", "fd_fdstat_set_flags"),
    *("monotonic-clock.now", "monotonic-clock.resolution", "monotonic-clock.subscribe-duration"),
    *("wall-clock.now", "wall-clock.resolution"),
)

_FLAGS = (
    "CASE split_part(call, '.', -1)"
    f" WHEN 'path_open' THEN flags & {_OPEN_MASK}"
    f" WHEN 'open-at' THEN flags & {_OPEN_MASK}"
    " WHEN 'now' THEN flags WHEN 'resolution' THEN flags WHEN 'subscribe-duration' THEN flags"
    " WHEN 'clock_time_get' THEN flags WHEN 'clock_res_get' THEN flags"
    " WHEN 'fd_fdstat_set_flags' THEN flags ELSE 0 END AS flags"
)

_DECIDING = (
    "call",
    "target_kind",
    "target",
    "guest_target",
    "target2",
    "decision",
    "rule_id",
    "reason",
    '"right"',
)

# What the policy blotted out is no path: a hash, the first names of one, or nothing.
_MASKED = f"masked & {int(Masked.TARGET | Masked.TARGET2)} AS masked"

# A row that stands for calls with different errnos says how often which one came, as in `0:99,8:1`.
_DONE = (
    "CASE WHEN errno = 0 THEN n WHEN errno = -2"
    " THEN coalesce(try_cast(regexp_extract(errnos, '(?:^|,)0:([0-9]+)', 1) AS BIGINT), 0) ELSE 0 END"
)

_SUMS = ("n", "n_done", "bytes_in", "bytes_out")
_MOST = (1 << 63) - 1  # a cell that was taken over may have written counts that add up to more


def grouping(kept: tuple[Kept, ...]) -> tuple[str, str, str]:
    """Give what to select of the records, how to group that, and the statement around it (`{}`).

    The rows have the columns that decide, `flags`, `masked` (of the targets only), the columns in `kept`,
    sums of `n`, `bytes_in` and `bytes_out`, `n_done` (of those in `n`, how many calls had the errno 0),
    and the earliest record as `example_exec_id` and `example_seq`; they are ordered by it.
    """
    inner = ("exec_id", *(name for name in kept if name != "exec_id"))
    keys = ", ".join((*inner, *_DECIDING, _FLAGS, _MASKED))
    sums = f"sum(n) AS n, sum({_DONE}) AS n_done, sum(bytes_in) AS bytes_in, sum(bytes_out) AS bytes_out"
    names = ", ".join((*kept, *_DECIDING, "flags", "masked"))
    total = ", ".join(f"least(sum({name}), {_MOST})::BIGINT AS {name}" for name in _SUMS)
    # by execution first: what is earliest among all is then found among few
    first = "min(row(first_ns, exec_id, first_seq))"
    outer = f"SELECT {names}, {total}, {first} AS earliest FROM ({{}}) GROUP BY ALL"  # noqa: S608  # nosec B608
    result = (
        "SELECT * EXCLUDE (earliest), earliest[2] AS example_exec_id, earliest[3] AS example_seq"  # noqa: S608  # nosec B608
        f" FROM ({outer}) ORDER BY earliest"
    )
    return f"{keys}, {sums}, min(t_ns) AS first_ns, min(seq) AS first_seq", "GROUP BY ALL", result


def deciding_flags(call: pa.ChunkedArray, flags: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Give of the flags of each row what decides its call, as `grouping` has it."""
    coded = call.unify_dictionaries().combine_chunks()
    names = [bare(name) for name in coded.dictionary.to_pylist()]
    masks = [-1 if name in _WHOLE_FLAGS else _OPEN_MASK * (name in _OPENS) for name in names]
    codes = np.asarray(pc.fill_null(coded.indices, len(names))).astype(np.int64)
    return np.asarray(flags & np.array([*masks, 0], np.int64)[codes])
