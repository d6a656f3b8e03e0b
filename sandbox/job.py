"""What the supervisor hands to a cell, and what comes back: the messages on their sockets.

Who sends them is `executor.py`, `zygote.py` and `cell.py`. All of it is ours: no guest byte decides how a
message is read, and what a cell says is checked like any input.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, is_dataclass
from enum import IntEnum
from typing import Any, Final

from policy.plan import WALLS, Engine
from sandbox.confinement.bounds import Bounds
from sandbox.engine_config import EngineConfig
from sandbox.guest import EndKind, StoreLimits, World
from sandbox.parts import Parts

MAX_MESSAGE = 65_536  # of a socket; a job, which may be larger, travels as a file
MAX_TEXT = 4_096  # characters of an engine's message that a cell sends back
CONTROL: Final = ("control", "leash", "exit")
"""Descriptors that a cell is forked with; `exit` stays with the zygote. The artifacts follow: `CODE`."""

CODE: Final = ("gate", "probe", "monitor", "guest")
"""Artifacts, in this order; a cell that is forked before its module is known gets the guest with its job."""

OUR_CODE: Final = CODE[:-1]

WORLD: Final = ("ring", "tables", "stdin", "stdout", "stderr")
"""Descriptors that come with a job, in this order; then the guest's artifact, and a job that is too long."""

NETWORK: Final = ("channel", "exchange")
"""Descriptors that come behind those, before a job that is too long, where the job has a network."""

LONG_JOB: Final = b"-"
"""The message of a job that travels as a file."""

GO_ON, STOP = 0, 1
"""The supervisor's answers, one byte; no answer is no."""


@dataclass(frozen=True, slots=True)
class Spawn:
    """What the zygote is asked for: a cell that has loaded this much."""

    config: EngineConfig
    has_guest: bool

    def to_json(self) -> bytes:
        """The message that goes to the zygote."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Spawn:
        """Read a message of the supervisor's."""
        raw: dict[str, Any] = json.loads(text)
        return cls(_config(raw["config"]), bool(raw["has_guest"]))


def _fields(value: object) -> dict[str, object]:
    """A dataclass as the object that JSON has for it, with its values as they are."""
    if not is_dataclass(value) or isinstance(value, type):
        raise TypeError(type(value).__name__)
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _config(raw: dict[str, Any]) -> EngineConfig:
    return EngineConfig(
        engine=Engine(raw["engine"]),
        has_fuel=raw["has_fuel"],
        stack_bytes=raw["stack_bytes"],
        is_deterministic=raw["is_deterministic"],
        for_components=raw["for_components"],
    )


class Request(IntEnum):
    """What a cell asks on its control socket, one byte."""

    FULL = 1  # room in the ring
    SYNC = 2  # all completed records durable
    INTENT = 3  # and the one in flight
    START = 4  # followed by JSON, the walls that stand: the guest starts now; no answer
    END = 5  # followed by JSON: the end, and no answer


@dataclass(frozen=True, slots=True)
class Job:
    """One run, as a cell needs to know it."""

    config: EngineConfig
    limits: StoreLimits
    world: World
    entries: tuple[str, ...]  # exports to call one after the other: `_initialize` may come first
    fuel: int
    cpu_ms: int  # negative: unlimited
    wall_ms: int  # negative: unlimited
    full_ms: int  # how long to wait for room in the ring
    ring_bytes: int
    bounds: Bounds | None = None  # what it is confined to; None: not at all
    required: tuple[str, ...] = ()  # walls without which no guest may start
    has_network: bool = False  # a broker is there for it
    outer: tuple[str, ...] = ()  # those that its supervisor put up around the cell
    parts: Parts | None = None  # of a component

    def to_json(self) -> bytes:
        """The text that goes to the cell."""
        # not `asdict`, which copies each value: a run counts its milliseconds
        return json.dumps(_fields(self), default=_fields).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Job:
        """Read a job of the supervisor's."""
        raw: dict[str, Any] = json.loads(text)
        config = raw.pop("config")
        world = raw.pop("world")
        raw["entries"] = tuple(raw["entries"])
        raw["required"] = tuple(raw["required"])
        raw["outer"] = tuple(raw["outer"])
        bounds = raw.pop("bounds")
        parts = raw.pop("parts")
        return cls(
            config=_config(config),
            limits=StoreLimits(**raw.pop("limits")),
            world=World(
                argv=tuple(world["argv"]),
                environment=tuple((key, value) for key, value in world["environment"]),
                preopens=tuple((host, guest, mutable) for host, guest, mutable in world["preopens"]),
                has_stdin=world["has_stdin"],
            ),
            parts=None if parts is None else Parts.of(parts),
            bounds=None if bounds is None else Bounds(**bounds | {"accesses": tuple(bounds["accesses"])}),
            **raw,
        )


@dataclass(frozen=True, slots=True)
class CellEnd:
    """What a cell says of its guest's end; the ring's own words come before it."""

    kind: EndKind
    message: str
    exit_code: int
    memory_bytes: int
    cpu_ms: int
    unarmed: int

    def to_json(self) -> bytes:
        """The message that goes to the supervisor."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes) -> CellEnd | None:
        """Read a cell's message; None when it is not one."""
        try:
            raw = json.loads(text)
            return cls(
                kind=EndKind(raw["kind"]),
                message=str(raw["message"])[:MAX_TEXT],
                exit_code=_count(raw["exit_code"]),
                memory_bytes=_count(raw["memory_bytes"]),
                cpu_ms=_count(raw["cpu_ms"]),
                unarmed=_count(raw["unarmed"]),
            )
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
            return None


def walls_from_json(text: bytes) -> tuple[str, ...]:
    """Read which walls a cell says stand; none when it says nothing that can be read."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    return tuple(name for name in WALLS if name in said) if isinstance(said, list) else ()


MAX_COUNT = (1 << 53) - 1  # what JSON holds exactly


def _count(value: object) -> int:
    """A number that a cell sent, as one that a receipt can hold."""
    if not isinstance(value, int):
        raise TypeError(value)
    return min(max(0, value), MAX_COUNT)
