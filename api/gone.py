"""What was deleted of an execution: its segments that retention took, and the events that say so.

What may be deleted is `audit/retention.py`, and how `audit/pruning.py`. INVARIANT: only what an entry of the
transparency log names as pruned is told of as deleted on record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from audit import canonical
from audit.catalogue import Catalogue
from audit.inert import inert
from audit.store import Store
from audit.tlog.log import TransparencyLog

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Gone:
    """Segments of one execution that one event names as deleted."""

    event_id: str
    leaf: int
    at: str  # RFC 3339
    actor: str
    segments: int
    of: int  # segments that the execution had

    def sentence(self) -> str:
        """Say it to a person; inert."""
        what = (
            "its records were"
            if self.segments == self.of
            else f"records of {self.segments} of its {self.of} segments were"
        )
        by = f"{self.at[:19]}Z by {inert(self.actor)}"
        return f"{what} deleted on {by}: event {inert(self.event_id)}, leaf {self.leaf}"

    def as_json(self) -> dict[str, object]:
        """Give it as plain values."""
        return {
            "event": self.event_id,
            "leaf": self.leaf,
            "at": self.at,
            "actor": self.actor,
            "segments": self.segments,
            "of": self.of,
        }


def gone_of(root: Path, exec_id: str) -> tuple[Gone, ...]:
    """Give what was deleted of an execution, on record; raises AuditError."""
    catalogue = Catalogue(Store(root))
    leaf, pruned = catalogue.leaf("receipt", exec_id), catalogue.pruned()
    if leaf is None or not pruned:
        return ()
    log = TransparencyLog(root / "tlog")
    mine = [str(path) for path in cast("list[object]", _entry(log, leaf).get("segments") or [])]
    leaves = [pruned[path] for path in mine if path in pruned]
    return tuple(_gone(log, each, leaves.count(each), len(mine)) for each in sorted(set(leaves)))


def _gone(log: TransparencyLog, leaf: int, segments: int, of: int) -> Gone:
    event = _entry(log, leaf)
    return Gone(
        event_id=str(event.get("id")),
        leaf=leaf,
        at=str(event.get("at")),
        actor=str(event.get("actor")),
        segments=segments,
        of=of,
    )


def _entry(log: TransparencyLog, leaf: int) -> dict[str, object]:
    (content,) = log.entries(leaf, 1)
    return dict(canonical.loads("leaf", content).fields)
