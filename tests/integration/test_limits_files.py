"""Bytes on disk, files and descriptors against their limits: one large request, many small ones, and ways around."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import limit_guests as guests
from tests.limit_guests import WRITE, each, makes, opens, pwrite, seek_and_write, with_file
from tests.runs import exited, limit, mount_rule, policy

DQUOT, MFILE, NOTSUP = 19, 33, 58
FAR = 1 << 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "mount"
    made.mkdir()
    return made


def plan(folder: Path, *, rule: str = "", **values: object):
    inner = ", ".join(f"{name}: {value}" for name, value in values.items())
    access = "read, list, create, write, delete, symlink"
    return policy(mount_rule(folder, access, more=rule) + f"resources: {{limits: {{{inner}}}}}\n")


def rules(done) -> set[str | None]:
    return {one.rule for one in done.receipt.refusals}


# --- bytes ------------------------------------------------------------------------------------------------

WRITES = {
    "one large": (
        with_file(WRITE, uses="fd_write", size=100_001),
        with_file(WRITE, uses="fd_write", size=100_000),
        0,
    ),
    "many small": (
        with_file(WRITE, uses="fd_write", times=None, size=10),
        with_file(WRITE, uses="fd_write", times=10_000, size=10),
        100_000,
    ),
    "in one place": (
        with_file(pwrite("(i64.const 0)"), uses="fd_pwrite", times=11, size=10_000),
        with_file(pwrite("(i64.const 0)"), uses="fd_pwrite", times=10, size=10_000),
        10_000,
    ),
    "a byte far behind the end": (
        with_file(pwrite("(i64.const 100000)"), uses="fd_pwrite"),
        with_file(pwrite("(i64.const 99999)"), uses="fd_pwrite"),
        0,
    ),
    "a byte very far behind the end": (
        with_file(pwrite(f"(i64.const {FAR})"), uses="fd_pwrite"),
        with_file(pwrite("(i64.const 0)"), uses="fd_pwrite"),
        0,
    ),
    "a byte far behind the end, after a seek": (
        with_file(seek_and_write("(i64.const 100000)"), uses="fd_seek fd_write"),
        with_file(seek_and_write("(i64.const 99999)"), uses="fd_seek fd_write"),
        0,
    ),
    "a byte in each block": (
        with_file(pwrite(each(4_096)), uses="fd_pwrite", times=26),
        with_file(pwrite(each(4_096)), uses="fd_pwrite", times=25),
        24 * 4_096 + 1,
    ),
    "a byte in each block, after seeks": (
        with_file(seek_and_write(each(4_096)), uses="fd_seek fd_write", times=26),
        with_file(seek_and_write(each(4_096)), uses="fd_seek fd_write", times=25),
        24 * 4_096 + 1,
    ),
    "a size": (
        with_file(
            "(call $fd_filestat_set_size (i32.const 4) (i64.const 100001))", uses="fd_filestat_set_size"
        ),
        with_file(
            "(call $fd_filestat_set_size (i32.const 4) (i64.const 100000))", uses="fd_filestat_set_size"
        ),
        0,
    ),
    "a size beyond all disks": (
        with_file("(call $fd_filestat_set_size (i32.const 4) (i64.const -1))", uses="fd_filestat_set_size"),
        with_file("(call $fd_filestat_set_size (i32.const 4) (i64.const 0))", uses="fd_filestat_set_size"),
        0,
    ),
}


@pytest.mark.parametrize("given", ["the run", "the rule"])
@pytest.mark.parametrize("name", WRITES)
def test_bytes_on_disk_are_bounded_for_a_guest_that_writes(shared, folder, name, given):
    beyond, within, written = WRITES[name]
    more = {"timeout": "60s", "cpu": "60s"}
    bound = (
        plan(folder, disk=100_000, **more)
        if given == "the run"
        else plan(folder, rule=", max_bytes: 100000", disk="unlimited", **more)
    )
    done = shared.run(beyond, bound)
    assert done.receipt.outcome == exited(DQUOT)
    assert rules(done) == {"limit.disk" if given == "the run" else "d"}
    status = (folder / "f").stat()
    assert status.st_size == written
    assert status.st_blocks * 512 <= 128 * 1_024  # what a file system puts aside beside it
    (folder / "f").unlink()
    done = shared.run(within, bound)
    assert (done.receipt.outcome, rules(done)) == (exited(), set())


def test_writing_less_again_and_again_is_bounded_by_what_was_written_and_not_by_what_is_there(shared, folder):
    cut = f"(i32.or {WRITE} (call $fd_filestat_set_size (i32.const 4) (i64.const 0)))"
    done = shared.run(
        with_file(cut, uses="fd_write fd_filestat_set_size", times=None, size=10_000),
        plan(folder, disk=100_000),
    )
    assert (done.receipt.outcome, rules(done)) == (exited(DQUOT), {"limit.disk"})
    assert done.receipt.resources.bytes_written <= 100_000


def test_room_is_not_put_aside(shared, folder):
    module = with_file(
        f"(call $fd_allocate (i32.const 4) (i64.const 0) (i64.const {FAR}))", uses="fd_allocate"
    )
    assert shared.run(module, plan(folder, disk=100_000)).receipt.outcome == exited(NOTSUP)
    assert (folder / "f").stat().st_blocks == 0


# --- files ------------------------------------------------------------------------------------------------

NAME = "(i32.const 1024) (i32.const 4)"
CLOSE = "(call $fd_close (i32.load (i32.const 512)))"
UNLINK = f"(call $path_unlink_file (i32.const 3) {NAME})"
MAKES = {
    "files": (f"(i32.or {opens(length=4)} {CLOSE})", "path_open fd_close"),
    "files that it removes": (
        f"(i32.or (i32.or {opens(length=4)} {CLOSE}) {UNLINK})",
        "path_open fd_close path_unlink_file",
    ),
    "directories": (f"(call $path_create_directory (i32.const 3) {NAME})", "path_create_directory"),
    "links": (f"(call $path_symlink (i32.const 900) (i32.const 1) (i32.const 3) {NAME})", "path_symlink"),
    "hard links": (
        f"(call $path_link (i32.const 3) (i32.const 0) (i32.const 900) (i32.const 1) (i32.const 3) {NAME})",
        "path_link",
    ),
}


@pytest.mark.parametrize("given", ["the run", "the rule"])
@pytest.mark.parametrize("name", MAKES)
def test_files_are_bounded_for_a_guest_that_makes(shared, folder, name, given):
    body, uses = MAKES[name]
    (folder / "f").write_bytes(b"")
    bound = (
        plan(folder, files=30) if given == "the run" else plan(folder, rule=", max_files: 30", files=1_000)
    )
    done = shared.run(makes(body, uses=uses, times=40), bound)
    assert done.receipt.outcome == exited(30)
    assert rules(done) == {"limit.files" if given == "the run" else "d"}
    assert len(list(folder.iterdir())) == (1 if "removes" in name else 31)
    for made in folder.iterdir():
        made.rmdir() if made.is_dir() and not made.is_symlink() else made.unlink()
    (folder / "f").write_bytes(b"")
    done = shared.run(makes(body, uses=uses, times=30), bound)
    assert (done.receipt.outcome, rules(done)) == (exited(30), set())


def test_moving_one_file_about_makes_none(shared, folder):
    (folder / "f").write_bytes(b"x")
    there = f"(call $path_rename (i32.const 3) (i32.const 900) (i32.const 1) (i32.const 3) {NAME})"
    back = f"(call $path_rename (i32.const 3) {NAME} (i32.const 3) (i32.const 900) (i32.const 1))"
    done = shared.run(makes(f"(i32.or {there} {back})", uses="path_rename", times=100), plan(folder, files=0))
    assert (done.receipt.outcome, rules(done)) == (exited(100), set())
    assert [made.name for made in folder.iterdir()] == ["f"]


# --- descriptors ------------------------------------------------------------------------------------------

OPEN = opens(0, length=1, at=900)
LATEST = "(i32.load (i32.const 512))"
DIRECTORY = """(call $path_open (i32.const 3) (i32.const 0) (i32.const 900) (i32.const 1) (i32.const 2) (i64.const 0)
  (i64.const 0) (i32.const 0) (i32.const 512))"""


@pytest.mark.parametrize("kind", ["files", "directories"])
@pytest.mark.parametrize("most", [5, 300])
def test_as_many_descriptors_are_open_as_may_be(shared, folder, kind, most):
    (folder / "f").write_bytes(b"x") if kind == "files" else (folder / "f").mkdir()
    body = OPEN if kind == "files" else DIRECTORY
    done = shared.run(makes(body, uses="path_open", times=most + 3), plan(folder, open_files=most))
    assert (done.receipt.outcome, rules(done)) == (exited(most), {"limit.open_files"})
    assert len(done.receipt.refusals) == 3
    done = shared.run(makes(body, uses="path_open", times=most), plan(folder, open_files=most))
    assert (done.receipt.outcome, rules(done)) == (exited(most), set())


def test_a_descriptor_that_was_closed_gives_its_place_back(shared, folder):
    (folder / "f").write_bytes(b"x")
    module = makes(f"(i32.or {OPEN} (call $fd_close {LATEST}))", uses="path_open fd_close", times=2_000)
    done = shared.run(module, plan(folder, open_files=1))
    assert (done.receipt.outcome, rules(done)) == (exited(2_000), set())


@pytest.mark.parametrize("over", [0, 1, 2, 3])
def test_a_descriptor_that_takes_the_number_of_another_still_counts(shared, folder, over):
    (folder / "f").write_bytes(b"x")
    move = f"(drop {OPEN}) (drop (call $fd_renumber {LATEST} (i32.const {over})))"
    # where the mount itself is overwritten, nothing more can be opened at all
    done = shared.run(
        makes(OPEN, uses="path_open fd_renumber", times=9, before=move), plan(folder, open_files=5)
    )
    assert done.receipt.outcome == exited(0 if over == 3 else 4)
    assert rules(done) == (set() if over == 3 else {"limit.open_files"})


def test_descriptors_that_replace_each_other_count_once(shared, folder):
    (folder / "f").write_bytes(b"x")
    body = f"(i32.or {OPEN} (call $fd_renumber {LATEST} (i32.const 4)))"
    first = f"(drop {OPEN})"
    done = shared.run(
        makes(body, uses="path_open fd_renumber", times=500, before=first), plan(folder, open_files=2)
    )
    assert (done.receipt.outcome, rules(done)) == (exited(500), set())
    done = shared.run(
        makes(body, uses="path_open fd_renumber", times=5, before=first), plan(folder, open_files=1)
    )
    assert (done.receipt.outcome, rules(done)) == (exited(0), {"limit.open_files"})


def test_requests_that_are_refused_over_and_over_end_as_host_calls(shared, folder):
    (folder / "f").write_bytes(b"x")
    module = guests.busy(f"(drop {OPEN})", uses="path_open", fields='(data (i32.const 900) "f")')
    bound = plan(folder, open_files=0, host_calls=500, timeout="60s")
    done = shared.run(module, bound)
    assert done.receipt.outcome == limit("host_calls")
    assert {one.rule for one in done.receipt.refusals} == {"limit.open_files"}
    assert done.receipt.records == 501
