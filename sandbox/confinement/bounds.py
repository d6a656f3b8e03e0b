"""What the operating system is told of a plan: the bounds of a cell, as plain numbers.

How they are put up is `walls.py`. They repeat the plan one level below the monitor, as exactly as the kernel
can: by mount, not by path, and by kind of access, not by call. INVARIANT: no mount is in them that the plan
does not have. They allow what the monitor allows, so that they are only met by who got round it, but for one
thing: a directory is not moved from one mount to another in which more may be done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from policy.aliases import reachable
from policy.plan import UNLIMITED, Mode, Right
from sandbox.confinement.landlock import Access

if TYPE_CHECKING:
    from policy.plan import Mount, Plan

_ALL = Right(sum(Right))
_MORE_THAN_LOOKING = _ALL & ~(Right.READ | Right.LIST)
_SPARE_BYTES = 256 << 20  # for the engine, its threads and the interpreter, beside the guest's memories
_SPARE_FILES = 64
_ELEMENT_BYTES = 16


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a cell may reach: all that its confinement is made of."""

    accesses: tuple[int, ...] = ()  # for each mount, in the plan's order: `landlock.Access`
    open_files: int = UNLIMITED  # by the guest, and by the cell itself
    memory_bytes: int = UNLIMITED  # that can be written and is its own, beside what it has when it starts

    @property
    def can_change(self) -> bool:
        """Whether anything in a mount may be changed."""
        looks = Access.READ_FILE | Access.READ_DIR
        return any(mask & ~looks for mask in self.accesses)


def bounds_of(plan: Plan) -> Bounds:
    """The bounds of a plan."""
    limits = plan.limits
    memory = UNLIMITED
    if UNLIMITED not in {limits.memory_bytes, limits.memories, limits.tables, limits.table_elements}:
        tables = limits.tables * limits.table_elements * _ELEMENT_BYTES
        memory = limits.memory_bytes * limits.memories + tables + _SPARE_BYTES
    return Bounds(
        accesses=tuple(
            _access(mount, rights) for mount, rights in zip(plan.mounts, _rights(plan), strict=True)
        ),
        open_files=limits.open_files + len(plan.mounts) + _SPARE_FILES,
        memory_bytes=memory,
    )


def _access(mount: Mount, rights: Right) -> int:
    """What the rights that some path of a mount has come to, in the kernel's words."""
    # the engine opens a directory for reading to go through it, whatever may be done there
    found = Access.READ_DIR
    if not mount.is_mutable:
        rights &= ~_MORE_THAN_LOOKING
    if rights & Right.READ:
        found |= Access.READ_FILE
    if rights & (Right.WRITE | Right.APPEND):
        found |= Access.WRITE_FILE
    if rights & Right.WRITE:
        found |= Access.TRUNCATE
    if rights & Right.CREATE:
        # a new file is opened for something, too
        found |= Access.MAKE_REG | Access.MAKE_DIR | Access.REFER | Access.READ_FILE | Access.WRITE_FILE
    if rights & Right.DELETE:
        found |= Access.REMOVE_FILE | Access.REMOVE_DIR
    if rights & Right.SYMLINK:
        found |= Access.MAKE_SYM
    return int(found)


def _rights(plan: Plan) -> tuple[Right, ...]:
    """For each mount, what may be done to some path in it."""
    if plan.mode is Mode.AUDIT:  # what is refused is done all the same
        return (_ALL,) * len(plan.mounts)
    return tuple(reachable(plan, mount.start) for mount in plan.mounts)
