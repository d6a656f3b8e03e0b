"""Ways round a budget: what was counted is made to look uncounted, and what is used to look like nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.escape.guests import Scene, play
from tests.guests import Script
from tests.sequences import CREAT, EXCL, TRUNC, WRITE

DQUOT, NOTSUP = 19, 58
BYTES, FILES = 10_000, 3
FAR = 1 << 40
SIZE = "fd_filestat_set_size"


@pytest.fixture
def scene(tmp_path) -> Scene:
    return Scene.made(tmp_path / "scene")


def bounded(scene: Scene, **bounds: object):
    inner = ", ".join(f"{name}: {value}" for name, value in bounds.items())
    return scene.granting(after=f"resources: {{limits: {{{inner}}}}}\n")


def make(s: Script, name: str = "new"):
    return s.open(name, oflags=CREAT, rights=WRITE)


def cut_and_write_again(s: Script) -> None:
    for _ in range(4):
        fd = s.open("new", oflags=CREAT | TRUNC, rights=WRITE)
        s.write(fd, b"x" * 4_000)
        s.call("fd_close", fd)


def remove_and_write_again(s: Script) -> None:
    for _ in range(4):
        fd = make(s)
        s.write(fd, b"x" * 4_000)
        s.call("fd_close", fd)
        s.on("path_unlink_file", "new")


def rename_and_write_again(s: Script) -> None:
    for number in range(4):
        s.write(make(s), b"x" * 4_000)
        s.rename("new", f"kept-{number}")


def write_in_one_place(s: Script) -> None:
    fd = make(s)
    for _ in range(4):
        s.pwrite(fd, b"x" * 4_000, 0)


def write_far_behind(s: Script) -> None:
    s.pwrite(make(s), b"x", FAR)


def seek_far_behind(s: Script) -> None:
    fd = make(s)
    s.call("fd_seek", fd, FAR, 0, s.out(8))
    s.write(fd, b"x")


def grow(s: Script) -> None:
    s.call(SIZE, make(s), FAR)


def grow_by_little(s: Script) -> None:
    fd = make(s)
    for times in range(1, 5):
        s.call(SIZE, fd, times * 4_000)


def write_under_other_names(s: Script) -> None:
    s.write(make(s), b"x" * 4_000)
    for number in range(3):
        s.link("new", f"linked-{number}")
        s.write(s.open(f"linked-{number}", rights=WRITE, fdflags=1), b"x" * 4_000)


def write_through_a_moved_descriptor(s: Script) -> None:
    fd, other = make(s), make(s, "other")
    for _ in range(2):
        s.write(fd, b"x" * 4_000)
    s.call("fd_renumber", fd, other)
    s.write(other, b"x" * 4_000)


def write_many_buffers(s: Script) -> None:
    text, fd = s.text(b"x" * 1_000), make(s)
    for _ in range(12):  # the host takes one buffer a call
        s.call("fd_write", fd, *s.vectors((0, 0), text, text), s.out(4))


WRITERS: dict[str, Callable[[Script], None]] = {
    each.__name__: each
    for each in (
        cut_and_write_again, remove_and_write_again, rename_and_write_again, write_in_one_place, write_far_behind,
        seek_far_behind, grow, grow_by_little, write_under_other_names, write_through_a_moved_descriptor,
        write_many_buffers,
    )
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_bytes_that_were_written_stay_counted(name, scene, log):
    script = Script()
    WRITERS[name](script)
    played = play(log, bounded(scene, disk=BYTES), script)
    refused = [row for row in played.rows if row["decision"] == "limit"]
    assert refused
    assert {(row["rule_id"], row["errno"]) for row in refused} == {("limit.disk", DQUOT)}
    files = {
        (status := path.stat()).st_ino: status.st_size for path in scene.mount.rglob("*") if path.is_file()
    }
    assert sum(files.values()) <= BYTES + len(b"file" + b"inner")
    assert played.execution.receipt.resources.bytes_written <= BYTES + len(played.execution.stdout)


@pytest.mark.parametrize("name", [name for name in WRITERS if "far" not in name and name != "grow"])
def test_the_same_is_allowed_where_there_is_room_for_it(name, scene, log):
    script = Script()
    WRITERS[name](script)
    played = play(log, bounded(scene, disk="100Ki"), script)
    assert set(played.errnos) == {0}
    assert played.execution.receipt.refusals == ()


def test_room_is_not_put_aside_and_nothing_has_a_negative_size(scene, log):
    script = Script()
    fd = make(script)
    script.call("fd_allocate", fd, 0, FAR)
    script.call(SIZE, fd, (1 << 64) - 1)
    script.pwrite(fd, b"x", (1 << 64) - 1)
    script.pwrite(fd, b"within", 0)
    played = play(log, bounded(scene, disk=BYTES), script)
    assert played.errnos[1] == NOTSUP
    assert 0 not in played.errnos[1:4]
    assert played.errnos[4] == 0
    assert (scene.mount / "new").read_bytes() == b"within"


def make_and_remove(s: Script, number: int) -> None:
    make(s, f"new-{number}")
    s.on("path_unlink_file", f"new-{number}")


def make_and_move(s: Script, number: int) -> None:
    make(s, "new")
    s.rename("new", f"new-{number}")


def make_folders(s: Script, number: int) -> None:
    s.on("path_create_directory", f"new-{number}")


def make_links(s: Script, number: int) -> None:
    s.link("file", f"new-{number}") if number % 2 else s.symlink("file", f"new-{number}")


def make_exclusively(s: Script, number: int) -> None:
    s.open(f"new-{number}", oflags=CREAT | EXCL, rights=WRITE)


@pytest.mark.parametrize("way", [make_and_remove, make_and_move, make_folders, make_links, make_exclusively])
def test_files_that_were_made_stay_counted(way, scene, log):
    script = Script()
    for number in range(FILES + 1):
        way(script, number)
    played = play(log, bounded(scene, files=FILES), script)
    refused = [row for row in played.rows if row["decision"] == "limit"]
    assert {(row["rule_id"], row["errno"]) for row in refused} == {("limit.files", DQUOT)}
    assert refused[0]["guest_target"] in {f"/m/new-{FILES}", "/m/new", "/m/file"}
    scene.top.rename(scene.top.with_name("former"))
    played = play(log, bounded(Scene.made(scene.top), files=FILES + 1), script)
    assert set(played.errnos) == {0}


def test_reading_and_writing_nothing_is_counted_as_calls(scene, log):
    script = Script()
    fd = script.open("file")
    script.call("fd_read", fd, *script.vectors((0, 0)), script.out(4))
    script.loop(500, 1)
    played = play(log, bounded(scene, host_calls=100), script)
    outcome = played.execution.receipt.outcome
    assert (outcome.kind.value, outcome.limit) == ("limit", "host_calls")
    assert play(log, bounded(scene, host_calls=1_000), script).execution.receipt.outcome.limit is None
