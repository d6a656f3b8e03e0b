"""Compiling a module before it is needed, as a run would, and keeping the result.

The compiler's process is `sandbox.compiler`, the cache `sandbox.cache`. INVARIANT: an artifact is kept under
the name that a run will ask for, and only if some plan could admit the module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from audit.store import make_directory
from sandbox.admission import check_any_plan, digest_of
from sandbox.cache import ArtifactCache
from sandbox.compiler import CompileLimits, prepare
from sandbox.engine_config import EngineConfig, engine_key

if TYPE_CHECKING:
    from api.settings import Settings
    from policy.plan import Plan

_COMPILE_MS = 120_000  # where no policy says how long


@dataclass(frozen=True, slots=True)
class Compiled:
    """A module that is compiled and kept."""

    digest: str
    engine: str
    is_cached: bool  # it was there already
    size_bytes: int  # of the artifact
    finding: str  # what was wrong with the cache; empty when nothing was


def compile_and_keep(module: bytes, settings: Settings, plan: Plan | None) -> Compiled:
    """Compile for the plan's engine; raises AdmissionRefused, CacheError and OSError."""
    check_any_plan(module)
    config = EngineConfig() if plan is None else EngineConfig.of(plan)
    limits = CompileLimits(wall_ms=_COMPILE_MS if plan is None else plan.limits.compile_ms)
    make_directory(settings.home)
    digest, key = digest_of(module), engine_key(config)
    with ArtifactCache(settings.cache_dir, max_bytes=settings.cache_max_bytes) as cache:
        found = prepare(module, digest=digest, config=config, engine_key=key, limits=limits, cache=cache)
        with found.artifact as artifact:
            return Compiled(digest, key, found.is_cached, artifact.size_bytes, found.finding)
