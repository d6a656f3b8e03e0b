"""Comma-separated values (RFC 4180), with a header, safe to open in a spreadsheet.

How cells are spelt is `spelling.py`. A text cell that a spreadsheet could take for a formula has an
apostrophe in front; so has one that begins with an apostrophe. A separator before a sign that begins a
formula is spelt out, for programs that split at another separator. Null is an empty cell, an empty text `""`.
INVARIANT: `uncelled(celled(text)) == text`, and a record is one line.
"""

from __future__ import annotations

import re
from typing import BinaryIO

import pyarrow as pa

from audit.columns import SCHEMA, WORDS
from audit.export.fields import OF, SHARED
from audit.export.lines import Columns, Keys, Known, LineWriter, Shared, Value, mark
from audit.export.rows import Rows, pieces
from audit.export.spelling import named, spelt, unspelt

NAME = "csv"
MEDIA_TYPE = "text/csv; charset=utf-8; header=present"
SUFFIX = ".csv"

# Signs that make a spreadsheet compute; the wide ones are taken for the narrow ones by some.
# Source: OWASP, "CSV Injection".
_SIGNS = "=+\\-@\uff1d\uff0b\uff0d\uff20"
_FORMULA = re.compile(rf"[\s\u3000\"]*[{_SIGNS}']")
_CELL_END = re.compile(rf"[,;|](?=[\s\u3000\"']*[{_SIGNS}])")


def celled(text: str) -> str:
    """Give a text as the content of a cell, not quoted yet: one line, and never a formula."""
    found = _CELL_END.sub(lambda match: named(match.group()), spelt(text))
    return f"'{found}" if _FORMULA.match(found) else found


def uncelled(cell: str) -> str:
    """Give back the text of a cell that is not empty; FormatError if `celled` cannot have made it."""
    return unspelt(cell.removeprefix("'"))


def write(rows: Rows, out: BinaryIO) -> int:
    """Write a header and rows; give how many rows were written."""
    texts = Known(_cell)
    writer = LineWriter(
        order=[name for name in SCHEMA.names if not OF[name].is_shared],
        line=_line,
        keys=lambda columns: Keys.of(columns, SHARED),
        fill=lambda columns, name: _fill(columns, name, texts),
    )
    out.write(",".join(SCHEMA.names).encode() + b"\r\n")
    count = 0
    for piece in pieces(rows):
        out.write(writer.write(piece))
        count += piece.num_rows
    return count


def _line(shared: Shared) -> str:
    cells = []
    for name in SCHEMA.names:
        if not OF[name].is_shared:
            cells.append(mark(name))
        elif name == "decision":
            code = shared[name]
            cells.append(_cell(WORDS.get(code, "none") if isinstance(code, int) else "none"))
        else:
            cells.append(_cell(shared[name]))
    return ",".join(cells) + "\r\n"


def _cell(value: Value) -> str:
    match value:
        case None:
            return ""
        case str() as text:
            return '"' + celled(text).replace('"', '""') + '"'
        case other:
            return str(other)


def _fill(columns: Columns, name: str, texts: Known) -> pa.Array:
    kind = SCHEMA.field(name).type
    if pa.types.is_dictionary(kind):
        return columns.text(name, texts)
    if pa.types.is_integer(kind):
        return columns.digits(name)
    return columns.hexadecimal(name, null="")
