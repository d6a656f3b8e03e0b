"""From what a person names to a place in a mount.

A target is a guest path or a URI; what is decided there is said in `decide.py`. Paths are
normalised by text alone, so `..` never leads above the root and no link is followed.
"""

from __future__ import annotations

from dataclasses import dataclass

from policy.lookup import mounts_by_root, segments
from policy.plan import Mount, Plan


@dataclass(frozen=True, slots=True)
class Place:
    """A path below a mount; no segments mean the mount itself."""

    mount: Mount
    segments: tuple[bytes, ...]

    @property
    def uri(self) -> str:
        """Where it is on the host, or in scratch."""
        below = "".join(f"/{segment.decode('utf-8', 'backslashreplace')}" for segment in self.segments)
        return (self.mount.base.rstrip("/") if self.mount.host else self.mount.base) + below or "/"


def resolve(plan: Plan, target: str) -> tuple[Place, ...]:
    """The places that `target` names: one for each mount that holds it, the innermost first.

    A C library takes the innermost mount of a guest path; a program that opens paths itself can take any.
    """
    if target.startswith("fs:///"):
        found = sorted(_below(plan, "host", target.removeprefix("fs://")), key=_by_mount)
    elif target.startswith("tmp://"):
        found = sorted(_below(plan, "scratch", target.removeprefix("tmp:/")), key=_by_mount)
    else:
        found = _below(plan, "guest", target)
    return tuple(place for _, place in found)


def _below(plan: Plan, kind: str, target: str) -> list[tuple[int, Place]]:
    """Each mount that holds `target`, by index, the innermost first."""
    wanted, roots = segments(target), mounts_by_root(plan, kind)
    return [
        (index, Place(plan.mounts[index], wanted[depth:]))
        for depth in range(len(wanted), -1, -1)
        for index in roots.get(wanted[:depth], ())
    ]


def _by_mount(pair: tuple[int, Place]) -> int:
    return pair[0]
