"""The network and neural-network tables of a plan.

What fills them is `policy/network/`; the rest of a plan is in `plan.py`. Like a plan they hold
integers, tuples, bytes and identifiers only, and their defaults grant nothing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """Which addresses, names and requests the guest may reach; nothing by default."""


@dataclass(frozen=True, slots=True)
class NnPlan:
    """Which models the guest may load; none by default."""
