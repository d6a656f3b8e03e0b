from __future__ import annotations

from api.log_status import LogFigures
from audit.store import Store
from audit.tlog.log import TransparencyLog


def test_an_empty_log_has_nothing_to_tell(tmp_path):
    Store(tmp_path).create()
    found = LogFigures(tmp_path, 7).now()
    assert (found.tree_size, found.checkpoint_size, found.unsealed_files, found.budget_bytes) == (
        0,
        None,
        0,
        7,
    )
    assert found.free_bytes > 0
    assert found.problems == ()


def test_what_waits_and_what_is_damaged_is_counted_and_hidden_files_are_not(tmp_path):
    store = Store(tmp_path)
    store.create()
    (store.wal / "run-0-000000.wal").write_bytes(b"x" * 100)
    (store.wal / "run-0-000001.wal").write_bytes(b"")
    (store.wal / ".run-0-000002.wal").write_bytes(b"x")
    (store.wal / "run-1-000000.damaged").write_bytes(b"x" * 5)
    found = LogFigures(tmp_path, 0).now(back_pressure_s=1.23456, gaps=2)
    assert (found.unsealed_files, found.unsealed_bytes, found.damaged_files) == (1, 100, 1)
    assert found.unsealed_age_s >= 0
    assert found.used_bytes == 106
    assert (found.back_pressure_s, found.gaps) == (1.235, 2)


def test_leaves_are_counted_and_a_damaged_head_is_a_problem(tmp_path):
    Store(tmp_path).create()
    TransparencyLog(tmp_path / "tlog").append([b"{}", b"{}"])
    assert LogFigures(tmp_path, 0).now().tree_size == 2
    (tmp_path / "tlog/head").write_bytes(b"{")
    found = LogFigures(tmp_path, 0).now()
    assert found.tree_size == 0
    assert len(found.problems) == 1
