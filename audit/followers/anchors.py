"""Sends each new signed checkpoint to a place outside the log, the newest one if there were several.

How it is sent is the sinks' matter (`folder.py`, `webhook.py`, `syslog.py`, `witness.py`, `timestamp.py`). A
position is the size and the root of the checkpoint that was taken last. INVARIANT: only a checkpoint with a
true signature is sent, and none that does not extend the one before.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from audit.followers.errors import HistoryError
from audit.followers.state import State
from audit.tlog.checkpoint import Checkpoint, SignedCheckpoint
from audit.tlog.errors import DamageError
from audit.tlog.log import TransparencyLog
from audit.tlog.rotation import open_published


class AnchorSink(Protocol):
    """Where checkpoints go."""

    def send(self, signed: SignedCheckpoint, *, before: int) -> None:
        """Hand over a checkpoint; `before` is the size of the last one that was taken, or 0.

        The same one may be handed over again. Raises SinkError, OSError or AuditError if it was not taken.
        """


@dataclass(frozen=True, slots=True)
class Anchoring:
    """The work of a follower of checkpoints."""

    log: TransparencyLog
    sink: AnchorSink
    every_s: int = 0  # seconds between two at least
    now: Callable[[], float] = field(default=time.time)

    def step(self, state: State) -> State | None:
        """Send the newest checkpoint if it was not sent; see `Work`."""
        is_early = state.root is not None and 0 <= self.now() - state.done_at_s < self.every_s
        found = None if is_early else open_published(self.log.directory)
        if found is None:
            return None
        signed = found[0]
        head = signed.checkpoint
        if (head.size, head.root.hex()) == (state.leaf, state.root):
            return None
        self._check(state, head)
        self.sink.send(signed, before=state.leaf)
        return replace(state, leaf=head.size, row=0, root=head.root.hex(), done_at_s=int(self.now()))

    def _check(self, state: State, head: Checkpoint) -> None:
        if head.size > self.log.size or self.log.hash_of_tree(head.size) != head.root:
            raise DamageError(
                self.log.directory / "checkpoint", "the leaves have another root than is signed"
            )
        if state.root is None:
            return
        if head.size < state.leaf:
            raise HistoryError(state.leaf, f"the signed one has {head.size}")
        if self.log.hash_of_tree(state.leaf).hex() != state.root:
            raise HistoryError(state.leaf, "the log does not begin with it")
