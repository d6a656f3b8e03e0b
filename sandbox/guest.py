"""What a guest is given when it starts, and how it can end: plain values that cross processes.

The engine that runs it is behind `engine_wasmtime.py`; what the ends mean for a receipt is `outcome.py`.
Nothing here does anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """What a guest may have, in bytes and pieces; -1 is unlimited."""

    memory_bytes: int
    table_elements: int
    instances: int
    tables: int
    memories: int
    share_bytes: int | None = None  # how far each of several memories may grow; None: as far as one may


@dataclass(frozen=True, slots=True)
class World:
    """What a guest finds when it starts."""

    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    preopens: tuple[tuple[str, str, bool], ...]  # host directory, guest path, is mutable
    has_stdin: bool  # standard output and error are always descriptors 1 and 2 of this process


@dataclass(frozen=True, slots=True)
class Artifacts:
    """Paths of the precompiled modules; whoever passes them has authenticated them."""

    gate: str
    probe: str
    monitor: str
    guest: str = ""  # none yet


class EndKind(StrEnum):
    """How the guest's last instruction ended."""

    RETURNED = "returned"
    EXITED = "exited"
    TRAPPED = "trapped"
    CPU = "cpu"
    FUEL = "fuel"
    STACK = "stack"
    MEMORY = "memory"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class End:
    """The end of a guest; `message` is the engine's and holds guest text."""

    kind: EndKind
    message: str = ""
    exit_code: int = 0


class CompileError(Exception):
    """The engine refused the module; the message is the engine's and holds guest text."""


class HostError(Exception):
    """The engine could not be set up; not the guest's doing."""


class GuestError(Exception):
    """The guest could not be instantiated; `end` says how it ended."""

    def __init__(self, end: End) -> None:
        super().__init__(end.message)
        self.end = end
