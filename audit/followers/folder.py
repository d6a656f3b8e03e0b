"""Checkpoints as files in a folder, on another file system, where the log's owner may only add.

Who can change that folder is the operator's matter. INVARIANT: a file that is there is never replaced, and
one that has its name is complete and durable.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from audit.followers.errors import SinkError
from audit.store import hidden_name, sync_directory
from audit.tlog.checkpoint import SignedCheckpoint
from audit.tlog.note import MAX_NOTE_BYTES
from audit.tlog.tile_files import read_file


@dataclass(frozen=True, slots=True)
class FolderSink:
    """A folder that is there already: one that is not is a disk that is not mounted."""

    path: Path

    def send(self, signed: SignedCheckpoint, *, before: int) -> None:  # noqa: ARG002  # as all sinks
        """Add `<size>-<hash>.checkpoint`; the hash is the first 16 digits of the note's SHA-256."""
        content = signed.note.content
        name = f"{signed.checkpoint.size}-{sha256(content).hexdigest()[:16]}.checkpoint"
        try:
            add_file(self.path / name, content)
        except FileExistsError:
            if read_file(self.path / name, most=MAX_NOTE_BYTES) != content:
                raise SinkError(str(self.path / name), "it is there and holds something else") from None
        except OSError as err:
            raise SinkError(str(self.path), err.strerror or str(err)) from err


def add_file(path: Path, content: bytes) -> None:
    """Write a file durably under a name that nothing has; FileExistsError if something has it."""
    hidden = hidden_name(path)
    handle = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(handle)
        os.link(hidden, path)  # a rename would replace what is there
    finally:
        with contextlib.suppress(OSError):
            hidden.unlink()
    sync_directory(path.parent)
