"""Files of documents, checked: what `policy/` finds about each, with what only a machine can say.

Files are read in `loading.py`, folders in `library.py`. INVARIANT: a file that can't be read as a document is
a finding about that file, and the others are checked all the same.
"""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from api.loading import load_folders, read_policy
from policy.checking import check_document
from policy.document import PolicyTestDocument, load_any
from policy.errors import PolicyError, capped
from policy.salvage import salvage
from policy.source import load_source
from policy.subject import Subject
from policy.text import MAX_FINDINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from api.library import Library
    from policy.document import AnyDocument
    from policy.errors import Finding


def check_files(
    files: Sequence[str], *, library: Sequence[str] = (), tenant: str | None = None, is_stored: bool = False
) -> tuple[Finding, ...]:
    """Every error and warning about the documents in `files`, file by file; arguments as in `load_plan`.

    Raises UnreadableError, and PolicyError for a baseline or a boundary of the library with errors.
    """
    kept = load_folders(library)
    found: list[Finding] = []
    for file in files:
        text, base_dir = read_policy(file)
        told = partial(
            check_document,
            base_dir=base_dir,
            now_ns=time.time_ns(),
            is_stored=is_stored,
            bundle=kept.bundle,
            subject=Subject(tenant=tenant),
            real_path=real_path,
        )
        try:
            document = load_any(text, file=file)
        except PolicyError as err:
            found += _with_rest(err, text, file, told)
            continue
        found += told(document)
        if isinstance(document, PolicyTestDocument):
            found += _reference(document, kept, Path(base_dir))
    return tuple(found)


def _with_rest(
    err: PolicyError, text: bytes, file: str, check: Callable[[AnyDocument], tuple[Finding, ...]]
) -> tuple[Finding, ...]:
    """Give the faults of a document's shape, and what there is to say of the rest of it."""
    if len(err.findings) >= MAX_FINDINGS:
        return err.findings
    try:
        rest = salvage(load_source(text, file=file))
    except PolicyError:
        rest = None  # the text itself can't be read
    if rest is None:
        return err.findings
    more = rest.telling(check(rest.document))
    return capped(PolicyError((*err.findings, *more)).findings, most=MAX_FINDINGS)


def real_path(path: str) -> str | None:
    """Where a path of this machine leads, its links followed; None when nothing is there."""
    try:
        return os.path.realpath(path, strict=True)
    except (OSError, ValueError):
        return None


def _reference(document: PolicyTestDocument, kept: Library, folder: Path) -> Iterator[Finding]:
    """Yield an error where the policy that tests are about is no file beside them, nor in the library."""
    from api.library import LibraryError

    name = document.model.policy
    if "\0" not in name and (folder / name).is_file():
        return
    try:
        kept.policy(name)
    except LibraryError as err:
        problem = f"no file beside this one, and no policy of the library: {err.problem}"
        yield document.source.finding("unknown-policy", ("policy",), problem=problem)
