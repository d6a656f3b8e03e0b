"""How near the log is to its budget of disk, as levels that are told before it is used up.

The figures are gathered in `log_status.py`, and watched in `log_watch.py`. Nothing is deleted for a budget:
what may go is a matter of retention, and a full disk is met as the policy's `on_full` says. INVARIANT: a
level is told once when it is reached, and again only after the log was clearly below it.
"""

from __future__ import annotations

LEVELS = (80, 95)
"""Percent of the budget at which the operator is told."""

_BACK = 2  # percent below a level before it counts as left: a log at the edge is not told every minute


def level_of(used_bytes: int, budget_bytes: int, *, before: int = 0) -> int:
    """Give the highest level that is reached, 0 for none; `before` is the level so far."""
    if budget_bytes <= 0:
        return 0
    reached = [level for level in LEVELS if used_bytes * 100 >= level * budget_bytes]
    still = [
        level for level in LEVELS if level <= before and used_bytes * 100 >= (level - _BACK) * budget_bytes
    ]
    return max([0, *reached, *still])


def sentence(used_bytes: int, budget_bytes: int) -> str:
    """Say it for the operator."""
    percent = used_bytes * 100 // budget_bytes if budget_bytes else 0
    return f"the audit log takes {used_bytes} of the {budget_bytes} bytes that it may take ({percent} %)"
