"""Mounts of whole runs: scratch comes and goes with its run, and a mount is the directory that the policy names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from audit.receipt import OutcomeKind
from sandbox.preopens import held
from sandbox.scratch import Scratch, remove
from tests.runs import HELLO, exited, guest, mount_rule, policy, says

SCRATCH = (
    "permissions:\n  storage:\n    allow:\n"
    '      - {id: s, uri: "tmp://s", mount: /s, access: [read, list, create, write, delete, symlink]}\n'
    "resources: {limits: {files: 20000, open_files: 100, host_calls: unlimited}}\n"
)
MAKE = """(drop (call $path_create_directory (i32.const 3) (i32.const 900) (i32.const 1)))
  (drop (call $path_symlink (i32.const 910) (i32.const 8) (i32.const 3) (i32.const 920) (i32.const 4)))"""
DATA = '(data (i32.const 900) "d") (data (i32.const 910) "../../..") (data (i32.const 920) "link")'


def many_files(count: int) -> bytes:
    return guest(
        f"""(local $n i32) {MAKE} (loop $l
          (i32.store (i32.const 1000) (i32.add (i32.const 0x61616161) (i32.add
            (i32.and (local.get $n) (i32.const 15)) (i32.add (i32.shl (i32.and (i32.shr_u (local.get $n) (i32.const 4)) (i32.const 15)) (i32.const 8))
            (i32.add (i32.shl (i32.and (i32.shr_u (local.get $n) (i32.const 8)) (i32.const 15)) (i32.const 16))
            (i32.shl (i32.shr_u (local.get $n) (i32.const 12)) (i32.const 24)))))))
          (if (call $path_open (i32.const 3) (i32.const 0) (i32.const 1000) (i32.const 4) (i32.const 1)
            (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 512)) (then (unreachable)))
          (drop (call $fd_close (i32.load (i32.const 512))))
          (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const {count}))))""",
        uses="path_create_directory path_symlink path_open fd_close", fields=DATA,
    )  # fmt: skip


def left(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "scratch").glob("*-*"))


@pytest.mark.parametrize("count", [1, pytest.param(10_000, id="ten thousand")])
def test_scratch_is_gone_after_the_run(log, tmp_path, count):
    (tmp_path / "victim").write_text("kept")
    done = log.run(many_files(count), policy(SCRATCH))
    assert done.receipt.outcome == exited()
    assert left(tmp_path) == []
    assert (tmp_path / "victim").read_text() == "kept"  # the link led there
    assert {row["target"] for row in log.rows(done) if row["guest_target"] == "/s/d"} == {"tmp://s/d"}


@pytest.mark.parametrize("end", ["(unreachable)", "(loop $l (br $l))"])
def test_scratch_is_gone_however_the_run_ended(log, tmp_path, end):
    module = guest(MAKE + end, uses="path_create_directory path_symlink", fields=DATA)
    plan = policy(SCRATCH)
    done = log.run(module, replace(plan, limits=replace(plan.limits, wall_ms=100)))
    assert done.receipt.outcome.kind in (OutcomeKind.TRAPPED, OutcomeKind.LIMIT)
    assert left(tmp_path) == []


def test_scratch_of_another_run_is_not_seen(log):
    made = guest(MAKE, uses="path_create_directory path_symlink", fields=DATA)
    assert log.run(made, policy(SCRATCH)).receipt.outcome == exited()
    looks = guest(
        "(call $proc_exit (call $path_filestat_get (i32.const 3) (i32.const 0) (i32.const 900) (i32.const 1) (i32.const 64)))",
        uses="path_filestat_get proc_exit", fields=DATA,
    )  # fmt: skip
    assert log.run(looks, policy(SCRATCH)).receipt.outcome == exited(44)


def test_directories_that_cannot_be_read_or_written_are_removed(tmp_path):
    folder = tmp_path / "s"
    (folder / "a/b/c").mkdir(parents=True)
    (folder / "a/b/c/file").write_text("x")
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o500)
    (folder / "a/link").symlink_to(outside)
    for path, mode in ((folder / "a/b/c", 0o000), (folder / "a/b", 0o500), (folder / "a", 0o000)):
        path.chmod(mode)
    assert remove(folder)
    assert not folder.exists()
    assert outside.stat().st_mode & 0o777 == 0o500


def test_only_directories_of_runs_that_are_no_more_are_swept(tmp_path):
    place = Scratch(tmp_path)
    (tmp_path / "dead-1").mkdir()
    (tmp_path / "dead-1/file").write_text("x")
    (tmp_path / "link").symlink_to("/")
    with place.directory("live") as folder:
        Scratch(tmp_path).sweep()
        assert folder.is_dir()
        assert not (tmp_path / "dead-1").exists()
    assert not folder.exists()


def test_a_mount_behind_a_link_is_refused_and_the_real_path_named(shared, tmp_path):
    real = tmp_path / "real"
    (real / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(real)
    for host in (tmp_path / "link", tmp_path / "link/inner"):
        outcome = shared.run(HELLO, policy(mount_rule(host, "read"))).receipt.outcome
        assert outcome.kind is OutcomeKind.REFUSED
        assert f"leads through a link to `{host.resolve()}`" in (outcome.message or "")
    assert shared.run(HELLO, policy(mount_rule(real / "inner", "read"))).receipt.outcome == exited()


def test_a_mount_that_is_not_there_is_refused(shared, tmp_path):
    outcome = shared.run(HELLO, policy(mount_rule(tmp_path / "none", "read"))).receipt.outcome
    assert outcome.kind is OutcomeKind.REFUSED
    assert "expected a directory" in (outcome.message or "")


def test_a_link_that_is_put_in_the_way_after_the_check_is_not_followed(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with held(((str(tmp_path / "a/b"), "/d", True),)) as (((path, guest_path, is_mutable),), _):
        assert (tmp_path / "a/b").samefile(path)
        assert (guest_path, is_mutable) == ("/d", True)
    for bad in (tmp_path / "link", tmp_path / "link/b", tmp_path / "none"):
        with (
            pytest.raises(OSError, match=r"Not a directory|No such file|symbolic links"),
            held(((str(bad), "/d", True),)),
        ):
            pass


def test_the_root_itself_can_be_a_mount():
    with held((("/", "/d", False),)) as (((path, _, _),), _):
        assert Path("/").samefile(path)


def test_the_guest_reads_what_lies_in_its_mount(shared, tmp_path):
    (tmp_path / "f").write_bytes(b"content")
    body, data = says(b"\0" * 7)
    module = guest(
        f"""(drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 900) (i32.const 1) (i32.const 0)
             (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 512)))
        (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 7))
        (drop (call $fd_read (i32.load (i32.const 512)) (i32.const 0) (i32.const 1) (i32.const 8))) {body}""",
        uses="path_open fd_read fd_write", fields=data + '(data (i32.const 900) "f")',
    )  # fmt: skip
    assert shared.run(module, policy(mount_rule(tmp_path, "read"))).stdout == b"content"
