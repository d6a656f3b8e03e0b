"""Documents that stand together: the baselines a policy may extend, and the boundaries it must lie in.

Reading one document lives in `document.py`, and what is made of several in `effective.py` and
`boundary.py`. INVARIANT: names of baselines are unique and so are those of boundaries, and both stand in
the order of their names, whatever order they were read in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from policy.document import BoundaryDocument, PolicyDocument
from policy.errors import Finding, PolicyError, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from policy.document import AnyDocument

D = TypeVar("D", PolicyDocument, BoundaryDocument)


@dataclass(frozen=True, slots=True)
class Bundle:
    """The other documents that a policy is compiled with, ordered by name."""

    baselines: tuple[PolicyDocument, ...] = ()
    boundaries: tuple[BoundaryDocument, ...] = ()

    def baseline(self, name: str) -> PolicyDocument | None:
        """The baseline with this name."""
        return next((each for each in self.baselines if each.name == name), None)


ALONE = Bundle()
"""No other documents: `extends` finds nothing, and no boundary applies."""


def make_bundle(documents: Iterable[AnyDocument]) -> Bundle:
    """The baselines and boundaries among `documents`; policies and tests are passed over.

    Raises:
        PolicyError: when two baselines, or two boundaries, have one name.
    """
    baselines: list[PolicyDocument] = []
    boundaries: list[BoundaryDocument] = []
    for each in documents:
        if isinstance(each, BoundaryDocument):
            boundaries.append(each)
        elif isinstance(each, PolicyDocument) and each.model.kind == "Baseline":
            baselines.append(each)
    findings = (*_duplicates(baselines), *_duplicates(boundaries))
    if findings:
        raise PolicyError(findings)
    return Bundle(_by_name(baselines), _by_name(boundaries))


def _by_name(documents: list[D]) -> tuple[D, ...]:
    return tuple(sorted(documents, key=lambda each: each.name))


def _duplicates(documents: list[D]) -> tuple[Finding, ...]:
    first: dict[str, D] = {}
    found: list[Finding] = []
    # By file, so that the same one is called the second whatever order they were read in.
    for each in sorted(documents, key=lambda each: (each.source.file, each.digest)):
        other = first.setdefault(each.name, each)
        if other is not each:
            place = printable(other.source.file)
            problem = f"the {each.model.kind} {each.name} stands in {place} too: names are unique"
            found.append(each.source.finding("duplicate-name", ("metadata", "name"), problem=problem))
    return tuple(found)
