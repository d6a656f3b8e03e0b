"""Compilation of a guest, from the supervisor's side: start the compiler's process, wait, read what it left.

What happens in that process lives in `compile_process.py`; artifacts are kept in `cache.py`.
The supervisor never compiles a guest in its own process, and a compiler that overstays is killed with all it
started.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from audit.inert import inert
from sandbox.artifact import Artifact, freeze, private_file
from sandbox.cache import ArtifactCache, artifact_name
from sandbox.compile_process import (
    INVALID,
    MAX_MESSAGE_BYTES,
    MEMORY,
    MEMORY_WORDS,
    TOO_LARGE,
    WALLS,
    CompileOrder,
)
from sandbox.compile_turns import Cancelled, CompileTurns
from sandbox.refusal import AdmissionRefused, Refusal

if TYPE_CHECKING:
    from sandbox.engine_wasmtime import EngineConfig

# 4 GiB of address space: on two cores CPython (26 MB) needs under 1, and one module of 58 MB asked for 6.
COMPILE_MEMORY_BYTES = 4 << 30
# 1 GiB: artifacts of real programs are one to three times as large as their modules.
MAX_ARTIFACT_BYTES = 1 << 30
# The engine compiles functions in parallel, one thread for each; more threads only add address space.
MAX_THREADS = 8
# 300 characters of an engine's message hold its sentence and the place in the module.
MAX_ENGINE_MESSAGE = 300
# Processor seconds beside the wall limit: the interpreter and the engine start, too.
_START_CPU_S = 5

# How the engine says that a module is within the format and above the engine's own caps.
_CAP_WORDS = (
    "exceeds limit",
    "exceed maximum",
    "number of elements is out of bounds",
    "Unsupported feature:",
    "mplementation limit exceeded",
)


@dataclass(frozen=True, slots=True)
class CompileLimits:
    """What one compilation may use."""

    wall_ms: int  # negative: no limit
    memory_bytes: int = COMPILE_MEMORY_BYTES
    artifact_bytes: int = MAX_ARTIFACT_BYTES
    cancelled: threading.Event | None = None  # set by whoever no longer wants the artifact


@dataclass(frozen=True, slots=True)
class Prepared:
    """An artifact that is ready to be loaded, and how it was come by."""

    artifact: Artifact
    is_cached: bool
    finding: str = ""  # what was wrong with the cache or the compiler's walls, for the report; or empty


def prepare(
    module: bytes,
    *,
    digest: str,
    config: EngineConfig,
    engine_key: str,
    limits: CompileLimits,
    cache: ArtifactCache | None,
    turns: CompileTurns | None = None,
) -> Prepared:
    """Take the artifact of `module` from the cache, or compile it, when it has one of `turns`, and keep it.

    `digest` is that of `module`, `engine_key` that of `config`; without a cache the artifact lasts for this
    run only.
    A cache that cannot be written costs time, not the run. Raises AdmissionRefused as `compile_module` does,
    and Cancelled.
    """
    turns = turns or CompileTurns()
    if cache is None:
        with turns.turn(None, limits.cancelled):
            artifact, walls = _compile(module, config, limits)
        return Prepared(artifact, is_cached=False, finding=_gap(walls))
    name = artifact_name(digest, engine_key)
    found = cache.load(name)
    if isinstance(found, Artifact):
        return Prepared(found, is_cached=True)
    with turns.turn(name, limits.cancelled):
        again = cache.load(name)  # another run may have made it meanwhile
        if isinstance(again, Artifact):
            return Prepared(again, is_cached=True)
        artifact, walls = _compile(module, config, limits)
        findings = [found.finding, _gap(walls)]
        try:
            cache.store(name, artifact)
        except OSError as err:
            findings.append(f"the artifact could not be kept: {err.strerror}")
    return Prepared(artifact, is_cached=False, finding="; ".join(filter(None, findings)))


def compile_module(module: bytes, *, config: EngineConfig, limits: CompileLimits) -> Artifact:
    """Compile `module` in a process of its own; the caller closes the artifact.

    Raises AdmissionRefused: invalid, or out of time or memory, or the compiler broke.
    """
    return _compile(module, config, limits)[0]


def _compile(module: bytes, config: EngineConfig, limits: CompileLimits) -> tuple[Artifact, tuple[str, ...]]:
    """Compile in a process of its own; says which walls stood around it, too."""
    with contextlib.ExitStack() as stack:
        module_fd, message_fd, noise_fd, artifact_fd = (
            _private(stack, name) for name in ("module", "message", "noise", "artifact")
        )
        with os.fdopen(os.dup(module_fd), "wb") as file:
            file.write(module)
        order: CompileOrder = {
            "module_fd": module_fd,
            "message_fd": message_fd,
            "artifact_fd": artifact_fd,
            "memory_bytes": limits.memory_bytes,
            "file_bytes": limits.artifact_bytes,
            "cpu_s": _cpu_s(limits.wall_ms),
            "config": {
                "engine": config.engine.value,
                "has_fuel": config.has_fuel,
                "stack_bytes": config.stack_bytes,
                "is_deterministic": config.is_deterministic,
            },
        }
        status = _run(json.dumps(order), (module_fd, message_fd, artifact_fd), noise_fd, limits)
        walls, message = _said(_text(message_fd))
        if status != 0:
            raise _refusal(status, message, _text(noise_fd), limits)
        freeze(artifact_fd)
        return Artifact(os.dup(artifact_fd)), walls


def _said(text: str) -> tuple[tuple[str, ...], str]:
    """What the process wrote: a line with the walls, once they stand, and then what went wrong.

    The line was there before the module was read; a compiler that was taken over could still write another.
    """
    first, newline, message = text.partition("\n")
    return (tuple(name for name in WALLS if name in first.split()), message) if newline else ((), text)


def _gap(walls: tuple[str, ...]) -> str:
    missing = [name for name in WALLS if name not in walls]
    return f"the module was compiled without the walls {', '.join(missing)}" if missing else ""


def _private(stack: contextlib.ExitStack, name: str) -> int:
    fd = private_file(f"wasmgate-{name}")
    stack.callback(os.close, fd)
    return fd


def _threads() -> int:
    return min(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, MAX_THREADS
    )


def _cpu_s(wall_ms: int) -> int:
    # A week stands for no limit: an orphan has to end some day.
    wall_s = 7 * 86_400 if wall_ms < 0 else -(-wall_ms // 1_000)
    return wall_s * _threads() + _START_CPU_S


def _environment() -> dict[str, str]:
    # SECURITY: the operator's environment holds secrets and switches of the loader; the compiler gets
    # neither.
    return {
        "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
        "RAYON_NUM_THREADS": str(_threads()),
        "MALLOC_ARENA_MAX": "2",  # glibc reserves 64 MiB of address space for each arena
        "LC_ALL": "C.UTF-8",
    }


_OVERSTAYED = -256
"""Stands for an exit status: the process was killed at the wall limit."""


_TIME = "compiling the module took longer than the policy's compile limit of {wall_ms} ms"
_KILLED: Final = {
    _OVERSTAYED: (Refusal.COMPILE_TIME, _TIME),
    -signal.SIGXCPU: (Refusal.COMPILE_TIME, _TIME),
    # we kill at the wall limit only: this one is the system's
    -signal.SIGKILL: (
        Refusal.COMPILE_MEMORY,
        "the compiler was ended by the system, which had no memory left for it",
    ),
    -signal.SIGSYS: (
        Refusal.COMPILE_FAILED,
        "the compiler was ended: it made a system call that no compilation needs",
    ),
}
_TICK_S = 0.1  # how late the compiler's process hears that nobody wants its work any more


def _run(order: str, fds: tuple[int, ...], noise_fd: int, limits: CompileLimits) -> int:
    process = subprocess.Popen(  # our own interpreter and module; nothing of it comes from a guest
        [sys.executable, "-P", "-m", "sandbox.compile_process", order],
        stdin=subprocess.DEVNULL,
        stdout=noise_fd,
        stderr=noise_fd,
        cwd="/",
        env=_environment(),
        pass_fds=fds,
        start_new_session=True,
    )
    try:
        return _wait(process, limits)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(process: subprocess.Popen[bytes], limits: CompileLimits) -> int:
    until = float("inf") if limits.wall_ms < 0 else time.monotonic() + limits.wall_ms / 1_000
    while (left := until - time.monotonic()) > 0:
        if limits.cancelled is not None and limits.cancelled.is_set():
            raise Cancelled
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(min(left, _TICK_S))
    return _OVERSTAYED


def _text(fd: int) -> str:
    return os.pread(fd, MAX_MESSAGE_BYTES, 0).decode(errors="backslashreplace")


def _refusal(status: int, message: str, noise: str, limits: CompileLimits) -> AdmissionRefused:
    is_memory = status == MEMORY or any(word in noise for word in MEMORY_WORDS)
    if not is_memory and status in _KILLED:
        reason, text = _KILLED[status]
        return AdmissionRefused(reason, text.format(wall_ms=limits.wall_ms))
    said = _sentence(message or noise[-MAX_ENGINE_MESSAGE:])
    if status == INVALID:
        return _rejected(said)
    if is_memory:
        mib = limits.memory_bytes >> 20
        return AdmissionRefused(
            Refusal.COMPILE_MEMORY, f"compiling the module takes more than {mib} MiB of memory"
        )
    if status == TOO_LARGE:
        mib = limits.artifact_bytes >> 20
        return AdmissionRefused(Refusal.COMPILE_MEMORY, f"the compiled module is larger than {mib} MiB")
    ending = f"signal {-status}" if status < 0 else f"status {status}"
    return AdmissionRefused(Refusal.COMPILE_FAILED, f"the compiler ended with {ending}: {said}")


def _rejected(said: str) -> AdmissionRefused:
    """Tell a module that breaks a rule from one that is too much for the engine."""
    if any(words in said for words in _CAP_WORDS):
        return AdmissionRefused(
            Refusal.TOO_MANY, f"the module has more than the engine takes: {said.rpartition(': ')[2]}"
        )
    return AdmissionRefused(Refusal.INVALID, f"the module is invalid: {said}")


def _sentence(message: str) -> str:
    """Put an engine's message, which has several lines and holds guest text, on one inert line."""
    line = " ".join(message.split()).replace(" Caused by: ", ": ")
    return inert(line[:MAX_ENGINE_MESSAGE])[:MAX_ENGINE_MESSAGE]
