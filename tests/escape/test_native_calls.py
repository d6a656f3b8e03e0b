"""Native code in a cell makes system calls that no guest needs: the kernel ends the cell at the first one."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import signal
import socket
import threading
from collections.abc import Callable

import pytest

from tests.escape.native import LIBC, call, tried

# x86-64 and arm64, with arguments that do no harm where the call is made
CALLS = {
    "execve": (59, 221, None, None, None),
    "execveat": (322, 281, -1, None, None, None, 0),
    "ptrace": (101, 117, 0, 0, 0, 0),
    "process_vm_readv": (310, 270, 1, None, 0, None, 0, 0),
    "process_vm_writev": (311, 271, 1, None, 0, None, 0, 0),
    "pidfd_open": (434, 434, 1, 0),
    "pidfd_getfd": (438, 438, -1, 0, 0),
    "kcmp": (312, 272, 1, 1, 0, 0, 0),
    "kill": (62, 129, 1, 0),
    "tkill": (200, 130, 1, 0),
    "rt_sigqueueinfo": (129, 138, 1, 0, None),
    "mount": (165, 40, None, None, None, 0, None),
    "umount2": (166, 39, None, 0),
    "pivot_root": (155, 41, None, None),
    "chroot": (161, 51, None),
    "move_mount": (429, 429, -1, None, -1, None, 0),
    "open_tree": (428, 428, -1, None, 0),
    "fsopen": (430, 430, None, 0),
    "unshare": (272, 97, 0),
    "setns": (308, 268, -1, 0),
    "io_uring_setup": (425, 425, 0, None),
    "perf_event_open": (298, 241, None, 0, 0, -1, 0),
    "bpf": (321, 280, 0, None, 0),
    "userfaultfd": (323, 282, 1 << 31),
    "add_key": (248, 217, None, None, None, 0, 0),
    "keyctl": (250, 219, 0, 0, 0, 0, 0),
    "init_module": (175, 105, None, 0, None),
    "kexec_load": (246, 104, 0, 0, None, 0),
    "open_by_handle_at": (304, 265, -1, None, 0),
    "name_to_handle_at": (303, 264, -1, None, None, None, 0),
    "fanotify_init": (300, 262, 0, 0),
    "personality": (135, 92, 0xFFFF_FFFF),
    "setuid": (105, 146, 0),
    "capset": (126, 91, None, None),
    "setrlimit": (160, 164, 0, None),
    "seccomp": (317, 277, 99, 0, None),
    "memfd_create": (319, 279, None, 0),
    "shmget": (29, 194, 0, 0, 0),
    "mq_open": (240, 180, None, 0, 0, None),
    "sendmsg": (46, 211, -1, None, 0),
    "recvmsg": (47, 212, -1, None, 0),
    "splice": (275, 76, -1, None, -1, None, 0, 0),
    "vmsplice": (278, 75, -1, None, 0, 0),
    "pkey_mprotect": (329, 288, None, 0, 0, -1),
    "remap_file_pages": (216, 234, None, 0, 0, 0, 0),
    "modify_ldt": (154, 0, 0, None, 0),
    "iopl": (172, 0, 0),
}
_COLUMN = {"x86_64": 0, "aarch64": 1}
_HERE = [name for name, row in CALLS.items() if row[_COLUMN[platform.machine()]]]


def forbidden(name: str) -> str:
    numbers_and_arguments = CALLS[name]
    number = numbers_and_arguments[_COLUMN[platform.machine()]]
    assert isinstance(number, int)
    return call(number, *numbers_and_arguments[2:])


@pytest.mark.parametrize("name", _HERE)
def test_the_kernel_ends_the_cell(name, lab):
    assert lab.attempt(forbidden, name).is_killed


def test_the_same_calls_are_made_where_nothing_stands_against_them(lab):
    # they may fail, but they come back
    assert lab.both(forbidden, "personality")[1].said.startswith("done")
    assert lab.both(forbidden, "memfd_create")[1].said == "EFAULT"


def newer() -> str:
    """A call that the kernel may have and our table has not."""
    return call(9_999)


def test_a_call_that_is_newer_than_the_list_does_not_exist(lab):
    assert lab.attempt(newer).said == "ENOSYS"


def open_socket(family: str, kind: str) -> str:
    return tried(lambda: socket.socket(int(family), int(kind)).close())


def open_pair() -> str:
    return tried(lambda: len(socket.socketpair()))


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        (socket.AF_INET, socket.SOCK_STREAM),
        (socket.AF_INET6, socket.SOCK_DGRAM),
        (socket.AF_UNIX, socket.SOCK_STREAM),
        (socket.AF_NETLINK, socket.SOCK_RAW),
        (socket.AF_PACKET, socket.SOCK_RAW),
    ],
)
def test_no_socket_is_to_be_had(family, kind, lab):
    assert lab.attempt(open_socket, int(family), int(kind)).is_killed


def test_a_process_that_is_not_confined_gets_one(lab):
    confined, bare = lab.both(open_socket, int(socket.AF_INET), int(socket.SOCK_STREAM))
    assert (confined.is_killed, bare.said) == (True, "done None")
    confined, bare = lab.both(open_pair)
    assert (confined.is_killed, bare.said) == (True, "done 2")


def fork() -> str:
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return "forked"


def start_thread() -> str:
    said: list[str] = []
    thread = threading.Thread(target=said.append, args=("ran",))
    thread.start()
    thread.join()
    return said[0]


def test_a_cell_makes_threads_and_no_processes(lab):
    confined, bare = lab.both(fork)
    assert (confined.is_killed, bare.said) == (True, "forked")
    assert [each.said for each in lab.both(start_thread)] == ["ran", "ran"]


def map_code(protection: str) -> str:
    return tried(lambda: mmap.mmap(-1, 4_096, prot=int(protection)).close())


def turn_to_code() -> str:
    LIBC.mmap.restype = ctypes.c_void_p
    page = LIBC.mmap(
        None, ctypes.c_size_t(4_096), mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0
    )
    failed = LIBC.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(4_096), mmap.PROT_READ | mmap.PROT_EXEC)
    return "failed" if failed else "done"


def test_no_page_becomes_code(lab):
    code, plain = mmap.PROT_READ | mmap.PROT_EXEC, mmap.PROT_READ | mmap.PROT_WRITE
    assert [each.said for each in lab.both(map_code, int(plain))] == ["done None", "done None"]
    confined, bare = lab.both(map_code, int(code))
    assert (confined.is_killed, bare.said) == (True, "done None")
    confined, bare = lab.both(turn_to_code)
    assert (confined.is_killed, bare.said) == (True, "done")


def signal_parent() -> str:
    return tried(lambda: os.kill(os.getppid(), 0))


def signal_thread_of(pid: str) -> str:
    return call({"x86_64": 234, "aarch64": 131}[platform.machine()], int(pid), int(pid), 0)


def signal_self() -> str:
    pid = os.getpid()
    return call({"x86_64": 234, "aarch64": 131}[platform.machine()], pid, threading.get_native_id(), 0)


def test_no_other_process_is_signalled(lab):
    assert lab.attempt(signal_parent).is_killed
    assert lab.attempt(signal_thread_of, os.getpid()).is_killed
    assert lab.attempt(signal_self).said == "done 0"


def abort() -> str:
    os.abort()


def test_a_cell_that_aborts_ends_as_one_that_aborts(lab):
    outcome = lab.attempt(abort).execution.receipt.outcome
    assert outcome.message == f"the cell ended with signal {signal.SIGABRT.value}"


def _of_another_kind() -> Callable[[], int] | None:
    """Machine code that makes a 32-bit system call: `getpid` there."""
    if platform.machine() != "x86_64":
        return None
    code = bytes.fromhex("53b814000000cd805bc3")  # push rbx; mov eax, 20; int 0x80; pop rbx; ret
    page = mmap.mmap(-1, 4_096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    _pages.append(page)
    return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))


_pages: list[mmap.mmap] = []
_GATE = _of_another_kind()  # made before the cell is confined, as the engine's own code is


def call_of_another_kind() -> str:
    return "no such machine" if _GATE is None else f"done {_GATE() > 0}"


def call_of_the_second_numbering() -> str:
    return call(0x4000_0000 | 39)  # x32: `getpid`


@pytest.mark.skipif(platform.machine() != "x86_64", reason="needs Linux")
def test_the_other_ways_into_the_kernel_are_shut(lab):
    assert lab.attempt(call_of_another_kind).is_killed
    assert lab.attempt(call_of_the_second_numbering).is_killed
