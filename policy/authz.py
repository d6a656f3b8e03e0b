"""Who may do what, decided by casbin from a model and lines of rules: the one importer of casbin.

Lines of rules are read in `rule_lines.py`, and what is asked about policies in `resolution.py`; this file
touches no disk. INVARIANT: nothing is allowed unless a line says so, whatever fails; a request is compared
as text and never becomes part of an expression.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn, Protocol, cast

import casbin  # type: ignore[import-untyped]  # ships no types

from policy.errors import Finding, PolicyError, quoted
from policy.rule_lines import Line

MAX_REQUEST = 4_096
"""Characters of one value of a request; NAME_MAX and PATH_MAX of Linux are below."""

_MAX_MATCHER = 1_000
_LOGGERS = ("enforcer", "policy", "model", "role")
_DENY_WINS = "some(where (p_eft == allow)) && !some(where (p_eft == deny))"
# SECURITY: casbin evaluates the matcher as a Python expression. Only names of columns, our functions and
# what joins them may stand there: no literals, no `eval`, no attribute of anything else.
_MATCHER = re.compile(
    r"(?:\s|&&|\|\||==|!(?!=)|[(),]|[rp][._][a-z]+\b|(?:g2?|glob)(?=\())*", re.ASCII | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Allow:
    """A line allows it, and none denies it."""

    line: Line

    def __bool__(self) -> NoReturn:
        """A decision is matched on, never tested."""
        raise TypeError("match on Allow and Deny: a decision has no truth value")


@dataclass(frozen=True, slots=True)
class Deny:
    """It is not allowed: `line` denies it, or no line is about it, or nothing could be decided."""

    line: Line | None
    reason: str
    is_failure: bool = False  # no decision was reached

    def __bool__(self) -> NoReturn:
        """A decision is matched on, never tested."""
        raise TypeError("match on Allow and Deny: a decision has no truth value")


class Links:
    """What belongs to what: a member may be a glob, and what it belongs to belongs to others in turn.

    Asking changes nothing, and no depth is too deep: casbin's own manager keeps each name that it is asked
    for, and stops at ten levels without a word.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Keep pairs of a member and what it belongs to."""
        self._direct: dict[str, list[str]] = {}
        self._globs: list[tuple[str, str]] = []
        for member, group in pairs:
            if is_glob(member):
                self._globs.append((member, group))
            else:
                self._direct.setdefault(member, []).append(group)
        self._reach = lru_cache(maxsize=64)(self._reached)

    def has_link(self, name: str, group: str) -> bool:
        """Say whether `name` is `group` or belongs to it."""
        return name == group or group in self._reach(name)

    def of(self, name: str) -> tuple[str, ...]:
        """Give everything that `name` belongs to, nearest first."""
        return self._reach(name)

    def print_roles(self) -> None:
        """Print nothing; casbin asks for it when it is given this."""

    def _reached(self, name: str) -> tuple[str, ...]:
        matched = (group for pattern, group in self._globs if glob(name, pattern))
        found = dict.fromkeys((*self._direct.get(name, ()), *matched))
        waiting = list(found)
        for group in waiting:
            for further in self._direct.get(group, ()):
                if further not in found:
                    found[further] = None
                    waiting.append(further)
        return tuple(found)


class _Definition(Protocol):
    """One definition of a model, as casbin keeps it."""

    value: str
    tokens: list[str]


@dataclass(frozen=True, slots=True)
class Enforcer:
    """A model with its lines, ready to decide; thread-safe, and never changes."""

    _decide: Callable[..., tuple[bool, list[str]]]  # casbin's, which gives the line that decided
    _lines: Mapping[tuple[str, ...], Line]
    columns: tuple[str, ...]  # what a request holds, in order

    def allows(self, request: tuple[str, ...]) -> Allow | Deny:
        """Decide on one request; what goes wrong denies it."""
        if len(request) != len(self.columns) or not all(map(_is_plain, request)):
            wanted = f"{len(self.columns)} values, none empty, with a NUL or over {MAX_REQUEST} characters"
            return Deny(None, f"expected {wanted}", is_failure=True)
        if not self._lines:
            # SECURITY: without a line, casbin asks its matcher about empty text and may allow
            return Deny(None, "there is no line")
        try:
            is_allowed, values = self._decide(*request)
            line = self._lines[tuple(values)] if values else None
        except Exception as err:  # noqa: BLE001  # SECURITY: whatever fails in the library denies
            return Deny(None, f"the decision failed: {type(err).__name__}", is_failure=True)
        if is_allowed is True and line is not None:
            return Allow(line)
        return Deny(line, "no line is about it" if line is None else f"line {line.number} denies it")


@dataclass(frozen=True, slots=True)
class Model:
    """A model that has been read and holds nothing that must not be evaluated."""

    text: str
    request: tuple[str, ...]  # columns
    line: tuple[str, ...]  # columns of `p`
    links: tuple[str, ...]  # `g`, `g2`
    matcher: str

    def is_broken(self) -> bool:
        """Say whether a question of the right shape comes to no decision."""
        line = Line(0, "p", tuple("allow" if name == "eft" else "x" for name in self.line))
        found = self.enforcer((line,), {}).allows(("x",) * len(self.request))
        return isinstance(found, Deny) and found.is_failure

    def enforcer(self, lines: Iterable[Line], links: Mapping[str, Links]) -> Enforcer:
        """Give what decides with these `p` lines; `links` holds what `g` and `g2` mean."""
        made = casbin.Enforcer(_read(self.text))
        made.fm.fm = {"glob": glob}  # SECURITY: none of casbin's own functions, some of which take patterns
        kept = {line.values: line for line in lines}
        made.model["p"]["p"].policy.extend(list(values) for values in kept)
        for name in self.links:
            manager = links.get(name) or Links(())
            made.set_named_role_manager(name, manager)
            made.model["g"][name].build_role_links(manager)
        return Enforcer(made.enforce_ex, kept, self.request)


def load_model(text: str, *, file: str) -> Model:
    """Read a model; raises PolicyError when it is none, or would evaluate more than comparisons."""
    try:
        model = _read(text)
        sections = {name: dict(model[name] or {}) for name in ("r", "p", "e", "m", "g")}
        effect, matcher = sections["e"]["e"].value, sections["m"]["m"].value
        request, line = (
            tuple(token.partition("_")[2] for token in sections[name][name].tokens) for name in ("r", "p")
        )
    except Exception as err:  # noqa: BLE001  # the library raises whatever it meets
        raise PolicyError((_finding(file, f"no model of casbin: {type(err).__name__}"),)) from None
    problems = list(_model_problems(sections, line, effect, matcher))
    found = Model(text, request, line, tuple(sections["g"]), matcher)
    if not problems and found.is_broken():
        problems.append(f"a matcher that gives no decision: {quoted(matcher)}")
    if problems:
        raise PolicyError(tuple(_finding(file, problem) for problem in problems))
    return found


def _model_problems(
    sections: Mapping[str, Mapping[str, _Definition]], line: tuple[str, ...], effect: str, matcher: str
) -> Iterable[str]:
    for name in ("r", "p", "e", "m"):
        if set(sections[name]) != {name}:
            yield f"expected one definition `{name} = …`, found {', '.join(sorted(sections[name]))}"
    if not set(sections["g"]) <= {"g", "g2"}:
        yield "expected no role definitions but `g` and `g2`"
    if effect != _DENY_WINS:
        yield (
            f"expected the effect `{_DENY_WINS.replace('_', '.')}`: deny by default, deny wins; "
            f"found {quoted(effect)}"
        )
    if "eft" not in line:
        # SECURITY: casbin takes each line of a model without this column for one that allows
        yield "expected a column `eft` in `p`"
    if not 0 < len(matcher) <= _MAX_MATCHER or not _MATCHER.fullmatch(matcher):
        yield (
            "expected a matcher of `r.…`, `p.…`, `==`, `&&`, `||`, `!`, `g(…)`, `g2(…)` and `glob(…)`; "
            f"found {quoted(matcher)}"
        )


def load_enforcer(model: Model, lines: Iterable[Line]) -> Enforcer:
    """Give what decides with all lines of rules, `p`, `g` and `g2`."""
    kept = tuple(lines)
    links = {
        name: Links((line.values[0], line.values[1]) for line in kept if line.kind == name)
        for name in model.links
    }
    return model.enforcer((line for line in kept if line.kind == "p"), links)


def is_glob(text: str) -> bool:
    """Say whether `text` holds `*` or `?`, the two characters that stand for others."""
    return "*" in text or "?" in text


def glob(text: str, pattern: str) -> bool:
    """Say whether `pattern` is `text`, where `*` stands for any characters and `?` for one.

    The time is at most the product of both lengths: only the last `*` is ever tried again.
    """
    at, star, resume, index = 0, -1, 0, 0
    while index < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, resume = at, index
            at += 1
        elif at < len(pattern) and pattern[at] in {"?", text[index]}:
            at += 1
            index += 1
        elif star >= 0:
            resume += 1
            at, index = star + 1, resume
        else:
            return False
    return all(char == "*" for char in pattern[at:])


def _is_plain(value: str) -> bool:
    return 0 < len(value) <= MAX_REQUEST and "\0" not in value


def _read(text: str) -> Mapping[str, Mapping[str, _Definition]]:
    for name in _LOGGERS:
        # SECURITY: requests hold hostile text; what they led to is told by the caller, escaped
        logging.getLogger(f"casbin.{name}").disabled = True
    model = casbin.Model()
    model.load_model_from_text(text)
    return cast("Mapping[str, Mapping[str, _Definition]]", model)


def _finding(file: str, problem: str) -> Finding:
    return Finding(id="bad-model", file=file, line=0, column=0, field="", problem=problem)
