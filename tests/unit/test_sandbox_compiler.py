from __future__ import annotations

import mmap
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import wasmtime

from policy.plan import Engine
from sandbox.admission import digest_of
from sandbox.artifact import Artifact, freeze, private_file
from sandbox.cache import ArtifactCache
from sandbox.compile_process import MAX_MESSAGE_BYTES
from sandbox.compiler import MAX_ENGINE_MESSAGE, CompileLimits, Prepared, compile_module, prepare
from sandbox.engine_wasmtime import EngineConfig, engine_key, make_engine
from sandbox.refusal import AdmissionRefused, Refusal
from tests.modules import START, module

LIMITS = CompileLimits(wall_ms=60_000)
# Quick to compile, but the engine holds it several times.
LARGE = module(f'(memory 700) (data (i32.const 0) "{"x" * 40_000_000}")')
# Seconds of compilation.
BOMB = module(
    START
    + (
        "(func (param i32) (result i32)"
        + "(local.get 0)(i32.const 3)(i32.mul)(local.set 0)" * 20
        + "(local.get 0))"
    )
    * 8_000
)


def compiled(data: bytes, *, config: EngineConfig | None = None, limits: CompileLimits = LIMITS) -> Artifact:
    return compile_module(data, config=config or EngineConfig(), limits=limits)


def refused(data: bytes, *, limits: CompileLimits = LIMITS) -> AdmissionRefused:
    with pytest.raises(AdmissionRefused) as caught:
        compiled(data, limits=limits).close()
    assert str(caught.value).isprintable()
    return caught.value


def load(artifact: Artifact, config: EngineConfig) -> wasmtime.Module:
    return wasmtime.Module.deserialize_file(make_engine(config), f"/proc/self/fd/{artifact.fd}")


@pytest.mark.parametrize("engine", list(Engine))
@pytest.mark.parametrize("has_fuel", [False, True])
def test_an_artifact_loads_through_its_descriptor(engine: Engine, has_fuel: bool) -> None:
    config = EngineConfig(engine, has_fuel)
    with compiled(module(), config=config) as artifact:
        assert [item.name for item in load(artifact, config).exports] == ["_start"]
        with pytest.raises(wasmtime.WasmtimeError):
            load(artifact, EngineConfig(engine, not has_fuel))


def test_an_artifact_is_sealed() -> None:
    with compiled(module()) as artifact:
        with pytest.raises(PermissionError):
            os.pwrite(artifact.fd, b"x", 0)
        with pytest.raises(PermissionError):
            os.truncate(artifact.fd, 0)


def test_a_file_that_somebody_can_still_write_to_is_no_artifact() -> None:
    fd = private_file("test")
    os.write(fd, b"x")
    with mmap.mmap(fd, 1), pytest.raises(OSError, match="busy"):
        freeze(fd)
    freeze(fd)
    os.close(fd)


def test_no_descriptor_is_left_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    compiled(module()).close()
    refused(b"\0asm\1\0\0\0\x0a\1")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_an_invalid_body_is_refused_with_the_engines_reason() -> None:
    whole = module('(func (export "_start") (nop))')
    broken = whole[:-2] + b"\x1a\x0b"  # `drop`, with nothing to drop
    refusal = refused(broken)
    assert refusal.reason is Refusal.INVALID
    assert "expected a type but nothing on stack" in refusal.message
    compiled(whole).close()


def test_guest_text_in_the_engines_message_is_inert_and_cut() -> None:
    name = b"\n\x1b[2J" + b"x" * 9_000
    whole = module(f'(func $f (export "a{"y" * (len(name) - 1)}") (export "b{"z" * (len(name) - 1)}"))')
    twice = whole.replace(b"a" + b"y" * (len(name) - 1), name).replace(b"b" + b"z" * (len(name) - 1), name)
    refusal = refused(twice)
    assert refusal.reason is Refusal.INVALID
    assert "duplicate export name" in refusal.message
    assert "\\x1b[2J" in refusal.message
    assert len(refusal.message) < MAX_ENGINE_MESSAGE + 40 < MAX_MESSAGE_BYTES
    compiled(whole).close()


def test_text_is_never_compiled() -> None:
    assert refused(b"(module)").reason is Refusal.INVALID


def test_a_compile_bomb_is_stopped_at_its_time() -> None:
    begun = time.monotonic()
    refusal = refused(BOMB, limits=CompileLimits(wall_ms=300))
    assert refusal.reason is Refusal.COMPILE_TIME
    assert "300 ms" in refusal.message
    assert time.monotonic() - begun < 10
    compiled(BOMB).close()


@pytest.mark.parametrize("mib", [110, 160], ids=["in the interpreter", "in the engine"])
def test_a_compilation_is_stopped_at_its_memory(mib: int) -> None:
    limits = CompileLimits(wall_ms=60_000, memory_bytes=mib << 20)
    refusal = refused(LARGE, limits=limits)
    assert refusal.reason is Refusal.COMPILE_MEMORY
    assert f"more than {mib} MiB" in refusal.message
    compiled(module(), limits=limits).close()


def test_an_artifact_above_its_size_is_refused() -> None:
    with compiled(module()) as artifact:
        size = artifact.size_bytes
    assert (
        refused(module(), limits=CompileLimits(60_000, artifact_bytes=size - 1)).reason
        is Refusal.COMPILE_MEMORY
    )
    compiled(module(), limits=CompileLimits(60_000, artifact_bytes=size)).close()


def test_no_limit_is_no_limit() -> None:
    compiled(module(), limits=CompileLimits(wall_ms=-1)).close()


def test_the_supervisor_does_not_load_the_engine() -> None:
    check = "import sys, sandbox.compiler, sandbox.admission, sandbox.inspection; assert 'wasmtime' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_a_compiler_that_cannot_start_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    refusal = refused(module())
    assert refusal.reason is Refusal.COMPILE_FAILED
    assert "status 1" in refusal.message


def prepared(cache: ArtifactCache | None, data: bytes, config: EngineConfig | None = None) -> Prepared:
    chosen = config or EngineConfig()
    return prepare(
        data, digest=digest_of(data), config=chosen, engine_key=engine_key(chosen), limits=LIMITS, cache=cache
    )


def outcome(cache: ArtifactCache | None, data: bytes, config: EngineConfig | None = None) -> tuple[bool, str]:
    found = prepared(cache, data, config)
    with found.artifact as artifact:
        load(artifact, config or EngineConfig())
    return found.is_cached, found.finding


def test_the_second_run_finds_the_artifact(tmp_path: Path) -> None:
    with ArtifactCache(tmp_path / "cache") as cache:
        assert outcome(cache, module()) == (False, "")
        assert outcome(cache, module()) == (True, "")
        assert outcome(cache, module(), EngineConfig(has_fuel=True)) == (False, "")
        assert outcome(cache, module(START + "(func)")) == (False, "")


def test_without_a_cache_each_run_compiles() -> None:
    assert outcome(None, module()) == outcome(None, module()) == (False, "")


def test_a_forged_artifact_is_recompiled_and_reported(tmp_path: Path) -> None:
    with ArtifactCache(tmp_path / "cache") as cache:
        outcome(cache, module())
        (stored,) = (tmp_path / "cache").glob("*.cwasm")
        genuine = stored.read_bytes()
        stored.chmod(0o600)
        stored.write_bytes(genuine[:-1] + bytes([genuine[-1] ^ 1]))
        is_cached, finding = outcome(cache, module())
        assert not is_cached
        assert "was deleted: it is not what was stored" in finding
        assert outcome(cache, module()) == (True, "")


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path: Path) -> None:
    with ArtifactCache(tmp_path / "cache") as cache:
        (tmp_path / "cache" / "key").unlink()
        (tmp_path / "cache").rmdir()
        is_cached, finding = outcome(cache, module())
        assert not is_cached
        assert finding == "the artifact could not be kept: No such file or directory"
