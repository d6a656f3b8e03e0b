r"""How bytes that a guest handed over as text are stored as a string, and turned back.

Showing such a string safely is the work of `inert.py`. Valid UTF-8 without a backslash is stored
as it is; a backslash becomes `\\`, and each byte that is no valid UTF-8 becomes `\xNN`.
INVARIANT: `to_bytes(to_text(raw)) == raw`, and a prefix of `raw` that ends between two characters
gives a prefix of the text, so that prefix filters work.
"""

from __future__ import annotations

import re

from audit.errors import FormatError

_ESCAPE = re.compile(rb"\\(?:x([0-9a-f]{2})|(\\))|(\\)")


def to_text(raw: bytes) -> str:
    """Give the stored form of `raw`."""
    return raw.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


def to_bytes(text: str) -> bytes:
    """Give back what `to_text` was given; FormatError on a backslash that it cannot have written."""

    def one(match: re.Match[bytes]) -> bytes:
        digits, backslash, stray = match.groups()
        if stray:
            raise FormatError("stored text", r"`\\` or `\xNN` after a backslash", text)
        return backslash or bytes.fromhex(digits.decode("ascii"))

    try:
        return _ESCAPE.sub(one, text.encode("utf-8"))
    except UnicodeEncodeError as err:
        raise FormatError("stored text", "text without lone surrogates", text) from err


def from_host(text: str) -> str:
    """Give the stored form of text that came from the operating system.

    Only a lone surrogate changes anything: Python puts one where an argument or a file name is
    not valid UTF-8. A backslash in such a text is the host's own and stays.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape" if _only_escaped(text) else "replace").decode(
            "utf-8", "backslashreplace"
        )
    return text


def _only_escaped(text: str) -> bool:
    return not any(0xD800 <= ord(c) <= 0xDFFF and not 0xDC80 <= ord(c) <= 0xDCFF for c in text)
