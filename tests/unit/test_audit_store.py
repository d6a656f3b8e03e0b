"""A file that has its name is whole."""

from __future__ import annotations

import pytest

from audit.errors import WriteError
from audit.store import Store, hidden_name, locked, make_directory, publish, publish_existing, tenant_folder


def test_the_layout(tmp_path):
    store = Store(tmp_path)
    assert (
        store.segment("acme", "2026-11-22", "run-1").relative_to(tmp_path).as_posix()
        == "seg/tenant=acme/day=2026-11-22/run-1.parquet"
    )
    assert store.receipt("x").relative_to(tmp_path).as_posix() == "exec/x.receipt.json"


@pytest.mark.parametrize(
    ("tenant", "folder"),
    [
        ("acme_1-b", "acme_1-b"),
        ("a.b", "a%2Eb"),
        ("../../etc", "%2E%2E%2F%2E%2E%2Fetc"),
        ("ü", "%C3%BC"),
        ("%2E", "%252E"),
    ],
)
def test_a_tenant_is_one_folder_whatever_it_is_called(tenant, folder):
    assert tenant_folder(tenant) == folder


def test_long_tenants_are_cut_and_stay_apart():
    one, two = tenant_folder("a" * 200), tenant_folder("a" * 201)
    assert one != two
    assert one.startswith("a" * 100 + "~")
    assert len(one) == 117
    assert tenant_folder("a" * 100) == "a" * 100


def test_making_it_twice_changes_nothing(tmp_path):
    store = Store(tmp_path / "a" / "b")
    store.create()
    store.create()
    assert sorted(path.name for path in store.root.iterdir()) == ["exec", "seg", "wal"]
    assert store.root.stat().st_mode & 0o777 == 0o700


def test_a_file_in_the_way_of_a_folder_is_an_error(tmp_path):
    (tmp_path / "log").touch()
    with pytest.raises(WriteError, match="log"):
        make_directory(tmp_path / "log" / "wal")


def test_publishing_replaces_whole_files_and_leaves_no_others(tmp_path):
    path = tmp_path / "x"
    publish(path, b"old")
    publish(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_rename_that_fails_leaves_no_others(tmp_path):
    path = tmp_path / "x"
    path.mkdir()
    with pytest.raises(WriteError):
        publish(path, b"new")
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(WriteError):
        publish_existing(tmp_path / "missing", path)


def test_a_link_is_replaced_not_followed(tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"mine")
    (tmp_path / "x").symlink_to(other)
    publish(tmp_path / "x", b"new")
    assert other.read_bytes() == b"mine"


def test_hidden_names_differ(tmp_path):
    assert hidden_name(tmp_path / "x") != hidden_name(tmp_path / "x")
    assert hidden_name(tmp_path / "x").name.startswith(".x.")


def test_a_lock_is_held_and_given_back(tmp_path):
    path = tmp_path / "lock"
    with locked(path):
        pass
    with locked(path):
        assert path.exists()
    path.unlink()
    path.mkdir()
    with pytest.raises(WriteError), locked(path):
        pass
