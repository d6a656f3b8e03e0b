"""A naive second opinion on paths: decides straight from a document, one rule and one glob at a time.

It shares no code with the package that it checks, and only its meaning as the reference page tells it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

RIGHTS = ("read", "list", "create", "write", "append", "delete", "symlink")
BUILT_IN = (
    "proc", "sys", "dev", "etc/shadow", "etc/shadow-", "etc/gshadow", "etc/gshadow-", "etc/sudoers",
    "etc/sudoers.d", "etc/ssh/ssh_host_*", "root/.ssh", "home/*/.ssh", "root/.aws", "home/*/.aws",
    "root/.config/gcloud", "home/*/.config/gcloud", "root/.gnupg", "home/*/.gnupg", "run/docker.sock",
    "var/run/docker.sock",
)  # fmt: skip

Document = dict[str, Any]


@dataclass(frozen=True)
class Opinion:
    """Whether a right is allowed, and the rules of which one must be named for it."""

    is_allowed: bool
    deciders: frozenset[str]


def segment_regex(glob: str) -> re.Pattern[str]:
    parts: list[str] = []
    at = 0
    while at < len(glob):
        char = glob[at]
        if char == "[":
            end = glob.index("]", at + 2 if glob[at + 1] == "!" else at + 1)
            inside = glob[at + 1 : end]
            parts.append("[^" + re.escape(inside[1:]) + "]" if inside[0] == "!" else f"[{inside}]")
            at = end
        else:
            parts.append({"*": ".*", "?": "."}.get(char) or re.escape(char))
        at += 1
    return re.compile("".join(parts), re.DOTALL)


def matches(glob: list[str], path: list[str]) -> bool:
    if not glob:
        return not path
    if glob[0] == "**":
        return matches(glob[1:], path) or bool(path and matches(glob, path[1:]))
    return bool(path and segment_regex(glob[0]).fullmatch(path[0]) and matches(glob[1:], path[1:]))


def may_match_below(glob: list[str], path: list[str]) -> bool:
    if not path:
        return True
    if not glob:
        return False
    if glob[0] == "**":
        return may_match_below(glob[1:], path) or may_match_below(glob, path[1:])
    return bool(segment_regex(glob[0]).fullmatch(path[0])) and may_match_below(glob[1:], path[1:])


def covers(glob: list[str], path: list[str]) -> bool:
    return any(matches(glob, path[:count]) for count in range(len(path) + 1))


def uri_parts(uri: str) -> tuple[str, list[str]]:
    scheme, _, rest = uri.partition("://")
    return scheme, [part for part in rest.split("/") if part]


def grants(rule: Document, right: str, scheme: str, root: list[str], path: list[str]) -> bool:
    if right not in rule["access"]:
        return False
    space, base = uri_parts(rule["uri"])
    if space == "tmp" or base[-1] == "**":
        base = base[:-1] if base[-1] == "**" else base
        if (space, base) != (scheme, root) or any(
            covers(g.split("/"), path) for g in rule.get("exclude", [])
        ):
            return False
        include = [glob.split("/") for glob in rule.get("include", [])]
        if not include:
            return True
        test = may_match_below if right == "list" else matches
        return any(test(glob, path) for glob in include)
    return (space, base[:-1]) == (scheme, root) and path == base[-1:]


def guest_root(rule: Document) -> str:
    """The guest path of the mount that a rule belongs to."""
    space, base = uri_parts(rule["uri"])
    is_tree = space == "tmp" or base[-1] == "**"
    base = base[:-1] if base[-1] == "**" else base
    mount = rule.get("mount") or "/" + "/".join(base)
    return mount if is_tree else mount.rpartition("/")[0] or "/"


def is_within(boundary: Document, right: str, scheme: str, whole: list[str]) -> bool:
    """Whether a boundary lets `right` pass at a whole path."""
    roots = [uri_parts(uri) for uri in boundary["roots"]]
    never = [uri_parts(uri) if "://" in uri else (scheme, uri.split("/")) for uri in boundary["never"]]
    return (
        right in boundary["access"]
        and any(space == scheme and covers(glob, whole) for space, glob in roots)
        and not any(space == scheme and covers(glob, whole) for space, glob in never)
    )


def place(document: Document, guest: str) -> tuple[str, list[str]]:
    """The scheme and the root of the mount that the guest finds at `guest`."""
    own = next(rule for rule in document["permissions"]["storage"]["allow"] if guest_root(rule) == guest)
    scheme, root = uri_parts(own["uri"])
    return scheme, root[:-1] if root[-1] == "**" or scheme == "fs" else root


def denying(document: Document, right: str, scheme: str, whole: list[str]) -> set[str]:
    """The deny rules of the document, or the built-in ones if one of these refuses."""
    if scheme == "fs" and any(covers(list[str](glob.split("/")), whole) for glob in BUILT_IN):
        return {"builtin"}
    return {
        rule["id"]
        for rule in document["permissions"]["storage"].get("deny", [])
        if right in rule.get("access", RIGHTS)
        and uri_parts(rule["uri"])[0] == scheme
        and covers(uri_parts(rule["uri"])[1], whole)
    }


def granting(document: Document, guest: str, path: list[str], right: str) -> list[str]:
    """The allow rules that grant `right` at `path`, were nothing else there."""
    scheme, root = place(document, guest)
    return [
        rule["id"]
        for rule in document["permissions"]["storage"]["allow"]
        if guest_root(rule) == guest and grants(rule, right, scheme, root, path)
    ]


def watched(document: Document, scheme: str, whole: list[str]) -> set[str]:
    """The rules over time that watch a whole path."""
    return {
        rule["id"]
        for rule in document.get("rules", [])
        if uri_parts(rule["opened"])[0] == scheme and covers(uri_parts(rule["opened"])[1], whole)
    }


def opinion(
    document: Document,
    guest: str,
    path: list[str],
    right: str,
    *,
    boundaries: list[Document] | None = None,
    started: frozenset[str] = frozenset(),
) -> Opinion:
    """What must hold for `right` at `path` below the mount that the guest finds at `guest`."""
    scheme, root = place(document, guest)
    refusing = denying(document, right, scheme, root + path)
    outside = {one["id"] for one in boundaries or [] if not is_within(one, right, scheme, root + path)}
    later = {
        rule["id"] for rule in document.get("rules", []) if rule["id"] in started and right in rule["denies"]
    }
    for deciders in (refusing & {"builtin"}, outside, refusing, later):
        if deciders:
            return Opinion(is_allowed=False, deciders=frozenset(deciders))
    for rule in granting(document, guest, path, right):
        return Opinion(is_allowed=True, deciders=frozenset({rule}))
    return Opinion(is_allowed=False, deciders=frozenset({"default"}))
