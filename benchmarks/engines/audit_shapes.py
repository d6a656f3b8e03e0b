"""Generated records in the shape of real runs, as many as are wanted, for `audit_engine.py`.

`GUESTS` says what three programs did under a policy when they were run through the service once: they read 40
tables, wrote a file for each or one for all, and tried twice to open what they may not. Records are what the
monitor writes, so they go through the same writer and sealer. INVARIANT: the same arguments give the same
records; each execution has a name of its own.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import numpy.typing as npt

from audit.identity import ExecutionId
from audit.receipt import CallCount, Outcome, OutcomeKind, Receipt
from audit.start import ExecutionStart, MountPoint
from policy.calls import CALL_CODES, CALLS
from sandbox.monitor.layout import FIRST_MOUNT, NO_OPENER, RECORD, UNTIMED

BEGIN_NS = 1_795_000_000_000_000_000
FILES = 40  # read by one batch of a run, as by each of the runs that were measured
FRAME_RECORDS = 8_192
SETS, TABLES, STREAMS = 20, 1_000, 4
RARE = 3  # the set of tables that one early execution alone reads
TENANTS = ("acme", "initech", "default", "offline-lab")
RULES = ("default", "builtin", "in", "out", "app")
_IN, _OUT, _APP = (FIRST_MOUNT - mount for mount in range(3))
_READ, _WRITE = 4530615697512071170, 4602397296951328777  # `flags` of the two kinds of `path_open`


@dataclass(frozen=True, slots=True)
class Step:
    """One call: its name, nanoseconds in it (None: not timed), bytes that it moved, and what it is about."""

    call: str
    dur_ns: int | None = None
    moved: int = 0
    about: str = "-"  # `-` nothing, `<` opens an input, `>` an output, `!` refused, `f` the file, `o` stdout
    errno: int = 0


@dataclass(frozen=True, slots=True)
class Guest:
    """What one program did: at the start, for each of its files, and how long it took from call to call."""

    name: str
    share: float  # of the executions that are generated
    gap_ns: int
    head: tuple[Step, ...]
    each: tuple[Step, ...]
    refusals: int  # after each 40 files


def _python(*steps: Step) -> tuple[Step, ...]:
    # CPython asks for its environment before almost every other call
    return tuple(one for step in steps for one in (Step("environ_sizes_get"), step))


def _prestats(count: int) -> tuple[Step, ...]:
    one = (Step("fd_prestat_get"), Step("fd_prestat_dir_name"))
    return (*(one * count), Step("fd_prestat_get", errno=8))


GUESTS = (
    # CPython 3.12, `csv.DictReader` over each table and a total into a file: 2,084 records, 2 refused
    Guest(
        "cpython", 0.3, 229_920,
        (
            Step("clock_time_get"), *_python(*_prestats(3)), Step("args_sizes_get"), Step("args_get"),
            Step("random_get", moved=24), *(Step("environ_sizes_get") for _ in range(512)),
            *_python(*(Step("path_filestat_get", 217_112, about="!") for _ in range(2))),
            *_python(Step("path_open", 57_706, about="<"), Step("fd_filestat_get", 113_939, about="f"),
                     Step("fd_fdstat_get", about="f"), *(Step("fd_seek", about="f") for _ in range(6)),
                     *(Step("fd_read", 86_528, 700, "f") for _ in range(4)), Step("fd_close", 11_537, about="f")),
        ),
        _python(
            Step("path_open", 276_029, about="<"), Step("fd_filestat_get", 113_939, about="f"),
            *(Step("fd_fdstat_get", about="f") for _ in range(2)), *(Step("fd_seek", about="f") for _ in range(2)),
            *(Step("fd_read", 86_528, 8_192, "f") for _ in range(4)), Step("fd_read", 40_000, 0, "f"),
            Step("fd_close", 11_537, about="f"),
            Step("path_open", 411_080, about=">"), Step("fd_filestat_get", 113_939, about="f"),
            *(Step("fd_fdstat_get", about="f") for _ in range(2)), Step("fd_seek", about="f"),
            Step("fd_write", 98_206, 7, "f"), Step("fd_close", 11_537, about="f"),
        ),
        2,
    ),
    # QuickJS, `std.loadFile` of each table, one file with the total: 477 records, 2 refused
    Guest(
        "quickjs", 0.5, 84_142,
        (
            Step("clock_time_get"), Step("environ_sizes_get"), Step("args_sizes_get"), Step("args_get"),
            *(Step("clock_time_get") for _ in range(2)), *_prestats(3), Step("fd_fdstat_get"),
            Step("path_open", 172_706, about="<"), Step("fd_read", 52_848, 512, "f"), Step("fd_close", 5_693, about="f"),
            Step("path_open", 411_080, about=">"), Step("fd_write", 93_599, 7, "f"), Step("fd_close", 6_590, about="f"),
            Step("fd_write", 26_980, 8, "o"),
        ),
        (
            Step("fd_fdstat_get", about="-"), Step("path_open", 172_706, about="<"),
            Step("fd_read", 52_848, 8_191, "f"),
            *(Step("fd_read", 45_700, moved, "f") for moved in (1_024, 7_168, 1_024, 7_168, 1_024, 5_795, 0)),
            Step("fd_close", 5_693, about="f"),
        ),
        2,
    ),
    # icepll, settings of one circuit into one file: 17 records, none refused
    Guest(
        "icepll", 0.2, 90_569,
        (
            Step("args_sizes_get"), Step("args_get"), Step("fd_fdstat_get"), Step("fd_write", 51_667, 1, "o"),
            *_prestats(3), Step("fd_fdstat_get"), Step("path_open", 568_923, about=">"),
            Step("fd_fdstat_get", about="f"), Step("fd_write", 84_245, 679, "f"), Step("fd_close", 11_447, about="f"),
            Step("fd_write", 17_747, 286, "o"),
        ),
        (),
        0,
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Block:
    """Records with times from 0, sequence numbers from 0, and their paths."""

    records: npt.NDArray[np.void]
    arena: bytes


@cache
def _block(number: int, part: int) -> Block:
    """One batch of a guest's run (part > 0), or its beginning, over the set of tables 000."""
    guest = GUESTS[number]
    steps = list(guest.head) if not part else list(guest.each) * (FILES if guest.each else 0)
    steps += [Step("path_open", about="!", errno=76)] * (guest.refusals if part else 0)
    made, paths, opener, file = np.zeros(len(steps), RECORD), [], NO_OPENER, 0
    for index, step in enumerate(steps):
        one = made[index]
        one["call"], one["errno"], one["aux"] = CALL_CODES[step.call], step.errno, step.moved
        one["dur_ns"] = UNTIMED if step.dur_ns is None else step.dur_ns
        one["fd"], one["fd2"], one["opener"] = (
            (1, -1, NO_OPENER) if step.about == "o" else (-1, -1, NO_OPENER)
        )
        if step.about == "f":
            one["fd"], one["opener"], one["rule"] = 6, opener, 2
        if step.about in "<>!":
            table = (max(part - 1, 0) * FILES + file) % TABLES
            name = b"2026-11/set-000/table-%03d.csv" % table
            paths.append({"<": name, ">": name.replace(b"table", b"total"), "!": b"secret.txt"}[step.about])
            one["fd"], one["target_at"], one["target_len"] = 3, sum(map(len, paths[:-1])), len(paths[-1])
            one["opener"] = _OUT if step.about == ">" else _IN
            if step.about == "!" and step.errno:
                one["decision"], one["reason"], one["right"] = 1, 1, 1
            else:
                one["fd2"] = 6 if step.call == "path_open" else -1
                one["flags"], one["rule"] = (_WRITE, 3) if step.about == ">" else (_READ, 2)
            file, opener = file + (step.about == "<"), index
    return Block(made, b"".join(paths))


@dataclass(frozen=True, slots=True)
class Piece:
    """What the log gets next: the beginning of an execution, some of its records, or its end."""

    start: ExecutionStart
    records: npt.NDArray[np.void] | None = None
    arena: bytes = b""
    first_seq: int = 0
    receipt: Receipt | None = None


@dataclass(slots=True)
class Workload:
    """Executions of four guests at a time, until there are `records` of them."""

    records: int
    batches: float = 10.0  # that an execution has in the mean; the runs that were measured have one
    seed: int = 1
    _random: np.random.Generator = field(init=False)
    _spread: npt.NDArray[np.float64] = field(init=False)
    made: int = 0
    executions: int = 0

    def __post_init__(self) -> None:
        """Begin."""
        self._random = np.random.default_rng(self.seed)
        self._spread = self._random.gamma(2.0, 0.5, 1 << 20)  # times, as parts of their mean

    def pieces(self) -> Iterator[Piece]:
        """Give them in the order of time; all executions are over at the end."""
        streams = [(BEGIN_NS, at, self._executions(at)) for at in range(STREAMS)]
        heapq.heapify(streams)
        while streams:
            _, at, stream = streams[0]
            found = next(stream, None)
            if found is None:
                heapq.heappop(streams)
                continue
            t_ns, piece = found
            heapq.heapreplace(streams, (t_ns, at, stream))
            yield piece

    def _executions(self, stream: int) -> Iterator[tuple[int, Piece]]:
        t_ns = BEGIN_NS
        while self.made < self.records:
            for at_ns, piece in self._execution(stream, t_ns):
                yield at_ns, piece
                t_ns = at_ns
            t_ns += 2_000_000

    def _execution(self, stream: int, t_ns: int) -> Iterator[tuple[int, Piece]]:
        number = int(self._random.choice(len(GUESTS), p=[guest.share for guest in GUESTS]))
        guest, self.executions = GUESTS[number], self.executions + 1
        batches = 1 if self.batches == 1 else int(self._random.geometric(1 / self.batches))
        folder = RARE if self.executions == STREAMS + 1 else RARE + 1 + int(self._random.integers(SETS))
        start = _start(self.executions, guest.name, TENANTS[stream % len(TENANTS)], t_ns)
        yield t_ns, Piece(start)
        parts = range(batches + 1 if guest.each else 1)
        seq, counts, begun = 0, np.zeros((len(CALLS), 2), np.int64), t_ns
        waiting: list[Block] = []
        for part in parts:
            block = _block(number, part and (part - 1) % (TABLES // FILES) + 1)
            waiting.append(Block(block.records, block.arena.replace(b"set-000", b"set-%03d" % folder)))
            size = sum(len(block.records) for block in waiting)
            if size < FRAME_RECORDS - len(waiting[-1].records) and part != parts[-1]:
                continue
            made, arena = self._frame(waiting, seq, t_ns, guest.gap_ns)
            t_ns, waiting = int(made["t_ns"][-1]) + guest.gap_ns, []
            np.add.at(counts, (made["call"], made["decision"]), 1)
            yield t_ns, Piece(start, made, arena, seq)
            seq += len(made)
            self.made += len(made)
        yield t_ns, Piece(start, receipt=_receipt(start, counts, begun, t_ns))

    def _frame(
        self, blocks: list[Block], seq: int, t_ns: int, gap_ns: int
    ) -> tuple[npt.NDArray[np.void], bytes]:
        made = np.concatenate([block.records for block in blocks])
        first, before = 0, 0
        for block in blocks:
            part = made[first : first + len(block.records)]
            opened = part["opener"] >= 0
            part["opener"][opened] += seq + first
            part["target_at"][part["target_len"] > 0] += before
            first, before = first + len(part), before + len(block.arena)
        at = int(self._random.integers(len(self._spread) - len(made)))
        spread = self._spread[at : at + len(made)]
        timed = made["dur_ns"] >= 0
        made["dur_ns"][timed] = (made["dur_ns"][timed] * spread[timed]).astype(np.int64)
        made["t_ns"] = t_ns + np.cumsum(spread * gap_ns).astype(np.int64)
        return made, b"".join(block.arena for block in blocks)


def module_digest(number: int) -> str:
    """The digest of a guest, in the version that execution `number` runs."""
    return "sha256:" + f"{number % 8:02x}" * 32


def _start(number: int, name: str, tenant: str, t_ns: int) -> ExecutionStart:
    version = [guest.name for guest in GUESTS].index(name) * 2 + number // 64 % 2
    stamp = f"{t_ns // 1_000_000:012x}"
    return ExecutionStart(
        exec_id=ExecutionId(f"{stamp[:8]}-{stamp[8:]}-7{number % 4096:03x}-8000-{number:012x}"),
        started_at_ns=t_ns,
        module_digest=module_digest(version),
        module_name=f"{name}-{version}.wasm",
        policy_name=f"{tenant}-reports",
        policy_digest="sha256:" + f"{len(tenant):02x}" * 32,
        plan_digest="sha256:" + "ef" * 32,
        mode="enforce",
        layout_version=1,
        rules=RULES,
        tenant=tenant,
        mounts=(MountPoint("/in", f"/srv/{tenant}/in"), MountPoint("/out", f"/srv/{tenant}/out"), MountPoint("/app", "/srv/app")),
    )  # fmt: skip


def _receipt(start: ExecutionStart, counts: npt.NDArray[np.int64], begun: int, ended: int) -> Receipt:
    return Receipt(
        execution_id=start.exec_id,
        module_digest=start.module_digest,
        module_name=start.module_name,
        tenant=start.tenant,
        policy_name=start.policy_name,
        policy_digest=start.policy_digest,
        plan_digest=start.plan_digest,
        started_at_ns=begun,
        ended_at_ns=ended,
        outcome=Outcome(kind=OutcomeKind.EXITED, exit_code=0),
        records=int(counts.sum()),
        calls=tuple(
            CallCount(call=name, decision=word, count=int(counts[code, at]))
            for name, code in sorted(CALL_CODES.items())
            for at, word in enumerate(("allow", "deny"))
            if counts[code, at]
        ),
    )
