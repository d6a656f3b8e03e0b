"""What can still be read of a document whose shape has faults, so that the rest is checked as well.

The faults themselves are told by `document.py`. What was salvaged is never compiled to run: parts of
it are missing. INVARIANT: places and fields are those of the whole text, and what depends on a part that is
missing is not told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from pydantic import ValidationError

from policy.document import (
    MODELS,
    BoundaryDocument,
    PolicyDocument,
    PolicyTestDocument,
    kind_of,
    too_many_rules,
)
from policy.errors import dotted
from policy.places import Path, Source, Spot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from policy.document import AnyDocument
    from policy.errors import Finding
    from policy.schema import BaselineModel, PolicyModel
    from policy.schema_boundary import BoundaryModel, PolicyTestModel

_ROUNDS = 6  # what is left out may leave something else incomplete
_ALL_DEPENDS_ON = ("version", "kind", "metadata", "extends", "mode")
_MAY_COME_FROM_WHAT_IS_MISSING = {"dead-rule", "no-lookup", "more-findings"}


@dataclass(frozen=True, slots=True)
class Salvaged(Source):
    """A part of a document, with the places of the whole."""

    whole: Source
    moved: Mapping[Path, Path]  # each item of a list: where it stands here, and in the whole

    def _old(self, path: Path) -> Path:
        here: Path = ()
        there: Path = ()
        for step in path:
            here = (*here, step)
            there = self.moved.get(here, (*there, step))
        return there

    def spot(self, path: Path) -> Spot:
        """Where the value at `path` stands in the whole."""
        return self.whole.spot(self._old(path))

    def key_spot(self, path: Path) -> Spot:
        """Where the key at the end of `path` stands in the whole."""
        return self.whole.key_spot(self._old(path))

    def field(self, path: Path) -> str:
        """How the value at `path` is named in the whole."""
        return self.whole.field(self._old(path))

    def finding(self, rule: str, path: Path, *, at_key: bool = False, **parts: str) -> Finding:
        """A finding about the value at `path`, told of the whole."""
        return self.whole.finding(rule, self._old(path), at_key=at_key, **parts)


@dataclass(frozen=True, slots=True)
class Rest:
    """The readable part of a document, and the paths of what was left out."""

    document: AnyDocument
    missing: frozenset[Path]

    def telling(self, findings: Iterable[Finding]) -> tuple[Finding, ...]:
        """Those of `findings` that do not depend on what was left out."""
        around = {dotted(path[:length]) for path in self.missing for length in range(len(path) + 1)}
        return tuple(
            each
            for each in findings
            if each.field not in around and each.id not in _MAY_COME_FROM_WHAT_IS_MISSING
        )


def salvage(source: Source) -> Rest | None:
    """What is left of `source` without the values that have faults; None where too little is left."""
    kind = kind_of(source)
    if not isinstance(source.value, dict) or kind not in MODELS or too_many_rules(source):
        return None
    missing: set[Path] = set()
    for _ in range(_ROUNDS):
        part = _without(source, missing)
        try:
            return Rest(_document(kind, MODELS[kind].model_validate(part.value), part), frozenset(missing))
        except ValidationError as err:
            for each in err.errors(include_url=False, include_input=False, include_context=False):
                path = _existing(part.value, tuple(each["loc"]), is_parent=each["type"] == "missing")
                if not path or path[0] in _ALL_DEPENDS_ON:
                    return None
                missing.add(part._old(path))  # noqa: SLF001  # of this module
    return None


def _document(kind: str, model: object, source: Source) -> AnyDocument:
    match kind:
        case "Boundary":
            return BoundaryDocument(cast("BoundaryModel", model), source)
        case "PolicyTest":
            return PolicyTestDocument(cast("PolicyTestModel", model), source)
        case _:
            return PolicyDocument(cast("PolicyModel | BaselineModel", model), source)


def _existing(value: object, path: Path, *, is_parent: bool) -> Path:
    """The part of an error's `path` that leads through `value`; what has a gap is left out as a whole."""
    kept: Path = ()
    for step in path:
        match value:
            case dict() if step in value:
                value = cast("dict[object, object]", value)[step]
            case tuple() if isinstance(step, int) and step < len(value):
                value = cast("tuple[object, ...]", value)[step]
            case _:
                break
        kept = (*kept, step)
    return kept[:-1] if is_parent and len(kept) == len(path) else kept


def _without(source: Source, missing: set[Path]) -> Salvaged:
    moved: dict[Path, Path] = {}

    def copy(value: object, here: Path, there: Path) -> object:
        match value:
            case dict():
                return {
                    key: copy(child, (*here, str(key)), (*there, str(key)))
                    for key, child in cast("dict[object, object]", value).items()
                    if (*there, str(key)) not in missing
                }
            case tuple():
                kept = [
                    (index, child)
                    for index, child in enumerate(cast("tuple[object, ...]", value))
                    if (*there, index) not in missing
                ]
                for position, (index, _) in enumerate(kept):
                    moved[*here, position] = (*there, index)
                return tuple(
                    copy(child, (*here, position), (*there, index))
                    for position, (index, child) in enumerate(kept)
                )
            case _:
                return value

    value = copy(source.value, (), ())
    return Salvaged(
        source.file, source.digest, source.lines, value, source.values, source.keys, source, moved
    )
