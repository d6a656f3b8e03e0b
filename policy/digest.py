"""The digest of a plan: one name for one value, on every machine.

What a plan holds is said in `plan.py`. The digest covers every field but itself and that of the documents,
through canonical JSON (RFC 8785); long tables go in as the SHA-256 of their little-endian words.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, cast

import rfc8785

from policy.plan import PathAutomaton, Plan
from policy.plan_network import Destinations, Lookups, NameTable, RequestAutomaton

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from policy.plan_network import PortRow, RequestRow

Json = None | bool | int | str | list["Json"] | dict[str, "Json"]

_WORD = 0xFFFFFFFF
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
    """`value` as JSON: dataclasses by field, bytes in hexadecimal, automata and tables as their digests.

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
        case PathAutomaton() | RequestAutomaton() | NameTable() | Destinations() | Lookups():
            found = _table(value)
        case tuple():
            found = [as_json(item) for item in value]
        case dict():
            found = {str(key): as_json(each) for key, each in cast("dict[object, object]", value).items()}
        case _ if is_dataclass(value):
            found = {each.name: as_json(getattr(value, each.name)) for each in fields(value)}
        case _:
            raise TypeError(type(value).__name__)
    return found


def _table(
    value: PathAutomaton
    | RequestAutomaton
    | NameTable
    | Destinations[PortRow]
    | Destinations[RequestRow]
    | Lookups,
) -> dict[str, Json]:
    """The long parts of a table as digests, the others as they are."""
    match value:
        case PathAutomaton():
            classes = [(each.rights, *each.rules, each.marks) for each in value.classes]
            return {
                "states": _words(value.states),
                "edges": _words(value.edges),
                "classes": _words(classes),
            }
        case RequestAutomaton():
            rows = [(*_halves(methods), len(rules), *rules) for methods, rules in value.classes]
            return {"states": _words(value.states), "edges": _words(value.edges), "classes": _words(rows)}
        case NameTable():
            return {
                "states": _words(value.states),
                "labels": _texts(label for label, _ in value.edges),
                "targets": _words([[target for _, target in value.edges]]),
            }
        case Destinations():
            return {
                "starts": _words(_quarters(start) for start in value.starts),
                "zones": _words([value.zones]),
                "classes": _words([value.classes]),
                "elsewhere": value.elsewhere,
                "names": _table(value.names),
                "rows": _rows(value.rows),
            }
        case Lookups():
            rest = {"max_queries": as_json(value.max_queries), "pin": value.pin}
            return {"names": _table(value.names), "rows": _rows(value.rows), **rest}


def _rows(rows: tuple[tuple[PortRow, ...], ...] | tuple[tuple[RequestRow, ...], ...]) -> str:
    """The rows of each class, behind how many there are."""
    return _words([len(own), *(word for row in own for word in row)] for own in rows)


def _quarters(number: int) -> tuple[int, ...]:
    """A number of 128 bits as words, the low one first."""
    return tuple(number >> shift & _WORD for shift in (0, 32, 64, 96))


def _halves(number: int) -> tuple[int, int]:
    """A number of 64 bits as words, the low one first."""
    return number & _WORD, number >> 32


def _words(rows: Iterable[Sequence[int]]) -> str:
    flat = [word for row in rows for word in row]
    return "sha256:" + hashlib.sha256(struct.pack(f"<{len(flat)}I", *flat)).hexdigest()


def _texts(texts: Iterable[str]) -> str:
    """A digest of texts, each behind its length in bytes."""
    found = hashlib.sha256()
    for text in texts:
        written = text.encode()
        found.update(struct.pack("<I", len(written)) + written)
    return "sha256:" + found.hexdigest()
