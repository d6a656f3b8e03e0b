"""Folders of documents: the baselines, boundaries and named policies that a policy is compiled with.

What the documents mean is `policy/`; which folders count for a command is `loading.py`. INVARIANT: what
cannot be read is an error, never taken for a folder without boundaries, and nothing outside a folder is read.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from audit.inert import inert
from policy.bundle import ALONE, Bundle, make_bundle
from policy.document import PolicyDocument, load_any
from policy.errors import PolicyError
from policy.source import load_source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from api.settings import Settings
    from policy.document import AnyDocument
    from policy.errors import Finding
    from policy.subject import Subject

ENDINGS = (".json", ".toml", ".yaml", ".yml")
MAX_DOCUMENTS = 2_000
MAX_BYTES = 64 << 20  # of all documents
MAX_DEPTH = 16
_MAX_DOCUMENT = 1 << 20  # the reader of documents takes as much, and says so itself
_OTHER_KINDS = ("ModulePolicy", "PolicyTest")


class LibraryError(Exception):
    """A folder of documents, or a file in it, cannot be used."""

    def __init__(self, path: str, problem: str) -> None:
        """Keep which, and why not."""
        super().__init__(f"library {inert(path)}: {problem}")
        self.path = path
        self.problem = problem


class UngovernedError(Exception):
    """No policy governs the module for the tenant, or more than one could."""

    def __init__(self, subject: Subject, problem: str, chain: tuple[str, ...]) -> None:
        """Keep for whom, what is wrong, and the steps that led there."""
        module, tenant = inert(subject.module_name or "?"), inert(subject.tenant or "?")
        super().__init__(f"no policy governs {module} for tenant {tenant}: {problem}")
        self.problem = problem
        self.chain = chain


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder of a library, and how its files are named to whoever reads of them."""

    path: Path
    label: str  # stands before the path within the folder; empty for none
    is_optional: bool = False  # it need not be there

    @staticmethod
    def of_settings(settings: Settings) -> Folder:
        """The folder of the settings; only one that nobody named may be missing."""
        path = settings.policies_dir
        return Folder(path, str(path), is_optional=path == settings.home / "policies")


@dataclass(frozen=True, slots=True)
class Kept:
    """One document of a library."""

    path: Path
    file: str  # how findings name it
    document: AnyDocument


@dataclass(frozen=True, slots=True)
class Library:
    """Everything that was read, in the order of the folders and of names."""

    documents: tuple[Kept, ...] = ()
    unusable: tuple[str, ...] = ()  # files that hold a policy with errors, which may be nobody's concern
    bundle: Bundle = ALONE

    def policy(self, name: str) -> Kept:
        """Give the policy of that name; raises LibraryError unless there is exactly one."""
        found = [each for each in self.documents if _is_policy(each.document) and each.document.name == name]
        if len(found) == 1:
            return found[0]
        if found:
            files = ", ".join(inert(each.file) for each in found)
            raise LibraryError(name, f"several documents are the policy of that name: {files}")
        broken = f"; with errors: {', '.join(map(inert, self.unusable[:5]))}" if self.unusable else ""
        raise LibraryError(name, f"no document is the policy of that name{broken}")


def load_library(folders: Sequence[Folder]) -> Library:
    """Read every document in the folders; a file that stands in two of them is read once.

    A policy or a test with errors is passed over: nothing is compiled with it. Raises LibraryError for what
    cannot be read, and PolicyError for a document that is, or could be, a baseline or a boundary with errors.
    """
    kept: dict[str, Kept] = {}
    unusable: list[str] = []
    findings: list[Finding] = []
    size = 0
    for folder in folders:
        for path, file in _files(folder):
            real = os.path.realpath(path)
            if real in kept:
                continue
            text = _read(path, file)
            size += len(text)
            if size > MAX_BYTES or len(kept) >= MAX_DOCUMENTS:
                raise LibraryError(file, f"more than {MAX_DOCUMENTS} documents or {MAX_BYTES >> 20} MiB")
            try:
                kept[real] = Kept(path, file, _load(text, file))
            except PolicyError as err:
                if not _is_of_no_concern(text, file):
                    findings += err.findings
                unusable.append(file)
    if findings:
        raise PolicyError(tuple(findings))
    documents = tuple(kept.values())
    return Library(documents, tuple(unusable), make_bundle(each.document for each in documents))


def read_resolution(folder: Folder) -> tuple[tuple[str, str], tuple[str, str]]:
    """Give the names and texts of the model and the bindings of a folder; raises LibraryError."""
    texts = []
    for name in ("model.conf", "bindings.csv"):
        path = folder.path / "resolution" / name
        file = _label(folder, f"resolution/{name}")
        _check_inside(folder, path, file)
        try:
            texts.append((file, _read(path, file).decode()))
        except UnicodeDecodeError as err:
            raise LibraryError(file, "not valid UTF-8") from err
    return texts[0], texts[1]


def _is_policy(document: AnyDocument) -> bool:
    return isinstance(document, PolicyDocument) and document.model.kind == "ModulePolicy"


@lru_cache(maxsize=512)
def _load(text: bytes, file: str) -> AnyDocument:
    """The same text makes the same document, so a service reads it once."""
    return load_any(text, file=file)


def _is_of_no_concern(text: bytes, file: str) -> bool:
    """Whether a document with errors is certainly neither a baseline nor a boundary."""
    try:
        value = load_source(text, file=file).value
    except PolicyError:
        return False
    # SECURITY: a boundary whose kind is missing or misspelt must not count as none
    if not isinstance(value, dict) or "ceiling" in value:
        return False
    return value.get("kind", "ModulePolicy") in _OTHER_KINDS


def _files(folder: Folder) -> Iterator[tuple[Path, str]]:
    """Each document's path and label, sorted; hidden names are no documents."""

    def fail(err: OSError) -> None:
        is_missing = err.errno == errno.ENOENT and str(err.filename) == str(folder.path)
        if not (folder.is_optional and is_missing):
            within = os.path.relpath(err.filename, folder.path)
            raise LibraryError(_label(folder, within), (err.strerror or "cannot be read").lower()) from err

    for root, folders, files in os.walk(folder.path, onerror=fail):
        here = Path(root)
        within = here.relative_to(folder.path)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if folders and len(within.parts) >= MAX_DEPTH:
            raise LibraryError(_label(folder, str(within)), f"more than {MAX_DEPTH} folders deep")
        for name in folders:
            if (here / name).is_symlink():
                raise LibraryError(
                    _label(folder, str(within / name)), "a link to a folder, which is not followed"
                )
        for name in sorted(files):
            # SECURITY: a boundary in CEILING.YAML must not count as none
            if name.lower().endswith(ENDINGS) and not name.startswith("."):
                file = _label(folder, str(within / name))
                _check_inside(folder, here / name, file)
                yield here / name, file


def _label(folder: Folder, within: str) -> str:
    return str(Path(folder.label) / within) if folder.label else within


def _check_inside(folder: Folder, path: Path, file: str) -> None:
    """Refuse a link that leads out of its folder."""
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder.path)):
        raise LibraryError(file, "a link that leads out of the folder")


def _read(path: Path, file: str) -> bytes:
    try:
        # without waiting: a pipe that calls itself a document has no other end
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise LibraryError(file, "not a file")
            return opened.read(_MAX_DOCUMENT + 1)
    except OSError as err:
        raise LibraryError(file, (err.strerror or "cannot be read").lower()) from err
