"""The reference of every field, as Markdown: made from the schema, the models and one example of each field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from policy.checks.not_enforceable_yet import boundary_parts, parts
from policy.document import MODELS, BoundaryDocument, PolicyDocument, load_any
from policy.json_schema import policy_schema
from tests.editor import read
from tests.everything import CEILING, EVERYTHING, TESTS

SCHEMA = policy_schema()
DEFS: dict[str, Any] = SCHEMA["$defs"]  # type: ignore[assignment]  # JSON
TEXTS = {"ModulePolicy": EVERYTHING, "Boundary": CEILING, "PolicyTest": TESTS}
# A value of each field that has an unusual one, so that what is not enforced is told.
UNUSUAL = (
    ("abi: auto", "abi: wasi-0.2"), ("level: calls, payload", "level: counts, payload"),
    ("key: A, value: 1", "key: A"),
)  # fmt: skip
PARTLY = {
    "rules[].when.bytes_in.from": "a path is enforced, a host is not",
    "rules[].when.bytes_out.to": "a path is enforced, a host is not",
    "rules[].when.calls.to": "a path is enforced, a host is not",
    "rules[].when.bytes_in.window": "`run` is enforced, a shorter window is not",
    "rules[].when.bytes_out.window": "`run` is enforced, a shorter window is not",
    "rules[].when.calls.window": "`run` is enforced, a shorter window is not",
    "rules[].then.raise": "not enforced by this version: a rule over time that raises a finding",
}
WHOLE = ("rules[]", "permissions.environment.allow[]")
"""Places where the finding about one key of an item stands at the item."""
RUN = {"permissions", "resources", "runtime", "audit", "match", "mode", "rules", "ceiling"}
"""What decides about a run."""

HEAD = """# Every field of a document

This page is made from the models that read documents; `--accept-golden` writes it.
What the parts mean together is said in [The policy document](policy.md), what is found wrong in [Findings](findings.md).
`wasmgate policy schema` prints the same as a JSON Schema, and `policies/policy.schema.json` is a copy of it for editors.

A path such as `permissions.storage.allow[].uri` names a key of each item of a list.
A section or a list with nothing in it grants nothing, exactly like one that is not there.
A Baseline has the fields of a ModulePolicy but `match`, `mode` and `when_unenforceable`.
*Not enforced* means that this version reads, checks, explains, compares and tests the field, and refuses to run a policy that uses it; with `when_unenforceable: warn` it runs without, and says so in the log.
"""


def fields(kind: str) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """The dotted path, the schema, and whether it is required, of each field of a kind."""
    yield from _of(DEFS[MODELS[kind].__name__], "", set())


def _of(model: dict[str, Any], prefix: str, above: set[str]) -> Iterator[tuple[str, dict[str, Any], bool]]:
    for key, field in model["properties"].items():
        yield prefix + key, field, key in model.get("required", ())
        for name, is_list in _sections(field):
            if name not in above:
                yield from _of(DEFS[name], f"{prefix}{key}{'[]' if is_list else ''}.", above | {name})


def _sections(field: dict[str, Any], *, is_list: bool = False) -> Iterator[tuple[str, bool]]:
    name = field.get("$ref", "").rpartition("/")[2]
    if "properties" in DEFS.get(name, {}):
        yield name, is_list
    for each in field.get("anyOf", []):
        yield from _sections(each, is_list=is_list)
    if "items" in field:
        yield from _sections(field["items"], is_list=True)


def type_of(field: dict[str, Any]) -> str:  # noqa: PLR0911  # one for each kind of schema
    """What a field takes, in words."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return "a section" if "properties" in DEFS[name] else f"[{name}](#{name})"
    if "anyOf" in field:
        found = [type_of(each) for each in field["anyOf"] if each.get("type") != "null"]
        return " or ".join(dict.fromkeys(found))
    if "enum" in field:
        *words, last = (f"`{word}`" for word in field["enum"])
        return f"{', '.join(words)} or {last}" if words else last
    if "const" in field:
        return f"`{field['const']}`"
    if field.get("type") == "array":
        least = ", at least one" if field.get("minItems") else ""
        items = type_of(field["items"])
        return f"a list of sections{least}" if items == "a section" else f"a list of {items}{least}"
    if field.get("type") == "object":
        return f"a mapping of words to {type_of(field['additionalProperties'])}"
    return {"boolean": "`true` or `false`"}[field["type"]]


def unenforced(kind: str) -> dict[str, str]:
    """What of a document with every field is not enforced, by path."""
    text = TEXTS[kind]
    for usual, unusual in UNUSUAL:
        text = text.replace(usual, unusual)
    document = load_any(text.encode(), file="x")
    match document:
        case PolicyDocument():
            found = [*parts(document), *parts(load_any(TEXTS[kind].encode(), file="x"))]  # type: ignore[arg-type]  # a policy too
        case BoundaryDocument():
            found = list(boundary_parts(document))
        case _:
            found = []
    return {_dotted(path): what for path, what in reversed(found)}


def _dotted(path: tuple[str | int, ...]) -> str:
    return "".join("[]" if isinstance(step, int) else f".{step}" for step in path)[1:]


def example(kind: str, path: str) -> Any:
    """A value of the field in the document with every field; None where it is a section."""
    found = [read(TEXTS[kind])]
    for step in path.replace("[]", ".[]").split("."):
        if step == "[]":
            found = [each for value in found if isinstance(value, list) for each in value]
        else:
            found = [value[step] for value in found if isinstance(value, dict) and step in value]
    return next(iter(found), None)


@cache
def page() -> str:
    """The whole page."""
    lines = [HEAD]
    seen: set[str] = set()
    for kind in TEXTS:
        lines.append(f"## {kind}\n")
        missing = unenforced(kind)
        for path, field, is_required in fields(kind):
            if path in seen:
                continue
            seen.add(path)
            lines += [
                f"### `{path}`\n",
                _sentences(field["description"]),
                *_facts(kind, path, field, is_required=is_required),
            ]
            lines += [*_enforcement(path, field, missing), ""]
    lines += ["## Kinds of values\n"]
    for name, each in DEFS.items():
        if "properties" not in each:
            words = each["description"]
            lines += [f"### {name}\n", f"It takes {words}.\n"]
    return "\n".join(lines).rstrip() + "\n"


def _sentences(text: str) -> str:
    return text.replace(". ", ".\n") + "\n"


def _enforcement(path: str, field: dict[str, Any], missing: dict[str, str]) -> Iterator[str]:
    """Whether this version enforces the field; nothing for one that decides nothing about a run."""
    above = [path[:at] for at in range(len(path) + 1) if at == len(path) or path[at] in ".["]
    told = [missing[each] for each in above if each in missing and each not in WHOLE]
    if path in PARTLY:
        yield f"- {PARTLY[path]}"
    elif told:
        yield f"- not enforced by this version: {told[0]}"
    elif path == "permissions.environment.allow[].value":
        yield f"- not enforced by this version: {missing['permissions.environment.allow[]']}"
    elif path.startswith(("learn", "tests")) or path == "audit.retain":
        return
    elif path.partition(".")[0].removesuffix("[]") in RUN and "section" not in type_of(field):
        yield "- enforced"


def _facts(kind: str, path: str, field: dict[str, Any], *, is_required: bool) -> Iterator[str]:
    yield f"- takes {type_of(field)}"
    if is_required:
        yield "- required"
    elif "default" in field and field["default"] != []:
        default = field["default"]
        yield (
            "- default: empty"
            if default == ""
            else f"- default: `{default if isinstance(default, str) else json.dumps(default)}`"
        )
    value = example(kind, path)
    is_section = isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict))
    if value is not None and not is_section:
        text = (
            value
            if isinstance(value, str) and value.isascii() and ":" not in value and value[0].isalnum()
            else json.dumps(value)
        )
        yield f"- example: `{path.rpartition('.')[2]}: {text}`"
