"""What later records of an execution need to know of the calls that made its descriptors.

Rows themselves are in segments; here is what is taken from them before they are masked, and kept beside the
log files while an execution goes on. INVARIANT: the state after a file is on disk before that file is
deleted, and stays until no file is left that begins with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from audit.call_names import bare
from audit.columns import OPENED, plain
from audit.errors import FormatError
from audit.identity import ExecutionId
from audit.store import publish

SUFFIX = ".opened"

_CLOSING = "fd_close"
_FILE = pa.schema([pa.field("exec_id", pa.string(), nullable=False), *OPENED])


def opened(rows: pa.Table) -> pa.Table:
    """Give what later records need to know of rows: those of calls that made a descriptor."""
    if not rows.num_rows:
        return OPENED.empty_table()
    kept = rows.select([*OPENED.names, "fd2"]).filter(pc.greater_equal(rows.column("fd2"), 0))
    columns = [kept.column("seq"), plain(kept.column("target")), plain(kept.column("guest_target"))]
    return pa.table(columns, schema=OPENED)


def closed(rows: pa.Table) -> npt.NDArray[np.int64]:
    """Give which calls' descriptors rows (`columns.SCHEMA`, not condensed) closed again."""
    if not rows.num_rows:
        return np.empty(0, np.int64)
    calls = rows.column("call").unify_dictionaries().combine_chunks()
    closing = [bare(name) == _CLOSING for name in calls.dictionary.to_pylist()]
    is_closing = np.array([*closing, False])[np.asarray(calls.indices)]
    has_worked = rows.column("errno").to_numpy() == 0
    return np.asarray(rows.column("opener_seq").to_numpy()[is_closing & has_worked])


def still_open(known: pa.Table, gone: Sequence[npt.NDArray[np.int64]]) -> pa.Table:
    """Give those of `known` (`columns.OPENED`) that were not closed."""
    if not gone:
        return known
    left = ~np.isin(known.column("seq").to_numpy(), np.concatenate(gone))
    return known.filter(pa.array(left)).combine_chunks()


def state_path(log_file: Path) -> Path:
    """Give the path of what is open after a log file."""
    return log_file.with_suffix(SUFFIX)


def write_state(log_file: Path, state: Mapping[ExecutionId, pa.Table]) -> None:
    """Keep what is open after a log file, by execution; durable when this returns."""
    tables = [_FILE.empty_table()]
    tables += [
        pa.table([pa.array([name] * one.num_rows, pa.string()), *one.columns], schema=_FILE)
        for name, one in sorted(state.items())
    ]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, _FILE) as file:
        file.write_table(pa.concat_tables(tables).combine_chunks())
    publish(state_path(log_file), sink.getvalue().to_pybytes())


def read_state(path: Path) -> dict[str, pa.Table]:
    """Read that back; FormatError if it is no such file, FileNotFoundError if there is none."""
    content = path.read_bytes()
    try:
        table = pa.ipc.open_file(pa.py_buffer(content)).read_all()
    except pa.ArrowException as err:
        raise FormatError(str(path), "what is open after a log file", str(err)) from err
    if table.schema != _FILE:
        raise FormatError(str(path), "what is open after a log file", str(table.schema))
    names = table.column("exec_id")
    return {
        name: table.filter(pc.equal(names, name)).select(OPENED.names)
        for name in pc.unique(names).to_pylist()
    }


def state_before(log_file: Path) -> dict[str, pa.Table]:
    """Give what is open before a log file, as the last file of the same writer that is sealed left it."""
    writer = log_file.stem.rpartition("-")[0]
    earlier = [path for path in states_of(log_file.parent, writer) if path.stem < log_file.stem]
    return read_state(earlier[-1]) if earlier else {}


def states_of(folder: Path, writer: str) -> list[Path]:
    """Give the states that a writer's files left, the oldest first."""
    return sorted(folder.glob(f"{writer}-*{SUFFIX}"))


def drop_states(folder: Path, log_files: Sequence[Path]) -> None:
    """Remove the states with which no file begins any more; `log_files` are all that there are."""
    first: dict[str, str] = {}
    for path in log_files:
        writer = path.stem.rpartition("-")[0]
        first[writer] = min(first.get(writer, path.stem), path.stem)
    for writer in {path.stem.rpartition("-")[0] for path in folder.glob(f"[!.]*{SUFFIX}")}:
        states = states_of(folder, writer)
        earlier = [path for path in states if path.stem < first.get(writer, "")]
        # those of files that are still there, and the last before them: sealing may begin anew with it
        needed = earlier[-1:] + [path for path in states if path.stem >= first.get(writer, "~")]
        for path in states:
            if path not in needed:
                path.unlink(missing_ok=True)
