"""What is gone when somebody removed, replaced or cut a log file under its writer.

How that is noticed is `log_file.py`, and what is done about it `writer.py`. INVARIANT: each record that was
in the file, and is neither left in it nor written again, is in one of the gaps.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from audit.events import Gap
from audit.wal import Frame, Kind, read_live

if TYPE_CHECKING:
    from audit.identity import ExecutionId
    from audit.log_file import LogFile


def gaps_of(file: LogFile, kept: Iterable[Frame], *, problem: str) -> Iterator[Gap]:
    """Give the gaps; `kept` are frames of the file that are written again elsewhere."""
    at_ns = time.time_ns()
    reason = f"{file.path.name}: {problem}" + (f", and {file.events} events with it" if file.events else "")
    yield Gap(exec_id=None, first_seq=None, last_seq=None, reason=reason, at_ns=at_ns)
    left, again = _ends(_left(file)), _begins(kept)
    for exec_id, (first, following) in file.spans.items():
        low = max(first, left.get(exec_id, 0))
        high = min(following, again.get(exec_id, following)) - 1
        if first >= 0 and low <= high:
            reason = f"they were in {file.path.name}: {problem}"
            yield Gap(exec_id=exec_id, first_seq=low, last_seq=high, reason=reason, at_ns=at_ns)


def _left(file: LogFile) -> tuple[Frame, ...]:
    """Give what can still be read of the file under its name."""
    held = os.fstat(file.handle)
    with contextlib.suppress(OSError):
        named = file.path.stat(follow_symlinks=False)
        if (named.st_ino, named.st_dev) == (held.st_ino, held.st_dev):
            return read_live(file.path).frames
    return ()


def _ends(frames: Iterable[Frame]) -> dict[ExecutionId, int]:
    return {one.exec_id: one.first_seq + one.n_records for one in frames if one.kind is Kind.RECORDS}


def _begins(frames: Iterable[Frame]) -> dict[ExecutionId, int]:
    found: dict[ExecutionId, int] = {}
    for one in frames:
        if one.kind is Kind.RECORDS:
            found.setdefault(one.exec_id, one.first_seq)
    return found
