"""Which mounts can hold no device that could be opened.

What the monitor leaves out in such a mount is described in docs/decisions/0006-looking-at-what-was-opened.md.
INVARIANT: an answer that cannot be had, or read, counts as "there could be one".
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from policy.plan import Plan

_MOUNTS = Path("/proc/self/mountinfo")
_POINT, _OPTIONS = 4, 5  # SPEC: proc_pid_mountinfo(5), fields 5 and 6


def device_free(plan: Plan, mountinfo: str | None = None) -> frozenset[int]:
    """Indices of the plan's mounts that are scratch, or on file systems mounted `nodev` all the way down.

    `mountinfo` stands for the kernel's list of mounts in this process's namespace.
    """
    scratch = {index for index, mount in enumerate(plan.mounts) if mount.scratch}
    try:
        points = _points(_MOUNTS.read_text(encoding="utf-8") if mountinfo is None else mountinfo)
    except (OSError, ValueError, IndexError):
        return frozenset(scratch)
    return frozenset(
        scratch
        | {index for index, mount in enumerate(plan.mounts) if mount.host and _is_free(mount.host, points)}
    )


def _points(text: str) -> tuple[tuple[str, bool], ...]:
    """Mount points with whether devices are off there, in the order in which they were mounted."""
    rows = [line.split(" ") for line in text.splitlines()]
    return tuple((_unescaped(row[_POINT]), "nodev" in row[_OPTIONS].split(",")) for row in rows)


def _unescaped(text: str) -> str:
    return text.encode("latin-1", "backslashreplace").decode("unicode_escape") if "\\" in text else text


def _is_free(path: str, points: tuple[tuple[str, bool], ...]) -> bool:
    below = [is_off for point, is_off in points if _contains(path, point)]
    around = [(len(point), is_off) for point, is_off in points if _contains(point, path)]
    if not around:
        return False
    deepest = max(length for length, _ in around)
    # of several mounts on one point the last one counts, and the others may come back: all have to be `nodev`
    return all(below) and all(is_off for length, is_off in around if length == deepest)


def _contains(outer: str, inner: str) -> bool:
    return inner == outer or inner.startswith(outer.rstrip("/") + "/")
