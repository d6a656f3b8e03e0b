"""The policy that governs a module for a tenant, found in a library and compiled for it.

Which one that is decides `policy.resolution`; how folders are read stands in `library.py`. INVARIANT: a plan
comes out only if one binding allows it and the policy itself says that it is for this module and tenant.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from api.library import LibraryError, UngovernedError, read_resolution
from api.policies import plan_of
from policy.bindings import load_bindings
from policy.decide import decide_module
from policy.decisions import Deny
from policy.errors import PolicyError
from policy.resolution import Ambiguous, NoPolicy, Resolution, Resolved, resolve

if TYPE_CHECKING:
    from api.library import Folder, Library
    from policy.plan import Plan
    from policy.subject import Subject


class BindingsError(LibraryError):
    """A model or bindings with errors; carries all of them."""

    def __init__(self, error: PolicyError, problem: str) -> None:
        """Keep the findings, and the first of them as a sentence."""
        super().__init__("resolution", problem)
        self.findings = error.findings


@dataclass(frozen=True, slots=True)
class Governed:
    """A module under the policy that governs it."""

    plan: Plan
    resolution: Resolved


def resolution_of(folder: Folder, subject: Subject) -> Resolution:
    """Ask the bindings of a folder; raises LibraryError when they can't be used."""
    (model_file, model), (file, text) = read_resolution(folder)
    try:
        bindings = load_bindings(model, text, model_file=model_file, file=file)
    except PolicyError as err:
        first, *others = err.findings
        more = f", and {len(others)} more" if others else ""
        raise BindingsError(err, f"{first.render()}{more}") from err
    return resolve(
        bindings,
        tenant=subject.tenant or "",
        module_name=subject.module_name or "",
        module_digest=subject.module_digest or "",
    )


def governed(library: Library, folder: Folder, subject: Subject) -> Governed:
    """Give the plan of the policy that the bindings of `folder` name, out of `library`.

    Raises UngovernedError, LibraryError and PolicyError.
    """
    if not (folder.path / "resolution").is_dir():
        raise UngovernedError(subject, "none was named, and there are no bindings", ())
    found = resolution_of(folder, subject)
    match found:
        case Resolved():
            return Governed(_plan(library, subject, found), found)
        case NoPolicy(chain):
            raise UngovernedError(subject, "no binding allows one", chain)
        case Ambiguous(bindings, chain):
            both = " and ".join(map(str, bindings))
            raise UngovernedError(subject, f"it is ambiguous: {both}", chain)
        case _:
            assert_never(found)


def with_resolution(receipt: str, found: Resolved) -> str:
    """Add to a receipt, as JSON, by which binding its policy came to govern."""
    about = {"policy": found.policy_name, "line": found.binding.line, "steps": list(found.chain)}
    return json.dumps({**json.loads(receipt), "resolution": about}, separators=(",", ":"), sort_keys=True)


def _plan(library: Library, subject: Subject, found: Resolved) -> Plan:
    kept = library.policy(found.policy_name)
    try:
        text = kept.path.read_bytes()
    except OSError as err:
        raise LibraryError(kept.file, (err.strerror or "cannot be read").lower()) from err
    if hashlib.sha256(text).hexdigest() != kept.document.digest.removeprefix("sha256:"):
        raise LibraryError(kept.file, "it changed while it was read")
    plan = plan_of(
        text,
        file=kept.file,
        base_dir=str(kept.path.parent.resolve()),
        is_stored=True,
        bundle=library.bundle,
        subject=subject,
    )
    answer = decide_module(
        plan,
        digest=subject.module_digest or "",
        name=subject.module_name or "",
        tenant=subject.tenant,
    )
    if isinstance(answer, Deny):
        raise UngovernedError(subject, f"{found.binding}, but {answer.reason}", found.chain)
    return plan
