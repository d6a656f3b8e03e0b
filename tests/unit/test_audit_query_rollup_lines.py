"""What is kept of roll-ups is what is in the files, however often and in whatever order they are asked for."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit.errors import QueryError
from audit.query.engine import Engine
from audit.query.rollup_lines import ROOM, RollupLines
from audit.rollup import SCHEMA
from audit.text import to_text


def lines_of(number: int, count: int) -> pa.Table:
    values = {
        field.name: [to_text(b"%d\n'\xff" % number)] * count
        if pa.types.is_string(field.type)
        else pa.array([number] * count, field.type)
        for field in SCHEMA
    }
    return pa.table(values | {"rule_id": pa.nulls(count, pa.string()), "n": list(range(count))}, SCHEMA)


COUNTS = (3, 0, 1, 40, 7, 1)


@pytest.fixture
def files(tmp_path):
    """Roll-ups of some sizes, one of them without a line; one name holds what needs care in statements."""
    made = {}
    for number, count in enumerate(COUNTS):
        path = tmp_path / f"{'it’s %' if number == 2 else number}.rollup.parquet"
        pq.write_table(lines_of(number, count), path)
        made[str(path)] = lines_of(number, count)
    return made


@pytest.fixture
def engine(tmp_path):
    made = Engine(tmp_path, memory_mb=256, threads=2)
    yield made
    made.close()


def expected(files, names):
    return sorted(repr(line) for name in names for line in files[name].to_pylist())


def given(lines):
    assert lines.schema == SCHEMA
    return sorted(map(repr, lines.to_pylist()))


@pytest.mark.parametrize("room", [ROOM, 52, 60])
def test_lines_are_those_of_the_files_that_are_asked_for(files, engine, room):
    kept, chance = RollupLines(engine, room=room), random.Random(room)
    for _ in range(30):
        names = chance.sample(sorted(files), chance.randint(0, len(files)))
        assert given(kept.of(names, None)) == expected(files, names)


def test_a_file_is_read_once_as_long_as_there_is_room(files, engine, tmp_path):
    kept, names = RollupLines(engine), list(files)
    kept.of(names, None)
    for path in tmp_path.iterdir():
        path.unlink()
    assert given(kept.of(names[::2], None)) == expected(files, names[::2])
    with pytest.raises(QueryError):
        RollupLines(engine).of(names[:1], None)


def test_more_lines_than_there_is_room_for_are_not_kept(files, engine):
    names = list(files)
    kept = RollupLines(engine, room=sum(COUNTS) - 1)
    assert kept.of(names, None) is None
    assert given(kept.of(names[:-1], None)) == expected(files, names[:-1])
    assert kept.of(names, None) is None  # what is kept by now counts as well
    assert given(RollupLines(engine, room=sum(COUNTS)).of(names, None)) == expected(files, names)


def test_several_may_ask_at_once(files, engine):
    kept, names = RollupLines(engine, room=53), list(files)
    asked = [random.Random(number).sample(names, 4) for number in range(40)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda some: kept.of(some, None), asked))
    for some, lines in zip(asked, found, strict=True):
        assert given(lines) == expected(files, some)


def test_a_file_that_is_no_roll_up_is_refused(engine, tmp_path):
    pq.write_table(pa.table({"x": [1]}), tmp_path / "odd.parquet")
    with pytest.raises(QueryError):
        RollupLines(engine).of([str(tmp_path / "odd.parquet")], None)
