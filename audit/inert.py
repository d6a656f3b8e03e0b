"""Text from a guest, made safe to show in a terminal, a log line or a JSON line.

How guest bytes are stored lives in `text.py`; here is only how stored text is shown. Nothing is
interpreted, only replaced. INVARIANT: what comes out holds no character that moves a cursor,
ends a line, hides, or changes the direction of what surrounds it.
"""

from __future__ import annotations

import json
import re

# Tags and variation selectors (U+E0000 and on) and all of the categories Cc, Cf, Zl, Zp and Cs would
# be named by `unicodedata`, which differs between Python versions: so they are listed here.
_UNSAFE = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\u00ad\u034f\u061c\u070f\u115f\u1160\u17b4\u17b5\u180b-\u180f"  # soft hyphen, joiners, fillers
    "\u0600-\u0605\u06dd\u0890\u0891\u08e2"  # format marks of Arabic script
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f"  # zero width, bidi controls, line and paragraph separators
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"  # fillers, variation selectors, BOM
    "\ud800-\udfff"  # lone surrogates
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"  # tags
    "]"
)


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def inert(text: str) -> str:
    """Give `text` with every character that could act on a terminal or a log line spelt out.

    Printable characters of every script stay as they are, a backslash too: the result is for
    people's eyes and cannot be turned back. Quotes and markup are not escaped; that is the work
    of the format around it (HTML, CSV, JSON).
    """
    return _UNSAFE.sub(_escape, text)


def _escape_json(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code <= 0xFFFF:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


def inert_json(document: str) -> str:
    r"""Give a JSON document with the same characters written as `\uXXXX`, so it parses to the same value.

    `document` is JSON without insignificant control characters (one line): outside its strings
    no unsafe character can then occur.
    """
    return _UNSAFE.sub(_escape_json, document)


def json_line(value: object) -> str:
    """Give a value as one line of JSON that is safe to print; it parses to the value."""
    return inert_json(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False))
