"""YAML text, read into plain values that remember where each one stood.

The only file that imports the YAML library, and of that only the parser, which yields events; what they
build is in `tree.py`, and what the values mean is said in `schema.py`. JSON works too, since it is YAML.
Whatever the text holds, reading it ends soon, with values or with findings that carry a position, and no
scalar is ever guessed to be a number, a time or a boolean.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, cast

from yaml import YAMLError  # type: ignore[import-untyped]  # ships no types
from yaml.cyaml import CParser  # type: ignore[import-untyped]  # as above

from policy.errors import PolicyError, quoted, shown
from policy.places import Source, Spot
from policy.text import MAX_ALIASES, MAX_DEPTH, MAX_NODES, decode
from policy.toml import read_toml
from policy.tree import Entry, Findings, Kind, Node, Values

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Mark(Protocol):
    """A place in the text; everything counts from 0."""

    index: int
    line: int
    column: int


class _Event(Protocol):
    """What the parser says; each kind of event has some of these."""

    start_mark: _Mark
    end_mark: _Mark
    value: str
    style: str | None
    flow_style: bool
    tag: str | None
    anchor: str | None


def load_source(text: bytes, *, file: str) -> Source:
    """Read one document: TOML when `file` ends in `.toml`, else YAML, which JSON is too.

    Raises:
        PolicyError: with every fault of the text that could be found.
    """
    decoded, lines = decode(text, file)
    findings = Findings(file, lines)
    root = read_toml(decoded, findings) if file.endswith(".toml") else _Reader(findings).read(decoded)
    values = Values(findings)
    value = values.of(root)
    if findings.found:
        raise PolicyError(tuple(findings.found))
    return Source(
        file=file,
        digest="sha256:" + hashlib.sha256(text).hexdigest(),
        lines=lines,
        value=value,
        values=MappingProxyType(values.values),
        keys=MappingProxyType(values.keys),
    )


def load_tree(text: bytes, *, file: str) -> tuple[str, Node]:
    """The text of a YAML document as its nodes count it, and the root of its tree.

    Raises:
        PolicyError: as `load_source`.
    """
    decoded, lines = decode(text, file)
    findings = Findings(file, lines)
    root = _Reader(findings).read(decoded)
    if findings.found:
        raise PolicyError(tuple(findings.found))
    return decoded, root


@dataclass(slots=True)
class _Open:
    """A mapping or a sequence whose end was not read yet."""

    node: Node
    entries: list[Entry] = field(default_factory=list)
    key: Node | None = None  # waits for its value


class _Reader:
    """Builds the tree from the parser's events, one node at a time and without recursion."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.anchors: dict[str, Node] = {}
        self.anchors_seen = 0
        self.aliases = 0
        self.documents = 0
        self.nodes = 0
        self.stack: list[_Open] = []
        self.root: Node | None = None

    def read(self, text: str) -> Node:
        """Read the whole text; a syntax error ends it."""
        self._check_directives()
        try:
            for event in _events(text):
                self._take(event)
        except YAMLError as err:
            mark = cast(
                "_Mark | None", getattr(err, "problem_mark", None) or getattr(err, "context_mark", None)
            )
            spot = Spot(mark.line + 1, mark.column + 1) if mark else Spot(1, 1)
            raise self.findings.stop("syntax", spot, problem=f"not valid YAML: {_said(err)}") from None
        if self.root is None:
            raise self.findings.stop("empty", Spot(1, 1), expected="a policy document", found="nothing")
        return self.root

    def _check_directives(self) -> None:
        # SECURITY: the parser compares each %TAG line with all before it, which takes quadratic time; nothing
        # else in a mapping begins a line with a percent sign.
        for number, line in enumerate(self.findings.lines, 1):
            if line.startswith("%"):
                problem = "directives (lines that start with %) are not read"
                raise self.findings.stop("directive", Spot(number, 1), problem=problem)

    def _take(self, event: _Event) -> None:
        match type(event).__name__:
            case "ScalarEvent":
                node = _node("scalar", event)
                node.text, node.style = event.value, event.style or ""
                self._check_node(event, node)
                self._place(node)
            case "AliasEvent":
                self._place(self._alias(event), (event.start_mark.index, event.end_mark.index))
            case "MappingStartEvent" | "SequenceStartEvent" as name:
                node = _node("mapping" if name == "MappingStartEvent" else "sequence", event)
                node.is_flow = event.flow_style
                self._check_node(event, node)
                self._place(node)
                self._open(node)
            case "MappingEndEvent" | "SequenceEndEvent":
                self._close(event.end_mark.index)
            case "DocumentStartEvent":
                self.documents += 1
                if self.documents > 1:
                    problem = "more than one document in the file"
                    raise self.findings.stop("several-documents", _spot(event), problem=problem)
            case _:
                return

    def _open(self, node: Node) -> None:
        node.is_open = True
        self.stack.append(_Open(node))
        if len(self.stack) > MAX_DEPTH:
            problem = f"nested more than {MAX_DEPTH} levels deep"
            raise self.findings.stop("too-deep", node.spot, problem=problem)

    def _close(self, index: int) -> None:
        top = self.stack.pop()
        node, node.entries = top.node, top.entries
        node.is_open = False
        if node.is_flow:
            node.end = index
        elif top.entries:  # the parser says where the next thing begins
            node.end = top.entries[-1].end

    def _check_node(self, event: _Event, node: Node) -> None:
        if event.tag is not None:
            problem = f"tags such as {quoted(str(event.tag))} are not read"
            self.findings.report("tag", node.spot, problem=problem)
        if event.anchor is not None:
            self.anchors_seen += 1
            if self.anchors_seen > MAX_ALIASES:
                problem = f"more than {MAX_ALIASES} anchors"
                raise self.findings.stop("too-many-aliases", node.spot, problem=problem)
            self.anchors[event.anchor] = node

    def _alias(self, event: _Event) -> Node:
        spot = _spot(event)
        self.aliases += 1
        if self.aliases > MAX_ALIASES:
            raise self.findings.stop("too-many-aliases", spot, problem=f"more than {MAX_ALIASES} aliases")
        target = self.anchors.get(str(event.anchor))
        if target is None or target.is_open:
            problem = f"the alias {quoted(str(event.anchor))} names nothing that stands before it"
            raise self.findings.stop("bad-alias", spot, problem=problem)
        return target

    def _place(self, node: Node, alias: tuple[int, int] | None = None) -> None:
        if not self.stack:
            self.root = node
            return
        top = self.stack[-1]
        if top.key is None and top.node.kind == "mapping":
            if alias:
                self.findings.report("bad-key", node.spot, expected="a word as the key", found="an alias")
            top.key = node
            return
        top.entries.append(Entry(top.key, node, alias))
        top.key = None
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise self.findings.stop("too-large", node.spot, problem=f"more than {MAX_NODES} values")


def _events(text: str) -> Iterator[_Event]:
    """The parser's events, one by one, so that nothing is built before it is counted."""
    parser = CParser(text)
    try:
        while parser.check_event():
            yield cast("_Event", parser.get_event())
    finally:
        parser.dispose()


def _node(kind: Kind, event: _Event) -> Node:
    start = event.start_mark
    return Node(kind, start.line + 1, start.column + 1, start.index, event.end_mark.index)


def _spot(event: _Event) -> Spot:
    mark = event.start_mark
    return Spot(mark.line + 1, mark.column + 1)


def _said(err: YAMLError) -> str:
    parts = (getattr(err, "context", None), getattr(err, "problem", None))
    text = " ".join(str(part) for part in parts if part)
    return shown(text or str(err).split("\n", 1)[0])
