"""The compiler's own process: module bytes in on one descriptor, an artifact or a message out on another.

It is started by `compiler.py` as `python -m sandbox.compile_process`, and nothing else runs it.
Hostile input costs seconds and gigabytes here, so the limits are set before the engine is even imported.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import sys
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
)


class CompileConfig(TypedDict):
    """The engine's configuration, as it crosses the border between the processes."""

    engine: str
    has_fuel: bool
    stack_bytes: int


class CompileOrder(TypedDict):
    """What the supervisor asks for: descriptors that this process inherits, limits, configuration."""

    module_fd: int
    artifact_fd: int
    message_fd: int
    memory_bytes: int
    file_bytes: int
    cpu_s: int
    config: CompileConfig


def confine(*, memory_bytes: int, cpu_s: int, file_bytes: int) -> None:
    """Bound this process for good: address space, processor time, size of what it writes; no core file."""
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, file_bytes),
    ):
        _soft, hard = resource.getrlimit(limit)
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (allowed, allowed))


def compile_from(module_fd: int, config: CompileConfig) -> bytes:
    """Compile the module in the file `module_fd`; raises what the engine raises."""
    # The engine comes in after the limits, which is why the import stands here.
    from policy.plan import Engine  # noqa: PLC0415
    from sandbox.engine_wasmtime import EngineConfig, compile_artifact  # noqa: PLC0415

    with os.fdopen(module_fd, "rb") as file:
        file.seek(0)
        module = file.read()
    engine = EngineConfig(Engine(config["engine"]), config["has_fuel"], config["stack_bytes"])
    return compile_artifact(module, engine)


def main(order_json: str) -> int:
    """Do the job that `compiler.py` wrote as JSON; returns the exit status."""
    order: CompileOrder = json.loads(order_json)
    confine(memory_bytes=order["memory_bytes"], cpu_s=order["cpu_s"], file_bytes=order["file_bytes"])
    try:
        artifact = compile_from(order["module_fd"], order["config"])
    except MemoryError:
        return MEMORY
    except Exception as err:  # noqa: BLE001  # whatever it is, the supervisor decides what to say
        message = str(err)
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
    with os.fdopen(fd, "wb") as file:
        file.write(content)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
