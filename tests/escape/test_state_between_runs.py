"""A guest tries to leave something for its next run: of the same module, for the same tenant, in a cell made before.

The guest says what it finds, spoils all of it, and says it again: the first half is the same in every run, and the
second half shows that the look is a good one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from audit.writer import AuditWriter
from policy.plan import Plan
from sandbox.runner import Runner
from sandbox.shared_memory import make_readable
from tests.escape.guests import STDIO, interpreter
from tests.escape.native import wait_for_spare
from tests.guests import Script
from tests.runs import Log, exited, guest, policy
from tests.sequences import CREAT, DIRECTORY

SCRATCH = (
    "permissions:\n  storage:\n    allow:\n"
    '      - {id: scratch, uri: "tmp://work", mount: /w, access: [read, list, create, write, delete, symlink]}\n'
)
FOUND = 4_096  # where the guest puts what it finds
WORDS = 8
SPOILING = guest(
    f"""(call $look (i32.const {FOUND})) (call $spoil) (call $look (i32.const {FOUND + 8 * WORDS}))
    (i32.store (i32.const 0) (i32.const {FOUND})) (i32.store (i32.const 4) (i32.const {16 * WORDS}))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))""",
    uses="fd_write",
    fields="""
    (global $g (mut i64) (i64.const 7)) (table $t 4 10 funcref) (elem declare func $nothing)
    (data $d "passive") (elem $e func $nothing) (func $nothing)
    (func $look (param $at i32)
      (i64.store (local.get $at) (global.get $g))
      (i64.store offset=8 (local.get $at) (i64.load (i32.const 65520)))
      (i64.store offset=16 (local.get $at) (i64.extend_i32_u (memory.size)))
      (i64.store offset=24 (local.get $at) (i64.extend_i32_u (table.size $t)))
      (i64.store offset=32 (local.get $at) (i64.extend_i32_u (ref.is_null (table.get $t (i32.const 1)))))
      (i64.store offset=40 (local.get $at) (i64.load8_u (i32.const 1024))))
    (func $spoil
      (global.set $g (i64.const 8))
      (i64.store (i32.const 65520) (i64.const 9))
      (drop (memory.grow (i32.const 3)))
      (drop (table.grow $t (ref.null func) (i32.const 2)))
      (table.set $t (i32.const 1) (ref.func $nothing))
      (memory.init $d (i32.const 1024) (i32.const 0) (i32.const 7)) (data.drop $d) (elem.drop $e))""",
)


@pytest.fixture(scope="module", params=[0, 4], ids=["forked when asked for", "forked before"])
def runs(request, tmp_path_factory, cache) -> Iterator[Log]:
    root = tmp_path_factory.mktemp("runs")
    writer = AuditWriter(root / "log")
    runner = Runner(writer=writer, cache=cache, scratch=root / "scratch", spare_cells=request.param)
    made = Log(root / "log", writer, runner)
    yield made
    made.close()


def play(log: Log, plan: Plan, script: Script) -> tuple[list[int], list[bytes]]:
    """Run a script; gives the errnos, and the windows."""
    fd = make_readable("script", script.image())
    try:
        os.lseek(fd, 0, os.SEEK_SET)
        done = log.run(interpreter(), plan, stdin_fd=fd)
    finally:
        os.close(fd)
    assert done.receipt.outcome == exited()
    wait_for_spare(log.runner)
    seen = script.seen(done.stdout)
    return [each.errno for each in seen], [each.window for each in seen]


def test_memory_globals_tables_and_segments_are_new_in_each_run(runs):
    found = []
    for _ in range(3):
        done = runs.run(SPOILING)
        assert done.receipt.outcome == exited()
        wait_for_spare(runs.runner)
        found.append(done.stdout)
    assert found[0] == found[1] == found[2]
    before, after = found[0][: 8 * WORDS], found[0][8 * WORDS :]
    words = [int.from_bytes(before[at : at + 8], "little") for at in range(0, 48, 8)]
    assert words == [7, 0, 1, 4, 1, 0]
    words = [int.from_bytes(after[at : at + 8], "little") for at in range(0, 48, 8)]
    assert words == [8, 9, 4, 6, 0, ord("p")]


def test_scratch_is_empty_in_each_run_whatever_the_last_one_made(runs):
    plan = policy(SCRATCH + STDIO)
    look = Script()
    look.readdir(3)
    look.open("file")
    look.stat("dir")

    def leave(script: Script) -> None:
        script.write(script.open("file", oflags=CREAT, rights=64), b"left")
        script.on("path_create_directory", "dir")
        script.on("path_create_directory", "dir/dir")
        script.symlink("file", "dir/link")
        script.link("file", "dir/hard")

    spoil = Script()
    leave(spoil)
    spoil.readdir(3)
    for _ in range(2):
        errnos, windows = play(runs, plan, look)
        assert errnos == [0, 44, 44]
        assert b"file" not in windows[0]
        errnos, windows = play(runs, plan, spoil)
        assert set(errnos) == {0}
        assert b"file" in windows[-1]  # within the run it is there
    assert list((runs.root.parent / "scratch").glob("*-*")) == []


def test_descriptors_are_new_in_each_run_whatever_the_last_one_did_with_them(runs, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/file").write_bytes(b"0123456789")
    plan = policy(
        "permissions:\n  storage:\n    allow:\n"
        f'      - {{id: d, uri: "fs://{tmp_path}/d/**", mount: /d, access: [read, list, write]}}\n{STDIO}'
    )

    def look(script: Script) -> None:
        for fd in (1, 2, 3, 4, 5):
            at = script.out(24)
            script.call("fd_fdstat_get", fd, at, window=(at, 24))
        script.read(script.open("file"), 4)

    clean, spoilt = Script(), Script()
    look(clean)
    look(spoilt)
    spoilt.call("fd_fdstat_set_flags", spoilt.open("file", rights=64), 1)
    spoilt.open(".", oflags=DIRECTORY)
    spoilt.call("fd_close", 2)
    spoilt.call("fd_renumber", 4, 3)
    look(spoilt)
    first = play(runs, plan, clean)
    assert first[0] == [0, 0, 0, 8, 8, 0, 0]
    errnos, windows = play(runs, plan, spoilt)
    assert (errnos[:7], windows[:7]) == first
    assert (errnos[-7:], windows[-7:]) != first
    assert errnos[-6] == 8
    assert play(runs, plan, clean) == first


ECHO = guest(
    """(i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 4))
    (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (i32.store (i32.const 4) (i32.load (i32.const 8)))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (drop (call $args_sizes_get (i32.const 16) (i32.const 20))) (drop (call $args_get (i32.const 2048) (i32.const 4096)))
    (i32.store (i32.const 0) (i32.const 4096)) (i32.store (i32.const 4) (i32.load (i32.const 20)))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))""",
    uses="fd_read fd_write args_sizes_get args_get",
)


def test_arguments_and_input_are_those_of_the_run(runs):
    taking = policy(f"permissions:\n  extra_args: true\n{STDIO}")
    for given, argument in ((b"aaaa-rest", "first-and-long"), (b"bbbb", "second"), (b"", "")):
        fd = make_readable("input", given)
        os.lseek(fd, 0, os.SEEK_SET)
        try:
            done = runs.run(ECHO, taking, stdin_fd=fd, extra_args=(argument,))
        finally:
            os.close(fd)
        assert done.stdout == given[:4] + b"guest.wasm\0" + argument.encode() + b"\0"
        wait_for_spare(runs.runner)
    assert runs.run(ECHO, policy()).stdout == b"guest.wasm\0"
