"""A roll-up adds up to the rows, whatever they hold, and however they came."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from audit.rollup import SCHEMA, Rollup
from tests.unit.test_audit_chunks import ROWS, table

MOST = 2**63 - 1


def clamped(value):
    return max(min(value, MOST), -MOST)


def naive(rows):
    groups = defaultdict(list)
    for row in rows:
        kind = {0: "ok", -1: "never"}.get(row["errno"], "error")
        minute = max(row["t_ns"] // 60_000_000_000 * 60_000_000_000, -(2**63))
        groups[
            minute, "t", row["module_id"], row["call"], row["decision"], kind, row["rule_id"], row["reason"]
        ].append(row)
    lines = []
    for key, some in groups.items():
        timed = [row["dur_ns"] for row in some if row["dur_ns"] is not None and row["dur_ns"] > 0]
        longest = [
            row["dur_ns"] if row["dur_max_ns"] in {None, -1} else row["dur_max_ns"]
            for row in some
            if row["dur_ns"] is not None or row["dur_max_ns"] is not None
        ]
        longest = [one for one in longest if one is not None and one > -1]
        sums = [sum(row[name] for row in some) for name in ("n", "bytes_in", "bytes_out")]
        lines.append(
            dict(
                zip(
                    SCHEMA.names,
                    [
                        *key,
                        len(some),
                        *(clamped(one) for one in sums),
                        clamped(sum(timed)),
                        max(longest, default=None),
                        min(row["t_ns"] for row in some),
                        max(row["t_last_ns"] for row in some),
                    ],
                    strict=True,
                )
            )
        )
    return lines


def key(line):
    return [(value is not None, value) for value in list(line.values())[:8]]


@given(ROWS, st.integers(0, 12))
def test_it_agrees_with_a_naive_count(rows, at):
    made = Rollup()
    made.add(table(rows[:at]), "t")
    made.add(table(rows[at:]), "t")
    assert made.table().to_pylist() == sorted(naive(rows), key=key)


@given(ROWS)
def test_tenants_and_modules_are_kept_apart(rows):
    made = Rollup()
    for tenant, module in (("b", "m"), ("a", "n"), ("a", "m")):
        made.add(table([row | {"module_id": module} for row in rows]), tenant)
    found = [(line["tenant_id"], line["module_id"], line["rows"]) for line in made.table().to_pylist()]
    for pair in (("b", "m"), ("a", "n"), ("a", "m")):
        assert sum(count for *names, count in found if tuple(names) == pair) == len(rows)


def test_no_rows_are_no_lines():
    assert Rollup().table().num_rows == 0
    assert Rollup().table().schema == SCHEMA
