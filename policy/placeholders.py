"""The `${…}` of a document as text: the four names, where they stand, and what they may be replaced by.

Which fields are replaced, and by what, is said in `substitution.py`. INVARIANT: a value that could change the
shape of a path (a slash, a dot segment, a wildcard) never gets into a text.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final

from policy.errors import closest

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES: Final = ("tenant", "run.id", "module.name", "module.digest")
"""The closed set of what may stand between `${` and `}`."""

OPENING: Final = "${"

_ANY = re.compile(r"\$\{([^}]*)(\}?)")
_KNOWN = re.compile(r"\$\{(" + "|".join(re.escape(name) for name in NAMES) + r")\}")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f/\\*?\[\]{}]|\.\.|[\u2028\u2029]")
_MAX_BYTES = 255  # Linux NAME_MAX: a longer one is no name of a file


class PlaceholderError(ValueError):
    """A text holds a `${…}` that is not one of the four; says what was expected, and the text as meant."""

    def __init__(self, suggestion: str = "") -> None:
        """Keep the corrected text, where it is plain."""
        self.expected = "one of " + ", ".join(f"${{{name}}}" for name in NAMES)
        self.suggestion = suggestion
        super().__init__(self.expected)


def check_placeholders(text: str) -> None:
    """Refuse a `${…}` that is not one of the four.

    Raises:
        PlaceholderError: with the text as it was probably meant.
    """
    for found in _ANY.finditer(text):
        name, brace = found.groups()
        if name not in NAMES or not brace:
            near = closest(name, NAMES)
            meant = f"{text[: found.start()]}${{{near}}}{text[found.end() :]}" if near and brace else ""
            raise PlaceholderError(meant)


def placeholder_at(text: str, at: int) -> str:
    """The placeholder that starts at `at` in a text that was checked; empty when there is none."""
    found = _KNOWN.match(text, at)
    return found.group() if found else ""


def names_in(text: str) -> frozenset[str]:
    """Which of the four stand in `text`."""
    return frozenset(found.group(1) for found in _KNOWN.finditer(text))


def replaced(text: str, values: Mapping[str, str]) -> str:
    """`text` with the placeholders that have a value replaced; the others stay as they are written."""
    return _KNOWN.sub(lambda found: values.get(found.group(1), found.group()), text)


def is_fit(value: str) -> bool:
    """Say whether `value` is one plain segment of a path, which globs and paths read as nothing else."""
    if value in {"", "."} or _FORBIDDEN.search(value) or unicodedata.normalize("NFC", value) != value:
        return False
    try:
        return len(value.encode()) <= _MAX_BYTES
    except UnicodeEncodeError:
        return False
