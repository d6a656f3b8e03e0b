"""Under a plan that refuses nothing, each host call behaves as under bare wasmtime, byte for byte.

What is run is `tests/sequences.py`. Both runs start from the same tree at the same place, and what the guest saw, what
it printed and the tree that it left are compared. What the world decides anew in each run is masked, below.
"""

from __future__ import annotations

import os
import stat
import struct
import time
from pathlib import Path

import pytest

from policy.calls import CALLS
from sandbox.engine_wasmtime import EndKind
from sandbox.monitor.layout import IN_FLIGHT, Decision
from tests.guests import Script, Seen
from tests.machines import Outcome, allow_all, run_bare, run_watched
from tests.sequences import SEQUENCES, TRAPS, Builder, plant

STDIN = b"from the caller"
DAY_NS = 86_400 * 10**9

# Where the monitor answers otherwise on purpose: sequence, and the calls in it that may differ. Each has its reason in
# docs/reference/monitor.md under "Where it differs from the engine alone".
DEVIATIONS: dict[str, frozenset[int]] = {}


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
    for path in sorted(top.rglob("*")):
        status = path.lstat()
        modified = 0 if abs(status.st_mtime_ns - time.time_ns()) < DAY_NS else status.st_mtime_ns
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        target = os.readlink(path) if path.is_symlink() else ""
        found[str(path.relative_to(top))] = (status.st_mode, status.st_nlink, status.st_size, modified, content, target)
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
                if isinstance(a, int) and isinstance(b, int) and 64 <= a < 65_536 and 0 < b < 6_000 and call.name.startswith("path_")
            ]
            found.append(f"{index} {call.name}{call.arguments} {text[:2]}: bare {masked(one)}, monitored {masked(other)}")
    return found


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_call_behaves_as_it_does_without_the_monitor(name, tmp_path):
    script, (bare, bare_tree), (watched, watched_tree) = both(SEQUENCES[name], tmp_path / "top")
    allowed = DEVIATIONS.get(name, frozenset())
    assert [line for line in differences(script, bare, watched) if int(line.split()[0]) not in allowed] == []
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
