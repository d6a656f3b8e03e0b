"""Names of files as learning sees them: sensitive ones, those of one run, and how they are spelt.

Which grants are made of them is said in `generalise.py` and `rules.py`. INVARIANT: `spelt(name)` matches
exactly `name`, or there is none, and then nothing is granted.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from policy.errors import printable
from policy.globs import GlobError, check_path_text
from policy.learn.overlap import name_matches

SENSITIVE: Final = (
    "*credential*",
    "*password*",
    "*secret*",
    "*token*",
    "*.key",
    "*.p12",
    "*.pem",
    "*.pfx",
)
"""What no generalised rule covers where no boundary says it."""

HIDDEN: Final = ".*"
"""Nor does one ever cover names with a leading dot."""

_SHOWN = 200

_OF_ONE_RUN: Final = (
    (re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"), "a UUID"),
    (re.compile(r"(?<![0-9a-f])[0-9a-f]{12,}(?![0-9a-f])"), "a long hexadecimal number"),
    (re.compile(r"(?<!\d)(?:19|20)\d\d[-_.]?[01]\d[-_.]?[0-3]\d(?!\d)"), "a date"),
    (re.compile(r"(?<!\d)\d{10,19}(?!\d)"), "a point in time"),
    (re.compile(r"(?:^|[-_.])(?:pid|tmp|temp)[-_.]?[0-9A-Za-z]*\d", re.IGNORECASE), "a number of a process"),
    (re.compile(r"^tmp[0-9a-z_]{6,}"), "a temporary name"),
)
_MEANS_SOMETHING = frozenset("*?[{}\\")


def spelt(name: str) -> str | None:
    """The glob that matches exactly this name of a file; None where the grammar has none."""
    try:
        name.encode()
        check_path_text(name)
    except (GlobError, UnicodeEncodeError):
        return None
    if name[0] == "!" or not name.isprintable():
        # what does not show cannot be reviewed; `!` negates in front of a glob, and no set can hold it alone
        return None
    return "".join(f"[{char}]" if char in _MEANS_SOMETHING else char for char in name)


def why_not_spelt(name: str) -> str:
    """Why no policy can name it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return "its name is not valid UTF-8"
    if unicodedata.normalize("NFC", name) != name:
        return "its name is not in Unicode normal form C"
    if not name.isprintable():
        return "its name holds characters that do not show"
    return "its name cannot be written in a policy"


def is_sensitive(name: str, forbidden: tuple[str, ...]) -> str:
    """The first pattern of `forbidden`, or that of hidden names, which matches; empty for none."""
    return next((pattern for pattern in (HIDDEN, *forbidden) if name_matches(name, pattern)), "")


def of_one_run(name: str) -> str:
    """What in `name` will be different in the next run, as it looks; empty for nothing."""
    return next((what for found, what in _OF_ONE_RUN if found.search(name)), "")


def visible(text: str) -> str:
    """Hostile text in backticks, in ASCII, and cut."""
    cut = printable(text[:_SHOWN]).replace("`", "'").encode("ascii", "backslashreplace").decode()
    return f"`{cut}{'...' if len(text) > _SHOWN else ''}`"
