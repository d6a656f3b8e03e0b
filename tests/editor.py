"""A YAML text as an editor sees it: scalars resolved by the core schema of YAML 1.2, mappings with text keys."""

from __future__ import annotations

import math
import re
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

_INTEGERS = (
    (re.compile(r"[-+]?[0-9]+"), 10),
    (re.compile(r"0o[0-7]+"), 8),
    (re.compile(r"0x[0-9a-fA-F]+"), 16),
)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


def read(text: str) -> Any:
    """The values of a document. Source: YAML 1.2.2, section 10.3.2."""
    return _value(YAML().compose(text))


def resolved(text: str) -> Any:
    """What a scalar without quotes is."""
    if text in _WORDS:
        return _WORDS[text]
    for pattern, base in _INTEGERS:
        if pattern.fullmatch(text):
            return int(text[2:] if base != 10 else text, base)
    if _FLOAT.fullmatch(text) and math.isfinite(float(text)):  # JSON knows no infinity
        return float(text)
    return text


def is_plainly_spelt(text: str) -> bool:
    """Say whether a number, a boolean or nothing is spelt in the one way that every reader takes alike."""
    found = resolved(text)
    return (
        isinstance(found, str) or re.fullmatch(r"-?(0|[1-9][0-9]{0,17})|true|false|null|", text) is not None
    )


def _value(node: Any) -> Any:
    match node:
        case MappingNode():
            return {key.value: _value(value) for key, value in node.value}
        case SequenceNode():
            return [_value(each) for each in node.value]
        case ScalarNode():
            return resolved(node.value) if node.style is None else node.value
        case _:
            return None
