"""Lines of the Common Event Format, `CEF:0`, for collectors that know nothing newer.

By default only what was refused, or was stopped within a call, is written. How text is spelt is
`spelling.py`; on top of it come the escapes of CEF. INVARIANT: a line has no line break within, and no value
can end itself or begin another key.
"""

from __future__ import annotations

import re
from typing import BinaryIO

import pyarrow as pa

from audit.call_names import bare
from audit.columns import WORDS, Decision, Stage
from audit.export.evidence import Evidence
from audit.export.fields import CEF_LABELS, FIELDS, OF, SEVERITY, SHARED
from audit.export.lines import Columns, Keys, Known, LineWriter, Shared, Value, mark
from audit.export.ocsf_events import Source
from audit.export.presence import SPREAD, add_facts, facts_of, present
from audit.export.rows import Rows, pieces, refused
from audit.export.spelling import named, spelt, unspelt
from audit.ocsf import CAPTIONS, EventClass

NAME = "cef"
MEDIA_TYPE = "text/plain; charset=utf-8"
SUFFIX = ".cef"

_CARRIED = tuple(name for name in SPREAD if OF[name].cef is not None)
_NAMES = {
    Decision.DENY: "refused",
    Decision.LIMIT: "refused by a limit",
    Decision.OBSERVE: "would have been refused",
}
_TRAPPED, _USUAL = 5, 2  # severities beside those of what was refused
_MS = 1_000_000
_END = re.compile(r"\A\s|\s\Z")
_ESCAPE = re.compile(r"\\([\\=])")


def header_text(text: str) -> str:
    """Give a text as a field of the header."""
    return spelt(text).replace("\\", "\\\\").replace("|", "\\|")


def extension_text(text: str) -> str:
    """Give a text as a value of the extension; blanks at its ends are spelt out, as readers cut them."""
    found = _END.sub(lambda match: named(match.group()), spelt(text))
    return found.replace("\\", "\\\\").replace("=", "\\=")


def unextended(value: str) -> str:
    """Give back the text of a value of the extension; FormatError if it was not written here."""
    return unspelt(_ESCAPE.sub(lambda match: match[1], value))


def write(
    rows: Rows,
    out: BinaryIO,
    *,
    source: Source | None = None,
    evidence: Evidence | None = None,  # noqa: ARG001  # the shape of all forms
    is_all: bool = False,
) -> int:
    """Write refusals, or all rows; give how many were written."""
    texts = Known(_text)
    of = source or Source()
    writer = LineWriter(
        order=("exec_id:id", "seq:id", "rt", "start", "end", *_CARRIED),
        line=lambda shared: _line(shared, of),
        keys=_keys,
        fill=lambda columns, name: _fill(columns, name, texts),
    )
    count = 0
    for piece in pieces(rows):
        kept = piece if is_all else refused(piece)
        if kept.num_rows:
            out.write(writer.write(kept))
        count += kept.num_rows
    return count


def _keys(columns: Columns) -> Keys:
    keys = Keys.of(columns, SHARED)
    add_facts(keys, present(columns), SPREAD)
    return keys


def _line(shared: Shared, source: Source) -> str:
    has = facts_of(shared, SPREAD)
    code = shared["decision"]
    decision = code if isinstance(code, int) else 0
    call = bare(str(shared["call"]))
    name = f"{call} {_NAMES.get(Decision(decision), 'called') if decision in WORDS else 'called'}"
    trapped = shared["stage"] == int(Stage.TRAP)
    severity = (
        SEVERITY.get(Decision(decision), _TRAPPED if trapped else _USUAL) if decision in WORDS else _USUAL
    )
    header = ["CEF:0", "wasmgate", "wasmgate", source.version, call, name, str(severity)]
    start = "|".join(header_text(part) for part in header)
    ends = [f"externalId={mark('exec_id:id')}:{mark('seq:id')}", f"rt={mark('rt')}", *_labels()]
    ends.append(f"cat={extension_text(_class_name(shared['class_uid']))}")
    ends.append(f"outcome={_outcome(shared['errno'])}")
    if "t_last_ns" in has:
        ends += [f"start={mark('start')}", f"end={mark('end')}"]
    later = [f"{OF[column].cef}={mark(column)}" for column in _CARRIED if column in has]
    return f"{start}|{' '.join([*ends, *_shared(shared), *later])}\n"


def _labels() -> list[str]:
    return [f"{key}Label={word}" for key, word in CEF_LABELS.items()]


def _shared(shared: Shared) -> list[str]:
    found = []
    for field in FIELDS:
        value = shared.get(field.column)
        if not field.is_shared or field.cef is None or value == field.absent:
            continue
        if field.column == "decision":
            value = WORDS.get(value, "none") if isinstance(value, int) else "none"
        found.append(f"{field.cef}={extension_text(str(value))}")
    return found


def _class_name(uid: Value) -> str:
    known = {int(each) for each in EventClass}
    return CAPTIONS[EventClass(uid)].name if isinstance(uid, int) and uid in known else "Base Event"


def _outcome(errno: Value) -> str:
    return "success" if errno == 0 else "unknown" if isinstance(errno, int) and errno < 0 else "failure"


def _text(value: Value) -> str:
    return "" if value is None else extension_text(str(value))


def _fill(columns: Columns, name: str, texts: Known) -> pa.Array:
    match name:
        case "rt" | "start":
            return pa.array(columns.numbers("t_ns") // _MS).cast(pa.string())
        case "end":
            return pa.array(columns.numbers("t_last_ns") // _MS).cast(pa.string())
        case "payload_sha256":
            return columns.hexadecimal(name, null="")
        case _ if pa.types.is_integer(columns.rows.column(name).type):
            return columns.digits(name)
        case _:
            return columns.text(name, texts)
