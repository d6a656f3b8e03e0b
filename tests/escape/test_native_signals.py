"""Native code in a cell tries to signal other processes, to have them signalled, and to look into them.

What ends a cell at once is in `test_native_calls.py` as well; here are the ways that have no such call of their own,
or that only some arguments of an allowed call would be. Whoever is attacked is a process that the test has started,
and has to be there, unharmed, afterwards.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.escape.native import UNCONFINED, call, tried
from tests.runs import policy

X86 = platform.machine() == "x86_64"
VICTIM = """
import signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
print("ready", flush=True)
sys.stdin.read()
print(sorted(signal.sigpending()), flush=True)
"""
F_SETOWN, F_SETOWN_EX, F_SETSIG, F_NOTIFY, F_SETLEASE = 8, 15, 10, 1_026, 1_024
_NUMBERS = {
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "process_mrelease": (448, 448),
    "process_madvise": (440, 440),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "setpriority": (141, 140),
    "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119),
    "setpgid": (109, 154),
    "setsid": (112, 157),
    "ptrace": (101, 117),
    "process_vm_writev": (311, 271),
}
NUMBER = {name: pair[0 if X86 else 1] for name, pair in _NUMBERS.items()}
PDEATHSIG, DUMPABLE, SUBREAPER, PTRACER = 1, 4, 36, 0x5961_6D61


@pytest.fixture
def victim() -> Iterator[int]:
    """A process that says in the end which signals it was sent; none, or the test fails."""
    words = [sys.executable, "-c", VICTIM]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process.pid
        assert process.communicate("")[0] == "[]\n"
        assert process.returncode == 0


def _signal(name: str, pid: int, number: int) -> str:
    info = ctypes.create_string_buffer(128)
    arguments: dict[str, tuple[object, ...]] = {
        "kill": (pid, number),
        "tkill": (pid, number),
        "tgkill": (pid, pid, number),
        "rt_sigqueueinfo": (pid, number, info),
        "rt_tgsigqueueinfo": (pid, pid, number, info),
        "pidfd_open": (pid, 0),
        "pidfd_send_signal": (0, number, None, 0),
        "process_mrelease": (0, 0),
        "process_madvise": (0, None, 0, 0, 0),
    }
    return call(NUMBER[name], *arguments[name])


def send(name: str, pid: str) -> str:
    return _signal(name, {"own": os.getpid(), "parent": os.getppid()}.get(pid) or int(pid), signal.SIGTERM)


WAYS = [
    "kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_open", "pidfd_send_signal",
    "process_mrelease", "process_madvise",
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_no_call_sends_a_signal_to_another(way, lab, victim):
    assert lab.attempt(send, way, victim).is_killed


@pytest.mark.parametrize("target", ["parent", 1, -1, 0])
def test_neither_its_parent_nor_the_first_process_nor_all_are_signalled(target, lab):
    zygote = lab.zygote
    assert lab.attempt(send, "kill", target).is_killed
    assert lab.zygote == zygote


def signal_own_thread() -> str:
    return call(NUMBER["tgkill"], os.getpid(), threading.get_native_id(), 0)


def test_a_cell_signals_itself(lab):
    assert lab.attempt(signal_own_thread).said == "done 0"


def ask(number: str, value: str) -> str:
    """A command about a descriptor of its own: the pipe of its output."""
    return tried(partial(fcntl.fcntl, 1, int(number), int(value)))


@pytest.mark.parametrize("command", [F_SETOWN, F_SETOWN_EX, F_SETSIG, F_NOTIFY, F_SETLEASE])
def test_no_descriptor_sends_signals_for_it(command, lab, victim):
    assert lab.attempt(ask, command, victim).is_killed


def test_where_nothing_stands_against_it_a_descriptor_has_an_owner(lab, victim):
    assert lab.attempt(ask, F_SETOWN, victim, plan=policy(UNCONFINED)).said.startswith("done")
    assert lab.attempt(ask, fcntl.F_GETFL, 0).said.startswith("done")


def wish(option: str) -> str:
    return call(NUMBER["prctl"], ctypes.c_ulong(int(option)), *[ctypes.c_ulong(0)] * 4)


@pytest.mark.parametrize("option", [PDEATHSIG, DUMPABLE, SUBREAPER, PTRACER])
def test_a_cell_changes_nothing_about_who_ends_or_traces_it(option, lab):
    assert lab.attempt(wish, option).is_killed


def name_itself() -> str:
    return call(NUMBER["prctl"], ctypes.c_ulong(15), b"name", *[ctypes.c_ulong(0)] * 3)


def test_a_thread_may_have_a_name(lab):
    assert lab.attempt(name_itself).said == "done 0"


# --- what belongs to another process ----------------------------------------------------------------------


def limit_other(pid: str) -> str:
    limits = (ctypes.c_ulong * 2)(1, 1)
    return call(NUMBER["prlimit64"], int(pid), resource.RLIMIT_NOFILE, limits, None)


def test_limits_of_another_are_not_changed_and_nor_are_its_own(lab, victim):
    before = resource.prlimit(victim, resource.RLIMIT_NOFILE)
    assert lab.attempt(limit_other, victim).said == "EACCES"
    assert lab.attempt(limit_other, 0).said == "EACCES"
    assert resource.prlimit(victim, resource.RLIMIT_NOFILE) == before
    assert lab.attempt(limit_other, 0, plan=policy(UNCONFINED)).said == "done 0"


CHANGES: dict[str, Callable[[int], str]] = {
    "priority": lambda pid: call(NUMBER["setpriority"], 0, pid, 19),
    "processors": lambda pid: call(NUMBER["sched_setaffinity"], pid, 8, b"\1" + bytes(7)),
    "scheduler": lambda pid: call(NUMBER["sched_setscheduler"], pid, 5, b"\0" * 4),
    "group": lambda pid: call(NUMBER["setpgid"], 0, pid),
    "session": lambda _: call(NUMBER["setsid"]),
    "memory": lambda pid: call(NUMBER["process_vm_writev"], pid, None, 0, None, 0, 0),
    "tracing": lambda pid: call(NUMBER["ptrace"], 0x4206, pid, None, None),  # PTRACE_SEIZE
}


def change(what: str, pid: str) -> str:
    return CHANGES[what](int(pid))


@pytest.mark.parametrize("what", CHANGES)
def test_nothing_of_another_is_changed(what, lab, victim):
    assert lab.attempt(change, what, victim).is_killed
    status = Path(f"/proc/{victim}/status").read_text()
    assert "TracerPid:\t0\n" in status


def test_where_nothing_stands_against_it_the_same_is_done(lab, victim):
    assert lab.attempt(change, "priority", victim, plan=policy(UNCONFINED)).said == "done 0"
    assert lab.attempt(change, "memory", victim, plan=policy(UNCONFINED)).said == "done 0"


IN_PROC = ("mem", "environ", "maps", "fd/0", "task", "root", "cwd", "ns/net", "oom_score_adj", "comm")


def open_in_proc(pid: str) -> str:
    said = (tried(partial(os.open, f"/proc/{pid}/{name}", os.O_RDWR)) for name in IN_PROC)
    also = (tried(partial(os.open, f"/proc/{pid}/{name}", os.O_RDONLY)) for name in IN_PROC)
    return " ".join((*said, *also))


@pytest.mark.parametrize("who", ["victim", "self", "1", "thread-self"])
def test_nothing_of_the_process_table_is_opened(who, lab, victim):
    confined, bare = lab.both(open_in_proc, victim if who == "victim" else who)
    # a directory is no file to write to, whoever asks
    assert set(confined.said.split()) <= {"EACCES", "EISDIR", "ELOOP"}
    assert "done" in bare.said
