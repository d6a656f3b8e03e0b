"""Deterministic runs: the seed of their random bytes, and one digest of all that a guest was told and did.

What the guest is told of time and files is `monitor/determinism.py`, and which bits a NaN has
`engine_wasmtime.py`. INVARIANT: nothing that is measured goes into the digest, so two runs of one module with
one input under one policy have one digest, with each engine; a run that time, the operating system or a
person cut short has none. What it covers, and why, is in docs/decisions/0013-deterministic-runs.md.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from audit.receipt import OutcomeKind
from policy.digest import canonical, plan_digest
from policy.plan import VIRTUAL_MONOTONIC_NS, VIRTUAL_WALL_NS, Random, Runtime, SourceKind, StdinMode
from sandbox.monitor import layout
from sandbox.monitor.layout import RECORD

if TYPE_CHECKING:
    import numpy.typing as npt

    from audit.receipt import Outcome
    from policy.digest import Json
    from policy.plan import Plan
    from sandbox.order import Order

FORMAT: Final = 1
"""Goes up when the digest covers anything else: two versions' digests are then never equal by accident."""

MEASURED: Final = ("t_ns", "dur_ns", "target_at")
"""Fields of a record that are left out: when, for how long, and where in the arena its texts lie."""

_ROW: Final = np.dtype([(name, RECORD[name]) for name in RECORD.names or () if name not in MEASURED])
_ARENA_MASK: Final = layout.ARENA_BYTES - 1
_EXACT_LIMITS: Final = frozenset({"fuel", "host_calls", "stdout", "stderr"})
"""Limits that end each run at the same instruction; time, stack and the host's memory do not."""
_SEED: Final = b"wasmgate random bytes of a deterministic run\0"
_CHUNK: Final = 1 << 20


def settled(plan: Plan, module_digest: str) -> Plan:
    """`plan` with what a deterministic run of this module is given; itself when it asks for none."""
    if not plan.runtime.deterministic:
        return plan
    clocks, random = plan.clocks, plan.random
    # INVARIANT: what a policy in mode `audit` refuses happens all the same, so also `none` needs a start
    if clocks.wall is SourceKind.NONE:
        clocks = replace(clocks, wall_ns=VIRTUAL_WALL_NS)
    if clocks.monotonic is SourceKind.NONE:
        clocks = replace(clocks, monotonic_ns=VIRTUAL_MONOTONIC_NS)
    if random.kind is not SourceKind.FIXED:
        named = f"{_plan_digest(plan)}\0{module_digest}".encode()
        random = Random(SourceKind.FIXED, hashlib.sha256(_SEED + named).digest())
    return replace(plan, clocks=clocks, random=random)


def _plan_digest(plan: Plan) -> str:
    """The digest of `plan` but for what decides where it runs and not what it does."""
    return plan_digest(replace(plan, runtime=Runtime(deterministic=True)))


def is_repeatable(fd: int) -> bool:
    """Whether what is read from `fd` is the same each time, in the same pieces: a file, or nothing."""
    status = os.fstat(fd)
    return stat.S_ISREG(status.st_mode) or status.st_rdev == Path(os.devnull).stat().st_rdev


def _stdin(order: Order) -> str:
    """Digest of what the guest can read on standard input, from where that stands."""
    fd = order.stdin_fd
    found = hashlib.sha256()
    if fd is not None and order.plan.stdio.stdin is not StdinMode.NONE and stat.S_ISREG(os.fstat(fd).st_mode):
        at = os.lseek(fd, 0, os.SEEK_CUR)
        while chunk := os.pread(fd, _CHUNK, at):
            found.update(chunk)
            at += len(chunk)
    return found.hexdigest()


def story_of(order: Order) -> Story | None:
    """What to tell the run's records to, before it starts; None where nothing is asked of them."""
    return Story(_stdin(order)) if order.plan.runtime.deterministic else None


class Story:
    """The records of a run without what is measured, as two digests; the same however it is cut in pieces."""

    def __init__(self, stdin: str = "") -> None:
        """Start with nothing but the digest of what the guest can read on standard input."""
        self.stdin = stdin
        self._rows = hashlib.sha256()
        self._texts = hashlib.sha256()
        self._last: tuple[npt.NDArray[np.void], bytes, int] | None = None

    def add(self, records: npt.NDArray[np.void], arena: bytes, start: int) -> None:
        """Take completed records with the span of the arena that holds their texts."""
        self._last = None
        self._take(self._rows, self._texts, (records, arena, start))

    def intend(self, record: npt.NDArray[np.void], arena: bytes, start: int) -> None:
        """Take the record in flight, in place of the one before it."""
        self._last = record, arena, start

    def digests(self) -> tuple[str, str]:
        """Of the records, and of their texts."""
        rows, texts = self._rows.copy(), self._texts.copy()
        if self._last is not None:
            self._take(rows, texts, self._last)
        return rows.hexdigest(), texts.hexdigest()

    @staticmethod
    def _take(
        rows: hashlib._Hash, texts: hashlib._Hash, piece: tuple[npt.NDArray[np.void], bytes, int]
    ) -> None:
        records, arena, start = piece
        row = np.zeros(len(records), _ROW)
        for name in _ROW.names or ():
            row[name] = records[name]
        rows.update(row.tobytes())
        # SECURITY: offsets are the cell's word: what lies outside the span is cut, and names nothing else
        lengths = layout.arena_bytes(records)
        low = np.minimum((records["target_at"].astype(np.int64) - start) & _ARENA_MASK, len(arena))
        high = np.minimum(low + lengths, len(arena))
        edges = np.zeros(len(arena) + 1, np.int64)
        np.add.at(edges, low[lengths > 0], 1)
        np.subtract.at(edges, high[lengths > 0], 1)
        texts.update(np.frombuffer(arena, np.uint8)[np.cumsum(edges)[:-1] > 0].tobytes())


@dataclass(frozen=True, slots=True)
class Told:
    """What a run left that is no measure."""

    outcome: Outcome
    story: Story
    stdout: str  # SHA-256, in hexadecimal
    stderr: str
    memory_bytes: int  # of the guest's memory, which is never given back


def run_digest(order: Order, told: Told) -> str:
    """`sha256:…` of a deterministic run; empty where something cut it that is not the same each time."""
    outcome = told.outcome
    is_whole = outcome.kind in {OutcomeKind.EXITED, OutcomeKind.TRAPPED}
    if not is_whole and not (outcome.kind is OutcomeKind.LIMIT and outcome.limit in _EXACT_LIMITS):
        return ""
    rows, texts = told.story.digests()
    value: dict[str, Json] = {
        "format": FORMAT,
        "module": order.module_digest,
        "plan": _plan_digest(order.plan),
        "entry": order.invoke or "",
        "arguments": [order.module_name, *order.extra_args],
        "stdin": told.story.stdin,
        "outcome": {"kind": outcome.kind.value, "exit_code": outcome.exit_code, "limit": outcome.limit},
        "records": {"layout": layout.VERSION, "rows": rows, "texts": texts},
        "stdout": told.stdout,
        "stderr": told.stderr,
        "memory_bytes": told.memory_bytes,
    }
    return "sha256:" + hashlib.sha256(canonical(value)).hexdigest()
