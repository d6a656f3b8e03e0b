"""Random documents and paths, from an alphabet so small that rules meet each other often."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.oracle import RIGHTS

NAMES = ("a", "b", "ab", ".x", "a.c", "é", ".ssh")
SEGMENT_GLOBS = (
    "a",
    "b",
    "*",
    "?",
    "a*",
    "a*b",
    "*b*",
    "*.c",
    "[ab]",
    "[!a]",
    "[!a]*",
    ".*",
    "?b",
    "**",
    "a.c",
    "é",
)
ROOTS = ("/srv/m", "/srv/m/a", "/home/b", "/", "/etc")

segments = st.lists(st.sampled_from(NAMES), max_size=4)
rights = st.sampled_from(RIGHTS)
access = st.lists(rights, min_size=1, max_size=7, unique=True)


@st.composite
def globs(draw: st.DrawFn) -> str:
    return "/".join(draw(st.lists(st.sampled_from(SEGMENT_GLOBS), min_size=1, max_size=3)))


@st.composite
def allow_rules(draw: st.DrawFn, index: int) -> dict[str, Any]:
    rule: dict[str, Any] = {"id": f"allow{index}", "access": draw(access)}
    kind = draw(st.sampled_from(("tree", "tree", "tree", "file", "scratch")))
    if kind == "scratch":
        rule["uri"], rule["mount"] = "tmp://s", "/scratch"
    else:
        root = draw(st.sampled_from(ROOTS)).rstrip("/")
        name = draw(st.sampled_from(NAMES))
        rule["uri"] = f"fs://{root}/**" if kind == "tree" else f"fs://{root}/{name}"
    if kind != "file":
        rule["include"] = draw(st.lists(globs(), max_size=2))
        rule["exclude"] = draw(st.lists(globs(), max_size=2))
    return rule


@st.composite
def deny_rules(draw: st.DrawFn, index: int) -> dict[str, Any]:
    root = draw(st.sampled_from(("fs://", "fs:///srv", "fs:///srv/m", "fs:///home/b", "tmp://s")))
    rule: dict[str, Any] = {"id": f"deny{index}", "uri": f"{root}/{draw(globs())}"}
    if draw(st.booleans()):
        rule["access"] = draw(access)
    return rule


@st.composite
def storage_documents(draw: st.DrawFn) -> dict[str, Any]:
    """A document with allow and deny rules of all kinds; it may hold dead rules."""
    allow = [draw(allow_rules(index)) for index in range(draw(st.integers(1, 4)))]
    deny = [draw(deny_rules(index)) for index in range(draw(st.integers(0, 3)))]
    return {
        "version": 1,
        "metadata": {"name": "random"},
        "permissions": {"storage": {"allow": allow, "deny": deny}},
    }


CEILING_ROOTS = (
    "fs:///**",
    "fs:///srv/**",
    "fs:///srv/m",
    "fs:///srv/*/a/**",
    "fs:///home/b/**",
    "tmp://**",
    "tmp://s",
)
NEVER = (
    "**/.x",
    "**/.ssh/**",
    "a/**",
    "**/a*b/**",
    "fs:///srv/m/b",
    "fs:///srv/**/*b*",
    "tmp://s/**/a*",
    "tmp://**/é",
)


@st.composite
def boundaries(draw: st.DrawFn, index: int) -> dict[str, Any]:
    return {
        "id": f"boundary{index}",
        "roots": draw(st.lists(st.sampled_from(CEILING_ROOTS), min_size=1, max_size=3, unique=True)),
        "access": draw(st.just(list(RIGHTS)) | access),
        "never": draw(st.lists(st.sampled_from(NEVER), max_size=3, unique=True)),
    }


@st.composite
def rules_over_time(draw: st.DrawFn, index: int) -> dict[str, Any]:
    root = draw(st.sampled_from(("fs://", "fs:///srv", "fs:///srv/m", "fs:///home/b", "tmp://s")))
    return {"id": f"later{index}", "opened": f"{root}/{draw(globs())}", "denies": draw(access)}
