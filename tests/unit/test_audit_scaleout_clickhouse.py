"""The log in ClickHouse, asked: the same answers as the embedded engine's."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.catalogue import Catalogue
from audit.errors import FilterError, OutOfTimeError, QueryError
from audit.filters import RecordFilter
from audit.query import Aggregation, AuditReader
from audit.query.totals import METRICS
from audit.receipt import OutcomeKind
from audit.scaleout.clickhouse import ClickHouse
from audit.scaleout.loader import Loader
from audit.scaleout.reader import ClickHouseReader
from audit.writer import AuditWriter
from sandbox.monitor.decode import decode
from tests.clickhouse_logs import ENGINES, RUNS, backend_of, empty_database, made
from tests.records import T0

KEY = b"k" * 32


@pytest.fixture(scope="module", params=ENGINES)
def backend(request, tmp_path_factory):
    return backend_of(request.param, tmp_path_factory.mktemp("clickhouse"))


@pytest.fixture(scope="module")
def engine(backend):
    """A connection that keeps the engine open: only one folder can be, in one process."""
    with ClickHouse(backend) as one:
        yield one


@pytest.fixture
def fresh(engine, backend):
    with empty_database(backend) as one:
        yield one


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return made(tmp_path_factory.mktemp("log"))


@pytest.fixture(scope="module")
def both(store, engine, backend):
    """The same log, asked in the embedded engine and in ClickHouse."""
    with (
        empty_database(backend) as loaded,
        AuditReader(store.root, decode, cursor_key=KEY) as here,
    ):
        Loader(store, loaded).run()
        with ClickHouseReader(store.root, decode, ClickHouse(loaded.backend), cursor_key=KEY) as there:
            yield here, there


TEXTS = (
    "/in/a.csv",
    "out.txt",
    "/srv/in",
    "*",
    "*a?c*",
    "a[!b]*",
    "*[é]*",
    "*\\",
    "",
    "%",
    "'",
    "../../etc/passwd",
)
Q = (
    "decision = 'deny'", "not rule = 'in'", "errno in (0, 76)", "call like 'path%'", "call glob '*_open'",
    "target is null and seq > 3", "not (target like '%a%' or n > 1)", "target glob '*[!x]*'", "dur_ns >= 0",
    "guest_target like '%\\%' or rule in ('out', 'x')", "decision in ('deny', 'would_deny') and tenant = 'acme'",
)  # fmt: skip
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "execution": st.sampled_from([str(of.exec_id) for of in RUNS]),
        "tenant": st.sampled_from(["acme", "default", "a'b\\c", "nobody"]),
        "tenants": st.sampled_from([(), ("acme",), ("acme", "a'b\\c"), ("default",)]),
        "module": st.sampled_from(["sample", "other", RUNS[0].module_digest, "none"]),
        "policy": st.sampled_from([RUNS[0].policy_digest, RUNS[0].policy_name, "sha256:00"]),
        "call": st.sampled_from(["path_*", "fd_?ead", "*", "wasi*open", "[fp]*", "path_open"]),
        "decision": st.sampled_from(["allow", "deny", "would_deny", "none"]),
        "rule": st.sampled_from(["in", "default", "'"]),
        "errno": st.sampled_from([0, 76, -1]),
        "class_uid": st.sampled_from([1001, 1003]),
        "path": st.sampled_from(TEXTS),
        "path_prefix": st.sampled_from(TEXTS),
        "path_glob": st.sampled_from(TEXTS),
        "min_bytes": st.integers(0, 200),
        "min_duration_ns": st.sampled_from([0, 50, 51]),
        "from_ns": st.integers(T0, T0 + 80_000_000_000),
        "to_ns": st.integers(T0, T0 + 80_000_000_000),
        "after_seq": st.integers(-1, 40),
        "q": st.sampled_from(Q),
        "ascending": st.booleans(),
        "limit": st.integers(1, 60),
        "fields": st.sampled_from([("call",), ("seq", "payload", "target"), None]),
    },
)  # fmt: skip

BY = st.lists(
    st.sampled_from(
        ["tenant", "module", "call", "decision", "errno", "rule", "reason", "class", "execution", "policy",
         "target:2", "target:4", "time:60", "time:7"]
    ),
    max_size=3, unique=True,
)  # fmt: skip
OF = st.lists(
    st.sampled_from([one for one in METRICS if not one.startswith("p")]), min_size=1, max_size=4, unique=True
)


@settings(max_examples=40)
@given(values=FILTERS)
def test_a_page_is_the_same(both, values):
    here, there = both
    wanted = RecordFilter(**values)
    one, other = here.records(wanted), there.records(wanted)
    assert other.rows == one.rows
    assert (other.next is None) == (one.next is None)


@settings(max_examples=12)
@given(values=FILTERS, size=st.integers(1, 40))
def test_pages_go_on_in_the_other_engine(both, values, size):
    wanted = RecordFilter(**(values | {"limit": size}))
    expected = list(both[0].stream(wanted))
    found, cursor, turn = [], None, 0
    while turn == 0 or cursor is not None:
        page = both[turn % 2].records(replace(wanted, cursor=cursor))
        found += page.rows
        cursor, turn = page.next, turn + 1
        if turn > 12:  # the rest in one go
            found += both[turn % 2].stream(replace(wanted, cursor=cursor)) if cursor else []
            break
    assert found == expected


@settings(max_examples=30)
@given(
    values=FILTERS,
    by=BY,
    metrics=OF,
    limit=st.integers(1, 50),
)  # fmt: skip
def test_totals_are_the_same(both, values, by, metrics, limit):
    here, there = both
    of = Aggregation(by=tuple(by), metrics=tuple(metrics), wanted=RecordFilter(**values), limit=limit)
    one, other = here.aggregate(of), there.aggregate(of)
    assert (other.rows, other.is_truncated, other.is_exact) == (one.rows, one.is_truncated, one.is_exact)


@settings(max_examples=10)
@given(values=FILTERS)
def test_stats_are_the_same(both, values):
    here, there = both
    wanted = RecordFilter(**values)
    assert replace(there.stats(wanted), source="scan") == replace(here.stats(wanted), source="scan")


def test_durations_in_the_middle_are_near(both):
    of = Aggregation(by=("call",), metrics=("count", "p50_duration", "p95_duration"))
    assert both[1].aggregate(of) == both[0].aggregate(of)


def test_rollups_answer_what_they_can_and_rows_the_edges(both):
    assert both[1].aggregate(Aggregation(by=("call",))).source == "rollup"
    cut = RecordFilter(from_ns=T0 + 5_000_000, to_ns=T0 + 200_000_000_000)
    assert both[1].aggregate(Aggregation(by=("call",), wanted=cut)).source == "mixed"
    assert both[1].aggregate(Aggregation(by=("errno",))).source == "scan"


def test_executions_files_and_refusals_are_the_same(both):
    here, there = both
    assert there.executions(limit=10) == here.executions(limit=10)
    assert there.executions(limit=2, tenants=("acme",)) == here.executions(limit=2, tenants=("acme",))
    assert there.executions(limit=2, outcome=OutcomeKind.KILLED) == ()
    for of in RUNS:
        assert there.execution(of.exec_id) == here.execution(of.exec_id)
        assert there.files(of.exec_id) == here.files(of.exec_id) != ()
        assert there.connections(of.exec_id) == here.connections(of.exec_id)
        assert there.refusals(of.exec_id) == here.refusals(of.exec_id) != ()


def test_executions_of_another_machine_are_found(both, store, tmp_path, backend):
    AuditWriter(tmp_path).close()
    with ClickHouseReader(tmp_path, decode, ClickHouse(both[1]._clickhouse.backend)) as elsewhere:
        assert [one.exec_id for one in elsewhere.executions(limit=9)] == [
            one.exec_id for one in both[0].executions(limit=9)
        ]
        assert elsewhere.executions(limit=9, module="other", tenants=("acme",)) != ()
        assert elsewhere.executions(limit=9, module="other", tenants=("default",)) == ()
        assert elsewhere.executions(limit=9, tenants=()) == ()
        assert elsewhere.execution(RUNS[0].exec_id) == both[0].execution(RUNS[0].exec_id)
        assert len(elsewhere.records(RecordFilter(module="other")).rows) > 0
        for wanted in (RecordFilter(), RecordFilter(tenant="acme"), RecordFilter(policy=RUNS[0].policy_name)):
            assert replace(elsewhere.stats(wanted), source="scan") == replace(
                both[0].stats(wanted), source="scan"
            )
            assert elsewhere.stats(wanted).executions > 0
            assert elsewhere.records(wanted).rows == both[0].records(wanted).rows


def test_a_cursor_of_another_question_is_refused(both):
    page = both[1].records(RecordFilter(limit=2))
    with pytest.raises(FilterError, match="cursor"):
        both[1].records(RecordFilter(limit=2, tenant="acme", cursor=page.next))


def test_what_is_loaded_later_is_not_in_later_pages(fresh, tmp_path):
    store = made(tmp_path / "log")
    loader = Loader(store, fresh)
    segments = Catalogue(store).segments()
    for one in segments[1:]:
        loader.load(one)
    with ClickHouseReader(store.root, decode, ClickHouse(fresh.backend), cursor_key=KEY) as reader:
        first = reader.records(RecordFilter(limit=5))
        before = sum(1 for _ in reader.stream(RecordFilter()))
        loader.load(segments[0])  # with earlier times than all that is there
        rest = list(reader.stream(RecordFilter(cursor=first.next)))
        assert len(first.rows) + len(rest) == before < sum(1 for _ in reader.stream(RecordFilter()))


def test_a_question_that_takes_too_long_is_stopped(engine):
    with pytest.raises(OutOfTimeError):
        engine.ask("SELECT sum(cityHash64(number)) FROM numbers(1000000000000)", seconds=0.2)


def test_a_table_that_is_not_there_is_an_error_of_ours(fresh):
    with pytest.raises(QueryError, match="UNKNOWN_TABLE"):
        fresh.ask(f"SELECT * FROM {fresh.name}.nothing")


@pytest.mark.slow
@settings(settings.get_profile("slow"), max_examples=1_000)
@given(values=FILTERS, by=BY, metrics=OF)
def test_many_more_questions_have_the_same_answers(both, values, by, metrics):
    here, there = both
    wanted = RecordFilter(**values)
    of = Aggregation(by=tuple(by), metrics=tuple(metrics), wanted=wanted)
    assert there.records(wanted).rows == here.records(wanted).rows
    assert there.aggregate(of).rows == here.aggregate(of).rows


def test_empty_tables_give_empty_answers(fresh, store):
    Loader(store, fresh)
    with ClickHouseReader(store.root, decode, ClickHouse(fresh.backend)) as reader:
        assert reader.records(RecordFilter()).rows == ()
        assert reader.stats(RecordFilter()).records == 0
        assert reader.files(RUNS[0].exec_id) == ()
