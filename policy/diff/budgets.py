"""Differences in the bytes and files that a guest may write through the rules that let it.

Rights are compared in `storage.py`, limits of the whole run in `sections.py`. A rule's budget is shared by
all paths that it decides, so a plan bounds the sum over each such set; INVARIANT: B is wider exactly if the
budgets of B that reach into one set of A can add up to more than A's budget for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

from policy.diff.amounts import shown_amount
from policy.diff.change import Change, Direction, rule_ref
from policy.errors import printable
from policy.plan import RIGHTS, UNLIMITED, Plan, Right, Rule

if TYPE_CHECKING:
    from policy.diff.product import End
    from policy.diff.storage import Kind, Tree

_KINDS = (
    ("max_bytes", "bytes written", ((Right.WRITE, Right.APPEND),)),
    ("max_files", "files made", ((Right.CREATE,), (Right.SYMLINK,))),
)
"""Each with the ways to spend it; of several rights for one way, the first that is there counts."""


def budget_changes(tree: Tree) -> Iterator[Change]:
    """Budgets of rules that let more, or less, be written where both plans let something be written."""
    for name, words, ways in _KINDS:
        yield from _Budgets(tree, name, words, ways).changes()


@dataclass(slots=True)
class _Budgets:
    """One kind of budget in both plans."""

    tree: Tree
    name: str
    words: str
    ways: tuple[tuple[Right, ...], ...]
    pairs: dict[tuple[int, int], Kind] = field(default_factory=dict)

    def changes(self) -> Iterator[Change]:
        shared: dict[tuple[frozenset[int], frozenset[int]], Kind] = {}
        for kind, rights in product(self.tree.kinds, self.ways):
            both = (
                self._deciders(self.tree.plans[0], kind.ends[0], rights),
                self._deciders(self.tree.plans[1], kind.ends[1], rights),
            )
            if all(both):
                shared.setdefault(both, kind)
        for (first, second), kind in shared.items():
            if len(first) == len(second) == 1:
                self.pairs[min(first), min(second)] = kind
            else:
                yield from self._several(first, second, kind)
        for side, direction in ((0, Direction.WIDER), (1, Direction.NARROWER)):
            yield from self._larger(side, direction)

    def _deciders(self, plan: Plan, end: End, rights: tuple[Right, ...]) -> frozenset[int]:
        """The rules whose budget is used at the end of a path: one for each mount that lets it be written."""
        found: set[int] = set()
        for _, kind in end:
            decided = plan.automaton.classes[kind >> 1]
            right = next((right for right in rights if right & decided.rights), None)
            if right is not None:
                found.add(decided.rules[RIGHTS.index(right)])
        return frozenset(found)

    def _budget(self, side: int, index: int) -> float:
        value = int(getattr(self.tree.plans[side].rules[index], self.name))
        return float("inf") if value == UNLIMITED else value

    def _larger(self, side: int, direction: Direction) -> Iterator[Change]:
        """Rules of one plan whose paths may be given more by the rules of the other."""
        facing: dict[int, dict[int, Kind]] = {}
        for pair, kind in self.pairs.items():
            facing.setdefault(pair[side], {})[pair[1 - side]] = kind
        for own, others in facing.items():
            bound = self._budget(side, own)
            total = sum(self._budget(1 - side, index) for index in others)
            if total > bound:
                values = (bound, total) if side == 0 else (total, bound)
                largest = max(others, key=lambda index: self._budget(1 - side, index))
                pair = (own, largest) if side == 0 else (largest, own)
                yield self._change(direction, pair, others[largest], values)

    def _several(self, first: frozenset[int], second: frozenset[int], kind: Kind) -> Iterator[Change]:
        """Paths of several mounts, of which each has a budget of its own."""
        own = sorted((self._budget(0, index), str(self._rule(0, index).id)) for index in first)
        new = sorted((self._budget(1, index), str(self._rule(1, index).id)) for index in second)
        values = sum(value for value, _ in own), sum(value for value, _ in new)
        if own == new or values[0] == values[1] == float("inf"):
            return
        direction = Direction.CHANGED
        if float("inf") in values:
            direction = Direction.WIDER if values[1] > values[0] else Direction.NARROWER
        yield self._change(direction, (min(first), min(second)), kind, values)

    def _rule(self, side: int, index: int) -> Rule:
        return self.tree.plans[side].rules[index]

    def _change(
        self, direction: Direction, pair: tuple[int, int], kind: Kind, values: tuple[float, float]
    ) -> Change:
        shown = [
            shown_amount(self.name, UNLIMITED if value == float("inf") else int(value)) for value in values
        ]
        path = printable(self.tree.readable(kind).target)
        return Change(
            direction=direction,
            area="storage",
            what=f"{self.name}: {self.words} at paths such as {path}: {shown[1]}, not {shown[0]}",
            rule_a=rule_ref(self._rule(0, pair[0])),
            rule_b=rule_ref(self._rule(1, pair[1])),
            answer_a=shown[0],
            answer_b=shown[1],
        )
