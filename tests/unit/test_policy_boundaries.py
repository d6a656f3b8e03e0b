"""Boundaries in the automaton of paths: against the naive oracle, and what they report as outside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy import Right, load_document
from policy.automaton import walk
from policy.fold import Determinised
from policy.globs import parse_glob
from policy.path_rules import Ceiling, Watch, compile_paths
from policy.plan import RIGHTS, PathClass
from policy.storage import GuestMount, resolve_storage
from policy.uris import parse_deny
from tests import oracle
from tests.strategies import boundaries, rules_over_time, segments, storage_documents

CEILINGS, WATCHES = 1_000, 2_000  # where their indices start


@dataclass(frozen=True)
class Paths:
    """A document compiled together with boundaries and what is watched."""

    document: dict[str, Any]
    boundaries: list[dict[str, Any]]
    mounts: list[GuestMount]
    found: Determinised
    names: dict[int, str]

    def at(self, number: int, path: list[str]) -> PathClass:
        table = self.found.automaton
        state = walk(table, self.found.starts[number], [part.encode() for part in path])
        return table.classes[table.states[state][2]]


def right_mask(names: list[str]) -> Right:
    mask = Right(0)
    for name in names:
        mask |= Right[name.upper()]
    return mask


def ceiling(index: int, boundary: dict[str, Any]) -> Ceiling:
    roots = [parse_deny(uri) for uri in boundary["roots"]]
    never = [(None, parse_glob(uri)) if "://" not in uri else scheme_of(uri) for uri in boundary["never"]]
    return Ceiling(
        index, right_mask(boundary["access"]), tuple((each.space, each.glob) for each in roots), tuple(never)
    )


def scheme_of(uri: str) -> tuple[Any, Any]:
    target = parse_deny(uri)
    return target.space, target.glob


def paths_of(document: dict[str, Any], limits: list[dict[str, Any]]) -> Paths:
    text = {key: value for key, value in document.items() if key != "rules"}
    storage = resolve_storage(load_document(json.dumps(text).encode(), file="random.yaml"), "/base")
    watched = document.get("rules", [])
    builtins = len(storage.denies("/", 1)) - len(storage.refusals)
    first_deny, first_allow = 1 + builtins, 1 + builtins + len(storage.refusals)
    mounts = storage.mounts(first_allow)
    denies = storage.denies("/base", 1)
    soft = sorted({deny.index for deny in denies if not deny.is_hard})
    names = {deny.index: "builtin" for deny in denies} | {0: "default"}
    names |= {index: refusal.id for index, refusal in zip(soft, storage.refusals, strict=True)}
    names |= {first_allow + index: grant.id for index, grant in enumerate(storage.grants)}
    names |= {CEILINGS + index: each["id"] for index, each in enumerate(limits)}
    assert first_deny
    found = compile_paths(
        tuple(mount.rules for mount in mounts),
        denies,
        tuple(ceiling(CEILINGS + index, each) for index, each in enumerate(limits)),
        tuple(Watch(WATCHES + bit, bit, *scheme_of(rule["opened"])) for bit, rule in enumerate(watched)),
    )
    return Paths(document, limits, mounts, found, names)


limits = st.lists(st.integers(0, 9), max_size=2, unique=True).flatmap(
    lambda numbers: st.tuples(*(boundaries(number) for number in numbers)).map(list)
)


@given(storage_documents(), limits, st.lists(segments, min_size=1, max_size=12))
def test_the_table_agrees_with_the_oracle_on_boundaries(document, limits, asked):
    paths = paths_of(document, limits)
    for number, mount in enumerate(paths.mounts):
        for path in asked:
            found = paths.at(number, path)
            for right, index in zip(RIGHTS, found.rules, strict=True):
                expected = oracle.opinion(
                    document, mount.guest, path, str(right.name).lower(), boundaries=limits
                )
                assert bool(found.rights & right) == expected.is_allowed, (mount.guest, path, right)
                assert paths.names[index] in expected.deciders, (mount.guest, path, right)


@given(storage_documents(), limits.filter(bool), st.lists(segments, min_size=1, max_size=12))
def test_what_lies_outside_a_boundary_is_reported_with_a_path_that_does(document, limits, asked):
    paths = paths_of(document, limits)
    by_name = {each["id"]: each for each in limits}
    reported = set()
    for outside in paths.found.outside:
        right = str(outside.right.name).lower()
        boundary = by_name[paths.names[outside.ceiling]]
        reported.add((boundary["id"], right))
        scheme, whole = oracle.uri_parts(outside.path if "://" in outside.path else f"fs://{outside.path}")
        assert not oracle.denying(document, right, scheme, whole)
        assert not oracle.is_within(boundary, right, scheme, whole)
        assert any(
            paths.names[outside.allow] in oracle.granting(document, mount.guest, whole[len(root) :], right)
            for mount, root in roots_around(paths, scheme, whole)
        )
    for mount in paths.mounts:
        scheme, root = oracle.place(document, mount.guest)
        for path in asked:
            for each in RIGHTS:
                right = str(each.name).lower()
                if oracle.denying(document, right, scheme, root + path):
                    continue
                for boundary in limits:
                    if not oracle.is_within(boundary, right, scheme, root + path):
                        granted = oracle.granting(document, mount.guest, path, right)
                        assert not granted or (boundary["id"], right) in reported


def roots_around(paths: Paths, scheme: str, whole: list[str]) -> Iterator[tuple[GuestMount, list[str]]]:
    for mount in paths.mounts:
        space, root = oracle.place(paths.document, mount.guest)
        if space == scheme and whole[: len(root)] == root:
            yield mount, root


@given(
    storage_documents(),
    limits,
    st.integers(0, 3).flatmap(lambda count: st.tuples(*(rules_over_time(index) for index in range(count)))),
    st.lists(segments, min_size=1, max_size=12),
)
def test_watched_paths_are_marked_and_nothing_else_changes(document, limits, rules, asked):
    plain = paths_of(document, limits)
    document = {**document, "rules": list(rules)}
    paths = paths_of(document, limits)
    for number, mount in enumerate(paths.mounts):
        scheme, root = oracle.place(document, mount.guest)
        for path in asked:
            found = paths.at(number, path)
            watching = {rule["id"] for bit, rule in enumerate(rules) if found.marks >> bit & 1}
            assert watching == oracle.watched(document, scheme, root + path)
            assert found.rights == plain.at(number, path).rights


def one_mount(uri: str, *, access: list[str], deny: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    allow = [{"id": "a", "uri": uri, "access": access}]
    return {
        "version": 1,
        "metadata": {"name": "p"},
        "permissions": {"storage": {"allow": allow, "deny": deny or []}},
    }


def boundary(*roots: str, access: list[str] | None = None, never: list[str] | None = None) -> dict[str, Any]:
    return {"id": "b", "roots": list(roots), "access": access or list(oracle.RIGHTS), "never": never or []}


@pytest.mark.parametrize(
    ("uri", "limit", "witnesses"),
    [
        ("fs:///srv/in/**", boundary("fs:///srv/**"), []),
        ("fs:///srv/in/**", boundary("fs:///srv/in"), []),
        ("fs:///srv/**", boundary("fs:///srv/in/**"), ["/srv"]),
        ("fs:///srv/in/**", boundary("fs:///srv/**", never=["**/.ssh/**"]), ["/srv/in/.ssh"]),
        ("fs:///srv/in/key", boundary("fs:///srv/**", never=["**/.ssh/**"]), []),
        ("fs:///srv/in/key", boundary("fs:///srv/**", never=["**/ke?"]), ["/srv/in/key"]),
        ("fs:///srv/in/**", boundary("fs:///srv/**", access=["list"]), ["/srv/in"]),
        ("fs:///**", boundary("fs:///**", never=["**/?*/ab[0-9]/**"]), ["/a/ab0"]),
    ],
)  # fmt: skip
def test_a_witness_is_short_and_readable(uri, limit, witnesses):
    found = paths_of(one_mount(uri, access=["read"]), [limit]).found
    assert [each.path for each in found.outside] == witnesses
    assert all(each.right is Right.READ for each in found.outside)


def test_what_the_document_denies_itself_is_not_outside():
    limit = boundary("fs:///srv/**", never=["fs:///srv/in/.git/**"])
    document = one_mount("fs:///srv/in/**", access=["read"], deny=[{"uri": "fs:///srv/**/.git"}])
    assert paths_of(document, [limit]).found.outside == ()


def test_a_deny_that_shares_its_beginning_with_another_is_not_lost():
    document = one_mount(
        "fs:///a/**",
        access=["read", "write"],
        deny=[
            {"uri": "fs:///a/x/**", "access": ["read"]},
            {"uri": "fs:///a/x/b*", "access": ["read"]},
            {"uri": "fs:///a/x/b*c", "access": ["write"]},
        ],
    )
    paths = paths_of(document, [])
    assert paths.at(0, ["x", "bc"]).rights == 0
    assert paths.at(0, ["x", "bd"]).rights == Right.WRITE


def test_only_so_many_rules_can_watch_paths():
    with pytest.raises(ValueError, match="32"):
        compile_paths((), (), (), (Watch(1, 32, None, ()),))
