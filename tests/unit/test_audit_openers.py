"""What is open is known to the next file, and to no later one than needs it."""

from __future__ import annotations

import pytest

from audit.columns import OPENED, SCHEMA
from audit.errors import FormatError
from audit.identity import ExecutionId
from audit.openers import (
    closed,
    drop_states,
    opened,
    read_state,
    state_before,
    state_path,
    still_open,
    write_state,
)
from sandbox.monitor.decode import decode
from tests.records import IN, call, frame, start

OF = start()
ONE = {"seq": 0, "target": "/srv/in/a", "guest_target": "/in/a"}


def rows(*calls):
    return decode(OF, [frame(calls)], OPENED.empty_table())


def test_calls_that_made_a_descriptor_are_kept_until_it_is_closed():
    found = rows(
        call("path_open", b"a", opener=IN, fd2=4),
        call("path_open", b"b", opener=IN, fd2=5),
        call("fd_read", opener=0, fd=4),
        call("fd_close", opener=1, fd=5),
        call("fd_close", opener=0, fd=4, errno=8),
    )
    assert [one["seq"] for one in opened(found).to_pylist()] == [0, 1]
    assert closed(found).tolist() == [1]
    assert still_open(opened(found), [closed(found)]).to_pylist() == [ONE]
    assert opened(SCHEMA.empty_table()).num_rows == len(closed(SCHEMA.empty_table())) == 0


def test_a_state_comes_back(tmp_path):
    log_file = tmp_path / "run-0-000003.wal"
    state = {OF.exec_id: opened(rows(call("path_open", b"a", opener=IN, fd2=4)))}
    write_state(log_file, {**state, ExecutionId("other"): OPENED.empty_table()})
    found = read_state(state_path(log_file))
    assert {name: one.to_pylist() for name, one in found.items()} == {OF.exec_id: [ONE]}
    assert state_path(log_file).stat().st_mode & 0o777 == 0o600
    assert state_before(tmp_path / "run-0-000004.wal").keys() == {OF.exec_id}
    assert state_before(log_file) == state_before(tmp_path / "run-1-000004.wal") == {}


@pytest.mark.parametrize("content", [b"", b"ARROW1\0\0 no", b"x" * 100])
def test_a_state_that_makes_no_sense_is_an_error(tmp_path, content):
    (tmp_path / "run-0-000003.opened").write_bytes(content)
    with pytest.raises(FormatError, match="what is open"):
        read_state(tmp_path / "run-0-000003.opened")


@pytest.mark.parametrize(
    ("states", "files", "left"),
    [
        ([1, 2], [3, 4], [2]),
        ([1, 2], [2, 3], [1, 2]),  # a crash came before file 2 was deleted: sealing begins anew with 1
        ([1], [1], [1]),
        ([1, 2], [], []),
        ([], [1], []),
    ],
)
def test_states_stay_as_long_as_a_file_begins_with_them(tmp_path, states, files, left):
    for number in states:
        (tmp_path / f"run-0-{number:06d}.opened").touch()
    (tmp_path / "other-0-000001.opened").touch()
    listed = [tmp_path / f"run-0-{number:06d}.wal" for number in files]
    drop_states(tmp_path, [*listed, tmp_path / "other-0-000002.wal"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "other-0-000001.opened",
        *(f"run-0-{number:06d}.opened" for number in left),
    ]
