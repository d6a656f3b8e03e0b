"""Mounts that reach the same directory."""

from __future__ import annotations

import pytest

from policy.aliases import rights_elsewhere
from policy.plan import Right
from tests.runs import policy

HEAD = "permissions:\n  storage:\n    allow:\n"


def elsewhere(*rules: str) -> dict[str, Right]:
    plan = policy(HEAD + "".join(f"      - {{{rule}}}\n" for rule in rules))
    return {mount.guest: rights_elsewhere(plan, mount) for mount in plan.mounts}


@pytest.mark.parametrize("uri", ["fs:///d/**", "fs:///d/in/**", "fs:///**"])
def test_a_mount_of_the_same_place_or_around_it_or_in_it_counts(uri):
    found = elsewhere(
        'uri: "fs:///d/**", mount: /a, access: [create, delete]',
        f'uri: "{uri}", mount: /b, access: [read, list]',
    )
    assert found == {"/a": Right.READ | Right.LIST, "/b": Right.CREATE | Right.DELETE}


@pytest.mark.parametrize("uri", ["fs:///dd/**", "fs:///e/**", "tmp://d"])
def test_a_mount_of_another_place_does_not(uri):
    found = elsewhere(
        'uri: "fs:///d/**", mount: /a, access: [create, delete]',
        f'uri: "{uri}", mount: /b, access: [read, write]',
    )
    assert set(found.values()) == {Right(0)}


def test_scratch_of_the_same_name_is_the_same_place():
    found = elsewhere(
        'uri: "tmp://d", mount: /a, access: [create]', 'uri: "tmp://d", mount: /b, access: [write, append]'
    )
    assert found == {"/a": Right.WRITE | Right.APPEND, "/b": Right.CREATE}


def test_what_only_some_path_has_counts_too():
    found = elsewhere(
        'uri: "fs:///d/**", mount: /a, access: [create]',
        'uri: "fs:///d/**", mount: /b, access: [write], include: ["x/*.txt"]',
    )
    assert found["/a"] == Right.WRITE
