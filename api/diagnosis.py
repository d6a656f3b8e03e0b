"""What this machine can enforce: each wall tried, not guessed.

What a wall stops stands in docs/reference/walls.md; how those around a cell are attacked, in `probing.py`.
Nothing of a guest is run here. INVARIANT: a check that fails says so in its result; none raises.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from audit.inert import inert

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from api.settings import Settings

_SHOWN = 200


class State(StrEnum):
    """Whether a wall stands."""

    STANDS = "stands"
    MISSING = "missing"  # runs go on without it, and their receipts say so
    BROKEN = "broken"  # runs need it


@dataclass(frozen=True, slots=True)
class Wall:
    """One wall, or one thing that walls rest on."""

    name: str
    state: State
    summary: str


def diagnose(settings: Settings) -> tuple[Wall, ...]:
    """Try everything that a run rests on; makes the state's folders if they are missing."""
    needed: tuple[tuple[str, Callable[[], str]], ...] = (
        ("engine", _engine),
        ("monitor", lambda: _monitor(settings)),
        ("process", _process),
        ("shared memory", _memory),
        ("audit log", lambda: _durable(settings)),
        ("cache", lambda: _cache(settings)),
    )
    return (
        *(_tried(name, check) for name, check in needed),
        *_walls(settings),
        *(() if settings.cgroup_folders else (Wall("cgroup", State.MISSING, _no_cgroup()),)),
    )


def _walls(settings: Settings) -> Iterator[Wall]:
    """Have a cell attack what stands around it; a probe that can't be run has found a wall missing."""
    from api.probing import probe_walls
    from policy.plan import WALLS
    from sandbox.confinement.cgroup import Cgroup, CgroupError

    cgroup = settings.cgroup_folders
    unusable = None
    try:
        if cgroup:
            Cgroup.open(cgroup).close()
    except CgroupError as err:
        cgroup, unusable = (), Wall("cgroup", State.BROKEN, inert(str(err)[:_SHOWN]))
    left = [name for name in WALLS if cgroup or name != "cgroup"]
    try:
        for probed in probe_walls(cgroup):
            left.remove(probed.wall)
            yield Wall(probed.wall, State.STANDS if probed.holds else State.MISSING, probed.summary)
    except Exception as err:  # noqa: BLE001  # as for the others
        said = inert(f"could not be tried: {type(err).__name__}: {err}"[:_SHOWN])
        yield from (Wall(name, State.MISSING, said) for name in left)
    if unusable is not None:
        yield unusable


def _tried(name: str, check: Callable[[], str]) -> Wall:
    try:
        return Wall(name, State.STANDS, check())
    except Exception as err:  # noqa: BLE001  # whatever it is, this wall does not stand
        return Wall(name, State.BROKEN, inert(f"{type(err).__name__}: {err}"[:_SHOWN]))


def _engine() -> str:
    from sandbox.engine_config import EngineConfig, engine_key
    from sandbox.engine_wasmtime import make_engine

    config = EngineConfig()
    make_engine(config)
    return f"{engine_key(config)} loads: guests reach the host through imports only"


def _monitor(settings: Settings) -> str:
    from audit.store import make_directory
    from sandbox import monitor_modules
    from sandbox.cache import ArtifactCache
    from sandbox.engine_config import EngineConfig

    make_directory(settings.home)
    start = time.monotonic()
    with ArtifactCache(settings.cache_dir, max_bytes=settings.cache_max_bytes) as cache:
        monitor_modules.load(EngineConfig(), cache).close()
    spent_ms = (time.monotonic() - start) * 1_000
    return f"ready after {spent_ms:.0f} ms: every host call is decided and recorded"


def _process() -> str:
    fd = os.pidfd_open(os.getpid())
    try:
        signal.pidfd_send_signal(fd, 0)
    finally:
        os.close(fd)
    return "each run has a process of its own, killed through a descriptor (pidfd)"


def _memory() -> str:
    from sandbox.shared_memory import make_shared

    os.close(make_shared("wasmgate-doctor", 4_096))
    return "anonymous files (memfd): what a killed guest did stays readable"


def _durable(settings: Settings) -> str:
    from audit.store import make_directory

    make_directory(settings.audit_dir)
    path = settings.audit_dir / f".doctor.{os.getpid()}.part"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, bytes(4_096))
        start = time.monotonic()
        os.fdatasync(fd)
        spent = time.monotonic() - start
    finally:
        os.close(fd)
        path.unlink()
    return f"{inert(str(settings.audit_dir))} can be written, durably in {spent * 1_000:.1f} ms"


def _cache(settings: Settings) -> str:
    from sandbox.cache import ArtifactCache

    with ArtifactCache(settings.cache_dir, max_bytes=settings.cache_max_bytes):
        return f"{inert(str(settings.cache_dir))} is ours alone, and what it holds is authenticated"


def _no_cgroup() -> str:
    return "WASMGATE_CGROUP names no delegated cgroup: what all cells take together is not bounded"
