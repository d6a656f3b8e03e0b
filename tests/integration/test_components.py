"""Components, run whole: under bare wasmtime and under the monitor, which must see and do the same.

Single calls are in a script that both run; resvg is a program that we did not write. What is refused has its
allowed twin beside it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import wasmtime

from api.evidence import columns_of
from audit.filters import RecordFilter
from audit.query import AuditReader
from audit.receipt import OutcomeKind
from policy.decide import decide
from policy.decisions import Deny, UnknownCallError
from policy.plan import Right
from policy.simulate import simulate
from sandbox.component_admission import MAX_EDGES
from sandbox.monitor.decode import decode
from sandbox.runner import Execution
from tests.component_scripts import RESULT, ComponentScript
from tests.components import real_components, run_bare
from tests.runs import FOREVER, Log, emptied, limit, mount_rule, policy
from tests.unit.test_sandbox_component_parts import allocating
from tests.wasi2 import command

DIFFERENT = ("descriptor.sync", b"\x01\x1b")  # of a folder: WASI 0.1 has no way, and the guest is told so
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


def files() -> ComponentScript:  # noqa: PLR0915  # a list
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


def bare(data: bytes, folder: Path, stdin: Path, *arguments: str) -> bytes:
    """What a component says under the engine alone."""
    out = folder.parent / "out"
    config = wasmtime.WasiConfig()
    config.argv = ["guest.wasm", *arguments]
    config.stdin_file, config.stdout_file = str(stdin), str(out)
    config.preopen_dir(str(folder), "/d")
    run_bare(data, config)
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
    ours, theirs = script.told(execution.stdout), script.told(alone)
    assert len(ours) == len(theirs) == len(script.names)
    differing = [one for one, other in zip(ours, theirs, strict=True) if one != other]
    assert differing == ([DIFFERENT] if make is files else [])
    rows = shared.check(execution)
    # what leads out of the folder is refused by both, and here there is a rule that says so
    refused = {(str(row["decision"]), str(row["rule_id"])) for row in rows if row["decision"] != "allow"}
    assert refused <= {("deny", "beneath")}
    # each call is there, in order, by its own name
    names = [str(row["call"]).partition(".")[2] for row in rows]
    asked = iter(names)
    assert all(name in asked for name in script.names)


def resvg() -> bytes:
    return real_components()["resvg"].read_bytes()


def picture_policy(folder: Path, *, access: str = "read, list, create, write", more: str = "") -> str:
    return mount_rule(folder, access) + more + WIDE


def drawing(log: Log, folder: Path, text: str) -> Execution:
    (folder / "p.svg").write_text(PICTURE)
    return log.run(resvg(), policy(text), extra_args=("/d/p.svg", "/d/p.png"))


def test_a_program_that_we_did_not_write_draws_what_it_draws_without_us(shared: Log, tmp_path: Path) -> None:
    alone = emptied(tmp_path / "bare")
    (alone / "p.svg").write_text(PICTURE)
    bare(resvg(), alone, Path(os.devnull), "/d/p.svg", "/d/p.png")
    folder = emptied(tmp_path / "ours")
    execution = drawing(shared, folder, picture_policy(folder))
    assert execution.receipt.outcome.exit_code == 0
    assert (folder / "p.png").read_bytes() == (alone / "p.png").read_bytes()
    rows = shared.check(execution)
    # a stream is told by the file that it came from
    read = [row for row in rows if str(row["call"]) == "wasi:io/streams.input-stream.blocking-read"]
    assert {str(row["target"]) for row in read} == {str(folder / "p.svg")}
    assert sum(int(row["bytes_in"] or 0) for row in read) == len(PICTURE)
    assert {str(row["rule_id"]) for row in read} == {"d"}


@pytest.mark.parametrize(
    ("access", "calls"),
    [
        ("list, create, write", {"descriptor.open-at", "descriptor.readlink-at"}),
        ("read, list, create", {"descriptor.open-at"}),
        ("read, list, write", {"descriptor.open-at"}),
    ],
)
def test_each_right_taken_away_is_refused_and_named(
    shared: Log, tmp_path: Path, access: str, calls: set[str]
) -> None:
    folder = emptied(tmp_path / "ours")
    execution = drawing(shared, folder, picture_policy(folder, access=access))
    assert execution.receipt.outcome.exit_code == 1
    assert not (folder / "p.png").exists()
    denied = [row for row in shared.check(execution) if row["decision"] == "deny"]
    assert {str(row["call"]).partition(".")[2] for row in denied} == calls
    assert {str(row["rule_id"]) for row in denied} == {"default"}
    assert {one.call for one in execution.receipt.refusals} == calls


def test_without_a_mount_or_a_clock_there_is_nothing_to_draw(shared: Log, tmp_path: Path) -> None:
    folder = emptied(tmp_path / "ours")
    assert drawing(shared, folder, WIDE).receipt.outcome.exit_code == 1
    no_clock = picture_policy(folder).replace("permissions:\n", "permissions:\n  clocks: {monotonic: none}\n")
    execution = drawing(shared, folder, no_clock)
    # a clock has no way to say no: the program ends there, and the record says why
    assert execution.receipt.outcome.kind is OutcomeKind.TRAPPED
    last = shared.check(execution)[-1]
    assert (last["call"], last["decision"]) == ("wasi:clocks/monotonic-clock.monotonic-clock.now", "deny")
    assert last["rule_id"] == "clocks.monotonic"


def test_a_component_that_fails_exits_with_1(shared: Log) -> None:
    assert shared.run(command("(i32.const 0)", uses="")).receipt.outcome.exit_code == 0
    outcome = shared.run(command("(i32.const 1)", uses="")).receipt.outcome
    assert (outcome.kind, outcome.exit_code) == (OutcomeKind.EXITED, 1)
    for status in (0, 1):
        body = f"(call $exit.exit (i32.const {status})) (unreachable)"
        assert shared.run(command(body, uses="exit.exit")).receipt.outcome.exit_code == status
    body = "(call $exit.exit-with-code (i32.const 42)) (unreachable)"
    assert shared.run(command(body, uses="exit.exit-with-code")).receipt.outcome.exit_code == 42


TEN = """(local $n i32) (local.set $n (i32.const 10))
(loop $more (drop (call $random.get-random-u64))
  (local.set $n (i32.sub (local.get $n) (i32.const 1))) (br_if $more (local.get $n)))"""


def test_records_outlive_a_trap(shared: Log) -> None:
    execution = shared.run(command(f"{TEN} (unreachable)", uses="random.get-random-u64"))
    assert execution.receipt.outcome.kind is OutcomeKind.TRAPPED
    assert len(shared.check(execution)) == 10


def test_records_outlive_a_kill(shared: Log) -> None:
    body = (
        f"{TEN} (call $pollable.block (call $monotonic-clock.subscribe-duration (i64.const 3600000000000)))"
    )
    uses = "random.get-random-u64 pollable.block monotonic-clock.subscribe-duration"
    plan = policy("resources: {limits: {timeout: 1s}}\n")
    execution = shared.run(command(f"{body} (i32.const 0)", uses=uses), plan)
    assert execution.receipt.outcome.limit == "timeout"
    rows = shared.check(execution)
    names = [str(row["call"]).partition(".")[2] for row in rows]
    assert names == ["random.get-random-u64"] * 10 + ["monotonic-clock.subscribe-duration", "pollable.block"]
    assert [row["stage"] for row in rows][-2:] == [1, 2]  # the last one never returned


def test_limits_hold_for_components(shared: Log) -> None:
    plan = policy("resources: {limits: {host_calls: 7}}\n")
    execution = shared.run(command(f"{TEN} (i32.const 0)", uses="random.get-random-u64"), plan)
    assert execution.receipt.outcome == limit("host_calls")
    assert len(shared.check(execution)) == 8
    spinning = policy("resources: {limits: {cpu: 100ms}}\n")
    assert shared.run(command(f"{FOREVER} (i32.const 0)", uses=""), spinning).receipt.outcome == limit("cpu")
    noted = """(local $n i32) (local.set $n (call $stdout.get-stdout))
      (loop $more (call $output-stream.check-write (local.get $n) (i32.const 64)) (br $more)) (i32.const 0)"""
    uses = "stdout.get-stdout output-stream.check-write"
    execution = shared.run(command(noted, uses=uses), plan)
    assert execution.receipt.outcome == limit("host_calls")


HOSTILE = {
    "a handle that nobody gave": ("(call $descriptor.drop (i32.const 5))", "descriptor.drop"),
    "a handle of another resource": (
        "(call $descriptor.drop (call $stdin.get-stdin))",
        "descriptor.drop stdin.get-stdin",
    ),
    "a handle twice": (
        """(local $h i32) (local.set $h (call $stdin.get-stdin)) (call $input-stream.drop (local.get $h))
        (call $input-stream.drop (local.get $h))""",
        "input-stream.drop stdin.get-stdin",
    ),
    "a list behind the memory": (
        "(call $output-stream.write (call $stdout.get-stdout) (i32.const 524280) (i32.const 9) (i32.const 64))",
        "output-stream.write stdout.get-stdout",
    ),
    "a list of all there is and more": (
        "(call $output-stream.write (call $stdout.get-stdout) (i32.const 0) (i32.const -1) (i32.const 64))",
        "output-stream.write stdout.get-stdout",
    ),
    "a result behind the memory": (
        "(call $output-stream.check-write (call $stdout.get-stdout) (i32.const 524280))",
        "output-stream.check-write stdout.get-stdout",
    ),
    "a result that is not aligned": (
        "(call $output-stream.check-write (call $stdout.get-stdout) (i32.const 65))",
        "output-stream.check-write stdout.get-stdout",
    ),
    "more than was permitted": (
        """(call $output-stream.blocking-write-and-flush (call $stdout.get-stdout) (i32.const 0)
        (i32.const 4097) (i32.const 64))""",
        "output-stream.blocking-write-and-flush stdout.get-stdout",
    ),
    "pollables of which there is none": (
        "(call $poll.poll (i32.const 0) (i32.const 0) (i32.const 64))",
        "poll.poll",
    ),
    "more pollables than an address can reach": (
        "(call $poll.poll (i32.const 0) (i32.const 0x40000001) (i32.const 64))",
        "poll.poll",
    ),
    "a pollable that is none": (
        """(i32.store (i32.const 128) (call $stdin.get-stdin))
        (call $poll.poll (i32.const 128) (i32.const 1) (i32.const 64))""",
        "poll.poll stdin.get-stdin",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_no_honest_component_does_ends_it_and_nothing_else(shared: Log, what: str) -> None:
    body, uses = HOSTILE[what]
    execution = shared.run(command(f"{body} (i32.const 0)", uses=uses))
    assert execution.receipt.outcome.kind is OutcomeKind.TRAPPED
    shared.check(execution)


def test_a_component_cannot_call_its_host_while_it_makes_room(shared: Log) -> None:
    # the allocator is the guest's own: here it asks for random bytes, which need room again
    uses = "environment.get-arguments random.get-random-u64"
    honest = command("(call $environment.get-arguments (i32.const 64)) (i32.const 0)", uses=uses)
    assert shared.run(honest).receipt.outcome.exit_code == 0
    execution = shared.run(reentrant())
    assert execution.receipt.outcome.kind is OutcomeKind.TRAPPED
    names = {str(row["call"]).partition(".")[2] for row in shared.check(execution)}
    assert names == {"environment.get-arguments"}


def reentrant() -> bytes:
    """A component whose allocator makes a host call."""
    return bytes(
        wasmtime.wat2wasm("""(component
  (import "wasi:cli/environment@0.2.0" (instance $e
    (export "get-arguments" (func (result (list string))))))
  (import "wasi:random/random@0.2.0" (instance $r (export "get-random-u64" (func (result u64)))))
  (alias export $e "get-arguments" (func $get))
  (alias export $r "get-random-u64" (func $random))
  (core func $core-random (canon lower (func $random)))
  (core instance $given (export "random" (func $core-random)))
  (core module $Libc
    (import "w" "random" (func $random (result i64)))
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (drop (call $random)) (i32.const 1024)))
  (core instance $libc (instantiate $Libc (with "w" (instance $given))))
  (alias core export $libc "memory" (core memory $memory))
  (alias core export $libc "realloc" (core func $realloc))
  (core func $core-get (canon lower (func $get) (memory (core memory $memory))
    (realloc (core func $realloc))))
  (core instance $w (export "get" (func $core-get)))
  (core module $Main
    (import "w" "get" (func $get (param i32)))
    (func (export "run") (result i32) (call $get (i32.const 64)) (i32.const 0)))
  (core instance $main (instantiate $Main (with "w" (instance $w))))
  (alias core export $main "run" (core func $run))
  (func $lifted (result (result)) (canon lift (core func $run)))
  (instance $exported (export "run" (func $lifted)))
  (export "wasi:cli/run@0.2.0" (instance $exported)))""")
    )


def test_a_call_of_a_component_is_explained_and_replayed_as_the_one_behind_it(
    shared: Log, tmp_path: Path
) -> None:
    folder = emptied(tmp_path / "ours")
    plan = policy(picture_policy(folder))
    for target, wants in (("/d/p.svg", Right.READ), ("/d/p.png", Right.WRITE), ("/d/p.png", Right.DELETE)):
        found = decide(plan, "descriptor.open-at", target=target, wants=wants)
        assert found == decide(plan, "path_open", target=target, wants=wants)
    assert isinstance(decide(plan, "descriptor.unlink-file-at", target="/d/p.png"), Deny)
    with pytest.raises(UnknownCallError):
        decide(plan, "descriptor.open", target="/d/p.png")
    execution = drawing(shared, folder, picture_policy(folder))
    shared.check(execution)
    reader = AuditReader(shared.root, decode)
    try:
        columns = columns_of(reader, RecordFilter(execution=execution.receipt.execution_id))
    finally:
        reader.close()
    same = simulate(plan, columns)
    assert (same.records, same.newly_refused, same.unknown) == (execution.receipt.records, 0, 0)
    narrower = simulate(policy(picture_policy(folder, access="read, list")), columns)
    refused = {change.call for change in narrower.changes if change.is_refusal}
    assert refused == {"path_open", "fd_write"}


def test_as_many_edges_as_are_taken_run(shared: Log) -> None:
    assert shared.run(allocating(MAX_EDGES)).receipt.outcome.exit_code == 0
