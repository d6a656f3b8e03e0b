"""What guests wrote to their standard streams, kept as files until somebody asks for it.

What is captured is the policy's matter, and how much of it there may be; records are in `audit/`. The bytes
are the guest's, hostile, and kept as they came. INVARIANT: a name is made of a checked execution id only.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from audit.identity import execution_id

if TYPE_CHECKING:
    from pathlib import Path

Stream = Literal["stdout", "stderr"]


class OutputStore:
    """A folder with up to two files for each execution."""

    def __init__(self, folder: Path) -> None:
        """Keep output in `folder`, which is there and private."""
        self._folder = folder

    def put(self, exec_id: str, stream: Stream, content: bytes) -> None:
        """Keep what was captured; nothing is written for nothing."""
        if not content:
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(self.path(exec_id, stream), flags, 0o600), "wb") as file:
            file.write(content)

    def get(self, exec_id: str, stream: Stream) -> bytes:
        """Give what was captured; nothing for a stream that was empty, not captured, or is unknown."""
        try:
            return self.path(exec_id, stream).read_bytes()
        except FileNotFoundError:
            return b""

    def path(self, exec_id: str, stream: Stream) -> Path:
        """Where a stream is kept, there or not; raises FormatError for what is no execution's id."""
        return self._folder / f"{execution_id(exec_id)}.{stream}"
