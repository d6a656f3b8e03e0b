"""Where the guest of past runs found which directory, and where in it a record lies.

The mounts of a plan are in `policy/plan.py`. Known mounts come from the policy that the runs used or from
the log; without either they are read off the pairs of paths in the records. INVARIANT: a path is placed in
a mount only if both of its names, on the host and in the guest, agree with it, or the guest's is not known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

Names = tuple[str, ...]
_SCRATCH = "tmp://"


@dataclass(frozen=True, slots=True, order=True)
class Mounted:
    """A directory that the guest found open; `uri` is how a policy writes it, where that is known."""

    guest: str  # `/in`
    base: str  # `/srv/in` or `tmp://out`
    uri: str = ""  # `fs:///srv/in/**`, perhaps with a placeholder

    @property
    def is_scratch(self) -> bool:
        """Whether it is made for each run."""
        return self.base.startswith(_SCRATCH)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A path below a mount; no names mean the mount itself."""

    mount: Mounted
    names: Names

    @property
    def target(self) -> str:
        """As records name it: on the host, or in scratch."""
        below = "".join(f"/{name}" for name in self.names)
        return (self.mount.base.rstrip("/") + below) or "/"

    @property
    def guest(self) -> str:
        """As the guest finds it."""
        return (self.mount.guest.rstrip("/") + "".join(f"/{name}" for name in self.names)) or "/"


@dataclass(frozen=True, slots=True)
class Pair:
    """One path by both of its names."""

    target: str
    guest: str
    is_directory: bool = False


def normal(path: str) -> Names:
    """The names of a path, by text alone."""
    kept: list[str] = []
    for name in path.split("/"):
        if name == "..":
            del kept[-1:]
        elif name not in {"", "."}:
            kept.append(name)
    return tuple(kept)


def place_of(target: str, guest: str | None, mounts: tuple[Mounted, ...]) -> Place | None:
    """Where a recorded path lies; None outside of every mount."""
    if guest is not None:
        asked = normal(guest)
        for mount in sorted(mounts, key=lambda each: (-len(normal(each.guest)), each)):
            head = normal(mount.guest)
            if asked[: len(head)] != head:
                continue
            found = Place(mount, asked[len(head) :])
            if found.target == target or _fits(found, target):
                return found
    wanted = _split(target)
    holding = [mount for mount in mounts if _is_below(wanted, _split(mount.base))]
    if not holding:
        return None
    mount = min(holding, key=lambda each: (-len(_split(each.base)[1]), each))
    return Place(mount, wanted[1][len(_split(mount.base)[1]) :])


def _fits(place: Place, target: str) -> bool:
    """Whether a mount whose directory is only known up to a placeholder may hold `target` there."""
    if "${" not in place.mount.base:
        return False
    names = normal(target)
    return names[len(names) - len(place.names) :] == place.names


def _split(target: str) -> tuple[str, Names]:
    """The space and the names of a target."""
    if target.startswith(_SCRATCH):
        return _SCRATCH, tuple(name for name in target.removeprefix(_SCRATCH).split("/") if name)
    return "", normal(target)


def _is_below(wanted: tuple[str, Names], base: tuple[str, Names]) -> bool:
    return wanted[0] == base[0] and wanted[1][: len(base[1])] == base[1]


def mounts_from(pairs: Iterable[Pair]) -> tuple[Mounted, ...]:
    """The mounts that explain these paths: the deepest directory that all of one mount have in common.

    The directory that was mounted may have been a higher one: what is granted in it is the same.
    """
    families: dict[tuple[Names, str, Names], list[Names]] = {}
    for pair in pairs:
        space, host = _split(pair.target)
        guest = normal(pair.guest)
        fixed = 1 if space else 0  # the name of a scratch directory is no part of what lies in it
        common = 0
        while common < min(len(guest), len(host) - fixed) and guest[-1 - common] == host[-1 - common]:
            common += 1
        key = (guest[: len(guest) - common], space, host[: len(host) - common])
        below = guest[len(guest) - common :]
        families.setdefault(key, []).append(below if pair.is_directory else below[:-1])
    return tuple(sorted({_mount(key, members) for key, members in families.items()}))


def _mount(key: tuple[Names, str, Names], members: list[Names]) -> Mounted:
    guest, space, host = key
    shared = members[0]
    for each in members:
        length = next((at for at, (a, b) in enumerate(zip(shared, each, strict=False)) if a != b), None)
        shared = shared[: min(len(shared), len(each)) if length is None else length]
    if space:
        return Mounted("/" + "/".join(guest), f"{space}{'/'.join(host)}")
    return Mounted("/" + "/".join((*guest, *shared)), "/" + "/".join((*host, *shared)))
