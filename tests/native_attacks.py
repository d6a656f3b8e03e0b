"""Code that a hostile module would run if it took over the compiler: each attack in a process of its own.

Run as `python -m tests.native_attacks` in an empty folder: writes a JSON object, for each attack how it ended
behind the walls and how without them. What ends as `done` got through.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from sandbox.artifact import private_file
from sandbox.compile_process import CompileOrder, confine
from sandbox.engine_wasmtime import EngineConfig

_LIBC = ctypes.CDLL(None, use_errno=True)
_REFUSED = 10
_SECRET = os.open("/dev/null", os.O_RDONLY)


def _checked(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")


def _connect() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()


def _fork() -> None:
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _start_a_thread() -> None:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()


def _map_code() -> None:
    _LIBC.mmap.restype = ctypes.c_long
    _checked(_LIBC.mmap(None, ctypes.c_size_t(4_096), 7, 0x22, -1, ctypes.c_long(0)))


ATTACKS: dict[str, Callable[[], object]] = {
    "read a file": lambda: os.open("/etc/passwd", os.O_RDONLY),
    "make a file": lambda: os.open("made", os.O_RDWR | os.O_CREAT),
    "list a directory": lambda: os.scandir("."),
    "delete a file": Path("there").unlink,
    "open the module anew for writing": lambda: os.open("/proc/self/fd/1", os.O_WRONLY),
    "use a descriptor of the supervisor's": lambda: os.fstat(_SECRET),
    "make a socket": lambda: socket.socket().close(),
    "make a pair of sockets": socket.socketpair,
    "connect": _connect,
    "start a program": lambda: os.execv("/bin/true", ["true"]),
    "start a process": _fork,
    "be traced": lambda: _checked(_LIBC.ptrace(0, 0, 0, 0)),
    "signal the supervisor": lambda: os.kill(os.getppid(), 0),
    "read the memory of the supervisor": lambda: _checked(_LIBC.process_vm_readv(os.getpid(), 0, 0, 0, 0, 0)),
    "watch the supervisor": lambda: os.pidfd_open(os.getppid()),
    "make a memory file": lambda: os.memfd_create("x"),
    "change the mode of a descriptor": lambda: os.fchmod(1, 0o600),
    "leave a namespace": lambda: _checked(_LIBC.unshare(0x400)),
    "raise a limit": lambda: _checked(_LIBC.nice(1)),
    "be dumped again": lambda: _checked(_LIBC.prctl(4, 1, 0, 0, 0)),
    "change the directory": lambda: os.chdir("/"),
}
# what a compilation needs, and therefore has
USES: dict[str, Callable[[], object]] = {
    "start a thread": _start_a_thread,
    "map memory for code": _map_code,
    "read the module": lambda: os.pread(0, 1, 0),
    "write the artifact": lambda: os.write(1, b""),
}


def _order() -> CompileOrder:
    return {
        "module_fd": private_file("module"),
        "message_fd": private_file("message"),
        "artifact_fd": private_file("artifact"),
        "memory_bytes": -1,
        "file_bytes": -1,
        "cpu_s": -1,
        "config": {
            "engine": "cranelift",
            "has_fuel": False,
            "stack_bytes": EngineConfig().stack_bytes,
            "is_deterministic": False,
        },
    }


def _ends(act: Callable[[], object], *, is_confined: bool) -> str:
    order = _order()
    if (child := os.fork()) == 0:
        try:
            if is_confined:
                confine(order)
            act()
            os._exit(0)
        except OSError:
            os._exit(_REFUSED)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for name in ("module_fd", "message_fd", "artifact_fd"):
        os.close(order[name])
    return {0: "done", _REFUSED: "refused", -signal.SIGSYS: "ended"}.get(status, f"status {status}")


def main() -> None:
    """Make every attack twice."""
    Path("there").touch()
    results = {}
    for name, act in (ATTACKS | USES).items():
        results[name] = (_ends(act, is_confined=True), _ends(act, is_confined=False))
    sys.stdout.write(json.dumps(results))


if __name__ == "__main__":
    main()
