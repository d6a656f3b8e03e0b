"""Finds the policies that files of tests are about, compiles them for whom each test is, and runs it.

What a test means is `policy.testing`; folders are read in `library.py`. INVARIANT: a test that no policy can
be found for is an error, never passed over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from api.library import LibraryError
from api.loading import load_folders, read_policy
from api.policies import plan_of
from audit.inert import inert
from policy.bundle import make_bundle
from policy.document import BoundaryDocument, PolicyDocument, PolicyTestDocument, load_any
from policy.errors import PolicyError
from policy.subject import Subject
from policy.testing import ANY_MODULE, Coverage, Outcome, coverage, is_about, run_case

if TYPE_CHECKING:
    from collections.abc import Sequence

    from api.library import Library
    from policy.bundle import Bundle
    from policy.document import AnyDocument
    from policy.plan import Plan
    from policy.schema_test import Case


class NoPolicyError(Exception):
    """There is no policy to run a file's tests on."""


@dataclass(frozen=True, slots=True)
class Tested:
    """What came of all tests, and how far they reached, by policy."""

    outcomes: tuple[Outcome, ...]
    coverage: tuple[Coverage, ...]


@dataclass(slots=True)
class _Policy:
    """A policy, and the plans that it makes for different subjects."""

    file: str
    text: bytes
    base_dir: str
    bundle: Bundle
    names: tuple[str, ...]  # its own, and those of the modules it is for
    plans: dict[Subject, Plan] = field(default_factory=dict)

    def plan(self, subject: Subject) -> Plan:
        """The plan for `subject`; raises PolicyError."""
        if subject not in self.plans:
            self.plans[subject] = plan_of(
                self.text,
                file=self.file,
                base_dir=self.base_dir,
                is_stored=False,
                bundle=self.bundle,
                subject=subject,
                is_study=True,
            )
        return self.plans[subject]


def run_files(
    files: Sequence[str], policies: Sequence[str], *, library: Sequence[str], tenant: str | None
) -> Tested:
    """Run the tests in all files; raises UnreadableError, PolicyError and NoPolicyError."""
    kept = load_folders(library)
    outcomes: list[Outcome] = []
    reached: dict[str, tuple[Plan, list[Outcome]]] = {}
    known: dict[str, _Policy] = {}
    for file in files:
        text, _ = read_policy(file)
        document = load_any(text, file=file)
        found = [_named(name, kept, document, known) for name in policies or _about(file, document, kept)]
        for case in document.model.tests:
            about = [each for each in found if is_about(case, each.names)]
            if not about:
                raise NoPolicyError(
                    f"{inert(file)}: no policy for the test {inert(case.name)}: name it with --policy"
                )
            plans = [(policy, _plan(policy, _subject(case, tenant), document)) for policy in about]
            if not any(plan for _, plan in plans):
                raise NoPolicyError(f"{inert(file)}: no policy for the test {inert(case.name)} compiles")
            for policy, plan in plans:
                if plan is None:
                    continue
                outcome = run_case(plan, case)
                outcomes.append(outcome)
                reached.setdefault(policy.file, (plan, []))[1].append(outcome)
    return Tested(tuple(outcomes), tuple(coverage(plan, done) for plan, done in reached.values()))


def _plan(policy: _Policy, subject: Subject, tests: AnyDocument) -> Plan | None:
    """The plan; None for a policy with errors that nobody named, as that is run by nobody either."""
    try:
        return policy.plan(subject)
    except PolicyError:
        if isinstance(tests, BoundaryDocument):
            return None
        raise


def _subject(case: Case, tenant: str | None) -> Subject:
    module = None if case.given.module == ANY_MODULE else case.given.module
    return Subject(tenant=case.given.tenant or tenant, module_name=module)


def _about(file: str, document: AnyDocument, library: Library) -> list[str]:
    """The files of the policies that a document's tests are about."""
    match document:
        case PolicyTestDocument():
            beside = Path(file).parent / document.model.policy
            if beside.is_file():
                return [str(beside)]
            try:
                return [str(library.policy(document.model.policy).path)]
            except LibraryError as err:
                name = inert(document.model.policy)
                raise NoPolicyError(
                    f"{inert(file)}: no file beside it is {name}, and in the library {err.problem}: "
                    "name a policy with --policy, or its folder with --library"
                ) from err
        case BoundaryDocument():
            return [
                str(each.path)
                for each in library.documents
                if isinstance(each.document, PolicyDocument) and each.document.model.kind == "ModulePolicy"
            ]
        case PolicyDocument():
            return [file]


def _named(file: str, library: Library, tests: AnyDocument, known: dict[str, _Policy]) -> _Policy:
    """The policy in a file, compiled with the library, and with the boundary that is tested."""
    key = f"{file}\0{tests.digest if isinstance(tests, BoundaryDocument) else ''}"
    if key not in known:
        text, base_dir = read_policy(file)
        document = load_any(text, file=file)
        if not isinstance(document, PolicyDocument):
            raise NoPolicyError(f"{inert(file)}: not a policy but a {document.model.kind}")
        bundle = library.bundle
        if isinstance(tests, BoundaryDocument) and all(
            each.digest != tests.digest for each in bundle.boundaries
        ):
            bundle = make_bundle((*bundle.baselines, *bundle.boundaries, tests))
        match = getattr(document.model, "match", None)
        names = (document.name, *(() if match is None else match.name))
        known[key] = _Policy(file, text, base_dir, bundle, names)
    return known[key]
