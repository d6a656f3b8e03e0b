"""The log in ClickHouse: loaded exactly once, and asked with the same answers as the embedded engine."""

from __future__ import annotations

import os
import threading
from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.catalogue import Catalogue
from audit.errors import AuditError, FilterError, OutOfTimeError, QueryError
from audit.events import ControlEvent
from audit.filters import RecordFilter
from audit.query import Aggregation, AuditReader
from audit.query.totals import METRICS
from audit.receipt import OutcomeKind
from audit.recovery import recover
from audit.scaleout.backend import Backend
from audit.scaleout.clickhouse import ClickHouse
from audit.scaleout.errors import LoadError
from audit.scaleout.loader import Loader
from audit.scaleout.reader import ClickHouseReader
from audit.scaleout.tables import OF_SEGMENTS, RECORDS
from audit.store import Store
from audit.writer import AuditWriter
from sandbox.monitor.decode import decode
from tests.commands import Shell
from tests.records import IN, STORY, T0, call, pack, receipt, start, tell

KEY = b"k" * 32
SERVER = os.environ.get("WASMGATE_TEST_CLICKHOUSE")
RUNS = (
    start(number=1),
    start(number=2, tenant="acme", module_digest="sha256:" + "99" * 32, module_name="other"),
    start(number=3, tenant="a'b\\c"),
    start(number=70_000),
)
HOSTILE = "x'; DROP TABLE records; --\n\x1b[2J{p:String}\\ é[a]".encode()


@pytest.fixture(scope="module", params=["chdb", "server"])
def backend(request, tmp_path_factory):
    if request.param == "chdb":
        return Backend.parse(f"chdb://{tmp_path_factory.mktemp('clickhouse')}")
    if SERVER is None:
        pytest.skip("needs WASMGATE_TEST_CLICKHOUSE")
    return Backend.parse(SERVER)


@pytest.fixture(scope="module")
def engine(backend):
    """A connection that keeps the engine open: only one folder can be, in one process."""
    with ClickHouse(backend) as one:
        yield one


@pytest.fixture
def fresh(engine, backend):
    """An empty database of its own."""
    name = f"t{os.urandom(6).hex()}"
    with ClickHouse(replace(backend, database=name)) as one:
        yield one
        one.command(f"DROP DATABASE {name}")


def made(root, runs=RUNS):
    """A log of a segment for each run, of several tenants."""
    for of in runs:
        writer = AuditWriter(root)
        tell(writer, of, rounds=3, is_ended=False)
        calls, arena = pack(
            [call("path_open", HOSTILE, opener=IN, fd=3, decision=1, errno=76, reason=1)],
            first_seq=3 * len(STORY), t0=of.started_at_ns,
        )  # fmt: skip
        writer.append(of.exec_id, first_seq=3 * len(STORY), records=calls.tobytes(), arena=arena)
        writer.commit()
        writer.end(of.exec_id, replace(receipt(of, records=3 * len(STORY) + 1), tenant=of.tenant))
        writer.close()
        recover(root, decode)
    return Store(root)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return made(tmp_path_factory.mktemp("log"))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A log of one segment: taking rows away again is slow."""
    return made(tmp_path_factory.mktemp("small"), RUNS[:1])


@pytest.fixture(scope="module")
def both(store, engine, backend):
    """The same log, asked in the embedded engine and in ClickHouse."""
    name = f"both{os.urandom(4).hex()}"
    loaded = ClickHouse(replace(backend, database=name))
    Loader(store, loaded).run()
    with (
        AuditReader(store.root, decode, cursor_key=KEY) as here,
        ClickHouseReader(store.root, decode, loaded, cursor_key=KEY) as there,
    ):
        yield here, there
        loaded.command(f"DROP DATABASE {name}")


def sums(engine):
    """How much each table holds, and what the roll-ups add up to."""
    counts = [
        engine.rows(f"SELECT toInt64(count()) AS n FROM {engine.name}.{table}")[0]["n"]
        for table in OF_SEGMENTS[:2]
    ]
    rolled = engine.rows(
        f"SELECT call, decision, rule_id, minute, tenant_id, toString(sum(n)) AS n, toString(sum(bytes_in)) AS i,"
        f" toInt64(sum(rows)) AS rows, max(dur_max_ns) AS d FROM {engine.name}.rollups"
        " GROUP BY call, decision, rule_id, minute, tenant_id ORDER BY ALL"
    )
    return counts, rolled


# --- the same answers --------------------------------------------------------------------------------------

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
            assert elsewhere.stats(wanted) == both[1].stats(wanted)
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


# --- exactly once ------------------------------------------------------------------------------------------


def test_loading_twice_changes_nothing(fresh, store):
    first = Loader(store, fresh).run()
    assert (first.segments, first.rows, first.executions) == (4, 4 * (3 * len(STORY) + 1), 4)
    before = sums(fresh)
    again = Loader(store, fresh).run()
    assert (again.segments, again.rows, again.executions) == (0, 0, 0)
    assert sums(fresh) == before


def test_loading_at_the_same_time_changes_nothing(fresh, store):
    Loader(store, fresh)
    problems = []

    def work():
        try:
            with ClickHouse(fresh.backend) as mine:
                loader = Loader(store, mine)
                for segment in Catalogue(store).segments():
                    loader.load(segment)  # without the lock of a pass
        except AuditError as err:
            problems.append(err)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert problems == []
    assert sums(fresh)[0] == [4 * (3 * len(STORY) + 1), 4 * 7]
    assert Loader(store, fresh).wrong() == ()


class CrashError(Exception):
    pass


def test_a_crash_between_rows_and_mark_changes_nothing(fresh, small):
    expected = (Loader(small, fresh).run(), sums(fresh))[1]
    fresh.command(f"DELETE FROM {fresh.name}.loaded WHERE 1")  # all rows, and no marks
    with ClickHouseReader(small.root, decode, ClickHouse(fresh.backend)) as reader:
        assert reader.records(RecordFilter()).rows == ()
        assert reader.stats(RecordFilter()).records == 0
    done = Loader(small, fresh).run()
    assert (done.segments, done.repaired) == (1, 1)
    assert sums(fresh) == expected


@pytest.mark.parametrize(
    "table", [RECORDS, *(pytest.param(one, marks=pytest.mark.slow) for one in OF_SEGMENTS if one != RECORDS)]
)
def test_a_segment_that_is_there_in_part_is_repaired(fresh, small, table):
    loader = Loader(small, fresh, sleep=lambda _: None)
    expected = (loader.run(), sums(fresh))[1]
    fresh.command(f"DELETE FROM {fresh.name}.loaded WHERE 1")
    fresh.command(f"DELETE FROM {fresh.name}.{table} WHERE decision = 2")
    assert sums(fresh) != expected
    assert loader.run().repaired == 1
    assert sums(fresh) == expected
    assert loader.wrong() == ()


def test_rows_that_are_there_twice_are_repaired(fresh, small):
    loader = Loader(small, fresh, sleep=lambda _: None)
    expected = (loader.run(), sums(fresh))[1]
    fresh.command(f"INSERT INTO {fresh.name}.{RECORDS} SELECT * FROM {fresh.name}.{RECORDS}")
    assert len(loader.wrong()) == 1
    fresh.command(f"DELETE FROM {fresh.name}.loaded WHERE 1")
    loader.run()
    assert sums(fresh) == expected


def test_a_crash_in_the_middle_of_an_insert_is_repaired(fresh, small, monkeypatch):
    monkeypatch.setattr("audit.scaleout.loader._ROWS_AT_ONCE", 8)
    insert, done = fresh.insert, []

    def crashing(table, rows, *, token):
        insert(table, rows, token=token)
        done.append(token)
        if len(done) == 3:
            raise CrashError

    monkeypatch.setattr(fresh, "insert", crashing)
    with pytest.raises(CrashError):
        Loader(small, fresh).run()
    assert Loader(small, fresh).run().repaired == 1
    assert sums(fresh)[0] == [3 * len(STORY) + 1, 7]
    assert Loader(small, fresh).wrong() == ()


def test_a_file_that_is_not_the_manifests_is_not_loaded(fresh, tmp_path):
    store = made(tmp_path / "log")
    segment = Catalogue(store).segments()[0]
    content = segment.path.read_bytes()
    segment.path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(LoadError, match="not the file that its manifest names"):
        Loader(store, fresh).run()
    segment.path.write_bytes(content)
    assert Loader(store, fresh).run().segments == 4


def test_a_manifest_that_is_not_the_logs_is_not_loaded(fresh, tmp_path):
    store = made(tmp_path / "log")
    segment = Catalogue(store).segments()[0]
    segment.manifest_path.write_bytes(segment.manifest_path.read_bytes() + b" ")
    with pytest.raises(LoadError, match="not the one that the transparency log names"):
        Loader(store, fresh).run()


def test_what_was_pruned_is_taken_out_and_what_is_merely_missing_stays(fresh, tmp_path):
    store = made(tmp_path / "log")
    loader = Loader(store, fresh)
    loader.run()
    gone, missing = (str(one.path.relative_to(store.root)) for one in Catalogue(store).segments()[:2])
    writer = AuditWriter(store.root)
    writer.record_event(
        ControlEvent(
            event_id=str(start(number=9).exec_id),
            at_ns=T0,
            event="prune",
            actor="a",
            details={"segments": gone},
        )
    )
    writer.close()
    recover(store.root, decode)
    for one in (gone, missing):
        (store.root / one).unlink()
    assert loader.run().dropped == 1
    assert sums(fresh)[0][0] == 3 * (3 * len(STORY) + 1)
    assert set(loader.marked()) == {
        str(one.path.relative_to(store.root)) for one in Catalogue(store).segments()
    } - {gone}
    assert loader.run().dropped == 0


def test_empty_tables_give_empty_answers(fresh, store):
    Loader(store, fresh)
    with ClickHouseReader(store.root, decode, ClickHouse(fresh.backend)) as reader:
        assert reader.records(RecordFilter()).rows == ()
        assert reader.stats(RecordFilter()).records == 0
        assert reader.files(RUNS[0].exec_id) == ()


def test_a_token_that_was_used_is_not_used_again(fresh, store):
    Loader(store, fresh)
    row = pa.Table.from_pylist(
        [
            {
                "exec_id": "x",
                "started_at_ns": 0,
                "tenant": "",
                "module_digest": "",
                "module_name": "",
                "outcome": "",
                "sha256": "",
                "receipt": "",
            }
        ]
    )
    for token in ("a", "a", "b"):
        fresh.insert("executions", row, token=token)
    assert fresh.rows(f"SELECT toInt64(count()) AS n FROM {fresh.name}.executions")[0]["n"] == 2


def test_the_command_loads_and_questions_go_there(store, tmp_path):
    """In a process of its own: this one has another folder open."""
    shell = Shell(tmp_path, tmp_path / "home")
    dsn = f"chdb://{tmp_path / 'ch'}"
    named = {"WASMGATE_AUDIT_BACKEND": dsn}
    loaded = shell(
        "audit", "load", "--audit-dir", store.root, "--backend", dsn, "--check", "--output", "json"
    )
    assert (loaded.status, loaded.json["segments"], loaded.json["backend"]) == (0, 4, dsn), loaded.said
    again = shell("audit", "load", "--audit-dir", store.root, environment=named)
    assert (again.status, again.text) == (0, f"0 segments, 0 rows and 0 executions loaded into {dsn}\n")
    question = ("audit", "stats", "--audit-dir", store.root, "--tenant", "acme", "--output", "json")
    there, here = shell(*question, environment=named), shell(*question)
    assert there.json | {"source": ""} == here.json | {"source": ""}


def test_the_embedded_engine_takes_no_load(store, tmp_path):
    refused = Shell(tmp_path, tmp_path / "home")("audit", "load", "--audit-dir", store.root)
    assert refused.status == 2
    assert "nothing is loaded into the embedded engine" in refused.said
