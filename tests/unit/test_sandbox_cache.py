from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sandbox.artifact import Artifact, freeze, private_file
from sandbox.cache import ArtifactCache, ArtifactName, CacheError, Miss, artifact_name

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


def test_what_was_just_stored_stays_even_above_the_bound(root: Path) -> None:
    with ArtifactCache(root, max_bytes=1) as cache, artifact() as made:
        cache.store(NAME, made)
    assert fetch(root) == CODE


def test_a_superseded_artifact_goes_without_its_successors_code(root: Path) -> None:
    keep(root, content=b"old")
    os.utime(code_file(root), (1, 1))
    with ArtifactCache(root, max_bytes=len(CODE)) as cache, artifact() as made:
        cache.store(NAME, made)
    assert fetch(root) == CODE
    assert len(list(root.iterdir())) == 3


def test_what_a_crash_left_is_removed_after_an_hour(root: Path) -> None:
    keep(root)
    stale, fresh = root / ".a.part", root / ".b.part"
    for path in (stale, fresh):
        path.write_bytes(b"x")
    long_ago = time.time() - 7_200
    os.utime(stale, (long_ago, long_ago))
    keep(root, OTHER)
    assert not stale.exists()
    assert fresh.exists()


def test_a_failed_store_leaves_nothing_behind(root: Path) -> None:
    with ArtifactCache(root) as cache, artifact() as made:
        made.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            cache.store(NAME, made)
    assert [path.name for path in root.iterdir()] == ["key"]


WORKER = """
import os, sys
from pathlib import Path
from sandbox.artifact import Artifact, private_file
from sandbox.cache import ArtifactCache, Miss, artifact_name
content = sys.argv[2].encode() * 50_000
for turn in range(20):
    with ArtifactCache(Path(sys.argv[1])) as cache:
        name = artifact_name(str(turn % 3), "e")
        fd = private_file("w")
        os.write(fd, content)
        with Artifact(fd) as made:
            cache.store(name, made)
        found = cache.load(name)
        assert isinstance(found, Artifact), found
        with found:
            assert found.read() in {b"a" * 50_000, b"b" * 50_000, b"c" * 50_000, b"d" * 50_000}
"""


def test_several_processes_store_at_once(root: Path) -> None:
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(root), letter], stderr=subprocess.PIPE)
        for letter in "abcd"
    ]
    for worker in workers:
        _, errors = worker.communicate(timeout=60)
        assert worker.returncode == 0, errors.decode()
    with ArtifactCache(root) as cache:
        for turn in range(3):
            found = cache.load(artifact_name(str(turn), "e"))
            assert isinstance(found, Artifact)
            found.close()
    assert not list(root.glob("*.part"))
