"""The log is loaded into ClickHouse exactly once, whatever happens meanwhile."""

from __future__ import annotations

import threading

import pyarrow as pa
import pytest

from audit.catalogue import Catalogue
from audit.errors import AuditError
from audit.events import ControlEvent
from audit.filters import RecordFilter
from audit.recovery import recover
from audit.scaleout.clickhouse import ClickHouse
from audit.scaleout.errors import LoadError
from audit.scaleout.loader import Loader
from audit.scaleout.reader import ClickHouseReader
from audit.scaleout.tables import OF_SEGMENTS, RECORDS
from audit.writer import AuditWriter
from sandbox.monitor.decode import decode
from tests.clickhouse_logs import ENGINES, RUNS, backend_of, empty_database, made, sums
from tests.commands import Shell
from tests.records import STORY, T0, start


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
def small(tmp_path_factory):
    """A log of one segment: taking rows away again is slow."""
    return made(tmp_path_factory.mktemp("small"), RUNS[:1])


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


def test_a_token_that_was_used_is_not_used_again(fresh, store):
    Loader(store, fresh)
    texts = ("exec_id", "tenant", "module_digest", "module_name", "outcome", "sha256", "receipt")
    row = pa.Table.from_pylist([dict.fromkeys(texts, "x") | {"started_at_ns": 0}])
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
