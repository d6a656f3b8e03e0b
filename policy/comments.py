"""The comments of a YAML document, and which part of it each belongs to.

The parser drops them, so they are found between the nodes of its tree; `fmt.py` writes them out again. An
end-of-line comment belongs to what stands to the left of it, one on a line of its own to what follows, unless
it is indented as the block that ends before it. INVARIANT: each comment belongs to exactly one part.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.tree import Entry, Node


@dataclass(frozen=True, slots=True)
class Comment:
    """One comment, or a blank line, whose text is empty."""

    start: int
    column: int  # from 0
    text: str
    is_own_line: bool


@dataclass(slots=True)
class Notes:
    """What is written around the parts of a document; an empty text is a blank line.

    `before` and `beside` are of entries, `foot` is of mappings and sequences; all by `id`.
    """

    header: list[str] = field(default_factory=list)
    before: dict[int, list[str]] = field(default_factory=dict)
    beside: dict[int, list[str]] = field(default_factory=dict)
    foot: dict[int, list[str]] = field(default_factory=dict)


def entries_of(root: Node) -> Iterator[tuple[Entry, Node]]:
    """Every entry below `root` with what holds it, in the order of the text; aliases are not followed."""
    for entry in root.entries:
        yield entry, root
        if entry.alias is None:
            yield from entries_of(entry.value)


def comments_of(text: str, root: Node) -> list[Comment]:
    """The comments and the blank lines of `text`, whose tree begins at `root`, in order."""
    found: list[Comment] = []
    here = 0
    for start, end in [*_spans(text, root), (len(text), len(text))]:
        here = max(here, _gap(text, here, start, found))
        if text[start : start + 1] in {"|", ">"}:  # the first line of a block scalar may have one
            _gap(text, start, _line_end(text, start), found)
        here = max(here, end)
    return found


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end


def _spans(text: str, root: Node) -> list[tuple[int, int]]:
    """Where scalars and aliases stand: a number sign in there begins no comment."""
    spans: list[tuple[int, int]] = []
    for entry, _ in entries_of(root):
        if entry.key is not None:
            spans.append((entry.key.start, entry.key.end))
        if entry.alias is not None:
            spans.append(entry.alias)
        elif entry.value.kind == "scalar":
            start, end = entry.value.start, entry.value.end
            is_block = entry.value.style in {"|", ">"}
            spans.append((start, start + len(text[start:end].rstrip()) if is_block else end))
    return sorted(spans)


def _gap(text: str, start: int, end: int, found: list[Comment]) -> int:
    """Keep the comments and blank lines from `start` on; gives where the last one ended."""
    at = start
    while at < end:
        line_end = _line_end(text, at)
        line_start = text.rfind("\n", 0, at) + 1
        mark = text.find("#", at, min(end, line_end))
        if mark >= 0:
            is_own_line = not text[line_start:mark].strip()
            comment = text[mark:line_end].rstrip()
            found.append(Comment(mark, mark - line_start, comment, is_own_line))
            if line_end >= end:
                return line_end
        elif at == line_start and line_end < end and not text[at:line_end].strip():
            found.append(Comment(at, 0, "", is_own_line=True))
        at = line_end + 1
    return min(at, end)


def attach(text: str, root: Node) -> Notes:
    """Say for each comment of `text` what it belongs to."""
    return _Attaching(text, root).notes()


class _Attaching:
    """The entries of a document by where they start and end."""

    def __init__(self, text: str, root: Node) -> None:
        self.text = text
        self.root = root
        self.found = Notes()
        pairs = sorted(entries_of(root), key=lambda pair: pair[0].start)
        self.entries = [entry for entry, _ in pairs]
        self.starts = [entry.start for entry in self.entries]
        self.holder = {id(entry): node for entry, node in pairs}
        self.owner = {id(entry.value): entry for entry in self.entries if entry.alias is None}
        self.anchors = sorted(_anchors(self.entries))
        self.anchor_starts = [index for index, _ in self.anchors]
        nodes = [root, *(entry.value for entry in self.entries if entry.alias is None)]
        self.flows = sorted((node.start, -node.end, node) for node in nodes if node.is_flow)

    def notes(self) -> Notes:
        comments = comments_of(self.text, self.root)
        inside = self._flows_around([comment.start for comment in comments])
        own = [(each, flow) for each, flow in zip(comments, inside, strict=True) if each.is_own_line]
        for index, (comment, flow) in enumerate(own):
            if comment.text:
                _append(self._place(comment, flow), comment.text)
            elif flow is None:
                follower = next((each for each, _ in own[index + 1 : index + 2]), None)
                following = self._next(comment.start)
                limit = following.start if following else len(self.text)
                if follower is not None and follower.start < limit and follower.text:
                    _append(self._place(follower, None), "")
                elif following is not None and (follower is None or follower.start > limit):
                    _append(self._before(following), "")
        for comment in comments:
            if not comment.is_own_line:
                self._beside(comment)
        return self.found

    def _flows_around(self, starts: list[int]) -> list[Node | None]:
        """For each place, the innermost brackets around it."""
        around: list[Node | None] = []
        stack: list[Node] = []
        waiting = list(reversed(self.flows))
        for start in starts:
            while waiting and waiting[-1][0] < start:
                stack.append(waiting.pop()[2])
                while len(stack) > 1 and stack[-2].end <= stack[-1].start:
                    del stack[-2]
            while stack and stack[-1].end <= start:
                stack.pop()
            around.append(stack[-1] if stack else None)
        return around

    def _next(self, index: int) -> Entry | None:
        at = bisect_left(self.starts, index)
        return self.entries[at] if at < len(self.entries) else None

    def _before(self, entry: Entry) -> list[str]:
        if entry is self.entries[0]:
            return self.found.header
        return self.found.before.setdefault(id(entry), [])

    def _foot(self, node: Node) -> list[str]:
        owner = self.owner.get(id(node))
        if not node.entries and owner is not None:
            return self._before(owner)
        return self.found.foot.setdefault(id(node), [])

    def _place(self, comment: Comment, flow: Node | None) -> list[str]:
        """Where a comment on a line of its own belongs."""
        following = self._next(comment.start)
        if flow is not None:
            is_inside = following is not None and following.start < flow.end
            return self._before(following) if following and is_inside else self._foot(flow)
        if following is not None and comment.column <= self._column(following):
            return self._before(following)
        held = set(self._holders(following)) if following else set[int]()
        at = bisect_left(self.starts, comment.start)
        node = self.holder[id(self.entries[at - 1])] if at else self.root
        while id(node) not in held:
            if not node.is_flow and node.column - 1 <= comment.column:
                return self._foot(node)
            owner = self.owner.get(id(node))
            if owner is None:
                break
            node = self.holder[id(owner)]
        return self._before(following) if following else self._foot(self.root)

    def _column(self, entry: Entry) -> int:
        return self.holder[id(entry)].column - 1

    def _holders(self, entry: Entry) -> Iterator[int]:
        """What holds `entry`, and what holds that, and so on, by `id`."""
        owner: Entry | None = entry
        while owner is not None:
            node = self.holder[id(owner)]
            yield id(node)
            owner = self.owner.get(id(node))

    def _beside(self, comment: Comment) -> None:
        at = bisect_right(self.anchor_starts, comment.start) - 1
        index, number = self.anchors[at] if at >= 0 else (-1, 0)
        if index >= 0 and "\n" not in self.text[index : comment.start]:
            _append(self.found.beside.setdefault(id(self.entries[number]), []), comment.text)
        else:
            _append(self._place(comment, None), comment.text)


def _append(texts: list[str], text: str) -> None:
    if text or not texts or texts[-1]:
        texts.append(text)


def _anchors(entries: list[Entry]) -> Iterator[tuple[int, int]]:
    """The places to the left of an end-of-line comment that say whose it is, each with an entry's number."""
    for number, entry in enumerate(entries):
        value = entry.value
        if entry.key is not None:
            yield entry.key.end, number
        if entry.alias is not None:
            yield entry.alias[1], number
        elif value.is_flow or value.style in {"|", ">"}:
            yield value.start + 1, number
        if entry.alias is None and (
            value.is_flow or (value.kind == "scalar" and value.style not in {"|", ">"})
        ):
            yield value.end, number
