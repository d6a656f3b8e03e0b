from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.artifact import Artifact, private_file
from sandbox.cache import ArtifactCache, CacheError, Miss, artifact_name

NAME = artifact_name("sha256:aa", "engine-1")
CODE = b"native code"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def keep(root: Path) -> None:
    fd = private_file("test")
    os.write(fd, CODE)
    with ArtifactCache(root) as cache, Artifact(fd) as made:
        cache.store(NAME, made)


def fetch(root: Path) -> bytes | Miss:
    with ArtifactCache(root) as cache:
        found = cache.load(NAME)
        if isinstance(found, Miss):
            return found
        with found:
            return found.read()


def test_a_folder_that_others_may_write_to_is_refused(root: Path) -> None:
    root.mkdir(mode=0o700)
    root.chmod(0o770)
    with pytest.raises(CacheError, match="can be written by other users"):
        ArtifactCache(root)
    root.chmod(0o700)
    ArtifactCache(root).close()


def test_a_folder_of_another_user_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(root)
    owner = root.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(CacheError, match="belongs to another user"):
        ArtifactCache(root)
    monkeypatch.setattr(os, "geteuid", lambda: owner)
    ArtifactCache(root).close()


def test_a_folder_that_is_a_link_is_refused(root: Path, tmp_path: Path) -> None:
    keep(tmp_path / "real")
    root.symlink_to(tmp_path / "real")
    with pytest.raises(CacheError, match="cannot be opened"):
        ArtifactCache(root)


@pytest.mark.parametrize("damage", ["short", "readable"])
def test_a_damaged_key_is_refused(root: Path, damage: str) -> None:
    keep(root)
    key = root / "key"
    if damage == "short":
        key.write_bytes(b"short")
    else:
        key.chmod(0o644)
    with pytest.raises(CacheError, match="key is damaged or readable"):
        ArtifactCache(root)


def test_a_folder_that_others_may_read_is_made_private(root: Path) -> None:
    keep(root)
    root.chmod(0o755)
    assert fetch(root) == CODE
    assert root.stat().st_mode & 0o777 == 0o700


def test_what_is_no_folder_is_refused(root: Path) -> None:
    root.write_bytes(b"")
    with pytest.raises(CacheError, match="cannot be opened: File exists"):
        ArtifactCache(root)


def _as_link(key: Path) -> None:
    key.rename(key.with_name("elsewhere"))
    key.symlink_to("elsewhere")


def _as_folder(key: Path) -> None:
    key.unlink()
    key.mkdir(0o700)


def _as_fifo(key: Path) -> None:
    key.unlink()
    os.mkfifo(key, 0o600)


def _as_long(key: Path) -> None:
    key.write_bytes(key.read_bytes() + b"!")


@pytest.mark.parametrize("plant", [_as_link, _as_folder, _as_fifo, _as_long])
def test_what_is_planted_in_the_place_of_the_key_is_refused(
    root: Path, plant: Callable[[Path], None]
) -> None:
    keep(root)
    plant(root / "key")
    with pytest.raises(CacheError, match="key is damaged or readable"):
        ArtifactCache(root)


def test_a_key_of_another_user_is_refused(root: Path) -> None:
    keep(root)
    if os.geteuid() == 0:
        os.chown(root / "key", 1, -1)
        with pytest.raises(CacheError, match="key is damaged or readable"):
            ArtifactCache(root)
        os.chown(root / "key", 0, -1)
    assert fetch(root) == CODE


def test_artifacts_of_a_key_that_was_replaced_are_deleted_and_stored_anew(root: Path) -> None:
    keep(root)
    (root / "key").write_bytes(os.urandom(32))
    found = fetch(root)
    assert isinstance(found, Miss)
    assert "not what was stored" in found.finding
    keep(root)
    assert fetch(root) == CODE


def test_a_cache_whose_key_was_deleted_starts_anew(root: Path) -> None:
    keep(root)
    (root / "key").unlink()
    assert isinstance(fetch(root), Miss)
    keep(root)
    assert fetch(root) == CODE


def test_a_cache_that_is_open_goes_on_when_its_key_is_replaced(root: Path) -> None:
    with ArtifactCache(root) as first:
        (root / "key").write_bytes(os.urandom(32))
        keep(root)
        assert isinstance(first.load(NAME), Miss)
    assert fetch(root) == Miss()


def test_a_link_to_a_file_of_ours_elsewhere_is_an_artifact_only_with_its_content(
    root: Path, tmp_path: Path
) -> None:
    keep(root)
    (path,) = root.glob("*.cwasm")
    planted = tmp_path / "planted"
    planted.write_bytes(b"evil")
    planted.chmod(0o400)
    path.unlink()
    path.hardlink_to(planted)
    found = fetch(root)
    assert isinstance(found, Miss)
    assert "not what was stored" in found.finding
    assert planted.read_bytes() == b"evil"


def part(root: Path, name: str, age_s: int) -> Path:
    path = root / name
    path.write_bytes(b"x")
    written = time.time() - age_s
    os.utime(path, (written, written))
    return path


def test_what_a_crash_left_is_removed_when_something_is_stored(root: Path) -> None:
    keep(root)
    left, fresh, written = (
        part(root, f".{name}.part", age) for name, age in (("a", 60), ("b", 0), ("c", 60))
    )
    with written.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        keep(root)
    assert not left.exists()
    assert fresh.exists()
    assert written.exists()
    keep(root)
    assert not written.exists()


def _dangling(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, _dangling])
def test_what_is_planted_as_unfinished_holds_nobody_up(root: Path, make: Callable[[Path], None]) -> None:
    keep(root)
    make(root / ".planted.part")
    os.utime(root / ".planted.part", (1, 1), follow_symlinks=False)
    keep(root)
    assert fetch(root) == CODE
