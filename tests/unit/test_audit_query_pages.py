"""Pages over segments that overlap are the first rows of the whole answer, each once, also when time is up."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.columns import SCHEMA
from audit.cursors import Mark, Snapshot
from audit.errors import OutOfTimeError
from audit.filters import RecordFilter
from audit.query.engine import Engine
from audit.query.pages import Scan
from audit.query.planner import Asked, Source, plan_of
from audit.statement import conditions

IDS = [f"01a1ee56-5e00-7000-8000-{number:012x}" for number in range(4)]
_numbers = itertools.count()


def rows_of(made: list[tuple[int, str, int]]) -> pa.Table:
    """Rows with a time, an execution and a number; everything else is alike."""
    columns = {}
    for field in SCHEMA:
        text = pa.types.is_dictionary(field.type)
        columns[field.name] = pa.array(
            ["x" if text else (b"x" * 32 if "payload" in field.name else 1)] * len(made)
        )
    columns |= {
        name: pa.array([row[at] for row in made], pa.string() if at == 1 else pa.int64())
        for at, name in enumerate(("t_ns", "exec_id", "seq"))
    }
    return pa.table([columns[name] for name in SCHEMA.names], names=SCHEMA.names).cast(
        pa.schema(
            [
                field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field
                for field in SCHEMA
            ]
        )
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("seg")


@pytest.fixture(scope="module")
def engine(folder) -> Iterator[Engine]:
    made = Engine(folder, memory_mb=200, threads=1)
    yield made
    made.close()


def sealed(folder: Path, rows: pa.Table) -> Source:
    path = folder / f"{next(_numbers)}.parquet"
    pq.write_table(rows.cast(SCHEMA), path, row_group_size=3)
    times = rows.column("t_ns").to_pylist()
    return Source(path=path, t_min_ns=min(times), t_max_ns=max(times), rows=rows.num_rows)


def paged(
    engine: Engine, sources: list[Source], tail: pa.Table, wanted: RecordFilter, **more
) -> tuple[list[Any], int]:
    """Give all rows, and how many pages were cut short."""
    mark, found, cut = None, [], 0
    for _ in range(200):
        asked = Asked(wanted=wanted)
        if mark is not None:
            at = mark.position.t_ns
            asked = replace(asked, after_ns=at) if wanted.is_ascending else replace(asked, before_ns=at)
        where = conditions(wanted, module_ids=()).after(
            None if mark is None else mark.position, is_ascending=wanted.is_ascending
        )
        scan = Scan(
            engine,
            wanted,
            tail,
            where,
            plan_of(asked, sources),
            mark,
            **cast("Any", {"seconds": None} | more),
        )
        page = scan.page()
        found += [(row["t_ns"], row["exec_id"], row["seq"]) for row in page.rows.to_pylist()]
        assert page.rows.num_rows <= wanted.limit
        assert page.is_complete or page.following is not None
        cut += not page.is_complete
        if page.following is None:
            return found, cut
        mark = Mark(page.following, Snapshot(2**62))
    raise AssertionError("paging does not end")


ROW = st.tuples(st.integers(-20, 60), st.sampled_from(IDS))
SEGMENTS = st.lists(st.lists(ROW, min_size=1, max_size=12), max_size=4)


@settings(max_examples=40, deadline=None)
@given(
    SEGMENTS,
    st.lists(ROW, max_size=8),
    st.tuples(st.integers(1, 9), st.booleans(), st.sampled_from([None, (0, 30)])),
)
def test_pages_are_the_whole_answer_in_order(folder, engine, segments, unsealed, asked):
    limit, is_up, times = asked
    numbers = itertools.count()
    tables = [[(t, name, next(numbers)) for t, name in one] for one in [*segments, unsealed]]
    sources = [sealed(folder, rows_of(sorted(one, key=lambda row: row[1:]))) for one in tables[:-1]]
    low, high = times or (None, None)
    wanted = RecordFilter(limit=limit, ascending=is_up, from_ns=low, to_ns=high)
    found, cut = paged(engine, sources, rows_of(tables[-1]), wanted)
    expected = [row for one in tables for row in one if times is None or low <= row[0] < high]
    assert found == sorted(expected, reverse=not is_up)
    assert not cut


def clock_of(step: float):
    ticks = itertools.count()
    return lambda: next(ticks) * step


@settings(max_examples=8, deadline=None)
@given(st.lists(st.lists(ROW, min_size=4, max_size=12), min_size=2, max_size=3), st.booleans())
def test_when_time_is_up_pages_are_shorter_and_nothing_is_lost(folder, engine, segments, is_up):
    numbers = itertools.count()
    tables = [[(t, name, next(numbers)) for t, name in one] for one in segments]
    sources = [replace(sealed(folder, rows_of(one)), rows=200) for one in tables]
    wanted = RecordFilter(limit=7, ascending=is_up)
    found, _ = paged(engine, sources, rows_of([]), wanted, seconds=2.0, clock=clock_of(1.5))
    assert found == sorted((row for one in tables for row in one), reverse=not is_up)


def test_a_page_is_cut_when_time_is_up(folder, engine):
    made = [(t * 1000, IDS[0], t) for t in range(300)]
    source = replace(sealed(folder, rows_of(made)), rows=3_000)  # so dense that the first piece is small
    found, cut = paged(
        engine, [source], rows_of([]), RecordFilter(limit=10), seconds=2.0, clock=clock_of(1.5)
    )
    assert found == made[::-1]
    assert cut


def test_a_page_that_gets_nowhere_is_an_error(folder, engine):
    source = sealed(folder, rows_of([(1, IDS[0], 1)]))

    class Slow(Engine):
        def __init__(self) -> None:
            pass

        def ask(self, *_: object, seconds: float | None = None, **__: object) -> pa.Table:
            raise OutOfTimeError(seconds or 0)

    with pytest.raises(OutOfTimeError, match="more than 20 s: ask for less"):
        paged(Slow(), [source], rows_of([]), RecordFilter(), seconds=2.0, clock=lambda: 0.0)


def test_segments_of_one_moment_are_read_as_others(folder, engine):
    at = 1_795_000_000_000_000_000
    made = [(at + 3_000 * (number % 2), IDS[0], number) for number in range(8)]
    sources = [sealed(folder, rows_of([row])) for row in made]
    for is_up in (True, False):
        found, _ = paged(engine, sources, rows_of([]), RecordFilter(limit=2, ascending=is_up))
        assert found == sorted(made, reverse=not is_up)


def test_only_what_the_columns_need_comes_back(folder, engine):
    source = sealed(folder, rows_of([(1, IDS[0], 1)]))
    wanted = RecordFilter(fields=("call",))
    page = Scan(
        engine,
        wanted,
        rows_of([]),
        conditions(wanted, module_ids=()),
        plan_of(Asked(wanted=wanted), [source]),
        None,
        None,
    ).page()
    assert page.rows.column_names == ["call", "t_ns", "exec_id", "seq"]
