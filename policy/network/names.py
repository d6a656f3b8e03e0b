"""Names of hosts in one form, and the patterns that a policy writes for them.

Which rules meet at a name is said in `trie.py`. A name is lower-case ASCII without a dot at its end;
letters outside ASCII are written as their `xn--` form. INVARIANT: no text is both a name and an address.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from policy.network.addresses import looks_like_address

MAX_NAME: Final = 253  # RFC 1035: 255 bytes on the wire
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")  # underscores: services and containers use them
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # resolvers and browsers read such a last label as an address
_DOTS = re.compile("[\u3002\uff0e\uff61]")


class HostNameError(ValueError):
    """A text is no name in its canonical form; says what was expected and what to write instead."""

    def __init__(self, expected: str, suggestion: str = "") -> None:
        """Keep what was `expected` and a corrected text, where one is plain."""
        self.expected = expected
        self.suggestion = suggestion
        super().__init__(expected)


@dataclass(frozen=True, slots=True, order=True)
class Pattern:
    """A name, or all names with one label or more in front of it."""

    labels: tuple[str, ...]  # from the last to the first: `("com", "example")`
    is_below: bool

    @property
    def is_any(self) -> bool:
        """Whether it is `*`."""
        return self.is_below and not self.labels

    def __str__(self) -> str:
        """As a policy writes it."""
        return ".".join(("*",) * self.is_below + self.labels[::-1])


def parse_pattern(text: str) -> Pattern:
    """A name, `*.example.com`, or `*`, of a policy.

    Raises:
        HostNameError: when it is none of these.
    """
    if text == "*":
        return Pattern((), is_below=True)
    is_below = text.startswith("*.")
    rest = text[2:] if is_below else text
    if "*" in rest:
        raise HostNameError("a name, *.example.com for what is below a name, or *", _moved_star(text))
    try:
        return Pattern(parse_name(rest), is_below)
    except HostNameError as err:
        mended = "*." + err.suggestion if is_below and err.suggestion else err.suggestion
        raise HostNameError(err.expected, mended) from None


def parse_name(text: str) -> tuple[str, ...]:
    """The labels of a name, from the last to the first.

    Raises:
        HostNameError: when it is no name in its canonical form, apart from the case of its letters and one
            dot at its end.
    """
    expected = "the name of a host, such as api.example.com"
    if not text.isascii():
        raise HostNameError("a name in ASCII, with the xn-- form of other letters", _in_ascii(text))
    name = text.lower().removesuffix(".")
    if len(name) > MAX_NAME:
        raise HostNameError(f"a name of at most {MAX_NAME} characters")
    labels = name.split(".")
    if looks_like_address(name) or _NUMBER.fullmatch(labels[-1]):
        expected = "a name whose last label is no number: it would be read as an address"
        raise HostNameError("the name of a host alone" if ":" in name else expected, _mended(name))
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise HostNameError(expected, _mended(name))
    return tuple(reversed(labels))


def name_text(labels: tuple[str, ...]) -> str:
    """The name with these labels, which stand from the last to the first."""
    return ".".join(reversed(labels))


def _moved_star(text: str) -> str:
    """The pattern for what is below the last label with a star in it."""
    rest = text.rpartition("*")[2].partition(".")[2]
    return f"*.{rest}" if rest and all(_LABEL.fullmatch(label) for label in rest.lower().split(".")) else ""


def _mended(name: str) -> str:
    """A host out of what looks like more than one: without a scheme, a user, a port and a path."""
    rest = name.partition("://")[2] or name
    host = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2].partition(":")[0]
    is_name = host != name and all(_LABEL.fullmatch(label) for label in host.split("."))
    return host if is_name and not _NUMBER.fullmatch(host.rpartition(".")[2]) else ""


def _in_ascii(text: str) -> str:
    """The `xn--` form where no mapping is in doubt; empty elsewhere."""
    # The tables of IDNA 2008 are no part of the standard library, and its codec follows those of 2003, which
    # read some letters as others: so this is only a proposal for a person to look at.
    labels: list[str] = []
    for label in _DOTS.sub(".", text).split("."):
        plain = unicodedata.normalize("NFKC", label.lower())
        is_mapped = any(not char.isascii() and char.lower().isascii() for char in label)
        if is_mapped or plain != unicodedata.normalize("NFC", label.lower()):
            return ""
        if not plain or not all(char.isalnum() or char == "-" for char in plain):
            return ""
        labels.append(plain if plain.isascii() else "xn--" + plain.encode("punycode").decode("ascii"))
    return ".".join(labels) if all(len(label) < 64 for label in labels) else ""
