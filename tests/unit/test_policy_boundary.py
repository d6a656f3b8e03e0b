"""Boundaries: which apply, and what a policy inside them may not ask for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.bundle import make_bundle
from policy.checking import check_document
from policy.document import BoundaryDocument, load_any
from policy.errors import PolicyError
from policy.plan import Mode, RuleKind
from policy.subject import Subject
from tests.documents import baseline, boundary, compiled, findings, policy, refused

OPEN = (
    'storage: {roots: ["fs:///**", "tmp://**"], access: [read, list, create, write, append, delete, symlink]}'
)
HEAD = "match: {name: m, tenant: acme}\n"


def ceiling(text: str = "", scope: str = "", name: str = "c") -> BoundaryDocument:
    match = f"match: {scope}\n" if scope else ""
    return boundary(name, f"{match}ceiling: {{{OPEN}{', ' if text else ''}{text}}}")


def outside(text: str, *boundaries: BoundaryDocument, **options: object) -> list[tuple[str, str]]:
    found = findings(policy(text), *boundaries, **options)
    return [(each.field, each.problem) for each in found if each.id == "outside-boundary"]


def storage(*rules: str) -> str:
    return f"permissions: {{storage: {{allow: [{', '.join(rules)}]}}}}\n"


# --- which boundaries apply ---------------------------------------------------------------------

LIMITED = "limits: {cpu: 1s}"


@pytest.mark.parametrize(
    ("scope", "match", "subject", "applies"),
    [
        ("", "", Subject(), True),
        ("{tenant: ['*']}", "", Subject(), True),
        ("{tenant: ['*']}", "match: {tenant: x}", Subject(tenant="y"), True),
        ("{tenant: acme}", "", Subject(tenant="acme"), True),
        ("{tenant: acme}", "", Subject(tenant="other"), False),
        ("{tenant: 'ac*'}", "match: {tenant: [x, acme]}", Subject(), True),
        ("{tenant: 'ac*'}", "match: {tenant: [x, y]}", Subject(), False),
        ("{tenant: 'ac*'}", "match: {tenant: acme}", Subject(tenant="x"), False),
        ("{tenant: acme}", "", Subject(), None),
        ("{tenant: acme}", "match: {tenant: 'a*'}", Subject(), None),
        ("{tenant: 'a*'}", "match: {tenant: 'a*'}", Subject(), True),
        ("{name: 'm*'}", "match: {name: m}", Subject(), True),
        ("{name: 'm*'}", "match: {name: x}", Subject(), False),
        ("{name: 'm*'}", "", Subject(module_name="m"), True),
        ("{name: m}", "", Subject(), None),
        (f"{{digest: 'sha256:{'0' * 64}'}}", "", Subject(module_digest="sha256:" + "0" * 64), True),
        (f"{{digest: 'sha256:{'0' * 64}'}}", "", Subject(module_digest="sha256:" + "1" * 64), False),
        ("{tenant: acme, name: m}", "match: {name: x}", Subject(tenant="acme"), False),
        ("{tenant: acme, name: m}", "match: {name: x}", Subject(), False),
    ],
)
def test_a_boundary_applies_where_all_of_its_match_fits(scope, match, subject, applies):
    found = findings(policy(match), ceiling(LIMITED, scope), subject=subject)
    ids = {each.id for each in found}
    assert ("outside-boundary" in ids, "unsure-boundary" in ids) == (applies is True, applies is None)
    assert {each.severity for each in found if each.id == "unsure-boundary"} <= {"warning"}


@pytest.mark.parametrize(
    ("others", "told"),
    [([f"t{number}" for number in range(30)], "outside-boundary"), (["'t*'"], "unsure-boundary")],
)
def test_no_tenant_of_a_long_list_or_a_glob_evades_its_boundary(others, told):
    match = f"match: {{tenant: [{', '.join(['first', *others])}]}}"
    assert told in {each.id for each in findings(policy(match), ceiling(LIMITED, "{tenant: t29}"))}
    elsewhere = findings(policy(f"match: {{tenant: [first, {others[0]}]}}"), ceiling(LIMITED, "{tenant: z}"))
    assert "outside-boundary" not in {each.id for each in elsewhere}


def test_every_boundary_that_applies_must_be_kept():
    one, two = ceiling("limits: {cpu: 5s}", name="one"), ceiling("limits: {stack: 16Ki}", name="two")
    assert [field for field, _ in outside("", one, two)] == ["resources.limits.stack"]
    assert outside("resources: {limits: {stack: 16Ki}}", one, two) == []


def test_the_digest_covers_the_boundaries_that_apply_and_no_others():
    document = policy(HEAD)
    other = ceiling(scope="{tenant: other}", name="b")
    assert compiled(document, other).policy_digest == document.digest
    assert compiled(document, ceiling()).policy_digest not in {
        document.digest,
        compiled(document).policy_digest,
    }
    assert compiled(document, ceiling(), other).policy_digest == compiled(document, ceiling()).policy_digest


# --- limits, modes, and what must be said -------------------------------------------------------


def test_a_limit_above_the_ceiling_is_refused_and_one_at_it_is_not():
    text = "resources: {{limits: {{memory: {}}}}}"
    ((field, problem),) = outside(text.format("33Mi"), ceiling("limits: {memory: 32Mi}"))
    assert (field, problem) == ("resources.limits.memory", "33Mi is more than the 32Mi of the boundary c")
    assert outside(text.format("32Mi"), ceiling("limits: {memory: 32Mi}")) == []


def test_a_default_is_held_to_the_ceiling():
    ((field, problem),) = outside("", ceiling("limits: {cpu: 1s}"))
    assert (field, problem) == (
        "resources.limits.cpu",
        "5s (the default) is more than the 1s of the boundary c",
    )
    ((_, fuel),) = outside("", ceiling("limits: {fuel: 200G}"))
    assert fuel.startswith("unlimited (the default) is more than the 200G")
    assert outside("resources: {limits: {fuel: 200G}}", ceiling("limits: {fuel: 200G}")) == []


def test_a_limit_that_a_baseline_sets_is_told_in_the_file_of_the_baseline():
    base = baseline("base", "resources: {limits: {cpu: 9s}}")
    found = findings(policy("extends: [base]"), base, ceiling("limits: {cpu: 1s}"))
    (finding,) = [each for each in found if each.id == "outside-boundary"]
    assert (finding.file, finding.line) == ("base.yaml", 4)


@pytest.mark.parametrize("name", ["fuel", "memory", "host_calls"])
def test_unlimited_is_refused_where_it_is_forbidden(name):
    text = f"resources: {{limits: {{{name}: unlimited}}}}"
    assert outside(text, ceiling("limits: {unlimited: forbidden}")) == [
        (f"resources.limits.{name}", "the boundary c forbids unlimited")
    ]
    assert outside(text, ceiling("limits: {unlimited: allowed}")) == []
    assert outside("", ceiling("limits: {unlimited: forbidden}")) == []
    assert len(outside(text, ceiling(f"limits: {{{name}: 65536}}"))) == 1
    assert outside(text, ceiling(f"limits: {{{name}: unlimited}}")) == []


@given(
    st.integers(1, 10**6), st.integers(1, 10**6), st.sampled_from(["files", "tables", "disk", "host_calls"])
)
def test_the_ceiling_is_a_plain_comparison(value, most, name):
    found = outside(f"resources: {{limits: {{{name}: {value}}}}}", ceiling(f"limits: {{{name}: {most}}}"))
    assert bool(found) == (value > most)


def test_modes():
    both = ceiling("modes: [enforce, learn]")
    assert outside("mode: audit", both) == [("mode", "the boundary c takes enforce or learn only")]
    assert outside("mode: learn", both) == outside("", both) == outside("mode: audit", ceiling()) == []


def test_a_label_can_ask_for_a_digest():
    asking = ceiling("require: {digest_for: ['data=pii']}")
    text = "metadata: {name: p, labels: {data: pii}}\n"
    digest = f"match: {{digest: 'sha256:{'0' * 64}'}}\n"

    def found(body: str) -> list[str]:
        document = load_any(f"version: 1\n{body}".encode(), file="p")
        return [
            each.field
            for each in check_document(document, base_dir="/", now_ns=None, bundle=make_bundle([asking]))
            if each.id == "outside-boundary"
        ]

    assert found(text) == ["match"]
    assert found(text + digest) == []
    assert found(text.replace("pii", "open")) == []


def test_a_level_of_the_audit_can_be_asked_for():
    text = "audit: {level: summary}"
    assert [field for field, _ in outside(text, ceiling("require: {audit_level: calls}"))] == ["audit.level"]
    assert outside(text, ceiling("require: {audit_level: summary}")) == []
    assert outside("", ceiling("require: {audit_level: calls}")) == []


def test_no_rule_of_the_audit_goes_below_the_level_that_is_asked_for():
    text = "audit: {rules: [{call: fd_close, level: calls}, {call: '*', level: counts}]}"
    asked = ceiling("require: {audit_level: summary}")
    assert [field for field, _ in outside(text, asked)] == ["audit.rules[1].level"]
    assert outside(text.replace("counts", "summary"), asked) == []


def test_an_isolation_can_be_asked_for():
    asked = f"match: {{digest: 'sha256:{'0' * 64}'}}\nruntime: {{isolation: in-process}}"
    assert outside(asked, ceiling("require: {isolation: process}")) == [
        ("runtime.isolation", 'the boundary c asks for the isolation "process" or a stronger one')
    ]
    assert outside("runtime: {isolation: process}", ceiling("require: {isolation: confined}")) == [
        ("runtime.isolation", 'the boundary c asks for the isolation "confined"')
    ]


@pytest.mark.parametrize(
    ("own", "required"),
    [("", "process"), ("", "confined"), ("", "in-process"), ("runtime: {isolation: process}", "process")],
)
def test_a_stronger_isolation_than_is_asked_for_will_do(own, required):
    assert outside(own, ceiling(f"require: {{isolation: {required}}}")) == []


def test_walls_can_be_asked_for():
    asked = ceiling("require: {walls: [seccomp, landlock]}")
    field = "runtime.require_walls"
    assert outside("", asked) == [(field, "the boundary c asks for the walls landlock, seccomp")]
    own = "runtime: {require_walls: [seccomp, cgroup]}"
    assert outside(own, asked) == [(field, "the boundary c asks for the walls landlock")]
    assert outside(own.replace("cgroup", "landlock"), asked) == []


def test_a_wall_that_a_baseline_requires_is_required():
    below = baseline("base", "runtime: {require_walls: [landlock]}")
    text = "extends: [base]\nruntime: {require_walls: [seccomp]}"
    asked = ceiling("require: {walls: [seccomp, landlock]}")
    assert compiled(policy(text), below, asked).runtime.require_walls == ("landlock", "seccomp")
    assert {each.field for each in refused(policy(text.replace("seccomp", "rlimits")), below, asked)} == {
        "runtime.require_walls"
    }


# --- files ----------------------------------------------------------------------------------------

ROOTS = 'ceiling: {storage: {roots: ["fs:///srv/${tenant}/**", "tmp://**"], access: [read, list], never: ["**/.ssh/**"]}}'


@pytest.mark.parametrize(
    ("rule", "witness"),
    [
        ('{uri: "fs:///srv/acme/in/**", access: [read]}', ""),
        ('{uri: "fs:///srv/acme/**", access: [list]}', ""),
        ('{uri: "tmp://x", mount: /x, access: [read]}', ""),
        ('{uri: "fs:///srv/acme/f", access: [read]}', ""),
        ('{uri: "fs:///srv/**", access: [read]}', "/srv"),
        ('{uri: "fs:///srv/other/**", access: [read]}', "/srv/other"),
        ('{uri: "fs:///srv/acme/in/**", access: [read, write]}', "write on /srv/acme/in"),
        ('{uri: "tmp://x", mount: /x, access: [create]}', "create on tmp://x"),
        ('{uri: "fs:///srv/acme/.ssh/**", access: [read]}', "never grants **/.ssh/**"),
    ],
)
def test_grants_lie_inside_the_roots_and_rights(rule, witness):
    found = outside(HEAD + storage(rule), boundary("c", ROOTS))
    if not witness:
        assert found == []
    else:
        ((field, problem),) = found
        assert field == "permissions.storage.allow[0].uri"
        assert witness in problem


def test_what_is_never_granted_is_cut_out_of_a_grant_around_it():
    plan = compiled(
        policy(HEAD + storage('{id: r, uri: "fs:///srv/acme/**", access: [read]}')), boundary("c", ROOTS)
    )
    rules = [rule for rule in plan.rules if rule.kind is RuleKind.BOUNDARY and "storage" in rule.id]
    assert [rule.id for rule in rules] == ["ceiling.storage.never", "ceiling.storage"]
    assert [rule.field for rule in rules] == ["c: ceiling.storage.never", "c: ceiling.storage"]
    deciders = {plan.rules[found.rules[0]].id for found in plan.automaton.classes}
    assert {"r", "ceiling.storage.never"} <= deciders


def test_a_ceiling_that_is_not_written_allows_no_files():
    rule = storage('{uri: "fs:///srv/a/**", access: [read]}')
    assert len(outside(rule, boundary("c", "ceiling: {}"))) == 1
    assert len(outside(rule, boundary("c"))) == 1
    assert outside(rule, ceiling()) == []
    assert outside("", boundary("c")) == []


def test_a_second_boundary_has_rules_of_its_own():
    plan = compiled(policy(), ceiling(name="one"), ceiling(name="two"))
    found = {rule.id: rule.field for rule in plan.rules if rule.id.startswith("ceiling.storage")}
    assert found == {"ceiling.storage": "one: ceiling.storage", "ceiling.storage.2": "two: ceiling.storage"}


def test_a_bad_tenant_is_an_error_where_the_boundary_would_use_it():
    (finding,) = refused(policy(), boundary("c", ROOTS), subject=Subject(tenant="a/b"))
    assert (finding.id, finding.file) == ("bad-substitution", "c.yaml")
    compiled(policy(), boundary("c", ROOTS), subject=Subject(tenant="a"))


# --- the mode learn -------------------------------------------------------------------------------


def test_in_mode_learn_the_roots_of_the_boundary_are_mounted_without_rights():
    plan = compiled(policy("mode: learn\n" + HEAD), boundary("c", ROOTS))
    assert plan.mode is Mode.LEARN
    (mount,) = plan.mounts
    assert (mount.guest, mount.host, mount.is_mutable, mount.is_optional) == (
        "/srv/acme",
        "/srv/acme",
        False,
        True,
    )
    assert {found.rights for found in plan.automaton.classes} == {0}
    assert compiled(policy(HEAD), boundary("c", ROOTS)).mounts == ()


def test_roots_with_wildcards_or_open_names_are_not_mounted():
    roots = 'ceiling: {storage: {roots: ["fs:///srv/*/x/**", "fs:///a/${run.id}/**", "fs:///f", "tmp://**"], access: []}}'
    assert compiled(policy("mode: learn"), boundary("c", roots)).mounts == ()


def test_a_mount_of_the_document_stays_where_a_root_would_come():
    text = "mode: learn\n" + HEAD + storage('{uri: "fs:///srv/acme/in/**", mount: /srv/acme, access: []}')
    (mount,) = compiled(policy(text), boundary("c", ROOTS)).mounts
    assert (mount.host, mount.is_optional) == ("/srv/acme/in", False)


def test_a_rule_without_rights_is_for_mode_learn_only():
    rule = storage('{uri: "fs:///srv/a/**", access: []}')
    (finding,) = refused(policy(rule))
    assert (finding.id, finding.field) == ("empty-access", "permissions.storage.allow[0].access")
    plan = compiled(policy("mode: learn\n" + rule))
    assert [mount.host for mount in plan.mounts] == ["/srv/a"]
    assert findings(policy("mode: learn\n" + rule)) == ()


# --- what this version does not enforce -----------------------------------------------------------

UNBUILT = "change_control: {}\nanchors: [{kind: file, path: /a, every: 1000}]\nceiling: {require: {signed_policy: true}}"
FIELDS = ("anchors", "ceiling.require.signed_policy", "change_control")


def test_what_a_boundary_asks_for_and_nobody_enforces_is_an_error():
    strict = boundary("c", UNBUILT)
    assert sorted(each.field for each in refused(policy(), strict)) == sorted(FIELDS)
    plan = compiled(policy(), strict, is_study=True)
    assert plan.unenforced == tuple(f"c: {field}" for field in FIELDS)
    assert not plan.may_run
    found = check_document(strict, base_dir="/", now_ns=None)
    assert sorted((each.field, each.severity.value) for each in found) == [
        (field, "error") for field in FIELDS
    ]


def test_a_boundary_can_accept_that():
    lenient = boundary("c", UNBUILT + "\nwhen_unenforceable: warn")
    plan = compiled(policy(), lenient)
    assert (plan.may_run, len(plan.unenforced)) == (True, 3)
    found = check_document(lenient, base_dir="/", now_ns=None)
    assert {each.severity for each in found} == {"warning"}


def test_an_anchor_names_its_place():
    found = check_document(
        boundary("c", "anchors: [{kind: webhook, path: /a, every: 5m}]"), base_dir="/", now_ns=None
    )
    assert {each.id for each in found} == {"not-enforceable-yet", "bad-anchor"}


@pytest.mark.parametrize("word", ["refuse", "warn"])
def test_a_policy_says_what_is_to_be_done_with_what_is_not_enforced(word):
    text = f"when_unenforceable: {word}\nruntime: {{abi: wasi-0.2}}"
    document = policy(text)
    if word == "refuse":
        assert [each.id for each in refused(document)] == ["not-enforceable-yet"]
    else:
        assert compiled(document).unenforced == ("runtime.abi",)
        assert compiled(document).may_run
    study = compiled(document, is_study=True)
    assert (study.unenforced, study.may_run) == (("runtime.abi",), word == "warn")
    assert compiled(policy(), is_study=True).may_run


def test_everything_outside_is_told_at_once():
    text = HEAD + storage('{uri: "fs:///srv/**", access: [read]}') + "mode: audit\n"
    strict = boundary("c", ROOTS.replace("ceiling: {", "ceiling: {modes: [enforce], limits: {cpu: 1s}, "))
    assert {field for field, _ in outside(text, strict)} == {
        "permissions.storage.allow[0].uri",
        "resources.limits.cpu",
        "mode",
    }


@pytest.mark.parametrize(
    "key", ["ports: ['65536']", "ports: [a]", "never: [a..b]", "never: ['10.0.0.1/8']", "schemes: [ftp]"]
)
def test_a_ceiling_of_the_network_that_is_no_such_thing_is_a_finding(key):
    text = f"version: 1\nkind: Boundary\nmetadata: {{name: c}}\nceiling: {{network: {{{key}}}}}\n"
    with pytest.raises(PolicyError) as caught:
        load_any(text.encode(), file="c.yaml")
    assert {each.field for each in caught.value.findings} == {f"ceiling.network.{key.partition(':')[0]}[0]"}
    fine = boundary("c", "ceiling: {network: {ports: ['65535'], never: [a.b, 10.0.0.0/8], schemes: [tcp]}}")
    assert fine.model.ceiling.network.ports == ("65535",)
