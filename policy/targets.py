"""From what a person names to a place in a mount.

A target is a guest path or a URI; what is decided there is said in `decide.py`. Paths are
normalised by text alone, so `..` never leads above the root and no link is followed.
"""

from __future__ import annotations

from dataclasses import dataclass

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
        wanted = _segments(target.removeprefix("fs://"))
        bases = [(mount, _segments(mount.host)) for mount in plan.mounts if mount.host]
        return _below(bases, wanted)
    if target.startswith("tmp://"):
        wanted = _segments(target.removeprefix("tmp:/"))
        bases = [(mount, _segments(mount.scratch)) for mount in plan.mounts if mount.scratch]
        return _below(bases, wanted)
    bases = sorted(
        ((mount, _segments(mount.guest)) for mount in plan.mounts),
        key=lambda pair: len(pair[1]),
        reverse=True,
    )
    return _below(bases, _segments(target))


def _below(bases: list[tuple[Mount, list[bytes]]], wanted: list[bytes]) -> tuple[Place, ...]:
    return tuple(
        Place(mount, tuple(wanted[len(base) :])) for mount, base in bases if wanted[: len(base)] == base
    )


def _segments(path: str) -> list[bytes]:
    kept: list[bytes] = []
    for segment in path.encode("utf-8", "surrogateescape").split(b"/"):
        if segment == b"..":
            del kept[-1:]
        elif segment not in {b"", b"."}:
            kept.append(segment)
    return kept
