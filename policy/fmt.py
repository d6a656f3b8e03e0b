"""A document written in its canonical form, with the comments that it has.

What belongs to which part is found out in `comments.py`; reading is in `source.py`. INVARIANT: what comes out
says the same as what went in, has the same comments, and comes out unchanged when it goes in again: the first
two are checked on each document, and one that fails is not given out.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, cast, get_args

from pydantic import BaseModel

from policy.comments import attach, comments_of
from policy.document import MODELS, kind_of, load_any
from policy.scalars import key_text, scalar_lines, scalar_text
from policy.source import load_tree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policy.comments import Notes
    from policy.tree import Entry, Node

WIDTH = 100
"""Columns that a mapping or a list on one line may take."""

_FIRST = ("version", "kind", "metadata", "match", "extends", "mode", "when_unenforceable")
_ACCESS = ("read", "list", "create", "write", "append", "delete", "symlink")
_SORTED = ("access", "ports")
_STEP = 2


class FormatError(Exception):
    """A document can't be written in its canonical form without changing it: a fault of ours."""

    def __init__(self, file: str, problem: str) -> None:
        """Keep which document it is."""
        super().__init__(f"{file}: {problem} while it was formatted; please report this")


def format_document(text: bytes, *, file: str) -> str:
    """The canonical text of a YAML document of any kind.

    Raises:
        PolicyError: when it is no document of ours.
        FormatError: never, unless there is a fault in here.
    """
    document = load_any(text, file=file)
    decoded, root = load_tree(text, file=file)
    notes, model = attach(decoded, root), MODELS[kind_of(document.source)]
    _settle(notes, root, model)
    written = _Writer(notes).document(root, model)
    again, new_root = load_tree(written.encode(), file=file)
    if _unordered(load_any(written.encode(), file=file).model) != _unordered(document.model):
        raise FormatError(file, "a value changed")
    if _comments(again, new_root) != _comments(decoded, root):
        raise FormatError(file, "a comment was lost or doubled")
    return written


def _unordered(model: BaseModel) -> object:
    """The values of a document, with the lists in order whose order means nothing."""
    return _without_order(model.model_dump(), "")


def _without_order(value: object, key: str) -> object:
    match value:
        case dict():
            pairs = cast("dict[str, object]", value).items()
            return {name: _without_order(each, name) for name, each in pairs}
        case tuple() if key in _SORTED:
            return sorted(map(str, cast("tuple[object, ...]", value)))
        case tuple():
            return [_without_order(each, "") for each in cast("tuple[object, ...]", value)]
        case _:
            return value


def _comments(text: str, root: Node) -> Counter[str]:
    return Counter(each.text for each in comments_of(text, root) if each.text)


def _settle(notes: Notes, node: Node, model: type[BaseModel] | None) -> None:
    """Move the comments that can't be written where they stand to where they will be read the next time.

    Only one fits beside an entry. Nothing fits between a dash and what follows it.
    """
    for entry in node.entries:
        beside = notes.beside.get(id(entry), [])
        for text in beside[1:]:
            notes.before.setdefault(id(entry), []).append(text)
        del beside[1:]
        if entry.alias is not None:
            continue
        inner = field_model(model, entry.key.text) if entry.key else model
        _settle(notes, entry.value, inner)
        if entry.key is None and entry.value.entries:
            ordered = _ordered(entry.value, inner) if entry.value.kind == "mapping" else entry.value.entries
            above = [text for text in notes.before.pop(id(ordered[0]), []) if text]
            if above:
                notes.before.setdefault(id(entry), []).extend(above)


class _Writer:
    """Writes nodes as lines; a `model` is the schema of a mapping, None where keys are free."""

    def __init__(self, notes: Notes) -> None:
        self.notes = notes
        self.copies = 0  # how many aliases are being written out: comments stand at the original only

    def document(self, root: Node, model: type[BaseModel]) -> str:
        """The whole text."""
        lines = [*_stripped(self.notes.header), *self._mapping(root, 0, model), *self._foot(root, 0)]
        while lines and not lines[-1]:
            lines.pop()
        return "".join(f"{line}\n" for line in lines)

    def _mapping(self, node: Node, indent: int, model: type[BaseModel] | None) -> list[str]:
        lines: list[str] = []
        for number, entry in enumerate(_ordered(node, model)):
            before = self._before(entry, indent)
            lines += before if number else _stripped(before)
            key = entry.key.text if entry.key else ""
            prefix = f"{' ' * indent}{key_text(entry.key)}:" if entry.key else ""
            lines += self._value(entry, indent, prefix, field_model(model, key), sorting=_sorting(key, model))
        return lines

    def _sequence(self, node: Node, indent: int, model: type[BaseModel] | None, sorting: str) -> list[str]:
        lines: list[str] = []
        for number, entry in enumerate(_sorted(node.entries, sorting)):
            item = self._value(entry, indent, f"{' ' * indent}-", model, sorting="")
            before = self._before(entry, indent)
            lines += before if number else _stripped(before)
            lines += item
        return lines

    def _value(
        self, entry: Entry, indent: int, prefix: str, model: type[BaseModel] | None, *, sorting: str
    ) -> list[str]:
        self.copies += entry.alias is not None
        try:
            return self._written(entry, indent, prefix, model, sorting=sorting)
        finally:
            self.copies -= entry.alias is not None

    def _written(
        self, entry: Entry, indent: int, prefix: str, model: type[BaseModel] | None, *, sorting: str
    ) -> list[str]:
        node = entry.value
        is_item = entry.key is None
        beside = self._beside(entry)
        if node.kind == "scalar":
            if node.is_null and not is_item:
                return [prefix + beside]
            first, *rest = scalar_lines(node, prefix, indent + _STEP, WIDTH)
            return [first + beside, *rest]
        if not self._has_comments(node) and _may_flow(node, is_item=is_item):
            line = f"{prefix} {self._flow(node, model, sorting)}"
            if len(line) <= WIDTH or not node.entries:
                return [line + beside]
        inner = indent + _STEP
        if node.kind == "sequence":
            body = self._sequence(node, inner, model, sorting)
        else:
            body = self._mapping(node, inner, model)
        body += self._foot(node, inner)
        if not is_item:
            return [prefix + beside, *body]
        return self._as_item(prefix, body, beside.strip())

    def _as_item(self, prefix: str, body: list[str], beside: str) -> list[str]:
        """`body` with the dash in its first line; a comment beside the dash goes above it."""
        indent = " " * (len(prefix) - 1)
        above = [indent + beside] if beside else []
        return [*above, f"{prefix} {body[0].lstrip()}", *body[1:]]

    def _flow(self, node: Node, model: type[BaseModel] | None, sorting: str = "") -> str:
        if node.kind == "scalar":
            return scalar_text(node, is_flow=True)
        if node.kind == "sequence":
            values = [entry.value for entry in _sorted(node.entries, sorting)]
            parts = [self._flow(value, model) for value in values]
            if any(part.startswith('"') for part in parts):  # one quoted, all quoted
                parts = [
                    scalar_text(value, is_flow=True, is_quoted=True) if value.kind == "scalar" else part
                    for value, part in zip(values, parts, strict=True)
                ]
            return f"[{', '.join(parts)}]"
        pairs: list[str] = []
        for entry in _ordered(node, model):
            key = entry.key.text if entry.key else ""
            value = self._flow(entry.value, field_model(model, key), _sorting(key, model))
            pairs.append(f"{key_text(entry.key, is_flow=True) if entry.key else ''}: {value}")
        return f"{{{', '.join(pairs)}}}"

    def _before(self, entry: Entry, indent: int) -> list[str]:
        texts = [] if self.copies else self.notes.before.get(id(entry), [])
        return [" " * indent + text if text else "" for text in texts]

    def _beside(self, entry: Entry) -> str:
        is_copy = self.copies > (entry.alias is not None)
        texts = [] if is_copy else self.notes.beside.get(id(entry), [])
        return f" {texts[0]}" if texts else ""

    def _foot(self, node: Node, indent: int) -> list[str]:
        texts = [] if self.copies else self.notes.foot.get(id(node), [])
        return [" " * indent + text if text else "" for text in texts]

    def _has_comments(self, node: Node) -> bool:
        if self.copies:
            return False
        notes = self.notes
        if any(notes.foot.get(id(node), [])):
            return True
        return any(
            any(notes.before.get(id(entry), []))
            or id(entry) in notes.beside
            or (entry.alias is None and self._has_comments(entry.value))
            for entry in node.entries
        )


def _may_flow(node: Node, *, is_item: bool) -> bool:
    """Say whether `node` may stand on one line, if it is short enough."""
    values = [entry.value for entry in node.entries]
    if any(value.kind == "scalar" and "\n" in value.text for value in values):
        return False
    if node.kind == "sequence":
        return all(value.kind == "scalar" for value in values)
    is_leaf = all(
        value.kind == "scalar" or (value.kind == "sequence" and _may_flow(value, is_item=False))
        for value in values
    )
    return (is_item and is_leaf) or node.is_flow


def _stripped(lines: list[str]) -> list[str]:
    """`lines` without blank ones at the start."""
    while lines and not lines[0]:
        lines = lines[1:]
    return lines


def _ordered(node: Node, model: type[BaseModel] | None) -> list[Entry]:
    """The pairs of a mapping in the order of the schema; where keys are free, as they stand."""
    if model is None:
        return list(node.entries)
    keys = [field.alias or name for name, field in model.model_fields.items()]
    first = [key for key in _FIRST if key in keys] if "version" in keys else []
    order = {key: number for number, key in enumerate([*first, *(key for key in keys if key not in first)])}
    return sorted(node.entries, key=lambda entry: order.get(entry.key.text if entry.key else "", len(order)))


def _sorting(key: str, model: type[BaseModel] | None) -> str:
    return key if model is not None and key in _SORTED else ""


def _sorted(entries: Sequence[Entry], sorting: str) -> list[Entry]:
    """The items of a list whose order means nothing, in their usual order; of others, as they stand."""
    if not sorting:
        return list(entries)
    return sorted(entries, key=lambda entry: _rank(entry.value.text, sorting))


def _rank(text: str, sorting: str) -> tuple[int, str]:
    if sorting == "access":
        return (_ACCESS.index(text) if text in _ACCESS else len(_ACCESS), "")
    first = text.partition("-")[0]
    return (int(first) if first.isdecimal() else 2**16, text)


def field_model(model: type[BaseModel] | None, key: str) -> type[BaseModel] | None:
    """The schema of the mapping, or of the mappings in the list, that stands under `key`."""
    if model is None:
        return None
    for name, field in model.model_fields.items():
        if (field.alias or name) == key:
            return _model_in(field.annotation)
    return None


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in cast("tuple[object, ...]", get_args(annotation)):
        found = _model_in(inner)
        if found is not None:
            return found
    return None
