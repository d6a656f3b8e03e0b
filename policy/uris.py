"""The URIs of storage rules: `fs:///…`, `fs:./…` and `tmp://…`.

Globs below a rule's root are read in `globs.py`. Nothing here touches a disk: a relative URI is
joined to the folder of its document by text alone, and never leaves it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from policy.globs import (
    Glob,
    GlobError,
    Literal,
    check_dollars,
    check_path_text,
    check_segments,
    has_wildcard,
    parse_glob,
    parse_relative,
)

_SCRATCH_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_TREE = "/**"


class Space(StrEnum):
    """Which kind of storage a URI names."""

    HOST = "fs"
    SCRATCH = "tmp"


class Extent(StrEnum):
    """How much an allow rule grants."""

    TREE = "tree"  # a directory, and everything below
    FILE = "file"


@dataclass(frozen=True, slots=True)
class AllowTarget:
    """What the URI of an allow rule names."""

    space: Space
    extent: Extent
    segments: tuple[str, ...]  # of the host path; or the one name of a scratch directory
    is_relative: bool = False

    def host_path(self, base_dir: str) -> str:
        """The absolute host path, with relative ones below `base_dir`."""
        base = base_dir.rstrip("/") if self.is_relative else ""
        return "".join([base, *(f"/{segment}" for segment in self.segments)]) or "/"


@dataclass(frozen=True, slots=True)
class DenyTarget:
    """What the URI of a deny rule names: a glob over whole paths, or over `/name/…` for scratch."""

    space: Space
    glob: Glob
    is_relative: bool = False

    def absolute(self, base_dir: str) -> Glob:
        """The glob with relative ones below `base_dir`."""
        return (*literal_glob(base_dir), *self.glob) if self.is_relative else self.glob


def literal_glob(path: str) -> Glob:
    """The glob that matches exactly the absolute `path`."""
    return tuple((Literal(segment.encode()),) for segment in path.split("/") if segment)


def parse_allow(text: str) -> AllowTarget:
    """Read the `uri` of an allow rule.

    Raises:
        GlobError: when it isn't one.
    """
    space, is_relative, rest = _split(text)
    if space is Space.SCRATCH:
        name = rest.removesuffix(_TREE)
        if not _SCRATCH_NAME.fullmatch(name):
            raise GlobError("tmp:// and one name of a-z, 0-9, `.`, `_` and `-`, such as tmp://out")
        return AllowTarget(space, Extent.TREE, (name,))
    if rest in {"**", ""}:
        if not rest:
            raise GlobError("a path after the scheme", text.rstrip("/") + ("/**" if is_relative else "///**"))
        return AllowTarget(space, Extent.TREE, (), is_relative=is_relative)
    if rest.endswith("/"):
        raise GlobError("a file, or a directory with /** at the end", text.rstrip("/") + _TREE)
    extent = Extent.TREE if rest.endswith(_TREE) else Extent.FILE
    rest = rest.removesuffix(_TREE)
    if has_wildcard(rest):
        raise GlobError("no wildcard but a trailing /**: use `include` for globs")
    segments = rest.split("/")
    tail = _TREE if extent is Extent.TREE else ""
    try:
        check_segments(segments, rest)
        check_dollars(rest)
    except GlobError as err:
        raise _whole(err, text, rest + tail, tail) from None
    return AllowTarget(space, extent, tuple(segments), is_relative=is_relative)


def parse_deny(text: str) -> DenyTarget:
    """Read the `uri` of a deny rule, which may hold wildcards anywhere.

    Raises:
        GlobError: when it isn't one.
    """
    space, is_relative, rest = _split(text)
    if rest.endswith("/"):
        raise GlobError("a path or a glob that does not end in a slash", text.rstrip("/") + _TREE)
    if not rest:
        raise GlobError("a path or a glob after the scheme")
    try:
        return DenyTarget(space, parse_glob(rest), is_relative=is_relative)
    except GlobError as err:
        raise _whole(err, text, rest, "") from None


def parse_root(text: str) -> DenyTarget:
    """Read a root of a ceiling: a glob over whole paths, which does not depend on a document's folder.

    Raises:
        GlobError: when it isn't one.
    """
    target = parse_deny(text)
    if target.is_relative:
        raise GlobError("an absolute URI: a boundary holds for documents in every folder")
    return target


def parse_never(text: str) -> tuple[DenyTarget, ...]:
    """Read what a ceiling never grants; a glob without a scheme is about every kind of storage.

    Raises:
        GlobError: when it isn't one.
    """
    check_path_text(text)
    if ":" in text or text.startswith("/"):
        return (parse_root(text),)
    glob = parse_relative(text)
    return tuple(DenyTarget(space, glob) for space in Space)


def _whole(err: GlobError, text: str, rest: str, tail: str) -> GlobError:
    """The error about `rest`, the end of `text`, with its suggestion made one for `text`."""
    suggestion = text.removesuffix(rest) + err.suggestion + tail if err.suggestion else ""
    return GlobError(err.expected, suggestion)


def _split(text: str) -> tuple[Space, bool, str]:
    """The space, whether the path is relative, and the path without a slash in front."""
    check_path_text(text)
    if text.startswith("fs:///"):
        return Space.HOST, False, text.removeprefix("fs:///")
    if text.startswith("fs:./"):
        return Space.HOST, True, text.removeprefix("fs:./")
    if text.startswith("tmp://"):
        return Space.SCRATCH, False, text.removeprefix("tmp://")
    raise GlobError("a URI that starts with fs:///, fs:./ or tmp://", _slip(text))


def _slip(text: str) -> str:
    for wrong, right in (
        ("file:///", "fs:///"),
        ("fs://./", "fs:./"),
        ("fs://", "fs:///"),
        ("fs:/", "fs:///"),
        ("fs:", "fs:./"),
        ("./", "fs:./"),
        ("/", "fs:///"),
    ):
        if text.startswith(wrong):
            return right + text.removeprefix(wrong)
    return ""


def check_mount(text: str) -> None:
    """Refuse a guest path that is not absolute and normalised.

    Raises:
        GlobError: with the path as it should be written, where that is plain.
    """
    check_path_text(text)
    if not text.startswith("/"):
        raise GlobError("an absolute guest path", "/" + text.removeprefix("./"))
    if text == "/":
        return
    if text.endswith("/"):
        raise GlobError("a guest path without a slash at the end", text.rstrip("/") or "/")
    check_dollars(text)
    check_segments(text[1:].split("/"), text)
