"""The digest of a plan: one name for one value, on every machine.

What a plan holds is said in `plan.py`. The digest covers every field but itself and that of the documents,
through canonical JSON (RFC 8785); long tables go in as the SHA-256 of their little-endian words.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING

import rfc8785

from policy.plan import PathAutomaton, Plan

if TYPE_CHECKING:
    from collections.abc import Iterable

Json = None | bool | int | str | list["Json"] | dict[str, "Json"]

_SAFE_INTEGER = 2**53 - 1  # canonical JSON has no larger ones


def plan_digest(plan: Plan) -> str:
    """`sha256:…` of `plan` without its digests: two documents that say the same give one plan."""
    value = {
        each.name: as_json(getattr(plan, each.name))
        for each in fields(plan)
        if each.name not in {"plan_digest", "policy_digest"}
    }
    return "sha256:" + hashlib.sha256(canonical(value)).hexdigest()


def canonical(value: Json) -> bytes:
    """Canonical JSON of `value`."""
    return rfc8785.dumps(value)


def as_json(value: object) -> Json:
    """`value` as JSON: dataclasses by field, bytes in hexadecimal, an automaton as its digests.

    Integers that canonical JSON can't hold become text.
    """
    match value:
        case bool() | None:
            found: Json = value
        case str():
            found = str(value)
        case int():
            found = int(value) if abs(value) <= _SAFE_INTEGER else str(int(value))
        case bytes():
            found = value.hex()
        case PathAutomaton():
            found = {
                "states": _words(value.states),
                "edges": _words(value.edges),
                "classes": _words((each.rights, *each.rules, each.marks) for each in value.classes),
            }
        case tuple():
            found = [as_json(item) for item in value]
        case _ if is_dataclass(value):
            found = {each.name: as_json(getattr(value, each.name)) for each in fields(value)}
        case _:
            raise TypeError(type(value).__name__)
    return found


def _words(rows: Iterable[tuple[int, ...]]) -> str:
    flat = [word for row in rows for word in row]
    return "sha256:" + hashlib.sha256(struct.pack(f"<{len(flat)}I", *flat)).hexdigest()
