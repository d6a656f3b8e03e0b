"""Whatever files a question skips, its answer is that of a look at every row."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.filters import RecordFilter
from audit.folders import KEY, MOST, PATHS
from audit.query import Aggregation, AuditReader
from audit.query.places import places_of
from audit.query.planner import Asked, Kind, Plan, Source, Step, plan_of
from audit.query.skipping import FolderLists
from audit.recovery import recover
from audit.store import Store
from audit.text import to_text
from audit.writer import AuditWriter
from sandbox.monitor.decode import decode
from tests.records import IN, OUT, T0, call, pack, receipt, start

SEGMENTS: tuple[tuple[bytes, ...], ...] = (
    (b"a/one", b"a/two", b"b/one"),
    (b"A/one", "é/ü".encode(), "日本/x".encode()),
    (b"100%/x", b"100_/x", b"1*/x", b"a\\b/x", b"\xff/x"),
    (b"a//x/", b"a/", b"/", b"a/\n/x"),
    tuple(b"many/%d/x" % number for number in range(MOST + 10)),
    (b"long/" + b"n" * 3_000 + b"/x", b"long/" + b"n" * 2_999 + b"/y", *(b"d/" * 30 + b"%d" % n for n in range(3))),
    (),
    (b"rare/x",),
)  # fmt: skip
UNSEALED = (b"a/three", b"live/x")
EVERY = sorted({f"/{to_text(path)}" for paths in (*SEGMENTS, UNSEALED) for path in paths})


def write(writer: AuditWriter, number: int, paths: tuple[bytes, ...], *, is_ended: bool = True) -> None:
    """One execution that opens some paths, every third of them without leave."""
    of = start(number=number, started_at_ns=T0 + number * 10_000_000)
    calls = [
        call("path_open", path, opener=OUT if at % 2 else IN, fd=3, fd2=5, rule=2)
        if at % 3
        else call("path_open", path, opener=IN, fd=3, decision=1, errno=76, reason=1)
        for at, path in enumerate(paths)
    ] or [call("random_get", aux=32)]
    made, arena = pack(calls, t0=of.started_at_ns)
    writer.begin(of)
    writer.append(of.exec_id, first_seq=0, records=made.tobytes(), arena=arena)
    writer.commit()
    if is_ended:
        writer.end(of.exec_id, receipt(of, records=len(calls)))


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Iterator[Path]:
    """A log of many segments, and of a run that goes on."""
    made = tmp_path_factory.mktemp("log")
    for number, paths in enumerate(SEGMENTS):
        writer = AuditWriter(made)
        write(writer, number, paths)
        writer.close()
        recover(made, decode)
    writer = AuditWriter(made)
    write(writer, len(SEGMENTS), UNSEALED, is_ended=False)
    yield made
    writer.close()


@pytest.fixture(scope="module")
def log(root) -> Iterator[AuditReader]:
    with AuditReader(root, decode) as reader:
        yield reader


@pytest.fixture(scope="module")
def everything(log):
    return list(log.stream(RecordFilter()))


@st.composite
def places(draw) -> str:
    """The beginning of a path that is there, or of one that is not."""
    path = draw(st.sampled_from(["/in", "/srv/in", "tmp://out", "/out", ""])) + draw(st.sampled_from(EVERY))
    cut = path[: draw(st.integers(0, len(path)))]
    found: str = draw(st.sampled_from([path, cut, cut.upper(), path + "/", cut + "zz"]))
    return found.replace("\\", "")


globs = st.builds(
    lambda place, end: place.replace("*", "?") + end,
    places(),
    st.sampled_from(["", "*", "**", "/**", "/*/x", "?"]),
)


def naive(rows, wanted: RecordFilter):
    for row in rows:
        paths = [row[name] for name in PATHS if row[name] is not None]
        if (
            (wanted.path is None or wanted.path in paths)
            and (wanted.path_prefix is None or any(one.startswith(wanted.path_prefix) for one in paths))
            and (wanted.path_glob is None or any(fnmatch.fnmatchcase(one, wanted.path_glob) for one in paths))
            and wanted.decision in {None, row["decision"]}
        ):
            yield row


filters = st.builds(
    RecordFilter,
    path=st.none() | places(),
    path_prefix=st.none() | places(),
    path_glob=st.none() | globs,
    decision=st.sampled_from([None, None, "deny", "allow"]),
    ascending=st.booleans(),
)


@settings(deadline=None, max_examples=60)
@given(filters)
def test_answers_are_those_of_a_look_at_every_row(log, everything, wanted):
    expected = list(naive(everything, wanted))
    if wanted.is_ascending:
        expected.reverse()
    assert list(log.stream(wanted)) == expected
    found = log.aggregate(Aggregation(metrics=("count", "executions"), wanted=wanted)).rows[0]
    executions = len({row["exec_id"] for row in expected})
    assert found == {"count": sum(row["n"] for row in expected), "executions": executions}
    assert log.stats(wanted).executions == executions
    assert sum(log.facts(wanted).column("n").to_pylist()) == found["count"]


@settings(deadline=None, max_examples=15)
@given(filters, st.integers(1, 7))
def test_pages_that_skip_files_join_up(log, everything, wanted, size):
    pages, cursor = [], None
    while True:
        page = log.records(replace(wanted, limit=size, cursor=cursor))
        pages += page.rows
        cursor = page.next
        if cursor is None or len(pages) > 60:
            break
    expected = list(naive(everything, wanted))
    assert pages == (expected[::-1] if wanted.is_ascending else expected)[: len(pages)]
    assert cursor is not None or len(pages) == len(expected)


def test_a_cursor_goes_on_when_more_is_sealed_meanwhile(tmp_path):
    for number in range(2):
        writer = AuditWriter(tmp_path)
        write(writer, number, (b"a/x", b"b/x", b"a/y"))
        writer.close()
        recover(tmp_path, decode)
    with AuditReader(tmp_path, decode) as reader:
        wanted = RecordFilter(path_prefix="/in/a/", limit=1)
        first = reader.records(wanted)
        writer = AuditWriter(tmp_path)
        write(writer, 2, (b"a/x", b"c/x"))
        writer.close()
        recover(tmp_path, decode)
        rest = list(reader.stream(replace(wanted, cursor=first.next)))
        assert len(first.rows) + len(rest) == 4
        assert len(list(reader.stream(wanted))) == 5


def test_segments_without_the_folder_are_left_out_and_those_with_it_are_not(log):
    found = log.plan_of(RecordFilter(path_glob="/in/rare/**"))
    assert [len(found.steps), found.left_out] == [1, {"folder": len(SEGMENTS) - 1}]
    assert "left out: 7 because of folder" in found.lines()
    assert len(log.plan_of(RecordFilter(path_glob="**/x")).steps) == len(SEGMENTS) - 1
    assert len(log.plan_of(RecordFilter()).steps) == len(SEGMENTS)


def test_refusals_are_skipped_by_the_folders_of_refusals(log):
    steps = log.plan_of(RecordFilter(path_prefix="/in/rare/", decision="deny")).steps
    assert [step.kind for step in steps] == [Kind.REFUSALS]


def test_totals_are_counted_from_roll_ups_as_before(log):
    assert {step.kind for step in log.explain(Aggregation()).steps} == {Kind.ROLLUP}


def steps_of(*files: Path) -> tuple[Step, ...]:
    sources = [Source(path=path, t_min_ns=0, t_max_ns=1) for path in files]
    return plan_of(Asked(wanted=RecordFilter()), sources).steps


WANTED = places_of(RecordFilter(path_prefix="/in/nowhere/"))


@pytest.mark.parametrize("text", [None, b"[", b'{"depth":99,"folders":[]}'])
def test_a_file_whose_list_is_missing_or_makes_no_sense_is_read(root, tmp_path, text):
    whole = next(Store(root).segments.rglob("[!.]*.chunks")).with_suffix(".parquet")
    rows, path = pq.read_table(whole).replace_schema_metadata(None), tmp_path / "one.parquet"
    with pq.ParquetWriter(path, rows.schema) as file:
        file.write_table(rows)
        if text is not None:
            file.add_key_value_metadata({KEY: text})
    assert FolderLists().fitting(steps_of(path, whole), WANTED) == steps_of(path)


def test_a_file_that_is_damaged_or_gone_is_left_to_who_reads_its_rows(tmp_path):
    (tmp_path / "damaged").write_bytes(b"PAR1 and nothing else")
    both = steps_of(tmp_path / "damaged", tmp_path / "gone")
    assert FolderLists().narrowed(Plan(both), WANTED) == Plan(both)


def test_a_question_about_no_place_looks_into_no_file(tmp_path):
    steps = steps_of(tmp_path / "gone")
    assert FolderLists().fitting(steps, ()) == steps


def test_a_catalogue_that_is_made_again_changes_nothing(tmp_path):
    writer = AuditWriter(tmp_path)
    write(writer, 0, (b"a/x", b"b/x"))
    writer.close()
    recover(tmp_path, decode)
    Store(tmp_path).catalogue.unlink()
    with AuditReader(tmp_path, decode) as reader:
        assert reader.plan_of(RecordFilter(path_prefix="/in/c/")).left_out == {"folder": 1}
        assert len(reader.records(RecordFilter(path_prefix="/in/a/")).rows) == 1
