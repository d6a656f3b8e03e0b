"""Puts up the walls around a cell, in the cell, when all code is loaded and none of the guest's has run.

What they let through is `bounds.py` and `filters.py`. They hold for the thread that puts them up and for
those it starts later. INVARIANT: it is the only one, or the cell is not confined and says so by an error; a
wall that this machine does not have is missing in the answer, and any other failure is an error.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from policy.plan import UNLIMITED
from sandbox.confinement import landlock, process
from sandbox.confinement.bounds import Bounds
from sandbox.confinement.filters import cell_filter, compiler_filter, this_machine
from sandbox.confinement.syscalls import MACHINES

# resources that nothing in a cell uses
_NONE_OF = (
    resource.RLIMIT_CORE,
    resource.RLIMIT_MEMLOCK,
    resource.RLIMIT_MSGQUEUE,
    resource.RLIMIT_NICE,
    resource.RLIMIT_RTPRIO,
)


class ConfinementError(Exception):
    """A wall could not be put up, though this machine has it."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where walls are to stand: made while the mounts are open, used when they are not needed any more."""

    bounds: Bounds
    ruleset: int | None  # of Landlock; None where the kernel has none
    leash: int  # descriptor by which the kernel ends this process with its supervisor


def site_of(bounds: Bounds, directories: Sequence[int], leash: int) -> Site:
    """Name the directories of the mounts, in the plan's order, as open descriptors; raises OSError."""
    return Site(bounds, landlock.ruleset(zip(directories, bounds.accesses, strict=True)), leash)


def confine_cell(site: Site, without: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """Confine this process to what its plan grants; gives the names of the walls that stand now.

    `without` is for probes, which try one wall at a time. Raises ConfinementError and OSError: no guest may
    run then.
    """
    bounds, ruleset = site.bounds, site.ruleset
    # root reads the files of other users because of these, and goes on to
    needed = (process.DAC_OVERRIDE, process.DAC_READ_SEARCH, process.FOWNER) if bounds.accesses else ()
    steps: dict[str, Callable[[], None]] = {
        "no_new_privs": process.forbid_new_privileges,
        "rlimits": lambda: _limit(bounds),
        "capabilities": lambda: process.drop_capabilities(needed),
    }
    if ruleset is not None:
        steps["landlock"] = lambda: landlock.restrict(ruleset)
    if can_filter():
        steps["seccomp"] = lambda: _filter_cell(site)
    return put_up({name: step for name, step in steps.items() if name not in without})


def make_ready(leash: int) -> None:
    """Make what can be made before the bounds are known, and touch what is used then: there is time."""
    if (ruleset := landlock.ruleset(())) is not None:
        os.close(ruleset)
    process.memory_in_use()
    process.count_threads()
    if can_filter():
        for has_files, can_change in ((False, False), (True, False), (True, True)):
            machine, pid = this_machine(), os.getpid()
            cell_filter(machine, pid, leash=leash, has_files=has_files, can_change=can_change)


def confine_compiler() -> tuple[str, ...]:
    """Confine this process to computing with the descriptors that it has; as `confine_cell`."""
    steps: dict[str, Callable[[], None]] = {
        "no_new_privs": process.forbid_new_privileges,
        "capabilities": process.drop_capabilities,
    }
    if (ruleset := landlock.ruleset(())) is not None:
        steps["landlock"] = lambda: landlock.restrict(ruleset)
    if can_filter():
        steps["seccomp"] = lambda: process.install_filter(compiler_filter(this_machine(), os.getpid()))
    return put_up(steps)


@cache
def can_filter() -> bool:
    """Whether this machine takes system call filters that are written for it here."""
    # the kernel lists the actions of a filter where it has filters
    return this_machine() in MACHINES and Path("/proc/sys/kernel/seccomp/actions_avail").exists()


def put_up(steps: Mapping[str, Callable[[], None]]) -> tuple[str, ...]:
    """Take these steps in their order; gives their names. Raises ConfinementError and OSError."""
    # SECURITY: a thread that runs already would stay outside
    if (count := process.count_threads()) != 1:
        raise ConfinementError(f"{count} threads run already, and walls hold for one")
    process.hide_from_debuggers()
    for step in steps.values():
        step()
    return tuple(steps)


def _filter_cell(site: Site) -> None:
    bounds = site.bounds
    program = cell_filter(
        this_machine(),
        os.getpid(),
        leash=site.leash,
        has_files=bool(bounds.accesses),
        can_change=bounds.can_change,
    )
    process.install_filter(program)


def _limit(bounds: Bounds) -> None:
    for number in _NONE_OF:
        process.limit(number, 0)
    if not bounds.can_change:
        process.limit(resource.RLIMIT_FSIZE, 0)
    if bounds.open_files != UNLIMITED:
        process.limit(resource.RLIMIT_NOFILE, bounds.open_files)
    if bounds.memory_bytes != UNLIMITED:
        process.limit(resource.RLIMIT_DATA, process.memory_in_use() + bounds.memory_bytes)
