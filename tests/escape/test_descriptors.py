"""Numbers that are no descriptors, and descriptors that are used for what they were not opened for.

The monitor has a table of its own: what it does not know never reaches the host, and what was granted when a
descriptor was opened is all that it can be used for, under whatever number.
"""

from __future__ import annotations

import pytest

from policy.calls import CALLS
from tests.escape.guests import NOTCAPABLE, SECRET, Scene, play, tree
from tests.guests import Script, Slot
from tests.runs import exited
from tests.sequences import APPEND, CREAT, DIRECTORY, EVERYTHING, READ, TRUNC, WRITE

BADF, PERM, NOTDIR, ISDIR = 8, 63, 54, 31
NONE = (4, 5, 63, 99, 1_023, 1_024, 4_159, 4_160, 65_536, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFE, 0xFFFF_FFFF)
LOOKING = "read, list"


@pytest.fixture
def scene(tmp_path) -> Scene:
    return Scene.made(tmp_path / "scene")


def on_descriptor(script: Script, name: str, fd: int) -> None:
    """Make a call on a descriptor, with what the other arguments have to be to be taken."""
    at = script.out(128)
    path = script.text("file")
    buffers = script.vectors((at, 16))
    arguments: dict[str, tuple[int, ...]] = {
        "fd_read": (*buffers, at + 64),
        "fd_write": (*buffers, at + 64),
        "fd_pread": (*buffers, 0, at + 64),
        "fd_pwrite": (*buffers, 0, at + 64),
        "fd_seek": (0, 0, at),
        "fd_readdir": (at, 64, 0, at + 64),
        "fd_prestat_dir_name": (at, 8),
        "fd_advise": (0, 1, 0),
        "fd_filestat_set_times": (1, 1, 5),
        "fd_fdstat_set_flags": (0,),
        "fd_renumber": (1,),
        "path_open": (1, *path, 0, READ, 0, 0, at),
        "path_filestat_get": (1, *path, at),
        "path_filestat_set_times": (1, *path, 1, 1, 5),
        "path_link": (0, *path, 3, *path),
        "path_rename": (*path, 3, *path),
        "path_readlink": (*path, at, 64, at + 64),
        "path_create_directory": path,
        "path_remove_directory": path,
        "path_unlink_file": path,
    }
    rest = arguments.get(name)
    if rest is None:
        letters = next(call.parameters for call in CALLS if call.name == name)[1:]
        rest = tuple(1 if letter == "I" else at for letter in letters)
    script.call(name, fd, *rest)


ON_DESCRIPTORS = [call.name for call in CALLS if call.name.startswith(("fd_", "path_"))]


def test_each_call_on_a_number_that_is_no_descriptor_is_refused(scene, log):
    before = tree(scene.top)
    script = Script()
    names = []
    for name in ON_DESCRIPTORS:
        if name == "path_symlink":
            continue
        for fd in NONE:
            on_descriptor(script, name, fd)
            names.append(name)
    for fd in NONE:  # where the number comes second
        text = script.text("file")
        script.call("path_symlink", *text, fd, *text)
        script.call("path_rename", 3, *text, fd, *text)
        script.call("path_link", 3, 0, *text, fd, *text)
        script.call("fd_renumber", 3, fd)
    played = play(log, scene.granting(), script)
    assert played.execution.receipt.outcome == exited()
    assert set(played.errnos) == {BADF}
    assert len(played.errnos) == len(names) + 4 * len(NONE)
    assert tree(scene.top) == before


def test_the_same_calls_on_a_descriptor_are_not(scene, log):
    script = Script()
    for name in (
        "fd_fdstat_get",
        "fd_filestat_get",
        "fd_prestat_get",
        "fd_readdir",
        "path_open",
        "path_filestat_get",
    ):
        on_descriptor(script, name, 3)
    script.call("fd_renumber", script.open("file"), 3)
    assert play(log, scene.granting(), script).errnos == [0] * 8


def test_a_descriptor_that_was_closed_is_none_and_its_number_is_what_it_was_given_to(scene, log):
    (scene.mount / "other").write_bytes(b"other")
    script = Script()
    first = script.open("file", rights=READ | WRITE)
    script.call("fd_close", first)
    script.read(first)
    script.write(first, b"x")
    script.call("fd_close", first)
    second = script.open("other")
    script.read(first)
    script.write(first, b"x")
    script.call("fd_close", second)
    script.read(first)
    played = play(log, scene.granting(), script)
    assert played.seen[0].window == played.seen[5].window  # the same number
    assert played.errnos == [0, 0, BADF, BADF, BADF, 0, 0, BADF, 0, BADF]
    assert played.seen[6].window[8:13] == b"other"
    assert (scene.mount / "other").read_bytes() == b"other"


def test_taking_another_number_takes_its_rights_along(scene, log):
    (scene.mount / "other").write_bytes(b"other")
    plan = scene.granting("read, list", after="")
    script = Script()
    reader = script.open("file")
    folder = script.open("dir", oflags=DIRECTORY)
    script.call("fd_renumber", reader, 1)  # a file in place of the standard output
    script.write(1, b"to a file that may only be read")
    script.call("fd_renumber", folder, 3)  # a folder in place of the mount
    script.open("../file", 3)
    script.open("../../outside/secret", 3)
    script.open("inner", 3)
    script.call("fd_renumber", 0, 999)
    script.call("fd_close", 2)
    script.write(2, b"nowhere")
    played_errnos = _without_output(log, plan, script)
    assert played_errnos[2:4] == [("allow", 0), ("deny", NOTCAPABLE)]
    assert played_errnos[4:8] == [("allow", 0), ("deny", PERM), ("deny", PERM), ("allow", 0)]
    assert played_errnos[8] == ("allow", BADF)
    assert played_errnos[9:11] == [("allow", 0), ("allow", BADF)]
    assert (scene.mount / "file").read_bytes() == b"file"


def _without_output(log, plan, script: Script) -> list[tuple[str, int]]:
    """What is on record of a script that takes its own output away, so that it cannot print."""
    played = play(log, plan, script)
    assert played.execution.stdout == b""
    return [(str(row["decision"]), int(str(row["errno"]))) for row in played.rows]


RIGHTS = {"all that there are": EVERYTHING, "bits that mean nothing": (1 << 64) - 1}


@pytest.mark.parametrize("what", RIGHTS)
def test_rights_that_are_asked_for_give_no_more_than_the_policy(what, scene, log):
    rights = RIGHTS[what]
    before = tree(scene.top)
    script = Script()
    folder = script.open("dir", oflags=DIRECTORY, inheriting=EVERYTHING)
    script.write(script.open("file", rights=rights), b"FILE")
    script.open("inner", folder, rights=rights, inheriting=EVERYTHING)
    script.on("path_create_directory", "new", folder)
    script.on("path_unlink_file", "inner", folder)
    played = play(log, scene.granting(LOOKING), script)
    assert played.errnos[0] == 0
    assert 0 not in played.errnos[1:]
    assert tree(scene.top) == before
    if what == "all that there are":
        assert played.decisions == ["allow", "deny", "allow", *["deny"] * 3]
        assert play(log, scene.granting(), script).errnos == [0] * 6


def test_rights_are_not_widened_afterwards(scene, log):
    script = Script()
    file, folder = script.open("file"), script.open("dir", oflags=DIRECTORY)
    for fd in (file, folder, 3, 0):
        script.call("fd_fdstat_set_rights", fd, EVERYTHING, EVERYTHING)
        at = script.out(24)
        script.call("fd_fdstat_get", fd, at, window=(at, 24))
    script.write(file, b"more")
    script.pwrite(file, b"more", 0)
    script.call("fd_filestat_set_size", file, 0)
    script.call("fd_allocate", file, 0, 100)
    script.call("fd_filestat_set_times", file, 1, 1, 5)
    script.on("path_create_directory", "new", folder)
    script.on("path_create_directory", "new", 3)
    played = play(log, scene.granting(LOOKING), script)
    assert 0 not in played.errnos[10:]
    assert played.decisions[10:].count("deny") >= 5
    assert (scene.mount / "file").read_bytes() == b"file"
    assert sorted(path.name for path in scene.mount.iterdir()) == ["dir", "file"]
    writer = Script()
    both = writer.open("file", rights=READ | WRITE)
    writer.write(both, b"more")
    writer.call("fd_filestat_set_size", both, 4)
    assert play(log, scene.granting(), writer).errnos == [0, 0, 0]


def test_a_descriptor_is_used_for_what_it_was_opened_for(scene, log):
    script = Script()
    writer, reader = script.open("file", rights=WRITE), script.open("file")
    folder = script.open("dir", oflags=DIRECTORY)
    for fd in (writer, folder, 1, 2, 3):
        script.read(fd)
    for fd in (reader, folder, 0, 3):
        script.write(fd, b"x")
    script.readdir(reader)
    script.open("inner", reader)
    script.stat("inner", writer)
    script.open("inner", 0)
    played = play(log, scene.granting(), script)
    assert 0 not in played.errnos[3:]
    assert (scene.mount / "file").read_bytes() == b"file"
    twin = Script()
    twin.read(twin.open("file"))
    twin.write(twin.open("file", rights=WRITE), b"FILE")
    twin.readdir(twin.open("dir", oflags=DIRECTORY))
    assert play(log, scene.granting(), twin).errnos == [0] * 6
    assert (scene.mount / "file").read_bytes() == b"FILE"


def test_a_folder_that_is_open_is_no_way_up(scene, log):
    script = Script()
    folder = script.open("dir", oflags=DIRECTORY)
    again = script.open(".", oflags=DIRECTORY)
    same = script.open(".", folder, oflags=DIRECTORY)
    for fd in (folder, same):
        for path in ("..", "../file", "../dir/inner", "./../file", "../../outside/secret", "/etc/passwd"):
            script.open(path, fd)
    for path in ("..", "../outside/secret", "dir/../../outside/secret"):
        script.open(path, again)
    script.open("dir/../file", again)
    script.open("inner", same)
    played = play(log, scene.granting(), script)
    assert played.errnos[:3] == [0] * 3
    assert set(played.errnos[3:-2]) == {PERM}
    assert set(played.rules[3:-2]) == {"beneath"}
    assert played.errnos[-2:] == [0, 0]
    assert SECRET not in played.execution.stdout


def test_what_may_be_appended_to_is_not_written_over(scene, log):
    plan = scene.granting("read, list, append")
    script = Script()
    file = script.open("file", rights=READ | WRITE, fdflags=APPEND)
    script.call("fd_fdstat_set_flags", file, 0)  # no longer at the end
    script.call("fd_seek", file, 0, 0, script.out(8))
    script.write(file, b"+")
    script.pwrite(file, b"no", 0)
    script.call("fd_filestat_set_size", file, 0)
    script.open("file", rights=WRITE)
    script.open("file", rights=WRITE, fdflags=APPEND, oflags=TRUNC)
    played = play(log, plan, script)
    assert played.decisions == ["allow", "deny", "allow", "allow", *["deny"] * 4]
    assert (scene.mount / "file").read_bytes() == b"file+"


def test_as_many_are_opened_as_may_be_and_those_of_the_cell_are_no_numbers_of_the_guest(scene, log):
    plan = scene.granting(after="resources: {limits: {open_files: 20}}\n")
    script = Script()
    slots = [script.open("file") for _ in range(25)]
    for fd in range(4, 200):
        script.call("fd_fdstat_get", fd, script.out(24))
    script.call("fd_close", slots[0])
    script.open("new", oflags=CREAT, rights=WRITE)
    played = play(log, plan, script)
    assert played.errnos[:25] == [0] * 20 + [33] * 5
    opened = {int.from_bytes(seen.window, "little") for seen in played.seen[:20]}
    answered = {4 + at for at, errno in enumerate(played.errnos[25:221]) if errno == 0}
    assert answered == opened
    assert played.errnos[-2:] == [0, 0]


def test_a_number_in_memory_is_no_descriptor_of_its_own(scene, log):
    """What `path_open` writes to memory, and what the guest writes over it, is a number and nothing else."""
    script = Script()
    slot = script.open("file")
    assert isinstance(slot, Slot)
    script.call("clock_time_get", 1, 0, slot.at)  # the number is gone
    script.read(slot)
    script.read(4)
    played = play(log, scene.granting(), script)
    assert played.errnos == [0, 0, BADF, 0]
