"""Globs over path segments, parsed into pieces.

What is matched against them lives in `nfa.py`; which fields hold one is said in `schema.py`.
A glob that could be read in two ways is an error, so that nobody grants what they did not mean.

`*` is any text within a segment, `?` one character, `[a-z]` one of a set, `[!a-z]` one outside
it, and `**`, which must be a whole segment, any number of segments, none included.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from policy.placeholders import PlaceholderError, check_placeholders, placeholder_at

SLASH: Final = 0x2F
MAX_PATH = 4_096  # bytes: Linux PATH_MAX


class GlobError(ValueError):
    """A text is not a glob, or not a path; says what was expected and what to write instead."""

    def __init__(self, expected: str, suggestion: str = "") -> None:
        """Keep what was `expected` and a corrected text, where one is likely."""
        self.expected = expected
        self.suggestion = suggestion
        super().__init__(expected)


@dataclass(frozen=True, slots=True)
class Literal:
    """Exactly these bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Star:
    """Any bytes but a slash, none included."""


@dataclass(frozen=True, slots=True)
class AnyCharacter:
    """One character of UTF-8, but no slash."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """One character: an ASCII one in `ranges`; any other one too where `or_wide` says so."""

    ranges: tuple[tuple[int, int], ...]
    or_wide: bool


@dataclass(frozen=True, slots=True)
class DoubleStar:
    """Any number of whole segments; stands alone in its segment."""


Piece = Literal | Star | AnyCharacter | OneOf
Segment = tuple[Piece, ...] | DoubleStar
Glob = tuple[Segment, ...]

_WILD = re.compile(r"[*?\[]")


def has_wildcard(text: str) -> bool:
    """Say whether `text` holds a character that a glob gives a meaning to."""
    return bool(_WILD.search(text))


def check_path_text(text: str) -> None:
    """Refuse what no path of a policy may hold, wildcards or not.

    Raises:
        GlobError: for an empty path, a NUL, a text not in NFC, or one that is too long.
    """
    if not text:
        raise GlobError("a path, not an empty text")
    if "\0" in text:
        raise GlobError("a path without a NUL byte")
    composed = unicodedata.normalize("NFC", text)
    if composed != text:
        raise GlobError("a path in Unicode normal form C", composed)
    if len(text.encode()) >= MAX_PATH:
        raise GlobError(f"a path shorter than {MAX_PATH} bytes")


def check_dollars(text: str) -> None:
    """Refuse a `${…}` that is not one of the closed set; these are literal text until they are replaced.

    Raises:
        GlobError: with the text as it was probably meant.
    """
    try:
        check_placeholders(text)
    except PlaceholderError as err:
        raise GlobError(err.expected, err.suggestion) from None


def check_segments(segments: list[str], whole: str) -> None:
    """Refuse empty segments, `.` and `..`.

    Raises:
        GlobError: with the path as it should be written, where that is plain.
    """
    for segment in segments:
        if segment == "":
            raise GlobError("a path without empty segments", re.sub(r"/{2,}", "/", whole).rstrip("/"))
        if segment in {".", ".."}:
            raise GlobError(f"a path without `{segment}` segments")


def parse_relative(text: str) -> Glob:
    """A glob of `include` or `exclude`, which is relative to the rule's root.

    Raises:
        GlobError: when it isn't one.
    """
    check_path_text(text)
    if text.startswith("/"):
        raise GlobError("a glob relative to the rule's root, without a slash in front", text.lstrip("/"))
    if text.startswith("!"):
        raise GlobError("a glob without `!`: use `exclude`", text[1:])
    if text.endswith("/"):
        raise GlobError("a glob that does not end in a slash", text.rstrip("/") + "/**")
    return parse_glob(text)


def parse_glob(text: str) -> Glob:
    """The segments of `text`, which has no slash at either end.

    Raises:
        GlobError: when a segment is no glob.
    """
    raw = split_segments(text)
    check_segments(raw, text)
    segments: list[Segment] = []
    for index, part in enumerate(raw):
        try:
            segment = _parse_segment(part)
        except GlobError as err:
            corrected = [*raw[:index], err.suggestion, *raw[index + 1 :]]
            raise GlobError(err.expected, "/".join(corrected) if err.suggestion else "") from None
        if not (segment == DoubleStar() and segments and segments[-1] == DoubleStar()):
            segments.append(segment)
    return tuple(segments)


def split_segments(text: str) -> list[str]:
    """`text` cut at its slashes."""
    return text.split("/")


@lru_cache(maxsize=4_096)  # the same few names stand in most paths of a document
def _parse_segment(text: str) -> Segment:
    if text == "**":
        return DoubleStar()
    check_dollars(text)
    if "**" in text:
        raise GlobError("`**` as a whole segment", re.sub(r"\*{2,}", "**/*", text) if text[0] == "*" else "")
    pieces: list[Piece] = []
    literal = ""
    at = 0
    while at < len(text):
        taken = _literal_at(text, at)
        if taken:
            literal += taken
            at += len(taken)
            continue
        if literal:
            pieces.append(Literal(literal.encode()))
            literal = ""
        if text[at] == "[":
            piece, at = _parse_set(text, at + 1)
            pieces.append(piece)
        else:
            pieces.append(Star() if text[at] == "*" else AnyCharacter())
            at += 1
    if literal:
        pieces.append(Literal(literal.encode()))
    return tuple(pieces)


def _literal_at(text: str, at: int) -> str:
    """What stands for itself at `at`: a character, or a placeholder as a whole; empty before a wildcard."""
    char = text[at]
    known = placeholder_at(text, at) if char == "$" else ""
    if known:
        return known
    if char in "{}":
        raise GlobError("a glob without braces: write one glob for each alternative, or [{] for a brace")
    if char == "\\":
        raise GlobError("a glob without a backslash: write [*] for a star that is meant literally")
    return "" if char in "*?[" else char


def _parse_set(text: str, at: int) -> tuple[Piece, int]:
    """The set that starts after the bracket at `at`, and where the text goes on."""
    is_negated = text[at : at + 1] in {"!", "^"}
    at += is_negated
    end = text.find("]", at + 1)
    if end < 0:
        raise GlobError("a set that is closed with ]")
    members = text[at:end]
    if not members.isascii():
        raise GlobError("a set of ASCII characters")
    allowed = set[int]()
    position = 0
    while position < len(members):
        low = members[position]
        high = low
        if members[position + 1 : position + 2] == "-" and position + 2 < len(members):
            high = members[position + 2]
            position += 2
        position += 1
        if high < low:
            raise GlobError("a range in rising order")
        allowed |= set(range(ord(low), ord(high) + 1))
    if is_negated:
        allowed = set(range(1, 0x80)) - allowed
    allowed -= {0, SLASH}
    if not allowed and not is_negated:
        raise GlobError("a set with a character in it that is not a slash")
    if not is_negated and len(allowed) == 1:
        return Literal(bytes(allowed)), end + 1
    return OneOf(_ranges(allowed), or_wide=is_negated), end + 1


def _ranges(members: set[int]) -> tuple[tuple[int, int], ...]:
    ranges: list[tuple[int, int]] = []
    for byte in sorted(members):
        if ranges and ranges[-1][1] == byte - 1:
            ranges[-1] = (ranges[-1][0], byte)
        else:
            ranges.append((byte, byte))
    return tuple(ranges)
