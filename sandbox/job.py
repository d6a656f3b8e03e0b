"""What the supervisor hands to a cell, and what comes back: the messages on their sockets.

Who sends them is `executor.py`, `zygote.py` and `cell.py`. All of it is ours: no guest byte decides how a
message is read, and what a cell says is checked like any input.
"""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

from policy.plan import Engine
from sandbox.engine_wasmtime import EndKind, EngineConfig, StoreLimits, World

MAX_MESSAGE = 1 << 20
MAX_TEXT = 4_096  # of an engine's message that a cell sends back
FDS = ("control", "ring", "tables", "gate", "probe", "monitor", "guest", "stdin", "stdout", "stderr", "exit")
"""Descriptors that travel with a job, in this order; `exit` stays with the zygote."""


class Request(IntEnum):
    """What a cell asks on its control socket, one byte; the answer is one byte, 0 for go on."""

    FULL = 1  # room in the ring
    SYNC = 2  # all completed records durable
    INTENT = 3  # and the one in flight
    ARMED = 4  # the guest starts now
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
    full_ms: int  # how long to wait for room in the ring
    ring_bytes: int
    tables_bytes: int

    def to_json(self) -> bytes:
        """The message that goes to the zygote."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Job:
        """Read a message of the supervisor's."""
        raw: dict[str, Any] = json.loads(text)
        config = raw.pop("config")
        world = raw.pop("world")
        raw["entries"] = tuple(raw["entries"])
        return cls(
            config=EngineConfig(**config | {"engine": Engine(config["engine"])}),
            limits=StoreLimits(**raw.pop("limits")),
            world=World(
                argv=tuple(world["argv"]),
                environment=tuple((key, value) for key, value in world["environment"]),
                preopens=tuple((host, guest, mutable) for host, guest, mutable in world["preopens"]),
                has_stdin=world["has_stdin"],
            ),
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
                exit_code=int(raw["exit_code"]),
                memory_bytes=max(0, int(raw["memory_bytes"])),
                cpu_ms=max(0, int(raw["cpu_ms"])),
                unarmed=max(0, int(raw["unarmed"])),
            )
        except (ValueError, KeyError, TypeError):
            return None


def send(channel: socket.socket, message: bytes, fds: tuple[int, ...] = ()) -> None:
    """Send one message with descriptors over a SEQPACKET socket."""
    socket.send_fds(channel, [message], list(fds))
