"""Where the mounts of two plans begin: one trie over bytes, and what a mount shares with others.

The walk over it lives in `product.py`. Roots are texts of one of three kinds: host paths, scratch
names, and what the guest calls its mounts. INVARIANT: a text ends at a node exactly if it is a root.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from policy.aliases import CONTENT

if TYPE_CHECKING:
    from policy.plan import Mount, Plan

OFF = -1
"""The node of a text that no root starts with."""


class Naming(StrEnum):
    """How a path is named; the value stands before it in a question."""

    HOST = "fs://"
    SCRATCH = "tmp:/"
    GUEST = ""

    def root(self, mount: Mount) -> bytes | None:
        """The text of `mount`, without a slash at the end; None when it has none of this kind."""
        texts = {
            Naming.HOST: mount.host,
            Naming.SCRATCH: mount.scratch and f"/{mount.scratch}",
            Naming.GUEST: mount.guest,
        }
        return texts[self].rstrip("/").encode("utf-8", "surrogateescape") if texts[self] else None


@dataclass(slots=True)
class Roots:
    """The trie; node 0 is the empty text."""

    children: list[dict[int, int]] = field(default_factory=lambda: [{}])
    mounts: list[tuple[list[int], list[int]]] = field(default_factory=lambda: [([], [])])

    @classmethod
    def of(cls, plans: tuple[Plan, Plan], naming: Naming) -> Roots:
        """The roots of both plans' mounts, by their indices."""
        roots = cls()
        for side, plan in enumerate(plans):
            for index, mount in enumerate(plan.mounts):
                text = naming.root(mount)
                if text is not None:
                    roots.mounts[roots._node(text)][side].append(index)
        return roots

    def _node(self, text: bytes) -> int:
        here = 0
        for byte in text:
            child = self.children[here].get(byte)
            if child is None:
                child = len(self.children)
                self.children[here][byte] = child
                self.children.append({})
                self.mounts.append(([], []))
            here = child
        return here


def elsewhere(plan: Plan) -> tuple[int, ...]:
    """For each mount, the rights to content that other mounts have which share a directory with it.

    The same as `policy.aliases.rights_elsewhere`, for all mounts at once.
    """
    roots = [_segments(mount) for mount in plan.mounts]
    at: dict[tuple[str, ...], list[int]] = {}
    below: Counter[tuple[str, ...]] = Counter()
    for index, root in enumerate(roots):
        at.setdefault(root, []).append(index)
        below.update(root[:depth] for depth in range(len(root)))
    sharing = [
        len(at[root]) > 1 or below[root] > 0 or any(root[:depth] in at for depth in range(len(root)))
        for root in roots
    ]
    reached: dict[int, int] = {}
    own = [
        _reach(plan, mount.start, reached) if shares else 0
        for mount, shares in zip(plan.mounts, sharing, strict=True)
    ]
    inside: dict[tuple[str, ...], int] = {}
    for root, rights in zip(roots, own, strict=True):
        for depth in range(len(root)):
            inside[root[:depth]] = inside.get(root[:depth], 0) | rights
    found: list[int] = []
    for index, root in enumerate(roots):
        above = (other for depth in range(len(root)) for other in at.get(root[:depth], ()))
        beside = (other for other in at[root] if other != index)
        found.append(reduce(or_, (own[other] for other in (*above, *beside)), inside.get(root, 0)))
    return tuple(found)


def _segments(mount: Mount) -> tuple[str, ...]:
    if mount.scratch:
        return ("tmp", mount.scratch)
    return ("fs", *(part for part in mount.host.split("/") if part))


def _reach(plan: Plan, start: int, known: dict[int, int]) -> int:
    """The rights to content of the path at `start`, and of those below."""
    if start in known:
        return known[start]
    automaton = plan.automaton
    seen, queue, rights = {start}, [start], 0
    while queue and rights != CONTENT:
        first, count, kind, default, _ = automaton.states[queue.pop()]
        rights |= automaton.classes[kind].rights & CONTENT
        goals = {default, *(goal for _, _, goal in automaton.edges[first : first + count])}
        queue.extend(goals - seen)
        seen |= goals
    known[start] = rights
    return rights
