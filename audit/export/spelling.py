r"""Text from a guest as CSV, CEF and syslog carry it: spelt so that it acts on nothing, and read back.

How guest bytes become stored text is `audit.text`, how text is shown to people `audit.inert`. A backslash is
doubled, and each character that could act on a terminal or end a line becomes `\xNN`, `\uNNNN` or
`\UNNNNNNNN`. INVARIANT: `unspelt(spelt(text)) == text`, and what is spelt is one line.
"""

from __future__ import annotations

import re

from audit.errors import FormatError
from audit.inert import inert

_SPELT = re.compile(r"\\(?:(\\)|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|)")


def spelt(text: str) -> str:
    """Give text without characters that act; a backslash is doubled."""
    return inert(text.replace("\\", "\\\\"))


def named(character: str) -> str:
    """Give one character as its escape, where a form needs one that is harmless elsewhere."""
    code = ord(character)
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def unspelt(text: str) -> str:
    """Give back what `spelt` was given; FormatError on an escape that it cannot have written."""

    def one(match: re.Match[str]) -> str:
        backslash, *digits = match.groups()
        code = next((found for found in digits if found), None)
        if backslash:
            return "\\"
        if code is None or int(code, 16) > 0x10FFFF:
            raise FormatError("exported text", r"`\\`, `\xNN`, `\uNNNN` or `\UNNNNNNNN`", text)
        return chr(int(code, 16))

    return _SPELT.sub(one, text)
