"""Bounds what a cell takes of the machine's memory, processes and processors, by a cgroup of its own.

The operator names a cgroup that was delegated to this program (`WASMGATE_CGROUP`); below it each cell gets
one, which the supervisor makes, sets and removes: a cell can't reach it. Both versions of cgroups will do:
version 2 is one folder, version 1 one for each controller. INVARIANT: `Group.bound` says yes only when
memory, processes and processors are all bounded.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from policy.plan import UNLIMITED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# SPEC: Linux, admin-guide/cgroup-v2.rst and cgroup-v1/: the files of each controller
_MEMORY: Final = ("memory.max", "memory.limit_in_bytes")
_SWAP: Final = ("memory.swap.max",)
_PIDS: Final = ("pids.max",)
_CPU: Final = ("cpu.max", "cpu.cfs_quota_us")
_KILLED: Final = ("memory.events", "memory.oom_control")
_CONTROLLERS: Final = ("memory", "pids", "cpu")
_OWN_BYTES: Final = 64 << 20  # what a cell has before its guest starts, and shares with nobody
_THREADS: Final = 64  # the engine starts a few
_PERIOD_US: Final = 100_000
_CORES: Final = 2  # the guest's thread, and those that serve it
_PREFIX: Final = "wasmgate-"
_LEAVE_S: Final = 1.0  # for what was killed to be gone


class CgroupError(OSError):
    """The cgroup that was named can't be used; says why."""


@dataclass(slots=True)
class Group:
    """The cgroup of one cell."""

    parent: Cgroup
    folders: tuple[Path, ...]

    def bound(self, memory_bytes: int) -> bool:
        """Set the limits of a run, in bytes or `UNLIMITED`; says whether all of them stand."""
        # -1 is what version 1 has for no limit, and `max` what version 2 has
        memory = None if memory_bytes == UNLIMITED else str(memory_bytes + _OWN_BYTES)
        try:
            bounded = [
                _set(self.folders, _PIDS, str(_THREADS)),
                _set(self.folders, _CPU, f"{_CORES * _PERIOD_US}"),
                memory is None or _set(self.folders, _MEMORY, memory),
            ]
            if memory is not None:
                _set(self.folders, _SWAP, "0")
        except OSError:
            return False
        return all(bounded)

    @property
    def is_out_of_memory(self) -> bool:
        """Whether the kernel ended something in it for want of memory."""
        for folder in self.folders:
            for name in _KILLED:
                with contextlib.suppress(OSError):
                    for line in (folder / name).read_text("ascii").splitlines():
                        word, _, count = line.partition(" ")
                        if word == "oom_kill" and count != "0":
                            return True
        return False

    def close(self) -> None:
        """Remove it when the cell has left it, now or later; a second call does nothing."""
        folders, self.folders = self.folders, ()
        self.parent.leave(folders)


@dataclass(slots=True)
class Cgroup:
    """The cgroup that was delegated; thread-safe."""

    folders: tuple[Path, ...]  # of this process, below those that were named
    _number: int = 0
    _left: list[Path] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @staticmethod
    def open(named: Sequence[Path]) -> Cgroup:
        """Make a place for the cells of this process; raises CgroupError."""
        own = f"{_PREFIX}{os.getpid()}-{_born(os.getpid())}"
        folders: list[Path] = []
        try:
            for root in named:
                _sweep(root)
                folders.append(root / own)
                _enable(root)
                folders[-1].mkdir(exist_ok=True)
                _enable(folders[-1])
            missing = sorted(set(_CONTROLLERS) - set(_found(folders)))
        except OSError as err:
            _remove(folders)
            raise CgroupError(f"the delegated cgroup can't be used: {err.filename}: {err.strerror}") from err
        if missing:
            _remove(folders)
            raise CgroupError(f"the delegated cgroup has no controller for {', '.join(missing)}")
        return Cgroup(tuple(folders))

    def enter(self, pid: int) -> Group:
        """Move a process of ours that runs nobody's code yet into a cgroup of its own; raises OSError."""
        with self._lock:
            self._number += 1
            name = f"cell-{self._number}"
        made: list[Path] = []
        try:
            for folder in self.folders:
                made.append(folder / name)
                made[-1].mkdir()
                (made[-1] / "cgroup.procs").write_text(str(pid), "ascii")
        except OSError:
            self.leave(tuple(made))
            raise
        return Group(self, tuple(made))

    def leave(self, folders: tuple[Path, ...]) -> None:
        """Remove these, and those of before, that nothing is in any more."""
        with self._lock:
            self._left = _remove([*self._left, *folders])

    def close(self) -> None:
        """Remove all; what is killed and not yet gone is waited for, for a moment."""
        until = time.monotonic() + _LEAVE_S
        while True:
            self.leave(())
            left = _remove(self.folders)
            if not left or time.monotonic() >= until:
                return  # the next one to open the delegated cgroup sweeps it
            time.sleep(0.005)


def _set(folders: Sequence[Path], names: Sequence[str], value: str) -> bool:
    """Write to the first of these files that there is; says whether there was one."""
    for folder in folders:
        for name in names:
            path = folder / name
            if path.exists():
                path.write_text(value, "ascii")
                return True
    return False


def _enable(folder: Path) -> None:
    """Have what is below a folder of version 2 be bounded by its controllers."""
    control = folder / "cgroup.subtree_control"
    if control.exists():
        there = (folder / "cgroup.controllers").read_text("ascii").split()
        wanted = " ".join(f"+{name}" for name in _CONTROLLERS if name in there)
        if wanted:
            control.write_text(wanted, "ascii")


def _found(folders: Sequence[Path]) -> Iterator[str]:
    """Name the controllers that bound what is below these folders."""
    for folder in folders:
        control = folder / "cgroup.subtree_control"
        if control.exists():
            yield from control.read_text("ascii").split()
        else:  # version 1: the files are in the folder itself
            for controller, names in zip(_CONTROLLERS, (_MEMORY, _PIDS, _CPU), strict=True):
                if any((folder / name).exists() for name in names):
                    yield controller


def _remove(folders: Sequence[Path]) -> list[Path]:
    """Remove the folders that are empty; gives those that are not."""
    left: list[Path] = []
    for folder in folders:
        try:
            folder.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            left.append(folder)
    return left


def _born(pid: int) -> str:
    """When a process was started, in ticks of the kernel: with its number, a name for good; OSError."""
    # SPEC: proc_pid_stat(5): the name of the program may hold anything, and ends at the last parenthesis
    return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[19]


def _sweep(root: Path) -> None:
    """Remove what processes that are gone left behind."""
    for folder in root.glob(f"{_PREFIX}*-*"):
        pid, _, born = folder.name.removeprefix(_PREFIX).partition("-")
        try:
            is_there = pid.isdecimal() and _born(int(pid)) == born
        except OSError:
            is_there = False
        if not is_there:
            _remove([*folder.glob("cell-*"), folder])
