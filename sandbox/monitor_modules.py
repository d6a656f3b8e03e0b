"""The monitor's three modules, ready to be loaded: generated, assembled, compiled once and cached.

What they say is `sandbox/monitor/generate.py`. They are ours, yet they are compiled and authenticated like
any guest, so that there is one way in which native code comes to be loaded. They are kept under the digest
of their text: a supervisor that finds them in the cache needs no assembler, and so never loads the engine.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandbox.artifact import Artifact, freeze, private_file
from sandbox.bridge.generate import bridge, edge
from sandbox.bundle import pack
from sandbox.cache import artifact_name
from sandbox.compiler import CompileLimits, prepare
from sandbox.engine_config import engine_key
from sandbox.monitor import generate

if TYPE_CHECKING:
    from sandbox.cache import ArtifactCache
    from sandbox.engine_config import EngineConfig

_COMPILE_MS = 60_000


@dataclass(frozen=True, slots=True)
class MonitorModules:
    """Open artifacts, until closed."""

    gate: Artifact
    probe: Artifact
    monitor: Artifact

    def close(self) -> None:
        """Close all three."""
        for artifact in (self.gate, self.probe, self.monitor):
            artifact.close()


@functools.cache
def _texts(*, for_components: bool) -> dict[str, tuple[str, ...]]:
    """The three modules as WebAssembly text, by name; the monitor of components has the bridge beside it."""
    monitor = generate.monitor(for_components=for_components)
    return {
        "gate": (generate.gate(for_components=for_components),),
        "probe": (generate.probe(),),
        "monitor": (monitor, bridge(), edge()) if for_components else (monitor,),
    }


def load(config: EngineConfig, cache: ArtifactCache | None) -> MonitorModules:
    """The artifacts for one engine configuration; raises AdmissionRefused when the compiler is broken."""
    texts = _texts(for_components=config.for_components)
    return MonitorModules(**{name: _loaded(each, config, cache) for name, each in texts.items()})


def _loaded(texts: tuple[str, ...], config: EngineConfig, cache: ArtifactCache | None) -> Artifact:
    """One artifact of one text, or a bundle of several."""
    with contextlib.ExitStack() as stack:
        parts = [_load(text, config, cache) for text in texts]
        if len(parts) == 1:
            return parts[0]
        content = pack([stack.enter_context(part).read() for part in parts])
    fd = private_file("wasmgate-bundle")
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(content)
    freeze(fd)
    return Artifact(fd)


def _load(text: str, config: EngineConfig, cache: ArtifactCache | None) -> Artifact:
    digest = f"text-sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    key = engine_key(config)
    if cache is not None and isinstance(found := cache.load(artifact_name(digest, key)), Artifact):
        return found
    from sandbox.engine_wasmtime import wat_to_wasm  # noqa: PLC0415  # the engine, which takes 0.3 s to import

    limits = CompileLimits(wall_ms=_COMPILE_MS)
    return prepare(
        wat_to_wasm(text), digest=digest, config=config, engine_key=key, limits=limits, cache=cache
    ).artifact
