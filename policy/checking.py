"""Findings about a document of any kind, for whoever reads it before it is used.

What is wrong with a policy is found while it is compiled (`compiler.py`). A boundary is judged by itself,
what it refuses when a policy is compiled inside it; tests are run elsewhere, here their calls must exist.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from policy.answer import NETWORK_OPERATIONS
from policy.bundle import ALONE, Bundle
from policy.checks import not_enforceable_yet
from policy.compiler import check_policy
from policy.component_calls import BASE_CODES
from policy.document import BoundaryDocument, PolicyDocument, PolicyTestDocument
from policy.errors import Finding, PolicyError, Severity, capped, closest, quoted
from policy.subject import ANYONE, Subject
from policy.substitution import substitute_boundary
from policy.text import MAX_FINDINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from policy.document import AnyDocument
    from policy.places import Path


def check_document(
    document: AnyDocument,
    *,
    base_dir: str,
    now_ns: int | None,
    is_stored: bool = False,
    bundle: Bundle = ALONE,
    subject: Subject = ANYONE,
    is_study: bool = False,
    real_path: Callable[[str], str | None] | None = None,
) -> tuple[Finding, ...]:
    """Every error and warning about `document`, errors first; arguments as in `check_policy`."""
    found: Iterable[Finding]
    match document:
        case PolicyDocument():
            found = check_policy(
                document,
                base_dir=base_dir,
                now_ns=now_ns,
                is_stored=is_stored,
                bundle=bundle,
                subject=subject,
                is_study=is_study,
                real_path=real_path,
            )
        case BoundaryDocument():
            found = capped(
                PolicyError(tuple(_boundary(document, subject, is_study=is_study))).findings,
                most=MAX_FINDINGS,
            )
        case PolicyTestDocument():
            found = ()
    told = tuple(found)
    if len(told) > MAX_FINDINGS:  # the last one says how many more there are
        return told
    return capped(PolicyError((*told, *_tests(document))).findings, most=MAX_FINDINGS)


def _tests(document: AnyDocument) -> Iterator[Finding]:
    """Tests of calls that there are not: they can't pass, and a typo is the reason."""
    known = (*BASE_CODES, *sorted(NETWORK_OPERATIONS))
    for index, case in enumerate(document.model.tests):
        call = case.given.call
        if call not in known:
            near = closest(call, known)
            yield document.source.finding(
                "unknown-call",
                ("tests", index, "given", "call"),
                problem=f"no host call is named {quoted(call)}",
                suggestion=f"did you mean {quoted(near)}?" if near else "",
            )


def _boundary(boundary: BoundaryDocument, subject: Subject, *, is_study: bool) -> Iterator[Finding]:
    _, faults = substitute_boundary(boundary, subject)
    yield from faults
    is_soft = is_study or boundary.model.when_unenforceable == "warn"
    for finding in not_enforceable_yet.check_boundary(boundary):
        yield replace(finding, severity=Severity.WARNING) if is_soft else finding
    for index, anchor in enumerate(boundary.model.anchors):
        path: Path = ("anchors", index)
        key = "path" if anchor.kind == "file" else "url"
        if getattr(anchor, key) is None:
            problem = f"an anchor of the kind {anchor.kind} needs its `{key}`"
            yield boundary.source.finding("bad-anchor", path, problem=problem)
