"""Keeps the lines of roll-ups in memory, so that totals open each of these many small files once.

What the lines say is `audit.rollup`, which files are wanted is `planner.py`. Which files belong to a log is
not known here: one that was pruned is not asked for again. INVARIANT: what is given are the lines of the
files that were asked for, each once, as a published file never changes.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pyarrow as pa

from audit.query.engine import Engine
from audit.rollup import SCHEMA

ROOM = 100_000
"""Lines in memory, of about 250 bytes: a guest chooses how long it runs and how many rules it meets."""

_LINES = ", ".join(f'"{name}"' for name in SCHEMA.names)
_SOURCE = "read_parquet($files, hive_partitioning = false, filename = true)"
_COUNTS = "SELECT CAST(sum(num_rows) AS BIGINT) AS lines FROM parquet_file_metadata($files)"


@dataclass(slots=True)
class RollupLines:
    """The lines of roll-ups of one log; thread-safe."""

    engine: Engine
    room: int = ROOM
    _known: dict[str, pa.Table] = field(default_factory=dict)
    _lines: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, files: Sequence[str], seconds: float | None) -> pa.Table | None:
        """Give the lines of files, in any order (`audit.rollup.SCHEMA`); None without room for them all.

        Raises QueryError if a file can't be read, and OutOfTimeError.
        """
        with self._lock:
            found = {name: self._known[name] for name in files if name in self._known}
        missing = [name for name in files if name not in found]
        if missing:
            counted = self.engine.ask(_COUNTS, [("files", missing)], tables={}, seconds=seconds)
            lines = sum(table.num_rows for table in found.values()) + counted.column("lines")[0].as_py()
            if lines > self.room:
                return None
            found |= self._read(missing, seconds)
        return pa.concat_tables([found[name] for name in files]) if files else SCHEMA.empty_table()

    def _read(self, files: list[str], seconds: float | None) -> dict[str, pa.Table]:
        statement = f"SELECT {_LINES}, filename FROM {_SOURCE} ORDER BY filename"  # noqa: S608  # nosec B608
        rows = self.engine.ask(statement, [("files", files)], tables={}, seconds=seconds)
        names = rows.column("filename").dictionary_encode().combine_chunks()
        lines = rows.drop_columns("filename").cast(SCHEMA).combine_chunks()
        found = dict.fromkeys(files, SCHEMA.empty_table())
        edges: list[int] = (np.flatnonzero(np.diff(np.asarray(names.indices))) + 1).tolist()
        for first, end in pairwise([0, *edges, len(names)]):
            if end > first:
                found[names[first].as_py()] = lines.slice(first, end - first)
        self._keep(found, lines.num_rows)
        return found

    def _keep(self, found: dict[str, pa.Table], lines: int) -> None:
        with self._lock:
            if self._lines + lines > self.room:
                self._known, self._lines = {}, 0
            self._lines += lines
            self._known |= found
