"""Native code in a cell against the input that its caller handed on: a pipe, or a file that could be written to.

A terminal is opened anew for reading, and is `test_native_terminal.py`.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from policy.plan import Plan
from tests.escape.native import tried
from tests.runs import mount_rule, policy

CALLER = "permissions: {extra_args: true, stdio: {stdin: caller}}\n"
MINE = b"not the caller's"


def read_input() -> str:
    return os.read(0, 64).decode()


def write_to_input() -> str:
    return tried(lambda: os.write(0, MINE))


def make_it_not_wait() -> str:
    return tried(lambda: fcntl.fcntl(0, fcntl.F_SETFL, os.O_NONBLOCK))


@pytest.fixture
def file(tmp_path) -> Path:
    made = Path(tmp_path) / "input"
    made.write_bytes(b"the caller's")
    return made


def test_input_is_read_where_the_policy_grants_it(lab, file):
    fd = os.open(file, os.O_RDONLY)
    try:
        assert lab.attempt(read_input, plan=policy(CALLER), stdin_fd=fd).said == "the caller's"
        assert lab.attempt(read_input, stdin_fd=fd).said == ""
    finally:
        os.close(fd)


def test_a_file_that_was_opened_for_reading_is_not_written_to(lab, file):
    fd = os.open(file, os.O_RDONLY)
    try:
        lab.attempt(write_to_input, plan=policy(CALLER), stdin_fd=fd)
    finally:
        os.close(fd)
    assert file.read_bytes() == b"the caller's"


def written(lab, file: Path, plan: Plan) -> bytes:
    """What is in a file that the caller may write to, after an attack."""
    fd = os.open(file, os.O_RDWR)
    try:
        lab.attempt(write_to_input, plan=plan, stdin_fd=fd)
    finally:
        os.close(fd)
    return file.read_bytes()


def test_a_cell_that_may_change_nothing_does_not_write_to_its_input(lab, file):
    assert written(lab, file, policy(CALLER)) == b"the caller's"


def test_a_cell_that_may_write_to_a_mount_does_not_write_to_its_input(lab, file, tmp_path):
    folder = tmp_path / "mount"
    folder.mkdir()
    granted = mount_rule(folder, "read, write, create")
    plan = policy(granted + "  extra_args: true\n  stdio: {stdin: caller}\n")
    assert written(lab, file, plan) == b"the caller's"


def test_a_pipe_waits_for_input_after_a_run_as_before(lab):
    reader, writer = os.pipe()
    try:
        lab.attempt(make_it_not_wait, plan=policy(CALLER), stdin_fd=reader)
        assert os.get_blocking(reader)
    finally:
        os.close(reader)
        os.close(writer)


def test_without_a_grant_nothing_is_done_to_a_pipe(lab):
    reader, writer = os.pipe()
    try:
        lab.attempt(make_it_not_wait, stdin_fd=reader)
        assert os.get_blocking(reader)
    finally:
        os.close(reader)
        os.close(writer)
