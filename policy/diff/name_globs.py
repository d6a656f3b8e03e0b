"""Name globs of `match`, compared exactly: a name that one set of globs matches and the other does not.

How a module is matched at run time is in `policy/decide.py`. Names are walked by characters that the globs
tell apart, so all others are tried once. INVARIANT: no name is found exactly if there is none.
"""

from __future__ import annotations

import re
from collections import deque
from fnmatch import translate
from functools import lru_cache
from typing import TYPE_CHECKING

from policy.diff.change import TooDifferentError

if TYPE_CHECKING:
    from collections.abc import Iterable

_MAX_STATES = 100_000
_PREFERRED = "xabcdefghijklmnopqrstuvwyz0123456789-_."

_Token = tuple[str, frozenset[str], bool]
"""`*`, or one character: those in the set, or with True those not in it."""
_Pattern = tuple[_Token, ...]
_Threads = frozenset[tuple[int, int]]


def name_only_in(globs: tuple[str, ...], others: tuple[str, ...]) -> str | None:
    """The shortest name that one of `globs` matches and none of `others`; None when there is none.

    Raises:
        TooDifferentError: when the globs interlock too much.
    """
    wanted, unwanted = [_parse(glob) for glob in globs], [_parse(glob) for glob in others]
    named = {char for pattern in (*wanted, *unwanted) for _, chars, _ in pattern for char in chars}
    spare = next((char for char in _PREFERRED if char not in named), "\ue000")
    alphabet = [spare, *sorted(named)]
    start = _start(wanted), _start(unwanted)
    seen, queue = {start}, deque([(start, "")])
    while queue:
        (first, second), name = queue.popleft()
        if name and _is_end(wanted, first) and not _is_end(unwanted, second):
            return name
        for char in alphabet:
            after = _step(wanted, first, char), _step(unwanted, second, char)
            if after[0] and after not in seen:
                if len(seen) >= _MAX_STATES:
                    raise TooDifferentError
                seen.add(after)
                queue.append((after, name + char))
    return None


@lru_cache(maxsize=1_000)
def _parse(glob: str) -> _Pattern:
    """`glob` as `fnmatch` reads it."""
    tokens: list[_Token] = []
    at = 0
    while at < len(glob):
        char = glob[at]
        end = glob.find("]", at + (3 if glob[at + 1 : at + 2] == "!" else 2)) if char == "[" else -1
        if char == "*":
            tokens.append(("*", frozenset(), True))
        elif char == "?":
            tokens.append(("", frozenset(), True))
        elif end >= 0:
            tokens.append(_set(glob[at : end + 1]))
            at = end
        else:
            tokens.append(("", frozenset((char,)), False))
        at += 1
    return tuple(tokens)


def _set(text: str) -> _Token:
    """A set in brackets; what it holds is asked of `fnmatch` itself, whose rules for sets are odd."""
    is_negated = text.startswith("[!")
    matches = re.compile(translate(text)).match
    low, high = min(text), max(text)
    near = {chr(point) for point in range(max(0, ord(low) - 1), min(ord(high) + 2, 0x110000))}
    return "", frozenset(char for char in near if bool(matches(char)) is not is_negated), is_negated


def _start(patterns: list[_Pattern]) -> _Threads:
    return _closed(patterns, ((number, 0) for number in range(len(patterns))))


def _closed(patterns: list[_Pattern], threads: Iterable[tuple[int, int]]) -> _Threads:
    found: set[tuple[int, int]] = set()
    for number, at in threads:
        here = at
        found.add((number, here))
        while here < len(patterns[number]) and patterns[number][here][0] == "*":
            here += 1
            found.add((number, here))
    return frozenset(found)


def _step(patterns: list[_Pattern], threads: _Threads, char: str) -> _Threads:
    after: list[tuple[int, int]] = []
    for number, at in threads:
        if at < len(patterns[number]):
            kind, chars, is_negated = patterns[number][at]
            if (char in chars) is not is_negated:
                after.append((number, at if kind == "*" else at + 1))
    return _closed(patterns, after)


def _is_end(patterns: list[_Pattern], threads: _Threads) -> bool:
    return any(at == len(patterns[number]) for number, at in threads)
