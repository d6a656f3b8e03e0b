"""What the monitor refuses besides files: clocks, randomness, streams, budgets; and what audit mode lets through.

Each refusal has a twin that is allowed, and the errno, the record and the effect are looked at. Files are in
`test_monitor_denials.py`; limits that end the cell from outside are in `test_execution_limits.py`.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from sandbox.engine_wasmtime import EndKind
from sandbox.monitor.layout import IN_FLIGHT, Stop
from tests.guests import Script
from tests.integration.test_monitor_denials import (
    NAMES,
    NOTCAPABLE,
    allowed,
    last,
    refused,
    root,
    run,
    split,
    two,
    whole,
)
from tests.machines import ALL, run_watched, stopped, storage
from tests.sequences import CREAT, DIRECTORY, EXCL, READ, TRUNC, WRITE, Builder, clock_wait, fd_wait, poll

__all__ = ["root"]

DQUOT, MFILE = 19, 33


def calling(name: str, *arguments: int) -> Builder:
    """A guest that makes one call."""
    return lambda s: s.call(name, *arguments)


def permissions(text: str) -> str:
    return f"permissions:\n  {text}"


# --- clocks -----------------------------------------------------------------------------------------


def ask(clock: int, name: str = "clock_time_get"):
    def build(s: Script) -> None:
        at = s.out(8)
        s.call(name, clock, *((0,) if name == "clock_time_get" else ()), at, window=(at, 8))

    return build


@pytest.mark.parametrize(("clock", "name"), [(0, "wall"), (1, "monotonic")])
@pytest.mark.parametrize("call", ["clock_time_get", "clock_res_get"])
def test_a_clock_that_is_not_given_is_refused_and_the_other_is_not(clock, name, call, root):
    plan = storage(root, more=permissions(f"clocks: {{{name}: none}}"))
    result = run(plan, ask(clock, call))
    refused(result, f"clocks.{name}", "rule", "")
    assert result.seen[0].window == b"\xaa" * 8
    allowed(run(plan, ask(1 - clock, call)))


def test_a_frozen_clock_stands_still_and_a_real_one_is_rounded(root):
    plan = storage(
        root,
        more=permissions('clocks: {wall: "frozen:2026-01-01T00:00:00Z", monotonic: real, resolution: 1ms}'),
    )
    for call, value in (("clock_time_get", 1_767_225_600 * 10**9), ("clock_res_get", 1_000_000)):
        result = run(plan, ask(0, call))
        allowed(result)
        assert struct.unpack("<Q", result.seen[0].window)[0] == value
    result = run(plan, ask(1))
    assert struct.unpack("<Q", result.seen[0].window)[0] % 1_000_000 == 0
    assert struct.unpack("<Q", run(plan, ask(1, "clock_res_get")).seen[0].window)[0] == 1_000_000


def test_a_frozen_clock_traps_on_a_pointer_as_the_host_does(root):
    plan = storage(root, more=permissions('clocks: {wall: "frozen:2026-01-01T00:00:00Z"}'))
    for at in (1_025, 1 << 20, (1 << 20) - 4, 0xFFFF_FFF8):
        result = run(plan, calling("clock_time_get", 0, 0, at))
        assert result.end is EndKind.TRAPPED
        assert [record.errno for record in result.records] == [IN_FLIGHT]


@pytest.mark.parametrize(("clock", "name"), [(0, "wall"), (1, "monotonic")])
@pytest.mark.parametrize("setting", ["none", "frozen"])
def test_a_wait_until_a_moment_of_a_replaced_clock_is_refused_and_a_wait_for_a_while_is_not(
    clock, name, setting, root
):
    value = setting if setting == "none" else ("frozen:2026-01-01T00:00:00Z" if clock == 0 else "frozen:5s")
    plan = storage(root, more=permissions(f'clocks: {{{name}: "{value}"}}'))
    rule = f"clocks.{name}"  # a plan has that rule for a clock it does not give
    refused(run(plan, lambda s: poll(s, clock_wait(1, clock, 1, 1))), rule, "clock", "")
    refused(
        run(plan, lambda s: poll(s, clock_wait(1, clock, 1), fd_wait(2, 2, 1), clock_wait(3, clock, 1, 1))),
        rule,
        "clock",
        "",
    )
    allowed(run(plan, lambda s: poll(s, clock_wait(1, clock, 1))))
    allowed(run(plan, lambda s: poll(s, clock_wait(1, 1 - clock, 1, 1))))


# --- randomness -------------------------------------------------------------------------------------


def quarter(x: list[int], a: int, b: int, c: int, d: int) -> None:
    for one, two_, three, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        x[one] = (x[one] + x[two_]) & 0xFFFF_FFFF
        x[three] ^= x[one]
        x[three] = ((x[three] << turn) | (x[three] >> (32 - turn))) & 0xFFFF_FFFF


def chacha20_block(key: bytes, counter: int, nonce: bytes) -> bytes:
    """RFC 8439, 2.3, written down from the text."""
    start = list(struct.unpack("<16I", b"expand 32-byte k" + key + struct.pack("<I", counter) + nonce))
    x = list(start)
    for _ in range(10):
        for column in range(4):
            quarter(x, column, 4 + column, 8 + column, 12 + column)
        for diagonal in range(4):
            quarter(x, diagonal, 4 + (diagonal + 1) % 4, 8 + (diagonal + 2) % 4, 12 + (diagonal + 3) % 4)
    return struct.pack("<16I", *((a + b) & 0xFFFF_FFFF for a, b in zip(x, start, strict=True)))


def test_the_cipher_of_this_file_gives_the_block_of_the_rfc():
    block = chacha20_block(bytes(range(32)), 1, bytes.fromhex("000000090000004a00000000"))
    assert block.hex().startswith("10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e")


@pytest.mark.parametrize("seed", ["00" * 32, bytes(range(32)).hex()])
def test_seeded_bytes_are_the_stream_of_the_seed_and_each_call_starts_a_block(seed, root):
    plan = storage(root, more=permissions(f'random: "seeded:{seed}"'))
    sizes = (10, 0, 64, 65, 200)

    def build(s: Script) -> None:
        for size in sizes:
            at = s.out(size + 1)
            s.call("random_get", at, size, window=(at, size + 1))

    result = run(plan, build)
    allowed(result)
    block = 0
    for size, seen in zip(sizes, result.seen, strict=True):
        blocks = -(-size // 64)
        expected = b"".join(chacha20_block(bytes.fromhex(seed), block + n, bytes(12)) for n in range(blocks))
        assert seen.window == expected[:size] + b"\xaa"
        block += blocks


def test_without_randomness_asking_is_refused_and_with_it_no_two_runs_are_alike(root):
    def build(s: Script) -> None:
        at = s.out(16)
        s.call("random_get", at, 16, window=(at, 16))

    result = run(storage(root, more=permissions("random: none")), build)
    refused(result, "random.none", "rule", "")
    assert result.seen[0].window == b"\xaa" * 16
    real = storage(root, more=permissions("random: real"))
    one, other = run(real, build), run(real, build)
    allowed(one)
    assert one.seen[0].window != other.seen[0].window


# --- sockets ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["sock_accept", "sock_recv", "sock_send", "sock_shutdown"])
def test_sockets_are_refused_by_name_whatever_the_descriptor(call, root):
    arguments = {
        "sock_accept": (0, 64),
        "sock_recv": (64, 0, 0, 64, 72),
        "sock_send": (64, 0, 0, 64),
        "sock_shutdown": (1,),
    }
    for fd in (0, 3, 99):
        refused(
            run(storage(root, whole(root, "read")), calling(call, fd, *arguments[call])),
            "network.none",
            "rule",
            "",
        )


# --- streams and environment ------------------------------------------------------------------------


@pytest.mark.parametrize(("fd", "name"), [(1, "stdout"), (2, "stderr")])
def test_output_that_is_not_given_is_refused_also_by_another_number(fd, name, root):
    plan = storage(root, whole(root, "read"), more="")
    closed = storage(root, more=permissions(f"stdio: {{{name}: none}}"))
    result = run(closed, lambda s: s.write(fd, b"text"))
    refused(result, f"stdio.{name}", "rule", "write")
    assert (result.stdout, result.stderr) == (b"", b"")

    def renumbered(s: Script) -> None:
        s.call("fd_renumber", fd, 0)
        s.write(0, b"text")

    refused(run(closed, renumbered), f"stdio.{name}", "rule", "write")
    allowed(run(closed, lambda s: s.write(3 - fd, b"text")))
    result = run(plan, lambda s: s.write(fd, b"text"))
    allowed(result)
    assert (result.stdout, result.stderr)[fd - 1] == b"text"


def test_input_that_is_not_given_is_refused(root):
    def reading(text: str):
        script = Script()
        script.read(0, 8)
        return run_watched(script, storage(root, more=permissions(text)), stdin=b"secret")

    result = reading("stdio: {stdin: none}")
    refused(result, "stdio.stdin", "rule", "read")
    assert b"secret" not in result.seen[0].window
    result = reading("stdio: {stdin: caller}")
    allowed(result)
    assert b"secret" in result.seen[0].window


def test_the_environment_is_what_the_plan_says_and_nothing_else(root, monkeypatch):
    monkeypatch.setenv("SECRET", "of the host")

    def build(s: Script) -> None:
        sizes, room = s.out(8), s.out(256)
        s.call("environ_sizes_get", sizes, sizes + 4, window=(sizes, 8))
        s.call("environ_get", room, room + 64, window=(room + 64, 64))

    result = run(storage(root, more=permissions('environment: {allow: [{key: LANG, value: "C"}]}')), build)
    allowed(result)
    assert struct.unpack("<II", result.seen[0].window) == (1, 7)
    assert result.seen[1].window == b"LANG=C\0" + b"\xaa" * 57
    result = run(storage(root, more=permissions("args: []")), build)
    allowed(result)
    assert struct.unpack("<II", result.seen[0].window) == (0, 0)
    assert result.seen[1].window == b"\xaa" * 64


# --- budgets ----------------------------------------------------------------------------------------


def limited(root: Path, text: str, *rules: str):
    return storage(root, *(rules or (whole(root, *NAMES),)), more=f"resources: {{limits: {{{text}}}}}")


def spent(result, rule: str, errno: int) -> None:
    """The last call was beyond a budget, and those before it were within."""
    seen, record = last(result)
    assert record.verdict == ("limit", rule, "budget", "")
    assert seen.errno == errno
    assert {one.decision.name for one in result.records[:-1]} <= {"ALLOW"}
    assert int(result.counters[:, 3].sum()) == 1


def halted(result, stop: Stop, rule: str, calls: int) -> None:
    """The guest was ended after so many calls, and the one that was too much is on record."""
    assert stopped(result) is stop
    assert result.end is EndKind.TRAPPED
    assert len(result.seen) == calls
    assert len(result.records) == calls + 1
    assert result.records[-1].verdict == ("limit", rule, "stopped", "")


def test_host_calls_at_the_limit_are_allowed_and_the_next_ends_the_guest(root):
    build = lambda s: [s.call("sched_yield") for _ in range(5)]  # noqa: E731  # two limits, one guest
    allowed(run(limited(root, "host_calls: 5"), build))
    halted(run(limited(root, "host_calls: 4"), build), Stop.HOST_CALLS, "limit.host_calls", 4)


@pytest.mark.parametrize(("fd", "name"), [(1, "stdout"), (2, "stderr")])
def test_output_at_the_limit_is_allowed_and_the_next_byte_ends_the_guest(fd, name, root):
    plan = limited(root, f'{name}: "10"')
    stop = Stop[name.upper()]

    def build(s: Script) -> None:
        s.write(fd, b"12345")
        s.write(fd, b"67890")
        s.write(fd, b"")

    result = run(plan, build)
    allowed(result)
    assert (result.stdout, result.stderr)[fd - 1] == b"1234567890"

    def more(s: Script) -> None:
        build(s)
        s.write(fd, b"!")

    result = run(plan, more)
    halted(result, stop, f"limit.{name}", 3)
    assert (result.stdout, result.stderr)[fd - 1] == b"1234567890"
    halted(run(plan, lambda s: s.write(fd, b"12345678901")), stop, f"limit.{name}", 0)
    allowed(run(plan, lambda s: s.write(3 - fd, b"x" * 100)))


GROWTH = {
    "writing": lambda s, fd, n: s.write(fd, b"x" * n),
    "writing at a place": lambda s, fd, n: s.pwrite(fd, b"x" * n, 0),
    "setting the size": lambda s, fd, n: s.call("fd_filestat_set_size", fd, n),
}


@pytest.mark.parametrize("way", GROWTH)
def test_bytes_to_files_at_the_limit_are_allowed_and_beyond_are_refused(way, root):
    plan = limited(root, 'disk: "100"')

    def build(*sizes: int):
        def made(s: Script) -> None:
            fd = s.open("new", oflags=CREAT, rights=READ | WRITE)
            for size in sizes:
                GROWTH[way](s, fd, size)

        return made

    allowed(run(plan, build(40, 100) if way == "setting the size" else build(40, 60)))
    (root / "new").unlink()
    result = run(plan, build(40, 101) if way == "setting the size" else build(40, 61))
    spent(result, "limit.disk", DQUOT)
    assert (root / "new").stat().st_size == 40
    (root / "new").unlink()
    spent(run(plan, build(101)), "limit.disk", DQUOT)
    spent(run(plan, build(1 << 40 if way == "setting the size" else 1_000)), "limit.disk", DQUOT)


SKIPS = {
    "writing at a place": lambda s, fd, at, n: s.pwrite(fd, b"x" * n, at),
    "writing after a seek": lambda s, fd, at, n: (
        s.call("fd_seek", fd, at, 0, s.out(8)),
        s.write(fd, b"x" * n),
    ),
}


@pytest.mark.parametrize("way", SKIPS)
@pytest.mark.parametrize("there", [0, 30])
def test_bytes_that_a_write_skips_behind_the_end_of_a_file_count_as_written(way, there, root):
    plan = limited(root, 'disk: "100"')

    def build(*writes: tuple[int, int]):
        def made(s: Script) -> None:
            fd = s.open("old", rights=READ | WRITE)
            for at, size in writes:
                SKIPS[way](s, fd, at, size)

        return made

    def tried(*writes: tuple[int, int]):
        (root / "old").write_bytes(b"o" * there)
        return run(plan, build(*writes))

    result = tried((there + 60, 40))
    allowed(result)
    assert (result.header["disk"], (root / "old").stat().st_size) == (100, there + 100)
    spent(tried((there + 61, 40)), "limit.disk", DQUOT)
    assert (root / "old").stat().st_size == there
    for far in (1 << 40, 1 << 62, (1 << 63) - 1):
        spent(tried((far, 1)), "limit.disk", DQUOT)
    # backwards, over what is there by now, and once more behind the end
    result = tried((there + 20, 10), (there, 20), (there + 30, 10), (there + 70, 10))
    allowed(result)
    assert result.header["disk"] == 30 + 20 + 10 + 40
    spent(tried((there + 20, 10), (there, 20), (there + 30, 10), (there + 70, 11)), "limit.disk", DQUOT)


def test_a_seek_that_nothing_is_written_after_costs_nothing_and_appending_skips_nothing(root):
    plan = limited(root, 'disk: "100"')

    def sought(flags: int):
        def build(s: Script) -> None:
            fd = s.open("file", rights=READ | WRITE, fdflags=flags)
            s.call("fd_seek", fd, 1_000_000, 0, s.out(8))
            s.write(fd, b"")
            if flags:
                s.write(fd, b"x" * 100)

        return build

    for flags in (0, 1):
        result = run(plan, sought(flags))
        allowed(result)
        assert result.header["disk"] == 100 * flags
    assert (root / "file").stat().st_size < 1_000


def test_a_rule_has_a_budget_of_bytes_of_its_own(root):
    plan = limited(
        root,
        "disk: 16Mi",
        f'id: small, uri: "fs://{root}/dir/**", mount: /a, {ALL}, max_bytes: "10"',
        f'id: large, uri: "fs://{root}/open/**", mount: /b, {ALL}',
    )

    def build(first: int, second: int):
        def made(s: Script) -> None:
            s.write(s.open("x", 4, oflags=CREAT, rights=WRITE), b"x" * second)
            s.write(s.open("x", 3, oflags=CREAT, rights=WRITE), b"x" * first)

        return made

    allowed(run(plan, build(10, 1_000)))
    spent(run(plan, build(11, 1_000)), "small", DQUOT)


MAKING = {
    "a file": lambda s, name: s.open(name, oflags=CREAT),
    "a file anew": lambda s, name: s.open(name, oflags=CREAT | EXCL, rights=WRITE),
    "a directory": lambda s, name: s.on("path_create_directory", name),
    "a link": lambda s, name: s.symlink("file", name),
    "a hard link": lambda s, name: s.link("file", name),
}


@pytest.mark.parametrize("way", MAKING)
def test_files_at_the_limit_are_made_and_the_next_is_refused(way, root):
    plan = limited(root, "files: 2")

    def build(count: int):
        return lambda s: [MAKING[way](s, f"new{number}") for number in range(count)]

    result = run(plan, build(2))
    allowed(result)
    assert result.header["files"] == 2
    for name in ("new0", "new1"):
        path = root / name
        path.rmdir() if path.is_dir() else path.unlink()
    spent(run(plan, build(3)), "limit.files", DQUOT)
    assert not os.path.lexists(root / "new2")


def test_a_rule_has_a_budget_of_files_of_its_own(root):
    plan = storage(
        root,
        f'id: few, uri: "fs://{root}/dir/**", mount: /a, {ALL}, max_files: 1',
        f'id: many, uri: "fs://{root}/open/**", mount: /b, {ALL}',
    )

    def build(s: Script) -> None:
        s.on("path_create_directory", "one", 4)
        s.on("path_create_directory", "two", 4)
        s.on("path_create_directory", "one")

    allowed(run(plan, build))
    spent(run(plan, lambda s: [s.on("path_create_directory", n) for n in ("three", "four")]), "few", DQUOT)
    assert (root / "dir/three").exists()
    assert not (root / "dir/four").exists()


def test_what_was_not_made_costs_nothing(root):
    plan = limited(root, "files: 1")

    def build(s: Script) -> None:
        s.open("file", oflags=CREAT)
        s.open("missing/x", oflags=CREAT)
        s.open("file", oflags=CREAT | EXCL)
        s.on("path_create_directory", "dir")
        s.link("missing", "x")
        s.on("path_create_directory", "new")

    result = run(plan, build)
    assert result.errnos == [0, 44, 20, 20, 44, 0]
    assert result.header["files"] == 1


def test_open_descriptors_at_the_limit_are_opened_and_the_next_is_refused_until_one_is_closed(root):
    plan = limited(root, "open_files: 2")
    allowed(run(plan, lambda s: [s.open("file"), s.open("dir", oflags=DIRECTORY)]))
    spent(
        run(plan, lambda s: [s.open("file"), s.open("dir", oflags=DIRECTORY), s.open("new", oflags=CREAT)]),
        "limit.open_files",
        MFILE,
    )
    assert not (root / "new").exists()

    result = run(plan, lambda s: [s.open("file"), s.call("fd_close", s.open("other")), s.open("other")])
    allowed(result)
    assert result.header["open"] == 2


# --- audit mode -------------------------------------------------------------------------------------

AUDITED = {
    "reading": (lambda s: s.read(s.open("file")), "default", "read"),
    "listing": (lambda s: s.readdir(3), "default", "list"),
    "making": (lambda s: s.open("new", oflags=CREAT, rights=0), "default", "create"),
    "cutting": (lambda s: s.open("file", oflags=TRUNC, rights=WRITE), "default", "write"),
    "removing": (lambda s: s.on("path_unlink_file", "file"), "default", "delete"),
    "linking": (lambda s: s.symlink("x", "y"), "default", "symlink"),
    "denied": (lambda s: s.open("secret/key"), "hide", "read"),
}


def in_audit_mode(root: Path, *rules: str, more: str = ""):
    return storage(root, *rules, deny=[f'id: hide, uri: "fs://{root}/secret/**"'], more=more, mode="audit")


@pytest.mark.parametrize("name", AUDITED)
def test_in_audit_mode_what_a_rule_refuses_happens_and_is_recorded_as_what_it_would_be(name, root):
    build, rule, right = AUDITED[name]
    keep = f'id: own, uri: "fs://{root}/**", mount: /a, access: [append]'
    result = run(in_audit_mode(root, keep), build)
    assert 0 in result.errnos
    assert set(result.errnos) == {0}
    assert ("would_deny", rule, "rule", right) in {record.verdict for record in result.records}
    assert {record.decision.name for record in result.records} <= {"ALLOW", "WOULD_DENY"}
    enforced = storage(root, keep, deny=[f'id: hide, uri: "fs://{root}/secret/**"'])
    (root / "file").write_bytes(b"file")
    (root / "new").unlink(missing_ok=True)
    first = next(record for record in run(enforced, build).records if record.decision.name != "ALLOW")
    assert first.verdict[1:3] == (rule, "rule")


def test_in_audit_mode_links_are_followed_and_recorded(root):
    (root / "way").symlink_to("secret/key")
    result = run(
        in_audit_mode(root, f'id: own, uri: "fs://{root}/**", mount: /a, access: [read]'),
        lambda s: s.read(s.open("way")),
    )
    assert result.errnos == [0, 0]
    assert b"secret/key" in result.seen[1].window
    assert result.records[0].verdict == ("would_deny", "symlink", "symlink", "")
    refused(run(split(root), lambda s: s.open("way")), "symlink", "symlink", "")


def test_in_audit_mode_clocks_streams_sockets_and_moves_are_let_through(root):
    plan = in_audit_mode(
        root, more=permissions("clocks: {wall: none}\n  random: none\n  stdio: {stdout: none}")
    )

    def build(s: Script) -> None:
        s.call("clock_time_get", 0, 0, s.out(8))
        s.call("random_get", s.out(8), 8)
        s.write(1, b"x")
        s.call("sock_shutdown", 1, 1)

    result = run(plan, build)
    assert result.errnos[:3] == [0, 0, 0]
    assert [record.rule for record in result.records] == [
        "clocks.wall",
        "random.none",
        "stdio.stdout",
        "network.none",
    ]
    assert {record.decision.name for record in result.records} == {"WOULD_DENY"}


def test_in_audit_mode_escapes_and_limits_and_special_files_are_refused(root):
    os.mkfifo(root / "fifo")
    own = f'id: own, uri: "fs://{root}/**", mount: /a, {ALL}'
    refused(run(in_audit_mode(root, own), lambda s: s.open("../x")), "beneath", "escape", "", errno=63)
    refused(
        run(in_audit_mode(root, own), lambda s: s.open("fifo", rights=READ | WRITE)),
        "file-type",
        "file_type",
        "",
    )
    plan = in_audit_mode(root, own, more="resources: {limits: {files: 0, open_files: 1}}")
    spent(run(plan, lambda s: s.on("path_create_directory", "new")), "limit.files", DQUOT)
    spent(run(plan, lambda s: [s.open("file"), s.open("file")]), "limit.open_files", MFILE)


def builtin_plan(root: Path):
    """A plan that mounts the whole machine, where built-in denies lie, onto a folder of the test."""
    return storage(root, f'id: all, uri: "fs:///**", mount: /a, {ALL}', mode="audit")


def test_in_audit_mode_what_is_denied_by_nature_stays_denied_by_every_way(root):
    (root / "etc").mkdir()
    (root / "etc/shadow").write_bytes(b"hashes")
    (root / "etc/hosts").write_bytes(b"hosts")
    (root / "etc/plain").mkdir()
    (root / "way").symlink_to("etc/shadow")
    (root / "by").symlink_to("etc")

    def under(build):
        script = Script()
        build(script)
        return run_watched(script, builtin_plan(root), [root])

    for build in (
        lambda s: s.open("etc/shadow"),
        lambda s: s.open("way"),
        lambda s: s.open("by/shadow"),
        lambda s: s.rename("etc/shadow", "x"),
        lambda s: s.link("etc/shadow", "x"),
        lambda s: s.rename("etc", "elsewhere"),
        lambda s: s.open("shadow", s.open("etc", oflags=DIRECTORY)),
    ):
        result = under(build)
        seen, record = last(result)
        assert (seen.errno, record.decision.name) == (NOTCAPABLE, "DENY")
        assert (root / "etc/shadow").read_bytes() == b"hashes"
    assert under(lambda s: s.open("etc/hosts")).errnos == [0]
    assert under(lambda s: s.rename("etc/plain", "plain")).errnos == [0]


def test_two_mounts_in_audit_mode_record_a_move_that_would_widen(root):
    from dataclasses import replace

    from policy.plan import Mode

    plan = replace(two(root, ["read", "delete"], ["read", "create", "write"]), mode=Mode.AUDIT)
    plan = replace(plan, mounts=tuple(replace(mount, is_mutable=True) for mount in plan.mounts))
    result = run(plan, lambda s: s.rename("inner", "moved", 3, 4))
    assert result.errnos == [0]
    assert result.records[0].verdict == ("would_deny", "no-widening", "widens", "")
    assert (root / "open/moved").exists()
