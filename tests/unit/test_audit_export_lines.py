"""Lines of one shape are written once, and each row's values stand where they belong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.export import lines
from audit.export.lines import Columns, Keys, Known, LineWriter, Shape, mark
from tests.export_rows import row, table


def writer(made=None):
    def line(shared):
        if made is not None:
            made.append(shared["errno"])
        fd = f"fd={mark('fd')} " if shared["errno"] % 2 else ""
        return f"{shared['errno']}: {fd}{mark('target')} {mark('seq')};"

    return LineWriter(
        order=("fd", "target", "seq"),
        line=line,
        keys=lambda columns: Keys.of(columns, ("errno",)),
        fill=lambda columns, name: (
            columns.text(name, Known(str)) if name == "target" else columns.digits(name)
        ),
    )


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 9), st.sampled_from(["a", "é", None, ""])),
        min_size=1,
        max_size=30,
    )
)
def test_lines_are_those_that_a_loop_over_rows_would_write(given):
    rows = [row(seq=seq, errno=errno, fd=fd, target=target) for seq, (errno, fd, target) in enumerate(given)]
    wanted = "".join(
        f"{errno}: {f'fd={fd} ' if errno % 2 else ''}{target} {seq};"
        for seq, (errno, fd, target) in enumerate(given)
    )
    assert bytes(writer().write(table(rows))).decode() == wanted


def test_a_line_is_made_once_for_all_rows_of_its_shape():
    made: list[int] = []
    one = writer(made)
    for _ in range(2):
        one.write(table([row(errno=errno) for errno in (1, 2, 1, 2, 1)]))
    assert sorted(made) == [1, 2]


def test_shapes_and_texts_are_forgotten_when_they_grow(monkeypatch):
    monkeypatch.setattr(lines, "_MOST_SHAPES", 2)
    monkeypatch.setattr(lines, "_MOST_TEXT", 500)
    one = writer()
    rows = [row(seq=seq, errno=seq % 7, target=f"{seq % 9}") for seq in range(40)]
    found = "".join(bytes(one.write(table([each]))).decode() for each in rows)
    assert found == bytes(writer().write(table(rows))).decode()


def test_marks_out_of_order_are_a_fault():
    Shape.of(f"{mark('a')}{mark('b')}", ("a", "b"))
    with pytest.raises(ValueError, match="order"):
        Shape.of(f"{mark('b')}{mark('a')}", ("a", "b"))
    with pytest.raises(ValueError, match="order"):
        Shape.of(f"{mark('a')}{mark('a')}", ("a", "b"))


def test_groups_stay_apart_when_their_codes_have_to_be_made_dense(monkeypatch):
    monkeypatch.setattr(lines, "_MOST_CODES", 8)
    rows = [row(errno=at % 3, fd=at % 5, stage=at % 2, decision=at % 4) for at in range(60)]
    shared, group = Keys.of(Columns(table(rows)), ("errno", "fd", "stage", "decision")).groups()
    for each, at in zip(rows, group, strict=True):
        assert {name: each[name] for name in shared[at]} == shared[at]
    assert len(shared) == 60
