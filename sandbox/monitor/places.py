"""Places that paths name and start from, joined by text alone.

Which place a record is about is found in `targets.py`. No disk is touched, so links are not known here.
INVARIANT: a directory's text stays below a bound before a path is joined to it, however long its chain is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DIRECTORY_CHARS = 4_096
"""A directory's text is cut to this (Linux: PATH_MAX) before a path below it is joined to it."""

_CUT = "…"
_NEEDS_CARE = re.compile(r"(?:^|/)\.{0,2}(?:/|\Z)")  # an empty name, `.` or `..`


@dataclass(frozen=True, slots=True)
class Place:
    """A path, on the host and as the guest sees it; None where nobody knows."""

    target: str | None
    guest: str | None

    def directory(self) -> Directory:
        """Give it as something that paths start from."""
        target = None if self.target is None else _cut(self.target)
        guest = None if self.guest is None else _cut(self.guest).rstrip("/")
        return Directory(target, guest, target is not None and not target.endswith(("/", "/..")))


@dataclass(frozen=True, slots=True)
class Directory:
    """A place that paths start from."""

    target: str | None
    guest: str | None
    is_normal: bool  # a name can be joined to `target` without looking at its end

    def below(self, raw: str) -> Place:
        """Give what `raw`, a path as the guest gave it, names from here."""
        if raw.startswith("/"):
            return Place(None, raw)  # absolute paths are refused: they name no place below a mount
        guest = None if self.guest is None else f"{self.guest}/{raw}"
        if self.target is None:
            return Place(None, guest)
        if self.is_normal and not _NEEDS_CARE.search(raw):
            return Place(f"{self.target}/{raw}", guest)
        return Place(_join(self.target, raw), guest)


NOWHERE = Place(None, None)


def _cut(directory: str) -> str:
    return directory if len(directory) <= DIRECTORY_CHARS else directory[:DIRECTORY_CHARS].rstrip(_CUT) + _CUT


def _join(base: str, raw: str) -> str:
    """Join and normalise by text alone: `..` takes a name away, links are not known here."""
    scheme, separator, rest = base.partition("://")
    head, root = (scheme + separator, rest) if separator else ("", base)
    names = [name for name in root.split("/") if name]
    kept = 1 if head else 0  # `tmp://out/..` has no meaning: the name of the scratch directory stays
    for name in raw.split("/"):
        if name == "..":
            if len(names) > kept and names[-1] != "..":
                names.pop()
            elif head:
                names.append(name)
        elif name not in {"", "."}:
            names.append(name)
    return head + "/".join(names) if head else "/" + "/".join(names)
