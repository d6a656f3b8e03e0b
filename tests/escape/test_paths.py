"""Paths that lead out of a mount, in every spelling, by every call that takes one: refused, and on record."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.escape.guests import SECRET, Scene, play, tree
from tests.guests import Script
from tests.runs import exited
from tests.sequences import CREAT, DIRECTORY

OUT = (
    "../outside/secret",
    "./../outside/secret",
    "dir/../../outside/secret",
    "dir/./.././../outside/secret",
    "dir//..//..//outside//secret",
    "../mount/../outside/secret",
    "../../../../../../../../../../etc/passwd",
    "..",
    "dir/../..",
    "../outside/",
    "/../outside/secret",
)
ABSOLUTE = ("/etc/passwd", "//etc/passwd", "/proc/self/environ", "/m/file", "/")
STRANGE = (b"\0", b"file\0", b"../outside/secret\0file", b"\xff\xfe", b"file\xc0\xaf..", b"x" * 5_000, b"")
NAMES_LIKE_ANY = ("...", ". .", "..\\outside\\secret", "%2e%2e", "．．", "dir\\file")
"""No way out: they name something in the mount, which is not there."""

Use = Callable[[Script, "bytes | str"], object]
CALLS: dict[str, Use] = {
    "path_open": lambda s, path: s.open(path),
    "path_open to make": lambda s, path: s.open(path, oflags=CREAT, rights=64),
    "path_open of a folder": lambda s, path: s.open(path, oflags=DIRECTORY),
    "path_filestat_get": lambda s, path: s.stat(path),
    "path_filestat_set_times": lambda s, path: s.call(
        "path_filestat_set_times", 3, 1, *s.text(path), 1_000, 2_000, 5
    ),
    "path_create_directory": lambda s, path: s.on("path_create_directory", path),
    "path_remove_directory": lambda s, path: s.on("path_remove_directory", path),
    "path_unlink_file": lambda s, path: s.on("path_unlink_file", path),
    "path_rename from": lambda s, path: s.rename(path, "here"),
    "path_rename to": lambda s, path: s.rename("file", path),
    "path_link from": lambda s, path: s.link(path, "here"),
    "path_link to": lambda s, path: s.link("file", path),
    "path_symlink at": lambda s, path: s.symlink("file", path),
    "path_readlink": lambda s, path: s.readlink(path),
}


@pytest.fixture
def scene(tmp_path) -> Scene:
    return Scene.made(tmp_path / "scene")


@pytest.mark.parametrize("name", CALLS)
def test_no_spelling_of_a_path_leads_out(name, scene, log):
    before = tree(scene.top)
    script = Script()
    paths = (*OUT, *ABSOLUTE)
    for path in paths:
        CALLS[name](script, path)
    played = play(log, scene.granting(), script)
    assert played.execution.receipt.outcome == exited()
    assert 0 not in played.errnos
    assert played.decisions == ["deny"] * len(paths)
    assert {row["reason"] for row in played.rows} <= {"escape", "rule"}
    assert tree(scene.top) == before
    assert SECRET not in played.execution.stdout


@pytest.mark.parametrize("name", CALLS)
def test_what_is_no_path_is_refused(name, scene, log):
    before = tree(scene.top)
    script = Script()
    for path in STRANGE:
        CALLS[name](script, path)
    played = play(log, scene.granting(), script)
    assert played.execution.receipt.outcome == exited()
    assert 0 not in played.errnos
    assert tree(scene.top) == before


def test_names_that_only_look_like_a_way_out_are_names(scene, log):
    script = Script()
    for path in NAMES_LIKE_ANY:
        script.open(path)
        script.write(script.open(path, oflags=CREAT, rights=64), b"mine")
    played = play(log, scene.granting(), script)
    assert played.errnos == [44, 0, 0] * len(NAMES_LIKE_ANY)
    assert [row["rule_id"] for row in played.rows if row["errno"] == 0] == ["mine"] * 2 * len(NAMES_LIKE_ANY)
    assert {path.name for path in scene.mount.iterdir()} == {"dir", "file", *NAMES_LIKE_ANY}
    assert (scene.outside / "secret").read_bytes() == SECRET


def test_the_same_calls_are_allowed_within(scene, log):
    script = Script()
    for path in ("file", "dir/../file", "./dir//inner", "dir/./inner"):
        script.read(script.open(path))
        script.stat(path)
    script.on("path_create_directory", "dir/../made")
    script.rename("file", "made/../moved")
    script.link("moved", "dir/linked")
    script.symlink("moved", "link")
    script.readlink("link")
    script.on("path_unlink_file", "link")
    script.on("path_remove_directory", "made")
    CALLS["path_filestat_set_times"](script, "moved")
    played = play(log, scene.granting(), script)
    assert played.errnos == [0] * 20
    assert set(played.decisions) == {"allow"}
    assert played.seen[1].window[8:12] == b"file"
    assert tree(scene.mount) == {
        "dir": ("folder", b""),
        "dir/inner": ("file", b"inner"),
        "dir/linked": ("file", b"file"),
        "moved": ("file", b"file"),
    }
