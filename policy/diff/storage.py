"""Differences in what may be done to files: by the paths of the host, of scratch, and of the guest.

Paths are found in `product.py` and judged in `verdicts.py`; moves from path to path are compared in
`moves.py`, budgets in `budgets.py`. INVARIANT: where the plans answer differently for a path and a right,
some change is about that right and the two rules that decide there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from policy.diff.change import Change, Direction, rule_ref
from policy.diff.product import Product, Side, Spot
from policy.diff.roots import Naming, elsewhere
from policy.diff.verdicts import LOOKED_AT, Verdicts, gains
from policy.errors import printable
from policy.plan import RIGHTS, Mode, Plan, Right, Rule
from policy.question import Question

if TYPE_CHECKING:
    from policy.diff.product import End


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of path: what decides in each plan, and where it was first met."""

    product: Product
    spot: Spot
    ends: tuple[End, End]

    def wants(self, right: int) -> Question:
        """The call that wants `right` (none: to look) at the first path of this kind."""
        if right == LOOKED_AT:
            return Question(call="path_filestat_get", target=self.target)
        return Question(call="path_open", target=self.target, wants=Right(right))

    @property
    def target(self) -> str:
        """The first path of this kind, as a question names it."""
        text = self.product.text(self.spot).decode("utf-8", "surrogateescape")
        return self.product.naming.value + text

    def described(self, *, is_group: bool) -> str:
        """Which paths these are, as far as that can be said in few words."""
        path = printable(self.target)
        if not is_group and self.product.is_alone(self.spot, self.ends):
            return path
        if not is_group and self.product.covers_below(self.spot, self.ends):
            return f"{path} and everything below"
        return f"paths such as {path}"


@dataclass(slots=True)
class Tree:
    """All kinds of path that two plans have, and how to judge them."""

    plans: tuple[Plan, Plan]
    kinds: list[Kind] = field(default_factory=list)
    _strict: dict[Naming, Product] = field(default_factory=dict)

    @property
    def verdicts(self) -> tuple[Verdicts, Verdicts]:
        """The tables of both plans.

        Whether a refusal is only recorded is compared where both plans only audit; else the change of
        mode stands for all of that.
        """
        has_levels = all(plan.mode is Mode.AUDIT for plan in self.plans)
        return Verdicts(self.plans[0], has_levels), Verdicts(self.plans[1], has_levels)

    def readable(self, kind: Kind) -> Kind:
        """The same kind with a first path in valid UTF-8, if there is one."""
        naming = kind.product.naming
        try:
            kind.product.text(kind.spot).decode()
        except UnicodeDecodeError:
            if naming not in self._strict:
                self._strict[naming] = Product(_sides(self.plans), naming, is_strict=True)
            product = self._strict[naming]
            spot = product.kinds.get(kind.ends)
            return kind if spot is None else Kind(product, spot, kind.ends)
        return kind


def tree_of(a: Plan, b: Plan) -> Tree:
    """Every kind of path of `a` and `b`.

    Raises:
        TooDifferentError: when their rules interlock too much.
    """
    sides = _sides((a, b))
    tree = Tree((a, b))
    for naming in Naming:
        if naming is Naming.GUEST and all(_is_transparent(plan) for plan in (a, b)):
            continue
        product = Product(sides, naming)
        tree.kinds.extend(Kind(product, spot, ends) for ends, spot in product.kinds.items())
    return tree


def _is_transparent(plan: Plan) -> bool:
    """Whether the guest names every path as the host does, and gets the same answers."""
    return plan.mode is not Mode.AUDIT and all(mount.guest == mount.host for mount in plan.mounts)


def _sides(plans: tuple[Plan, Plan]) -> tuple[Side, Side]:
    return Side(plans[0], elsewhere(plans[0])), Side(plans[1], elsewhere(plans[1]))


@dataclass(slots=True)
class _Group:
    """What one pair of rules decides differently in the same way."""

    first: Kind
    wants: tuple[int, ...]
    rules: tuple[Rule | None, Rule | None]
    count: int = 1


def storage_changes(tree: Tree) -> Iterator[Change]:
    """What may be done to a path in one plan and not in the other, by the rules that decide it."""
    groups: dict[tuple[Direction, tuple[int, ...], str | None, str | None], _Group] = {}
    for kind in tree.kinds:
        for direction, wants, rules in _differences(tree, kind):
            key = (direction, wants, _id(rules[0]), _id(rules[1]))
            group = groups.get(key)
            if group is None:
                groups[key] = _Group(kind, wants, rules)
            elif kind.product is group.first.product:
                group.count += 1
    ranked = sorted(groups.items(), key=lambda each: each[1].wants == (LOOKED_AT,))
    for (direction, *_), group in ranked:
        yield _change(tree, direction, group)
    yield from _mounts(*tree.plans)


def _id(rule: Rule | None) -> str | None:
    return None if rule is None else str(rule.id)


def _differences(
    tree: Tree, kind: Kind
) -> Iterator[tuple[Direction, tuple[int, ...], tuple[Rule | None, Rule | None]]]:
    one, other = tree.verdicts
    tables = one.table(kind.ends[0]), other.table(kind.ends[1])
    for direction, found in (
        (Direction.WIDER, gains(tables[0], tables[1])),
        (Direction.NARROWER, gains(tables[1], tables[0])),
    ):
        by_rules: dict[tuple[Rule | None, Rule | None], list[int]] = {}
        for wanted in found:
            rules = one.rule(kind.ends[0], wanted), other.rule(kind.ends[1], wanted)
            by_rules.setdefault(rules, []).append(wanted)
        for rules, wants in by_rules.items():
            yield direction, tuple(wants), rules


def _change(tree: Tree, direction: Direction, group: _Group) -> Change:
    kind = tree.readable(group.first)
    names = tuple(want_words(wanted) for wanted in group.wants)
    where = kind.described(is_group=group.count > 1)
    more = f" (and {group.count - 1} more kinds of path)" if group.count > 1 else ""
    one, other = tree.verdicts
    return Change(
        direction=direction,
        area="storage",
        what=f"{', '.join(names)}: {where}{more}",
        rule_a=rule_ref(group.rules[0]),
        rule_b=rule_ref(group.rules[1]),
        witness=kind.wants(group.wants[0]),
        answer_a=one.answer(kind.ends[0], group.wants[0]),
        answer_b=other.answer(kind.ends[1], group.wants[0]),
        rights=names,
    )


def want_words(wanted: int) -> str:
    """`read`, `read+write` for what is wanted together, or `look` for what needs no right."""
    if wanted == LOOKED_AT:
        return "look"
    return "+".join(str(right.name).lower() for right in RIGHTS if right & wanted)


def _mounts(a: Plan, b: Plan) -> Iterator[Change]:
    """Guest paths that lead to another directory; what may be done there was compared by path."""
    before = {mount.guest: mount for mount in a.mounts}
    for mount in b.mounts:
        old = before.get(mount.guest)
        if old is not None and old.base != mount.base:
            what = f"the guest path {mount.guest} leads to {mount.base}, not to {old.base}"
            yield Change(
                direction=Direction.CHANGED,
                area="storage",
                what=printable(what),
                answer_a=printable(old.base),
                answer_b=printable(mount.base),
            )
