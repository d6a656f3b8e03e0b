"""Turns at compiling: so many at once, and one at a time for the same artifact.

A compiler may take gigabytes and every processor (`compiler.py`), so that as many at once as there are runs
would be too many. Who waits for an artifact that another run makes finds it in the cache afterwards.
INVARIANT: a turn is given back once, and whoever no longer wants one gets none.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_MOST = 2
# how late a run that waits hears that it was cancelled
_LOOK_S = 0.1


class Cancelled(Exception):  # noqa: N818  # an outcome of a run, not a mistake of ours
    """Whoever asked for the module to be compiled no longer wants it."""


class CompileTurns:
    """The turns; thread-safe."""

    def __init__(self, most: int = DEFAULT_MOST) -> None:
        """Give `most` at once, at least 1."""
        self._most = most
        self._changed = threading.Condition()
        self._going: list[str | None] = []

    @property
    def going(self) -> int:
        """How many are taken."""
        return len(self._going)

    @contextlib.contextmanager
    def turn(self, name: str | None, cancelled: threading.Event | None) -> Iterator[None]:
        """Wait for a turn at making the artifact `name`; None for one that nobody else waits for.

        Raises Cancelled once `cancelled` is set.
        """
        with self._changed:
            while (name is not None and name in self._going) or len(self._going) >= self._most:
                if cancelled is not None and cancelled.is_set():
                    raise Cancelled
                self._changed.wait(_LOOK_S)
            self._going.append(name)
        try:
            yield
        finally:
            with self._changed:
                self._going.remove(name)
                self._changed.notify_all()
