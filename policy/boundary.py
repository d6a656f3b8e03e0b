"""What boundaries ask of a policy apart from paths and addresses: limits, modes, and what it must say.

Which paths a ceiling leaves is in the automaton (`path_rules.py`), which addresses in `network/`. What a
policy asks for beyond that is refused, and never cut down in silence. INVARIANT: a limit that a policy leaves
at its default is held to the ceiling's number like one that it writes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, cast

from policy.errors import Finding, Severity, quoted
from policy.places import Path
from policy.plan import UNLIMITED, WALLS, Isolation
from policy.substitution import is_literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.bundle import Bundle
    from policy.document import BoundaryDocument, PolicyDocument
    from policy.subject import Subject

ID = "outside-boundary"
_LEVELS = ("counts", "summary", "calls")
_TIMES = frozenset({"cpu", "timeout", "compile"})
_SIZES = frozenset({"memory", "module", "stack", "stdout", "stderr", "disk", "net_in", "net_out"})


@dataclass(frozen=True, slots=True)
class Applying:
    """The boundaries that a policy must lie in, and doubts about which these are."""

    boundaries: tuple[BoundaryDocument, ...]
    findings: tuple[Finding, ...]


def applying(document: PolicyDocument, bundle: Bundle, subject: Subject) -> Applying:
    """The boundaries of `bundle` whose `match` fits `document`, compiled for `subject`.

    Where the tenant (or the module) is not known, the document's own `match` is asked; where that does not
    say either, a boundary for every tenant applies, others do not, and a warning says so.
    """
    found: list[BoundaryDocument] = []
    doubts: list[Finding] = []
    for boundary in bundle.boundaries:
        fit = _fits(boundary, document, subject)
        if fit is None:
            problem = f"not known here whether the boundary {boundary.name} applies: its `match` names others"
            suggestion = "say for which tenant and module the policy is"
            path: Path = ("match",)
            doubt = document.source.finding("unsure-boundary", path, problem=problem, suggestion=suggestion)
            doubts.append(_warning(doubt))
        elif fit:
            found.append(boundary)
    return Applying(tuple(found), tuple(doubts))


def _warning(finding: Finding) -> Finding:
    return replace(finding, severity=Severity.WARNING)


def _fits(boundary: BoundaryDocument, document: PolicyDocument, subject: Subject) -> bool | None:
    """Whether the boundary applies; None where that can't be said."""
    scope, match = boundary.model.match, document.model.match
    if scope is None:
        return True
    listed = (match.tenant, match.name, match.digest) if match else ((), (), ())
    answers = [
        _fits_one(scope.tenant, subject.tenant, listed[0]),
        _fits_one(scope.name, subject.module_name, listed[1]),
        _fits_one(scope.digest, subject.module_digest, listed[2]),
    ]
    if False in answers:
        return False
    return None if None in answers else True


def _fits_one(globs: tuple[str, ...], known: str | None, listed: tuple[str, ...]) -> bool | None:
    if not globs or "*" in globs:
        return True
    names = (known,) if known is not None else listed
    if any(fnmatchcase(name, glob) for name in names for glob in globs):
        return True
    is_settled = known is not None or (bool(names) and all(is_literal(name) for name in names))
    return False if is_settled else None


def check_boundary(document: PolicyDocument, boundary: BoundaryDocument) -> Iterator[Finding]:
    """Yield a finding for each limit, mode and omission of `document` that `boundary` does not take."""
    yield from _limits(document, boundary)
    yield from _requirements(document, boundary)
    modes = boundary.model.ceiling.modes
    if modes is not None and document.model.mode not in modes:
        problem = f"the boundary {boundary.name} takes {' or '.join(modes)} only"
        yield document.source.finding(ID, ("mode",), problem=problem)


def _limits(document: PolicyDocument, boundary: BoundaryDocument) -> Iterator[Finding]:
    ceiling = boundary.model.ceiling.limits
    limits = document.model.resources.limits
    for name in type(limits).model_fields:
        most = cast("int | None", getattr(ceiling, name))
        value = cast("int", getattr(limits, name))
        path: Path = ("resources", "limits", name)
        where = "" if name in limits.model_fields_set else " (the default)"
        if most is not None and _exceeds(value, most):
            top = _said(name, most)
            problem = f"{_said(name, value)}{where} is more than the {top} of the boundary {boundary.name}"
            suggestion = f"set {name} to {top} or less"
            yield document.source.finding(ID, path, problem=problem, suggestion=suggestion)
        elif ceiling.unlimited == "forbidden" and value == UNLIMITED and not where:
            yield document.source.finding(ID, path, problem=f"the boundary {boundary.name} forbids unlimited")


def _exceeds(value: int, most: int) -> bool:
    return most != UNLIMITED and (value == UNLIMITED or value > most)


def _said(name: str, value: int) -> str:
    """A limit as a document writes it."""
    if value == UNLIMITED:
        return "unlimited"
    if name in _TIMES:
        return f"{value // 1000}s" if value % 1000 == 0 else f"{value}ms"
    units = ((2**30, "Gi"), (2**20, "Mi"), (2**10, "Ki"))
    if name not in _SIZES:
        units = ((10**9, "G"), (10**6, "M"), (10**3, "k"))
    for factor, unit in units:
        if value and value % factor == 0:
            return f"{value // factor}{unit}"
    return str(value)


def _requirements(document: PolicyDocument, boundary: BoundaryDocument) -> Iterator[Finding]:
    required, model = boundary.model.ceiling.require, document.model
    labels = model.metadata.labels
    for label in required.digest_for:
        key, _, value = label.partition("=")
        if labels.get(key) == value and not (model.match and model.match.digest):
            problem = (
                f"the boundary {boundary.name} asks for `match.digest` where the label is {quoted(label)}"
            )
            yield document.source.finding(ID, ("match",), problem=problem)
    level = required.audit_level
    if level is not None and _LEVELS.index(model.audit.level) < _LEVELS.index(level):
        problem = f"the level is {model.audit.level}: the boundary {boundary.name} asks for {level}"
        yield document.source.finding(ID, ("audit", "level"), problem=problem)
    # SECURITY: a rule could lower the level of all calls
    for index, rule in enumerate(model.audit.rules):
        if level is not None and rule.level is not None and _LEVELS.index(rule.level) < _LEVELS.index(level):
            problem = f"the level is {rule.level}: the boundary {boundary.name} asks for {level}"
            yield document.source.finding(ID, ("audit", "rules", index, "level"), problem=problem)
    yield from _separation(document, boundary)


def _separation(document: PolicyDocument, boundary: BoundaryDocument) -> Iterator[Finding]:
    required, runtime = boundary.model.ceiling.require, document.model.runtime
    order = [each.value for each in Isolation]
    wanted = required.isolation
    if wanted is not None and order.index(runtime.isolation) < order.index(wanted):
        problem = f"the boundary {boundary.name} asks for the isolation {quoted(wanted)}"
        if wanted != order[-1]:
            problem += " or a stronger one"
        yield document.source.finding(ID, ("runtime", "isolation"), problem=problem)
    missing = [wall for wall in WALLS if wall in required.walls and wall not in runtime.require_walls]
    if missing:
        problem = f"the boundary {boundary.name} asks for the walls {', '.join(missing)}"
        path: Path = ("runtime", "require_walls")
        suggestion = f"add {', '.join(missing)}"
        yield document.source.finding(ID, path, problem=problem, suggestion=suggestion)
