from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandbox.artifact import Artifact, freeze, private_file
from sandbox.cache import ArtifactCache, ArtifactName, Miss, artifact_name

NAME = artifact_name("sha256:aa", "engine-1")
OTHER = artifact_name("sha256:bb", "engine-1")
CODE = b"native code " * 1_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def artifact(content: bytes = CODE) -> Artifact:
    fd = private_file("test")
    os.write(fd, content)
    freeze(fd)
    return Artifact(fd)


def keep(root: Path, name: ArtifactName = NAME, content: bytes = CODE) -> None:
    with ArtifactCache(root) as cache, artifact(content) as made:
        cache.store(name, made)


def fetch(root: Path, name: ArtifactName = NAME) -> bytes | Miss:
    with ArtifactCache(root) as cache:
        found = cache.load(name)
        if isinstance(found, Miss):
            return found
        with found:
            return found.read()


def code_file(root: Path, name: ArtifactName = NAME) -> Path:
    (found,) = root.glob(f"{name}.*.cwasm")
    return found


def rewrite(path: Path, content: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(content)


def test_what_was_stored_is_loaded(root: Path) -> None:
    assert fetch(root) == Miss()
    keep(root)
    assert fetch(root) == CODE
    assert fetch(root, OTHER) == Miss()


def test_names_depend_on_module_and_engine() -> None:
    names = {artifact_name(digest, key) for digest in ("a", "ab") for key in ("c", "bc")}
    assert len(names) == 4


def test_an_empty_artifact_is_one_too(root: Path) -> None:
    keep(root, content=b"")
    assert fetch(root) == b""


def test_folder_key_and_artifacts_are_private(root: Path) -> None:
    keep(root)
    modes = {path.suffix or path.name: path.stat().st_mode & 0o777 for path in [root, *root.iterdir()]}
    assert modes == {"cache": 0o700, "key": 0o600, ".cwasm": 0o400, ".mac": 0o600}


@pytest.mark.parametrize(
    "forged",
    [b"", CODE[:-1], CODE + b"!", b"N" + CODE[1:]],
    ids=["emptied", "cut short", "longer", "one byte changed"],
)
def test_a_forged_artifact_is_deleted_and_reported(root: Path, forged: bytes) -> None:
    keep(root)
    rewrite(code_file(root), forged)
    found = fetch(root)
    assert isinstance(found, Miss)
    assert "not what was stored" in found.finding
    assert [path.name for path in root.iterdir()] == ["key"]
    assert fetch(root) == Miss()


def test_an_untouched_artifact_survives_a_rewrite_with_the_same_bytes(root: Path) -> None:
    keep(root)
    rewrite(code_file(root), CODE)
    assert fetch(root) == CODE


@pytest.mark.parametrize("damage", [b"", b"short", b"\0" * 33])
def test_a_damaged_code_is_reported(root: Path, damage: bytes) -> None:
    keep(root)
    rewrite(root / f"{NAME}.mac", damage)
    found = fetch(root)
    assert isinstance(found, Miss)
    assert "authentication code is damaged" in found.finding
    assert fetch(root) == Miss()


def test_an_artifact_under_another_name_is_not_loaded(root: Path) -> None:
    keep(root)
    source = code_file(root)
    source.rename(root / source.name.replace(NAME, OTHER))
    (root / f"{NAME}.mac").rename(root / f"{OTHER}.mac")
    found = fetch(root, OTHER)
    assert isinstance(found, Miss)
    assert found.finding


def test_an_artifact_of_another_key_is_not_loaded(root: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    keep(foreign)
    keep(root, OTHER)
    for path in foreign.glob(f"{NAME}.*"):
        path.rename(root / path.name)
    found = fetch(root)
    assert isinstance(found, Miss)
    assert "not what was stored" in found.finding
    assert fetch(root, OTHER) == CODE


def test_an_artifact_that_others_may_change_is_not_loaded(root: Path) -> None:
    keep(root)
    code_file(root).chmod(0o660)
    assert fetch(root) != CODE


def test_a_link_in_the_place_of_an_artifact_is_not_followed(root: Path, tmp_path: Path) -> None:
    keep(root)
    path = code_file(root)
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    found = fetch(root)
    assert isinstance(found, Miss)
    assert "could not be read" in found.finding


def test_a_fifo_in_the_place_of_an_artifact_blocks_nobody(root: Path) -> None:
    keep(root)
    path = code_file(root)
    path.unlink()
    os.mkfifo(path, 0o600)
    assert isinstance(fetch(root), Miss)


def test_a_swap_after_the_check_changes_nothing(root: Path, tmp_path: Path) -> None:
    keep(root)
    with ArtifactCache(root) as cache:
        found = cache.load(NAME)
        assert isinstance(found, Artifact)
        evil = tmp_path / "evil"
        evil.write_bytes(b"evil")
        evil.rename(code_file(root))
        with found:
            assert Path(f"/proc/self/fd/{found.fd}").read_bytes() == CODE


def test_storing_again_leaves_a_loaded_file_alone(root: Path) -> None:
    with ArtifactCache(root) as cache:
        with artifact() as made:
            cache.store(NAME, made)
        found = cache.load(NAME)
        assert isinstance(found, Artifact)
        with artifact(b"newer") as made:
            cache.store(NAME, made)
        with found:
            assert found.read() == CODE
    assert fetch(root) == b"newer"


def test_the_oldest_used_go_first(root: Path) -> None:
    names = [artifact_name(f"sha256:{i}", "e") for i in range(4)]
    for age, name in enumerate(names):
        keep(root, name)
        os.utime(code_file(root, name), (1_000_000 + age, 1_000_000 + age))
    assert fetch(root, names[0]) == CODE
    with ArtifactCache(root, max_bytes=3 * len(CODE)) as cache, artifact() as made:
        cache.store(NAME, made)
    assert fetch(root, names[0]) == fetch(root, names[3]) == fetch(root) == CODE
    assert fetch(root, names[1]) == fetch(root, names[2]) == Miss()
    assert len(list(root.iterdir())) == 1 + 3 * 2


def test_room_is_made_before_an_artifact_is_written(root: Path) -> None:
    keep(root, OTHER)
    with ArtifactCache(root, max_bytes=len(CODE)) as cache, artifact() as made:
        cache.store(NAME, made)
        assert sum(path.stat().st_size for path in root.glob("*.cwasm")) == len(CODE)
    assert fetch(root) == CODE
    assert fetch(root, OTHER) == Miss()


def test_an_artifact_larger_than_the_cache_is_not_kept_and_displaces_nothing(root: Path) -> None:
    keep(root, OTHER)
    with ArtifactCache(root, max_bytes=len(CODE)) as cache:
        with artifact(CODE + b"!") as made, pytest.raises(OSError, match="larger than the cache may be"):
            cache.store(NAME, made)
        assert [path.suffix for path in sorted(root.iterdir())] == [".cwasm", ".mac", ""]
        with artifact() as made:
            cache.store(NAME, made)
    assert fetch(root) == CODE


def test_an_entry_made_larger_than_the_cache_is_deleted_unread(root: Path) -> None:
    keep(root)
    path = code_file(root)
    path.chmod(0o600)
    os.truncate(path, 1 << 40)  # a hole: reading it would take hours
    found = fetch(root)
    assert isinstance(found, Miss)
    assert "not what was stored" in found.finding
    assert not path.exists()


def test_a_superseded_artifact_goes_without_its_successors_code(root: Path) -> None:
    keep(root, content=b"old")
    os.utime(code_file(root), (1, 1))
    with ArtifactCache(root, max_bytes=len(CODE)) as cache, artifact() as made:
        cache.store(NAME, made)
    assert fetch(root) == CODE
    assert len(list(root.iterdir())) == 3


def test_a_failed_store_leaves_nothing_behind(root: Path) -> None:
    with ArtifactCache(root) as cache, artifact() as made:
        made.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            cache.store(NAME, made)
    assert [path.name for path in root.iterdir()] == ["key"]
