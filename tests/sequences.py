"""Sequences of host calls for the comparison with bare wasmtime, and the tree of files that they run on.

Each function of WASI 0.1 succeeds somewhere here, where it can, and fails in each way that it can. What they are
run by, and what is compared, is `tests/integration/test_monitor_differential.py`.
"""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

from hypothesis import strategies as st

from policy.calls import CALLS
from tests.guests import END_OF_MEMORY, OUTSIDE, Script, Slot

CREAT, DIRECTORY, EXCL, TRUNC = 1, 2, 4, 8
APPEND, DSYNC, NONBLOCK, RSYNC, SYNC = 1, 2, 4, 8, 16
READ, WRITE = 2, 64
EVERYTHING = 0x1FFF_FFFF
OLD_NS = 1_000_000_000_123_456_789
BAD_FDS = (99, 4_159, 4_160, 5_000, 0x7FFF_FFFF, 0xFFFF_FFFF)

Builder = Callable[[Script], object]
SEQUENCES: dict[str, Builder] = {}
TRAPS: dict[str, Builder] = {}


def sequence(build: Builder) -> Builder:
    """List a sequence under the name of its function."""
    SEQUENCES[getattr(build, "__name__", "")] = build
    return build


def plant(top: Path) -> tuple[Path, Path]:
    """Make the tree anew; gives the two folders that are mounted."""
    shutil.rmtree(top, ignore_errors=True)
    root, other = top / "a", top / "b"
    for folder in ("dir/deep", "emptydir", "many"):
        (root / folder).mkdir(parents=True)
    other.mkdir()
    (top / "outside").write_bytes(b"outside")
    for name, content in (
        ("file", b"hello, world\n"),
        ("empty", b""),
        ("big", bytes(range(256)) * 40),
        ("dir/inner", b"inner"),
        ("dir/deep/leaf", b"leaf"),
        ("ünï", b"unicode"),
    ):
        (root / name).write_bytes(content)
    for number in range(20):
        (root / f"many/{number:03}-{'x' * number}").write_bytes(b"")
    (other / "there").write_bytes(b"there")
    for name, goal in (
        ("to_file", "file"),
        ("to_dir", "dir"),
        ("to_nothing", "nowhere"),
        ("to_itself", "to_itself"),
        ("to_outside", "../outside"),
        ("to_root", "/etc/passwd"),
        ("to_link", "to_file"),
        ("to_deep", "dir/deep"),
        ("dir/up", "../file"),
        ("dir/away", "../../outside"),
    ):
        (root / name).symlink_to(goal)
    for path in sorted(top.rglob("*"), reverse=True):
        os.utime(path, ns=(OLD_NS, OLD_NS), follow_symlinks=False)
    return root, other


@sequence
def arguments_and_environment(s: Script) -> None:
    for what in ("args", "environ"):
        sizes = s.out(8)
        s.call(f"{what}_sizes_get", sizes, sizes + 4, window=(sizes, 8))
        room = s.out(512)
        s.call(f"{what}_get", room, room + 128, window=(room, 512))


@sequence
def clocks(s: Script) -> None:
    for clock in range(6):
        at = s.out(8)
        s.call("clock_res_get", clock, at, window=(at, 8))
        at = s.out(8)
        s.call("clock_time_get", clock, 1_000, at, window=(at, 8))


@sequence
def randomness_and_yielding(s: Script) -> None:
    for size in (0, 1, 64, 65, 1_000):
        at = s.out(size + 8)
        s.call("random_get", at, size, window=(at + size, 8))
    s.call("sched_yield")


@sequence
def each_call_on_numbers_that_are_no_descriptors(s: Script) -> None:
    at = s.out(128)
    for fd in BAD_FDS:
        for call in CALLS:
            is_wasi = not call.is_extension and call.name != "fd_renumber"
            if is_wasi and call.name.startswith(("fd_", "sock_")):
                flag = {
                    "sock_shutdown": 1,
                    "fd_advise": 0,
                    "fd_fdstat_set_flags": 0,
                    "fd_filestat_set_times": 0,
                }.get(call.name, at)
                if call.name == "fd_seek":
                    s.call("fd_seek", fd, 0, 0, at)
                elif call.name in {"sock_recv", "sock_send"}:
                    s.call(call.name, fd, at, 0, 0, *([at] * (len(call.parameters) - 4)))
                elif call.name == "sock_accept":
                    s.call(call.name, fd, 0, at)
                elif call.name in {"fd_read", "fd_write", "fd_pread", "fd_pwrite"}:
                    s.call(call.name, fd, at, 0, *([0] * (len(call.parameters) - 4)), at)
                else:
                    s.call(call.name, fd, *(flag if letter == "i" else 0 for letter in call.parameters[1:]))
        s.call("fd_renumber", fd, 3)
        s.call("fd_renumber", 3, fd)
    s.out(8)


@sequence
def paths_on_numbers_that_are_no_descriptors(s: Script) -> None:
    for fd in (*BAD_FDS, 0, 1, 2, s.open("file"), s.open("dir/inner", rights=READ | WRITE)):
        s.open("file", fd)
        s.stat("file", fd)
        s.on("path_create_directory", "new", fd)
        s.on("path_remove_directory", "emptydir", fd)
        s.on("path_unlink_file", "file", fd)
        s.readlink("to_file", fd)
        s.symlink("x", "new", fd)
        s.rename("file", "new", fd)
        s.rename("file", "new", 3, fd)
        s.link("file", "new", fd)
        s.link("file", "new", 3, fd)
        s.call("path_filestat_set_times", fd, 0, *s.text("file"), 0, 0, 5)


@sequence
def descriptor_calls_on_each_kind(s: Script) -> None:
    file, folder, both = s.open("file"), s.open("dir", oflags=DIRECTORY), s.open("empty", rights=READ | WRITE)
    for fd in (0, 1, 2, 3, 4, file, folder, both):
        for name, size in (
            ("fd_fdstat_get", 24),
            ("fd_filestat_get", 64),
            ("fd_prestat_get", 8),
            ("fd_tell", 8),
        ):
            at = s.out(size)
            s.call(name, fd, at, window=(at, size))
        at = s.out(8)
        s.call("fd_prestat_dir_name", fd, at, 2, window=(at, 8))
        for name in ("fd_datasync", "fd_sync"):
            s.call(name, fd)
        s.call("fd_advise", fd, 0, 10, 1)
        s.call("fd_allocate", fd, 0, 10)
        s.call("fd_fdstat_set_rights", fd, READ, 0)
        s.call("fd_fdstat_set_flags", fd, APPEND)
        s.call("fd_fdstat_set_flags", fd, 0)
        s.call("fd_fdstat_set_flags", fd, NONBLOCK)
        s.call("fd_fdstat_set_flags", fd, SYNC)
        at = s.out(8)
        s.call("fd_seek", fd, 1, 0, at, window=(at, 8))
        s.readdir(fd, 256)
    s.out(8)


@sequence
def reads(s: Script) -> None:
    file = s.open("file")
    s.read(file, 5)
    s.read(file, 0)
    s.read(file)
    s.read(file)
    s.read(3)
    s.read(0, 4)
    s.read(0)
    s.read(1)
    s.read(s.open("empty", rights=WRITE))
    s.read(s.open("dir", oflags=DIRECTORY))
    for offset in (0, 7, 13, 100, 1 << 40, (1 << 64) - 1):
        for fd in (file, 0, 3):
            count, buffer = s.out(4), s.out(16)
            s.call(
                "fd_pread", fd, *s.vectors((buffer, 16)), offset, count, window=(count, buffer + 16 - count)
            )
    count, buffer = s.out(4), s.out(16)
    empty = s.vectors((buffer, 0), (buffer, 4), (buffer + 4, 4))
    s.call("fd_pread", file, *empty, 0, count, window=(count, buffer + 16 - count))
    s.call("fd_pread", file, 0, 0, 0, count, window=(count, 4))
    s.call("fd_read", file, *empty, count, window=(count, buffer + 16 - count))


@sequence
def writes(s: Script) -> None:
    file = s.open("file", rights=READ | WRITE)
    s.write(file, b"HELLO")
    s.write(file, b"")
    s.pwrite(file, b"<at 20>", 20)
    s.pwrite(file, b"", 3)
    s.pwrite(file, b"x", (1 << 64) - 1)
    s.write(file, b"!")
    s.read(file)
    s.write(s.open("file"), b"x")
    s.pwrite(s.open("file"), b"x", 0)
    for fd in (0, 1, 2, 3):
        s.write(fd, b"text")
        s.pwrite(fd, b"text", 0)
    count, buffer = s.out(4, 4), s.put(b"abcdef")
    s.call("fd_write", file, *s.vectors((buffer, 0), (buffer, 2), (buffer + 2, 2)), count, window=(count, 4))
    s.call("fd_write", file, 0, 0, count, window=(count, 4))
    s.call("fd_write", 1, *s.vectors((buffer, 0), (buffer, 2), (buffer + 2, 2)), count, window=(count, 4))
    s.write(s.open("new", oflags=CREAT, rights=WRITE), b"made" * 1_000)


@sequence
def appends(s: Script) -> None:
    file = s.open("file", rights=READ | WRITE, fdflags=APPEND)
    s.write(file, b"one")
    at = s.out(8)
    s.call("fd_seek", file, 0, 0, at, window=(at, 8))
    s.write(file, b"two")
    s.pwrite(file, b"AT", 0)
    s.call("fd_fdstat_set_flags", file, 0)
    s.write(file, b"three")
    s.call("fd_fdstat_set_flags", file, APPEND)
    s.write(file, b"four")
    s.call("fd_tell", file, at, window=(at, 8))
    s.read(file)


@sequence
def seeks(s: Script) -> None:
    file = s.open("big", rights=READ | WRITE)
    for offset, whence in (
        (0, 0), (100, 0), (-1, 0), (5, 1), (-3, 1), (-1_000, 1), (0, 2), (-10, 2), (10, 2), (-100_000, 2),
        ((1 << 63) - 1, 0), ((1 << 63) - 1, 1), (-(1 << 63), 1), (1, 1),
    ):  # fmt: skip
        at = s.out(8)
        s.call("fd_seek", file, offset, whence, at, window=(at, 8))
        at = s.out(8)
        s.call("fd_tell", file, at, window=(at, 8))
    for fd in (0, 1, 3, s.open("dir", oflags=DIRECTORY)):
        at = s.out(8)
        s.call("fd_seek", fd, 0, 1, at, window=(at, 8))


@sequence
def sizes(s: Script) -> None:
    file, reader = s.open("file", rights=READ | WRITE), s.open("file")
    for fd, size in ((file, 3), (file, 20), (file, 1 << 63), (file, 0), (reader, 1), (3, 1), (1, 1), (0, 1)):
        s.call("fd_filestat_set_size", fd, size)
        s.stat("file")
    s.call("fd_allocate", file, 0, 100)


@sequence
def times(s: Script) -> None:
    file, reader, folder = (
        s.open("file", rights=READ | WRITE),
        s.open("file"),
        s.open("dir", oflags=DIRECTORY),
    )
    for fd in (file, reader, folder, 3, 1):
        for flags in (0, 1, 4, 5, 2, 8, 10, 3, 12, 15):
            s.call("fd_filestat_set_times", fd, 5_000_000_000, 6_000_000_001, flags)
        at = s.out(64)
        s.call("fd_filestat_get", fd, at, window=(at, 64))
    for path in (
        "file",
        "dir",
        "to_file",
        "to_nothing",
        "missing",
        "to_outside",
        "",
        "/file",
        "../outside",
        "dir/",
    ):
        for follow in (0, 1):
            for flags in (5, 1, 4, 10, 0) if path.startswith((".", "/")) else (5, 1, 4, 10, 3, 0):
                s.call(
                    "path_filestat_set_times", 3, follow, *s.text(path), 7_000_000_000, 8_000_000_001, flags
                )
        s.stat(path, follow=False)


PATHS = (
    "file", "dir", "dir/inner", "dir/deep/leaf", "empty", "ünï", "missing", "missing/file", "file/inner", "", ".", "./file",
    "././/file", "dir/.", "dir/..", "dir/../file", "dir/../dir/inner", "dir//inner", "dir/", "file/", "missing/", "..",
    "../outside", "../a/file", "dir/../../outside", "/", "/file", "/etc/passwd", "/a/file", "//file", "to_file", "to_dir",
    "to_dir/", "to_dir/inner", "to_dir/../file", "to_nothing", "to_itself", "to_itself/x", "to_outside", "to_outside/x", "to_root", "to_link",
    "to_file/", "dir/up", "dir/away", "x" * 255, "x" * 256, "x/" * 100, "x\0y", "file\0", "\0", b"bad\xff", b"\xff", b"dir/\xc3",
    "FILE", "dir\\inner", " ", "...", "..x", "~", "emptydir", "emptydir/..", "many/000-", "dir/./inner", "dir/deep/../inner",
    "./" * 2_000 + "file", "dir/../" * 500 + "file",
)  # fmt: skip
LONG_PATHS = ("y" * 4_094, "y" * 4_095, "y" * 4_096, "y" * 5_000, "./" * 2_045 + "file", "z/" * 2_047 + "z")


@sequence
def asking_about_paths(s: Script) -> None:
    for path in PATHS:
        for follow in (True, False):
            s.stat(path, follow=follow)


@sequence
def opening_paths(s: Script) -> None:
    for path in PATHS:
        for follow in (True, False):
            fd = s.open(path, follow=follow)
            s.call("fd_close", fd)


@sequence
def opening_paths_as_directories(s: Script) -> None:
    for path in PATHS:
        for follow in (True, False):
            fd = s.open(path, follow=follow, oflags=DIRECTORY, rights=EVERYTHING)
            at = s.out(24)
            s.call("fd_fdstat_get", fd, at, window=(at, 24))
            s.call("fd_close", fd)


@sequence
def reading_links(s: Script) -> None:
    for path in PATHS:
        s.readlink(path, size=16)
    for size in (0, 1, 3, 4, 5):
        s.readlink("to_file", size=size)


for _call in ("path_create_directory", "path_remove_directory", "path_unlink_file"):

    def _act(s: Script, name: str = _call) -> None:
        for path in (*PATHS, "new", "new/", "new2/.", "dir/new", "to_dir/new", "to_nothing/new"):
            s.on(name, path)

    SEQUENCES[_call] = _act


def _long(path: str) -> Builder:
    def build(s: Script) -> None:
        text = s.text(path)
        at = s.out(64)
        s.call("path_filestat_get", 3, 1, *text, at, window=(at, 64))
        slot = s.out(4)
        s.call("path_open", 3, 1, *text, 0, READ, 0, 0, slot, window=(slot, 4))
        s.call("path_create_directory", 3, *text)
        s.call("path_remove_directory", 3, *text)
        s.call("path_unlink_file", 3, *text)
        s.call("path_rename", 3, *text, 3, *s.text("new"))
        s.call("path_rename", 3, *s.text("file"), 3, *text)
        s.call("path_link", 3, 0, *text, 3, *s.text("new2"))
        s.call("path_link", 3, 0, *s.text("empty"), 3, *text)
        s.call("path_symlink", *s.text("x"), 3, *text)
        s.call("path_symlink", *text, 3, *s.text("new3"))
        s.readlink(path, size=16)
        s.call("path_filestat_set_times", 3, 1, *text, 0, 0, 5)

    return build


for _path in LONG_PATHS:
    SEQUENCES[f"a_path_of_{len(_path)}_{_path[0] if _path[0].isalpha() else 'dot'}"] = _long(_path)


def _flags(target: str, follow: bool) -> Builder:
    def build(s: Script) -> None:
        for oflags in range(16):
            for rights in (0, READ, WRITE, READ | WRITE):
                for fdflags in (0, APPEND):
                    fd = s.open(target, oflags=oflags, rights=rights, fdflags=fdflags, follow=follow)
                    at = s.out(24)
                    s.call("fd_fdstat_get", fd, at, window=(at, 24))
                    s.write(fd, b"w")
                    s.read(fd, 4)
                    s.call("fd_close", fd)
                    if oflags & CREAT and target in ("new", "to_nothing"):
                        s.on("path_unlink_file", "new" if target == "new" else "nowhere")

    return build


for _target in (
    "file",
    "new",
    "dir",
    "to_file",
    "to_dir",
    "to_nothing",
    "to_outside",
    "to_itself",
    "missing/new",
    "new/",
    "file/",
    ".",
):
    for _follow in (True, False):
        SEQUENCES[
            f"open_flags_on_{_target.replace('/', '_slash_').replace('.', 'dot')}_{'f' if _follow else 'n'}"
        ] = _flags(_target, _follow)


@sequence
def opening_with_flags_for_synchronous_writes(s: Script) -> None:
    for fdflags in (DSYNC, NONBLOCK, RSYNC, SYNC, DSYNC | NONBLOCK, 31):
        fd = s.open("file", rights=READ | WRITE, fdflags=fdflags)
        at = s.out(24)
        s.call("fd_fdstat_get", fd, at, window=(at, 24))
        s.write(fd, b"w")
        s.read(fd, 4)


@sequence
def opening_below_an_open_directory(s: Script) -> None:
    folder = s.open("dir", oflags=DIRECTORY, rights=EVERYTHING, inheriting=EVERYTHING)
    deep = s.open("deep", folder, oflags=DIRECTORY, rights=EVERYTHING)
    for fd in (folder, deep):
        for path in ("inner", "leaf", "..", "../inner", "../../file", ".", "", "up", "deep/leaf", "/a/file"):
            s.read(s.open(path, fd), 8)
            s.stat(path, fd)
        s.readdir(fd)
    s.on("path_create_directory", "made", deep)
    s.on("path_unlink_file", "leaf", deep)
    s.rename("inner", "moved", folder, deep)
    s.rename("moved", "back", deep, 4)
    s.link("there", "linked", 4, folder)
    s.symlink("../inner", "made/link", deep)


RENAMES = (
    ("file", "new"), ("file", "empty"), ("empty", "dir"), ("dir", "empty"), ("dir", "emptydir"), ("emptydir", "dir"),
    ("dir", "dir/deep/inside"), ("dir", "dir"), ("new", "new"), ("missing", "x"), ("file", "missing/x"), ("", "x"), ("file", ""),
    (".", "x"), ("file", "."), ("../outside", "x"), ("file", "../x"), ("/file", "x"), ("file", "/x"), ("to_file", "moved_link"),
    ("to_dir/inner", "out"), ("dir/deep/leaf", "to_dir/leaf"), ("to_itself/x", "y"), ("to_outside", "y2"), ("big", "big/"),
    ("dir/", "dir2/"), ("dir2", "dir3/."), ("x\0", "y"), (b"\xff", "y"), ("many", "emptydir"), ("file", "file2/"), ("dir/..", "z"),
)  # fmt: skip


@sequence
def renames(s: Script) -> None:
    for old, new in RENAMES:
        s.rename(old, new)
    s.rename("new", "from_a", 3, 4)
    s.rename("there", "from_b", 4, 3)
    s.rename("big", "there", 3, 4)
    s.rename("many", "many", 3, 4)


@sequence
def renames_of_what_is_open(s: Script) -> None:
    file, folder = s.open("file", rights=READ | WRITE), s.open("dir", oflags=DIRECTORY)
    s.rename("file", "elsewhere")
    s.rename("dir", "folder")
    s.write(file, b"still")
    s.read(s.open("inner", folder))
    s.read(s.open("folder/inner"))
    s.on("path_unlink_file", "elsewhere")
    s.write(file, b"gone")
    s.read(file)
    s.readdir(folder)


@sequence
def links(s: Script) -> None:
    for old, new in RENAMES:
        s.link(old, new)
        if not any(part in (str(old), str(new)) for part in ("../outside", "../x", "/file", "/x")):
            s.link(old, new, flags=1)
    s.link("file", "linked", 3, 4)
    s.write(s.open("linked", 4, rights=WRITE), b"through")
    s.stat("file")


@sequence
def symlinks(s: Script) -> None:
    for content, path in (
        ("file", "l1"), ("missing", "l2"), ("../outside", "l3"), ("/etc/passwd", "l4"), ("", "l5"), ("dir", "file"), ("x", "missing/l"),
        ("x", ""), ("x", "/l"), ("x", "../l"), ("x", "dir/l"), ("x", "to_dir/l2"), ("a\0b", "l6"), (b"\xff", "l7"), ("x", "l8/"),
        ("x" * 300, "l9"), ("x", "y\0"), ("x", b"\xfe"), ("l1", "l10"), (".", "l11"), ("x", "."), ("x", "to_nothing"),
    ):  # fmt: skip
        s.symlink(content, path)
        s.readlink(path)
        s.stat(path)
        s.open(path)


@sequence
def directories(s: Script) -> None:
    for fd in (
        3,
        4,
        s.open("dir", oflags=DIRECTORY),
        s.open("emptydir", oflags=DIRECTORY),
        s.open("file"),
        1,
    ):
        for size, cookie in (
            (4_096, 0),
            (0, 0),
            (10, 0),
            (24, 0),
            (60, 0),
            (100, 1),
            (100, 2),
            (100, 3),
            (64, 1_000),
            (64, (1 << 64) - 1),
        ):
            s.readdir(fd, size, cookie)
    folder = s.open("many", oflags=DIRECTORY)
    for cookie in range(0, 24, 3):
        s.readdir(folder, 200, cookie)


@sequence
def numbers_of_descriptors(s: Script) -> None:
    one, two, three = s.open("file"), s.open("empty", rights=READ | WRITE), s.open("dir", oflags=DIRECTORY)
    s.call("fd_renumber", one, two)
    s.read(two)
    s.read(one)
    s.call("fd_renumber", one, two)
    s.call("fd_renumber", two, two)
    s.call("fd_renumber", two, 50)
    s.call("fd_renumber", three, 3)
    s.open("inner", 3)
    s.call("fd_close", 3)
    s.open("x", 3)
    four = s.open("there", 4)
    s.read(four)
    s.call("fd_renumber", 1, two)
    s.write(two, b"by another number")
    s.write(1, b"gone")
    s.call("fd_renumber", two, 1)
    s.call("fd_renumber", four, 1)
    s.read(1)
    s.write(1, b"x")
    for fd in (0, 1, 2, 3, 4, 4, 5, four):
        s.call("fd_close", fd)
        s.write(fd, b"closed")
    s.call("fd_renumber", 2, 0)


@sequence
def preopens_after_closing(s: Script) -> None:
    s.call("fd_close", 3)
    for fd in (3, 4):
        at = s.out(8)
        s.call("fd_prestat_get", fd, at, window=(at, 8))
        for size in (0, 1, 2, 3, 8):
            at = s.out(8)
            s.call("fd_prestat_dir_name", fd, at, size, window=(at, 8))
    again = s.open("there", 4)
    s.read(again)
    s.read(3)


@sequence
def many_descriptors(s: Script) -> None:
    fds = [s.open("file") for _ in range(120)]
    for fd in fds[::2]:
        s.call("fd_close", fd)
    fds += [s.open("empty") for _ in range(90)]
    for fd in fds[::7]:
        s.read(fd, 4)


def clock_wait(number: int, clock: int, timeout: int, flags: int = 0) -> bytes:
    """A subscription to a clock."""
    return struct.pack("<QBxxxxxxxIxxxxQQHxxxxxx", number, 0, clock, timeout, 0, flags)


def fd_wait(number: int, tag: int, fd: int) -> bytes:
    """A subscription to a descriptor."""
    return struct.pack("<QBxxxxxxxI28x", number, tag, fd)


def poll(s: Script, *subscriptions: bytes) -> None:
    """Wait for these."""
    entries = s.put(b"".join(subscriptions), 8)
    count = s.out(8)
    events = s.out(32 * max(1, len(subscriptions)))
    s.call(
        "poll_oneoff",
        entries,
        events,
        len(subscriptions),
        count,
        window=(count, events + 32 * len(subscriptions) - count),
    )


@sequence
def waiting(s: Script) -> None:
    poll(s)
    poll(s, clock_wait(7, 1, 1_000_000))
    poll(s, clock_wait(7, 0, 1_000_000))
    poll(s, clock_wait(8, 1, 1, 1))
    poll(s, clock_wait(8, 0, 1, 1))
    for clock in (2, 3):
        poll(s, clock_wait(9, clock, 1))
    file = s.open("file")
    poll(s, fd_wait(1, 1, 0))
    poll(s, fd_wait(2, 2, 1), clock_wait(3, 1, 10**12))
    for fd in (3, 99, 5, 0xFFFF_FFFF):
        poll(s, fd_wait(4, 1, fd))
        poll(s, fd_wait(4, 2, fd), clock_wait(5, 1, 10**8))  # far off, so that it is never a matter of chance
    s.read(file, 4)
    poll(s, fd_wait(6, 1, 5))  # one at a time: of two that are ready the host names those it happens to see
    poll(s, fd_wait(6, 2, 5))


@sequence
def sockets(s: Script) -> None:
    file, folder = s.open("file", rights=READ | WRITE), s.open("dir", oflags=DIRECTORY)
    for fd in (0, 1, 2, 3, 99, file, folder):
        at = s.out(32)
        buffers = s.vectors((s.out(8), 8))
        s.call("sock_accept", fd, 0, at, window=(at, 4))
        s.call("sock_recv", fd, *buffers, 0, at, at + 8, window=(at, 16))
        s.call("sock_send", fd, *buffers, 0, at, window=(at, 4))
        for how in (1, 2, 3):
            s.call("sock_shutdown", fd, how)


@sequence
def raising_a_signal(s: Script) -> None:
    for signal in (0, 6, 9, 30):
        s.call("proc_raise", signal)


for _code in (0, 1, 125, 126, 134, 255, 256, 0x7FFF_FFFF, 0xFFFF_FFFF):

    def _leave(s: Script, code: int = _code) -> None:
        s.write(1, b"before")
        s.call("proc_exit", code)
        s.write(1, b"after")

    SEQUENCES[f"leaving_with_{_code}"] = _leave


# --- one call that traps ----------------------------------------------------------------------------


def _trap(name: str, *arguments: int | Slot | bytes) -> None:
    """List a call that traps; bytes among the arguments stand for address and length of a text."""

    def build(s: Script) -> None:
        s.open("file", rights=READ | WRITE)
        s.write(5, b"before")
        found: list[int | Slot] = []
        for argument in arguments:
            found += s.text(argument) if isinstance(argument, bytes) else [argument]
        s.call(name, *found)
        s.write(5, b"after")

    TRAPS[f"{name}-{len(TRAPS)}"] = build


_FAR = OUTSIDE
_LAST = END_OF_MEMORY - 1
for _result in (_FAR, END_OF_MEMORY, END_OF_MEMORY - 1, 0xFFFF_FFFF):
    for _name in ("args_sizes_get", "environ_sizes_get"):
        _trap(_name, _result, 64)
        _trap(_name, 64, _result)
    for _name in ("args_get", "environ_get"):
        _trap(_name, _result, 1_024)
        _trap(_name, 1_024, _result)
    _trap("clock_res_get", 0, _result)
    _trap("clock_time_get", 0, 0, _result)
    _trap("random_get", _result, 64)
    for _name in ("fd_fdstat_get", "fd_filestat_get", "fd_tell"):
        _trap(_name, 5, _result)
    _trap("fd_prestat_get", 3, _result)
    _trap("fd_prestat_dir_name", 3, _result, 2)
    _trap("fd_seek", 5, 0, 0, _result)
    _trap("fd_read", 5, _result, 1, 64)
    _trap("fd_write", 5, _result, 1, 64)
    _trap("fd_pread", 5, _result, 1, 0, 64)
    _trap("fd_pwrite", 5, _result, 1, 0, 64)
    _trap("fd_readdir", 3, _result, 64, 0, 128)
    _trap("fd_readdir", 3, 128, 64, 0, _result)
    _trap("poll_oneoff", _result, 64, 1, 128)
    for _name in ("path_create_directory", "path_remove_directory", "path_unlink_file"):
        _trap(_name, 3, _result, 8)
    _trap("path_filestat_get", 3, 0, _result, 8, 64)
    _trap("path_filestat_get", 3, 0, b"file", _result)
    _trap("path_filestat_set_times", 3, 0, _result, 8, 0, 0, 5)
    _trap("path_open", 3, 0, _result, 8, 0, READ, 0, 0, 64)
    _trap("path_open", 3, 0, b"file", 0, READ, 0, 0, _result)
    _trap("path_open", 3, 0, b"made", CREAT, WRITE, 0, 0, _result)
    _trap("path_readlink", 3, _result, 8, 64, 8, 128)
    _trap("path_readlink", 3, b"to_file", _result, 8, 128)
    _trap("path_readlink", 3, b"to_file", 64, 8, _result)
    _trap("path_rename", 3, _result, 8, 3, b"x")
    _trap("path_rename", 3, b"file", 3, _result, 8)
    _trap("path_link", 3, 0, _result, 8, 3, b"x")
    _trap("path_link", 3, 0, b"file", 3, _result, 8)
    _trap("path_symlink", _result, 8, 3, b"x")
    _trap("path_symlink", b"x", 3, _result, 8)
_trap("fd_filestat_set_times", 5, 0, 0, 16)
_trap("path_filestat_set_times", 3, 0, b"file", 0, 0, 16)
_trap("path_filestat_set_times", 3, 2, b"file", 0, 0, 5)
_trap("path_filestat_get", 3, 2, b"file", 64)
_trap("path_link", 3, 2, b"file", 3, b"new")
_trap("fd_fdstat_set_flags", 5, 32)
_trap("fd_fdstat_set_flags", 5, 0x1_0000)
_trap("fd_advise", 5, 0, 1, 6)
_trap("fd_advise", 5, 0, 1, 0x100)
_trap("fd_seek", 5, 0, 3, 64)
_trap("fd_fdstat_set_rights", 5, 1 << 40, 0)
_trap("path_open", 3, 2, b"file", 0, READ, 0, 0, 64)
_trap("path_open", 3, 1, b"file", 16, READ, 0, 0, 64)
_trap("path_open", 3, 1, b"made", 17, WRITE, 0, 0, 64)
_trap("path_open", 3, 1, b"file", 0x1_0000, READ, 0, 0, 64)
_trap("path_open", 3, 1, b"file", 0, 1 << 40, 0, 0, 64)
_trap("path_open", 3, 1, b"file", 0, READ, 1 << 40, 0, 64)
_trap("path_open", 3, 1, b"file", 0, READ, 0, 32, 64)
_trap("clock_time_get", 9, 0, 64)
_trap("clock_res_get", 9, 64)
_trap("proc_raise", 31)
_trap("sock_recv", 5, 64, 1, 4, 128, 136)
_trap("sock_shutdown", 5, 4)
for _name, _before, _after in (
    ("args_sizes_get", (), (128,)), ("clock_res_get", (0,), ()), ("clock_time_get", (0, 0), ()), ("fd_fdstat_get", (5,), ()),
    ("fd_filestat_get", (5,), ()), ("fd_tell", (5,), ()), ("fd_seek", (5, 0, 0), ()), ("fd_prestat_get", (3,), ()), ("fd_read", (5, 64, 0), ()),
    ("fd_write", (5, 64, 0), ()), ("fd_readdir", (3, 64, 0, 0), ()), ("path_filestat_get", (3, 0, b"file"), ()),
    ("path_open", (3, 0, b"file", 0, READ, 0, 0), ()), ("path_readlink", (3, b"to_file", 256, 8), ()), ("fd_read", (5,), (1, 64)),
):  # fmt: skip
    for _odd in (1_025, 1_026):
        _trap(_name, *_before, _odd, *_after)
for _name, _before in (
    ("clock_res_get", (0,)), ("clock_time_get", (0, 0)), ("fd_fdstat_get", (5,)), ("fd_filestat_get", (5,)), ("fd_tell", (5,)),
    ("fd_seek", (5, 0, 0)), ("path_filestat_get", (3, 0, b"file")),
):  # fmt: skip
    _trap(_name, *_before, 1_028)


# --- random sequences -------------------------------------------------------------------------------

_NAMES = (
    "file",
    "dir",
    "dir/inner",
    "empty",
    "new",
    "dir/new",
    "to_file",
    "to_dir",
    "to_dir/inner",
    "to_nothing",
    "emptydir",
    "..",
    ".",
    "to_outside",
    "missing/x",
)
_fds = st.sampled_from((0, 1, 3, 4, 5, 6, 7, 8, 9, 12, 4_200))
_paths = st.sampled_from(_NAMES)
_inside = st.sampled_from(
    [name for name in _NAMES if name != ".."]
)  # which of two faults is named first is listed as a difference
_rights = st.sampled_from((0, READ, WRITE, READ | WRITE, EVERYTHING))
_bool = st.booleans()
_small = st.integers(0, 20)


def _do(
    name: str, *arguments: st.SearchStrategy[object], **keywords: st.SearchStrategy[object]
) -> st.SearchStrategy[Builder]:
    def apply(drawn: tuple[tuple[object, ...], dict[str, object]]) -> Builder:
        def run(s: Script) -> object:
            method = getattr(s, name, None)
            return method(*drawn[0], **drawn[1]) if method else s.call(name, *drawn[0])  # type: ignore[arg-type]  # drawn for it

        return run

    return st.tuples(st.tuples(*arguments), st.fixed_dictionaries(keywords)).map(apply)


_STEPS = st.one_of(
    _do(
        "open",
        _paths,
        _fds,
        oflags=st.integers(0, 15),
        rights=_rights,
        fdflags=st.sampled_from((0, APPEND)),
        follow=_bool,
    ),
    _do(
        "open",
        _paths,
        st.just(3),
        oflags=st.sampled_from((0, CREAT, DIRECTORY, CREAT | TRUNC)),
        rights=_rights,
    ),
    _do("read", _fds, _small),
    _do("write", _fds, st.binary(max_size=9)),
    _do("pwrite", _fds, st.binary(max_size=9), _small),
    _do("stat", _paths, _fds, follow=_bool),
    _do("rename", _inside, _inside, _fds, _fds),
    _do("rename", _inside, _inside, st.sampled_from((3, 4)), st.sampled_from((3, 4))),
    _do("link", _inside, _inside, st.sampled_from((3, 4)), _fds),
    _do("symlink", _paths, _paths, _fds),
    _do("readlink", _paths, _fds),
    _do("readdir", _fds, st.integers(0, 200), st.integers(0, 5)),
    _do(
        "on",
        st.sampled_from(("path_create_directory", "path_remove_directory", "path_unlink_file")),
        _paths,
        _fds,
    ),
    _do("fd_close", _fds),
    _do("fd_renumber", _fds, _fds),
    _do("fd_fdstat_set_flags", _fds, st.sampled_from((0, APPEND))),
    _do("fd_filestat_set_size", _fds, _small),
    _do("fd_sync", _fds),
    _do("fd_advise", _fds, _small, _small, st.integers(0, 5)),
    _do("sched_yield"),
)


def random_sequences() -> st.SearchStrategy[Builder]:
    """Up to thirty calls, drawn from those that files and descriptors are about."""

    def join(steps: list[Builder]) -> Builder:
        def build(s: Script) -> None:
            for step in steps:
                step(s)

        return build

    return st.lists(_STEPS, min_size=1, max_size=30).map(join)
