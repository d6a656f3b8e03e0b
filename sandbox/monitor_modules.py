"""The monitor's three modules, ready to be loaded: generated, assembled, compiled once and cached.

What they say is `sandbox/monitor/generate.py`. They are ours, yet they are compiled and authenticated like any
guest, so that there is one way in which native code comes to be loaded.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandbox.compiler import CompileLimits, prepare
from sandbox.engine_wasmtime import engine_key, wat_to_wasm
from sandbox.monitor import generate

if TYPE_CHECKING:
    from sandbox.artifact import Artifact
    from sandbox.cache import ArtifactCache
    from sandbox.engine_wasmtime import EngineConfig

_COMPILE_MS = 60_000


@dataclass(frozen=True, slots=True)
class MonitorModules:
    """Open artifacts; they stay open as long as the process runs."""

    gate: Artifact
    probe: Artifact
    monitor: Artifact


@functools.cache
def binaries() -> dict[str, bytes]:
    """The three modules as WebAssembly binaries, by name."""
    return {
        "gate": wat_to_wasm(generate.gate()),
        "probe": wat_to_wasm(generate.probe()),
        "monitor": wat_to_wasm(generate.monitor()),
    }


def load(config: EngineConfig, cache: ArtifactCache | None) -> MonitorModules:
    """The artifacts for one engine configuration; raises AdmissionRefused when the compiler is broken."""
    artifacts = {
        name: prepare(
            module,
            digest=f"sha256:{hashlib.sha256(module).hexdigest()}",
            config=config,
            engine_key=engine_key(config),
            limits=CompileLimits(wall_ms=_COMPILE_MS),
            cache=cache,
        ).artifact
        for name, module in binaries().items()
    }
    return MonitorModules(**artifacts)
