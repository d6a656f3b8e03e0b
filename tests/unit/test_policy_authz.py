"""casbin behind its one door: deny by default, deny wins, and no text is ever code."""

from __future__ import annotations

import logging
from importlib.metadata import packages_distributions

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.authz import Allow, Deny, Enforcer, Links, glob, load_enforcer, load_model
from policy.errors import PolicyError
from policy.rule_lines import Line

ROLES = """
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act, eft
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = g(r.sub, p.sub) && glob(r.obj, p.obj) && r.act == p.act
"""
LINES = (
    Line(1, "p", ("reader", "policies/*", "read", "allow")),
    Line(2, "p", ("author", "policies/*", "write", "allow")),
    Line(3, "p", ("author", "policies/boundary/*", "write", "deny")),
    Line(4, "g", ("author", "reader")),
    Line(5, "g", ("ada", "author")),
    Line(6, "g", ("ci-*", "reader")),
)


def enforcer(*lines: Line, model: str = ROLES) -> Enforcer:
    return load_enforcer(load_model(model, file="model.conf"), lines)


def decided(found: Allow | Deny) -> tuple[str, int | None]:
    return type(found).__name__, found.line.number if found.line else None


def test_exactly_one_distribution_brings_casbin():
    assert packages_distributions()["casbin"] == ["pycasbin"]


@pytest.mark.parametrize(
    ("request_", "verdict"),
    [
        (("ada", "policies/a", "write"), ("Allow", 2)),
        (("ada", "policies/a", "read"), ("Allow", 1)),
        (("ada", "policies/boundary/a", "write"), ("Deny", 3)),
        (("ada", "policies/boundary/a", "read"), ("Allow", 1)),
        (("ada", "policies/a", "delete"), ("Deny", None)),
        (("ada", "modules/a", "write"), ("Deny", None)),
        (("bob", "policies/a", "read"), ("Deny", None)),
        (("ci-7", "policies/a", "read"), ("Allow", 1)),
        (("ci", "policies/a", "read"), ("Deny", None)),
        (("ci-7", "policies/a", "write"), ("Deny", None)),
    ],
)
def test_a_line_allows_a_line_denies_and_deny_wins(request_, verdict):
    assert decided(enforcer(*LINES).allows(request_)) == verdict


def test_without_a_line_nothing_is_allowed():
    # the library alone would compare the request with empty text here, and `!` would make that true
    negated = ROLES.replace("r.act == p.act", "!(r.act == p.act)").replace(
        "g(r.sub, p.sub) && glob(r.obj, p.obj) && ", ""
    )
    assert decided(enforcer(model=negated).allows(("ada", "x", "read"))) == ("Deny", None)
    one = Line(1, "p", ("ada", "x", "write", "allow"))
    assert decided(enforcer(one, model=negated).allows(("ada", "x", "read"))) == ("Allow", 1)


@pytest.mark.parametrize(
    "request_",
    [
        (),
        ("ada",),
        ("ada", "policies/a", "read", "x"),
        ("", "policies/a", "read"),
        ("ada", "policies/\0", "read"),
        ("ada", "policies/" + "a" * 5_000, "read"),
    ],
)
def test_a_request_of_another_shape_is_no_decision(request_):
    found = enforcer(*LINES).allows(request_)
    assert isinstance(found, Deny)
    assert found.is_failure


def test_what_fails_in_the_library_denies():
    def broken(*request: str) -> tuple[bool, list[str]]:
        raise RuntimeError(request)

    def odd(*request: str) -> tuple[bool, list[str]]:
        return bool(request), ["a line", "that", "nobody", "wrote"]

    for library in (broken, odd):
        found = Enforcer(library, {("a",): Line(1, "p", ("a",))}, ("sub",)).allows(("ada",))
        assert isinstance(found, Deny)
        assert found.is_failure


@pytest.mark.parametrize(
    "hostile",
    [
        "__import__('os').system('x')",
        "ada) || (1 == 1",
        "r.sub",
        "p_sub",
        "{}",
        "'",
        "\n",
        "*",
        "ci-*",
        "a" * 4_000,
    ],
)
def test_text_in_a_request_is_compared_and_never_evaluated(hostile):
    found = enforcer(*LINES).allows((hostile, "policies/a", "read"))
    assert decided(found) == (("Allow", 1) if hostile == "ci-*" else ("Deny", None))
    itself = enforcer(Line(1, "p", (hostile, "x", "read", "allow")))
    assert decided(itself.allows((hostile, "x", "read"))) == ("Allow", 1)


@pytest.mark.parametrize(
    "change",
    [
        ("r.act == p.act", "eval(p.act)"),
        ("r.act == p.act", "regexMatch(r.act, p.act)"),
        ("r.act == p.act", "r.act.upper() == p.act"),
        ("r.act == p.act", "r.act == 'x'"),
        ("r.act == p.act", "r.act in p.act"),
        ("r.act == p.act", "True"),
        ("r.act == p.act", "r.act == p.act)"),
        ("r.act == p.act", "r.act == p.activity"),
        ("r.act == p.act", "r.act ==" + " " * 2_000),
        ("r.act == p.act", "g2(r.act, p.act)"),
        ("m = g(r.sub, p.sub) && glob(r.obj, p.obj) && r.act == p.act", "m ="),
        (" && !some(where (p.eft == deny))", ""),
        ("some(where (p.eft == allow)) && !some(where (p.eft == deny))", "!some(where (p.eft == deny))"),
        ("act, eft", "act"),
        ("g = _, _", "g = _, _\ng2 = _, _\ng3 = _, _"),
        ("[matchers]", "[matchers]\nm2 = r.act == p.act"),
        ("r = sub, obj, act", ""),
        ("[request_definition]", "nonsense"),
    ],
)
def test_a_model_that_could_allow_more_is_refused(change):
    assert change[0] in ROLES
    with pytest.raises(PolicyError) as caught:
        load_model(ROLES.replace(*change), file="model.conf")
    assert {finding.id for finding in caught.value.findings} == {"bad-model"}


def test_a_decision_has_no_truth_value():
    for found in (enforcer(*LINES).allows(("ada", "policies/a", "read")), enforcer().allows(("a", "b", "c"))):
        with pytest.raises(TypeError):
            bool(found)


def test_the_library_says_nothing(caplog, capfd):
    caplog.set_level(logging.DEBUG)
    enforcer(*LINES).allows(("secret", "policies/a", "read"))
    enforcer(*LINES).allows(("ada", "policies/a", "read"))
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_inheritance_is_followed_to_any_depth():
    chain = [Line(number, "g", (f"a{number}", f"a{number + 1}")) for number in range(100)]
    right = Line(200, "p", ("a100", "x", "read", "allow"))
    assert decided(enforcer(right, *chain).allows(("a0", "x", "read"))) == ("Allow", 200)
    assert decided(enforcer(right, *chain[:50], *chain[51:]).allows(("a0", "x", "read"))) == ("Deny", None)


def test_asking_keeps_nothing_of_what_was_asked():
    links = Links((("a-*", "b"), ("b", "c")))
    assert not links.has_link("x-1", "b")
    assert links.of("a-1") == ("b", "c")
    assert not links.has_link("a-1", "x-1")


SMALL = st.text("ab*?", max_size=6)


def naive(text: str, pattern: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(naive(text[at:], pattern[1:]) for at in range(len(text) + 1))
    return bool(text) and pattern[0] in ("?", text[0]) and naive(text[1:], pattern[1:])


@given(st.text("ab", max_size=8), SMALL)
def test_a_glob_matches_what_the_naive_reading_matches(text, pattern):
    assert glob(text, pattern) == naive(text, pattern)


def test_a_glob_takes_no_time_to_speak_of():
    assert not glob("a" * 4_096, "a*" * 64 + "b")
    assert glob("a" * 4_096, "a*" * 64)
