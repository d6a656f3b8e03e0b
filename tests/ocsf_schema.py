"""Says what is wrong with an event by the vendored definitions of OCSF; shares no code with what writes events.

The definitions are in `tests/data/ocsf-1.9.0-dev`, with where they come from. A class extends others and
includes profiles, an attribute takes its type from the dictionary, and enums of both are joined.
INVARIANT: an attribute, object or type that the definitions do not have is a fault, never passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "data/ocsf-1.9.0-dev"
Definition = dict[str, Any]
_LIMITS = {"integer_t": 1 << 31, "long_t": 1 << 63, "timestamp_t": 1 << 63}
_OTHER = 99


@cache
def _read(path: str) -> Definition:
    return json.loads((FOLDER / path).read_text(encoding="utf-8"))  # type: ignore[no-any-return]  # JSON


@cache
def _events() -> dict[str, Definition]:
    found = [json.loads(path.read_text(encoding="utf-8")) for path in (FOLDER / "events").rglob("*.json")]
    return {each["name"]: each for each in found}


def _chain(definition: Definition, *, is_event: bool) -> list[Definition]:
    """The definition and those it extends, the most general first."""
    name = definition.get("extends")
    if name is None:
        return [definition]
    parent = _events()[name] if is_event else _read(f"objects/{name}.json")
    return [*_chain(parent, is_event=is_event), definition]


@cache
def _attributes(name: str, *, is_event: bool) -> dict[str, Definition]:
    """What a class or an object may have: dictionary, then what it extends and includes, then its own words."""
    found: dict[str, Definition] = {}
    start = _events()[name] if is_event else _read(f"objects/{name}.json")
    for each in _chain(start, is_event=is_event):
        own = dict(each.get("attributes", {}))
        for path in own.pop("$include", ()):
            profile = _read(path)
            for key, attribute in profile["attributes"].items():
                _merge(found, key, {"profile": profile["name"], **attribute})
        for key, attribute in own.items():
            _merge(found, key, attribute)
    return found


def _merge(found: dict[str, Definition], key: str, attribute: Definition) -> None:
    known = found.get(key) or dict(_read("dictionary.json")["attributes"].get(key, {}))
    enum = {**known.get("enum", {}), **attribute.get("enum", {})}
    found[key] = {**known, **attribute} | ({"enum": enum} if enum else {})


def classes() -> dict[int, str]:
    """Classes by their number."""
    categories = _read("categories.json")["attributes"]
    found = {0: "base_event"}
    for name, each in _events().items():
        if "uid" in each:
            category = next(c["category"] for c in reversed(_chain(each, is_event=True)) if "category" in c)
            found[categories[category]["uid"] * 1000 + each["uid"]] = name
    return found


def faults(event: Definition) -> list[str]:
    """What is wrong with an event; nothing if it is as the schema wants it."""
    name = classes().get(event.get("class_uid"))  # type: ignore[arg-type]  # None is no class
    if name is None:
        return [f"class_uid: no class {event.get('class_uid')}"]
    profiles = set(event.get("metadata", {}).get("profiles", []))
    chain = _chain(_events()[name], is_event=True)
    admitted = {profile for each in chain for profile in each.get("profiles", [])}
    found = [f"metadata.profiles: {profile} is not admitted" for profile in sorted(profiles - admitted)]
    found += _classification(event, chain)
    found += _object(event, _attributes(name, is_event=True), "", profiles)
    found += _constraints(event, chain, "")
    return found


def _classification(event: Definition, chain: list[Definition]) -> Iterator[str]:
    category = next(each["category"] for each in reversed(chain) if "category" in each)
    known = _read("categories.json")["attributes"].get(category, {"uid": 0, "caption": "Uncategorized"})
    wanted = {
        "category_uid": known["uid"],
        "category_name": known["caption"],
        "class_name": chain[-1]["caption"],
        "type_uid": event["class_uid"] * 100 + event.get("activity_id", 0),
        "type_name": f"{chain[-1]['caption']}: {event.get('activity_name')}",
    }
    for key, value in wanted.items():
        if event.get(key) != value:
            yield f"{key}: expected {value}, found {event.get(key)}"


def _object(
    value: Definition, attributes: dict[str, Definition], where: str, profiles: set[str]
) -> Iterator[str]:
    for key, attribute in attributes.items():
        profile = attribute.get("profile")
        is_there = profile is None or profile in profiles
        if attribute.get("requirement") == "required" and is_there and key not in value:
            yield f"{where}{key}: required"
    for key, found in value.items():
        known = attributes.get(key)
        if known is None:
            yield f"{where}{key}: no such attribute"
        elif known.get("profile") is not None and known["profile"] not in profiles:
            yield f"{where}{key}: belongs to the profile {known['profile']}"
        elif "@deprecated" in known:
            yield f"{where}{key}: deprecated"
        else:
            yield from _attribute(found, known, f"{where}{key}", profiles)
            yield from _sibling(value, key, known, where)


def _attribute(found: Any, known: Definition, where: str, profiles: set[str]) -> Iterator[str]:
    if not known.get("is_array"):
        yield from _value(found, known["type"], where, profiles)
    elif not isinstance(found, list) or not found:
        yield f"{where}: expected a list with something in it"
    else:
        for at, each in enumerate(found):
            yield from _value(each, known["type"], f"{where}[{at}]", profiles)


def _value(found: Any, kind: str, where: str, profiles: set[str]) -> Iterator[str]:
    types = _read("dictionary.json")["types"]["attributes"]
    if kind not in types:
        yield from _nested(found, kind, where, profiles)
        return
    while kind in types:
        yield from _rules(found, kind, types[kind], where)
        if "type" not in types[kind]:
            break
        kind = types[kind]["type"]
    shapes = {
        "string_t": str,
        "integer_t": int,
        "long_t": int,
        "boolean_t": bool,
        "json_t": object,
        "float_t": float,
    }
    if not isinstance(found, shapes[kind]) or (isinstance(found, bool) and kind in {"integer_t", "long_t"}):
        yield f"{where}: expected {kind}, found {type(found).__name__}"


def _nested(found: Any, kind: str, where: str, profiles: set[str]) -> Iterator[str]:
    if not isinstance(found, dict):
        yield f"{where}: expected an object"
    elif kind != "object":  # an object that anything may be in
        chain = _chain(_read(f"objects/{kind}.json"), is_event=False)
        yield from _object(found, _attributes(kind, is_event=False), f"{where}.", profiles)
        yield from _constraints(found, chain, f"{where}.")


def _rules(found: Any, kind: str, known: Definition, where: str) -> Iterator[str]:
    if "regex" in known and not (isinstance(found, str) and re.search(known["regex"], found)):
        yield f"{where}: is no {kind}"
    if "max_len" in known and len(str(found)) > known["max_len"]:
        yield f"{where}: longer than {known['max_len']}"
    if "range" in known and not (isinstance(found, int) and known["range"][0] <= found <= known["range"][1]):
        yield f"{where}: out of range"
    if kind in _LIMITS and isinstance(found, int) and not -_LIMITS[kind] <= found < _LIMITS[kind]:
        yield f"{where}: too large for {kind}"


def _sibling(value: Definition, key: str, known: Definition, where: str) -> Iterator[str]:
    if "enum" not in known or key in {"class_uid", "category_uid"}:
        return
    caption = known["enum"].get(str(value[key]))
    if caption is None:
        yield f"{where}{key}: {value[key]} is not among its values"
    elif known.get("sibling"):
        name = known["sibling"]
        if value[key] == _OTHER and not value.get(name):
            yield f"{where}{name}: must say what is meant by Other"
        if value[key] != _OTHER and name in value and value[name] != caption["caption"]:
            yield f"{where}{name}: expected {caption['caption']}, found {value[name]}"


def _constraints(value: Definition, chain: list[Definition], where: str) -> Iterator[str]:
    rules: dict[str, list[str]] = next(
        (each["constraints"] for each in reversed(chain) if "constraints" in each), {}
    )
    for rule, names in rules.items():
        there = [name for name in names if name in value]
        if (rule == "at_least_one" and not there) or (rule == "just_one" and len(there) != 1):
            yield f"{where}: {rule} of {', '.join(names)}"
