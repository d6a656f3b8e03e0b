"""The frames of a log file that are no records: events of the control plane, and gaps that are on record.

What they say is `events.py`, which entries they become is `leaves.py`. INVARIANT: such a frame never belongs
to the rows of an execution, and one that this version can't read is an error, never left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from audit.events import ControlEvent, Gap
from audit.wal import Frame, Kind


@dataclass(frozen=True, slots=True)
class Controls:
    """What one log file tells besides records, in its order."""

    events: tuple[ControlEvent, ...] = ()
    gaps: tuple[Gap, ...] = ()


def controls(frames: Sequence[Frame]) -> Controls:
    """Read the events and gaps among frames; FormatError."""
    return Controls(
        tuple(ControlEvent.from_json(frame.payload) for frame in frames if frame.kind is Kind.EVENT),
        tuple(Gap.from_json(frame.payload) for frame in frames if frame.kind is Kind.GAP),
    )
