"""The check for text that looks like other text.

That paths are in normal form C is checked where they are read, in `policy/globs.py`. Everything is
compared byte for byte, so a look-alike is another name, and a reviewer cannot see that.
"""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from typing import TYPE_CHECKING

from policy.errors import Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.document import PolicyDocument
    from policy.errors import Finding
    from policy.places import Path

ID = "look-alike"
SUMMARY = "a text holds invisible characters, or letters that look like those of another script"
WHY = "a reviewer reads one name, and the rule is about another"

# General categories that show nothing, or reorder what is shown: controls, formats, surrogates, private use.
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
# Letters of other scripts that common fonts draw like ASCII ones (Unicode TR 39, the part that names use).
_LOOKS_LATIN = frozenset("аеорсухіјѕһԁԛԝӏАВЕКМНОРСТХУІЈЅαοινρτυκΑΒΕΖΗΙΚΜΝΟΡΤΥΧօսոհցզⅰⅼⅽⅾⅿ")
_FREE = {"description", "owner", "reason", "labels"}  # what is for people to read


def check(document: PolicyDocument) -> Iterator[Finding]:
    """Yield an error for invisible characters anywhere, and a warning for look-alikes in what is matched."""
    stack: list[tuple[Path, object]] = [((), document.source.value)]
    while stack:
        path, value = stack.pop()
        match value:
            case str():
                yield from _text(document, path, value)
            case dict():
                for key, child in value.items():
                    stack.append(((*path, str(key)), child))
            case tuple():
                stack.extend(((*path, index), child) for index, child in enumerate(value))
            case _:
                pass


def _text(document: PolicyDocument, path: Path, text: str) -> Iterator[Finding]:
    if text.isascii():
        return
    is_free = len(path) > 1 and path[0] == "metadata" and path[1] in _FREE
    hidden = next((char for char in text if unicodedata.category(char) in _INVISIBLE), None)
    if hidden is not None and not (is_free and hidden in "\t\n"):
        name = unicodedata.name(hidden, f"U+{ord(hidden):04X}")
        yield document.source.finding(ID, path, problem=f"the invisible character {name}: {WHY}")
        return
    if is_free:
        return
    odd = next((char for char in text if _is_look_alike(char, text)), None)
    if odd is not None:
        name = unicodedata.name(odd, f"U+{ord(odd):04X}")
        found = document.source.finding(ID, path, problem=f"{name} looks like another letter: {WHY}")
        yield replace(found, severity=Severity.WARNING)


def _is_look_alike(char: str, text: str) -> bool:
    """A letter drawn like a Latin one in a text with no other letter of its script, or a styled Latin one."""
    if unicodedata.normalize("NFKC", char).isascii() and not char.isascii():
        return True
    script = unicodedata.name(char, "").split(" ", 1)[0]
    return char in _LOOKS_LATIN and not any(
        unicodedata.name(other, "").startswith(script) and other not in _LOOKS_LATIN for other in text
    )
