"""One JSON Schema for documents of all four kinds, made from the models, for editors and other tools.

What a field takes is said at the field, in `schema.py` and its siblings; the patterns are in `shapes/`. The
loader decides, and not this. INVARIANT: what the loader accepts, the schema accepts as an editor reads it,
but for host names like `1e5` and texts like `Null`, which an editor takes for a number and for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, cast, get_args

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from policy.document import MODELS
from policy.shapes import hosts, quantities, texts
from policy.shapes.shape import MARK, Shape

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from policy.digest import Json

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

UNSEEN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "syntax": "the text is no YAML, no JSON and no TOML, or holds a character that a document may "
        "not hold",
        "duplicate-key": "a key stands twice, which some readers pass over",
        "tag": "a value has a tag",
        "bad-alias": "an alias names nothing",
        "bad-key": "a key is no word",
        "too-many-aliases": "there are more than 16 anchors or aliases",
        "too-large": "the document is too long",
        "too-deep": "it is nested too deep",
        "too-many-rules": "it has too many rules",
        "wrong-type": "a number or a boolean is spelt as no document spells it: `1.0`, `0x10`, `+1`, `True`",
        "bad-quantity": "the same, or a number that is beyond 63 bits, or days that are no whole days "
        "in hours",
        "bad-time": "a day that its month does not have, or a time before 1970 or after 2262-04-11",
        "bad-choice": "the same, in `frozen:`, or a duration beyond 63 bits",
        "bad-path": "a path that is not in Unicode normal form C, one of 4096 bytes and fewer "
        "characters, or a "
        "set of a glob whose range falls, as `[z-a]`",
        "bad-target": "the same, in what a rule over time watches",
        "bad-address": "bits of the host are set in a network, or an IPv6 address hides an IPv4 address",
        "bad-url": "the same in a URL, or a range of ports that falls",
        "bad-listener": "an address that no machine has as its own",
        "bad-port": "a range of ports that falls, or a port that is spelt `0x50`",
        "bad-name": "a number that is spelt with a sign or a dot in front, and would not be a name",
        "bad-id": "the same",
        "bad-header": "the same",
    }
)
"""What the loader refuses and the schema may let pass, by the id of the finding."""

_SHAPES: Final = {
    each.name: each
    for module in (hosts, quantities, texts)
    for each in vars(module).values()
    if isinstance(each, Shape)
}
_KEPT: Final = ("description", "default")  # of a field, beside the reference to what it holds
_DESCRIPTION: Final = (
    "What a WebAssembly module may do, under wasmgate. `wasmgate policy check` finds more than this "
    "schema: "
    "it looks at a document as a whole and at what it extends. Of the shape alone the schema does not see: "
)


class _Generator(GenerateJsonSchema):
    """Without titles made of names, which say nothing twice."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002  # the base class passes it
        return False


def policy_schema() -> dict[str, Json]:
    """The schema, in the draft 2020-12; keys stand in one order always."""
    refs, whole = models_json_schema(
        [(model, "validation") for model in MODELS.values()], by_alias=True, schema_generator=_Generator
    )
    definitions = cast("dict[str, Json]", whole["$defs"])
    for model in models():
        _say_defaults(model, cast("dict[str, Json]", definitions[model.__name__]))
    referred = {name: _with_shapes(each) for name, each in definitions.items()}
    shapes = {name: _definition(shape) for name, shape in _SHAPES.items()}
    places = {kind: cast("Json", refs[model, "validation"]) for kind, model in MODELS.items()}
    return {
        "$schema": DIALECT,
        "title": "wasmgate policy document",
        "description": _DESCRIPTION + "; ".join(f"{key} ({what})" for key, what in UNSEEN.items()) + ".",
        **_by_kind(places),
        "$defs": dict(sorted({**referred, **shapes}.items())),
    }


def models() -> tuple[type[BaseModel], ...]:
    """The models of all kinds and of their sections, each once, those of a document before its sections."""
    found: dict[type[BaseModel], None] = {}

    def visit(model: type[BaseModel]) -> None:
        if model not in found:
            found[model] = None
            for field in model.model_fields.values():
                for inner in _models_in(field.annotation):
                    visit(inner)

    for model in MODELS.values():
        visit(model)
    return tuple(found)


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in cast("tuple[object, ...]", get_args(annotation)):
        yield from _models_in(inner)


def written_default(field: FieldInfo) -> Json:
    """The default of a field as a document writes it; None where it has none, or is a section."""
    value: object = field.default
    if field.is_required() or value is None or isinstance(value, BaseModel) or field.default_factory:
        return None
    if isinstance(value, tuple):
        return [str(each) for each in cast("tuple[object, ...]", value)]
    if isinstance(value, int) and not isinstance(value, bool):
        shapes = [
            *_shapes_in(field.annotation),
            *(each for each in field.metadata if isinstance(each, Shape)),
        ]
        return shapes[-1].write(value) if shapes else value
    return value if isinstance(value, bool) else str(value)


def _shapes_in(annotation: object) -> Iterator[Shape]:
    for inner in cast("tuple[object, ...]", get_args(annotation)):
        if isinstance(inner, Shape):
            yield inner
        yield from _shapes_in(inner)


def _say_defaults(model: type[BaseModel], schema: dict[str, Json]) -> None:
    schema.pop("title", None)
    properties = cast("dict[str, dict[str, Json]]", schema["properties"])
    for name, field in model.model_fields.items():
        of_field = properties[field.alias or name]
        of_field.pop("default", None)
        default = written_default(field)
        if default is not None:
            of_field["default"] = default


def _with_shapes(value: Json) -> Json:
    """`value` with a reference wherever a shape left its name."""
    if isinstance(value, list):
        return [_with_shapes(each) for each in value]
    if not isinstance(value, dict):
        return value
    if MARK in value:
        kept: dict[str, Json] = {key: value[key] for key in _KEPT if key in value}
        return {"$ref": f"#/$defs/{value[MARK]}", **kept}
    return {key: _with_shapes(each) for key, each in value.items()}


def _definition(shape: Shape) -> Json:
    # The last key is an editor's own: what it says instead of the pattern.
    return {**shape.schema, "description": shape.words, "patternErrorMessage": f"expected {shape.words}"}


def _by_kind(places: Mapping[str, Json]) -> dict[str, Json]:
    """The schema of the document's kind; one without a kind, or with an unknown one, is a ModulePolicy."""
    found: dict[str, Json] = cast("dict[str, Json]", dict(cast("dict[str, Json]", places["ModulePolicy"])))
    for kind in ("PolicyTest", "Boundary", "Baseline"):
        is_kind: Json = {"required": ["kind"], "properties": {"kind": {"const": kind}}}
        found = {"if": is_kind, "then": places[kind], "else": found}
    return found
