"""Puts up the walls around a broker: sockets, the files that name servers are found by, and nothing else.

The pieces are those of `sandbox/confinement`. INVARIANT: they stand before the first request is read, while
there is one thread.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sandbox.confinement import landlock, process
from sandbox.confinement.filters import broker_filter, this_machine
from sandbox.confinement.walls import can_filter, put_up
from sandbox.network.account import MAX_BYTES

_RESOLVER_FILES: Final = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
)
_NET_BIND_SERVICE: Final = 10
_OWN_FILES: Final = 64
_OWN_BYTES: Final = 256 << 20


def confine_broker(leash: int, *, sockets: int, has_low_ports: bool) -> tuple[str, ...]:
    """Confine this process; names the walls that stand now. Raises ConfinementError and OSError."""
    with contextlib.suppress(OSError):  # loads what looks names up, while it can be loaded
        socket.getaddrinfo("localhost", None)
    kept = (_NET_BIND_SERVICE,) if has_low_ports else ()
    steps: dict[str, Callable[[], None]] = {
        "no_new_privs": process.forbid_new_privileges,
        "rlimits": lambda: _limit(sockets),
        "capabilities": lambda: process.drop_capabilities(kept),
    }
    with contextlib.ExitStack() as stack:
        files = [(fd, landlock.Access.READ_FILE) for fd in _resolver_files(stack)]
        if (ruleset := landlock.ruleset(files, has_tcp=True)) is not None:
            steps["landlock"] = lambda: _restrict(ruleset)
    if can_filter():
        steps["seccomp"] = lambda: process.install_filter(
            broker_filter(this_machine(), os.getpid(), leash=leash)
        )
    return put_up(steps)


def _restrict(ruleset: int) -> None:
    landlock.restrict(ruleset)
    os.close(ruleset)


def _resolver_files(stack: contextlib.ExitStack) -> list[int]:
    """Open what names are looked up by, where it is, as descriptors that name it and read nothing."""
    found = []
    for name in _RESOLVER_FILES:
        with contextlib.suppress(OSError):
            fd = os.open(Path(name).resolve(strict=True), os.O_PATH | os.O_CLOEXEC)
            stack.callback(os.close, fd)
            found.append(fd)
    return found


def _limit(sockets: int) -> None:
    for number in (resource.RLIMIT_CORE, resource.RLIMIT_MEMLOCK, resource.RLIMIT_MSGQUEUE):
        process.limit(number, 0)
    process.limit(resource.RLIMIT_FSIZE, MAX_BYTES)  # the only file that it can write is its account
    process.limit(resource.RLIMIT_NOFILE, sockets + _OWN_FILES)
    process.limit(resource.RLIMIT_DATA, process.memory_in_use() + _OWN_BYTES)
