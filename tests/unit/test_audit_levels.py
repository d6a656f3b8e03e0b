"""Condensed rows say what the calls said: in sum exactly, in order, and never less than the policy lets."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.columns import OPENED, SCHEMA, Decision, Masked, Stage
from audit.levels import MIXED_ERRNO, condense
from audit.terms import AuditTerms, CallTerms, Level, Payload
from sandbox.monitor.decode import decode
from tests.records import IN, call, frame, start

FD_READ, FD_WRITE, OPEN = (f"wasi_snapshot_preview1.{name}" for name in ("fd_read", "fd_write", "path_open"))


def terms(level: str, **own: str) -> AuditTerms:
    rules = tuple(
        CallTerms(f"wasi_snapshot_preview1.{name}", Level(text), Payload()) for name, text in own.items()
    )
    return AuditTerms(level=Level(level), rules=rules)


def rows_of(calls: list[Any], first: int = 0) -> pa.Table:
    return decode(start(), [frame(calls, first_seq=first)], OPENED.empty_table())


def condensed(calls: list[Any], level: str, **own: str) -> list[dict[str, Any]]:
    made = list(condense([rows_of(calls)], start(audit=terms(level, **own))))
    found: list[dict[str, Any]] = pa.concat_tables(made).to_pylist()
    return found


READS = [
    call("path_open", b"a", opener=IN, fd=3, fd2=5, rule=2),
    *(call("fd_read", opener=0, fd=5, aux=10, rule=2, dur_ns=number) for number in range(100)),
    call("fd_read", opener=0, fd=5, errno=8, rule=2),
    call("path_open", b"b", opener=IN, fd=3, decision=1, errno=76, reason=1, right=1, rule=0),
    call("path_open", b"b", opener=IN, fd=3, decision=1, errno=76, reason=1, right=1, rule=0),
    call("proc_exit", dur_ns=-1, errno=-1),
]


def test_calls_pass_through_untouched():
    table = rows_of(READS)
    assert list(condense([table], start())) == [table]


def test_a_hundred_reads_are_one_row_with_exact_sums():
    found = condensed(READS, "summary")
    assert [row["n"] for row in found] == [1, 101, 1, 1, 1]
    reads = found[1]
    assert (reads["call"], reads["target"], reads["seq"]) == (FD_READ, "/srv/in/a", 1)
    assert (reads["errno"], reads["errnos"]) == (MIXED_ERRNO, "0:100,8:1")
    assert (reads["bytes_in"], reads["dur_ns"], reads["dur_max_ns"]) == (1000, 4950 + 50, 99)
    assert reads["t_last_ns"] - reads["t_ns"] == 100_000
    assert (reads["stage"], reads["fd"], reads["opener_seq"]) == (Stage.SUMMARY, 5, 0)


@pytest.mark.parametrize("level", ["summary", "counts"])
def test_refusals_and_the_end_keep_rows_of_their_own(level):
    found = condensed(READS, level)
    refused = [row for row in found if row["decision"] == Decision.DENY]
    assert [(row["seq"], row["n"], row["target"]) for row in refused] == [
        (102, 1, "/srv/in/b"),
        (103, 1, "/srv/in/b"),
    ]
    assert found[-1]["call"].endswith("proc_exit")
    assert found[-1]["stage"] == Stage.EXIT


def test_counts_name_no_target_and_say_that_they_do_not():
    found = condensed(READS, "counts")
    assert [row["target"] for row in found[:2]] == [None, None]
    assert found[1]["masked"] == Masked.TARGET | Masked.GUEST_TARGET
    assert found[1]["rule_id"] == "in"


def test_what_never_returned_is_kept_in_full():
    stuck = [call("fd_read", fd=0, aux=1), call("fd_read", fd=0, errno=-1, dur_ns=-1)]
    assert [row["stage"] for row in condensed(stuck, "counts")] == [Stage.SUMMARY, Stage.TRAP]


def test_a_call_has_the_level_of_its_own_rule():
    found = condensed(READS, "calls", fd_read="counts")
    assert Counter(row["call"] for row in found)[OPEN] == 3
    assert [row["n"] for row in found if row["call"] == FD_READ] == [101]


def test_sums_that_have_no_64_bits_stay_at_the_most_there_is():
    huge = [call("fd_read", fd=0, aux=(1 << 62) + number) for number in range(5)]
    assert condensed(huge, "summary")[0]["bytes_in"] == (1 << 63) - 1


def test_memory_is_bounded_whatever_targets_a_guest_makes_up():
    blocks = [
        rows_of([call("path_open", f"f{n}".encode(), opener=IN, fd=3) for n in range(at, at + 50)], at)
        for at in range(0, 1000, 50)
    ]
    made = list(condense(blocks, start(audit=terms("summary")), max_groups=99))
    assert len(made) == 10
    assert sum(table.num_rows for table in made) == 1000
    seqs = np.concatenate([table.column("seq").to_numpy() for table in made])
    assert (np.diff(seqs) > 0).all()


CALLS = st.builds(
    lambda name, path, fields: call(name, path if name == "path_open" else b"", **fields),
    st.sampled_from(["fd_read", "fd_write", "path_open", "clock_time_get", "fd_close"]),
    st.sampled_from([b"a", b"b", b"../x"]),
    st.fixed_dictionaries(
        {
            "opener": st.sampled_from([IN, -1]),
            "fd": st.integers(-1, 4),
            "flags": st.sampled_from([0, 1, 2, 1 << 35]),
            "decision": st.sampled_from([0, 0, 0, 0, 1, 2, 3]),
            "errno": st.sampled_from([0, 0, 8, -1, 44]),
            "aux": st.integers(-(1 << 40), 1 << 62),
            "dur_ns": st.sampled_from([-2, -2, 7, 1 << 61, 0]),
            "rule": st.integers(0, 3),
        }
    ),
)
DECIDING = (
    "call", "target_kind", "target", "guest_target", "target2", "decision", "rule_id", "reason", "right",
)  # fmt: skip


def naive(rows: list[dict[str, Any]], level: str) -> list[dict[str, Any]]:
    """One row after the other, with Python's own numbers."""
    groups: dict[Any, list[dict[str, Any]]] = {}
    for row in rows:
        bare = row["call"].split(".")[-1]
        asked = row["flags"] & (0x800F | 1 << 16 | 0b1000010 << 34) if bare == "path_open" else 0
        asked = row["flags"] if bare == "clock_time_get" else asked
        key: Any = (*(row[name] for name in DECIDING), asked)
        if level == "counts":
            targets = ("target", "guest_target", "target2")
            key = (*(row[n] for n in DECIDING if n not in targets), *(row[n] is None for n in targets), asked)
        if row["decision"] != 1 or row["errno"] == -1 or level == "calls":
            key = row["seq"]
        groups.setdefault(key, []).append(row)
    made = []
    for members in groups.values():
        first, times = members[0], [row["dur_ns"] for row in members if row["dur_ns"] is not None]
        errnos = Counter(row["errno"] for row in members)
        made.append(
            {
                "seq": first["seq"],
                "n": len(members),
                "t_ns": first["t_ns"],
                "t_last_ns": members[-1]["t_ns"],
                "bytes": min(sum(row["bytes_in"] + row["bytes_out"] for row in members), (1 << 63) - 1),
                "dur": min(sum(times), (1 << 63) - 1) if times else None,
                "longest": max(times) if times and len(members) > 1 else None,
                "errno": next(iter(errnos)) if len(errnos) == 1 else -2,
                "errnos": ",".join(f"{e}:{k}" for e, k in sorted(errnos.items()))
                if len(members) > 1
                else None,
            }
        )
    return sorted(made, key=lambda row: row["seq"])


@given(st.lists(CALLS, min_size=1, max_size=40), st.sampled_from(["summary", "counts"]), st.integers(1, 40))
def test_condensing_agrees_with_one_row_after_the_other(calls, level, cut):
    whole = rows_of(calls)
    blocks = [whole.slice(at, cut) for at in range(0, len(whole), cut)]
    made = pa.concat_tables(list(condense(blocks, start(audit=terms(level)))))
    assert made.schema == SCHEMA
    found = [
        {
            **{name: row[name] for name in ("seq", "n", "t_ns", "t_last_ns", "errno", "errnos")},
            "bytes": row["bytes_in"] + row["bytes_out"],
            "dur": row["dur_ns"],
            "longest": row["dur_max_ns"],
        }
        for row in made.to_pylist()
    ]
    assert found == naive(whole.to_pylist(), level)
