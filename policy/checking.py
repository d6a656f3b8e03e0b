"""Findings about a document of any kind, for whoever reads it before it is used.

What is wrong with a policy is found while it is compiled (`compiler.py`). A boundary is judged by itself,
what it refuses when a policy is compiled inside it; tests are run elsewhere.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from policy.bundle import ALONE, Bundle
from policy.checks import not_enforceable_yet
from policy.compiler import check_policy
from policy.document import BoundaryDocument, PolicyDocument, PolicyTestDocument
from policy.errors import Finding, PolicyError, Severity, capped
from policy.subject import ANYONE, Subject
from policy.substitution import substitute_boundary
from policy.text import MAX_FINDINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    match document:
        case PolicyDocument():
            return check_policy(
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
            found = PolicyError(tuple(_boundary(document, subject, is_study=is_study))).findings
            return capped(found, most=MAX_FINDINGS)
        case PolicyTestDocument():
            return ()


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
