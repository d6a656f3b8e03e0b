"""Modules that were handed over, kept by the digest of their bytes.

Whether one may run is decided at each run by `sandbox.admission`. Nothing is compiled here. INVARIANT: bytes
that are handed out have the digest they were asked for by, whatever happened to the file in the meantime.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NewType

from audit.store import publish

if TYPE_CHECKING:
    from pathlib import Path

ModuleDigest = NewType("ModuleDigest", str)

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_MAX_NAME = 200


class ModuleMissingError(Exception):
    """No module of that digest is kept, or what is there is no longer that module."""

    def __init__(self, digest: str, problem: str = "no such module is kept here") -> None:
        """Keep which, and what is wrong."""
        super().__init__(f"{digest}: {problem}")
        self.digest = digest
        self.problem = problem


@dataclass(frozen=True, slots=True)
class StoredModule:
    """One module that is kept."""

    digest: ModuleDigest
    name: str  # what it was first handed over as; text of the caller's
    size_bytes: int
    stored_at_ns: int


def module_digest(text: str) -> ModuleDigest:
    """Check the form of a digest; raises ModuleMissingError."""
    if not _DIGEST.match(text):
        raise ModuleMissingError(text[:80], "expected `sha256:` and 64 hexadecimal digits")
    return ModuleDigest(text)


class ModuleStore:
    """A folder of modules; thread-safe, and several processes may share it."""

    def __init__(self, folder: Path) -> None:
        """Keep modules in `folder`, which is there and private."""
        self._folder = folder

    def put(self, module: bytes, *, name: str = "") -> ModuleDigest:
        """Keep a module, durably; one that is there already stays as it is, with its name."""
        digest = ModuleDigest(f"sha256:{hashlib.sha256(module).hexdigest()}")
        path = self._path(digest)
        if not path.is_file() or path.stat().st_size != len(module):
            about = {"name": name[:_MAX_NAME]}
            publish(path.with_suffix(".json"), json.dumps(about).encode())
            publish(path, module)
        return digest

    def get(self, digest: ModuleDigest) -> bytes:
        """Give the bytes of a module; raises ModuleMissingError."""
        try:
            module = self._path(digest).read_bytes()
        except FileNotFoundError:
            raise ModuleMissingError(digest) from None
        # SECURITY: the file may have been damaged or exchanged since it was written
        if hashlib.sha256(module).hexdigest() != digest.removeprefix("sha256:"):
            raise ModuleMissingError(digest, "the file has changed on disk; hand the module over again")
        return module

    def about(self, digest: ModuleDigest) -> StoredModule:
        """Give what is known of a module without reading it; raises ModuleMissingError."""
        path = self._path(digest)
        try:
            status = path.stat()
        except FileNotFoundError:
            raise ModuleMissingError(digest) from None
        return StoredModule(digest, _name(path.with_suffix(".json")), status.st_size, status.st_mtime_ns)

    def list(self) -> tuple[StoredModule, ...]:
        """Give all modules, by digest."""
        found = sorted(path.stem for path in self._folder.glob("[!.]*.wasm"))
        names = [f"sha256:{stem}" for stem in found]
        return tuple(self.about(ModuleDigest(name)) for name in names if _DIGEST.match(name))

    def _path(self, digest: ModuleDigest) -> Path:
        return self._folder / f"{module_digest(digest).removeprefix('sha256:')}.wasm"


def _name(path: Path) -> str:
    try:
        return str(json.loads(path.read_bytes())["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # the name is for people only
