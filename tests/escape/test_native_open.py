"""Native code in a cell opens files: only those in the plan's mounts, and only as the plan says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.escape.native import UNCONFINED, tried
from tests.runs import mount_rule, policy

OUTSIDE = "/etc/passwd"
FLAGS = {
    "read": os.O_RDONLY,
    "write": os.O_WRONLY,
    "create": os.O_WRONLY | os.O_CREAT,
    "cut": os.O_WRONLY | os.O_TRUNC,
    "list": os.O_RDONLY | os.O_DIRECTORY,
}


def open_as(path: str, how: str) -> str:
    return tried(lambda: os.close(os.open(path, FLAGS[how] | os.O_CLOEXEC)))


def climb_from_mount(path: str) -> str:
    """Go up from each directory that the cell holds."""
    found = []
    for number in range(3, 64):
        try:
            fd = os.open("../" * 16 + path.lstrip("/"), os.O_RDONLY | os.O_CLOEXEC, dir_fd=number)
        except OSError:
            continue
        found.append(str(number))
        os.close(fd)
    return " ".join(found) or "none"


def change_tree(folder: str) -> str:
    """Make, rename, link and remove; gives what came of each."""
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    steps = (
        lambda: os.mkdir("made", dir_fd=at),
        lambda: os.rename("there", "gone", src_dir_fd=at, dst_dir_fd=at),
        lambda: os.link("kept", "linked", src_dir_fd=at, dst_dir_fd=at),
        lambda: os.symlink("kept", "link", dir_fd=at),
        lambda: os.unlink("kept", dir_fd=at),
    )
    return " ".join(tried(step) for step in steps)


@pytest.fixture
def folder(tmp_path) -> Path:
    made = Path(tmp_path) / "mount"
    made.mkdir()
    for name in ("there", "kept"):
        (made / name).write_text("content", encoding="utf-8")
    return made


def granted(folder: Path, access: str) -> str:
    return mount_rule(folder, access) + "  extra_args: true\n"


def test_without_a_mount_no_file_is_opened(lab):
    confined, bare = lab.both(open_as, OUTSIDE, "read")
    assert (confined.said, bare.said) == ("EACCES", "done None")


@pytest.mark.parametrize(
    "path", [OUTSIDE, "/proc/self/root/etc/passwd", "/proc/self/environ", "/proc/1/environ", "/dev/null"]
)
def test_with_a_mount_nothing_outside_it_is_opened(path, lab, folder):
    plan = policy(granted(folder, "read, list"))
    assert lab.attempt(open_as, path, "read", plan=plan).said in {"EACCES", "EPERM", "ENOENT"}
    assert lab.attempt(open_as, OUTSIDE, "read", plan=policy(UNCONFINED)).said == "done None"


@pytest.mark.parametrize(
    ("access", "how", "said"),
    [
        ("read, list", "read", "done None"),
        ("read, list", "write", "EACCES"),
        ("read, list", "cut", "EACCES"),
        ("read, list, append", "write", "done None"),
        ("read, list, append", "cut", "EACCES"),
        ("read, list, write", "write", "done None"),
        ("read, list, write", "cut", "done None"),
        ("list", "read", "EACCES"),
    ],
)
def test_in_a_mount_files_are_opened_as_the_plan_says(access, how, said, lab, folder):
    assert lab.attempt(open_as, folder / "there", how, plan=policy(granted(folder, access))).said == said


def test_a_directory_that_the_cell_holds_leads_nowhere_else(lab, folder):
    plan = policy(granted(folder, "read, list"))
    assert lab.attempt(climb_from_mount, OUTSIDE, plan=plan).said == "none"
    bare = policy(granted(folder, "read, list") + "runtime: {isolation: process}\n")
    assert lab.attempt(climb_from_mount, OUTSIDE, plan=bare).said != "none"


def test_a_mount_that_may_only_be_read_is_not_changed(lab, folder):
    attempt = lab.attempt(change_tree, folder, plan=policy(granted(folder, "read, list")))
    assert attempt.is_killed  # no list of such a plan has a call that changes anything
    assert sorted(path.name for path in folder.iterdir()) == ["kept", "there"]


def test_a_mount_is_changed_as_the_plan_says(lab, folder):
    some = lab.attempt(change_tree, folder, plan=policy(granted(folder, "read, list, write")))
    assert some.said.split(" ") == ["EACCES", "EACCES", "EACCES", "EACCES", "EACCES"]
    every = policy(granted(folder, "read, list, write, create, delete, symlink"))
    done = lab.attempt(change_tree, folder, plan=every)
    assert "EACCES" not in done.said
    assert sorted(path.name for path in folder.iterdir()) == ["gone", "link", "linked", "made"]
