"""Many runs of all kinds over one runner, and what the machine holds between them: the soak's guests and looks.

What has to hold is `tests/integration/test_soak.py`. INVARIANT: which run is of which kind, and when something is
killed from outside, follows from the number of the run alone; when it happens beside others does not.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from random import Random

import pyarrow as pa

from audit.receipt import Outcome, OutcomeKind, Receipt
from audit.recovery import recover
from audit.writer import AuditWriter
from policy import Plan
from sandbox.cache import ArtifactCache
from sandbox.monitor.decode import decode
from sandbox.runner import Order, Runner
from tests.limit_guests import CALLS, WRITE, keeps_objects, opens, prints, recurses, sleeps, with_file
from tests.runs import FOREVER, HELLO, guest, policy, says, text_data

THREADS, SPARES = 4, 4
TENANTS = ("default", "acme", "umbrella")
SPARE_STRIKES, ZYGOTE_STRIKES = 41, 67
"""Before each so-many-th run a cell that waits, or the zygote, is killed from outside."""

OUTSIDE = "said, by somebody else"
_SCRATCH = 'storage: {allow: [{id: s, uri: "tmp://s", mount: /s, access: [read, list, create, write]}]}'


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of run: its module, its policy and how it ends."""

    name: str
    module: Callable[[int], bytes]
    plan: Plan
    ends: tuple[OutcomeKind, int | str | None]  # with the exit code, or the limit
    weight: int = 4
    is_stopped_at: str = ""  # by its caller, when it `compile`s, is `run`, or has `said` something


def _plan(limits: str = "", permissions: str = "") -> Plan:
    text = f"permissions: {{{permissions}}}\n" if permissions else ""
    return policy(f"{text}resources: {{limits: {{{limits or 'timeout: 60s'}}}}}\n")


def _fixed(module: bytes) -> Callable[[int], bytes]:
    return lambda _: module


def _new(number: int) -> bytes:
    """A module that never ran before: it is compiled."""
    return guest(
        f"(call $proc_exit (i32.const {number % 100}))",
        uses="proc_exit",
        fields=f"(global i32 (i32.const {number}))",
    )


@cache
def kinds() -> tuple[Kind, ...]:
    """All of them."""
    exited, limit, refused = OutcomeKind.EXITED, OutcomeKind.LIMIT, OutcomeKind.REFUSED
    spins = guest(FOREVER, fields="(global i32 (i32.const 7))")
    opens_outside = guest(
        f"(local $i i32) (loop $l (drop {opens(length=4)}) (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 50))))",
        uses="path_open",
        fields=text_data(1_024, b"../x"),
    )
    writes = with_file(WRITE, uses="fd_write", times=20, size=1_000)
    body, data = says(b"here\n")
    talks_on = guest(body + FOREVER, uses="fd_write", fields=data)
    exits = guest("(call $proc_exit (i32.const 7))", uses="proc_exit")
    return (
        Kind("says hello", _fixed(HELLO), _plan(), (exited, 0), weight=20),
        Kind("exits", _fixed(exits), _plan(), (exited, 7), weight=8),
        Kind("traps", _fixed(guest("(unreachable)")), _plan(), (OutcomeKind.TRAPPED, None), weight=6),
        Kind("spins", _fixed(spins), _plan("cpu: 20ms"), (limit, "cpu")),
        Kind("sleeps", _fixed(sleeps(3_600 * 10**9)), _plan("timeout: 30ms"), (limit, "timeout")),
        Kind("eats memory", _fixed(keeps_objects()), _plan("memory: 4Mi"), (limit, "memory")),
        Kind("recurses", _fixed(recurses(10_000_000)), _plan(), (limit, "stack")),
        Kind("prints", _fixed(prints(b"x" * 1_000)), _plan("stdout: 64Ki"), (limit, "stdout")),
        Kind("complains", _fixed(prints(b"x" * 100, fd=2)), _plan("stderr: 5000"), (limit, "stderr")),
        Kind("calls", _fixed(CALLS), _plan("host_calls: 5000"), (limit, "host_calls")),
        Kind("writes files", _fixed(writes), _plan("", _SCRATCH), (exited, 0)),
        Kind("leaves its scratch", _fixed(opens_outside), _plan("", _SCRATCH), (exited, 0)),
        Kind("is no module", _fixed(b"\0asm\1\0\0\0\xff"), _plan(), (refused, None)),
        Kind("is new", _new, _plan(), (exited, None), weight=1),
        Kind("is stopped early", _fixed(spins), _plan(), (OutcomeKind.KILLED, None), 2, "compile"),
        Kind("is stopped before its start", _fixed(HELLO), _plan(), (OutcomeKind.KILLED, None), 2, "run"),
        Kind("is stopped", _fixed(talks_on), _plan(), (OutcomeKind.KILLED, None), 2, "said"),
        Kind("is killed", _fixed(talks_on), _plan("cpu: 300ms"), (OutcomeKind.KILLED, None), 2, OUTSIDE),
    )


def kind_of(number: int) -> Kind:
    """Which kind a run is of."""
    found = kinds()
    if number < len(found):
        return found[number]
    return Random(number).choices(found, [kind.weight for kind in found])[0]


def ended_as(outcome: Outcome, kind: Kind) -> bool:
    """Say whether a run ended as its kind does."""
    if kind.is_stopped_at == OUTSIDE and outcome.limit == "cpu":
        return True  # its zygote is gone, so it was not found
    how, what = kind.ends
    found = outcome.limit if how is OutcomeKind.LIMIT else outcome.exit_code
    return outcome.kind is how and (what is None or found == what)


def struck(outcome: Outcome) -> bool:
    """Say whether a run ended as one does whose cell, or whose zygote, was killed from outside."""
    said = outcome.message or ""
    return outcome.kind in {OutcomeKind.KILLED, OutcomeKind.REFUSED} and (
        "signal 9" in said or "two cells ended" in said
    )


# --- what the machine holds --------------------------------------------------------------------------------


def children(pid: int) -> set[int]:
    """Processes that a process has started."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found.update(int(child) for child in task.read_text().split())
    return found


def in_sessions(sessions: set[int]) -> set[int]:
    """All processes of these sessions, dead ones that nobody waited for among them."""
    found: set[int] = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[3]) in sessions:
                found.add(int(stat.parent.name))
    return found


def descriptors(pid: int) -> Counter[str]:
    """What a process holds open, by kind."""
    found: Counter[str] = Counter()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found[str(fd.readlink()).partition(":")[0]] += 1
    return found


def resident(pid: int) -> int:
    """Bytes of memory that are a process's alone."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Private_"))


def give_back() -> None:
    """Give the system what nobody uses: what is left is held."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def settles(what: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Look until it is so."""
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@dataclass(frozen=True, slots=True)
class Held:
    """What is held when nothing runs."""

    memory: int  # private bytes of the supervisor; its allocators keep some tens of megabytes, or not
    objects: int  # of Python's
    mappings: int
    zygote_memory: int
    fds: int
    zygote_fds: int
    threads: int
    scratch: tuple[str, ...]


# --- the runs ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Soak:
    """A runner with spare cells, and what was seen of its runs."""

    base: Path
    cache: ArtifactCache
    writer: AuditWriter = field(init=False)
    runner: Runner = field(init=False)
    told: list[tuple[str, int, bytes]] = field(
        default_factory=list
    )  # execution, records, digest of the receipt
    odd: list[tuple[str, Outcome]] = field(default_factory=list)
    struck: int = 0
    strikes: int = 0
    met: Counter[str] = field(default_factory=Counter)
    sessions: set[int] = field(default_factory=set)  # of the zygotes, each of which leads its own
    is_closed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.writer = AuditWriter(self.base / "log")
        self.runner = Runner(
            writer=self.writer, cache=self.cache, scratch=self.base / "scratch", spare_cells=SPARES
        )

    def close(self) -> None:
        """End everything; a second call does nothing."""
        if not self.is_closed:
            self.is_closed = True
            self.runner.close()
            self.writer.close()

    @property
    def zygote(self) -> int:
        """The one that there is now, alive."""
        with self.runner._cells._lock:
            pid = self.runner._cells._ready().process.pid
        self.sessions.add(pid)
        return pid

    def run(self, numbers: Iterable[int], note: Callable[[Receipt], None]) -> None:
        """Run them all, several at a time."""
        with ThreadPoolExecutor(THREADS) as pool:
            for _ in pool.map(partial(self._turn, note), numbers):
                pass

    def _turn(self, note: Callable[[Receipt], None], number: int) -> None:
        if number % SPARE_STRIKES == SPARE_STRIKES - 1:
            self._strike_spare()
        if number % ZYGOTE_STRIKES == ZYGOTE_STRIKES - 1:
            self._strike_zygote()
        kind = kind_of(number)
        cancelled = threading.Event()
        executed = self.runner.run(
            Order(
                plan=kind.plan,
                module=kind.module(number),
                module_name=f"{kind.name.replace(' ', '-')}.wasm",
                tenant=TENANTS[number % len(TENANTS)],
                cancelled=cancelled,
                on_progress=lambda step: cancelled.set() if step == kind.is_stopped_at else None,
                on_stdout=partial(self._on_output, kind, cancelled),
            )
        )
        outcome = executed.receipt.outcome
        with self._lock:
            self.met[kind.name] += 1
            if not ended_as(outcome, kind):
                self.struck += struck(outcome)
                if not struck(outcome):
                    self.odd.append((kind.name, outcome))
            note(executed.receipt)

    def _on_output(self, kind: Kind, cancelled: threading.Event, _: bytes) -> None:
        if kind.is_stopped_at == "said":
            cancelled.set()
        if kind.is_stopped_at == OUTSIDE:
            self._strike_cells()

    def _strike_spare(self) -> None:
        """Kill a cell that waits; the next one that is asked for is another."""
        spares = self.runner._spares
        with spares._changed:  # it is not closed, so its descriptor is its own
            for shelf in spares._shelves.values():
                if shelf.ready:
                    shelf.ready[0].kill()
                    return

    def _strike_cells(self) -> None:
        """Kill all cells that run something, but for those of a zygote that is no more."""
        self.strikes += THREADS
        zygote = self.zygote
        spares = {cell.pid for cell in self._ready_cells()}
        for pid in children(zygote) - spares:
            with contextlib.suppress(OSError):
                pidfd = os.pidfd_open(pid)
                # a number that another process could have by now is not signalled
                if pid in children(zygote):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                os.close(pidfd)

    def _strike_zygote(self) -> None:
        with self.runner._cells._lock:
            zygote = self.runner._cells._ready()
            self.sessions.add(zygote.process.pid)
            zygote.process.kill()
        # what it had forked goes on, and how that ends nobody says
        self.strikes += THREADS

    def seal(self) -> None:
        """Seal all that was recorded."""
        self.writer.rotate()
        recover(self.base / "log", decode)

    def rest(self) -> Held:
        """What is held once the spares are made and nothing else goes on."""
        zygote, spares = self.zygote, self.runner._spares
        with spares._changed:  # as it does by itself twice a minute
            old = spares._expired()
            spares._changed.notify_all()
        for cell in old:
            cell.close()

        def is_idle() -> bool:
            with spares._changed:
                wanted = sum(shelf.wanted for shelf in spares._shelves.values())
            return not wanted and len(children(zygote)) == sum(
                one.zygote_pid == zygote for one in self._ready_cells()
            )

        idle = settles(is_idle)
        if not idle:
            raise TimeoutError("the spare cells do not come to rest")
        # another process may get the number of one that is no more: they are forgotten
        if not settles(lambda: not in_sessions(self.sessions - {zygote})):
            raise TimeoutError(f"processes of former zygotes are left: {in_sessions(self.sessions)}")
        self.sessions &= {zygote}
        give_back()
        # beside what each spare, and each kind that is kept in mind, is known to hold
        ready = self._ready_cells()
        shelves = [len(shelf.code) for shelf in spares._shelves.values()]
        return Held(
            memory=resident(os.getpid()),
            objects=len(gc.get_objects()),
            mappings=Path("/proc/self/maps").read_text().count("\n"),
            zygote_memory=resident(zygote),
            fds=descriptors(os.getpid()).total() - 4 * len(ready) - sum(shelves),
            zygote_fds=descriptors(zygote).total() - len(children(zygote)),
            threads=threading.active_count(),
            scratch=tuple(one.name for one in (self.base / "scratch").glob("[!.]*")),
        )

    def _ready_cells(self):
        spares = self.runner._spares
        with spares._changed:
            return [cell for shelf in spares._shelves.values() for cell in shelf.ready]
