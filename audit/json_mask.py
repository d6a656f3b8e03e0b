"""Blots out single values in payloads that are JSON.

Which values these are is said by pointers (RFC 6901) in `terms.py`; `masks.py` applies this to rows.
INVARIANT: a value that a pointer names is nowhere in what comes out, however it was spelt: what was changed
is written anew from what was read, and what can be read in two ways gives nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn, TypeAlias, cast

BLOT = "***"
"""What stands in the place of a value."""

_Read: TypeAlias = "dict[str, object] | list[object]"


@dataclass(frozen=True, slots=True)
class Blotted:
    """What is left of a payload."""

    text: bytes | None  # None: nothing of it may be kept
    is_changed: bool = False  # a value was blotted out, and the rest is here


def blot_out(raw: bytes, pointers: Sequence[str]) -> Blotted:
    """Give `raw` without the values at `pointers`: one JSON text, or one on each line."""
    steps = [_steps(pointer) for pointer in pointers]
    try:
        whole = _read(raw)
        if whole is not None:
            return Blotted(_written(whole), is_changed=True) if _apply_all(whole, steps) else Blotted(raw)
        return _lines(raw.split(b"\n"), steps, raw)
    except (ValueError, RecursionError):  # neither is JSON that can be written again
        return Blotted(None)


def _lines(lines: Sequence[bytes], steps: Sequence[tuple[str, ...]], raw: bytes) -> Blotted:
    written, is_changed = list(lines), False
    for index, line in enumerate(lines):
        if not line.strip():
            continue
        value = _read(line)
        if value is None:
            return Blotted(None)
        if _apply_all(value, steps):
            written[index], is_changed = _written(value), True
    return Blotted(b"\n".join(written), is_changed=True) if is_changed else Blotted(raw)


def _steps(pointer: str) -> tuple[str, ...]:
    """SPEC: RFC 6901, 4: `~1` is a slash, then `~0` a tilde."""
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])


def _read(raw: bytes) -> _Read | None:
    try:
        value = cast(
            "object",
            json.loads(raw.decode("utf-8"), object_pairs_hook=_members, parse_constant=_refuse),
        )
    except ValueError:
        return None
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
