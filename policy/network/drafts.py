"""The rules of a document's network and models on their way into a plan: numbered, named, and in words.

The documents' rules come in from `sources.py` and `ceiling.py`, and `compile.py` makes tables of them.
INVARIANT: a rule's number rises in the order of evaluation: built in, boundary, deny, allow.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Literal

from policy.digest import Json, canonical
from policy.network.requests import RequestRule
from policy.network.rows import Entry
from policy.places import Path
from policy.plan import Rule, RuleId
from policy.plan_network import Listener, Model, Request

Protocol = Literal["tcp", "udp", "http", "dns"]

LOOKUP: tuple[tuple[int, int], ...] = ((0, 0),)
"""The ports of a lookup, which has none."""


@dataclass(slots=True)
class Draft:
    """The rules so far, and what tables are made of."""

    first_rule: int
    rules: list[Rule] = field(default_factory=list)
    places: list[Path | None] = field(default_factory=list)  # in the document; None: not one of its rules
    entries: dict[Protocol, list[Entry]] = field(
        default_factory=lambda: {"tcp": [], "udp": [], "http": [], "dns": []}
    )
    request_rules: list[RequestRule] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    listeners: list[Listener] = field(default_factory=list)
    models: list[Model] = field(default_factory=list)
    no_listening: int = 0  # a boundary's rule
    is_loopback_spared: bool = False
    _origins: dict[object, int] = field(default_factory=dict)

    def add(self, rule: Rule, path: Path | None = None) -> int:
        """Take `rule`; its index in `Plan.rules`."""
        self.rules.append(rule)
        self.places.append(path)
        return self.first_rule + len(self.rules) - 1

    def origin(self, key: object, *, is_grant: bool) -> int:
        """One number for one place that requests go to, and another one where it is refused.

        SECURITY: a refused address is refused in the addresses that hide it too. With one number for both, a
        refusal would bring a grant of the same address to places that the grant does not name.
        """
        return self._origins.setdefault((key, is_grant), len(self._origins))


def content_id(prefix: str, content: dict[str, object]) -> RuleId:
    """An id made of what a rule says: the same for the same rule, whatever the order of its lists."""
    stable: dict[str, Json] = {
        key: _stable(value) for key, value in content.items() if value not in (None, (), [])
    }
    return RuleId(f"{prefix}-{hashlib.sha256(canonical(stable)).hexdigest()[:8]}")


def _stable(value: object) -> str:
    if isinstance(value, list | tuple):
        return ",".join(sorted(str(item) for item in value))
    return str(value)
