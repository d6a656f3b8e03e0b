from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.artifact import private_file
from sandbox.cache import ArtifactCache
from sandbox.compile_process import BROKEN, WALLS, CompileOrder
from sandbox.compiler import CompileLimits, compile_module, prepare
from sandbox.engine_config import EngineConfig, engine_key
from sandbox.refusal import AdmissionRefused, Refusal
from tests.modules import module

ROOT = Path(__file__).resolve().parents[2]
LIMITS = CompileLimits(wall_ms=60_000)
MAIN = "import sys; from sandbox.compile_process import main\n"
THREAD = "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
EXIT = "status = main(sys.argv[1]); sys.stdout.flush(); import os; os._exit(status)"
SPIN = "from sandbox.compile_process import limit\nlimit(memory_bytes=-1, cpu_s=1, file_bytes=-1)\nwhile True: pass"


def run(code: str, data: bytes) -> tuple[int, str, int]:
    """How a process ends that is started as the compiler's is, what it says, and how much it read."""
    module_fd, message_fd, artifact_fd = fds = [
        private_file(name) for name in ("module", "message", "artifact")
    ]
    os.write(module_fd, data)
    os.lseek(module_fd, 0, os.SEEK_SET)
    config = EngineConfig()
    order: CompileOrder = {
        "module_fd": module_fd,
        "message_fd": message_fd,
        "artifact_fd": artifact_fd,
        "memory_bytes": 4 << 30,
        "file_bytes": 1 << 20,
        "cpu_s": 60,
        "config": {
            "engine": config.engine.value,
            "has_fuel": config.has_fuel,
            "stack_bytes": config.stack_bytes,
            "is_deterministic": config.is_deterministic,
        },
    }
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAYON_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(order)], pass_fds=fds, env=environment, check=False
    )
    read = os.lseek(module_fd, 0, os.SEEK_CUR)
    said = os.pread(message_fd, 1_000, 0).decode()
    for fd in fds:
        os.close(fd)
    return done.returncode, said, read


def test_nothing_is_read_where_the_walls_cannot_be_put_up() -> None:
    status, said, read = run(MAIN + THREAD + EXIT, module())
    assert (status, read) == (BROKEN, 0)
    assert said == "it could not be confined: 2 threads run already, and walls hold for one"
    assert run(MAIN + EXIT, module()) == (0, " ".join(WALLS) + "\n", len(module()))


def test_processor_time_ends_with_a_signal_of_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SPIN], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.returncode == -signal.SIGXCPU


def _stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    """Start another program where the compiler is started."""
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))


@pytest.mark.parametrize("is_kept", [False, True])
def test_walls_that_did_not_stand_are_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_kept: bool
) -> None:
    _stand_in(monkeypatch, tmp_path, "exit 0")
    config = EngineConfig()
    with ArtifactCache(tmp_path / "cache") as cache:
        prepared = prepare(
            module(),
            digest="sha256:aa",
            config=config,
            engine_key=engine_key(config),
            limits=LIMITS,
            cache=cache if is_kept else None,
        )
    prepared.artifact.close()
    assert (
        prepared.finding
        == "the module was compiled without the walls no_new_privs, capabilities, landlock, seccomp"
    )


@pytest.mark.parametrize(
    ("script", "reason", "words"),
    [
        ("kill -SYS $$", Refusal.COMPILE_FAILED, "made a system call that no compilation needs"),
        ("kill -KILL $$", Refusal.COMPILE_MEMORY, "ended by the system, which had no memory left"),
        ("kill -XCPU $$", Refusal.COMPILE_TIME, "compile limit of 60000 ms"),
        ("kill -SEGV $$", Refusal.COMPILE_FAILED, "ended with signal 11"),
        ("echo out of memory >&2; kill -ABRT $$", Refusal.COMPILE_MEMORY, "more than 4096 MiB"),
        (
            "echo stack overflow >&2; kill -ABRT $$",
            Refusal.COMPILE_FAILED,
            "ended with signal 6: stack overflow",
        ),
        ("exit 70", Refusal.COMPILE_FAILED, "ended with status 70"),
    ],
)
def test_each_way_to_end_has_its_refusal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, reason: Refusal, words: str
) -> None:
    _stand_in(monkeypatch, tmp_path, script)
    with pytest.raises(AdmissionRefused, match=words) as caught:
        compile_module(module(), config=EngineConfig(), limits=LIMITS)
    assert caught.value.reason is reason
