"""The compiler's own process: module bytes in on one descriptor, an artifact or a message out on another.

It is started by `compiler.py` as `python -m sandbox.compile_process`, and nothing else runs it; the walls are
those of `sandbox/confinement`.
Hostile input costs seconds and gigabytes here, so the limits are set before the engine is even imported.
INVARIANT: no byte of the module is read before the walls stand, and the engine has started no thread by then.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import sys
from collections.abc import Callable
from typing import Final, TypedDict

INVALID, BROKEN, MEMORY, TOO_LARGE = 65, 70, 71, 73
"""Exit statuses beside 0: the engine refused the module; anything else; no memory; artifact too large."""

# 8 KiB: an engine's message is a sentence, but it may quote names of up to 100,000 bytes.
MAX_MESSAGE_BYTES = 8_192
# How the engine says that memory or threads could not be had, in messages and before it aborts.
MEMORY_WORDS: Final = (
    "memory allocation of",
    "os error 12",
    "os error 11",
    "Cannot allocate memory",
    "MemoryError",
    "out of memory",
)
# SIGXCPU comes at the limit and SIGKILL, which says nothing, a second later.
_CPU_GRACE_S = 1

WALLS: Final = ("no_new_privs", "capabilities", "landlock", "seccomp")
"""What stands around this process on a machine that has it all, beside its limits."""


class CompileConfig(TypedDict):
    """The engine's configuration, as it crosses the border between the processes."""

    engine: str
    has_fuel: bool
    stack_bytes: int
    is_deterministic: bool


class CompileOrder(TypedDict):
    """What the supervisor asks for: descriptors that this process inherits, limits, configuration."""

    module_fd: int
    artifact_fd: int
    message_fd: int
    memory_bytes: int
    file_bytes: int
    cpu_s: int
    config: CompileConfig


def limit(*, memory_bytes: int, cpu_s: int, file_bytes: int) -> None:
    """Bound this process for good: address space, processor time, size of what it writes; no core file."""
    for number, value, grace in (
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_AS, memory_bytes, 0),
        (resource.RLIMIT_CPU, cpu_s, _CPU_GRACE_S),
        (resource.RLIMIT_FSIZE, file_bytes, 0),
    ):
        _soft, hard = resource.getrlimit(number)
        most = value + grace if hard == resource.RLIM_INFINITY else min(value + grace, hard)
        resource.setrlimit(number, (min(value, most), most))


def confine(order: CompileOrder) -> Callable[[], bytes]:
    """Import the engine and put the walls up; what is returned compiles the module, behind them.

    Writes on `message_fd` which walls stand, as the first line. Raises ConfinementError and OSError.
    """
    # The engine comes in after the limits, which is why the imports stand here.
    from policy.plan import Engine  # noqa: PLC0415
    from sandbox.confinement.process import close_others  # noqa: PLC0415
    from sandbox.confinement.walls import confine_compiler  # noqa: PLC0415
    from sandbox.engine_wasmtime import (  # noqa: PLC0415
        CompileError,
        EngineConfig,
        compile_artifact,
        compile_bundle,
    )
    from sandbox.wasm.component.assembly import core_modules, is_component  # noqa: PLC0415

    given = order["config"]
    config = EngineConfig(
        engine=Engine(given["engine"]),
        has_fuel=given["has_fuel"],
        stack_bytes=given["stack_bytes"],
        is_deterministic=given["is_deterministic"],
    )
    fds = order["module_fd"], order["message_fd"], order["artifact_fd"]
    close_others({0, 1, 2, *fds})
    _write(order["message_fd"], " ".join(confine_compiler()).encode() + b"\n")

    def work() -> bytes:
        with os.fdopen(order["module_fd"], "rb") as file:
            file.seek(0)
            module = file.read()
        if not is_component(module):
            return compile_artifact(module, config)
        try:
            modules = core_modules(module)
        except ValueError as err:
            raise CompileError(str(err)) from err
        return compile_bundle(modules, config)

    return work


def main(order_json: str) -> int:
    """Do the job that `compiler.py` wrote as JSON; returns the exit status."""
    order: CompileOrder = json.loads(order_json)
    limit(memory_bytes=order["memory_bytes"], cpu_s=order["cpu_s"], file_bytes=order["file_bytes"])
    compile_module = None
    try:
        compile_module = confine(order)
        artifact = compile_module()
    except MemoryError:
        return MEMORY
    except Exception as err:  # noqa: BLE001  # whatever it is, the supervisor decides what to say
        message = str(err) if compile_module else f"it could not be confined: {err}"
        if any(word in message for word in MEMORY_WORDS):
            return MEMORY
        _write(order["message_fd"], message.encode(errors="backslashreplace")[:MAX_MESSAGE_BYTES])
        return INVALID if type(err).__name__ == "CompileError" else BROKEN
    try:
        _write(order["artifact_fd"], artifact)
    except OSError as err:
        return TOO_LARGE if err.errno == errno.EFBIG else BROKEN
    return 0


def _write(fd: int, content: bytes) -> None:
    with memoryview(content) as left:
        at = 0
        while at < len(content):
            at += os.write(fd, left[at:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
