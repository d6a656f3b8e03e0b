"""YAML text, read into plain values that remember where each one stood.

The only file that imports the YAML library; what the values mean is said in `schema.py`. JSON
works too, since it is YAML. Whatever the text holds, reading it ends soon, with values or with
findings that carry a position, and no scalar is ever guessed to be a number, a time or a boolean.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from policy.errors import Finding, PolicyError, dotted, quoted, shown
from policy.places import Path, Plain, Source, Spot, finding_at

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES = 1_048_576
MAX_DEPTH = 64
MAX_ALIASES = 16
MAX_LINE = 65_536  # characters; the parser needs quadratic time for some longer lines
MAX_NODES = 100_000  # after aliases are written out; 10,000 rules need about 80,000
MAX_FINDINGS = 100


@dataclass(slots=True)
class _Node:
    """One node of the tree; `entries` of a mapping are pairs, of a sequence single nodes."""

    kind: str  # "scalar", "mapping", "sequence"
    spot: Spot
    text: str = ""
    is_plain: bool = False
    entries: list[tuple[_Node | None, _Node]] = field(default_factory=list)
    is_open: bool = True
    pending: _Node | None = None


def load_source(text: bytes, *, file: str) -> Source:
    """Read one YAML document.

    Raises:
        PolicyError: with every fault of the text that could be found.
    """
    decoded = _decode(text, file)
    lines = tuple(decoded.split("\n"))
    reader = _Reader(file, lines)
    root = reader.read(decoded)
    flat = _Flattener(reader)
    value = flat.flatten(root, (), 1)
    if reader.findings:
        raise PolicyError(tuple(reader.findings))
    return Source(
        file=file,
        digest="sha256:" + hashlib.sha256(text).hexdigest(),
        lines=lines,
        value=value,
        values=MappingProxyType(flat.values),
        keys=MappingProxyType(flat.keys),
    )


def _decode(text: bytes, file: str) -> str:
    if len(text) > MAX_BYTES:
        problem = f"the document is {len(text)} bytes long, more than the {MAX_BYTES} that are read"
        raise PolicyError((Finding("too-large", file, 0, 0, "", problem=problem),))
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as err:
        before = text[: err.start]
        spot = Spot(before.count(b"\n") + 1, err.start - (before.rfind(b"\n") + 1) + 1)
        found = f"the byte 0x{text[err.start]:02x}"
        parts = {"expected": "text in UTF-8", "found": found}
        raise PolicyError((finding_at(file, (), spot, "not-utf-8", **parts),)) from None
    return decoded.removeprefix("\ufeff").replace("\r\n", "\n")


class _Reader:
    """Builds the tree from the parser's events, one node at a time and without recursion."""

    def __init__(self, file: str, lines: tuple[str, ...]) -> None:
        self.file = file
        self.lines = lines
        self.findings: list[Finding] = []
        self.anchors: dict[str, _Node] = {}
        self.anchors_seen = 0
        self.aliases = 0
        self.nodes = 0
        self.stack: list[_Node] = []
        self.root: _Node | None = None

    def report(self, rule: str, spot: Spot, **parts: str) -> None:
        """Keep a finding; too many of them end the reading."""
        self.findings.append(finding_at(self.file, self.lines, spot, rule, **parts))
        if len(self.findings) >= MAX_FINDINGS:
            raise PolicyError(tuple(self.findings))

    def stop(self, rule: str, spot: Spot, **parts: str) -> PolicyError:
        """Report a fault that leaves nothing to read after it."""
        return PolicyError((*self.findings, finding_at(self.file, self.lines, spot, rule, **parts)))

    def read(self, text: str) -> _Node:
        """Read the whole text; a syntax error ends it."""
        self._check_lines()
        documents = 0
        try:
            # SECURITY: the pure parser yields events one by one, so nothing is built before it is counted.
            for event in YAML(typ="safe", pure=True).parse(text):
                if isinstance(event, DocumentStartEvent):
                    documents += 1
                    self._check_document(event, documents)
                else:
                    self._take(event)
        except MarkedYAMLError as err:
            mark = err.problem_mark or err.context_mark
            spot = Spot(mark.line + 1, mark.column + 1) if mark else Spot(1, 1)
            raise self.stop("syntax", spot, problem=f"not valid YAML: {_said(err)}") from None
        except (YAMLError, ValueError, IndexError, RecursionError) as err:
            spot = _control_character(self.lines) or Spot(1, 1)
            raise self.stop("syntax", spot, problem=f"not valid YAML: {shown(_first_line(err))}") from None
        if self.root is None:
            raise self.stop("empty", Spot(1, 1), expected="a policy document", found="nothing")
        return self.root

    def _check_lines(self) -> None:
        for number, line in enumerate(self.lines, 1):
            if "\0" in line:
                at = Spot(number, line.index("\0") + 1)
                raise self.stop("nul", at, expected="text", found="a NUL byte")
            if len(line) > MAX_LINE:
                raise self.stop(
                    "too-large", Spot(number, 1), problem=f"a line longer than {MAX_LINE} characters"
                )

    def _check_document(self, event: DocumentStartEvent, number: int) -> None:
        if number > 1:
            raise self.stop("several-documents", _spot(event), problem="more than one document in the file")
        if event.version or event.tags:
            self.report(
                "directive", _spot(event), problem="directives (lines that start with %) are not read"
            )

    def _take(self, event: object) -> None:
        match event:
            case ScalarEvent():
                node = _Node("scalar", _spot(event), text=event.value or "", is_open=False)
                node.is_plain = event.style is None or event.style == ""
                self._check_node(event, node)
                self._place(node)
            case AliasEvent():
                self._place(self._alias(event))
            case MappingStartEvent() | SequenceStartEvent():
                kind = "mapping" if isinstance(event, MappingStartEvent) else "sequence"
                node = _Node(kind, _spot(event))
                self._check_node(event, node)
                self._place(node)
                self.stack.append(node)
                if len(self.stack) > MAX_DEPTH:
                    problem = f"nested more than {MAX_DEPTH} levels deep"
                    raise self.stop("too-deep", node.spot, problem=problem)
            case MappingEndEvent() | SequenceEndEvent():
                self.stack.pop().is_open = False
            case _:
                pass

    def _check_node(self, event: ScalarEvent | MappingStartEvent | SequenceStartEvent, node: _Node) -> None:
        if event.tag is not None:
            self.report("tag", node.spot, problem=f"tags such as {quoted(str(event.tag))} are not read")
        if event.anchor is not None:
            self.anchors_seen += 1
            if self.anchors_seen > MAX_ALIASES:
                raise self.stop("too-many-aliases", node.spot, problem=f"more than {MAX_ALIASES} anchors")
            self.anchors[str(event.anchor)] = node

    def _alias(self, event: AliasEvent) -> _Node:
        spot = _spot(event)
        self.aliases += 1
        if self.aliases > MAX_ALIASES:
            raise self.stop("too-many-aliases", spot, problem=f"more than {MAX_ALIASES} aliases")
        target = self.anchors.get(str(event.anchor))
        if target is None or target.is_open:
            said = quoted(str(event.anchor))
            raise self.stop(
                "bad-alias", spot, problem=f"the alias {said} names nothing that stands before it"
            )
        return target

    def _place(self, node: _Node) -> None:
        self.nodes += 1
        if self.nodes > 2 * MAX_NODES:  # keys count here
            raise self.stop("too-large", node.spot, problem=f"more than {MAX_NODES} values")
        if not self.stack:
            self.root = node
            return
        parent = self.stack[-1]
        if parent.kind == "sequence":
            parent.entries.append((None, node))
        elif parent.pending is None:
            parent.pending = node
        else:
            parent.entries.append((parent.pending, node))
            parent.pending = None


class _Flattener:
    """Turns the tree into values and places, writing aliases out."""

    def __init__(self, reader: _Reader) -> None:
        self.reader = reader
        self.values: dict[Path, Spot] = {}
        self.keys: dict[Path, Spot] = {}
        self.nodes = 0

    def flatten(self, node: _Node, path: Path, depth: int) -> object:
        """The value of `node`, which stands at `path`."""
        self.nodes += 1
        if self.nodes > MAX_NODES:
            problem = f"more than {MAX_NODES} values once aliases are written out"
            raise self.reader.stop("too-large", node.spot, problem=problem)
        if depth > MAX_DEPTH:
            raise self.reader.stop("too-deep", node.spot, problem=f"nested more than {MAX_DEPTH} levels deep")
        self.values[path] = node.spot
        if node.kind == "scalar":
            if not node.is_plain:
                return node.text
            return None if node.text in {"", "null", "~"} else Plain(node.text)
        if node.kind == "sequence":
            return tuple(
                self.flatten(child, (*path, index), depth + 1)
                for index, (_, child) in enumerate(node.entries)
            )
        return dict(self._pairs(node, path, depth))

    def _pairs(self, node: _Node, path: Path, depth: int) -> Iterator[tuple[str, object]]:
        seen: set[str] = set()
        for key, child in node.entries:
            if key is None or key.kind != "scalar":
                spot = key.spot if key else node.spot
                self.reader.report("bad-key", spot, field=dotted(path), expected="a word as the key")
                continue
            here = (*path, key.text)
            if key.text in seen:
                first = self.keys[here].line
                problem = (
                    f"the key {quoted(key.text)} stands here for the second time (first in line {first})"
                )
                self.reader.report("duplicate-key", key.spot, field=dotted(here), problem=problem)
                continue
            seen.add(key.text)
            self.keys[here] = key.spot
            yield key.text, self.flatten(child, here, depth + 1)


def _spot(
    event: ScalarEvent | AliasEvent | MappingStartEvent | SequenceStartEvent | DocumentStartEvent,
) -> Spot:
    mark = event.start_mark
    return Spot(mark.line + 1, mark.column + 1)


def _said(err: MarkedYAMLError) -> str:
    return shown(" ".join(part for part in (err.context, err.problem) if part))


def _first_line(err: Exception) -> str:
    return (str(err) or type(err).__name__).split("\n", 1)[0]


def _control_character(lines: tuple[str, ...]) -> Spot | None:
    for number, line in enumerate(lines, 1):
        for column, char in enumerate(line, 1):
            if not char.isprintable() and char not in "\t\x85\ufeff":
                return Spot(number, column)
    return None
