"""What plan B allows that plan A does not, and the other way round: the gate before a policy is merged.

Each kind of difference is found in a file of its own, paths by walking both automata at once
(`product.py`). INVARIANT: no difference is found exactly if the plans decide every call alike, and
where a comparison can't be finished it says so instead of saying that nothing differs.

What a plan does not hold is not compared: when a document expires, its labels, the ids and summaries of
rules. Links on the way, and what other programs do to the files, are no part of a plan either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy.diff.budgets import budget_changes
from policy.diff.change import Change, Difference, Direction, RuleRef, TooDifferentError, ordered
from policy.diff.moves import move_changes
from policy.diff.network import network_changes
from policy.diff.over_time import temporal_changes
from policy.diff.sections import section_changes
from policy.diff.storage import storage_changes, tree_of
from policy.diff.unfilled import unfilled_changes
from policy.unheld import unheld

if TYPE_CHECKING:
    from policy.plan import Plan

__all__ = ["Change", "Difference", "Direction", "RuleRef", "TooDifferentError", "diff"]

_PLACEHOLDER = "${"
_AS_WRITTEN = (
    "placeholders such as ${tenant} are compared as they are written, not for what takes their place"
)


def diff(a: Plan, b: Plan) -> Difference:
    """Every difference from `a` to `b`, the wider ones first; empty exactly when both decide alike.

    Raises:
        TooDifferentError: when the rules interlock too much to be compared in full.
    """
    if a == b:
        return Difference(notes=_notes(a, b))
    tree = tree_of(a, b)
    changes = (
        *section_changes(a, b),
        *storage_changes(tree),
        *move_changes(tree),
        *budget_changes(tree),
        *network_changes(a, b),
        *temporal_changes(tree),
    )
    return Difference(ordered((*changes, *unfilled_changes(a, b, changes))), _notes(a, b))


def _notes(a: Plan, b: Plan) -> tuple[str, ...]:
    texts = [
        text
        for plan in (a, b)
        for text in (
            *(mount.host for mount in plan.mounts),
            *(rule.summary for rule in plan.rules),
            *(value for pair in plan.environment for value in pair),
            *plan.args,
        )
    ]
    notes = [_AS_WRITTEN] if any(_PLACEHOLDER in text for text in texts) else []
    used = unheld(a.unenforced), unheld(b.unenforced)
    fields = sorted(used[0] & used[1])
    if fields and used[0] != used[1]:
        notes.append(f"set in both, but neither enforced nor compared by this version: {', '.join(fields)}")
    return tuple(notes)
