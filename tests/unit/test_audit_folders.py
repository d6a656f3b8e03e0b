"""The list of folders in a file of records never denies a path that a row has, however much a guest made."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.folders import MAX_DEPTH, MOST, MOST_CHARS, PATHS, Collected, Folders, Place

TEXT = pa.dictionary(pa.int32(), pa.string())
NAMES = st.sampled_from(["", "a", "A", "b", "%", "_", "*", "\n", "é", "e\u0301", "日本", "\\xff", "x" * 300])
ROOTS = st.sampled_from(["", "/", "tmp://", "hmac:"])
paths = st.builds(
    lambda root, names, end: root + "/".join(names) + end,
    ROOTS,
    st.lists(NAMES, max_size=5),
    st.sampled_from(["", "/"]),
)


def rows(*of: str | None) -> pa.Table:
    """Give rows of which one has all of some paths, in turn in each of the columns."""
    columns = [
        [path if at % len(PATHS) == number else None for at, path in enumerate(of)] for number in range(3)
    ]
    return pa.table([pa.array(column, pa.string()).cast(TEXT) for column in columns], names=list(PATHS))


def collected(*of: str | None) -> Folders:
    made = Collected()
    made.add(rows(*of))
    found = Folders.read(made.text())
    assert found is not None
    return found


@given(st.lists(paths, min_size=1, max_size=8), st.data())
def test_what_a_path_begins_with_may_be_there(held, data):
    found = collected(*held)
    path = data.draw(st.sampled_from(held))
    cut = data.draw(st.integers(0, len(path)))
    assert found.may_hold(Place(path[:cut]))
    assert found.may_hold(Place(path, is_whole=True))


@given(st.lists(paths, max_size=8), paths)
def test_a_folder_is_denied_when_no_path_is_in_it(held, wanted):
    folder = wanted[: wanted.rfind("/") + 1]
    shallow = all(path.count("/") <= MAX_DEPTH for path in held)
    is_there = any(path[: path.rfind("/") + 1] == folder for path in held)
    assert collected(*held).may_hold(Place(wanted, is_whole=True)) is is_there or not shallow


def test_a_folder_beside_is_denied_and_the_one_that_is_there_is_not():
    found = collected("/srv/a/b/file", None, "/in/x")
    assert found.may_hold(Place("/srv/a/"))
    assert found.may_hold(Place("/srv/a/b/f"))
    assert not found.may_hold(Place("/srv/b/"))
    assert not found.may_hold(Place("/srv/a/b/c/"))
    assert not found.may_hold(Place("/srv/A/"))


def test_a_file_without_paths_holds_none():
    found = collected(None, None)
    assert not found.may_hold(Place(""))
    assert not found.may_hold(Place("/"))
    assert collected("stdout").may_hold(Place(""))


@pytest.mark.parametrize(
    "made",
    [
        [f"/{number}/x" for number in range(MOST + 1)],
        [f"/top/{number}/{number}/x" for number in range(40_000)],
        ["/" + "d" * MOST_CHARS + "/x"],
        ["/a" * 5_000 + "/x"],
        [f"/top/{'/a' * number}/x" for number in range(3_000)],
    ],
    ids=["wide", "below one folder", "long", "deep", "a stair"],
)
def test_a_list_stays_short_and_denies_nothing_that_is_there(made):
    table = Collected()
    for first in range(0, len(made), 10_000):
        table.add(rows(*made[first : first + 10_000]))
    text = table.text()
    found = Folders.read(text)
    assert len(text) < 2 * MOST_CHARS
    assert found is not None
    assert all(found.may_hold(Place(path, is_whole=True)) for path in made)
    assert all(found.may_hold(Place(path[: len(path) // 2])) for path in made)


def test_many_folders_below_one_are_still_told_from_another():
    found = collected(*[f"/top/{number}/x" for number in range(1_000)])
    assert found.may_hold(Place("/top/nowhere/"))
    assert not found.may_hold(Place("/other/"))


def test_texts_that_no_row_has_are_not_in_the_list():
    coded = pa.DictionaryArray.from_arrays(
        pa.array([1, None], pa.int32()), pa.array(["/secret/x", "/known/x"])
    )
    made = Collected()
    made.add(pa.table([coded, coded, coded], names=list(PATHS)))
    assert json.loads(made.text())["folders"] == ["/known/"]


@given(st.lists(paths, max_size=8), st.randoms())
def test_the_same_paths_give_the_same_list(held, random):
    mixed = list(held)
    random.shuffle(mixed)
    one, other = Collected(), Collected()
    one.add(rows(*held))
    for path in mixed:
        other.add(rows(path))
    assert one.text() == other.text()


@pytest.mark.parametrize(
    "text",
    [
        None, b"", b"[", b"[" * 60_000, b"{}", b"[]", b'{"depth":1}', b'{"depth":true,"folders":[]}',
        b'{"depth":17,"folders":[]}', b'{"depth":-1,"folders":[]}', b'{"depth":1,"folders":{}}',
        b'{"depth":1,"folders":[1]}', b'{"depth":1,"folders":["/a/b/"]}', b'{"depth":1,"folders":[],"x":1}',
        b"\xff", b'{"depth":1,"folders":[' + b'"a/",' * 40_000 + b'"b/"]}',
    ],
)  # fmt: skip
def test_a_list_that_makes_no_sense_is_none(text):
    assert Folders.read(text) is None


def test_a_list_that_makes_sense_is_read():
    assert Folders.read(b'{"depth":1,"folders":["/"]}') == Folders(1, frozenset({"/"}))
