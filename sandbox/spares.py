"""Cells that were forked before there was a job for them: a run that finds one starts in milliseconds.

How cells are forked is `cells.py`. A spare has loaded the monitor, and the guest too where the same module
ran before. INVARIANT: a spare runs one job, of the module it was made for; there are never more than were
asked for, and one that is old, or has died, is not given out.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sandbox.cell_handle import CellError
from sandbox.job import Spawn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandbox.cell_handle import Cell
    from sandbox.cells import Cells
    from sandbox.engine_config import EngineConfig

_MAX_AGE_S = 300.0  # of a spare, and of the wish for one
_MOST_SHELVES = 64  # kinds that are remembered, each with four descriptors
_PATIENCE_S = 0.05  # how long a run that takes a spare has the machine for itself, unless it ends before
_LOOK_S = 30.0  # how often spares that nobody takes are looked at


@dataclass(frozen=True, slots=True)
class Kind:
    """What a cell has to have loaded; `module` is the guest's digest, or empty where none is known."""

    config: EngineConfig
    module: str


@dataclass(slots=True)
class _Shelf:
    """The spares of one kind, and copies of the artifacts that they are made of."""

    code: tuple[int, ...]
    ready: deque[Cell] = field(default_factory=deque)
    wanted: int = 0  # that are to be made
    asked_s: float = 0.0  # when one was last asked for

    def close(self) -> None:
        for cell in self.ready:
            cell.close()
        for fd in self.code:
            os.close(fd)

    def pop(self) -> tuple[Cell | None, list[Cell]]:
        """Give one that is fit, and those that are not."""
        unfit: list[Cell] = []
        while self.ready:
            cell = self.ready.popleft()
            if _is_fit(cell):
                return cell, unfit
            unfit.append(cell)
        return None, unfit


def _is_fit(cell: Cell) -> bool:
    # an orphan would run, but what it used, and which signal ended it, would be on no record
    is_lost = cell.is_gone or cell.is_orphan
    return not is_lost and time.monotonic() - cell.born_s < _MAX_AGE_S


class Spares:
    """Keeps at most `most` cells ready, for the kinds that were asked for last; thread-safe."""

    def __init__(self, cells: Cells, most: int) -> None:
        """Make nothing yet; with `most` 0 every cell is forked when it is asked for."""
        self._cells, self._most = cells, most
        self._changed = threading.Condition()
        # the one that was asked for last is the last
        self._shelves: OrderedDict[Kind, _Shelf] = OrderedDict()
        self._not_before_s = 0.0
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def take(self, kind: Kind, code: Sequence[int]) -> Cell:
        """Give a cell that has loaded what `code` holds (`job.CODE`), or all but the guest; CellError."""
        found = self._find(kind, code) if self._most else None
        return found or self.fork(kind, code)

    def fork(self, kind: Kind, code: Sequence[int]) -> Cell:
        """Give a cell that waited for nothing; as `take`."""
        return self._cells.start(Spawn(kind.config, has_guest=True), code)

    def replenish(self) -> None:
        """Say that a run is over: making the next spare takes nothing away from it any more."""
        with self._changed:
            self._not_before_s = 0.0
            self._changed.notify_all()

    @property
    def ready(self) -> int:
        """How many wait."""
        with self._changed:
            return sum(len(shelf.ready) for shelf in self._shelves.values())

    def close(self) -> None:
        """End all that wait; none is made any more."""
        with self._changed:
            self._is_closed = True
            shelves, self._shelves = list(self._shelves.values()), OrderedDict()
            self._changed.notify_all()
            thread = self._thread
        for shelf in shelves:
            shelf.close()
        if thread is not None:
            thread.join()

    def _find(self, kind: Kind, code: Sequence[int]) -> Cell | None:
        with self._changed:
            if self._is_closed:
                return None
            plain = self._shelf(Kind(kind.config, ""), code[:-1])
            shelf = self._shelf(kind, code)
            found, unfit = shelf.pop()
            if found is None:
                found, more = plain.pop()
                unfit += more
            shelf.wanted += 1
            if not plain.ready:
                plain.wanted = 1  # for a module that did not run lately
            evicted = self._make_room()
            self._not_before_s = time.monotonic() + _PATIENCE_S
            if self._thread is None:
                self._thread = threading.Thread(target=self._make, name="spare-cells", daemon=True)
                self._thread.start()
        for cell in unfit:
            cell.close()
        for old in evicted:
            old.close()
        return found

    def _shelf(self, kind: Kind, code: Sequence[int]) -> _Shelf:
        shelf = self._shelves.get(kind)
        if shelf is None:
            shelf = self._shelves[kind] = _Shelf(tuple(os.dup(fd) for fd in code))
        shelf.asked_s = time.monotonic()
        self._shelves.move_to_end(kind)
        return shelf

    def _make_room(self) -> list[_Shelf]:
        """Forget the kinds that were asked for longest ago, until there is room for what is wanted."""
        evicted: list[_Shelf] = []
        for kind in list(self._shelves)[:-1]:
            if self._count() <= self._most and len(self._shelves) <= _MOST_SHELVES:
                break
            evicted.append(self._shelves.pop(kind))
        last = next(reversed(self._shelves.values()))
        last.wanted -= max(0, min(last.wanted, self._count() - self._most))
        return evicted

    def _count(self) -> int:
        return sum(len(shelf.ready) + shelf.wanted for shelf in self._shelves.values())

    def _make(self) -> None:
        while (wanted := self._next()) is not None:
            kind, code = wanted
            made = None
            with contextlib.suppress(CellError, OSError):
                made = self._cells.start(Spawn(kind.config, has_guest=bool(kind.module)), code)
            for fd in code:
                os.close(fd)
            if made is not None and not self._put(kind, made):
                made.close()

    def _next(self) -> tuple[Kind, tuple[int, ...]] | None:
        """Wait for a kind that is wanted; gives copies of its artifacts. None: it is over."""
        while True:
            with self._changed:
                if self._is_closed:
                    return None
                wanted = [kind for kind, shelf in self._shelves.items() if shelf.wanted > 0]
                if wanted and time.monotonic() >= self._not_before_s:
                    shelf = self._shelves[wanted[-1]]
                    shelf.wanted -= 1
                    return wanted[-1], tuple(os.dup(fd) for fd in shelf.code)
                self._changed.wait(_PATIENCE_S if wanted else _LOOK_S)
                old = self._expired()
            for cell in old:
                cell.close()

    def _expired(self) -> list[Cell]:
        """Take out what nobody asked for in a long time, and what is to be made anew."""
        old: list[Cell] = []
        now = time.monotonic()
        for kind, shelf in list(self._shelves.items()):
            if now - shelf.asked_s >= _MAX_AGE_S:
                gone = self._shelves.pop(kind)
                old += gone.ready
                gone.ready.clear()
                gone.close()
                continue
            unfit = [cell for cell in shelf.ready if not _is_fit(cell)]
            shelf.ready = deque(cell for cell in shelf.ready if cell not in unfit)
            shelf.wanted += len(unfit)
            old += unfit
        return old

    def _put(self, kind: Kind, cell: Cell) -> bool:
        with self._changed:
            shelf = self._shelves.get(kind)
            if self._is_closed or shelf is None or self._count() >= self._most:
                return False
            shelf.ready.append(cell)
            return True
