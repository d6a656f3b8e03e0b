"""Native code in a real cell: what somebody could do who broke out of the engine's sandbox.

A zygote of the tests runs an attack where others call the guest's `_start`: behind the same walls, with all
that a cell holds, the machine with its memories included. An attack is a function in a file `test_native_*.py`
of this folder; it gives a text, which goes to standard output.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from policy.plan import Plan
from sandbox import cell, zygote
from sandbox.cache import ArtifactCache
from sandbox.cells import Cells
from sandbox.engine_wasmtime import Machine
from sandbox.guest import End, EndKind
from sandbox.job import Job
from sandbox.outcome import FORBIDDEN
from sandbox.runner import Execution, Order, Runner
from tests.runs import HELLO, Log, policy

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
WHOLE = "permissions: {extra_args: true}\n"
UNCONFINED = WHOLE + "runtime: {isolation: process}\n"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of an attack."""

    said: str
    execution: Execution

    @property
    def is_killed(self) -> bool:
        """Whether the kernel ended the cell for a system call that is on no list."""
        return self.execution.receipt.outcome.message == FORBIDDEN


@dataclass(frozen=True, slots=True)
class Lab:
    """Where attacks are run."""

    log: Log

    @property
    def zygote(self) -> int:
        """The process that forks the cells."""
        self.log.runner.warm()
        zygote = self.log.runner._cells._zygote
        if zygote is None:
            raise AssertionError("there is no zygote")
        return zygote.process.pid

    def attempt(
        self,
        attack: Callable[..., str],
        *args: object,
        plan: Plan | None = None,
        stdin_fd: int | None = None,
        module: bytes = HELLO,
    ) -> Attempt:
        """Run an attack in a cell of this plan, which has to take arguments."""
        named = (attack.__module__, attack.__name__, *(str(arg) for arg in args))
        execution = self.log.runner.run(
            Order(
                plan=plan or policy(WHOLE),
                module=module,
                module_name="guest.wasm",
                extra_args=named,
                stdin_fd=stdin_fd,
            )
        )
        return Attempt(execution.stdout.decode(), execution)

    def both(self, attack: Callable[..., str], *args: object) -> tuple[Attempt, Attempt]:
        """Run an attack in a confined cell, and in one that is a process and no more."""
        return self.attempt(attack, *args), self.attempt(attack, *args, plan=policy(UNCONFINED))


@contextmanager
def opened(root: Path, cache: ArtifactCache, *, spare_cells: int = 0) -> Iterator[Lab]:
    """A log and a runner whose cells run attacks."""
    from audit.writer import AuditWriter

    writer = AuditWriter(root / "log")
    runner = Runner(
        writer=writer,
        cache=cache,
        scratch=root / "scratch",
        cells=Cells("tests.escape.native"),
        spare_cells=spare_cells,
    )
    log = Log(root / "log", writer, runner)
    try:
        yield Lab(log)
    finally:
        log.close()


def wait_for_spare(runner: Runner) -> None:
    """Wait until a cell is there for the next run, where cells are made before."""
    spares = runner._spares
    wait_until(lambda: spares.ready or not spares._most)


def children(pid: int) -> list[int]:
    """The processes that a process has."""
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def wait_until(is_so: Callable[[], object], seconds: float = 20) -> None:
    """Wait until something is so; AssertionError when it does not come."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise AssertionError("it did not come")
        time.sleep(0.005)


def wait_for_cell(zygote: int) -> int:
    """Wait until the guest of the only cell has begun: a second thread counts its processor time by then."""

    def begun() -> list[int]:
        return [pid for pid in children(zygote) if len(list(Path(f"/proc/{pid}/task").glob("*"))) > 1]

    wait_until(begun)
    (cell,) = begun()
    return cell


def is_alive(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def call(number: int, *args: object) -> str:
    """Make a system call by its number; gives its result, or the name of the error."""
    ctypes.set_errno(0)
    # a number that goes by the stack has to be as long as the kernel reads it
    given = (ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args)
    result = LIBC.syscall(ctypes.c_long(number), *given)
    return errno.errorcode[ctypes.get_errno()] if result < 0 else f"done {result}"


def tried(attack: Callable[[], object]) -> str:
    """Do something, and give what it gives, or the name of the error."""
    try:
        return f"done {attack()}"
    except OSError as err:
        return errno.errorcode[err.errno or 0]


_held: list[tuple[Machine, Job]] = []
_play = cell.play


def run_guest() -> None:
    """Have the guest run first, under the monitor, as it does where nobody breaks out."""
    _play(*_held[-1])


def _attack(machine: Machine, job: Job) -> End:  # the shape is that of `cell.play`
    # this file runs as a program here, and what attacks import is another copy of it
    importlib.import_module("tests.escape.native")._held.append((machine, job))
    module, name, *args = job.world.argv[1:]
    attack: Callable[..., str] = getattr(importlib.import_module(module), name)
    os.write(1, attack(*args).encode())
    return End(EndKind.RETURNED)


def main() -> None:
    """Serve as a zygote that has read all attacks: a cell could read none behind its walls."""
    for path in sorted(Path(__file__).parent.glob("test_native_*.py")):
        importlib.import_module(f"tests.escape.{path.stem}")
    cell.play = _attack
    zygote.main()


if __name__ == "__main__":
    main()
