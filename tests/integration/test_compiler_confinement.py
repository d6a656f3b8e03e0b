"""The compiler's process behind its walls: what native code could do there, and what compiling still can."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from policy.plan import Engine
from sandbox.admission import digest_of
from sandbox.compile_turns import Cancelled
from sandbox.compiler import CompileLimits, compile_module, prepare
from sandbox.engine_config import EngineConfig, engine_key
from sandbox.refusal import AdmissionRefused, Refusal
from tests import bombs
from tests.native_attacks import ATTACKS, USES
from tests.programs import program

LIMITS = CompileLimits(wall_ms=120_000)


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """How each attack ended: behind the walls, and without them."""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "tests.native_attacks"],
        cwd=tmp_path_factory.mktemp("attacks"),
        env={**os.environ, "PYTHONPATH": str(root)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)  # type: ignore[no-any-return]  # it is what the module says


@pytest.mark.parametrize("attack", ATTACKS)
def test_native_code_in_the_compiler_does_not_get_out_and_would_without_walls(ends, attack):
    confined, bare = ends[attack]
    assert confined in {"refused", "ended"}
    assert bare == "done"


@pytest.mark.parametrize("use", USES)
def test_what_compiling_needs_is_there_behind_the_walls(ends, use):
    assert ends[use] == ["done", "done"]


@pytest.fixture(params=[1, 2], ids=["one thread", "several threads"])
def processors(request: pytest.FixtureRequest) -> Iterator[int]:
    """So many processors, of which the compiler takes its number of threads."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[: request.param])
    yield len(os.sched_getaffinity(0))
    os.sched_setaffinity(0, before)


@pytest.mark.parametrize("engine", list(Engine))
def test_a_real_program_compiles_behind_all_walls(processors, engine):
    module, config = program("quickjs").read_bytes(), EngineConfig(engine)
    prepared = prepare(
        module,
        digest=digest_of(module),
        config=config,
        engine_key=engine_key(config),
        limits=LIMITS,
        cache=None,
    )
    with prepared.artifact as artifact:
        assert artifact.size_bytes > len(module)
    # a wall that is missing would be named
    assert prepared.finding == ""


class Look(threading.Event):
    """Never set until it has seen the compiler at work: what `/proc` says of each of its threads."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, str]] = []

    def is_set(self) -> bool:
        children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
        for child in children:
            if b"sandbox.compile_process" not in Path(f"/proc/{child}/cmdline").read_bytes():
                continue  # of another test, or not yet the program that it will be
            tasks = [path.read_text() for path in Path(f"/proc/{child}/task").glob("*/status")]
            if len(tasks) > 1:
                self.seen = [dict(line.split(":\t", 1) for line in text.splitlines()) for text in tasks]
        return bool(self.seen)


def test_every_thread_of_the_compiler_is_behind_the_walls():
    look = Look()
    with pytest.raises(Cancelled):
        compile_module(
            bombs.functions(300_000),
            config=EngineConfig(),
            limits=CompileLimits(wall_ms=60_000, cancelled=look),
        ).close()
    for status in look.seen:
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {0}


@pytest.mark.parametrize("engine", list(Engine))
@pytest.mark.parametrize(
    ("module", "limits", "reason", "words"),
    [
        (bombs.functions(10)[:-3] + b"\x1a\x1a\x0b", LIMITS, Refusal.INVALID, "the module is invalid: "),
        (bombs.local_variables(1_000_000), LIMITS, Refusal.TOO_MANY, "more than the engine takes: "),
        (bombs.nested_blocks(200_000), CompileLimits(60_000, 200 << 20), Refusal.COMPILE_MEMORY, "200 MiB"),
        (bombs.functions(30_000), CompileLimits(300), Refusal.COMPILE_TIME, "300 ms"),
        (
            bombs.data(3_000_000),
            CompileLimits(60_000, artifact_bytes=2 << 20),
            Refusal.COMPILE_MEMORY,
            "larger",
        ),
    ],
    ids=["invalid", "too much", "memory", "time", "size"],
)
def test_refusals_are_the_same_behind_the_walls(engine, module, limits, reason, words):
    with pytest.raises(AdmissionRefused, match=words) as caught:
        compile_module(module, config=EngineConfig(engine), limits=limits).close()
    assert caught.value.reason is reason
