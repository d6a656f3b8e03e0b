"""Blots out single values in payloads that are JSON.

Which values these are is said by pointers (RFC 6901) in `terms.py`; `masks.py` applies this to rows.
INVARIANT: a value that a pointer names is nowhere in what comes out, however it was spelt: what is kept was
read as one whole document that has such a value, and is written anew; anything else leaves nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NoReturn, TypeAlias, cast

BLOT = "***"
"""What stands in the place of a value."""

_Read: TypeAlias = "dict[str, object] | list[object]"


def blot_out(raw: bytes, pointers: Sequence[str]) -> bytes | None:
    """Give `raw`, one JSON document, without the values at `pointers`; None if nothing of it may be kept.

    SECURITY: a guest may move a document in pieces, of which one can be JSON by itself. So a document in
    which no pointer names anything counts as a piece of another; several documents count as none.
    """
    steps = [_steps(pointer) for pointer in pointers]
    try:
        value = _read(raw)
        if value is None or not all(steps) or not _apply_all(value, steps):
            return None
        return _written(value)
    except (ValueError, RecursionError):  # what is no JSON, or can't be written again
        return None


def _steps(pointer: str) -> tuple[str, ...]:
    """SPEC: RFC 6901, 4: `~1` is a slash, then `~0` a tilde."""
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])


def _read(raw: bytes) -> _Read | None:
    value = cast(
        "object",
        json.loads(raw.decode("utf-8"), object_pairs_hook=_members, parse_constant=_refuse),
    )
    # A text or a number alone may be a piece of something larger, so no pointer can be trusted on it.
    return value if isinstance(value, (dict, list)) else None


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        # SECURITY: of two members of one name readers see either: the pointer would name only one of them
        raise ValueError
    return found


def _refuse(text: str) -> NoReturn:
    raise ValueError(text)


def _written(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _apply_all(value: object, steps: Sequence[tuple[str, ...]]) -> bool:
    """Blot out all values in place; says whether there was any."""
    return sum(_apply(value, each) for each in steps) > 0


def _apply(value: object, steps: tuple[str, ...]) -> bool:
    for step in steps[:-1]:
        value = _inner(value, step)
    last = steps[-1]
    if isinstance(value, dict) and last in value:
        value[last] = BLOT
        return True
    if isinstance(value, list) and _is_index(last, len(value)):
        value[int(last)] = BLOT
        return True
    return False


def _inner(value: object, step: str) -> object:
    if isinstance(value, dict):
        return cast("dict[str, object]", value).get(step)
    if isinstance(value, list) and _is_index(step, len(value)):
        return cast("list[object]", value)[int(step)]
    return None


def _is_index(step: str, count: int) -> bool:
    return step.isascii() and step.isdigit() and len(step) < _MAX_DIGITS and int(step) < count


_MAX_DIGITS = 10  # no list that fits a payload is longer
