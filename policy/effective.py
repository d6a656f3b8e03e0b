"""A document together with the baselines that it extends, as one document.

What a bundle is says `bundle.py`; replacing `${…}` comes after this, in `substitution.py`. The document's own
rules stand before those of its parents, so that its own decide first where several grant the same; a denial
wins wherever it stands. INVARIANT: each part remembers which file it came from, and findings point there.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from pydantic import BaseModel

from policy.checks import relative_baseline
from policy.digest import canonical
from policy.document import policy_of, too_many_rules
from policy.errors import Finding, closest, dotted, quoted
from policy.places import Path, Source, Spot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from policy.bundle import Bundle
    from policy.document import PolicyDocument

_SECTIONS = ("permissions", "rules", "resources", "runtime", "audit")
_REPLACED_LISTS: tuple[Path, ...] = (("permissions", "args"), ("audit", "mask"))
"""Lists that are one value: their order or their sum has no meaning of its own."""
_VARIABLES: Path = ("permissions", "environment", "allow")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a part of a merged document stands."""

    name: str  # of its document
    source: Source
    path: Path
    is_own: bool


@dataclass(frozen=True, slots=True)
class Merged(Source):
    """The source of a merged document; a place in it is one in the file that it came from."""

    origins: Mapping[Path, Origin]

    def origin(self, path: Path) -> Origin | None:
        """Where the value at `path` came from; None: the document itself."""
        for length in range(len(path), 0, -1):
            found = self.origins.get(path[:length])
            if found is not None:
                return None if found.is_own else replace(found, path=(*found.path, *path[length:]))
        return None

    def own_path(self, path: Path) -> Path:
        """`path` as it stands in the document itself."""
        for length in range(len(path), 0, -1):
            found = self.origins.get(path[:length])
            if found is not None:
                return (*found.path, *path[length:])
        return path

    def spot(self, path: Path) -> Spot:
        """Where the value at `path` stands in its file."""
        found = self.origin(path)
        return found.source.spot(found.path) if found else Source.spot(self, self.own_path(path))

    def key_spot(self, path: Path) -> Spot:
        """Where the key at the end of `path` stands in its file."""
        found = self.origin(path)
        return found.source.key_spot(found.path) if found else Source.key_spot(self, self.own_path(path))

    def field(self, path: Path) -> str:
        """The path, behind the name of the document that it is in, where that is another one."""
        found = self.origin(path)
        return f"{found.name}: {dotted(found.path)}" if found else dotted(self.own_path(path))

    def finding(self, rule: str, path: Path, *, at_key: bool = False, **parts: str) -> Finding:
        """A finding about the value (or the key) at `path`, in the file that it came from."""
        found = self.origin(path)
        if found:
            return found.source.finding(rule, found.path, at_key=at_key, **parts)
        return Source.finding(self, rule, self.own_path(path), at_key=at_key, **parts)


@dataclass(frozen=True, slots=True)
class Setting:
    """One value that replaces, or is replaced."""

    origin: Origin
    raw: object
    typed: object


@dataclass(slots=True)
class _Parts:
    """What one document says by itself."""

    settings: dict[Path, Setting] = field(default_factory=dict)
    lists: dict[Path, list[Setting]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Effective:
    """A document with its baselines, and what is wrong with that."""

    document: PolicyDocument
    digests: tuple[str, ...]  # of every document that went in, sorted
    findings: tuple[Finding, ...]
    parents: tuple[PolicyDocument, ...] = ()  # every baseline that went in


def effective(document: PolicyDocument, bundle: Bundle) -> Effective:
    """`document` with the rules of the baselines it extends, and with their values where it sets none.

    A document that extends nothing is returned as it is, and so is one where that went wrong.
    """
    if not document.model.extends:
        return Effective(document, (document.digest,), ())
    family = _Family(bundle)
    family.collect(document, ())
    if family.findings:
        return Effective(document, (document.digest,), tuple(family.findings))
    settings = family.settle(document)
    if family.findings:
        return Effective(document, (document.digest,), tuple(family.findings))
    digests = tuple(sorted({each.digest for each in family.members}))
    source = _merged(document, family, settings, joined_digest(digests))
    if found := too_many_rules(source):
        return Effective(document, (document.digest,), (found,))
    return Effective(policy_of(source), digests, (), tuple(family.members[1:]))


def joined_digest(digests: Iterable[str]) -> str:
    """One digest for several documents, in whatever order; that of a single one is its own."""
    names = sorted(set(digests))
    if len(names) == 1:
        return names[0]
    return "sha256:" + hashlib.sha256(canonical([*names])).hexdigest()


class _Family:
    """A document and its ancestors, each once, in the order in which their rules count."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.members: list[PolicyDocument] = []
        self.parts: dict[int, _Parts] = {}
        self.settled: dict[int, dict[Path, Setting]] = {}
        self.findings: list[Finding] = []

    def collect(self, document: PolicyDocument, way: tuple[PolicyDocument, ...]) -> None:
        """Take `document` and all it extends; `way` leads to it."""
        self.members.append(document)
        self.parts[id(document)] = _parts_of(document, is_own=not way)
        if way:
            self.findings += relative_baseline.check(document)
        way = (*way, document)
        for index, name in enumerate(document.model.extends):
            path: Path = ("extends", index)
            parent = self.bundle.baseline(name)
            if parent is None:
                self.findings.append(self._unknown(document, path, name))
            elif any(each is parent for each in way):
                line = " -> ".join([*(each.name for each in way), name])
                problem = f"{name} would extend itself: {line}"
                self.findings.append(document.source.finding("extends-cycle", path, problem=problem))
            elif not any(each is parent for each in self.members):
                self.collect(parent, way)

    def _unknown(self, document: PolicyDocument, path: Path, name: str) -> Finding:
        known = [each.name for each in self.bundle.baselines]
        near = closest(name, known)
        meant = f"did you mean {quoted(near)}?" if near else ""
        suggestion = meant or (f"known: {', '.join(known)}" if known else "no baselines were given")
        problem = f"no baseline is named {quoted(name)}"
        return document.source.finding("unknown-baseline", path, problem=problem, suggestion=suggestion)

    def settle(self, document: PolicyDocument) -> dict[Path, Setting]:
        """The values that hold for `document`: its own, else those that its parents agree on."""
        known = self.settled.get(id(document))
        if known is not None:
            return known
        own = self.parts[id(document)].settings
        found: dict[Path, Setting] = {}
        for index, name in enumerate(document.model.extends):
            parent = cast("PolicyDocument", self.bundle.baseline(name))
            for path, setting in self.settle(parent).items():
                other = found.setdefault(path, setting)
                if other.typed != setting.typed and path not in own:
                    self.findings.append(_conflict(document, index, path, (other, setting)))
        self.settled[id(document)] = own | {path: each for path, each in found.items() if path not in own}
        return self.settled[id(document)]

    def lists(self) -> dict[Path, list[Setting]]:
        """The lists of all members, one behind the other."""
        found: dict[Path, list[Setting]] = {}
        for member in self.members:
            for path, items in self.parts[id(member)].lists.items():
                found.setdefault(path, []).extend(items)
        return found


def _conflict(document: PolicyDocument, index: int, path: Path, both: tuple[Setting, Setting]) -> Finding:
    names = " and ".join(each.origin.name for each in both)
    problem = f"{names} disagree about {dotted(path)}"
    suggestion = "set it in this document"
    return document.source.finding(
        "conflicting-parents", ("extends", index), problem=problem, suggestion=suggestion
    )


def _parts_of(document: PolicyDocument, *, is_own: bool) -> _Parts:
    """What `document` sets by itself."""
    parts = _Parts()
    root = cast("dict[str, object]", document.source.value)
    for name in _SECTIONS:
        if root.get(name) is not None:
            value = getattr(document.model, name)
            _take(parts, Origin(document.name, document.source, (name,), is_own), root[name], value)
    return parts


def _take(parts: _Parts, origin: Origin, raw: object, typed: object) -> None:
    """Take one value of a document, whose place is `origin`; sections are taken apart."""
    path = origin.path
    if isinstance(typed, BaseModel) and isinstance(raw, dict):
        names = {info.alias or name: name for name, info in type(typed).model_fields.items()}
        for key, inner in cast("dict[str, object]", raw).items():
            if inner is not None:
                _take(parts, replace(origin, path=(*path, key)), inner, getattr(typed, names[key]))
    elif isinstance(typed, tuple) and path not in _REPLACED_LISTS:
        items = raw if isinstance(raw, tuple) else (raw,)
        parts.lists.setdefault(path, [])
        for index, (item, value) in enumerate(zip(items, cast("tuple[object, ...]", typed), strict=True)):
            where = origin if items is not raw else replace(origin, path=(*path, index))
            _take_item(parts, path, Setting(where, item, value))
    else:
        parts.settings[path] = Setting(origin, raw, typed)


def _take_item(parts: _Parts, path: Path, item: Setting) -> None:
    if path != _VARIABLES:
        parts.lists[path].append(item)
        return
    # A variable is one value with a name; the same name twice in one document is found by its own check.
    key: Path = (*path, str(getattr(item.typed, "key", "")))
    parts.settings[key if key not in parts.settings else (*key, item.origin.path[-1])] = item


def _merged(document: PolicyDocument, family: _Family, settings: dict[Path, Setting], digest: str) -> Merged:
    source = document.source
    own = cast("dict[str, object]", source.value)
    value: dict[str, object] = {key: own[key] for key in own if key not in _SECTIONS}
    lists = family.lists()
    for path, setting in settings.items():
        if path[: len(_VARIABLES)] == _VARIABLES:
            lists.setdefault(_VARIABLES, []).append(setting)
    single = {path: each for path, each in settings.items() if path[: len(_VARIABLES)] != _VARIABLES}
    origins = dict(_origins(single, lists))
    for path, setting in single.items():
        _put(value, path, setting.raw)
    for path, items in lists.items():
        _put(value, path, tuple(each.raw for each in items))
    return Merged(
        source.file,
        digest,
        source.lines,
        value,
        source.values,
        source.keys,
        MappingProxyType(origins),
    )


def _origins(single: dict[Path, Setting], lists: dict[Path, list[Setting]]) -> Iterator[tuple[Path, Origin]]:
    for path, setting in single.items():
        yield path, setting.origin
    for path, items in lists.items():
        for index, item in enumerate(items):
            yield (*path, index), item.origin


def _put(value: dict[str, object], path: Path, raw: object) -> None:
    *way, last = (str(step) for step in path)
    for step in way:
        value = cast("dict[str, object]", value.setdefault(step, {}))
    value[last] = raw
