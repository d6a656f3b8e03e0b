"""What must hold between the keys of one section, as JSON Schema.

The same rules stand as validators in `schema_network.py` and `schema_temporal.py`, which say what is wrong in
words. A key with nothing in it counts as one that is not there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from policy.digest import Json

_FILLED: Final[dict[str, Json]] = {"not": {"type": "null"}}
_EMPTY: Final[dict[str, Json]] = {"maxItems": 0}  # a list; what is none is judged elsewhere
_ANY_HOST: Final = r"^https?://\*(?::.*)?$"


def _given(key: str) -> dict[str, Json]:
    return {"required": [key], "properties": {key: _FILLED}}


def _wide(key: str, where: Json) -> dict[str, Json]:
    """A bare `*` needs its word."""
    return {"if": {"required": [key], "properties": {key: where}}, "then": _given("i_understand")}


def _either(keys: tuple[str, ...]) -> list[Json]:
    """Exactly one of `keys`."""
    return [
        {
            "required": [key],
            "properties": {key: _FILLED} | {each: {"type": "null"} for each in keys if each != key},
        }
        for key in keys
    ]


SOCKET_RULE: Final = _wide("to", {"const": "*"})
DNS: Final = _wide("names", {"type": "array", "contains": {"const": "*"}})
DENY_RULE: Final[dict[str, Json]] = {
    "oneOf": _either(("to", "url")),
    "allOf": [
        {"if": _given("to"), "then": {"properties": {"methods": _EMPTY, "paths": _EMPTY}}},
        {"if": _given("url"), "then": {"properties": {"ports": _EMPTY}}},
    ],
}
HTTP_RULE: Final[dict[str, Json]] = {
    **_wide("url", {"type": "string", "pattern": _ANY_HOST}),
    "not": {
        "required": ["access", "methods"],
        "properties": {"access": _FILLED, "methods": {"type": "array", "minItems": 1}},
    },
}
WHEN: Final[dict[str, Json]] = {"oneOf": _either(("opened", "bytes_in", "bytes_out", "calls"))}
THEN: Final[dict[str, Json]] = {
    "anyOf": [
        {"required": ["deny"], "properties": {"deny": {"type": "array", "minItems": 1}}},
        _given("raise"),
    ]
}
