"""The `${…}` of a document, replaced by what is known of a module, its tenant and its run.

What such a text looks like is said in `placeholders.py`. A fact that nobody knows stays as it is written, as
one literal part of a path. INVARIANT: a value is put in only after it was found to be one plain segment.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

from policy.document import BoundaryDocument, PolicyDocument, policy_of, validated
from policy.errors import Finding, PolicyError, quoted
from policy.placeholders import (
    OPENING,
    PlaceholderError,
    check_placeholders,
    is_fit,
    names_in,
    replaced,
)
from policy.schema_boundary import BoundaryModel
from policy.storage import rule_id
from policy.temporal import temporal_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from policy.places import Path, Source
    from policy.subject import Subject

_PLACES: tuple[Path, ...] = (
    ("permissions", "storage"),
    ("permissions", "args"),
    ("ceiling", "storage"),
)
"""Where all text may hold a `${…}`; two more places are named in `_is_place`."""
_FREE = frozenset({"metadata", "tests"})
"""Where it means nothing: texts for people, and calls as they are made."""
_STORAGE: Path = ("permissions", "storage")


def known_facts(document: PolicyDocument, subject: Subject) -> Subject:
    """`subject` with what the document itself settles: its one tenant, its one module."""
    match = document.model.match
    if match is None:
        return subject
    return replace(
        subject,
        tenant=subject.tenant or _single(match.tenant),
        module_name=subject.module_name or _single(match.name),
        module_digest=subject.module_digest or (match.digest[0] if len(match.digest) == 1 else None),
    )


def _single(names: tuple[str, ...]) -> str | None:
    return names[0] if len(names) == 1 and is_literal(names[0]) else None


def is_literal(name: str) -> bool:
    """Say whether a name of `match` is one name and no glob."""
    return not any(char in name for char in "*?[")


def substitute(document: PolicyDocument, subject: Subject) -> tuple[PolicyDocument, tuple[Finding, ...]]:
    """`document` with what is known of `subject` put in; itself where something is wrong with that."""
    work = _Replacer(document.source, values_of(subject))
    value = work.walk((), document.source.value)
    if work.findings or not work.has_changed:
        return document, tuple(work.findings)
    try:
        return policy_of(replace(document.source, value=_with_ids(document, value))), ()
    except PolicyError as err:
        return document, err.findings


def substitute_boundary(
    boundary: BoundaryDocument, subject: Subject
) -> tuple[BoundaryDocument, tuple[Finding, ...]]:
    """`boundary` with what is known of `subject` put in; itself where something is wrong with that."""
    work = _Replacer(boundary.source, values_of(subject))
    value = work.walk((), boundary.source.value)
    if work.findings or not work.has_changed:
        return boundary, tuple(work.findings)
    source = replace(boundary.source, value=value)
    try:
        return BoundaryDocument(validated(BoundaryModel, source), source), ()
    except PolicyError as err:
        return boundary, err.findings


def open_names(source: Source) -> frozenset[str]:
    """Which `${…}` of the closed set still stand in a document, where they are to be replaced."""
    found: set[str] = set()
    stack: list[tuple[Path, object]] = [((), source.value)]
    while stack:
        path, value = stack.pop()
        match value:
            case str() as text if OPENING in text and path[0] not in _FREE:
                found |= names_in(text)
            case dict() as mapping:
                stack.extend(((*path, key), each) for key, each in cast("dict[str, object]", mapping).items())
            case tuple() as items:
                stack.extend((path, each) for each in cast("tuple[object, ...]", items))
            case _:
                pass
    return frozenset(found)


def values_of(subject: Subject) -> dict[str, str]:
    """What is known of `subject`, by the names that a document uses."""
    facts = {
        "tenant": subject.tenant,
        "run.id": subject.run_id,
        "module.name": subject.module_name,
        "module.digest": subject.module_digest,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _with_ids(document: PolicyDocument, value: object) -> object:
    """`value` with ids for rules that have none: the same that the text as written gives them."""
    storage = document.model.permissions.storage
    ids: dict[Path, str] = {
        (*_STORAGE, "allow", index): rule_id("allow", rule) for index, rule in enumerate(storage.allow)
    }
    ids |= {(*_STORAGE, "deny", index): rule_id("deny", rule) for index, rule in enumerate(storage.deny)}
    ids |= {("rules", index): temporal_id(rule) for index, rule in enumerate(document.model.rules)}

    def walk(path: Path, here: object) -> object:
        if isinstance(here, dict):
            mapping = cast("dict[str, object]", here)
            named = {key: walk((*path, key), inner) for key, inner in mapping.items()}
            return named | {"id": ids[path]} if path in ids else named
        if isinstance(here, tuple):
            items = cast("tuple[object, ...]", here)
            return tuple(walk((*path, index), inner) for index, inner in enumerate(items))
        return here

    return walk((), value)


@dataclass(slots=True)
class _Replacer:
    """Walks a document's values, and replaces what it finds."""

    source: Source
    values: Mapping[str, str]
    findings: list[Finding] = field(default_factory=list)
    has_changed: bool = False

    def walk(self, path: Path, value: object) -> object:
        """`value`, which stands at `path`, with its texts replaced."""
        match value:
            case str() if OPENING in value and path[0] not in _FREE:
                return self._text(path, value)
            case dict():
                mapping = cast("dict[str, object]", value)
                return {key: self.walk((*path, key), inner) for key, inner in mapping.items()}
            case tuple():
                items = cast("tuple[object, ...]", value)
                return tuple(self.walk((*path, index), inner) for index, inner in enumerate(items))
            case _:
                return value

    def _text(self, path: Path, text: str) -> str:
        try:
            check_placeholders(text)
        except PlaceholderError as err:
            meant = f"did you mean {quoted(err.suggestion)}?" if err.suggestion else ""
            self._report("bad-placeholder", path, expected=err.expected, found=quoted(text), suggestion=meant)
            return text
        if not _is_place(path):
            problem = "`${…}` is not replaced here, but in paths, arguments and values of the environment"
            self._report("bad-placeholder", path, problem=problem)
            return text
        for name in sorted(names_in(text) & set(self.values)):
            if not is_fit(self.values[name]):
                expected = f"a {name} for ${{{name}}} that is one plain segment of a path"
                self._report("bad-substitution", path, expected=expected, found=quoted(self.values[name]))
                return text
        found = replaced(text, self.values)
        self.has_changed = self.has_changed or found != text
        return found

    def _report(
        self,
        rule: str,
        path: Path,
        *,
        problem: str = "",
        expected: str = "",
        found: str = "",
        suggestion: str = "",
    ) -> None:
        finding = self.source.finding(
            rule, path, problem=problem, expected=expected, found=found, suggestion=suggestion
        )
        self.findings.append(finding)


def _is_place(path: Path) -> bool:
    if any(path[: len(place)] == place for place in _PLACES):
        return path[-1] != "id"
    is_variable = path[:3] == ("permissions", "environment", "allow") and path[-1] == "value"
    return is_variable or (path[0] == "rules" and path[-1] == "opened")
