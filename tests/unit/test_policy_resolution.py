"""Which policy governs a module for a tenant: decided as a naive reading decides, and explained."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.bindings import Bindings, load_bindings
from policy.errors import PolicyError
from policy.resolution import Ambiguous, NoPolicy, Resolution, Resolved, resolve

ROOT = Path(__file__).resolve().parents[2]
MODEL = (ROOT / "policies/resolution/model.conf").read_text(encoding="utf-8")
SHIPPED = (ROOT / "policies/resolution/bindings.csv").read_text(encoding="utf-8")
D0, D1 = "sha256:" + "0" * 64, "sha256:" + "1" * 64


def bindings(text: str) -> Bindings:
    return load_bindings(MODEL, text, model_file="model.conf", file="bindings.csv")


def found(text: str, tenant: str = "acme", name: str = "csv-cleaner.wasm", digest: str = D0) -> Resolution:
    return resolve(bindings(text), tenant=tenant, module_name=name, module_digest=digest)


def governing(
    text: str, tenant: str = "acme", name: str = "csv-cleaner.wasm", digest: str = D0
) -> str | None:
    match found(text, tenant, name, digest):
        case Resolved(policy_name=policy):
            return policy
        case _:
            return None


GROUP = "g, csv-*.wasm, transform\n"


def test_a_binding_allows_a_policy_to_a_tenant_for_a_group():
    text = GROUP + "p, acme, transform, cleaner, allow"
    assert governing(text) == "cleaner"
    assert governing(text, tenant="globex") is None
    assert governing(text, name="pdf.wasm") is None


def test_without_a_binding_nothing_governs():
    assert isinstance(found(""), NoPolicy)


def test_a_module_is_in_a_group_by_its_digest():
    text = f"g, {D1}, transform\np, acme, transform, cleaner, allow"
    assert governing(text, digest=D1) == "cleaner"
    assert governing(text) is None


def test_a_binding_may_name_a_digest_itself():
    text = f"p, acme, {D1}, cleaner, allow"
    assert governing(text, digest=D1) == "cleaner"
    assert governing(text) is None


def test_a_group_in_a_group_counts_as_well():
    text = GROUP + "g, transform, batch\np, acme, batch, cleaner, allow"
    assert governing(text) == "cleaner"
    assert governing(text, name="pdf.wasm") is None


def test_a_tenant_inherits_from_another_and_not_the_other_way_round():
    text = GROUP + "g2, acme, standard\np, standard, transform, cleaner, allow"
    assert governing(text) == "cleaner"
    assert governing(text, tenant="standard") == "cleaner"
    assert governing(text, tenant="globex") is None
    own = (
        GROUP + "g2, acme, standard\np, acme, transform, cleaner, allow\np, standard, transform, other, deny"
    )
    assert governing(own) == "cleaner"
    assert governing(own, tenant="standard") is None


def test_a_line_can_be_about_every_tenant():
    assert governing(GROUP + "p, *, transform, cleaner, allow", tenant="whoever") == "cleaner"


def test_two_policies_are_an_error_that_names_both_bindings():
    text = GROUP + "g2, acme, standard\np, standard, transform, base, allow\np, acme, transform, own, allow\n"
    ambiguous = found(text)
    assert isinstance(ambiguous, Ambiguous)
    assert [(each.line, each.policy) for each in ambiguous.bindings] == [(3, "base"), (4, "own")]
    assert governing(text + "p, acme, transform, base, deny") == "own"
    assert governing(text + "p, acme, transform, base, deny", tenant="standard") == "base"


def test_two_ways_to_one_policy_are_no_error():
    text = GROUP + "g, *.wasm, all\np, acme, transform, cleaner, allow\np, *, all, cleaner, allow"
    assert governing(text) == "cleaner"


def test_deny_wins_over_every_allow():
    text = GROUP + "p, acme, transform, cleaner, allow\np, *, transform, cleaner, deny"
    refused = found(text)
    assert isinstance(refused, NoPolicy)
    assert "line 3 denies policy cleaner to every tenant for transform" in refused.chain


def test_the_steps_say_why():
    text = f"{GROUP}g2, acme, standard\ng, {D1}, vetted\np, standard, transform, base, allow\np, *, vetted, other, allow"
    resolved = found(text)
    assert resolved.chain == (
        "tenant acme inherits from standard (line 2)",
        'module "csv-cleaner.wasm" is in group transform: its name matches csv-*.wasm (line 1)',
        "line 4 allows policy base to tenant standard for transform",
    )
    assert found(text, name="pdf.wasm").chain == (
        "tenant acme inherits from standard (line 2)",
        'module "pdf.wasm" is in no group, neither by its name nor by its digest',
        "no line allows a policy: denied by default",
    )


@pytest.mark.parametrize(
    "name", ["transform", "group:transform", D0, f"digest:{D0}", "name:csv-a.wasm", "*", "csv-?.wasm\0"]
)
def test_a_module_that_calls_itself_like_something_else_is_not_that(name):
    text = f"{GROUP}g, {D0}, vetted\np, *, transform, a, allow\np, *, vetted, b, allow"
    assert governing(text, name=name, digest=D1) is None
    assert governing(text, name="csv-a.wasm", digest=D1) == "a"


@pytest.mark.parametrize(
    "tenant", ["", "*", "a b", "acme\0", "\u0430cme", "../acme", "tenant:acme", "x" * 65]
)
def test_a_tenant_that_is_no_name_has_no_policy(tenant):
    assert governing(GROUP + "p, *, transform, cleaner, allow", tenant=tenant) is None


def test_what_governs_has_no_truth_value():
    for resolution in (found(""), found(GROUP + "p, *, transform, cleaner, allow")):
        with pytest.raises(TypeError):
            bool(resolution)


def faults(text: str, model: str = MODEL) -> list[tuple[str, int]]:
    with pytest.raises(PolicyError) as caught:
        load_bindings(model, text, model_file="model.conf", file="bindings.csv")
    return [(finding.id, finding.line) for finding in caught.value.findings]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("p, acme, transform, cleaner", "malformed-line"),
        ("p, acme, transform, cleaner, perhaps", "malformed-line"),
        ("p, acme, transform, cleaner, ALLOW", "malformed-line"),
        ("p, ac me, transform, cleaner, allow", "malformed-line"),
        ("p, acme, trans*, cleaner, allow", "malformed-line"),
        ("p, acme, transform, ../cleaner, allow", "malformed-line"),
        ("p, acme, transform, cleaner, allow # why", "malformed-line"),
        ('p, "acme", transform, cleaner, allow', "malformed-line"),
        ("p, sha256:00, transform, cleaner, allow", "malformed-line"),
        ("q, a, b", "malformed-line"),
        ("g, [ab].wasm, transform", "malformed-line"),
        ("g2, acme, *", "malformed-line"),
        ("g, a.wasm", "malformed-line"),
        ("p, \u0430cme, transform, cleaner, allow", "odd-character"),
        ("p, acme\0, transform, cleaner, allow", "odd-character"),
        ("# \u202e hidden", "odd-character"),
        ("g, csv-*.wasm,transform", "duplicate-line"),
        ("p, acme, other, cleaner, allow", "unknown-group"),
        ("g2, acme, standrd", "unknown-tenant"),
        ("g, transform, transform", "cycle"),
        ("g2, acme, acme", "cycle"),
    ],
)
def test_each_fault_of_a_line_is_found_where_it_stands(line, fault):
    text = GROUP + "p, acme, transform, good, allow\n# a comment, with \u00e9\n\n" + line
    assert faults(text) == [(fault, 5)]


def test_all_faults_are_told_at_once():
    text = "q\np, \u0430, b, c, allow\ng, a, b\ng, b, a\ng, a, b\n"
    assert faults(text, MODEL.replace("p.policy", "p.tenant")) == [
        ("bad-model", 0),
        ("malformed-line", 1),
        ("odd-character", 2),
        ("cycle", 4),
        ("duplicate-line", 5),
    ]


def test_a_cycle_over_several_lines_is_one_fault():
    assert faults("g2, a, b\ng2, b, c\ng2, c, a\np, a, x, y, allow\ng, z.wasm, x") == [("cycle", 3)]


def test_windows_line_ends_are_no_fault():
    assert governing((GROUP + "p, acme, transform, cleaner, allow\n").replace("\n", "\r\n")) == "cleaner"


def test_too_many_lines_are_one_fault():
    assert faults("g, a.wasm, b\n" * 10_001) == [("too-many-lines", 0)]


@pytest.mark.parametrize(
    "change",
    [
        ("r.policy == p.policy && ", ""),
        ("r.policy == p.policy && g2", "r.policy == p.policy || g2"),
        ("r = tenant, name, digest, policy", "r = tenant, name, policy, digest"),
        ("p = tenant, module, policy, eft", "p = module, tenant, policy, eft"),
        ("g2 = _, _", ""),
    ],
)
def test_a_model_that_asks_something_else_is_refused(change):
    assert change[0] in MODEL
    assert {fault for fault, _ in faults("", MODEL.replace(*change))} == {"bad-model"}


# --- the same answer as a naive reading of the lines -------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c"])
GLOBS = st.sampled_from(["m1", "m2", "m*", "*1", "?2"])
GROUPS = st.sampled_from(["x", "y", "z"])
POLICIES = st.sampled_from(["P", "Q"])
LINE = st.one_of(
    st.tuples(
        st.just("p"),
        NAMES | st.just("*"),
        GROUPS | st.just(D1),
        POLICIES,
        st.sampled_from(["allow", "allow", "deny"]),
    ),
    st.tuples(st.just("g"), GLOBS | st.sampled_from([D0, D1]), GROUPS),
    st.sampled_from([("g", "x", "y"), ("g", "y", "z"), ("g", "x", "z")]),
    st.sampled_from([("g2", "a", "b"), ("g2", "b", "c"), ("g2", "a", "c")]),
)
ALWAYS = [("g", "never.wasm", group) for group in "xyz"] + [
    ("p", tenant, "x", "R", "deny") for tenant in "abc"
]


def ancestors(name: str, pairs: list[tuple[str, str]]) -> set[str]:
    above = {parent for member, parent in pairs if member == name}
    return above.union(*(ancestors(parent, pairs) for parent in above))


def oracle(lines: list[tuple[str, ...]], tenant: str, name: str, digest: str) -> set[str]:
    tenants = {tenant, "*"} | ancestors(tenant, [line[1:] for line in lines if line[0] == "g2"])  # type: ignore[misc]
    members = [line[1:] for line in lines if line[0] == "g"]
    groups = {
        group
        for member, group in members
        if member not in "xyz" and (member == digest or fnmatchcase(name, member))
    }
    inside = [pair for pair in members if pair[0] in "xyz"]
    groups = groups.union(*(ancestors(group, inside) for group in groups)) | {digest}  # type: ignore[arg-type]
    about = [line for line in lines if line[0] == "p" and line[1] in tenants and line[2] in groups]
    denied = {line[3] for line in about if line[4] == "deny"}
    return {line[3] for line in about if line[4] == "allow"} - denied


@given(
    st.lists(LINE, max_size=12, unique=True),
    NAMES,
    st.sampled_from(["m1", "m2", "x"]),
    st.sampled_from([D0, D1]),
)
def test_it_agrees_with_a_naive_reading(lines, tenant, name, digest):
    kept = [*ALWAYS, *(line for line in lines if line not in ALWAYS)]
    resolution = found("\n".join(", ".join(line) for line in kept), tenant, name, digest)
    expected = oracle(kept, tenant, name, digest)
    match resolution:
        case Resolved(policy_name=policy, binding=binding):
            assert expected == {policy}
            assert kept[binding.line - 1] == ("p", binding.tenant, binding.module, policy, "allow")
        case NoPolicy():
            assert not expected
        case Ambiguous(bindings=several):
            assert {each.policy for each in several} == expected
            assert len(several) == len(expected) > 1


@given(st.lists(LINE, max_size=12, unique=True), NAMES, st.sampled_from(["m1", "m2"]))
def test_another_deny_never_brings_another_policy(lines, tenant, name):
    kept = [*ALWAYS, *(line for line in lines if line not in ALWAYS)]
    more = [*kept, ("p", "*", "x", "P", "deny")] if ("p", "*", "x", "P", "deny") not in kept else kept
    assert oracle(more, tenant, name, D0) <= oracle(kept, tenant, name, D0)
    after = found("\n".join(", ".join(line) for line in more), tenant, name)
    if isinstance(after, Resolved):
        assert after.policy_name in oracle(kept, tenant, name, D0)


# --- what is shipped ---------------------------------------------------------------------------------

ASKED = [
    line.removeprefix("# asked: ").rpartition(": ")[::2]
    for line in SHIPPED.splitlines()
    if line.startswith("# asked: ")
]


def test_the_shipped_bindings_say_what_comes_out():
    assert len(ASKED) >= 10


@pytest.mark.parametrize(("question", "expected"), ASKED)
def test_the_shipped_bindings_resolve_as_their_comments_say(question, expected):
    tenant, name, digest = [*question.split(", "), D0][:3]
    assert governing(SHIPPED, tenant, name, digest) == (None if expected == "nothing" else expected)


def test_without_the_line_that_denies_the_shipped_bindings_would_be_ambiguous():
    without = SHIPPED.replace("p, acme, reviewed-transforms, csv-cleaner, deny\n", "")
    assert without != SHIPPED
    digest = next(question.split(", ")[2] for question, _ in ASKED if question.count(", ") == 2)
    assert isinstance(found(without, "acme", "renamed.wasm", digest), Ambiguous)


def test_every_policy_of_the_shipped_bindings_is_shipped():
    names = {policy for policy, _ in bindings(SHIPPED).enforcers}
    kept = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "policies/examples").glob("*.yaml"))
    assert names
    assert [name for name in names if f"  name: {name}\n" not in kept] == []
