"""What is looked up in a plan again and again, found in one step.

Where things stand is the plan's; nothing here is decided. A plan never changes, so what was found out about
one is kept for as long as few others come between, by the identity of its tuples and never by their size.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from policy.plan import Mount, Plan, Rule, RuleId

T = TypeVar("T")

Segments = tuple[bytes, ...]


class _Same(Generic[T]):
    """A value that equals itself only: comparing a table of 10,000 rows would cost more than it saves."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        # the cache holds the value, so no other one can get its identity
        return isinstance(other, _Same) and self.value is other.value


def rule_index(plan: Plan, rule: RuleId) -> int:
    """Where `rule` stands in `plan.rules`.

    Raises:
        KeyError: when the plan has no such rule.
    """
    return _positions(_Same(plan.rules))[rule]


def mounts_by_root(plan: Plan, kind: str) -> Mapping[Segments, tuple[int, ...]]:
    """Indices of the mounts by the path in the field `kind`: `guest`, `host` or `scratch`."""
    return _roots(_Same(plan.mounts), kind)


def segments(path: str) -> Segments:
    """The names in a path, normalised by text alone: `..` never leads above the root."""
    kept: list[bytes] = []
    for segment in path.encode("utf-8", "surrogateescape").split(b"/"):
        if segment == b"..":
            del kept[-1:]
        elif segment not in {b"", b"."}:
            kept.append(segment)
    return tuple(kept)


@lru_cache(maxsize=16)
def _positions(rules: _Same[tuple[Rule, ...]]) -> Mapping[RuleId, int]:
    found: dict[RuleId, int] = {}
    for index, rule in enumerate(rules.value):
        found.setdefault(rule.id, index)
    return found


@lru_cache(maxsize=48)
def _roots(mounts: _Same[tuple[Mount, ...]], kind: str) -> Mapping[Segments, tuple[int, ...]]:
    found: dict[Segments, tuple[int, ...]] = {}
    for index, mount in enumerate(mounts.value):
        place = {"guest": mount.guest, "host": mount.host, "scratch": mount.scratch}[kind]
        if place:
            found[segments(place)] = (*found.get(segments(place), ()), index)
    return found
