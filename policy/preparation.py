"""What is compiled: a document with its baselines, with its `${…}` put in, and the boundaries around it.

Each step lives in its own file (`effective.py`, `substitution.py`, `boundary.py`); tables are made of the
result in `compiler.py`. INVARIANT: the digest of the result covers every document that went into it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from policy.boundary import applying, check_boundary
from policy.checks import expired, leads_elsewhere, not_enforceable_yet, run_checks
from policy.effective import effective, joined_digest
from policy.errors import Finding, Severity
from policy.substitution import is_literal, known_facts, open_names, substitute, substitute_boundary
from policy.unheld import unenforced_digest, value_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from policy.bundle import Bundle
    from policy.digest import Json
    from policy.document import BoundaryDocument, PolicyDocument
    from policy.subject import Subject

MAX_TENANTS = 16
"""For how many of the tenants that a document lists it is checked."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a compilation depends on besides the document; the fields are those of `compile_policy`."""

    base_dir: str
    now_ns: int | None
    is_stored: bool
    bundle: Bundle
    subject: Subject
    is_study: bool
    real_path: Callable[[str], str | None] | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that tables are made of."""

    document: PolicyDocument
    boundaries: tuple[BoundaryDocument, ...]  # those that apply
    digest: str  # of all documents
    unenforced: tuple[str, ...]  # fields that this version does not enforce
    unenforced_digest: str  # of the values of those that no plan holds
    may_run: bool
    open_names: tuple[str, ...]  # facts that `${…}` asks for and nobody knows
    findings: tuple[Finding, ...]


def prepare(document: PolicyDocument, around: Circumstances) -> Prepared:
    """`document` as it holds under these circumstances, with everything that is wrong with it so far."""
    whole = effective(document, around.bundle)
    subject = known_facts(whole.document, around.subject)
    # Whether a boundary applies is asked of all that the document lists, not of what it settles for `${…}`.
    around_it = applying(whole.document, around.bundle, around.subject)
    filled, faults = substitute(whole.document, subject)
    findings = [*whole.findings, *faults, *around_it.findings]
    boundaries: list[BoundaryDocument] = []
    for each in around_it.boundaries:
        boundary, faults = substitute_boundary(each, subject)
        boundaries.append(boundary)
        findings += [*faults, *check_boundary(filled, boundary)]
    findings += _checks(filled, whole.parents, around)
    gaps = _gaps(filled, boundaries, is_study=around.is_study)
    sources = [filled.source, *(each.source for each in boundaries)]
    unknown = frozenset[str]().union(*(open_names(source) for source in sources))
    return Prepared(
        filled,
        tuple(boundaries),
        joined_digest((*whole.digests, *(each.digest for each in boundaries))),
        tuple(sorted(gaps.values)),
        unenforced_digest(gaps.values),
        gaps.is_accepted and filled.model.kind != "Baseline",
        tuple(sorted(unknown)),
        (*findings, *gaps.findings),
    )


@dataclass(frozen=True, slots=True)
class _Gaps:
    """What this version does not enforce."""

    values: Mapping[str, Json]  # by field
    findings: tuple[Finding, ...]
    is_accepted: bool  # each document accepts what is not enforced of it


def _gaps(document: PolicyDocument, boundaries: Sequence[BoundaryDocument], *, is_study: bool) -> _Gaps:
    is_willing = document.model.when_unenforceable == "warn"
    own = [*not_enforceable_yet.check(document)]
    is_soft = is_study or is_willing or document.model.kind == "Baseline"
    findings = _softened(own, is_soft=is_soft)
    values = {
        document.source.field(path): value_at(document.model, path)
        for path, _ in not_enforceable_yet.parts(document)
    }
    is_accepted = is_willing or not own
    for boundary in boundaries:
        outer = [*not_enforceable_yet.check_boundary(boundary)]
        is_willing = boundary.model.when_unenforceable == "warn"
        findings += _softened(outer, is_soft=is_study or is_willing or document.model.kind == "Baseline")
        values |= {
            f"{boundary.name}: {boundary.source.field(path)}": value_at(boundary.model, path)
            for path, _ in not_enforceable_yet.boundary_parts(boundary)
        }
        is_accepted = is_accepted and (is_willing or not outer)
    return _Gaps(values, tuple(findings), is_accepted)


def _checks(
    document: PolicyDocument, parents: Iterable[PolicyDocument], around: Circumstances
) -> list[Finding]:
    found = list(run_checks(document, now_ns=around.now_ns, is_stored=around.is_stored))
    if around.real_path is not None:
        found += leads_elsewhere.check(document, base_dir=around.base_dir, real_path=around.real_path)
    if around.now_ns is not None:
        for parent in parents:
            found += expired.check(parent, now_ns=around.now_ns)
    return found


def _softened(findings: list[Finding], *, is_soft: bool) -> list[Finding]:
    """The same findings, as warnings where what they name is accepted as it is."""
    return [replace(each, severity=Severity.WARNING) for each in findings] if is_soft else findings


def tenants_of(document: PolicyDocument, around: Circumstances) -> tuple[str | None, ...]:
    """The tenants that `document` is checked for, one by one; empty where that makes no difference.

    None stands for those that are not named one by one: what a glob matches, and what lies beyond
    `MAX_TENANTS`. A boundary that is for one of them applies, or a warning says that it may.
    """
    whole = effective(document, around.bundle).document
    listed = whole.model.match.tenant if whole.model.match else ()
    literal = tuple(dict.fromkeys(name for name in listed if is_literal(name)))[:MAX_TENANTS]
    if around.subject.tenant is not None or not literal:
        return ()
    scopes = [each.model.match for each in around.bundle.boundaries]
    is_scoped = any(scope is not None and scope.tenant for scope in scopes)
    if not (is_scoped or "tenant" in open_names(whole.source)):
        return ()
    return literal if set(listed) <= set(literal) else (*literal, None)
