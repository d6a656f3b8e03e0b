"""Documents that have been read: their typed values, and the text they came from.

Reading text lives in `source.py`, the types in `schema.py` and its siblings, and what the values must
satisfy together in `checks/`. Every fault of a document's shape is found in one pass.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypeVar, cast, get_args

from pydantic import BaseModel, ValidationError

from policy.errors import Finding, PolicyError, capped, closest, quoted, shown
from policy.places import Path, Source
from policy.schema import BaselineModel, PolicyModel
from policy.schema_boundary import BoundaryModel, PolicyTestModel
from policy.source import load_source
from policy.text import MAX_FINDINGS, MAX_RULES

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class PolicyDocument:
    """A policy or a baseline, whose shape is right; whether it can be enforced is not said yet."""

    model: PolicyModel | BaselineModel
    source: Source

    @property
    def digest(self) -> str:
        """`sha256:…` of the document's bytes."""
        return self.source.digest

    @property
    def name(self) -> str:
        """What others call it."""
        return self.model.metadata.name


@dataclass(frozen=True, slots=True)
class BoundaryDocument:
    """A boundary, whose shape is right."""

    model: BoundaryModel
    source: Source

    @property
    def digest(self) -> str:
        """`sha256:…` of the document's bytes."""
        return self.source.digest

    @property
    def name(self) -> str:
        """What others call it."""
        return self.model.metadata.name


@dataclass(frozen=True, slots=True)
class PolicyTestDocument:
    """Tests of a policy that stands elsewhere; its shape is right."""

    model: PolicyTestModel
    source: Source

    @property
    def digest(self) -> str:
        """`sha256:…` of the document's bytes."""
        return self.source.digest

    @property
    def name(self) -> str:
        """What others call it."""
        return self.model.metadata.name


AnyDocument: TypeAlias = PolicyDocument | BoundaryDocument | PolicyTestDocument

MODELS: dict[str, type[BaseModel]] = {
    "ModulePolicy": PolicyModel,
    "Baseline": BaselineModel,
    "Boundary": BoundaryModel,
    "PolicyTest": PolicyTestModel,
}
"""The four kinds of document by what `kind` says."""

_LISTS: tuple[Path, ...] = (
    *(("permissions", "storage", key) for key in ("allow", "deny")),
    *(("permissions", "network", key) for key in ("tcp", "udp", "http", "deny", "listen")),
    ("permissions", "network", "dns", "names"),
    ("permissions", "environment", "allow"),
    ("permissions", "nn", "models"),
    ("permissions", "host_functions"),
    ("rules",),
    ("audit", "rules"),
    *(("ceiling", "storage", key) for key in ("roots", "never")),
    *(("ceiling", "network", key) for key in ("ports", "never")),
    ("tests",),
)
"""Where rules stand, in documents of every kind."""


def load_document(text: bytes, *, file: str) -> PolicyDocument:
    """Read a policy or a baseline; `file` is how findings name it, and is not opened.

    Raises:
        PolicyError: with everything that is wrong with the document's shape, or that it is of another kind.
    """
    document = load_any(text, file=file)
    if isinstance(document, PolicyDocument):
        return document
    expected, found = "a ModulePolicy or a Baseline", f"a {document.model.kind}"
    raise PolicyError((document.source.finding("wrong-kind", ("kind",), expected=expected, found=found),))


def load_any(text: bytes, *, file: str) -> AnyDocument:
    """Read a document of any kind; `file` is how findings name it, and is not opened.

    Raises:
        PolicyError: with everything that is wrong with the document's shape.
    """
    source = load_source(text, file=file)
    if found := too_many_rules(source):
        raise PolicyError((found,))
    match kind_of(source):
        case "Boundary":
            return BoundaryDocument(validated(BoundaryModel, source), source)
        case "PolicyTest":
            return PolicyTestDocument(validated(PolicyTestModel, source), source)
        case _:
            return policy_of(source)


def policy_of(source: Source) -> PolicyDocument:
    """The policy or baseline that the values of `source` make.

    Raises:
        PolicyError: with everything that is wrong with their shape.
    """
    if kind_of(source) == "Baseline":
        return PolicyDocument(validated(BaselineModel, source), source)
    return PolicyDocument(validated(PolicyModel, source), source)


def too_many_rules(source: Source) -> Finding | None:
    """The finding about a document with more rules than are read, at its longest list."""
    lists = {path: found for path in _LISTS if isinstance(found := _value_at(source.value, path), tuple)}
    count = sum(len(cast("tuple[object, ...]", found)) for found in lists.values())
    if count <= MAX_RULES:
        return None
    longest = max(lists, key=lambda path: len(cast("tuple[object, ...]", lists[path])))
    problem = f"{count} rules in all, more than the {MAX_RULES} that are read"
    return source.finding("too-many-rules", longest, problem=problem)


def _value_at(value: object, path: Path) -> object:
    for step in path:
        if not isinstance(value, dict):
            return None
        value = cast("dict[object, object]", value).get(step)
    return value


def kind_of(source: Source) -> str:
    """What a document says its kind is, where that is one of the four; else ModulePolicy."""
    if not isinstance(source.value, dict):
        return "ModulePolicy"
    kind = cast("dict[str, object]", source.value).get("kind")
    return str(kind) if isinstance(kind, str) and kind in MODELS else "ModulePolicy"


def validated(model: type[M], source: Source) -> M:
    """The values of `source` as a `model`.

    Raises:
        PolicyError: with everything that is wrong with their shape.
    """
    if not isinstance(source.value, dict):
        found = source.finding("wrong-type", (), expected="a mapping of keys", found=_described(source.value))
        raise PolicyError((found,))
    try:
        return model.model_validate(source.value)
    except ValidationError as err:
        errors = err.errors(include_url=False)
        findings = tuple(_finding(source, each) for each in errors[: MAX_FINDINGS + 1])
        raise PolicyError(capped(findings, most=MAX_FINDINGS, count=len(errors))) from None


def _finding(source: Source, error: ErrorDetails) -> Finding:
    path: Path = tuple(error["loc"])
    context = error.get("ctx", {})
    found = _described(error["input"])
    match error["type"]:
        case "extra_forbidden":
            return _unknown_key(source, path)
        case "missing":
            key = quoted(str(path[-1]))
            return source.finding("missing-key", path, problem=f"the key {key} is missing")
        case "literal_error":
            words = re.findall(r"'([^']*)'", str(context["expected"]))
            words = list(MODELS) if path == ("kind",) else words
            near = closest(str(error["input"]), words) if isinstance(error["input"], str) else ""
            expected = f"one of {', '.join(words)}" if len(words) > 1 else words[0]
            return source.finding("bad-value", path, expected=expected, found=found, suggestion=_meant(near))
        case kind if "expected" in context:
            suggestion = _meant(str(context.get("suggestion", "")))
            expected = str(context["expected"])
            return source.finding(kind, path, expected=expected, found=found, suggestion=suggestion)
        case kind:
            expected, suggestion = _expected_type(kind, error["input"])
            return source.finding("wrong-type", path, expected=expected, found=found, suggestion=suggestion)


_TYPES = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
}


def _expected_type(kind: str, value: object) -> tuple[str, str]:
    suggestion = ""
    if kind == "tuple_type" and isinstance(value, str):
        suggestion = f"write [{shown(value)}]"
    return _TYPES.get(kind, "another type of value"), suggestion


def _meant(word: str) -> str:
    return f"did you mean {quoted(word)}?" if word else ""


def _described(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case str():
            return quoted(value)
        case dict():
            return "a mapping"
        case tuple() if not value:
            return "an empty list"
        case _:
            return "a list"


def _unknown_key(source: Source, path: Path) -> Finding:
    known = _keys_at(MODELS[kind_of(source)], path[:-1])
    key = str(path[-1])
    if key == "<<":
        suggestion = "merge keys are not read"
    else:
        suggestion = _meant(closest(key, known)) or f"known here: {', '.join(known)}"
    problem = f"unknown key {quoted(key)}"
    return source.finding("unknown-key", path, at_key=True, problem=problem, suggestion=suggestion)


def _keys_at(model: type[BaseModel], path: Path) -> list[str]:
    """The keys that `model` knows at `path`."""
    for step in path:
        if isinstance(step, int):
            continue
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        found = _model_in(fields[step].annotation) if step in fields else None
        if found is None:
            return []
        model = found
    return sorted(field.alias or name for name, field in model.model_fields.items())


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model that an annotation such as `tuple[Model, ...]` or `Model | None` holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in cast("tuple[object, ...]", get_args(annotation)):
        found = _model_in(inner)
        if found is not None:
            return found
    return None
