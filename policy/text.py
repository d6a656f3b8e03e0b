"""The bytes of a document as text, and how much of anything a document may hold.

Reading that text as YAML lives in `source.py`, as TOML in `toml.py`. INVARIANT: what comes out of
here is small, holds no character that hides or that only some readers take for the end of a line,
and has line feeds as its only line ends.
"""

from __future__ import annotations

import re

from policy.errors import Finding, PolicyError
from policy.places import Spot, finding_at

MAX_BYTES = 1_048_576
MAX_DEPTH = 64
MAX_ALIASES = 16
MAX_NODES = 100_000  # after aliases are written out; 10,000 rules need about 80,000
MAX_RULES = 20_000  # in all lists of a document, its baselines included
MAX_SLASHES = 300_000  # 20,000 paths of 15 segments
MAX_FINDINGS = 100

# SECURITY: YAML 1.1 ends a line at NEL, LS, PS and a lone CR, YAML 1.2 and editors don't all: what a reviewer
# sees as a comment could be a rule. The same goes for what reorders the text around it (U+202A to U+202E,
# U+2066 to U+2069), in comments too. Such characters can be written as escapes in double quotes.
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff]")


def decode(text: bytes, file: str) -> tuple[str, tuple[str, ...]]:
    """The text of a document, and its lines.

    Raises:
        PolicyError: when it is too long, not UTF-8, or holds a character that no document may hold.
    """
    if len(text) > MAX_BYTES:
        problem = f"the document is longer than the {MAX_BYTES} bytes that are read"
        raise PolicyError((Finding("too-large", file, 0, 0, "", problem=problem),))
    if text.count(b"/") > MAX_SLASHES:
        problem = f"the document holds more than {MAX_SLASHES} slashes: its paths are too deep to be read"
        raise PolicyError((Finding("too-large", file, 0, 0, "", problem=problem),))
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as err:
        before = text[: err.start]
        spot = Spot(before.count(b"\n") + 1, err.start - (before.rfind(b"\n") + 1) + 1)
        found = f"the byte 0x{text[err.start]:02x}"
        parts = {"expected": "text in UTF-8", "found": found}
        raise PolicyError((finding_at(file, (), spot, "not-utf-8", **parts),)) from None
    decoded = decoded.removeprefix("\ufeff").replace("\r\n", "\n")
    lines = tuple(decoded.split("\n"))
    unfit = _UNFIT.search(decoded)
    if unfit:
        raise PolicyError((_unfit(file, lines, decoded, unfit.start()),))
    return decoded, lines


def spot_at(text: str, index: int) -> Spot:
    """The place of the character at `index`."""
    return Spot(text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index))


def _unfit(file: str, lines: tuple[str, ...], text: str, index: int) -> Finding:
    char = text[index]
    spot = spot_at(text, index)
    if char == "\0":
        return finding_at(file, lines, spot, "nul", expected="text", found="a NUL byte")
    problem = f"the character U+{ord(char):04X} can't stand in a document as it is"
    suggestion = "end lines with a line feed" if char == "\r" else "write it as an escape in double quotes"
    return finding_at(file, lines, spot, "syntax", problem=problem, suggestion=suggestion)
