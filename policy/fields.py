"""The types of single fields: what text each one takes, and what it becomes.

Which key has which type is said in `schema.py`. A scalar comes in as it was written; each type
accepts exactly its own spelling and says what it expected, so nothing is guessed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from policy.audit_terms import TermError, parse_mask, parse_payload
from policy.globs import GlobError, parse_relative
from policy.places import Plain
from policy.shapes import quantities, texts
from policy.shapes.shape import Alternatives
from policy.units import (
    UnitError,
    parse_bytes,
    parse_count,
    parse_duration,
    parse_instant,
    parse_limit,
    parse_seed,
)
from policy.uris import check_mount, parse_allow, parse_deny, parse_never, parse_root

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

Access = Literal["read", "list", "create", "write", "append", "delete", "symlink"]
"""The rights of a storage rule, as a document writes them."""

_MS = 1_000_000


def fault(rule: str, expected: str, suggestion: str = "") -> PydanticCustomError:
    """An error of one field; `rule` becomes the finding's id."""
    # pydantic formats the template, so texts go in as values and never as the template itself.
    context = {"expected": expected, "suggestion": suggestion}
    return PydanticCustomError(rule, "{expected}", context)  # pyright: ignore[reportArgumentType]  # rules are constants


def _quantity(rule: str, parse: Callable[[str], int]) -> BeforeValidator:
    def read(value: object) -> int:
        if not isinstance(value, str):
            raise fault(rule, _expectation(parse))
        try:
            return parse(value)
        except UnitError as err:
            raise fault(rule, err.expected, err.suggestion) from None

    return BeforeValidator(read)


def _expectation(parse: Callable[[str], int]) -> str:
    try:
        parse("?")
    except UnitError as err:
        return err.expected
    return "a quantity"


def _limit(kind: str, *, low: int = 0, high: int = 2**62, is_bounded: bool = False) -> BeforeValidator:
    def parse(text: str) -> int:
        if is_bounded:
            value = {"bytes": parse_bytes, "count": parse_count}[kind](text)
        else:
            value = parse_limit(text, kind=kind)
        if text != "unlimited" and not low <= value <= high:
            raise UnitError(f"a number from {low} to {high}")
        return value

    return _quantity("bad-quantity", parse)


def _milliseconds(text: str) -> int:
    value = parse_limit(text, kind="duration")
    if text == "unlimited":
        return value
    if value < _MS or value % _MS:
        raise UnitError("a duration of whole milliseconds, at least 1ms, or unlimited")
    return value // _MS


def _on_full(text: str) -> int:
    expected = "block, block:<duration>, or kill"
    if text in {"block", "kill"}:
        return 10_000 if text == "block" else 0
    head, _, tail = text.partition(":")
    if head != "block":
        raise UnitError(expected)
    try:
        value = parse_duration(tail)
    except UnitError as err:
        raise UnitError(expected, f"block:{err.suggestion}" if err.suggestion else "") from None
    if value < _MS or value % _MS:
        raise UnitError("block:<duration> of whole milliseconds, at least 1ms; or kill")
    return value // _MS


def _days(text: str) -> int:
    day = 86_400 * 10**9
    value = parse_duration(text)
    if value < day or value % day:
        raise UnitError("a number of whole days, such as 90d")
    return value // day


def _resolution(text: str) -> int:
    value = parse_duration(text)
    if not 1 <= value <= 3_600 * 10**9:
        raise UnitError("a duration from 1ns to 1h")
    return value


def _pattern(rule: str, pattern: str, expected: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def read(value: str) -> str:
        if not compiled.fullmatch(value):
            raise fault(rule, expected)
        return value

    return AfterValidator(read)


def _path(parse: Callable[[str], object]) -> AfterValidator:
    def read(value: str) -> str:
        try:
            parse(value)
        except GlobError as err:
            raise fault("bad-path", err.expected, err.suggestion) from None
        return value

    return AfterValidator(read)


def _term(parse: Callable[[str], object]) -> AfterValidator:
    def read(value: str) -> str:
        try:
            parse(value)
        except TermError as err:
            raise fault("bad-choice", err.expected) from None
        except GlobError as err:
            raise fault("bad-path", err.expected, err.suggestion) from None
        return value

    return AfterValidator(read)


def _boolean(value: object) -> object:
    return {"true": True, "false": False}.get(value, value) if isinstance(value, Plain) else value


def _integer(value: object) -> object:
    return int(value) if isinstance(value, Plain) and re.fullmatch(r"-?[0-9]{1,18}", value) else value


def _time_or(prefix_parsers: dict[str, Callable[[str], object]], words: tuple[str, ...]) -> AfterValidator:
    forms = [*words, *(f"{prefix}:<…>" for prefix in prefix_parsers)]

    def read(value: str) -> str:
        head, colon, tail = value.partition(":")
        if value in words:
            return value
        if not colon or head not in prefix_parsers:
            raise fault("bad-choice", f"one of {', '.join(forms)}")
        try:
            prefix_parsers[head](tail)
        except UnitError as err:
            raise fault("bad-choice", f"{head}: and {err.expected}") from None
        return value

    return AfterValidator(read)


def parse_moment(text: str) -> int:
    """Nanoseconds from an RFC 3339 time or from a duration, for a clock that starts anywhere."""
    try:
        return parse_duration(text)
    except UnitError:
        return parse_instant(text)


def none_as_mapping(value: object) -> object:
    """An empty section means the same as one that is not there: nothing is granted."""
    return {} if value is None else value


def none_as_list(value: object) -> object:
    """An empty list means the same as one that is not there: nothing is granted."""
    return () if value is None else value


def one_as_list(value: object) -> object:
    """One text stands for a list of one."""
    return (value,) if isinstance(value, str) else none_as_list(value)


def _filled(value: tuple[T, ...]) -> tuple[T, ...]:
    if not value:
        raise fault("empty-list", "a list with something in it")
    return value


def _version(value: int) -> int:
    if value != 1:
        raise fault("bad-version", "version 1")
    return value


Flag = Annotated[bool, BeforeValidator(_boolean)]
Version = Annotated[
    int, BeforeValidator(_integer), AfterValidator(_version), Field(json_schema_extra={"const": 1})
]
Filled = Annotated[tuple[T, ...], AfterValidator(_filled), Field(json_schema_extra={"minItems": 1})]
OneOrMany = Annotated[tuple[T, ...], BeforeValidator(one_as_list), Alternatives(is_one_item=True)]
Many = Annotated[tuple[T, ...], BeforeValidator(none_as_list), Alternatives()]
Section = Annotated[T, BeforeValidator(none_as_mapping), Alternatives()]

PolicyName = Annotated[
    str,
    _pattern(
        "bad-name",
        r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}",
        "a name of at most 128 of A-Z a-z 0-9 . _ - /, a letter or digit first",
    ),
    texts.POLICY_NAME,
]
RuleName = Annotated[
    str,
    _pattern(
        "bad-id",
        r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}",
        "an id of at most 64 of A-Z a-z 0-9 . _ -, a letter or digit first",
    ),
    texts.RULE_ID,
]
Digest = Annotated[
    str,
    _pattern("bad-digest", r"sha256:[0-9a-f]{64}", "sha256: and 64 lower-case hexadecimal digits"),
    texts.DIGEST,
]
AnyText = Annotated[str, texts.ANY_TEXT]
Text = Annotated[str, _pattern("bad-text", r"[^\x00]*", "text without a NUL byte"), texts.TEXT]
NonEmpty = Annotated[
    str, _pattern("bad-text", r"[^\x00]+", "text that is not empty and has no NUL byte"), texts.WORDS
]
AllowUri = Annotated[str, _path(parse_allow), texts.GRANT_URI]
DenyUri = Annotated[str, _path(parse_deny), texts.DENY_URI]
RootUri = Annotated[str, _path(parse_root), texts.ROOT_URI]
NeverUri = Annotated[str, _path(parse_never), texts.NEVER_URI]
GuestMount = Annotated[str, _path(check_mount), texts.GUEST_PATH]
RelativeGlob = Annotated[str, _path(parse_relative), texts.GLOB]
Instant = Annotated[int, _quantity("bad-time", parse_instant), quantities.TIME]

ByteLimit = Annotated[int, _limit("bytes"), quantities.SIZE]
MemoryLimit = Annotated[int, _limit("bytes", low=65_536), quantities.MEMORY]
StackLimit = Annotated[int, _limit("bytes", low=16_384, high=4 * 2**20, is_bounded=True), quantities.STACK]
CountLimit = Annotated[int, _limit("count"), quantities.COUNT]
Count = Annotated[int, _limit("count", is_bounded=True), quantities.NUMBER]
OpenFilesLimit = Annotated[int, _limit("count", high=4_000, is_bounded=True), quantities.OPEN_FILES]
HostCallsLimit = Annotated[int, _limit("count", high=2**40), quantities.HOST_CALLS]
Milliseconds = Annotated[int, _quantity("bad-quantity", _milliseconds), quantities.DURATION]
OnFull = Annotated[int, _quantity("bad-quantity", _on_full), quantities.ON_FULL]
Days = Annotated[int, _quantity("bad-quantity", _days), quantities.DAYS]
Resolution = Annotated[int, _quantity("bad-quantity", _resolution), quantities.RESOLUTION]

WallClock = Annotated[str, _time_or({"frozen": parse_instant}, ("real", "none")), quantities.WALL_CLOCK]
MonotonicClock = Annotated[
    str, _time_or({"frozen": parse_moment}, ("real", "none")), quantities.MONOTONIC_CLOCK
]
PayloadTerm = Annotated[str, _term(parse_payload), texts.PAYLOAD]
MaskTerm = Annotated[str, _term(parse_mask), texts.MASK]
RandomSource = Annotated[str, _time_or({"seeded": parse_seed}, ("real", "none")), quantities.RANDOM]
