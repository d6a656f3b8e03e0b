"""Native code in a cell tries to reach somebody over any kind of socket.

That none of the usual kinds can be made is in `test_native_calls.py`. Here somebody listens, and has to hear nothing;
and the socket that a cell does have, to its supervisor, is used for what it is not for.
"""

from __future__ import annotations

import ctypes
import os
import platform
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.escape.native import LIBC, UNCONFINED, call, tried
from tests.runs import mount_rule, policy

X86 = platform.machine() == "x86_64"
AF_VSOCK, AF_ALG, AF_XDP, AF_BLUETOOTH = 40, 38, 44, 31
ABSTRACT = f"\0wasmgate-{os.getpid()}"
SAID = b"from a cell"


class Listeners:
    """One who listens on each kind of socket, outside all namespaces of a cell."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._sockets = {
            "tcp": socket.create_server(("127.0.0.1", 0)),
            "udp": socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
            "unix": socket.socket(socket.AF_UNIX),
            "abstract": socket.socket(socket.AF_UNIX),
        }
        for each in self._sockets.values():
            stack.enter_context(each)
        self.path = str(folder / "s")
        self._sockets["udp"].bind(("127.0.0.1", 0))
        self._sockets["unix"].bind(self.path)
        self._sockets["abstract"].bind(ABSTRACT)
        for kind in ("unix", "abstract"):
            self._sockets[kind].listen()

    def address(self, kind: str) -> str:
        """Where somebody listens, as one word."""
        if kind in {"unix", "abstract"}:
            return self.path if kind == "unix" else "@" + ABSTRACT[1:]
        return str(self._sockets[kind].getsockname()[1])

    def heard(self) -> list[str]:
        """Which of them have something to take."""
        ready, _, _ = select.select(list(self._sockets.values()), [], [], 0)
        return [kind for kind, each in self._sockets.items() if each in ready]


@pytest.fixture
def listeners(tmp_path) -> Iterator[Listeners]:
    with ExitStack() as stack:
        yield Listeners(tmp_path, stack)


def reach(kind: str, address: str) -> str:
    """Connect, or send; gives what came of it."""
    if kind in {"unix", "abstract"}:
        with socket.socket(socket.AF_UNIX) as made:
            return tried(lambda: made.connect(address.replace("@", "\0")))
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as made:
        if kind == "tcp":
            return tried(lambda: made.connect(("127.0.0.1", int(address))))
        return tried(lambda: made.sendto(SAID, ("127.0.0.1", int(address))))


KINDS = ["tcp", "udp", "unix", "abstract"]


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_who_listens_hears_anything(kind, lab, listeners, tmp_path):
    assert lab.attempt(reach, kind, listeners.address(kind)).is_killed
    # nor when the socket lies in a folder in which everything is allowed
    rights = mount_rule(tmp_path, "read, list, create, write, append, delete, symlink")
    plan = policy(rights + "  extra_args: true\n")
    assert lab.attempt(reach, kind, listeners.address(kind), plan=plan).is_killed
    assert listeners.heard() == []


def test_who_is_not_confined_is_heard_where_no_namespace_stands_between(lab, listeners):
    walls = lab.attempt(reach, "unix", listeners.address("unix")).execution.receipt.walls
    for kind in KINDS:
        lab.attempt(reach, kind, listeners.address(kind), plan=policy(UNCONFINED))
    # a socket with a path is in no namespace but that of files
    assert listeners.heard() == (["unix"] if "namespaces" in walls else KINDS)


@pytest.mark.parametrize("family", [AF_VSOCK, AF_ALG, AF_XDP, AF_BLUETOOTH, socket.AF_NETLINK, 0, 255])
def test_no_other_family_is_to_be_had(family, lab):
    assert lab.attempt(make, int(family)).is_killed


def make(family: str) -> str:
    return call(41 if X86 else 198, int(family), socket.SOCK_RAW, 0)


# --- the socket that it has -------------------------------------------------------------------------------


def own() -> int:
    """The socket to the supervisor."""
    for number in range(3, 64):
        if LIBC.send(number, b"", 0, 0) >= 0:
            return number
    raise OSError("there is none")


ON_OWN = {
    "connect": (42, 203, b"\1\0/tmp/s\0", 9),
    "bind": (49, 200, b"\1\0/tmp/s\0", 9),
    "listen": (50, 201, 1),
    "accept": (43, 202, None, None),
    "accept4": (288, 242, None, None, 0),
    "shutdown": (48, 210, 2),
    "getsockopt": (55, 209, 1, 17, None, None),  # who is on the other side
    "setsockopt": (54, 208, 1, 16, b"\1\0\0\0", 4),
    "getpeername": (52, 205, None, None),
    "getsockname": (51, 204, None, None),
    "sendmsg": (46, 211, None, 0),  # with descriptors
    "sendmmsg": (307, 269, None, 1, 0),
    "recvmsg": (47, 212, None, 0),
    "recvmmsg": (299, 243, None, 1, 0, None),
    "sendfile": (40, 71, 0, None, 1),
}


def use(name: str) -> str:
    x86, arm, *arguments = ON_OWN[name]
    number = x86 if X86 else arm
    assert isinstance(number, int)
    return call(number, own(), *arguments)


def send_elsewhere() -> str:
    address = ctypes.create_string_buffer(b"\1\0/tmp/s\0")
    return f"done {LIBC.sendto(own(), SAID, len(SAID), 0, address, 9)}"


def learn_who_sent() -> str:
    address, size = ctypes.create_string_buffer(128), ctypes.c_int(128)
    return f"done {LIBC.recvfrom(own(), address, 1, socket.MSG_DONTWAIT, address, ctypes.byref(size))}"


@pytest.mark.parametrize("name", ON_OWN)
def test_its_own_socket_is_for_messages_and_for_nothing_else(name, lab):
    assert lab.attempt(use, name).is_killed


@pytest.mark.parametrize("attack", [send_elsewhere, learn_who_sent])
def test_no_message_has_an_address(attack, lab):
    assert lab.attempt(attack).is_killed
    assert not lab.attempt(attack, plan=policy(UNCONFINED)).is_killed


def test_with_nobody_on_the_other_side_a_run_has_no_network_to_see(lab):
    confined = lab.attempt(interfaces)
    assert confined.is_killed
    bare = lab.attempt(interfaces, plan=policy(UNCONFINED)).said.split()
    assert "lo" in bare
    if "namespaces" in confined.execution.receipt.walls:
        here = {name for _, name in socket.if_nameindex()}
        assert set(bare) < here or here == {"lo"}


def interfaces() -> str:
    return " ".join(name for _, name in socket.if_nameindex())
