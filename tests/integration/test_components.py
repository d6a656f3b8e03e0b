"""Components, run whole: under bare wasmtime and under the monitor, which must see and do the same.

Single calls are in a script that both run; resvg is a program that we did not write. What is refused has its
allowed twin beside it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import wasmtime
from wasmtime import component as wasmtime_component

from audit.receipt import OutcomeKind
from tests.component_scripts import RESULT, ComponentScript
from tests.components import engine
from tests.runs import Log, emptied, mount_rule, policy

WIDE = "resources: {limits: {instances: 64, memories: 8, memory: 64Mi}}\n"
ALL = "read, list, create, write, delete, symlink"
DIR, FILE, STREAM, OTHER = (f"(global.get ${name})" for name in ("dir", "file", "stream", "other"))
PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="5" height="4"/></svg>'


def long(value: int) -> str:
    return f"(i64.const {value})"


def begun() -> ComponentScript:
    script = ComponentScript()
    script.call("preopens.get-directories", keep="4:4")
    script.do(f"(global.set $dir (i32.load (i32.load (i32.const {RESULT}))))")
    return script


def files() -> ComponentScript:
    """Every call on files and directories, where it works and where it does not."""
    script = begun()
    call = script.call
    for path, follow in (
        (b"a.txt", 0),
        (b"sub", 0),
        (b"link", 0),
        (b"link", 1),
        (b"none", 0),
        (b"a.txt/", 0),
    ):
        call("descriptor.stat-at", DIR, follow, path, keep="8:1 16:8 56:1 64:8 72:4")
    call("descriptor.stat-at", DIR, 0, b"a.txt", keep="24:8")
    call("descriptor.stat", DIR, keep="8:1")
    call("descriptor.get-type", DIR, keep="1:1")
    for path in (b"../a.txt", b"/etc/passwd", b"out", b"out/x", b"sub/../../x"):
        call("descriptor.open-at", DIR, 1, path, 0, 1)
    call("descriptor.open-at", DIR, 0, b"a.txt", 0, 1, into="file")
    call("descriptor.get-type", FILE, keep="1:1")
    call("descriptor.get-flags", FILE, keep="1:1")
    call("descriptor.stat", FILE, keep="8:1 24:8")
    for count, at in ((5, 0), (100, 6), (10, 100), (0, 0)):
        call("descriptor.read", FILE, long(count), long(at), keep="list@4 12:1")
    call("descriptor.write", FILE, b"no", long(0))
    call("descriptor.write-via-stream", FILE, long(0), into="stream")
    call("output-stream.drop", STREAM)
    call("descriptor.read-directory", FILE)
    call("descriptor.create-directory-at", FILE, b"x")
    call("descriptor.advise", FILE, long(0), long(4), 1)
    call("descriptor.read-via-stream", FILE, long(6), into="stream")
    call("input-stream.blocking-read", STREAM, long(3), keep="list@4")
    call("input-stream.blocking-skip", STREAM, long(1), keep="8:8")
    call("input-stream.blocking-read", STREAM, long(100), keep="list@4")
    call("input-stream.blocking-read", STREAM, long(100), keep="list@4")
    call("input-stream.drop", STREAM)
    call("descriptor.drop", FILE)
    call("descriptor.open-at", DIR, 0, b"sub", 2, 1, into="file")
    call("descriptor.read-via-stream", FILE, long(0))
    call("descriptor.write-via-stream", FILE, long(0))
    call("descriptor.append-via-stream", FILE)
    call("descriptor.read", FILE, long(1), long(0))
    call("descriptor.write", FILE, b"x", long(0))
    call("descriptor.set-size", FILE, long(0))
    call("descriptor.sync", FILE)
    call("descriptor.get-flags", FILE, keep="1:1")
    call("descriptor.open-at", FILE, 0, b"b.txt", 0, 1)
    call("descriptor.read-directory", FILE, into="stream")
    call("directory-entry-stream.read-directory-entry", STREAM, keep="4:1 8:1 list@12")
    call("directory-entry-stream.read-directory-entry", STREAM, keep="4:1")
    call("directory-entry-stream.drop", STREAM)
    call("descriptor.drop", FILE)
    call("descriptor.open-at", DIR, 0, b"new.txt", 1, 3, into="file")
    call("descriptor.write", FILE, b"data", long(0), keep="8:8")
    call("descriptor.write-via-stream", FILE, long(4), into="stream")
    call("output-stream.blocking-write-and-flush", STREAM, b"more")
    call("output-stream.blocking-write-zeroes-and-flush", STREAM, long(2))
    call("output-stream.blocking-flush", STREAM)
    call("output-stream.drop", STREAM)
    call("descriptor.append-via-stream", FILE, into="stream")
    call("output-stream.blocking-write-and-flush", STREAM, b"end")
    call("output-stream.drop", STREAM)
    call("descriptor.sync", FILE)
    call("descriptor.sync-data", FILE)
    call("descriptor.stat", FILE, keep="24:8")
    call("descriptor.read", FILE, long(99), long(0), keep="list@4 12:1")
    call("descriptor.set-size", FILE, long(6))
    call("descriptor.set-times", FILE, 2, long(7), 5, 2, long(1_000), 9)
    call("descriptor.stat", FILE, keep="24:8 32:1 40:8 48:4 64:8 72:4")
    call("descriptor.set-times-at", DIR, 0, b"a.txt", 0, long(0), 0, 2, long(2_000), 1)
    call("descriptor.stat-at", DIR, 0, b"a.txt", keep="64:8 72:4")
    call("descriptor.is-same-object", FILE, FILE, keep="1:1")
    call("descriptor.is-same-object", FILE, DIR, keep="1:1")
    call("descriptor.drop", FILE)
    call("descriptor.open-at", DIR, 0, b"new.txt", 5, 3)  # exclusive
    call("descriptor.open-at", DIR, 0, b"new.txt", 2, 1)  # a directory
    call("descriptor.open-at", DIR, 0, b"new.txt", 8, 2, into="file")  # cut
    call("descriptor.stat", FILE, keep="24:8")
    call("descriptor.read", FILE, long(1), long(0))
    call("descriptor.drop", FILE)
    for path in (b"d1", b"d1", b"none/d"):
        call("descriptor.create-directory-at", DIR, path)
    call("descriptor.rename-at", DIR, b"new.txt", DIR, b"d1/moved")
    call("descriptor.rename-at", DIR, b"none", DIR, b"d1/none")
    call("descriptor.link-at", DIR, 0, b"d1/moved", DIR, b"linked")
    call("descriptor.symlink-at", DIR, b"a.txt", b"soft")
    call("descriptor.symlink-at", DIR, b"/etc", b"hard")
    call("descriptor.readlink-at", DIR, b"soft", keep="list@4")
    call("descriptor.readlink-at", DIR, b"a.txt")
    call("descriptor.unlink-file-at", DIR, b"soft")
    call("descriptor.unlink-file-at", DIR, b"none")
    call("descriptor.remove-directory-at", DIR, b"d1")
    call("descriptor.unlink-file-at", DIR, b"d1/moved")
    call("descriptor.remove-directory-at", DIR, b"d1")
    call("descriptor.unlink-file-at", DIR, b"linked")
    call("descriptor.metadata-hash", DIR)
    call("descriptor.metadata-hash-at", DIR, 0, b"none")
    return script


def others() -> ComponentScript:
    """The calls that are about no file."""
    script = begun()
    call = script.call
    call("environment.get-arguments", keep="4:4")
    call("environment.get-environment", keep="4:4")
    call("environment.initial-cwd", keep="0:1")
    for name in ("terminal-stdin.get-terminal-stdin", "terminal-stdout.get-terminal-stdout"):
        call(name, keep="0:1")
    call("terminal-stderr.get-terminal-stderr", keep="0:1")
    call("monotonic-clock.subscribe-duration", "(i64.const 1000000)", into="other")
    call("pollable.block", OTHER)
    call("pollable.ready", OTHER, keep="1:1")
    call("pollable.drop", OTHER)
    call("monotonic-clock.subscribe-instant", "(i64.const 1)", into="other")
    script.do(f"(i32.store (i32.const 2048) {OTHER})")
    call("monotonic-clock.subscribe-duration", "(i64.const 3600000000000)", into="file")
    script.do(f"(i32.store (i32.const 2052) {FILE})")
    call("poll.poll", 2048, 2, keep="4:4")
    call("pollable.ready", FILE, keep="1:1")
    call("pollable.drop", OTHER)
    call("pollable.drop", FILE)
    call("random.get-random-bytes", long(33), keep="4:4")
    call("insecure.get-insecure-random-bytes", long(7), keep="4:4")
    call("random.get-random-u64")
    call("insecure.get-insecure-random-u64")
    call("insecure-seed.insecure-seed")
    call("monotonic-clock.now")
    call("monotonic-clock.resolution")
    call("wall-clock.now")
    call("wall-clock.resolution")
    call("stdin.get-stdin", into="stream")
    call("input-stream.subscribe", STREAM, into="other")
    call("pollable.block", OTHER)
    call("pollable.drop", OTHER)
    call("input-stream.blocking-read", STREAM, long(9), keep="list@4")
    call("input-stream.blocking-read", STREAM, long(9), keep="list@4")
    call("input-stream.drop", STREAM)
    call("stderr.get-stderr", into="stream")
    call("output-stream.subscribe", STREAM, into="other")
    call("pollable.block", OTHER)
    call("pollable.drop", OTHER)
    call("output-stream.blocking-write-and-flush", STREAM, b"told\n")
    call("output-stream.drop", STREAM)
    return script


def made(folder: Path) -> Path:
    """A folder with something in it, the same each time."""
    emptied(folder)
    (folder / "a.txt").write_text("hello world")
    (folder / "sub").mkdir()
    (folder / "sub" / "b.txt").write_text("b")
    (folder / "link").symlink_to("a.txt")
    (folder / "out").symlink_to("..")
    for path in ("a.txt", "sub/b.txt", "sub", "."):
        os.utime(folder / path, ns=(10**9, 1_500_000_000_123_456_789))
    os.utime(folder / "link", ns=(10**9, 10**18), follow_symlinks=False)
    return folder


def bare(data: bytes, folder: Path, stdin: Path) -> bytes:
    """What a component says under the engine alone."""
    out = folder.parent / "out"
    config = wasmtime.WasiConfig()
    config.argv = ["guest.wasm"]
    config.stdin_file, config.stdout_file = str(stdin), str(out)
    config.preopen_dir(str(folder), "/d")
    store = wasmtime.Store(engine())
    store.set_wasi(config)
    linker = wasmtime_component.Linker(engine())
    linker.add_wasip2()
    instance = linker.instantiate(store, wasmtime_component.Component(engine(), data))
    interface = instance.get_export_index(store, "wasi:cli/run@0.2.6")
    index = instance.get_export_index(store, "run", interface)
    run = instance.get_func(store, index)
    assert run(store).tag == "ok"
    return out.read_bytes()


@pytest.mark.parametrize("make", [files, others])
def test_a_component_sees_under_the_monitor_what_it_sees_without(shared: Log, tmp_path: Path, make) -> None:
    script = make()
    data = script.component()
    stdin = tmp_path / "stdin"
    stdin.write_bytes(b"input")
    alone = bare(data, made(tmp_path / "bare"), stdin)
    folder = made(tmp_path / "ours")
    text = (
        mount_rule(folder, ALL).replace("permissions:\n", "permissions:\n  stdio: {stdin: caller}\n") + WIDE
    )
    with stdin.open("rb") as file:
        execution = shared.run(data, policy(text), stdin_fd=file.fileno())
    assert execution.receipt.outcome.kind is OutcomeKind.EXITED, execution.receipt.outcome
    assert script.told(execution.stdout) == script.told(alone)
    assert len(script.told(alone)) == len(script.names)
    rows = shared.check(execution)
    # what leads out of the folder is refused by both, and here there is a rule that says so
    refused = {(str(row["decision"]), str(row["rule_id"])) for row in rows if row["decision"] != "allow"}
    assert refused <= {("deny", "beneath")}
    # each call is there, in order, by its own name
    names = [str(row["call"]).partition(".")[2] for row in rows]
    asked = iter(names)
    assert all(name in asked for name in script.names)
