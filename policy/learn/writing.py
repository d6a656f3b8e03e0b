"""Values as YAML text, with comments.

Which values and comments is said in `draft.py`. INVARIANT: text that anybody else chose stands in double
quotes and in ASCII, so that what a reader sees is what is matched; read back, the values are the same.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias, cast

from policy.places import Path, Plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Value: TypeAlias = "Mapping[str, Value] | Sequence[Value] | str | None"

_BARE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_PLAIN = re.compile(r"[A-Za-z0-9][ -~]*")
_ASTRAL = re.compile(r"\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})")
_WIDE = 100


@dataclass(slots=True)
class Remarks:
    """Comments: lines above a value, and the end of its line; ours, or escaped already."""

    above: dict[Path, list[str]] = field(default_factory=dict)
    beside: dict[Path, str] = field(default_factory=dict)


def as_yaml(value: Mapping[str, Value], remarks: Remarks) -> str:
    """The document with its comments."""
    return "\n".join(_Writer(remarks).mapping(value, (), 0)) + "\n"


def scalar(text: str) -> str:
    """`text` as YAML reads it back: as it is where it was written so, else in double quotes."""
    if isinstance(text, Plain) and _PLAIN.fullmatch(text) and ": " not in text and " #" not in text:
        return str(text).rstrip() if not text.endswith(":") else quoted(text)
    return quoted(text)


def quoted(text: str) -> str:
    """`text` in double quotes and in ASCII."""
    # a character beyond 16 bits is two escapes in JSON and one in YAML
    return _ASTRAL.sub(_one, json.dumps(text).replace("\x7f", "\\x7f"))


def _one(match: re.Match[str]) -> str:
    high, low = (int(half, 16) for half in match.groups())
    return f"\\U{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00):08x}"


@dataclass(frozen=True, slots=True)
class _Writer:
    remarks: Remarks

    def mapping(self, value: Mapping[str, Value], path: Path, depth: int) -> list[str]:
        lines: list[str] = []
        for key, child in value.items():
            here = (*path, key)
            lines += [_indented(depth, f"# {line}".rstrip()) for line in self.remarks.above.get(here, [])]
            name = key if _KEY.fullmatch(key) else quoted(key)
            lines += self._entry(f"{name}:", child, here, depth)
        return lines

    def _entry(self, head: str, child: Value, path: Path, depth: int) -> list[str]:
        beside = self.remarks.beside.get(path, "")
        tail = f"  # {beside}" if beside else ""
        short = _short(child)
        if short is not None and len(short) + len(head) < _WIDE and not self._has_remarks(path):
            return [_indented(depth, f"{head} {short}{tail}".rstrip())]
        if isinstance(child, str) or child is None:
            return [_indented(depth, f"{head} {scalar(child) if child is not None else 'null'}{tail}")]
        first = _indented(depth, head + tail)
        if not isinstance(child, list | tuple):
            return [first, *self.mapping(cast("Mapping[str, Value]", child), path, depth + 1)]
        return [first, *self._sequence(child, path, depth + 1)]

    def _sequence(self, value: Sequence[Value], path: Path, depth: int) -> list[str]:
        lines: list[str] = []
        for index, child in enumerate(value):
            here = (*path, index)
            lines += [_indented(depth, f"# {line}".rstrip()) for line in self.remarks.above.get(here, [])]
            if isinstance(child, str) or child is None or isinstance(child, list | tuple) or not child:
                lines += self._entry("-", child, here, depth)
                continue
            inner = self.mapping(cast("Mapping[str, Value]", child), here, depth + 1)
            first = _indented(depth, "- " + inner[0].lstrip())
            lines += [first, *inner[1:]]
        return lines

    def _has_remarks(self, path: Path) -> bool:
        deeper = (*self.remarks.above, *self.remarks.beside)
        return any(len(each) > len(path) and each[: len(path)] == path for each in deeper)


def _short(value: Value) -> str | None:
    """A value on one line: an empty one, or a list of plain words."""
    if value is None or isinstance(value, str):
        return None
    if not isinstance(value, list | tuple):
        return None if value else "{}"
    if all(isinstance(each, Plain) and _BARE.fullmatch(each) for each in value):
        return f"[{', '.join(str(each) for each in value)}]"
    if all(isinstance(each, str) for each in value):
        return f"[{', '.join(quoted(str(each)) for each in value)}]"
    return None


def _indented(depth: int, text: str) -> str:
    return "  " * depth + text
