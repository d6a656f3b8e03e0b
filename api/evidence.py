"""The audit log as evidence about policies: what its records say, in the words of `policy/`.

Records are counted in `audit/`, what a call asked for is read off them in `sandbox.monitor.wants`, and what
becomes of the facts is `policy.learn` and `policy.simulate`. INVARIANT: equal records are one fact, facts
come in the order of their earliest record, and each names that record.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from audit.call_names import bare
from audit.columns import WORDS, Decision, Masked, TargetKind
from audit.errors import FormatError
from audit.text import to_bytes
from policy.component_calls import BASE_CODES, base_name
from policy.facts import Fact
from policy.plan import RIGHTS, Right
from policy.simulate.columns import DECISIONS, NONE, REASONS, FactColumns
from sandbox.monitor.places import DIRECTORY_CHARS
from sandbox.monitor.wants import Recorded, wants_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from audit.facts import Kept
    from audit.filters import RecordFilter
    from audit.query import AuditReader

_UNKNOWN_CALL: Final = 255
_RIGHT: Final = {str(right.name).lower(): right for right in RIGHTS}
_CLOCKS: Final = ("wall", "monotonic")
_CLOCK_CALLS: Final = frozenset({"clock_time_get", "clock_res_get"})
_NAMING_CLOCKS: Final = frozenset(name for name in BASE_CODES if base_name(name) in _CLOCK_CALLS)
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


def columns_of(reader: AuditReader, wanted: RecordFilter, *, by_execution: bool = True) -> FactColumns:
    """The same as columns, apart by module, and by execution unless that is not wanted.

    Raises:
        QueryError: when the log cannot answer.
    """
    kept: tuple[Kept, ...] = ("module_id", "exec_id") if by_execution else ("module_id",)
    table = reader.facts(wanted, keep=kept)
    recorded = _recorded(table)
    texts, (target, target2) = _texts(_shown(table), table.column("target2"))
    names = {name: _named(table, name) for name in ("rule_id", *kept)}
    none = np.full(len(table), NONE, np.int64)
    runs = names.get("exec_id", (none, ()))
    is_masked = _masked(table)
    return FactColumns(
        call=recorded.calls,
        wants=wants_of(recorded),
        target=np.where(is_masked, NONE, target),
        target2=np.where(_has(table, Masked.TARGET2), NONE, target2),
        decision=_decisions(table),
        reason=_coded(table.column("reason"), {word: place for place, word in enumerate(REASONS)}, 0),
        missing=recorded.missing,
        is_masked=is_masked,
        flags=recorded.flags,
        rule=names["rule_id"][0],
        module=names["module_id"][0],
        execution=runs[0],
        count=table.column("n").to_numpy(),
        done=table.column("n_done").to_numpy(),
        bytes_in=table.column("bytes_in").to_numpy(),
        bytes_out=table.column("bytes_out").to_numpy(),
        texts=texts,
        rules=names["rule_id"][1],
        modules=names["module_id"][1],
        executions=runs[1],
        evidence=pc.binary_join_element_wise(
            table.column("example_exec_id"), table.column("example_seq").cast(pa.string()), ":"
        ).combine_chunks(),
    )


def _decisions(table: pa.Table) -> npt.NDArray[np.int64]:
    places = np.full(256, len(DECISIONS) - 1, np.int64)
    for code, word in WORDS.items():
        places[code] = DECISIONS.index(word) if word in DECISIONS else len(DECISIONS) - 1
    return np.asarray(places[table.column("decision").to_numpy().astype(np.int64) & 0xFF])


def _shown(table: pa.Table) -> pa.ChunkedArray:
    """The targets, with the clock for the calls that name one by number."""
    found = table.column("target")
    for number, clock in enumerate(_CLOCKS):
        is_clock = pc.is_in(_bare(table.column("call")), value_set=pa.array(sorted(_NAMING_CLOCKS)))
        asked = pc.and_(is_clock, pc.equal(table.column("flags"), number))
        found = pc.if_else(asked, clock, found)
    return found


def _masked(table: pa.Table) -> npt.NDArray[np.bool_]:
    target = table.column("target")
    is_path = pc.equal(table.column("target_kind"), int(TargetKind.PATH))
    placeless = pc.is_in(pc.fill_null(table.column("reason"), ""), value_set=pa.array(sorted(_PLACELESS)))
    decided = pc.or_(
        pc.not_equal(table.column("decision"), int(Decision.ALLOW)), table.column("rule_id").is_valid()
    )
    lost = pc.and_(pc.is_null(target), decided)
    cut = pc.and_(pc.greater(pc.utf8_length(target), DIRECTORY_CHARS), pc.match_substring(target, "…"))
    found = pc.and_(pc.and_(is_path, pc.invert(placeless)), pc.or_(lost, pc.fill_null(cut, fill_value=False)))
    return np.asarray(found) | _has(table, Masked.TARGET | Masked.TARGET2)


def _has(table: pa.Table, bits: Masked) -> npt.NDArray[np.bool_]:
    return np.asarray((table.column("masked").to_numpy().astype(np.int64) & int(bits)) != 0)


def _texts(*columns: pa.ChunkedArray) -> tuple[pa.LargeBinaryArray, tuple[npt.NDArray[np.int64], ...]]:
    """The distinct texts of columns as bytes, and for each column which they are, or NONE."""
    chunks = [chunk.cast(pa.large_string()) for column in columns for chunk in column.chunks]
    coded = pa.chunked_array(chunks, pa.large_string()).dictionary_encode().combine_chunks()
    stored = coded.dictionary
    escaped = np.flatnonzero(np.asarray(pc.match_substring(stored, "\\")))
    texts = stored.cast(pa.large_binary())
    if len(escaped):
        raw = [(_text(stored[place].as_py()) or "").encode("utf-8", "surrogateescape") for place in escaped]
        mask = np.zeros(len(texts), np.bool_)
        mask[escaped] = True
        texts = pc.replace_with_mask(texts, pa.array(mask), pa.array(raw, pa.large_binary()))
    codes = np.asarray(pc.fill_null(coded.indices, NONE)).astype(np.int64)
    ends = np.cumsum([0, *(len(column) for column in columns)])
    return texts, tuple(codes[low:high] for low, high in pairwise(ends.tolist()))


def _named(table: pa.Table, name: str) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    coded = table.column(name).dictionary_encode().combine_chunks()
    codes = np.asarray(pc.fill_null(coded.indices, NONE)).astype(np.int64)
    return codes, tuple(coded.dictionary.to_pylist())


def _recorded(table: pa.Table) -> Recorded:
    decisions = table.column("decision").to_numpy()
    return Recorded(
        calls=_coded(_bare(table.column("call")), BASE_CODES, _UNKNOWN_CALL),
        flags=table.column("flags").to_numpy(),
        is_allowed=decisions == int(Decision.ALLOW),
        is_ruled=np.asarray(table.column("rule_id").is_valid()),
        missing=_coded(table.column("right"), {name: int(right) for name, right in _RIGHT.items()}, 0),
    )


def _bare(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.replace_substring_regex(column, r"^[^.]*\.", "")


def _coded(column: pa.ChunkedArray, codes: dict[str, int], default: int) -> npt.NDArray[np.int64]:
    """The code of each text; `default` for one that has none, and for null."""
    names = pa.array(list(codes), pa.string())
    values = np.array([*codes.values(), default], np.int64)
    places = pc.fill_null(pc.index_in(column, value_set=names), len(codes))
    return np.asarray(values[np.asarray(places)])


def _fact(row: dict[str, object], wants: Right) -> Fact:
    call = base_name(bare(str(row["call"])))
    decision, reason = WORDS[int(str(row["decision"]))], str(row["reason"] or "")
    flags, right = int(str(row["flags"])), row["right"]
    stored = _text(row["target"])
    is_masked = _is_masked(row, decision=decision, reason=reason)
    is_lost2 = bool(int(str(row["masked"])) & Masked.TARGET2)
    if call in _CLOCK_CALLS and 0 <= flags < len(_CLOCKS):
        stored = _CLOCKS[flags]
    return Fact(
        call=call,
        wants=wants,
        target=None if is_masked else stored,
        guest_target=None if row["masked"] else _text(row["guest_target"]),
        target2=None if is_lost2 else _text(row["target2"]),
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
    """Whether a path decided the call, and was not kept, or not to its end, or not as it was."""
    if row["masked"]:
        return True
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
