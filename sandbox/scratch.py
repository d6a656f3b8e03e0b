"""Directories for `tmp://` mounts: one for each run, and none when the run is over.

Which mounts are scratch is the plan's matter, opening them `preopens.py`. SECURITY: what a guest made is
removed without following its links. INVARIANT: a directory that nobody holds a lock on belongs to no run,
and goes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PRIVATE = 0o700
_LOCK = ".lock"


class Scratch:
    """The place where scratch directories are made; several processes may share it."""

    def __init__(self, root: Path) -> None:
        """Use `root`, which is made when the first directory is."""
        self._root = root

    @contextmanager
    def directory(self, name: str) -> Iterator[Path]:
        """Make an empty directory, and remove it with all that came into it."""
        with self._turn():
            folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._root))
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield folder
        finally:
            remove(folder)
            os.close(handle)

    def sweep(self) -> None:
        """Remove what was left by processes that are no more."""
        if not self._root.is_dir():
            return
        with self._turn():
            for folder in self._root.iterdir():
                with contextlib.suppress(OSError):
                    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
                    try:
                        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        remove(folder)
                    finally:
                        os.close(handle)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Hold the lock under which directories are made and swept, so that none is swept half made."""
        self._root.mkdir(parents=True, exist_ok=True, mode=_PRIVATE)
        handle = os.open(self._root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def remove(folder: Path) -> bool:
    """Remove a directory of ours, also if its content cannot be read; says whether it is gone."""
    shutil.rmtree(folder, ignore_errors=True)
    if not os.path.lexists(folder):
        return True
    # what cannot be searched or written hides what is in it: take that away, top down
    with contextlib.suppress(OSError):
        folder.chmod(_PRIVATE)
    for place, names, _ in os.walk(folder, followlinks=False):
        for inner in (Path(place, name) for name in names):
            with contextlib.suppress(OSError):
                if not inner.is_symlink():  # nobody else writes here: the cell is gone
                    inner.chmod(_PRIVATE)
    shutil.rmtree(folder, ignore_errors=True)
    return not os.path.lexists(folder)
