"""The small sections of a document, as a plan holds them.

Storage is resolved in `storage.py`; everything is put together in `compiler.py`. The values were
checked when the document was read, so nothing here can fail.
"""

from __future__ import annotations

from policy.fields import parse_moment
from policy.plan import (
    VIRTUAL_MONOTONIC_NS,
    VIRTUAL_WALL_NS,
    WALLS,
    Clocks,
    Engine,
    Isolation,
    Limits,
    Random,
    Runtime,
    SourceKind,
    StdinMode,
    Stdio,
    StdoutMode,
)
from policy.schema_run import ClocksSection, LimitsSection, RuntimeSection, StdioSection
from policy.units import parse_seed


def stdio(section: StdioSection) -> Stdio:
    """The three standard streams."""
    return Stdio(StdinMode(section.stdin), StdoutMode(section.stdout), StdoutMode(section.stderr))


def clocks(section: ClocksSection, *, is_deterministic: bool = False) -> Clocks:
    """What the clocks say."""
    wall, wall_ns = _clock(section.wall)
    monotonic, monotonic_ns = _clock(section.monotonic)
    if is_deterministic and wall is SourceKind.REAL:
        wall, wall_ns = SourceKind.VIRTUAL, VIRTUAL_WALL_NS
    if is_deterministic and monotonic is SourceKind.REAL:
        monotonic, monotonic_ns = SourceKind.VIRTUAL, VIRTUAL_MONOTONIC_NS
    return Clocks(wall, wall_ns, monotonic, monotonic_ns, section.resolution)


def _clock(text: str) -> tuple[SourceKind, int]:
    word, _, moment = text.partition(":")
    match word:
        case "real":
            return SourceKind.REAL, 0
        case "none":
            return SourceKind.NONE, 0
        case _:
            return SourceKind.FIXED, parse_moment(moment)


def random(text: str, *, is_deterministic: bool = False) -> Random:
    """Where random bytes come from."""
    word, _, seed = text.partition(":")
    match word:
        case "real":
            return Random(SourceKind.VIRTUAL if is_deterministic else SourceKind.REAL)
        case "none":
            return Random(SourceKind.NONE)
        case _:
            return Random(SourceKind.FIXED, parse_seed(seed))


def limits(section: LimitsSection) -> Limits:
    """What a run may use."""
    return Limits(
        memory_bytes=section.memory,
        cpu_ms=section.cpu,
        wall_ms=section.timeout,
        fuel=section.fuel,
        module_bytes=section.module,
        compile_ms=section.compile,
        stack_bytes=section.stack,
        tables=section.tables,
        table_elements=section.table_elements,
        instances=section.instances,
        memories=section.memories,
        stdout_bytes=section.stdout,
        stderr_bytes=section.stderr,
        disk_bytes=section.disk,
        files=section.files,
        open_files=section.open_files,
        host_calls=section.host_calls,
        connections=section.connections,
        net_in_bytes=section.net_in,
        net_out_bytes=section.net_out,
    )


def runtime(section: RuntimeSection) -> Runtime:
    """How the module is run."""
    return Runtime(
        engine=Engine(section.engine),
        cache=section.cache,
        isolation=Isolation(section.isolation),
        require_walls=tuple(wall for wall in WALLS if wall in section.require_walls),
        deterministic=section.deterministic,
    )
