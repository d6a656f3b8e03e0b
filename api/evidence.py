"""The audit log as evidence about policies: what its records say, in the words of `policy/`.

Records are counted in `audit/`, what a call asked for is read off them in `sandbox.monitor.wants`, and what
becomes of the facts is `policy.learn` and `policy.simulate`. INVARIANT: equal records are one fact, facts
come in the order of their earliest record, and each names that record.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from audit.columns import WORDS, Decision, TargetKind
from audit.errors import FormatError
from audit.text import to_bytes
from policy.calls import CALL_CODES
from policy.facts import Fact
from policy.plan import RIGHTS, Right
from sandbox.monitor.targets import DIRECTORY_CHARS
from sandbox.monitor.wants import Recorded, wants_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from audit.filters import RecordFilter
    from audit.query import AuditReader

_UNKNOWN_CALL: Final = 255
_RIGHT: Final = {str(right.name).lower(): right for right in RIGHTS}
_CLOCKS: Final = ("wall", "monotonic")
_CLOCK_CALLS: Final = frozenset({"clock_time_get", "clock_res_get"})
_PLACELESS: Final = frozenset({"escape", "too_long"})
"""Reasons that may leave a record without a target although nothing was masked."""


def facts_of(reader: AuditReader, wanted: RecordFilter) -> tuple[Fact, ...]:
    """The distinct facts of the records that `wanted` names, the earliest first.

    Raises:
        QueryError: when the log cannot answer.
    """
    table = reader.facts(wanted)
    asked = wants_of(_recorded(table)).tolist()
    found: dict[Fact, Fact] = {}
    for row, wants in zip(table.to_pylist(), asked, strict=True):
        fact = _fact(row, Right(wants))
        # groups that differ only in what was masked, or in what decides nothing, are one fact
        key = replace(fact, count=0, bytes_in=0, bytes_out=0, evidence="")
        found[key] = _sum(found[key], fact) if key in found else fact
    return tuple(found.values())


def _sum(first: Fact, more: Fact) -> Fact:
    return replace(
        first,
        count=first.count + more.count,
        bytes_in=first.bytes_in + more.bytes_in,
        bytes_out=first.bytes_out + more.bytes_out,
    )


def _recorded(table: pa.Table) -> Recorded:
    decisions = table.column("decision").to_numpy()
    return Recorded(
        calls=_coded(_bare(table.column("call")), CALL_CODES, _UNKNOWN_CALL),
        flags=table.column("flags").to_numpy(),
        is_allowed=decisions == int(Decision.ALLOW),
        is_ruled=np.asarray(table.column("rule_id").is_valid()),
        missing=_coded(table.column("right"), {name: int(right) for name, right in _RIGHT.items()}, 0),
    )


def _bare(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.replace_substring_regex(column, r"^.*\.", "")


def _coded(column: pa.ChunkedArray, codes: dict[str, int], default: int) -> npt.NDArray[np.int64]:
    """The code of each text; `default` for one that has none, and for null."""
    names = pa.array(list(codes), pa.string())
    values = np.array([*codes.values(), default], np.int64)
    places = pc.fill_null(pc.index_in(column, value_set=names), len(codes))
    return np.asarray(values[np.asarray(places)])


def _fact(row: dict[str, object], wants: Right) -> Fact:
    call = str(row["call"]).rpartition(".")[2]
    decision, reason = WORDS[int(str(row["decision"]))], str(row["reason"] or "")
    flags, right = int(str(row["flags"])), row["right"]
    stored = _text(row["target"])
    is_masked = _is_masked(row, decision=decision, reason=reason)
    if call in _CLOCK_CALLS and 0 <= flags < len(_CLOCKS):
        stored = _CLOCKS[flags]
    return Fact(
        call=call,
        wants=wants,
        target=None if is_masked else stored,
        guest_target=_text(row["guest_target"]),
        target2=_text(row["target2"]),
        decision=decision,
        rule=str(row["rule_id"] or ""),
        reason=reason,
        missing=None if right is None else _RIGHT.get(str(right)),
        is_masked=is_masked,
        flags=flags,
        count=int(str(row["n"])),
        bytes_in=int(str(row["bytes_in"])),
        bytes_out=int(str(row["bytes_out"])),
        evidence=f"{row['example_exec_id']}:{row['example_seq']}",
    )


def _is_masked(row: dict[str, object], *, decision: str, reason: str) -> bool:
    """Whether a path decided the call, and was not kept, or not to its end."""
    if row["target_kind"] != int(TargetKind.PATH) or reason in _PLACELESS:
        return False
    target = row["target"]
    if target is None:
        return decision != "allow" or row["rule_id"] is not None
    return len(str(target)) > DIRECTORY_CHARS and "…" in str(target)


def _text(stored: object) -> str | None:
    """A path as the system shows it, with a lone surrogate for a byte that is no UTF-8."""
    if stored is None or "\\" not in str(stored):
        return None if stored is None else str(stored)
    try:
        return to_bytes(str(stored)).decode("utf-8", "surrogateescape")
    except FormatError:  # a folder of the host's with a backslash in its name: it was not escaped
        return str(stored)
