from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.access import MODEL, PERMISSIONS, ROLES, Reach, load_access
from policy.errors import PolicyError

FOLDER = Path(__file__).resolve().parents[2] / "policies/access"
OWN, ALL, NONE = Reach.OWN, Reach.ALL, Reach.NONE

LETTERS = {OWN: "o", ALL: "a", NONE: "-"}
TABLE = {  # a letter for each of PERMISSIONS
    "auditor": "a-aaaaaa--a--",
    "tenant-auditor": "o-oo-oo------",
    "exporter": "-a-----------",
    "runner": "---------aaaa",
    "operator": "aaaaaaaaaaaaa",
    "nobody": "-------------",
    "": "-------------",
}


@pytest.mark.parametrize("role", TABLE)
def test_each_role_reaches_what_the_table_says(role):
    access = load_access()
    assert "".join(LETTERS[access.reach((role,), each)] for each in PERMISSIONS) == TABLE[role]


def test_the_lines_of_the_folder_are_those_that_are_built_in():
    model, text = (FOLDER / "model.conf").read_text(), (FOLDER / "roles.csv").read_text()
    kept, built_in = load_access(model, text), load_access()
    assert [(line.kind, line.values) for line in kept.lines] == [
        (line.kind, line.values) for line in built_in.lines
    ]
    assert kept.reach(("operator",), "retain") is ALL


def test_two_roles_reach_as_far_as_either():
    access = load_access()
    assert access.reach(("tenant-auditor",), "export") is NONE
    assert access.reach(("tenant-auditor", "exporter"), "export") is ALL
    assert access.reach(("tenant-auditor", "exporter"), "read") is OWN
    assert access.reach((), "read") is NONE


def test_a_line_that_denies_one_role_denies_it_to_whoever_has_that_role():
    access = load_access(text=ROLES + "p, contractor, export, all, deny\np, contractor, export, own, deny\n")
    assert access.reach(("auditor", "exporter"), "export") is ALL
    assert access.reach(("auditor", "exporter", "contractor"), "export") is NONE
    assert access.reach(("contractor", "exporter"), "export") is NONE


def test_a_reach_is_never_taken_for_yes_or_no():
    with pytest.raises(TypeError):
        bool(load_access().reach(("auditor",), "read"))


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("p, a, fly, all, allow\n", "malformed-line"),
        ("p, a, read, some, allow\n", "malformed-line"),
        ("p, a, read, all, maybe\n", "malformed-line"),
        ("p, *, read, all, allow\n", "malformed-line"),
        ("p, a, read, all\n", "malformed-line"),
        ("g2, a, b\n", "malformed-line"),
        ("g, a, b\ng, b, a\n", "cycle"),
        ("p, a, read, all, allow\np, a, read, all, allow\n", "duplicate-line"),
    ],
)
def test_lines_that_are_odd_are_refused(text, rule):
    with pytest.raises(PolicyError) as caught:
        load_access(text=text)
    assert {finding.id for finding in caught.value.findings} == {rule}
    load_access(text="p, a, read, all, allow\ng, b, a\n")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("r = role, permission, reach", "r = role, permission, reach, more"),
        ("p = role, permission, reach, eft", "p = permission, role, reach, eft"),
        ("g = _, _", "g = _, _\ng2 = _, _"),
        ("!some(where (p.eft == deny))", "some(where (p.eft == allow))"),
        ("g(r.role, p.role)", "True"),
    ],
)
def test_a_model_that_asks_something_else_is_refused(old, new):
    with pytest.raises(PolicyError):
        load_access(MODEL.replace(old, new))


@given(st.text(max_size=20), st.sampled_from(PERMISSIONS))
def test_a_role_that_no_line_names_reaches_nothing(role, permission):
    access = load_access()
    if role not in access.roles:
        assert access.reach((role,), permission) is NONE
