"""Under a plan that refuses nothing, each host call behaves as under bare wasmtime, byte for byte.

What is run is `tests/sequences.py`. Both runs start from the same tree at the same place, and what the guest saw, what
it printed and the tree that it left are compared. What the world decides anew in each run is masked, below.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given

from policy.calls import CALLS
from sandbox import engine_wasmtime as engine
from sandbox.engine_wasmtime import EndKind
from sandbox.monitor.layout import IN_FLIGHT, Decision
from tests.guests import END_OF_MEMORY, Script, Seen, script_text
from tests.machines import GUEST_NAME, Outcome, allow_all, run_bare, run_watched
from tests.runs import exited
from tests.sequences import CREAT, DIRECTORY, SEQUENCES, TRAPS, Builder, plant, random_sequences

STDIN = b"from the caller"
DAY_NS = 86_400 * 10**9
PAGE = Path(__file__).parents[2] / "docs/reference/monitor.md"


def _long(s: Script) -> None:
    s.stat("./" * 2_046 + "file")
    s.on("path_unlink_file", "./" * 2_046 + "file")
    s.stat("z/" * 2_048)


def _climbing(s: Script) -> None:
    s.stat("to_deep/../../file")
    s.stat("missing/../../x")
    s.stat("file/../../x")


def _escaping(s: Script) -> None:
    s.call("path_filestat_set_times", 3, 0, *s.text("../x"), 0, 0, 3)
    s.link("../x", "y", flags=1)
    s.open("../x", oflags=CREAT | DIRECTORY)


def _unknown(s: Script) -> None:
    s.call("fd_read", 99, s.out(8), 64, 64)
    s.call("fd_filestat_set_times", 99, 0, 0, 3)
    s.call("fd_write", 99, END_OF_MEMORY, 1, 64)


# Where the monitor answers otherwise on purpose, what bare wasmtime answers (it traps at the end of the last one), and
# what the monitor does. Each has its reason, under its name, in docs/reference/monitor.md. There are no others.
DEVIATIONS: dict[str, tuple[Builder, list[int], list[int]]] = {
    "path-length": (_long, [37, 0, 37], [37, 37, 37]),
    "climbing": (_climbing, [0, 44, 54], [63, 63, 63]),
    "escape-first": (_escaping, [28, 28, 28], [63, 63, 63]),
    "unknown-first": (_unknown, [48, 28], [8, 8, 8]),
}


def masked(seen: Seen) -> Seen:
    """What the guest saw, without what no two runs have in common."""
    window = bytearray(seen.window)
    if seen.errno == 0 and seen.name in {"path_filestat_get", "fd_filestat_get"} and len(window) == 64:
        window[8:16] = bytes(8)  # the inode: the tree is made anew for each run
        for at in (40, 48, 56):
            moment = struct.unpack_from("<Q", window, at)[0]
            if abs(moment - time.time_ns()) < DAY_NS:  # a time that was not set, but taken from the clock
                window[at : at + 8] = bytes(8)
    if seen.errno == 0 and seen.name == "fd_readdir" and len(window) > 8:
        end = min(8 + struct.unpack_from("<I", window)[0], len(window))
        at = 8
        while at + 16 <= end:
            window[at + 8 : at + 16] = bytes(8)  # inodes, as above
            at += 24 + (struct.unpack_from("<I", window, at + 16)[0] if at + 20 <= end else 0)
        if at + 8 < end:
            window[at + 8 : end] = bytes(end - at - 8)
    if seen.errno == 0 and seen.name == "clock_time_get":
        window[:] = bytes(len(window))  # time goes on
    return Seen(seen.name, seen.errno, bytes(window))


def tree(top: Path) -> dict[str, tuple[object, ...]]:
    """Names, types, contents and the times that were set."""
    found: dict[str, tuple[object, ...]] = {}
    # not `rglob`: in older Pythons it fails at a link whose text is longer than a path may be
    walked = (Path(folder, name) for folder, *inner in os.walk(top) for names in inner for name in names)
    for path in sorted(walked):
        status = path.lstat()
        modified = 0 if abs(status.st_mtime_ns - time.time_ns()) < DAY_NS else status.st_mtime_ns
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        target = str(path.readlink()) if path.is_symlink() else ""
        found[str(path.relative_to(top))] = (
            status.st_mode,
            status.st_nlink,
            status.st_size,
            modified,
            content,
            target,
        )
    return found


def both(build: Builder, top: Path):
    """Run a sequence twice, and give each outcome with the tree it left."""
    script = Script()
    build(script)
    roots = plant(top)
    plan = allow_all(*roots)
    bare = run_bare(script, plan, stdin=STDIN)
    bare_tree = tree(top)
    plant(top)
    watched = run_watched(script, plan, stdin=STDIN)
    return script, (bare, bare_tree), (watched, tree(top))


def differences(script: Script, bare: Outcome, watched: Outcome) -> list[str]:
    found = []
    for index, (one, other) in enumerate(zip(bare.seen, watched.seen, strict=False)):
        if masked(one) != masked(other):
            call = script.calls[index]
            text = [
                bytes(script.memory[a : a + b])[:80]
                for a, b in zip(call.arguments, call.arguments[1:], strict=False)
                if isinstance(a, int)
                and isinstance(b, int)
                and 64 <= a < 65_536
                and 0 < b < 6_000
                and call.name.startswith("path_")
            ]
            found.append(
                f"{index} {call.name}{call.arguments} {text[:2]}: bare {masked(one)}, monitored {masked(other)}"
            )
    return found


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_call_behaves_as_it_does_without_the_monitor(name, tmp_path):
    script, (bare, bare_tree), (watched, watched_tree) = both(SEQUENCES[name], tmp_path / "top")
    assert differences(script, bare, watched) == []
    assert len(bare.seen) == len(watched.seen)
    assert (bare.end, bare.exit_code, bare.stdout, bare.stderr) == (
        watched.end,
        watched.exit_code,
        watched.stdout,
        watched.stderr,
    )
    assert bare_tree == watched_tree
    assert len(watched.records) == len(watched.seen) + (len(watched.seen) < len(script.calls))


@pytest.mark.parametrize("name", TRAPS)
def test_a_call_that_traps_does_so_under_the_monitor_and_stays_in_flight(name, tmp_path):
    script, (bare, bare_tree), (watched, watched_tree) = both(TRAPS[name], tmp_path / "top")
    assert bare.end is EndKind.TRAPPED
    assert watched.end is EndKind.TRAPPED
    assert differences(script, bare, watched) == []
    assert len(bare.seen) == len(watched.seen) == 2
    assert bare_tree == watched_tree
    assert [record.errno for record in watched.records][2:] == [IN_FLIGHT]
    assert watched.records[-1].decision is Decision.ALLOW


@pytest.mark.parametrize("name", DEVIATIONS)
def test_it_differs_on_purpose_as_the_page_says(name, tmp_path):
    build, bare_errnos, errnos = DEVIATIONS[name]
    _, (bare, _), (watched, _) = both(build, tmp_path / "top")
    assert bare.errnos == bare_errnos
    assert watched.errnos == errnos
    assert f"**{name}**" in PAGE.read_text(encoding="utf-8")


def test_the_page_lists_no_other_difference():
    section = PAGE.read_text(encoding="utf-8").partition("\n## Where it differs")[2].partition("\n## ")[0]
    assert set(re.findall(r"^- \*\*([a-z-]+)\*\*", section, re.MULTILINE)) == {*DEVIATIONS, "start-section"}


@given(random_sequences())
def test_random_calls_behave_as_they_do_without_the_monitor(tmp_path_factory, build):
    top = tmp_path_factory.mktemp("random") / "top"
    script, (bare, bare_tree), (watched, watched_tree) = both(build, top)
    assert differences(script, bare, watched) == []
    assert len(bare.seen) == len(watched.seen) == len(watched.records)
    assert bare_tree == watched_tree
    assert (bare.stdout, bare.stderr) == (watched.stdout, watched.stderr)


WHOLE_WAY = (
    "arguments_and_environment",
    "reads",
    "appends",
    "renames",
    "symlinks",
    "times",
    "opening_below_an_open_directory",
    "waiting",
)


@pytest.mark.parametrize("name", WHOLE_WAY)
def test_it_behaves_so_the_whole_way_through_supervisor_and_cell(name, tmp_path, shared):
    top, script = tmp_path / "top", Script()
    SEQUENCES[name](script)
    plan = allow_all(*plant(top))
    bare = run_bare(script, plan, stdin=STDIN)
    bare_tree = tree(top)
    plant(top)
    stdin = os.memfd_create("stdin")
    os.pwrite(stdin, STDIN, 0)
    try:
        execution = shared.run(
            engine.wat_to_wasm(script_text(script.segments())), plan, module_name=GUEST_NAME, stdin_fd=stdin
        )
    finally:
        os.close(stdin)
    assert execution.receipt.outcome == exited()
    assert execution.stdout.startswith(bare.stdout)
    whole = replace(bare, seen=script.seen(execution.stdout[len(bare.stdout) :]))
    assert differences(script, bare, whole) == []
    assert len(whole.seen) == len(bare.seen)
    assert execution.stderr == bare.stderr
    assert tree(top) == bare_tree
    assert len(shared.check(execution)) == len(bare.seen) + 1


# These cannot fail, or cannot succeed, whatever they are asked.
NEVER_FAIL = {
    "args_get",
    "args_sizes_get",
    "environ_get",
    "environ_sizes_get",
    "random_get",
    "sched_yield",
    "proc_exit",
}
NEVER_SUCCEED = {"fd_allocate", "fd_fdstat_set_rights", "proc_exit", "proc_raise"} | {
    call.name for call in CALLS if call.name.startswith("sock_") and not call.is_extension
}


def test_each_call_succeeds_and_fails_somewhere_in_the_sequences(tmp_path):
    # bare, there are no others: what the engine does not have is tried in test_sockets.py
    seen: dict[str, set[int]] = {call.name: set() for call in CALLS if not call.is_extension}
    top = tmp_path / "top"
    for build in SEQUENCES.values():
        script = Script()
        build(script)
        roots = plant(top)
        for one in run_bare(script, allow_all(*roots), stdin=STDIN).seen:
            seen[one.name].add(one.errno)
    assert {name for name, errnos in seen.items() if 0 not in errnos} == NEVER_SUCCEED
    assert {name for name, errnos in seen.items() if not errnos - {0}} == NEVER_FAIL
