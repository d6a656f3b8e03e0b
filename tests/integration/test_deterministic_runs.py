"""Deterministic runs: one digest for one input on every run and with each engine, and another for another input.

The guests ask for everything that differs from run to run elsewhere: bits of NaNs, fused arithmetic, time, waits,
random bytes, numbers and times of files.
"""

from __future__ import annotations

import os
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from policy import Plan
from policy.plan import VIRTUAL_MONOTONIC_NS, VIRTUAL_WALL_NS, Engine, Isolation
from sandbox.runner import Execution
from tests.runs import (
    FOREVER,
    HELLO,
    Log,
    emptied,
    exited,
    guest,
    limit,
    mount_rule,
    open_log,
    policy,
    text_data,
)

ALWAYS = "runtime: {deterministic: true}\n"
OUT = 4_096
HOUR = 3_600 * 10**9
CANONICAL = 0x7FF8_0000_0000_0000


def printing(body: str, size: int, *, uses: str = "", fields: str = "") -> bytes:
    """A guest that prints `size` bytes from `OUT` on after `body`."""
    end = f"""(i32.store (i32.const 0) (i32.const {OUT})) (i32.store (i32.const 4) (i32.const {size}))
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))"""
    return guest(body + end, uses=f"{uses} fd_write", fields=fields)


def time_to(at: int, clock: int) -> str:
    return f"(drop (call $clock_time_get (i32.const {clock}) (i64.const 0) (i32.const {at})))"


def subscribe(at: int, clock: int, timeout: int, *, is_absolute: bool = False, userdata: int = 0) -> str:
    """A subscription to a clock."""
    return f"""(i64.store (i32.const {at}) (i64.const {userdata})) (i32.store8 (i32.const {at + 8}) (i32.const 0))
      (i32.store (i32.const {at + 16}) (i32.const {clock})) (i64.store (i32.const {at + 24}) (i64.const {timeout}))
      (i32.store16 (i32.const {at + 40}) (i32.const {int(is_absolute)}))"""


def poll(count: int, *, out: int = 256, result: int = 512) -> str:
    return (
        f"""(call $poll_oneoff (i32.const 64) (i32.const {out}) (i32.const {count}) (i32.const {result}))"""
    )


NANS = f"""
  (f64.store (i32.const {OUT}) (f64.div (f64.const 0) (f64.const 0)))
  (f64.store (i32.const {OUT + 8}) (f64.sub (f64.const inf) (f64.const inf)))
  (f64.store (i32.const {OUT + 16})
    (f64.add (f64.reinterpret_i64 (i64.const 0xfff8000000000123)) (f64.const 1)))
  (f64.store (i32.const {OUT + 24}) (f64.sqrt (f64.const -1)))
  (v128.store (i32.const {OUT + 32}) (f32x4.relaxed_madd (f32x4.splat (f32.const 0x1.000002p0))
    (f32x4.splat (f32.const 0x1.000002p0)) (f32x4.splat (f32.const -0x1.000004p0))))
"""
TIMES = f"""
  {time_to(OUT + 48, 0)} {time_to(OUT + 56, 1)} {time_to(OUT + 64, 0)}
  {subscribe(64, 1, HOUR)} (i32.store (i32.const {OUT + 72}) {poll(1)}) {time_to(OUT + 80, 1)}
  (drop (call $random_get (i32.const {OUT + 88}) (i32.const 40)))
"""
ODD = printing(NANS + TIMES, 128, uses="clock_time_get poll_oneoff random_get")
ODD_TWIN = printing(
    NANS + TIMES.replace(str(HOUR), str(HOUR + 1)), 128, uses="clock_time_get poll_oneoff random_get"
)


def plan_of(text: str = "", *, engine: Engine = Engine.CRANELIFT, base: Path = Path("/")) -> Plan:
    plan = policy(ALWAYS + text, base)
    return replace(plan, runtime=replace(plan.runtime, engine=engine))


def digest_of(done: Execution) -> str:
    return done.receipt.determinism_digest


def test_every_run_with_every_engine_has_one_digest(shared):
    done = [shared.run(ODD, plan_of(engine=engine)) for engine in Engine for _ in range(2)]
    assert {each.receipt.outcome.kind.value for each in done} == {"exited"}
    assert len({each.stdout for each in done}) == 1
    assert len({digest_of(each) for each in done}) == 1
    assert digest_of(done[0]).startswith("sha256:")
    for each in done:
        shared.check(each)


def test_without_the_word_runs_differ_and_have_no_digest(shared):
    quick = printing(NANS + time_to(OUT + 48, 0), 64, uses="clock_time_get")
    one, other = (shared.run(quick, policy()) for _ in range(2))
    assert one.stdout[48:56] != other.stdout[48:56]
    assert (digest_of(one), digest_of(other)) == ("", "")
    assert struct.unpack_from("<Q", one.stdout, 16) == (0xFFF8_0000_0000_0123,)  # what went in comes out


def test_what_the_guest_is_told(shared):
    told = shared.run(ODD, plan_of()).stdout
    assert struct.unpack("<4Q", told[:32]) == (CANONICAL,) * 4
    first, monotonic, second = struct.unpack("<3Q", told[48:72])
    assert (first, monotonic, second) == (
        VIRTUAL_WALL_NS,
        VIRTUAL_MONOTONIC_NS + 1_000,
        VIRTUAL_WALL_NS + 2_000,
    )
    assert struct.unpack("<IxxxxQ", told[72:88]) == (0, VIRTUAL_MONOTONIC_NS + 3_000 + HOUR)
    assert told[88:128] != bytes(40)


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("", {"extra_args": ("x",)}),
        ("", {"module_name": "other.wasm"}),
        ("permissions: {random: 'seeded:00'}\n", {}),
        ("permissions: {clocks: {wall: 'frozen:2026-01-01T00:00:00Z'}}\n", {}),
        ("permissions: {clocks: {resolution: 1ms}}\n", {}),
        ("permissions: {environment: {allow: [{key: A, value: b}]}}\n", {}),
        ("resources: {limits: {memory: 1Mi}}\n", {}),
    ],
)
def test_another_input_or_policy_has_another_digest(shared, text, more):
    assert digest_of(shared.run(ODD, plan_of(text), **more)) != digest_of(shared.run(ODD, plan_of()))


def test_another_module_has_another_digest_and_other_random_bytes(shared):
    one, other = shared.run(ODD, plan_of()), shared.run(ODD_TWIN, plan_of())
    assert digest_of(one) != digest_of(other)
    assert one.stdout[88:] != other.stdout[88:]
    seeded = plan_of("permissions: {random: 'seeded:00'}\n")
    assert shared.run(ODD, seeded).stdout[88:] == shared.run(ODD_TWIN, seeded).stdout[88:]


def test_where_it_runs_is_no_part_of_the_digest(shared):
    plan = plan_of()
    elsewhere = replace(plan, runtime=replace(plan.runtime, isolation=Isolation.PROCESS, cache=False))
    assert digest_of(shared.run(HELLO, plan)) == digest_of(shared.run(HELLO, elsewhere)) != ""


# --- time -----------------------------------------------------------------------------------------


def waits(subscriptions: str, count: int, *, policy_text: str = "") -> tuple[bytes, Plan]:
    """A guest that prints the errno, the count of events and three events of a wait, and the time after it."""
    body = f"""{subscriptions} (i32.store (i32.const {OUT}) {poll(count, out=OUT + 16, result=OUT + 4)})
      {time_to(OUT + 8, 1)}"""
    return printing(body, 112, uses="clock_time_get poll_oneoff"), plan_of(policy_text)


def events(told: bytes) -> tuple[int, int, int, list[tuple[int, int, int]]]:
    """Errno, time past since the start, and of each event its userdata, errno and type."""
    errno, count, now = struct.unpack("<IIQ", told[:16])
    found = [struct.unpack_from("<QHB", told, 16 + 32 * index) for index in range(min(count, 3))]
    return errno, count, now - VIRTUAL_MONOTONIC_NS, found


def test_the_first_of_several_waits_is_over(shared):
    asked = (
        subscribe(64, 1, 50, userdata=1)
        + subscribe(112, 0, 20, userdata=2)
        + subscribe(160, 1, 20, userdata=3)
    )
    told = shared.run(*waits(asked, 3)).stdout
    assert events(told) == (0, 2, 20, [(2, 0, 0), (3, 0, 0)])


def test_a_wait_until_a_time_moves_time_to_it(shared):
    until = VIRTUAL_MONOTONIC_NS + 70
    asked = subscribe(64, 1, until, is_absolute=True, userdata=1) + subscribe(112, 1, 80, userdata=2)
    assert events(shared.run(*waits(asked, 2)).stdout) == (0, 1, 70, [(1, 0, 0)])
    past = subscribe(64, 0, 5, is_absolute=True, userdata=4)
    assert events(shared.run(*waits(past, 1)).stdout) == (0, 1, 0, [(4, 0, 0)])


def test_a_descriptor_is_ready_at_once_and_one_that_is_none_says_so(shared):
    def on(at: int, fd: int, tag: int) -> str:
        return f"""(i64.store (i32.const {at}) (i64.const {fd})) (i32.store8 (i32.const {at + 8}) (i32.const {tag}))
          (i32.store (i32.const {at + 16}) (i32.const {fd}))"""

    asked = on(64, 1, 2) + on(112, 77, 1) + subscribe(160, 1, 20, userdata=3)
    assert events(shared.run(*waits(asked, 3)).stdout) == (0, 2, 0, [(1, 0, 2), (77, 8, 1)])


@pytest.mark.parametrize("asked", [subscribe(64, 3, 5), "(i32.store8 (i32.const 72) (i32.const 9))"])
def test_what_is_no_subscription_is_told_as_the_host_tells_it(shared, asked):
    assert events(shared.run(*waits(asked, 1)).stdout)[:3] == (28, 0, 0)
    assert events(shared.run(*waits("", 0)).stdout)[:3] == (28, 0, 0)


def test_a_wait_for_ever_is_over_at_the_end_of_time(shared):
    asked = subscribe(64, 1, -1, userdata=1)
    errno, count, past, found = events(shared.run(*waits(asked + poll_again(), 1)).stdout)
    assert (errno, count, found) == (0, 1, [(1, 0, 0)])
    assert 0 < past < 2**63


def poll_again() -> str:
    return f"(drop {poll(1)}) (drop {poll(1)}) (drop {poll(1)})"


def test_a_clock_that_stands_still_does_so_here_too(shared):
    text = "permissions: {clocks: {monotonic: 'frozen:1s'}}\n"
    module, plan = waits(subscribe(64, 1, 50), 1, policy_text=text)
    assert events(shared.run(module, plan).stdout)[:3] == (0, 1, 0)
    module, plan = waits(subscribe(64, 1, 50, is_absolute=True), 1, policy_text=text)
    assert events(shared.run(module, plan).stdout)[0] == 76  # such a wait is refused, as without the word


@pytest.mark.parametrize("mode", ["enforce", "audit"])
def test_a_clock_and_a_source_that_are_not_given_tell_nothing_of_the_host(shared, mode):
    text = f"mode: {mode}\npermissions: {{clocks: {{wall: none, monotonic: none}}, random: none}}\n"
    body = f"{time_to(OUT, 0)} {time_to(OUT + 8, 1)} (drop (call $random_get (i32.const {OUT + 16}) (i32.const 16)))"
    module = printing(body, 32, uses="clock_time_get random_get")
    one, other = (shared.run(module, plan_of(text)) for _ in range(2))
    assert one.stdout == other.stdout
    assert digest_of(one) == digest_of(other) != ""
    times = (VIRTUAL_WALL_NS, VIRTUAL_MONOTONIC_NS + 1_000) if mode == "audit" else (0, 0)
    assert struct.unpack("<2Q", one.stdout[:16]) == times


# --- files ----------------------------------------------------------------------------------------

STATS = f"""
  (drop (call $path_filestat_get (i32.const 3) (i32.const 0) (i32.const 900) (i32.const 1) (i32.const {OUT})))
  (drop (call $path_filestat_get (i32.const 3) (i32.const 0) (i32.const 901) (i32.const 1) (i32.const {OUT + 64})))
  (drop (call $path_filestat_get (i32.const 3) (i32.const 0) (i32.const 900) (i32.const 1) (i32.const {OUT + 128})))
  (drop (call $fd_filestat_get (i32.const 3) (i32.const {OUT + 192})))
  (drop (call $fd_readdir (i32.const 3) (i32.const {OUT + 256}) (i32.const 40) (i64.const 1) (i32.const 512)))
"""
LOOKS = printing(
    STATS, 320, uses="path_filestat_get fd_filestat_get fd_readdir", fields='(data (i32.const 900) "fg")'
)


def test_files_have_no_history(shared, tmp_path):
    told: list[tuple[bytes, str]] = []
    for folder in ("one", "two"):
        for name in "fg":
            path = emptied(tmp_path / "d") / "f" if name == "f" else tmp_path / "d" / name
            path.write_bytes(name.encode() * 5)
            os.utime(path, (len(told), len(folder)))
        done = shared.run(LOOKS, plan_of(mount_rule(tmp_path / "d", "read, list")))
        assert done.receipt.outcome == exited()
        told.append((done.stdout, digest_of(done)))
    assert told[0] == told[1]
    rows = [struct.unpack_from("<QQB7xQQQQQ", told[0][0], at) for at in (0, 64, 128, 192)]
    times = (VIRTUAL_WALL_NS,) * 3
    assert rows == [
        (1, 1, 4, 1, 5, *times),
        (1, 2, 4, 1, 5, *times),
        (1, 1, 4, 1, 5, *times),
        (1, 3, 3, 1, 0, *times),
    ]
    # `..` is the first entry behind the place where the list goes on; the one behind it is cut
    number, length, kind = struct.unpack_from("<QIB", told[0][0], OUT + 256 - OUT + 8)
    assert (length, kind) == (2, 3)
    assert number in {3, 4}


def test_without_the_word_files_have_their_times(shared, tmp_path):
    (tmp_path / "f").write_bytes(b"x")
    os.utime(tmp_path / "f", (5, 7))
    told = shared.run(LOOKS, policy(mount_rule(tmp_path, "read, list"))).stdout
    assert struct.unpack_from("<QQ", told, 40) == (5 * 10**9, 7 * 10**9)


# --- input, and what cuts a run -------------------------------------------------------------------

READS = printing(
    f"""(i32.store (i32.const 0) (i32.const {OUT})) (i32.store (i32.const 4) (i32.const 8000))
      (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))""",
    16,
    uses="fd_read",
)
STDIN = "permissions: {stdio: {stdin: caller}}\n"


def given(shared: Log, path: Path, content: bytes) -> Execution:
    path.write_bytes(content)
    with path.open("rb") as file:
        return shared.run(READS, plan_of(STDIN), stdin_fd=file.fileno())


def test_standard_input_is_input(shared, tmp_path):
    text = bytes(range(256)) * 40
    one, same = (given(shared, tmp_path / name, text) for name in "ab")
    other = given(shared, tmp_path / "c", text[:-1] + b"!")  # differs in what is never read
    assert one.stdout == same.stdout == other.stdout == text[:16]
    assert digest_of(one) == digest_of(same) != digest_of(other)


def test_standard_input_that_comes_when_it_likes_is_refused(shared, tmp_path):
    reader, writer = os.pipe()
    try:
        os.write(writer, b"0123456789abcdef")
        done = shared.run(READS, plan_of(STDIN), stdin_fd=reader)
        assert done.receipt.outcome.kind.value == "refused"
        assert "standard input from a file" in str(done.receipt.outcome.message)
        assert digest_of(done) == ""
        assert shared.run(READS, plan_of(), stdin_fd=reader).receipt.outcome == exited()
        os.close(writer)
        writer = -1
        assert shared.run(READS, policy(STDIN), stdin_fd=reader).stdout == b"0123456789abcdef"
    finally:
        for fd in (reader, writer):
            if fd >= 0:
                os.close(fd)
    with Path(os.devnull).open("rb") as nothing:
        assert digest_of(shared.run(READS, plan_of(STDIN), stdin_fd=nothing.fileno()))


def test_a_limit_that_counts_cuts_each_run_at_one_place(shared):
    counts = guest(
        "(loop $l (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))"
        " (drop (call $sched_yield)) (br $l))",
        uses="sched_yield",
    )
    for text, name in (("fuel: 12345", "fuel"), ("host_calls: 50", "host_calls")):
        limits = f"resources: {{limits: {{{text}}}}}\n"
        done = [shared.run(counts, plan_of(limits, engine=engine)) for engine in (*Engine, Engine.CRANELIFT)]
        assert {each.receipt.outcome for each in done} == {limit(name)}
        assert len({digest_of(each) for each in done}) == 1
        assert digest_of(done[0])
        assert len({each.receipt.records for each in done}) == 1


def test_a_limit_of_time_leaves_no_digest(shared):
    done = shared.run(guest(FOREVER), plan_of("resources: {limits: {cpu: 60ms}}\n"))
    assert (done.receipt.outcome, digest_of(done)) == (limit("cpu"), "")


def test_a_trap_has_a_digest(shared):
    done = [shared.run(guest("unreachable"), plan_of(engine=engine)) for engine in Engine]
    assert {each.receipt.outcome.kind.value for each in done} == {"trapped"}
    assert len({digest_of(each) for each in done}) == 1
    assert digest_of(done[0])


def test_more_records_than_the_ring_holds_have_one_digest(tmp_path, cache, shared):
    busy = guest(
        """(local $i i32) (loop $l (drop (call $fd_write (i32.const 9) (i32.const 0) (i32.const 0) (i32.const 8)))
          (drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 900) (i32.const 5) (i32.const 0)
            (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 512)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $l (i32.lt_u (local.get $i) (i32.const 20000))))""",
        uses="fd_write path_open",
        fields=text_data(900, b"a/b/c"),
    )
    plan = plan_of(mount_rule(emptied(tmp_path / "d"), "read, list"))
    made = open_log(tmp_path, cache)
    try:
        done = [log.run(busy, plan) for log in (shared, made)]
    finally:
        made.close()
    assert done[0].receipt.records == done[1].receipt.records == 40_000
    assert digest_of(done[0]) == digest_of(done[1]) != ""
