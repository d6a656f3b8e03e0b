"""Totals from roll-ups, from a scan and from both are the same numbers, and say where they come from."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.errors import FilterError
from audit.filters import RecordFilter
from audit.query import Aggregation, AuditReader
from audit.query.planner import MINUTE_NS, Kind
from audit.recovery import recover
from audit.writer import AuditWriter
from sandbox.monitor.decode import decode
from tests.records import STORY, T0, start, tell

HOUR = 60 * MINUTE_NS


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Four sealed segments, of two tenants and some minutes, and a run that goes on."""
    root = tmp_path_factory.mktemp("log")
    for number in range(3):
        writer = AuditWriter(root)
        at = T0 + number * MINUTE_NS // 2
        tell(writer, start(number=2 * number, started_at_ns=at), rounds=number + 1)
        if number:
            tell(writer, start(number=2 * number + 1, started_at_ns=at + 5 * MINUTE_NS, tenant="acme"))
        writer.close()
        recover(root, decode)
    writer = AuditWriter(root)
    tell(writer, start(number=9, started_at_ns=T0 + HOUR), is_ended=False)
    with AuditReader(root, decode) as reader:
        yield reader
    writer.close()


@pytest.fixture(scope="module")
def everything(log):
    return list(log.stream(RecordFilter(ascending=True)))


def counted(log, **more):
    found = log.aggregate(Aggregation(**more))
    return {tuple(row[key] for key in more.get("by", ())): row for row in found.rows}, found


def test_counts_by_call_and_decision_are_a_plain_count(log, everything):
    rows, found = counted(log, by=("call", "decision"), metrics=("count", "bytes_in", "bytes_out"))
    plain = Counter((row["call"], row["decision"]) for row in everything)
    assert {key: row["count"] for key, row in rows.items()} == plain
    assert sum(row["bytes_in"] for row in rows.values()) == sum(row["bytes_in"] for row in everything)
    assert (found.source, found.is_exact, found.is_truncated) == ("mixed", True, False)


TIMES = st.integers(T0 - MINUTE_NS, T0 + 7 * MINUTE_NS) | st.integers(-1, 7).map(
    lambda one: (T0 // MINUTE_NS + one) * MINUTE_NS
)


WANTED = st.builds(
    RecordFilter,
    from_ns=st.none() | TIMES,
    to_ns=st.none() | TIMES,
    call=st.sampled_from([None, "fd_*"]),
    decision=st.sampled_from([None, "deny", "allow"]),
    tenants=st.sampled_from([None, ("default",), ("acme",), ("acme", "default"), ()]),
    rule=st.sampled_from([None, "in"]),
)


@settings(max_examples=40, deadline=None)
@given(WANTED)
def test_roll_ups_and_scans_agree_whatever_the_time_cuts(log, everything, wanted):
    low, high, scope = wanted.from_ns, wanted.to_ns, wanted.tenants
    rows, _ = counted(log, by=("tenant", "call", "rule"), metrics=("count", "bytes_out"), wanted=wanted)
    expected: Counter[Any] = Counter()
    for row in everything:
        if (
            (low is None or row["t_ns"] >= low)
            and (high is None or row["t_ns"] < high)
            and (wanted.call is None or row["call"].split(".")[-1].startswith("fd_"))
            and wanted.decision in {None, row["decision"]}
            and (scope is None or row["tenant_id"] in scope)
            and wanted.rule in {None, row["rule_id"]}
        ):
            expected[row["tenant_id"], row["call"], row["rule_id"]] += 1
    assert {key: row["count"] for key, row in rows.items()} == expected
    stats = log.stats(wanted)
    assert stats.records == sum(expected.values())


OTHER = "sha256:" + "99" * 32


@settings(max_examples=60, deadline=None)
@given(
    st.builds(
        RecordFilter,
        from_ns=st.none() | TIMES,
        to_ns=st.none() | TIMES,
        tenants=st.sampled_from([None, ("default",), ("acme",), ("acme", "default"), ()]),
        tenant=st.sampled_from([None, None, "acme"]),
        module=st.sampled_from([None, None, "sample", start().module_digest, OTHER]),
        policy=st.sampled_from([None, None, "test", start().policy_digest, OTHER]),
        execution=st.sampled_from([None, None, *(start(number=number).exec_id for number in (0, 3, 9, 77))]),
        errno=st.sampled_from([None, None, 76]),
    )
)
def test_executions_are_those_of_a_scan(log, everything, wanted):
    low, high = wanted.from_ns, wanted.to_ns
    found = {
        row["exec_id"]
        for row in everything
        if (low is None or row["t_ns"] >= low)
        and (high is None or row["t_ns"] < high)
        and (wanted.scope is None or row["tenant_id"] in wanted.scope)
        and wanted.module in {None, "sample", row["module_id"]}
        and wanted.policy in {None, "test", row["policy_id"]}
        and wanted.execution in {None, row["exec_id"]}
        and wanted.errno in {None, row["errno"]}
    }
    assert log.stats(wanted).executions == len(found)


def test_it_says_where_the_numbers_come_from(log):
    old = RecordFilter(to_ns=(T0 // MINUTE_NS + 30) * MINUTE_NS)
    assert counted(log, wanted=old)[1].source == "rollup"
    assert counted(log, by=("errno",), wanted=old)[1].source == "scan"
    assert counted(log, wanted=RecordFilter(from_ns=T0 + 1000, to_ns=old.to_ns))[1].source == "mixed"
    plan = log.explain(Aggregation(wanted=old))
    assert {step.kind for step in plan.steps} == {Kind.ROLLUP}


def test_segments_of_other_tenants_are_not_opened(log):
    plan = log.plan_of(RecordFilter(tenants=("acme",)))
    assert {step.source.tenant for step in plan.steps} == {"acme"}
    assert all("tenant=acme" in str(step.path) for step in plan.steps)
    assert {row["tenant_id"] for row in log.stream(RecordFilter(tenants=("acme",)))} == {"acme"}
    assert log.records(RecordFilter(tenants=("nobody",))).rows == ()
    assert log.records(RecordFilter(tenant="default", tenants=("acme",))).rows == ()


def test_other_groupings_and_metrics(log, everything):
    rows, found = counted(log, by=("target:2",), metrics=("targets", "executions", "count"))
    below = [row for row in everything if (row["target"] or "").startswith("/srv/in")]
    assert rows["/srv/in",]["count"] == len(below)
    assert rows["/srv/in",]["targets"] == len({row["target"] for row in below})
    assert rows["/srv/in",]["executions"] == len({row["exec_id"] for row in below})
    rows, _ = counted(log, by=("time:60",))
    assert {key[0]: row["count"] for key, row in rows.items()} == Counter(
        row["t_ns"] // MINUTE_NS * MINUTE_NS for row in everything
    )
    rows, found = counted(log, metrics=("p50_duration", "p95_duration", "max_duration"))
    assert rows[()] == {"p50_duration": 50, "p95_duration": 50, "max_duration": 50}
    assert not found.is_exact


def test_the_largest_groups_come_first_and_more_is_said(log):
    found = log.aggregate(Aggregation(by=("call",), limit=2))
    assert found.is_truncated
    assert found.rows[0]["count"] >= found.rows[1]["count"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("by", ("password",)), ("by", ("call", "call")), ("by", ("target:0",)), ("by", ("target:33",)),
        ("by", ("target:1); DROP",)), ("by", ("time:0",)), ("by", ("time:-1",)), ("by", ("time:\u0663",)),
        ("by", ("time:99999999999",)), ("metrics", ()), ("metrics", ("sum(n)",)), ("limit", 0), ("limit", 10_001),
    ],
)  # fmt: skip
def test_a_wrong_name_is_refused(field, value):
    with pytest.raises(FilterError, match=field):
        Aggregation(**{field: value})


def test_stats_of_an_empty_answer(log):
    found = log.stats(RecordFilter(tenants=()))
    assert (found.records, found.executions, found.calls, found.first_t_ns) == (0, 0, {}, None)


def test_files_are_counted_and_there_are_no_connections(log):
    rows = {row["target"]: row for row in log.files(start().exec_id)}
    assert (rows["/etc/passwd"]["denied"], rows["/etc/passwd"]["decisions"]) == (1, {"deny": 1})
    assert rows["/srv/in/a.csv"]["calls"] == 2
    assert rows["/srv/in/a.csv"]["bytes_in"] == 4096
    assert log.connections(start().exec_id) == ()
    assert len(STORY) > len(rows)
