"""Mounts that reach the same directory: what the content of one may have done to it through another.

Each mount decides by its own rules; here is what keeps a move within one from giving content a right that
another mount has there, and a directory from being moved while a descriptor of another mount has more rights
to it. The monitor gets it by mount, and `decide.py` asks the same function.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from policy.plan import RIGHTS, Right

if TYPE_CHECKING:
    from policy.plan import Mount, Plan

CONTENT = Right.READ | Right.WRITE | Right.APPEND
_ALL = reduce(or_, RIGHTS)


def rights_elsewhere(plan: Plan, mount: Mount) -> Right:
    """The rights that some path has in other mounts which share a directory with this one.

    By mount and not by path, so it may be more than a path has: what is refused for it is refused too often.
    """
    found = Right(0)
    for other in plan.mounts:
        if other is not mount and _overlap(mount, other):
            found |= reachable(plan, other.start)
    return found


def _overlap(one: Mount, other: Mount) -> bool:
    if one.scratch or other.scratch:
        return one.scratch == other.scratch
    first, second = one.host.rstrip("/") + "/", other.host.rstrip("/") + "/"
    return first.startswith(second) or second.startswith(first)


def reachable(plan: Plan, start: int) -> Right:
    """Every right that the path at `start`, or one below it, has."""
    automaton = plan.automaton
    seen, queue, rights = {start}, [start], 0
    while queue and rights != _ALL:
        first, count, kind, default, _ = automaton.states[queue.pop()]
        rights |= automaton.classes[kind].rights
        goals = {default, *(goal for _, _, goal in automaton.edges[first : first + count])}
        queue.extend(goals - seen)
        seen |= goals
    return Right(rights)
