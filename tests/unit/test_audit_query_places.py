"""Each row for which a filter holds has a path in its places: asked of the engine itself, row by row."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.filters import RecordFilter
from audit.folders import PATHS
from audit.query.engine import Engine
from audit.query.places import places_of
from audit.statement import conditions

LETTERS = "aA/*?[]!%_\\é-"
texts = st.text(LETTERS, max_size=6)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    made = Engine(Path(tmp_path_factory.mktemp("seg")), memory_mb=200, threads=1)
    yield made
    made.close()


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


comparisons = st.one_of(
    st.builds(lambda name, text: f"{name} = {quoted(text)}", st.sampled_from(PATHS), texts),
    st.builds(lambda name, text: f"{name} != {quoted(text)}", st.sampled_from(PATHS), texts),
    st.builds(lambda name, text: f"{name} glob {quoted(text)}", st.sampled_from(PATHS), texts),
    st.builds(lambda name, text: f"{name} like {quoted(text)}", st.sampled_from(PATHS), texts),
    st.builds(
        lambda name, one, two: f"{name} in ({quoted(one)}, {quoted(two)})",
        st.sampled_from(PATHS),
        texts,
        texts,
    ),
    st.just("target is null"),
    st.just("seq = 1"),
)
expressions = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("(not {})".format, inner),
    ),
    max_leaves=4,
)
filters = st.builds(
    RecordFilter,
    path=st.none() | texts,
    path_prefix=st.none() | texts,
    path_glob=st.none() | texts,
    q=st.none() | expressions,
)


@given(filters, st.lists(st.tuples(*[st.none() | texts] * 3), min_size=1, max_size=8))
def test_a_row_that_is_wanted_has_a_path_in_each_of_the_places(engine, wanted, made):
    table = pa.table(
        [pa.array([row[at] for row in made], pa.string()) for at in range(3)] + [pa.array([1] * len(made))],
        names=[*PATHS, "seq"],
    )
    where = conditions(wanted, module_ids=())
    found = engine.ask(f"SELECT * FROM t {where.text}", where.values, tables={"t": table}).to_pylist()
    for row in found:
        held = [row[name] for name in PATHS if row[name] is not None]
        for places in places_of(wanted):
            assert any(
                path == place.text if place.is_whole else path.startswith(place.text)
                for path in held
                for place in places
            )


@pytest.mark.parametrize(
    ("wanted", "texts_of"),
    [
        (RecordFilter(), []),
        (RecordFilter(path="/a/b"), [["/a/b"]]),
        (RecordFilter(path_prefix="/a/"), [["/a/"]]),
        (RecordFilter(path_glob="/a/**/*.key"), [["/a/"]]),
        (RecordFilter(path_glob="**/*.key"), [[""]]),
        (RecordFilter(path_glob="/a\\b*"), [["/a"]]),
        (RecordFilter(q="target like '/a/%' and seq > 3"), [["/a/"]]),
        (RecordFilter(q="target like '/a/%' or target2 = '/b'"), [["/a/", "/b"]]),
        (RecordFilter(q="target like '/a/%' or seq > 3"), []),
        (RecordFilter(q="not target like '/a/%'"), []),
        (RecordFilter(q="target in ('/a', '/b')", path_prefix="/"), [["/"], ["/a", "/b"]]),
    ],
)
def test_places_are_what_paths_begin_with(wanted, texts_of):
    assert [[place.text for place in places] for places in places_of(wanted)] == texts_of
