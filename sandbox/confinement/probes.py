"""Tries to break each wall from inside a cell, as native code that got out of the engine's sandbox would.

It is a zygote whose cells run a probe where others run the guest: `wasmgate doctor` starts it to find out
which walls hold on a machine. Each wall is tried without those that would stop the probe before it.
INVARIANT: a probe does no harm: what it does where a wall is missing changes no file and no other process.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
from collections.abc import Callable, Sequence

from sandbox import cell, zygote
from sandbox.confinement import walls
from sandbox.confinement.walls import Site
from sandbox.engine_wasmtime import Machine
from sandbox.guest import End, EndKind
from sandbox.job import Job

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_GET_NO_NEW_PRIVS = 39
_WORLD_READABLE = "/etc/passwd"
# more than the plan of a probe comes to (bytes, descriptors), and less than a machine has without it
_TOO_MUCH = 1 << 30
_ASKED = "the kernel was asked: there is no program to try it with"
_TOO_MANY = 500

BROKEN, HELD = "broken", "held"
"""The first word that a probe writes. One that the kernel ended writes nothing, and its wall held."""


def _no_new_privs(_port: int) -> str:
    """Nothing can be tried without a program that gives privileges: the kernel is asked."""
    stands = _LIBC.prctl(_PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1
    return f"{HELD if stands else BROKEN} {_ASKED}"


def _rlimits(_port: int) -> str:
    """Take a gibibyte, and more descriptors than there may be."""
    try:
        mmap.mmap(-1, _TOO_MUCH, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError as err:
        if err.errno != errno.ENOMEM:
            raise
    else:
        return f"{BROKEN} a gibibyte of memory was to be had"
    try:
        for _ in range(_TOO_MANY):
            os.dup(0)
    except OSError as err:
        return HELD if err.errno == errno.EMFILE else f"{BROKEN} {err.strerror}"
    return f"{BROKEN} {_TOO_MANY} descriptors were to be had"


def _capabilities(_port: int) -> str:
    """Change the root directory, to the one that it is."""
    return _refused(lambda: os.chroot("/"), errno.EPERM)


def _landlock(port: int) -> str:
    """Open a file that all may read, and connect to a port that somebody listens on."""
    said = _refused(lambda: os.close(os.open(_WORLD_READABLE, os.O_RDONLY | os.O_CLOEXEC)), errno.EACCES)
    if not said.startswith(HELD):
        return said
    said = _refused(lambda: _connect(port), errno.EACCES)
    return said if said.startswith(HELD) else f"{HELD} for files, not for TCP"


def _seccomp(_port: int) -> str:
    """Make a socket: the kernel ends the process."""
    return _refused(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).close(), errno.EACCES)


def _namespaces(port: int) -> str:
    """Connect to a port that somebody listens on outside."""
    return _refused(lambda: _connect(port), errno.ENETUNREACH)


def _connect(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tried:
        tried.connect(("127.0.0.1", port))


def _refused(attack: Callable[[], None], expected: int) -> str:
    try:
        attack()
    except OSError as err:
        return HELD if err.errno == expected else f"{BROKEN} {err.strerror}"
    return BROKEN


def _cgroup(_port: int) -> str:
    """Take a gibibyte, and write to it: the kernel ends the process."""
    with mmap.mmap(-1, _TOO_MUCH, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as taken:
        for at in range(0, _TOO_MUCH, mmap.PAGESIZE):
            taken[at] = 1
    return f"{BROKEN} a gibibyte of memory was to be had"


PROBES: dict[str, tuple[Callable[[int], str], frozenset[str]]] = {
    "no_new_privs": (_no_new_privs, frozenset({"seccomp"})),
    "rlimits": (_rlimits, frozenset({"seccomp"})),
    "capabilities": (_capabilities, frozenset({"seccomp"})),
    "landlock": (_landlock, frozenset({"seccomp"})),
    "seccomp": (_seccomp, frozenset()),
    "namespaces": (_namespaces, frozenset({"seccomp", "landlock"})),
    "cgroup": (_cgroup, frozenset({"seccomp", "rlimits"})),
}
"""What tries each wall, and the walls that it is tried without."""

_sites: list[Site] = []


def _wait(site: Site | None, before: Sequence[str]) -> tuple[str, ...]:
    """Put no wall up yet: which ones depends on the probe."""
    if site is not None:
        _sites.append(site)
    return tuple(before)


def _probe(machine: Machine, job: Job) -> End:  # noqa: ARG001  # the shape is that of `cell.play`
    """Run the probe that the last but one argument names; its word goes to standard output."""
    name, port = job.world.argv[-2:]
    attack, without = PROBES[name]
    walls.confine_cell(_sites[-1], without)
    os.write(1, attack(int(port)).encode())
    return End(EndKind.RETURNED)


def main() -> None:
    """Serve as a zygote."""
    cell.stand = _wait
    cell.play = _probe
    zygote.main()


if __name__ == "__main__":
    main()
