"""The cache under real failures: processes at the same time, kills at every call, and a full disk."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.artifact import Artifact, private_file
from sandbox.cache import ArtifactCache, Miss, artifact_name
from tests.faults import Faults

SIZE = 3_000_000  # three blocks
NAME = artifact_name("0", "e")

WORKER = """
import os, random, sys
from pathlib import Path
from sandbox.artifact import Artifact, private_file
from sandbox.cache import ArtifactCache, Miss, artifact_name
root, letter, turns, bound = Path(sys.argv[1]), sys.argv[2].encode(), int(sys.argv[3]), int(sys.argv[4])
choice = random.Random(letter)
hits = 0
print("ready", flush=True)
sys.stdin.readline()
for turn in range(turns):
    with ArtifactCache(root, max_bytes=bound) as cache:
        name = artifact_name(str(choice.randrange(4)), "e")
        if choice.random() < 0.5:
            fd = private_file("w")
            os.write(fd, choice.choice([letter, b"s"]) * 50_000)
            with Artifact(fd) as made:
                cache.store(name, made)
        found = cache.load(name)
        if isinstance(found, Miss):
            assert not found.finding, found
        else:
            hits += 1
            with found:
                content = found.read()
                assert len(content) == 50_000 and len(set(content)) == 1, content[:9]
print(hits)
"""

STORE = """
import os
from pathlib import Path
from sandbox.artifact import Artifact, private_file
from sandbox.cache import ArtifactCache, artifact_name

def main(root, letter, size):
    fd = private_file("w")
    os.write(fd, letter.encode() * int(size))
    with ArtifactCache(Path(root)) as cache, Artifact(fd) as made:
        try:
            cache.store(artifact_name("0", "e"), made)
        except OSError as err:
            print(err.strerror)
"""


def fetch(root: Path) -> bytes | Miss:
    with ArtifactCache(root) as cache:
        found = cache.load(NAME)
        if isinstance(found, Miss):
            return found
        with found:
            return found.read()


def keep(root: Path, content: bytes) -> None:
    fd = private_file("test")
    os.write(fd, content)
    with ArtifactCache(root) as cache, Artifact(fd) as made:
        cache.store(NAME, made)


def letters(found: bytes | Miss) -> str:
    """What was found: its letter if it is whole, `-` for nothing; a finding or a torn artifact is an error."""
    if isinstance(found, Miss):
        assert not found.finding
        return "-"
    assert len(found) == SIZE
    assert len(set(found)) == 1
    return chr(found[0])


@pytest.mark.parametrize("bound", [100_000, 1 << 30], ids=["evicting", "keeping"])
def test_processes_that_store_load_and_evict_the_same_names_see_whole_artifacts_only(
    tmp_path: Path, bound: int
) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path / "cache"), letter, "60", str(bound)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for letter in "abcd"
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    hits = 0
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        output, errors = worker.communicate(timeout=60)
        assert worker.returncode == 0, errors
        hits += int(output)
    assert hits > 10  # enough for it to have met what others were doing; how many is a matter of luck
    left = [path for path in (tmp_path / "cache").iterdir() if path.name != "key"]
    assert {path.suffix for path in left} <= {".cwasm", ".mac"}
    with ArtifactCache(tmp_path / "cache", max_bytes=bound) as cache:
        fd = private_file("w")
        os.write(fd, b"x" * 50_000)
        with Artifact(fd) as made:
            cache.store(NAME, made)
    assert sum(path.stat().st_size for path in (tmp_path / "cache").glob("*.cwasm")) <= bound


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
def test_a_kill_at_any_call_leaves_the_old_artifact_the_new_one_or_none(
    tmp_path: Path, is_after: bool
) -> None:
    root, faults = tmp_path / "cache", Faults(tmp_path)
    states = set()
    with faults.forks(STORE) as forks:
        for call in ("open", "write", "fsync", "rename", "unlink"):
            keep(root, b"o" * SIZE)
            points = forks.points(call, under=root, arguments=[root, "n", str(SIZE)])
            for skip in range(points):
                keep(root, b"o" * SIZE)
                faults.kill(call, under=root, skip=skip, is_after=is_after)
                assert forks.run(root, "n", str(SIZE)).status == -9
                faults.clear()
                states.add(letters(fetch(root)))
                # what is left is in nobody's way, and goes
                for path in root.glob(".*.part"):
                    os.utime(path, (1, 1))
                assert forks.run(root, "m", str(SIZE)).text == ""
                assert letters(fetch(root)) == "m"
                assert not list(root.glob(".*.part"))
    assert {"o", "n"} <= states


def test_a_kill_while_the_key_is_made_leaves_a_cache_that_works(tmp_path: Path) -> None:
    faults = Faults(tmp_path)
    with faults.forks(STORE) as forks:
        for call in ("open", "write", "fsync", "unlink"):
            for skip in range(2):
                root = tmp_path / f"{call}{skip}"
                faults.kill(call, under=root, skip=skip)
                forks.run(root, "n", str(SIZE))
                faults.clear()
                keep(root, b"o" * SIZE)
                assert letters(fetch(root)) == "o"


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename"])
def test_a_store_that_fails_says_so_and_leaves_no_part_of_it(tmp_path: Path, call: str, error: int) -> None:
    root, faults = tmp_path / "cache", Faults(tmp_path)
    with faults.forks(STORE) as forks:
        keep(root, b"o" * SIZE)
        points = forks.points(call, under=root, arguments=[root, "n", str(SIZE)])
        assert points
        for skip in range(points):
            keep(root, b"o" * SIZE)
            faults.fail(call, under=root, error=error, skip=skip)
            assert forks.run(root, "x", str(SIZE)).text.strip() == os.strerror(error)
            faults.clear()
            assert letters(fetch(root)) in "o-"
            assert not list(root.glob(".*.part"))
            assert forks.run(root, "n", str(SIZE)).text == ""
            assert letters(fetch(root)) == "n"


def test_a_disk_that_is_full_half_way_keeps_nothing_of_it(tmp_path: Path) -> None:
    root, faults = tmp_path / "cache", Faults(tmp_path)
    keep(root, b"o" * SIZE)
    before = sorted(root.iterdir())
    faults.cut_short(under=root, error=errno.ENOSPC, size=1_000, skip=1)
    with faults.forks(STORE) as forks:
        assert forks.run(root, "n", str(SIZE)).text.strip() == os.strerror(errno.ENOSPC)
    assert sorted(root.iterdir()) == before
    assert letters(fetch(root)) == "o"
