"""The log on disk: what was appended is there, what a crash left is not, what was changed is refused."""

from __future__ import annotations

import os
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.errors import WriteError
from audit.tlog.errors import DamageError, EntryError, RangeError
from audit.tlog.log import TransparencyLog
from audit.tlog.merkle import EMPTY_ROOT, leaf_hash
from audit.tlog.tiles import tiles_of
from tests.tlogs import entries_of, files_below, new_log, oracle_path, oracle_proof, oracle_root


def test_a_log_that_is_not_there_has_no_leaves_and_touches_no_disk(tmp_path):
    log = TransparencyLog(tmp_path / "tlog")
    assert (log.size, log.root()) == (0, EMPTY_ROOT)
    assert list(log.entries(0, 0)) == []
    assert not (tmp_path / "tlog").exists()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(batches=st.lists(st.sampled_from([0, 1, 2, 100, 255, 256, 257, 600]), min_size=1, max_size=6))
def test_a_log_is_the_tree_over_what_was_appended_however_it_came(tmp_path, batches):
    folder = tmp_path / "tlog"
    shutil.rmtree(folder, ignore_errors=True)
    entries: list[bytes] = []
    for count in batches:
        some = entries_of(count, first=len(entries))
        # a new object each time: nothing lives in memory only
        assert TransparencyLog(folder).append(some) == len(entries)
        entries += some
    log = TransparencyLog(folder)
    assert (log.size, log.root()) == (len(entries), oracle_root(entries))
    assert list(log.entries(0, log.size)) == entries
    assert log.leaf_hashes(0, log.size) == tuple(leaf_hash(entry) for entry in entries)
    needed = {tile.path for tile in tiles_of(log.size)}
    assert needed <= set(files_below(folder))


def test_an_object_that_goes_on_appending_sees_what_others_appended(tmp_path):
    one, other = new_log(tmp_path), TransparencyLog(tmp_path / "tlog")
    for number in range(6):
        assert (one, other)[number % 2].append(entries_of(100, first=number * 100)) == number * 100
    assert one.root() == other.root() == oracle_root(entries_of(600))


@given(st.data())
def test_proofs_and_old_roots_come_out_of_the_tiles(grown, data):
    log, entries = grown
    size = data.draw(st.integers(1, len(entries)))
    index, first = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    assert log.hash_of_tree(size) == oracle_root(entries[:size])
    assert list(log.inclusion(index, size)) == oracle_path(index, entries[:size])
    assert list(log.consistency(first, size)) == oracle_proof(first, entries[:size])


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    return new_log(tmp_path_factory.mktemp("log"), 1000), entries_of(1000)


@pytest.mark.parametrize(
    ("first", "count"), [(0, 1), (255, 2), (256, 256), (300, 500), (999, 1), (1000, 0), (0, 1000)]
)
def test_any_range_of_entries_is_read(grown, first, count):
    log, entries = grown
    assert list(log.entries(first, count)) == entries[first : first + count]
    assert log.leaf_hashes(first, count) == tuple(leaf_hash(one) for one in entries[first : first + count])


@pytest.mark.parametrize(("first", "count"), [(0, 1001), (1000, 1), (-1, 1), (0, -1)])
def test_entries_that_are_not_there_are_refused_at_once(grown, first, count):
    with pytest.raises(RangeError, match="the tree has 1000 leaves"):
        grown[0].entries(first, count)
    with pytest.raises(RangeError):
        grown[0].leaf_hashes(first, count)


def test_trees_that_are_not_there_are_refused(grown):
    log = grown[0]
    for ask in (
        lambda: log.hash_of_tree(1001),
        lambda: log.inclusion(5, 5),
        lambda: log.inclusion(0, 1001),
        lambda: log.consistency(6, 5),
    ):
        with pytest.raises(RangeError):
            ask()


def test_an_entry_that_is_too_long_changes_nothing(tmp_path):
    log = new_log(tmp_path, 3)
    before = files_below(tmp_path)
    with pytest.raises(EntryError):
        log.append([b"short", bytes(65_536)])
    assert files_below(tmp_path) == before
    assert log.append([bytes(65_535)]) == 3


def test_partial_tiles_stay_until_the_tile_is_full(tmp_path):
    log = new_log(tmp_path, 200)
    log.append(entries_of(10, first=200))
    # SPEC: a checkpoint of 200 leaves may have been signed, and needs its tiles
    assert {"tlog/tile/0/000.p/200", "tlog/tile/0/000.p/210"} <= set(files_below(tmp_path))
    log.append(entries_of(50, first=210))
    files = set(files_below(tmp_path))
    assert not [name for name in files if name.startswith(("tlog/tile/0/000.p/", "tlog/tile/entries/000.p/"))]
    assert log.hash_of_tree(200) == oracle_root(entries_of(200))


def test_a_reader_of_an_older_head_finds_its_leaves_in_the_full_tile(tmp_path):
    log = new_log(tmp_path, 200)
    found = log.entries(150, 50)  # reads nothing yet
    TransparencyLog(tmp_path / "tlog").append(entries_of(100, first=200))
    assert list(found) == entries_of(50, first=150)


# --- crashes ----------------------------------------------------------------------------------


class Killed(BaseException):
    """The process is gone: no handler runs after this."""


@pytest.mark.parametrize("many", [1, 90, 700])
@pytest.mark.parametrize("stop", range(0, 40, 3))
def test_a_crash_at_any_rename_leaves_the_old_log_and_the_next_append_succeeds(
    tmp_path, monkeypatch, many, stop
):
    old = new_log(tmp_path, 200)
    root = old.root()
    left = [stop]

    def rename(path, target, real=os.rename):
        if not left[0]:
            raise Killed
        left[0] -= 1
        real(path, target)
        return target

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.rename", rename)
        try:
            TransparencyLog(tmp_path / "tlog").append(entries_of(many, first=5000))
        except Killed:
            assert (old.size, old.root()) == (200, root)
        else:
            return
    log = TransparencyLog(tmp_path / "tlog")
    assert list(log.entries(0, 200)) == entries_of(200)
    assert log.append(entries_of(100, first=200)) == 200
    assert log.root() == oracle_root(entries_of(300))
    assert list(TransparencyLog(tmp_path / "tlog").entries(0, 300)) == entries_of(300)
    names = set(files_below(tmp_path / "tlog"))
    assert not {name for name in names if name.startswith("tile/0/002") or name.endswith(".p/145")}


@pytest.mark.parametrize("call", range(10))
def test_a_disk_that_refuses_any_sync_leaves_the_old_log_and_no_remains(tmp_path, monkeypatch, call):
    log = new_log(tmp_path, 200)
    before = files_below(tmp_path)
    calls = iter(range(100))

    def fsync(_handle):
        if next(calls) == call:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        with pytest.raises(WriteError, match="No space left"):
            log.append(entries_of(300, first=200))
    after = files_below(tmp_path)
    assert {name: after[name] for name in before} == before
    assert not [name for name in after if ".part" in name]
    assert log.append(entries_of(300, first=200)) == 200
    assert log.root() == oracle_root(entries_of(500))


def test_a_tile_that_is_half_written_beyond_the_head_is_overwritten(tmp_path):
    log = new_log(tmp_path, 200)
    for name in ("0/000", "0/001", "entries/000", "0/000.p/250", "1/000.p/1"):
        path = tmp_path / "tlog" / "tile" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    assert list(TransparencyLog(tmp_path / "tlog").entries(0, 200)) == entries_of(200)
    log = TransparencyLog(tmp_path / "tlog")
    log.append(entries_of(20, first=200))
    assert not (tmp_path / "tlog/tile/0/000").exists()
    log.append(entries_of(80, first=220))
    assert log.root() == oracle_root(entries_of(300))
    assert b"half" not in files_below(tmp_path).values()


# --- attacks ----------------------------------------------------------------------------------


def damaged(tmp_path, name, change):
    log = new_log(tmp_path, 300)
    path = tmp_path / "tlog" / name
    change(path)
    return TransparencyLog(log.directory)


CHANGES = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x" * 32),
    "another byte": lambda path: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),  # type: ignore[func-returns-value]  # one after the other
    "a link": lambda path: (path.rename(path.with_name("moved")), path.symlink_to("moved")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("name", ["tile/0/001.p/44", "tile/1/000.p/1", "head"])
def test_a_right_edge_that_was_changed_is_refused_before_anything_is_read_or_appended(tmp_path, name, change):
    log = damaged(tmp_path, name, change)
    before = files_below(tmp_path)
    for ask in (
        lambda: log.size,
        log.root,
        lambda: log.append([b"x"]),
        lambda: log.inclusion(0, 1),
        lambda: log.entries(0, 1),
    ):
        with pytest.raises(DamageError, match="the transparency log is damaged"):
            ask()
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("name", ["tile/entries/001.p/44", "tile/entries/000", "tile/0/000"])
def test_entries_that_do_not_hash_to_their_leaves_are_refused(tmp_path, name, change):
    log = damaged(tmp_path, name, change)
    with pytest.raises(DamageError):
        list(log.entries(0, 300))


def test_a_bundle_that_was_changed_is_not_carried_on_into_the_next(tmp_path):
    log = damaged(tmp_path, "tile/entries/001.p/44", CHANGES["another byte"])
    with pytest.raises(DamageError):
        log.append([b"x"])


def test_a_head_with_the_root_of_another_tree_is_refused(tmp_path):
    new_log(tmp_path / "other", 300)
    entries = entries_of(300)
    entries[7] = b"another"
    TransparencyLog(tmp_path / "changed").append(entries)
    log = new_log(tmp_path, 300)
    shutil.copy(tmp_path / "changed/head", tmp_path / "tlog/head")
    with pytest.raises(DamageError, match="the tiles of 300 leaves have another root"):
        log.root()
    shutil.copy(tmp_path / "other/tlog/head", tmp_path / "tlog/head")
    assert log.root() == oracle_root(entries_of(300))


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b'{"size":300}', b'{"size":-1,"root":""}', b'{"size":"300","root":"00"}',
     b'{"size":0,"root":"zz"}', b'{"size":9223372036854775808,"root":"' + b"00" * 32 + b'"}', b"x" * 500],
)  # fmt: skip
def test_a_head_that_is_none_is_refused(tmp_path, content):
    log = new_log(tmp_path, 300)
    (tmp_path / "tlog/head").write_bytes(content)
    with pytest.raises(DamageError):
        _ = log.size


def test_a_head_that_was_deleted_does_not_begin_the_log_anew(tmp_path):
    log = new_log(tmp_path, 3)
    (tmp_path / "tlog/head").unlink()
    for ask in (lambda: log.size, lambda: TransparencyLog(log.directory).append([b"x"])):
        with pytest.raises(DamageError, match="the file is missing"):
            ask()


def test_a_symlink_where_a_tile_will_be_written_is_replaced_not_followed(tmp_path):
    log = new_log(tmp_path, 3)
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "tlog/tile/0/000.p/4").symlink_to(victim)
    log.append([b"x"])
    assert victim.read_bytes() == b"precious"
    assert not (tmp_path / "tlog/tile/0/000.p/4").is_symlink()


def test_only_the_owner_may_read_the_files(tmp_path):
    new_log(tmp_path, 300)
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "tlog").rglob("*")}
    assert modes == {0o600, 0o700}
