"""How far a follower is, in a file of its own that is replaced as a whole.

What the numbers mean to a follower says its work (`anchors.py`, `refusals.py`). A file that can't be read is
as good as none: everything is sent again. INVARIANT: a state that `save` returned from is what `load` gives
after a crash, and two processes never hold the same state.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from audit import canonical
from audit.errors import FormatError
from audit.followers.errors import BusyFollowerError
from audit.store import make_directory, publish
from audit.tlog.errors import DamageError
from audit.tlog.tile_files import read_file

_STATE_BYTES = 8_192
_LONGEST = 1_000  # characters of a problem


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How far a follower is."""

    leaf: int = 0  # so many leaves of the log are done
    row: int = 0  # of the segment that the next leaf names, so many refusals are done
    root: str | None = None  # over those leaves, in hexadecimal; None: nothing was done yet
    done_at_s: int = 0  # when something was taken last, in seconds since 1970
    rejected: int = 0  # records that a receiver took and would not keep
    failures: int = 0  # in a row
    problem: str | None = None  # why it does not go on; None: it does


class StateFile:
    """The file of one follower."""

    def __init__(self, folder: Path, name: str) -> None:
        """Touch no disk; `name` is a checked name."""
        self.name = name
        self.path = folder / f"{name}.json"

    def load(self) -> State:
        """Give the state; that of a new follower if there is none, or none that can be read."""
        try:
            read = canonical.loads(self.name, read_file(self.path, most=_STATE_BYTES))
            found = State(
                leaf=read.integer("leaf"),
                row=read.integer("row"),
                root=read.optional_text("root"),
                done_at_s=read.integer("done_at_s"),
                rejected=read.integer("rejected"),
                failures=read.integer("failures"),
                problem=read.optional_text("problem"),
            )
        except FileNotFoundError:
            return State()
        except (FormatError, DamageError):
            return State(problem="how far it was could not be read: everything is sent again")
        if min(found.leaf, found.row, found.rejected, found.failures) < 0:
            return State(problem="how far it was could not be read: everything is sent again")
        return found

    def save(self, state: State) -> None:
        """Replace the state, durably; WriteError."""
        document: dict[str, canonical.Json] = {
            "leaf": state.leaf,
            "row": state.row,
            "root": state.root,
            "done_at_s": state.done_at_s,
            "rejected": state.rejected,
            "failures": state.failures,
            "problem": None if state.problem is None else state.problem[:_LONGEST],
        }
        make_directory(self.path.parent)
        publish(self.path, canonical.dumps(document) + b"\n")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes and threads away; raises BusyFollowerError at once if one is there."""
        make_directory(self.path.parent)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        handle = os.open(self.path.with_suffix(".lock"), flags, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BusyFollowerError(self.name) from None
            yield
        finally:
            os.close(handle)
