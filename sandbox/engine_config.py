"""What decides the code of an artifact, and the name under which such artifacts are kept.

The engine itself is behind `engine_wasmtime.py`, which alone imports it; a supervisor that finds everything
in the cache never loads it. INVARIANT: two configurations with one key can load each other's artifacts.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from policy.plan import UNLIMITED, Engine, Plan

SETTINGS = 2
"""Goes up when `engine_wasmtime.make_engine` sets anything else: no artifact is loaded by another engine."""

MAX_STACK_BYTES = 4 << 20  # the thread's own stack is 8 MiB; wasmtime needs room beside the guest's


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What decides the code of an artifact, and the stack that code may use."""

    engine: Engine = Engine.CRANELIFT
    has_fuel: bool = False
    stack_bytes: int = 512 << 10
    is_deterministic: bool = False
    for_components: bool = False  # our own modules are those that run components; the code is the same

    @staticmethod
    def of(plan: Plan) -> EngineConfig:
        """Give the configuration that a plan asks for."""
        stack = plan.limits.stack_bytes
        return EngineConfig(
            engine=plan.runtime.engine,
            has_fuel=plan.limits.fuel != UNLIMITED,
            stack_bytes=MAX_STACK_BYTES if stack == UNLIMITED else min(stack, MAX_STACK_BYTES),
            is_deterministic=plan.runtime.deterministic,
        )


@functools.cache
def _engine_version() -> str:
    from importlib.metadata import version  # noqa: PLC0415  # costs milliseconds, which a refused run saves

    return version("wasmtime")


def engine_key(config: EngineConfig) -> str:
    """A name for all artifacts that an engine of this configuration can load."""
    fuel = "fuel" if config.has_fuel else "nofuel"
    once = "-deterministic" if config.is_deterministic else ""
    return f"wasmtime-{_engine_version()}-{SETTINGS}-{config.engine.value}-{fuel}{once}"
