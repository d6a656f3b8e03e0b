"""What must hold between the keys of one section, as JSON Schema.

The same rules stand as validators in `schema_network.py` and `schema_temporal.py`, which say what is wrong in
words. A key with nothing in it counts as one that is not there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pydantic.config import JsonDict, JsonValue

_FILLED: Final[JsonDict] = {"not": {"type": "null"}}
_EMPTY: Final[JsonDict] = {"maxItems": 0}  # a list; what is none is judged elsewhere
_ANY_HOST: Final = r"^https?://\*(?::.*)?$"


def _given(key: str) -> JsonDict:
    return {"required": [key], "properties": {key: _FILLED}}


def _wide(key: str, where: JsonValue) -> JsonDict:
    """A bare `*` needs its word."""
    return {"if": {"required": [key], "properties": {key: where}}, "then": _given("i_understand")}


def _either(keys: tuple[str, ...]) -> list[JsonValue]:
    """Exactly one of `keys`."""
    found: list[JsonValue] = []
    for key in keys:
        others: JsonDict = {each: {"type": "null"} for each in keys if each != key}
        found.append({"required": [key], "properties": {key: _FILLED, **others}})
    return found


SOCKET_RULE: Final = _wide("to", {"const": "*"})
DNS: Final = _wide("names", {"type": "array", "contains": {"const": "*"}})
DENY_RULE: Final[JsonDict] = {
    "oneOf": _either(("to", "url")),
    "allOf": [
        {"if": _given("to"), "then": {"properties": {"methods": _EMPTY, "paths": _EMPTY}}},
        {"if": _given("url"), "then": {"properties": {"ports": _EMPTY}}},
    ],
}
HTTP_RULE: Final[JsonDict] = {
    **_wide("url", {"type": "string", "pattern": _ANY_HOST}),
    "not": {
        "required": ["access", "methods"],
        "properties": {"access": _FILLED, "methods": {"type": "array", "minItems": 1}},
    },
}
WHEN: Final[JsonDict] = {"oneOf": _either(("opened", "bytes_in", "bytes_out", "calls"))}
THEN: Final[JsonDict] = {
    "anyOf": [
        {"required": ["deny"], "properties": {"deny": {"type": "array", "minItems": 1}}},
        _given("raise"),
    ]
}
