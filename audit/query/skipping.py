"""Leaves files out of a plan that hold nothing in the folders that a question is about.

What a file says of its folders is `audit.folders`, which ones a filter is about `places.py`, and which files
come into question at all `planner.py`. INVARIANT: a file that is left out holds no row of the answer; one of
which nothing can be known stays.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from audit.folders import KEY, Folders
from audit.query.places import Places
from audit.query.planner import Kind, Plan, Step

_ROOM = 32 << 20  # characters of lists in memory: of 10,000 files and more, of 2,000 where a guest wants that
_EACH = 1_000


@dataclass(slots=True)
class FolderLists:
    """What the files of a log say of their folders; read once, as a published file never changes."""

    _known: OrderedDict[Path, Folders | None] = field(default_factory=OrderedDict)
    _size: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fitting(self, steps: Sequence[Step], wanted: Places) -> tuple[Step, ...]:
        """Give those of some steps whose files can hold what is wanted."""
        return tuple(step for step in steps if self._may_hold(step, wanted)) if wanted else tuple(steps)

    def narrowed(self, plan: Plan, wanted: Places) -> Plan:
        """Give a plan without the files that hold nothing of what is wanted."""
        kept = self.fitting(plan.steps, wanted)
        out = len(plan.steps) - len(kept)
        return replace(plan, steps=kept, left_out={**plan.left_out, "folder": out}) if out else plan

    def _may_hold(self, step: Step, wanted: Places) -> bool:
        if step.kind is Kind.ROLLUP:
            return True
        found = self._of(step.path)
        return found is None or all(any(found.may_hold(place) for place in places) for places in wanted)

    def _of(self, path: Path) -> Folders | None:
        with self._lock:
            if path in self._known:
                self._known.move_to_end(path)
                return self._known[path]
        try:
            footer = pq.read_metadata(path).metadata
        except (OSError, pa.ArrowException):
            # whatever is wrong with it, who reads its rows is told
            return None
        found = Folders.read((footer or {}).get(KEY))
        with self._lock:
            if path not in self._known:
                self._known[path] = found
                self._size += _size(found)
            while self._size > _ROOM:
                self._size -= _size(self._known.popitem(last=False)[1])
        return found


def _size(found: Folders | None) -> int:
    return _EACH + (0 if found is None else found.size)
