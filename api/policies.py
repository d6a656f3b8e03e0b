"""Policies that the service knows: by name from a folder of people, by digest when they were handed over.

What a document means is `policy/`. A stored policy says which modules it is for. INVARIANT: a policy that
cannot be read, or has one error, gives no plan: it is never taken for an empty or an older one.
"""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from api.library import Folder, Library, LibraryError, load_library
from audit.store import publish
from policy import PolicyError, check_policy, compile_policy, load_document
from policy.bundle import ALONE, Bundle
from policy.subject import ANYONE, Subject

if TYPE_CHECKING:
    from pathlib import Path

    from policy import Finding, Plan

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_ENDINGS = (".yaml", ".yml", ".json", ".toml")


class PolicyMissingError(Exception):
    """No policy of that name or digest is known."""

    def __init__(self, reference: str, problem: str = "no such policy") -> None:
        """Keep which, and what is wrong."""
        super().__init__(f"{reference[:100]}: {problem}")
        self.reference = reference[:100]
        self.problem = problem


@dataclass(frozen=True, slots=True)
class PolicyText:
    """A document as it is kept, and the plan that it makes."""

    reference: str  # the name or the digest that it is asked for by
    text: bytes
    file: str  # how findings name it
    base_dir: str  # where `fs:./…` starts from


def plan_of(
    text: bytes,
    *,
    file: str,
    base_dir: str,
    is_stored: bool,
    bundle: Bundle = ALONE,
    subject: Subject = ANYONE,
    is_study: bool = False,
) -> Plan:
    """Compile a document now; raises PolicyError with every finding."""
    document = load_document(text, file=file)
    return compile_policy(
        document,
        base_dir=base_dir,
        now_ns=time.time_ns(),
        is_stored=is_stored,
        bundle=bundle,
        subject=subject,
        is_study=is_study,
    )


def findings_of(
    text: bytes,
    *,
    file: str,
    base_dir: str,
    is_stored: bool,
    bundle: Bundle = ALONE,
    subject: Subject = ANYONE,
    is_study: bool = False,
) -> tuple[Finding, ...]:
    """Every error and warning about a document that can be read; raises PolicyError for one that can't."""
    document = load_document(text, file=file)
    return check_policy(
        document,
        base_dir=base_dir,
        now_ns=time.time_ns(),
        is_stored=is_stored,
        bundle=bundle,
        subject=subject,
        is_study=is_study,
    )


class PolicyStore:
    """Two folders of policies; thread-safe, and read anew at each use."""

    def __init__(self, *, named: Path, uploaded: Path, is_optional: bool = False) -> None:
        """`named` is kept by people, and may be missing if it is optional; `uploaded` is private."""
        self._named = named
        self._uploaded = uploaded
        self._folder = Folder(named, "", is_optional=is_optional)

    def names(self) -> tuple[str, ...]:
        """Give the names of the policies in the folder, whether they are valid or not."""
        found = {
            path.stem
            for path in (self._named.iterdir() if self._named.is_dir() else ())
            if path.suffix in _ENDINGS and _NAME.match(path.stem)
        }
        return tuple(sorted(found))

    def digests(self) -> tuple[str, ...]:
        """Give the digests of the policies that were handed over."""
        return tuple(sorted(f"sha256:{path.stem}" for path in self._uploaded.glob("[!.]*.yaml")))

    def put(self, text: bytes) -> str:
        """Keep a document, durably, and give its digest; raises PolicyError if it makes no plan."""
        self.plan_inline(text, is_stored=True)
        # not the plan's digest of its documents: that one changes with each baseline and boundary
        digest = hashlib.sha256(text).hexdigest()
        publish(self._uploaded / f"{digest}.yaml", text)
        return f"sha256:{digest}"

    def text(self, reference: str) -> PolicyText:
        """Give a document by name or digest; raises PolicyMissingError."""
        if _DIGEST.match(reference):
            path = self._uploaded / f"{reference.removeprefix('sha256:')}.yaml"
            return self._read(reference, path, file=reference)
        # SECURITY: a name is one segment of a path, so it leads nowhere else
        if not _NAME.match(reference):
            raise PolicyMissingError(
                reference, "expected a name of letters, digits, `.`, `_` and `-`, or a digest"
            )
        for ending in _ENDINGS:
            path = self._named / f"{reference}{ending}"
            if path.is_file():
                return self._read(reference, path, file=path.name)
        raise PolicyMissingError(reference)

    def plan(self, reference: str, subject: Subject = ANYONE) -> Plan:
        """Compile a policy by name or digest.

        Raises PolicyMissingError, PolicyError, and LibraryError for baselines or boundaries with errors.
        """
        found = self.text(reference)
        plan = plan_of(
            found.text,
            file=found.file,
            base_dir=found.base_dir,
            is_stored=True,
            bundle=self.library().bundle,
            subject=subject,
        )
        # SECURITY: a file of the digest folder may have been exchanged
        if _DIGEST.match(reference) and reference != f"sha256:{hashlib.sha256(found.text).hexdigest()}":
            raise PolicyMissingError(reference, "the file has changed on disk; hand the policy over again")
        return plan

    def plan_inline(self, text: bytes, *, is_stored: bool = False, subject: Subject = ANYONE) -> Plan:
        """Compile a document that somebody sent; raises PolicyError and LibraryError."""
        return plan_of(
            text,
            file="policy",
            base_dir=str(self._named),
            is_stored=is_stored,
            bundle=self.library().bundle,
            subject=subject,
        )

    def plan_governing(self, subject: Subject) -> Plan:
        """Compile the policy that governs a module for a tenant.

        Raises UngovernedError, LibraryError, and PolicyError for a policy that governs and has errors.
        """
        from api.resolving import governed

        return governed(self.library(), self._folder, subject).plan

    def library(self) -> Library:
        """Read the folder of people; raises LibraryError if a baseline or boundary has errors."""
        try:
            return load_library((self._folder,))
        except PolicyError as err:
            raise LibraryError(err.findings[0].file, err.findings[0].render()) from err

    def _read(self, reference: str, path: Path, *, file: str) -> PolicyText:
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            raise PolicyMissingError(reference) from None
        except OSError as err:
            raise PolicyMissingError(reference, f"cannot be read: {err.strerror}") from err
        return PolicyText(reference, text, file, str(self._named))
