"""Files that a person names on the command line: policies and modules, and what is said of bad ones.

What is wrong with a document is found in `policy/`, with a module in `sandbox.admission`. INVARIANT: every
finding is told, not the first one only, and a path or a text in a message is inert.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from api.policies import plan_of
from audit.inert import inert
from policy.errors import Finding, PolicyError, Severity
from policy.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from api.library import Library
    from api.settings import Settings
    from policy.bundle import Bundle
    from policy.plan import Limits, Plan

_MAX_POLICY_BYTES = 2 << 20  # the loader takes 1 MiB, and says so itself


class UnreadableError(Exception):
    """A file that was named cannot be read, or not be written."""

    def __init__(self, what: str, path: str, problem: str) -> None:
        """Keep what it was to be, which file it is, and why not."""
        super().__init__(f"{what} {inert(path)}: {problem}")
        self.what = what
        self.path = path
        self.problem = problem


def read_file(path: str, *, what: str, max_bytes: int | None = None) -> bytes:
    """Give the bytes of a file, `max_bytes` and one at most; raises UnreadableError."""
    try:
        with Path(path).open("rb") as file:
            return file.read() if max_bytes is None else file.read(max_bytes + 1)
    except (OSError, ValueError) as err:
        problem = err.strerror if isinstance(err, OSError) and err.strerror else "not a path"
        raise UnreadableError(what, path, problem.lower()) from err


def read_module(path: str, limits: Limits | None = None) -> bytes:
    """Give the bytes of a module; of one larger than the limits allow, no more than shows that."""
    max_bytes = limits.module_bytes if limits and limits.module_bytes >= 0 else None
    return read_file(path, what="module", max_bytes=max_bytes)


def read_policy(path: str) -> tuple[bytes, str]:
    """Give a policy's text, and the folder that its relative paths start from; raises UnreadableError."""
    text = read_file(path, what="policy", max_bytes=_MAX_POLICY_BYTES)
    folder = str(Path(path).resolve().parent)
    try:
        folder.encode()
    except UnicodeEncodeError as err:  # a rule for `fs:./…` could not be written down
        raise UnreadableError("policy", path, "the name of its folder is no valid UTF-8") from err
    return text, folder


def load_plan(
    path: str,
    *,
    library: Sequence[str] = (),
    tenant: str | None = None,
    is_study: bool = False,
    subject: Subject | None = None,
    settings: Settings | None = None,
) -> Plan:
    """Compile the policy in a file, now; raises UnreadableError and PolicyError.

    `library` are further folders of baselines and boundaries: that of the settings always counts. With
    `is_study` a part that this version can't enforce is a warning, and the plan can't be run. `subject` is
    what it is compiled for, the tenant alone when it is None. The settings are read when they are not given.
    """
    text, base_dir = read_policy(path)
    return plan_of(
        text,
        file=path,
        base_dir=base_dir,
        is_stored=False,
        bundle=load_folders(library, settings).bundle,
        subject=subject or Subject(tenant=tenant),
        is_study=is_study,
    )


def load_bundle(library: Sequence[str]) -> Bundle:
    """Give the baselines and boundaries of the settings' folder and of `library`; raises as `load_plan`."""
    return load_folders(library).bundle


def load_folders(library: Sequence[str], settings: Settings | None = None) -> Library:
    """Read the settings' folder of policies and those of `library`; errors as in `load_plan`."""
    from api.library import Folder, LibraryError, load_library
    from api.settings import SettingsError, load_settings

    try:
        # SECURITY: the settings' folder cannot be left out, so no boundary in it can
        folders = [Folder.of_settings(settings or load_settings())]
        folders += [Folder(Path(name), name) for name in library]
        return load_library(folders)
    except LibraryError as err:
        raise UnreadableError("library", err.path, err.problem) from err
    except SettingsError as err:
        raise UnreadableError("settings", ", ".join(err.faults), "not usable") from err


def show_findings(findings: tuple[Finding, ...], stream: TextIO | None = None) -> None:
    """Print each finding with the line of the document and a caret."""
    out = stream or sys.stderr
    for finding in findings:
        out.write(finding.render_with_source() + "\n")
    errors = sum(finding.severity is Severity.ERROR for finding in findings)
    warnings = len(findings) - errors
    if findings:
        out.write(f"{_count(errors, 'error')}, {_count(warnings, 'warning')}\n")


def show_policy_error(error: PolicyError) -> None:
    """Print on standard error everything that is wrong with a policy."""
    show_findings(error.findings)


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")
