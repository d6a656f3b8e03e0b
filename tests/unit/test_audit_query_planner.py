"""Plans name the files that can hold rows of the answer, and no others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from audit.filters import RecordFilter
from audit.query.planner import MINUTE_NS, Asked, Kind, Source, is_whole, plan_of


def source(
    name: str = "a", *, at: tuple[int, int] = (0, 10 * MINUTE_NS - 1), tenant: str = "t", refusals: int = 1
):
    return Source(
        path=Path(f"{name}.parquet"), t_min_ns=at[0], t_max_ns=at[1], rows=100, tenant=tenant, modules=("m1",),
        policies=("p1",), refusals=refusals, refusals_path=Path(f"{name}.deny"), rollup_path=Path(f"{name}.rollup"),
    )  # fmt: skip


def totals(wanted: RecordFilter, *columns: str, **more) -> Asked:
    return Asked(wanted=wanted, purpose="totals", columns=frozenset(columns), **more)


def kinds(asked: Asked, *sources: Source) -> list[tuple[Kind, bool]]:
    return [(step.kind, step.is_edge) for step in plan_of(asked, sources or (source(),)).steps]


def test_rows_come_from_records_and_refusals_from_their_sidecar():
    assert kinds(Asked(wanted=RecordFilter())) == [(Kind.RECORDS, False)]
    assert kinds(Asked(wanted=RecordFilter(decision="deny"))) == [(Kind.REFUSALS, False)]
    assert kinds(Asked(wanted=RecordFilter(q="decision in ('deny','limit') and errno = 76"))) == [
        (Kind.REFUSALS, False)
    ]
    assert kinds(Asked(wanted=RecordFilter(decision="allow"))) == [(Kind.RECORDS, False)]


def test_a_segment_without_refusals_is_not_asked_for_them():
    found = plan_of(Asked(wanted=RecordFilter(decision="deny")), (source(refusals=0), source("b")))
    assert [step.path.name for step in found.steps] == ["b.deny"]
    assert found.left_out == {"no refusals": 1}


def test_segments_of_other_tenants_are_never_in_a_plan():
    both = (source("a", tenant="mine"), source("b", tenant="other"))
    for asked in (
        Asked(wanted=RecordFilter(tenants=("mine",))),
        totals(RecordFilter(tenants=("mine",)), "n"),
    ):
        found = plan_of(asked, both)
        assert [step.path.stem for step in found.steps] == ["a"]
        assert found.left_out == {"tenant": 1}
    assert not plan_of(Asked(wanted=RecordFilter(tenants=())), both).steps
    assert not plan_of(Asked(wanted=RecordFilter(tenant="other", tenants=("mine",))), both).steps
    assert len(plan_of(Asked(wanted=RecordFilter()), both).steps) == 2


def test_what_is_of_another_time_module_or_policy_is_left_out():
    for asked, reason in (
        (Asked(wanted=RecordFilter(from_ns=10 * MINUTE_NS)), "time"),
        (Asked(wanted=RecordFilter(to_ns=0)), "time"),
        (Asked(wanted=RecordFilter(), before_ns=-1), "time"),
        (Asked(wanted=RecordFilter(), after_ns=10 * MINUTE_NS), "time"),
        (Asked(wanted=RecordFilter(module="m"), module_ids=("m", "m2")), "module"),
        (Asked(wanted=RecordFilter(policy="p")), "policy"),
    ):
        found = plan_of(asked, (source(),))
        assert (found.steps, found.left_out) == ((), {reason: 1})
    for asked in (
        Asked(wanted=RecordFilter(from_ns=10 * MINUTE_NS - 1, to_ns=10 * MINUTE_NS)),
        Asked(wanted=RecordFilter(), before_ns=0, after_ns=0),
        Asked(wanted=RecordFilter(module="m"), module_ids=("m", "m1")),
        Asked(wanted=RecordFilter(policy="p1")),
    ):
        assert len(plan_of(asked, (source(),)).steps) == 1


def test_totals_come_from_roll_ups_where_these_say_as_much():
    rollup, scan = [(Kind.ROLLUP, False)], [(Kind.RECORDS, False)]
    assert kinds(totals(RecordFilter(), "n", "call", "decision")) == rollup
    assert kinds(totals(RecordFilter(tenant="t", call="fd_*", rule="r"), "bytes_in")) == rollup
    assert kinds(totals(RecordFilter(module="m"), "n", module_ids=("m1",))) == rollup
    assert kinds(totals(RecordFilter(q="call = 'x' and rule != 'y'"), "n")) == rollup
    assert kinds(totals(RecordFilter(decision="deny"), "n")) == rollup
    for asked in (
        totals(RecordFilter(), "errno"),
        totals(RecordFilter(), "exec_id"),
        totals(RecordFilter(errno=0), "n"),
        totals(RecordFilter(path_prefix="/"), "n"),
        totals(RecordFilter(min_bytes=1), "n"),
        totals(RecordFilter(policy="p1"), "n"),
        totals(RecordFilter(q="n > 1"), "n"),
        totals(RecordFilter(q="bytes_in > 1"), "bytes_in"),
        totals(RecordFilter(), "n", is_rollup_allowed=False),
    ):
        assert kinds(asked) == scan


def test_minutes_that_the_time_cuts_are_scanned():
    def found(low, high):
        return kinds(totals(RecordFilter(from_ns=low, to_ns=high), "n"))

    assert found(0, 10 * MINUTE_NS) == [(Kind.ROLLUP, False)]
    assert found(1, None) == [(Kind.ROLLUP, True), (Kind.RECORDS, True)]
    assert found(MINUTE_NS, None) == [(Kind.ROLLUP, True), (Kind.RECORDS, True)]
    assert found(1, MINUTE_NS - 1) == [(Kind.RECORDS, True)]
    assert plan_of(totals(RecordFilter(from_ns=1, to_ns=3 * MINUTE_NS + 5), "n"), (source(),)).window == (
        MINUTE_NS,
        3 * MINUTE_NS,
    )


def test_a_segment_is_wanted_whole_when_the_filter_says_nothing_of_its_rows():
    def whole(one: Source | None = None, **asked):
        module_ids = asked.pop("module_ids", ())
        policy_ids = asked.pop("policy_ids", None)
        wanted = RecordFilter(**asked)
        return is_whole(
            Asked(wanted=wanted, module_ids=module_ids, policy_ids=policy_ids), one or source(at=(10, 20))
        )

    assert whole(from_ns=10, to_ns=21, tenants=("t",), limit=5)
    assert not whole(from_ns=11)
    assert not whole(to_ns=20)
    assert not whole(tenants=("u",))
    assert whole(module="name", module_ids=("name", "m1"))
    assert not whole(module="name", module_ids=("name", "m2"))
    assert not whole(replace(source(), modules=("m1", "m2")), module="m1", module_ids=("m1",))
    assert not whole(replace(source(), modules=None), module="m1", module_ids=("m1",))
    assert not whole(replace(source(), modules=()), module="m1", module_ids=("m1",))
    assert whole(policy="p1")
    assert not whole(policy="p2")
    assert whole(policy="name", policy_ids=("name", "p1"))
    assert not whole(replace(source(), tenant=None), tenants=("t",))
    for more in ({"call": "fd_read"}, {"decision": "deny"}, {"path_prefix": "/"}, {"q": "seq > 1"},
                 {"after_seq": 1}, {"min_bytes": 1}, {"errno": 0}, {"rule": "in"}, {"class_uid": 1}):  # fmt: skip
        assert not whole(None, **more)


def test_a_policy_may_be_named():
    named = RecordFilter(policy="name")
    found = plan_of(Asked(wanted=named, policy_ids=("name", "p1")), (source(),))
    assert len(found.steps) == 1
    assert plan_of(Asked(wanted=named, policy_ids=("name",)), (source(),)).left_out == {"policy": 1}


def test_a_plan_can_be_read():
    found = plan_of(Asked(wanted=RecordFilter(decision="deny")), (source(), source("b", refusals=0)))
    assert found.lines() == (
        "refusals: a.deny: only refusals are wanted",
        "left out: 1 because of no refusals",
    )


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.sampled_from("xy")), max_size=6),
    st.integers(0, 60), st.integers(0, 60), st.sampled_from([None, ("x",), ("x", "y"), ()]),
)  # fmt: skip
def test_no_file_with_rows_of_the_answer_is_left_out(spans, low, high, scope):
    sources = [
        source(str(at), at=(min(one, two), max(one, two)), tenant=tenant)
        for at, (one, two, tenant) in enumerate(spans)
    ]
    chosen = {
        step.source
        for step in plan_of(Asked(wanted=RecordFilter(from_ns=low, to_ns=high, tenants=scope)), sources).steps
    }
    for one in sources:
        is_wanted = one.t_max_ns >= low and one.t_min_ns < high and (scope is None or one.tenant in scope)
        assert (one in chosen) == is_wanted
