"""A second process swaps what lies behind a name for a link that leads out, against a guest that opens it.

It swaps two names in one step, as fast as it can, while the guest opens and reads. INVARIANT: what the guest
reads is what lies in its mount, or nothing.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from audit.receipt import OutcomeKind
from tests.runs import Log, guest, mount_rule, open_log, policy

EXCHANGE = 2  # SPEC: renameat2(2), RENAME_EXCHANGE
SWAPPER = f"""
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
one, other = (path.encode() for path in sys.argv[1:])
print("ready", flush=True)
while libc.renameat2(-100, one, -100, other, {EXCHANGE}) == 0:
    pass
sys.exit(ctypes.get_errno())
"""
IN, OUT = b"inside", b"secret"


def reader(path: str, times: int) -> bytes:
    """A guest that opens a path again and again: it writes `S` for each secret, `i` for each 100 it may read."""
    name = "".join(f"\\{byte:02x}" for byte in path.encode())
    return guest(
        f"""(local $left i32) (local $fd i32) (local $read i32)
        (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 8))
        (i32.store (i32.const 16) (i32.const 72)) (i32.store (i32.const 20) (i32.const 1))
        (local.set $left (i32.const {times}))
        (loop $l
          (if (i32.eqz (call $path_open (i32.const 3) (i32.const 1) (i32.const 900) (i32.const {len(path)})
                 (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 32)))
            (then
              (local.set $fd (i32.load (i32.const 32)))
              (i32.store8 (i32.const 64) (i32.const 0))
              (drop (call $fd_read (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 36)))
              (if (i32.eq (i32.load8_u (i32.const 64)) (i32.const {OUT[0]})) (then
                (i32.store8 (i32.const 72) (i32.const 83))
                (drop (call $fd_write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 40)))))
              (if (i32.eq (i32.load8_u (i32.const 64)) (i32.const {IN[0]})) (then
                (local.set $read (i32.add (local.get $read) (i32.const 1)))
                (if (i32.eqz (i32.rem_u (local.get $read) (i32.const 100))) (then
                  (i32.store8 (i32.const 72) (i32.const 105))
                  (drop (call $fd_write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 40)))))))
              (drop (call $fd_close (local.get $fd)))))
          (br_if $l (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))""",
        uses="path_open fd_read fd_write fd_close",
        fields=f'(data (i32.const 900) "{name}")',
    )


@contextmanager
def swapping(one: Path, other: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", SWAPPER, str(one), str(other)], stdout=subprocess.PIPE, text=True
    )
    try:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise AssertionError("the swapper did not start")
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def file_and_link(mount: Path, outside: Path) -> str:
    (mount / "x").write_bytes(IN)
    (mount / "y").symlink_to(outside / "f")
    return "x"


def folder_and_link(mount: Path, outside: Path) -> str:
    (mount / "x").mkdir()
    (mount / "x/f").write_bytes(IN)
    (mount / "y").symlink_to(outside)
    return "x/f"


def file_and_climbing_link(mount: Path, outside: Path) -> str:
    (mount / "x").write_bytes(IN)
    (mount / "y").symlink_to(f"../{outside.name}/f")
    return "x"


KINDS = [file_and_link, folder_and_link, file_and_climbing_link]
# rules that split the mount, and rules that do not, are looked up in different ways
RULES = ["", '    deny:\n      - {id: never, uri: "fs://MOUNT/never/**", access: [read]}\n']
MORE = "resources: {limits: {host_calls: unlimited, stdout: unlimited, timeout: TIME, cpu: unlimited}}\naudit: {level: counts}\n"


@pytest.fixture
def places(tmp_path) -> tuple[Path, Path]:
    mount, outside = Path(tmp_path) / "mount", Path(tmp_path) / "outside"
    for folder in (mount, outside):
        folder.mkdir()
    (outside / "f").write_bytes(OUT)
    return mount, outside


def race(log: Log, module: bytes, places: tuple[Path, Path], rule: str, time: str) -> OutcomeKind:
    mount, outside = places
    text = mount_rule(mount, "read, list") + rule.replace("MOUNT", str(mount)) + MORE.replace("TIME", time)
    with swapping(mount / "x", mount / "y") as swapper:
        done = log.run(module, policy(text))
        assert swapper.poll() is None  # it swapped to the end
    assert b"S" not in done.stdout
    assert b"i" in done.stdout
    assert (outside / "f").read_bytes() == OUT
    counts = {(one.call, one.decision): one.count for one in done.receipt.calls}
    assert done.receipt.records == sum(counts.values())
    return done.receipt.outcome.kind


@pytest.mark.parametrize("rule", RULES, ids=["whole", "split"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_name_that_is_swapped_for_a_link_never_leads_out(kind, rule, places, tmp_path, cache):
    log = open_log(tmp_path, cache)
    try:
        module = reader(kind(*places), 3_000)
        assert race(log, module, places, rule, "60s") is OutcomeKind.EXITED
    finally:
        log.close()


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("rule", RULES, ids=["whole", "split"])
@pytest.mark.parametrize("kind", KINDS)
def test_for_thirty_seconds_a_name_that_is_swapped_never_leads_out(kind, rule, places, tmp_path, cache):
    log = open_log(tmp_path, cache)
    try:
        module = reader(kind(*places), 2_000_000_000)
        assert race(log, module, places, rule, "30s") is OutcomeKind.LIMIT
    finally:
        log.close()
