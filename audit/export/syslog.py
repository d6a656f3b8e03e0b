"""One refused call as a message of syslog (RFC 5424), for whoever sends messages on.

Sending them, and framing them on a stream, is the follower's work. Text is spelt as `spelling.py` says.
INVARIANT: a message is one line of valid UTF-8 of bounded length, whatever a guest wrote, and names what was
cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from audit.call_names import bare
from audit.export.spelling import spelt
from audit.times import to_rfc3339

Cell = int | str | bytes | None
"""A value of a row as `AuditReader.records` gives it; `decision` is a word."""

FACILITY = 13
"""Log audit."""

ENTERPRISE = 32473
"""The number that RFC 5612 keeps for examples: whoever has one of their own sets it."""

_NIL = "-"
_BOM = b"\xef\xbb\xbf"
_LEAST = 1024  # the longest header, the names of all that was cut, and the text
_TEXT_BYTES = 128
_SEVERITIES = {"deny": 4, "limit": 4, "would_deny": 5}
_NOTICE, _INFORMATIONAL = 5, 6
_FIRST = ("exec_id", "seq", "decision", "call", "errno", "tenant_id", "rule_id", "reason", "right")
_WHO = ("module_id", "policy_id")
_PATHS = ("target", "guest_target", "target2")
_CUT = "cut"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """What all messages of one sender have in common."""

    hostname: str = _NIL
    app_name: str = "wasmgate"
    process: str = _NIL
    enterprise: int = ENTERPRISE
    max_bytes: int = 2048  # RFC 5424, 6.1: what a receiver should take

    def __post_init__(self) -> None:
        """Check the bound: ValueError where a header with long names would not fit."""
        if self.max_bytes < _LEAST:
            raise ValueError(f"a message needs room for {_LEAST} bytes, found {self.max_bytes}")


def message(row: Mapping[str, Cell], sender: Sender) -> bytes:
    """Give the message about one record, without a line end."""
    word = str(row.get("decision"))
    usual = _NOTICE if row.get("stage") == 2 else _INFORMATIONAL
    priority = FACILITY * 8 + _SEVERITIES.get(word, usual)
    # six digits are the most that RFC 5424 takes
    time = to_rfc3339(_number(row.get("t_ns")))[:26] + "Z"
    call = bare(str(row.get("call")))
    fields = (
        _name(sender.hostname, 255),
        _name(sender.app_name, 48),
        _name(sender.process, 128),
        _name(call, 32),
    )
    head = f"<{priority}>1 {time} {' '.join(fields)} ".encode()
    text = _message_text(row, call, word)
    return _bounded(head, row, text, sender)


def _bounded(head: bytes, row: Mapping[str, Cell], text: str, sender: Sender) -> bytes:
    start = f"[wasmgate@{sender.enterprise}".encode()
    room = sender.max_bytes - len(head) - len(start) - len("]") - len(_body(text))
    room -= len(f' {_CUT}="{",".join((*_FIRST, *_WHO, *_PATHS))}"')
    made, cut = b"", []
    for name in (*_FIRST, *_WHO, *_PATHS):
        value = row.get(name)
        if value is None:
            continue
        part = f' {name}="'.encode()
        whole = _value(str(value))
        kept = _fitting(whole, room - len(part) - 1)
        if kept != whole:
            cut.append(name)
        if kept or not whole:
            made += part + kept + b'"'
            room -= len(part) + len(kept) + 1
    if cut:
        made += f' {_CUT}="{",".join(cut)}"'.encode()
    return head + start + made + b"]" + _body(text)


def _fitting(value: bytes, room: int) -> bytes:
    """Give the start of a value that fits: no character and no escape is torn."""
    if len(value) <= room:
        return value
    kept = value[: max(room, 0)]
    while kept and len(kept) < len(value) and value[len(kept)] & 0xC0 == 0x80:
        kept = kept[:-1]
    # an escape of RFC 5424 is a backslash and one character: an odd run of backslashes at the end is torn
    return kept[:-1] if (len(kept) - len(kept.rstrip(b"\\"))) % 2 else kept


def _value(text: str) -> bytes:
    found = spelt(text).replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
    return found.encode("utf-8", "replace")


def _body(text: str) -> bytes:
    """Give the message proper; a byte order mark says that it is UTF-8, and ASCII needs none."""
    return b" " + (b"" if text.isascii() else _BOM) + text.encode("utf-8", "replace")


def _message_text(row: Mapping[str, Cell], call: str, word: str) -> str:
    reason = row.get("reason")
    path = row.get("target") if row.get("target") is not None else row.get("guest_target")
    why = "" if reason is None else f" ({spelt(str(reason))})"
    about = "" if path is None else f" {spelt(str(path))}"
    return _cut(f"{spelt(call)}: {spelt(word)}{why}{about}")


def _cut(text: str) -> str:
    raw = text.encode("utf-8", "replace")
    return text if len(raw) <= _TEXT_BYTES else raw[:_TEXT_BYTES].decode("utf-8", "ignore")


def _name(text: str, most: int) -> str:
    """Give a header field: printable ASCII without spaces."""
    found = "".join(one if "!" <= one <= "~" else "_" for one in text)[:most]
    return found or _NIL


def _number(value: Cell) -> int:
    return value if isinstance(value, int) else 0
