"""Documents in a line, for tests of what is made of several of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from policy import Plan, PolicyError, check_policy, compile_policy
from policy.bundle import Bundle, make_bundle
from policy.document import BoundaryDocument, PolicyDocument, load_any

if TYPE_CHECKING:
    from policy import Finding


def policy(text: str = "", *, name: str = "p") -> PolicyDocument:
    """A policy, in a file of its name."""
    return _loaded(f"version: 1\nmetadata: {{name: {name}}}\n{text}\n", name)


def baseline(name: str, text: str = "") -> PolicyDocument:
    """A baseline, in a file of its name."""
    return _loaded(f"version: 1\nkind: Baseline\nmetadata: {{name: {name}}}\n{text}\n", name)


def _loaded(text: str, name: str) -> PolicyDocument:
    document = load_any(text.encode(), file=f"{name}.yaml")
    if not isinstance(document, PolicyDocument):
        raise TypeError(document)
    return document


def boundary(name: str, text: str = "") -> BoundaryDocument:
    """A boundary, in a file of its name."""
    text = f"version: 1\nkind: Boundary\nmetadata: {{name: {name}}}\n{text}\n"
    document = load_any(text.encode(), file=f"{name}.yaml")
    if not isinstance(document, BoundaryDocument):
        raise TypeError(document)
    return document


def compiled(document: PolicyDocument, *others: PolicyDocument | BoundaryDocument, **options: Any) -> Plan:
    """The plan of `document` among `others`."""
    return compile_policy(document, **_arguments(others, options))


def findings(
    document: PolicyDocument, *others: PolicyDocument | BoundaryDocument, **options: Any
) -> tuple[Finding, ...]:
    """What is found about `document` among `others`."""
    return check_policy(document, **_arguments(others, options))


def refused(
    document: PolicyDocument, *others: PolicyDocument | BoundaryDocument, **options: Any
) -> tuple[Finding, ...]:
    """The errors that keep `document` from being compiled."""
    with pytest.raises(PolicyError) as caught:
        compiled(document, *others, **options)
    return tuple(each for each in caught.value.findings if each.severity == "error")


def _arguments(
    others: tuple[PolicyDocument | BoundaryDocument, ...], options: dict[str, Any]
) -> dict[str, Any]:
    bundle: Bundle = make_bundle(others)
    return {"base_dir": "/base", "now_ns": None, "bundle": bundle} | options
