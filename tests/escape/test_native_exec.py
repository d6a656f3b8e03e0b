"""Native code in a cell tries to run other code: programs, files and pages that become code.

The plain calls are in `test_native_calls.py`; here are programs that could be run, and files that could be mapped.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from policy.plan import Plan
from sandbox.outcome import CANCELLED
from tests.escape.native import LIBC, UNCONFINED, call, children, tried, wait_for_cell, wait_until
from tests.runs import FOREVER, guest, mount_rule, policy

X86 = platform.machine() == "x86_64"
EXECVE, EXECVEAT, SHMAT, MMAP, MPROTECT, MREMAP = (
    (59, 322, 30, 9, 10, 25) if X86 else (221, 281, 196, 222, 226, 216)
)
AT_EMPTY_PATH = 0x1000
SHM_EXEC = 0o100000
READ, WRITE, CODE = mmap.PROT_READ, mmap.PROT_WRITE, mmap.PROT_EXEC
GROWS_DOWN = 0x0100_0000
PAGE = mmap.PAGESIZE
TRUE = shutil.which("true") or sys.executable


@pytest.fixture
def folder(tmp_path) -> Path:
    """A mount with a program in it."""
    made = Path(tmp_path) / "mount"
    made.mkdir()
    shutil.copy(TRUE, made / "program")
    return made


@pytest.fixture
def everything(folder) -> Plan:
    rights = mount_rule(folder, "read, list, create, write, append, delete, symlink")
    return policy(rights + "  extra_args: true\n")


def run(path: str) -> str:
    return call(EXECVE, path.encode(), None, None)


def run_opened(path: str) -> str:
    fd = os.open(path, os.O_RDONLY)
    return call(EXECVEAT, fd, b"", None, None, AT_EMPTY_PATH)


def write_and_run(path: str) -> str:
    with open(path + "-new", "wb", opener=lambda name, flags: os.open(name, flags, 0o700)) as file:
        file.write(b"#!/bin/sh\nexit 0\n")
    return run(path + "-new")


def run_memory(path: str) -> str:
    fd = os.memfd_create("program")
    os.write(fd, Path(path).read_bytes())
    return call(EXECVEAT, fd, b"", None, None, AT_EMPTY_PATH)


@pytest.mark.parametrize("attack", [run, run_opened, write_and_run, run_memory])
def test_no_program_is_run_wherever_it_lies(attack, lab, folder, everything):
    assert lab.attempt(attack, folder / "program", plan=everything).is_killed


def test_no_program_of_the_machine_is_run(lab):
    assert lab.attempt(run, TRUE).is_killed


def test_where_nothing_stands_against_it_the_program_takes_the_place_of_the_cell(lab, folder):
    for attack in (run, run_opened):
        bare = lab.attempt(attack, folder / "program", plan=policy(UNCONFINED))
        assert not bare.is_killed
        assert bare.execution.receipt.outcome.message == "the cell ended with status 0"


# --- pages ------------------------------------------------------------------------------------------------


def _map(protection: int, flags: int, fd: int = -1) -> str:
    return call(MMAP, None, ctypes.c_ulong(PAGE), ctypes.c_ulong(protection), flags, fd, ctypes.c_ulong(0))


ANONYMOUS, PRIVATE, SHARED = mmap.MAP_ANONYMOUS, mmap.MAP_PRIVATE, mmap.MAP_SHARED
MAPS = {
    "code": (CODE, PRIVATE | ANONYMOUS),
    "code to read": (READ | CODE, PRIVATE | ANONYMOUS),
    "code to write": (READ | WRITE | CODE, PRIVATE | ANONYMOUS),
    "code with others": (READ | CODE, SHARED | ANONYMOUS),
    "code of the stack": (READ | CODE | GROWS_DOWN, PRIVATE | ANONYMOUS),
    "code, with bits above": (1 << 32 | READ | CODE, PRIVATE | ANONYMOUS),
}


def map_page(name: str) -> str:
    protection, flags = MAPS[name]
    return _map(protection, flags).partition(" ")[0]


def map_file(path: str, protection: str) -> str:
    fd = os.open(path, os.O_RDONLY)
    return _map(int(protection), PRIVATE, fd).partition(" ")[0]


@pytest.mark.parametrize("name", MAPS)
def test_no_page_of_code_is_made(name, lab):
    assert lab.attempt(map_page, name).is_killed


def test_no_file_is_mapped_as_code(lab, folder, everything):
    program = folder / "program"
    assert lab.attempt(map_file, program, READ | CODE, plan=everything).is_killed
    assert lab.attempt(map_file, program, READ, plan=everything).said == "done"
    assert lab.attempt(map_file, program, READ | CODE, plan=policy(UNCONFINED)).said == "done"


def attach() -> str:
    memory = LIBC.shmget(0, ctypes.c_size_t(PAGE), 0o600)
    return call(SHMAT, memory, None, SHM_EXEC)


def turn_stack() -> str:
    """Make the page of a local variable code, and its neighbours as far as the stack goes down."""
    local = ctypes.create_string_buffer(8)
    at = ctypes.addressof(local) & ~(PAGE - 1)
    return call(MPROTECT, ctypes.c_void_p(at), ctypes.c_size_t(PAGE), READ | WRITE | CODE | GROWS_DOWN)


def turn_part() -> str:
    """Write a page, take the right to write away first, and only then make it code."""
    page = mmap.mmap(-1, PAGE)
    at = ctypes.addressof(ctypes.c_char.from_buffer(page))
    size = ctypes.c_size_t(PAGE)
    said = call(MPROTECT, ctypes.c_void_p(at), size, READ)
    return f"{said} {call(MPROTECT, ctypes.c_void_p(at), size, READ | CODE)}"


@pytest.mark.parametrize("attack", [attach, turn_stack, turn_part])
def test_no_page_becomes_code(attack, lab):
    assert lab.attempt(attack).is_killed
    assert not lab.attempt(attack, plan=policy(UNCONFINED)).is_killed


PATHS = ("/proc/self/mem", "/proc/thread-self/mem", "/proc/self/maps")


def open_own_memory() -> str:
    return " ".join(tried(partial(os.open, path, os.O_RDWR)).partition(" ")[0] for path in PATHS)


def test_code_is_not_written_by_a_file_of_its_own_memory(lab):
    confined, bare = lab.both(open_own_memory)
    assert (confined.said, bare.said) == ("EACCES EACCES EACCES", "done done done")


# --- pages that are both ----------------------------------------------------------------------------------

ANSWER = 42
# `mov eax, 42; ret` and `mov w0, #42; ret`
CODE_OF_ANSWER = bytes.fromhex("b82a000000c3" if X86 else "40058052c0035fd6")
Function = ctypes.CFUNCTYPE(ctypes.c_int)


def entry_of(function: Callable[[], int]) -> int:
    """Where the code lies by which C calls a function of Python."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0  # type: ignore[arg-type]  # it is one for C as well


def write_code() -> str:
    """Write code over the code by which C calls a function, and call that."""
    function = Function(lambda: 0)
    ctypes.memmove(entry_of(function), CODE_OF_ANSWER, len(CODE_OF_ANSWER))
    return str(function())


def test_code_of_ones_own_is_not_run(lab):
    assert lab.attempt(write_code).said != str(ANSWER)


def test_in_a_cell_no_page_is_code_and_can_be_written(log):
    """A real cell, with the real guest in it, looked at from outside while it runs."""
    log.runner.warm()
    zygote = log.runner._cells._zygote.process.pid
    wait_until(lambda: not children(zygote))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(log.run, guest(FOREVER))
        maps = Path(f"/proc/{wait_for_cell(zygote)}/maps").read_text()
        log.runner.cancel(log.runner.running[0])
        assert running.result().receipt.outcome.message == CANCELLED
    kinds = {line.split()[1] for line in maps.splitlines()}
    assert any("x" in kind for kind in kinds)  # its own code, and the guest's
    assert not any({"w", "x"} <= set(kind) for kind in kinds)
