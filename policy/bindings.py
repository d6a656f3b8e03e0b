"""Bindings of policies to tenants and groups of modules, as values: read, checked, ready to decide.

How lines are read stands in `rule_lines.py`; which policy governs a module is decided in `resolution.py`.
INVARIANT: bindings that name a group or a tenant which does not exist, or run in a cycle, are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from policy.authz import Enforcer, Links, Model, load_model
from policy.errors import Finding, PolicyError, closest, quoted
from policy.rule_lines import NAME, NAME_WANTED, Column, Line, Lines, Shapes, cycles, read_lines

EVERYONE = "*"
"""The tenant of a line that is about all of them."""

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_DIGEST_WANTED = "`sha256:` and 64 digits in lower case"
_GROUP = re.compile(rf"{NAME.pattern}|{DIGEST.pattern}")
_MEMBER = re.compile(rf"{DIGEST.pattern}|[A-Za-z0-9._+@*?-]{{1,128}}")
_POLICY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")

_TENANT = Column("tenant", re.compile(rf"{NAME.pattern}|\*"), f"{NAME_WANTED}, or `*` for every tenant")
_SHAPES: Shapes = {
    "p": (
        _TENANT,
        Column("module", _GROUP, f"the name of a group, or {_DIGEST_WANTED}"),
        Column("policy", _POLICY, "the name of a policy"),
        Column("effect", re.compile(r"allow|deny"), "allow or deny"),
    ),
    "g": (
        Column("member", _MEMBER, f"a glob over names of modules, {_DIGEST_WANTED}, or the name of a group"),
        Column("group", NAME, NAME_WANTED),
    ),
    "g2": (
        Column("tenant", NAME, NAME_WANTED),
        Column("parent", NAME, f"the tenant that it inherits from, {NAME_WANTED}"),
    ),
}
_REQUEST = ("tenant", "name", "digest", "policy")
_LINE = ("tenant", "module", "policy", "eft")
_SAME_POLICY = "r_policy==p_policy"


@dataclass(frozen=True, slots=True)
class Bindings:
    """Every line, and what decides with them."""

    lines: tuple[Line, ...]
    tenants: Links
    modules: Links
    enforcers: tuple[tuple[str, Enforcer], ...]  # for each policy that a line allows, by name


def load_bindings(model_text: str, text: str, *, model_file: str, file: str) -> Bindings:
    """Read a model and bindings.

    Raises:
        PolicyError: with everything that is wrong with either.
    """
    lines, faults = read_lines(text, file=file, shapes=_SHAPES)
    findings = [*faults, *_cycles(lines, Lines.of(text, file))]
    if not faults:  # else what is unknown may stand on a line that could not be read
        findings += _unknown_names(lines, Lines.of(text, file))
    try:
        model = load_model(model_text, file=model_file)
    except PolicyError as err:
        raise PolicyError((*err.findings, *findings)) from None
    findings += _model_findings(model, model_file)
    if findings:
        raise PolicyError(tuple(findings))
    return _bindings(model, lines)


# --- what casbin sees ---------------------------------------------------------------------------------
# SECURITY: each text says of what kind it is, so that a module that calls itself like a group, or like a
# digest, is in neither.


def tenant_text(name: str) -> str:
    """Give a tenant as casbin sees it."""
    return f"tenant:{name}"


def name_text(name: str) -> str:
    """Give a module's name as casbin sees it."""
    return f"name:{name}"


def digest_text(digest: str) -> str:
    """Give a module's digest as casbin sees it."""
    return f"digest:{digest}"


def group_text(name: str) -> str:
    """Give a group of modules as casbin sees it."""
    return f"group:{name}"


def plain_text(typed: str) -> str:
    """Give what was made into such a text."""
    return typed.partition(":")[2]


def _member(text: str, groups: set[str]) -> str:
    if DIGEST.fullmatch(text):
        return digest_text(text)
    return group_text(text) if text in groups else name_text(text)


def _bindings(model: Model, lines: tuple[Line, ...]) -> Bindings:
    groups = {line.values[1] for line in lines if line.kind == "g"}
    modules = Links(
        (_member(line.values[0], groups), group_text(line.values[1])) for line in lines if line.kind == "g"
    )
    tenants = Links(
        (
            *(
                (tenant_text(line.values[0]), tenant_text(line.values[1]))
                for line in lines
                if line.kind == "g2"
            ),
            (tenant_text("*"), tenant_text(EVERYONE)),  # a glob that every tenant matches
        )
    )
    rows: dict[str, list[Line]] = {}
    for line in lines:
        if line.kind == "p":
            tenant, module, policy, effect = line.values
            values = (tenant_text(tenant), _member(module, groups), policy, effect)
            rows.setdefault(policy, []).append(Line(line.number, "p", values))
    links = {"g": modules, "g2": tenants}
    enforcers = tuple(
        # the model asks for the very policy, so lines about others decide nothing
        (policy, model.enforcer(found, links))
        for policy, found in sorted(rows.items())
        if any(line.values[3] == "allow" for line in found)
    )
    return Bindings(lines, tenants, modules, enforcers)


# --- what can be wrong --------------------------------------------------------------------------------


def _model_findings(model: Model, file: str) -> Iterator[Finding]:
    conjuncts = [part.replace(" ", "").replace(".", "_") for part in _conjuncts(model.matcher)]
    problems = (
        (model.request != _REQUEST, f"expected `r = {', '.join(_REQUEST)}`"),
        (model.line != _LINE, f"expected `p = {', '.join(_LINE)}`"),
        (set(model.links) != {"g", "g2"}, "expected `g = _, _` and `g2 = _, _`"),
        (_SAME_POLICY not in conjuncts, "expected a matcher that asks for `r.policy == p.policy` always"),
    )
    for is_wrong, problem in problems:
        if is_wrong:
            yield Finding(id="bad-model", file=file, line=0, column=0, field="", problem=problem)


def _conjuncts(matcher: str) -> Iterator[str]:
    """The parts that `&&` joins outside all brackets; the whole where `||` stands there."""
    depth, start = 0, 0
    for at, char in enumerate(matcher):
        depth += {"(": 1, ")": -1}.get(char, 0)
        if not depth and matcher.startswith("||", at):
            return
        if not depth and matcher.startswith("&&", at):
            yield matcher[start:at]
            start = at + 2
    yield matcher[start:]


def _unknown_names(lines: tuple[Line, ...], source: Lines) -> Iterator[Finding]:
    groups = {line.values[1] for line in lines if line.kind == "g"}
    tenants = {line.values[0] for line in lines if line.kind in {"p", "g2"}}
    for line in lines:
        name = line.values[1]
        match line.kind:
            case "p" if name not in groups and not DIGEST.fullmatch(name):
                yield _unknown(source, line, "unknown-group", f"no module is in group {name}", known=groups)
            case "g2" if name not in tenants:
                problem = f"no line gives tenant {name} anything to inherit"
                yield _unknown(source, line, "unknown-tenant", problem, known=tenants)
            case _:
                continue


def _cycles(lines: tuple[Line, ...], source: Lines) -> Iterator[Finding]:
    for kind, what in (("g", "group"), ("g2", "tenant")):
        pairs: dict[str, tuple[str, ...]] = {}
        numbers: dict[tuple[str, str], int] = {}
        for line in lines:
            if line.kind == kind:
                member, parent = line.values
                pairs[member] = (*pairs.get(member, ()), parent)
                numbers[member, parent] = line.number
        for ring in cycles(pairs):
            problem = f"a cycle: {what} {', which belongs to '.join(ring)}".replace(", which", "", 1)
            yield source.finding("cycle", numbers[ring[-2], ring[-1]], problem)


def _unknown(source: Lines, line: Line, rule: str, problem: str, *, known: set[str]) -> Finding:
    near = closest(line.values[1], sorted(known))
    return source.finding(
        rule, line.number, problem, suggestion=f"did you mean {quoted(near)}?" if near else ""
    )
