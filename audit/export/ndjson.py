"""One JSON object a line, with the columns as keys: the same that `audit query --output ndjson` prints.

A decision is a word, bytes are hexadecimal, and numbers are exact 64-bit integers: a reader that keeps
numbers as doubles must take `t_ns` from another form. INVARIANT: a line holds no character that acts on a
terminal, and parses to exactly the stored values.
"""

from __future__ import annotations

from typing import BinaryIO

import orjson
import pyarrow as pa

from audit.columns import SCHEMA, WORDS
from audit.export.fields import OF, SHARED
from audit.export.lines import Columns, Keys, Known, LineWriter, Shared, Value, mark
from audit.export.rows import Rows, pieces
from audit.inert import inert_json

NAME = "ndjson"
MEDIA_TYPE = "application/x-ndjson"
SUFFIX = ".ndjson"


def write(rows: Rows, out: BinaryIO) -> int:
    """Write rows; give how many were written."""
    texts = Known(_json)
    writer = LineWriter(
        order=[name for name in SCHEMA.names if not OF[name].is_shared],
        line=_line,
        keys=lambda columns: Keys.of(columns, SHARED),
        fill=lambda columns, name: _fill(columns, name, texts),
    )
    count = 0
    for piece in pieces(rows):
        out.write(writer.write(piece))
        count += piece.num_rows
    return count


def _line(shared: Shared) -> str:
    cells = []
    for name in SCHEMA.names:
        if not OF[name].is_shared:
            value = mark(name)
        elif name == "decision":
            value = _json(_word(shared[name]))
        else:
            value = _json(shared[name])
        cells.append(f'"{name}":{value}')
    return "{" + ",".join(cells) + "}\n"


def _word(code: Value) -> str:
    return WORDS.get(code, "none") if isinstance(code, int) else "none"


def _json(value: Value) -> str:
    return inert_json(orjson.dumps(value).decode())


def _fill(columns: Columns, name: str, texts: Known) -> pa.Array:
    kind = SCHEMA.field(name).type
    if pa.types.is_dictionary(kind):
        return columns.text(name, texts)
    if pa.types.is_integer(kind):
        return columns.digits(name, null="null")
    return columns.hexadecimal(name, null="null", quote='"')
