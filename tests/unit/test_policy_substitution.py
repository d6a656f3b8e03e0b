"""The `${…}` of a document: where it may stand, what it becomes, and which values never get in."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.errors import PolicyError
from policy.globs import GlobError, Literal, parse_glob
from policy.placeholders import NAMES, PlaceholderError, check_placeholders, is_fit, names_in, replaced
from policy.plan import RuleKind
from policy.subject import ANYONE, Subject
from tests.documents import boundary, compiled, findings, policy, refused

EVERYONE = Subject(tenant="acme", module_name="m.wasm", module_digest="sha256:" + "0" * 64, run_id="run-1")


def storage(uri: str, more: str = "", deny: str = "") -> str:
    rule = f'{{uri: "{uri}", access: [read]{more}}}'
    return f"permissions: {{storage: {{allow: [{rule}], deny: [{deny}]}}}}"


def hosts(text: str, subject: Subject = ANYONE) -> list[str]:
    return [mount.host for mount in compiled(policy(text), subject=subject).mounts]


def test_each_name_is_replaced_by_its_fact():
    uri = "fs:///srv/${tenant}/x-${run.id}/${module.name}/${module.digest}/**"
    digest = "sha256:" + "0" * 64
    assert hosts(storage(uri), EVERYONE) == [f"/srv/acme/x-run-1/m.wasm/{digest}"]


def test_what_is_not_known_stays_as_one_literal_part():
    uri = "fs:///srv/${tenant}/${run.id}/**"
    assert hosts(storage(uri)) == ["/srv/${tenant}/${run.id}"]
    assert hosts(storage(uri), Subject(tenant="acme")) == ["/srv/acme/${run.id}"]
    assert parse_glob("a${tenant}b/*") == ((Literal(b"a${tenant}b"),), parse_glob("*")[0])


def test_every_place_of_storage_is_replaced():
    more = ", mount: '/in/${tenant}', include: ['${tenant}-*'], exclude: ['${run.id}']"
    plan = compiled(
        policy(storage("fs:///a/**", more, deny="{uri: 'fs:///a/**/${tenant}.x'}")), subject=EVERYONE
    )
    (mount,) = plan.mounts
    rules = {rule.kind: rule.summary for rule in plan.rules if rule.field.startswith("permissions.storage")}
    assert mount.guest == "/in/acme"
    assert "acme-*, but not run-1" in rules[RuleKind.ALLOW]
    assert "fs:///a/**/acme.x" in rules[RuleKind.DENY]


def test_arguments_and_values_of_variables_are_replaced():
    text = "permissions: {args: ['--for=${tenant}', x], environment: {allow: [{key: T, value: 'a ${run.id} b'}]}}"
    plan = compiled(policy(text), subject=EVERYONE)
    assert (plan.args, plan.environment) == (("--for=acme", "x"), (("T", "a run-1 b"),))
    assert compiled(policy(text)).args == ("--for=${tenant}", "x")


@pytest.mark.parametrize(
    ("text", "near"),
    [
        (storage("fs:///srv/${tenat}/**"), "fs:///srv/${tenant}/**"),
        (storage("fs:///srv/${run_id}/**"), "fs:///srv/${run.id}/**"),
        (storage("fs:///srv/a", deny="{uri: 'fs:///a/*/${modul.name}'}"), "fs:///a/*/${module.name}"),
        (storage("fs:///srv/**", ", mount: '/${HOME}'"), ""),
        (storage("fs:///srv/${tenant/**"), ""),
        ("permissions: {args: ['${tennant}']}", "${tenant}"),
        ("permissions: {environment: {allow: [{key: A, value: '${}'}]}}", ""),
    ],
)
def test_another_name_is_an_error_with_a_suggestion(text, near):
    from policy import PolicyError, check_policy

    try:
        found = check_policy(policy(text), base_dir="/", now_ns=None)
    except PolicyError as err:
        found = err.findings
    (finding,) = [each for each in found if "${tenant}, ${run.id}" in each.expected]
    assert finding.severity == "error"
    assert (f'did you mean "{near}"?' if near else "") == finding.suggestion


@pytest.mark.parametrize(
    "text",
    [
        "match: {name: '${module.name}'}",
        "permissions: {environment: {allow: [{key: '${tenant}', value: x}]}}",
        "resources: {limits: {}}\naudit: {rules: [{call: '${tenant}'}]}",
        "extends: ['${tenant}']",
    ],
)
def test_elsewhere_it_is_an_error_and_not_a_text(text):
    assert "bad-placeholder" in {each.id for each in refused(policy(text))}


def test_texts_for_people_and_tests_may_say_anything():
    case = "{name: 'for ${tenant}', given: {call: path_open, uri: 'fs:///${x}'}, expect: deny}"
    assert findings(policy(f"tests: [{case}]")) == ()


BAD = ["", ".", "..", "a/b", "a..b", "*", "a?", "[a]", "\0", "a\nb", "{a}", "a\\b", "\x7f", "x" * 256, "é" * 128,
       "e\u0301", "\u2028", "\ud800"]  # fmt: skip


@pytest.mark.parametrize("value", BAD)
def test_a_value_that_could_change_a_path_is_refused(value):
    assert not is_fit(value)
    (finding,) = refused(policy(storage("fs:///srv/${tenant}/**")), subject=Subject(tenant=value))
    assert (finding.id, finding.field) == ("bad-substitution", "permissions.storage.allow[0].uri")
    # What nobody asks for does no harm.
    assert hosts(storage("fs:///srv/a/**"), Subject(tenant=value)) == ["/srv/a"]


@pytest.mark.parametrize("value", ["a", "a.b", ".a", "a b", "!x", "-", "x" * 255, "é" * 127, "sha256:ab"])
def test_a_plain_segment_is_put_in_as_it_is(value):
    assert is_fit(value)
    assert hosts(storage("fs:///srv/${tenant}/**"), Subject(tenant=value)) == [f"/srv/{value}"]


def test_a_value_in_a_denial_is_literal_too():
    text = storage("fs:///srv/**", deny="{uri: 'fs:///srv/${tenant}'}")
    plan = compiled(policy(text), subject=Subject(tenant="!a"))
    assert any("fs:///srv/!a" in rule.summary for rule in plan.rules)
    (finding,) = refused(policy(text), subject=Subject(tenant="a*"))
    assert finding.id == "bad-substitution"


def test_the_id_of_a_rule_is_that_of_its_text_for_every_tenant():
    text = storage("fs:///srv/${tenant}/**", deny="{uri: 'fs:///srv/*/${run.id}'}")

    def ids(subject: Subject) -> list[str]:
        rules = compiled(policy(text), subject=subject).rules
        return [rule.id for rule in rules if rule.field.startswith("permissions.storage")]

    assert ids(Subject()) == ids(Subject(tenant="a", run_id="1")) == ids(Subject(tenant="b", run_id="2"))
    assert len(set(ids(Subject()))) == 2


def test_what_match_settles_is_known():
    uri = "fs:///srv/${tenant}/${module.name}/**"
    assert hosts("match: {tenant: acme, name: m}\n" + storage(uri)) == ["/srv/acme/m"]
    assert hosts("match: {tenant: [a, b], name: 'm*'}\n" + storage(uri)) == ["/srv/${tenant}/${module.name}"]
    told = Subject(tenant="other", module_name="n")
    assert hosts("match: {tenant: acme, name: m}\n" + storage(uri), told) == ["/srv/other/n"]


def test_a_document_is_checked_for_each_tenant_that_it_lists():
    text = "match: {tenant: [a, 'b*', 'x/y'], name: m}\n" + storage("fs:///srv/${tenant}/**")
    found = [each for each in findings(policy(text)) if each.id == "bad-substitution"]
    assert [each.found for each in found] == ['"x/y"']
    ceiling = "ceiling: {storage: {roots: ['fs:///srv/a/**'], access: [read]}}"
    text = "match: {tenant: [a, b], name: m}\n" + storage("fs:///srv/${tenant}/**")
    (outside,) = [
        each for each in findings(policy(text), boundary("c", ceiling)) if each.id == "outside-boundary"
    ]
    assert "/srv/b" in outside.problem


def test_many_tenants_are_checked_up_to_a_bound():
    tenants = ", ".join(f"t{number}" for number in range(40))
    text = f"match: {{tenant: [{tenants}], name: m}}\n" + storage("fs:///srv/${tenant}/**")
    outside = findings(policy(text), boundary("c", "ceiling: {}"))
    assert len([each for each in outside if each.id == "outside-boundary"]) == 17  # the rest at once


TEXTS = st.lists(
    st.sampled_from(["a", "/", "${tenant}", "${run.id}", "${x}", "$", "{", "}", "${"]), max_size=6
).map("".join)


@given(TEXTS)
def test_the_closed_set_is_all_that_passes(text):
    rest = re.sub("|".join(re.escape(f"${{{name}}}") for name in NAMES), "", text)
    is_clean = "${" not in rest or all(
        text[at : text.find("}", at) + 1] in {f"${{{name}}}" for name in NAMES}
        for at in (found.start() for found in re.finditer(r"\$\{", text))
    )
    try:
        check_placeholders(text)
    except PlaceholderError:
        assert "${" in text
        return
    assert is_clean


@given(st.text(max_size=6), st.text(max_size=6))
def test_a_fit_value_stays_inside_its_segment(tenant, run):
    text = "srv/x${tenant}/${run.id}/y"
    if not (is_fit(tenant) and is_fit(run)):
        return
    found = replaced(text, {"tenant": tenant, "run.id": run})
    assert found.count("/") == text.count("/")
    assert [part for part in found.split("/") if part in {"", ".", ".."}] == []
    assert unicodedata.normalize("NFC", tenant) == tenant
    try:
        assert parse_glob(found)[1] == (Literal(f"x{tenant}".encode()),)
    except GlobError:
        assert "$" in found


def test_names_in_a_text():
    assert names_in("${tenant}-${run.id}-${x}") == {"tenant", "run.id"}


def test_a_plan_says_what_is_still_open():
    text = storage("fs:///srv/${tenant}/**", deny="{uri: 'fs:///srv/*/${run.id}'}")
    assert compiled(policy(text)).open_names == ("run.id", "tenant")
    assert compiled(policy(text), subject=Subject(tenant="a")).open_names == ("run.id",)
    assert compiled(policy(text), subject=EVERYONE).open_names == ()
    ceiling = boundary("c", "ceiling: {storage: {never: ['fs:///x/${module.name}']}}")
    assert compiled(policy(), ceiling).open_names == ("module.name",)
    assert compiled(policy("tests: [{name: '${tenant}', given: {call: x}, expect: deny}]")).open_names == ()


NOT_REPLACED = (
    ('permissions: {network: {tcp: [{to: "${tenant}.example", ports: [443]}]}}', "acme"),
    ('permissions: {network: {tcp: [{to: a.example, ports: ["${tenant}"]}]}}', "81"),
    ('permissions: {network: {dns: {names: ["${tenant}.example"]}}}', "acme"),
    ('permissions: {network: {http: [{url: "https://${tenant}.example", access: full}]}}', "acme"),
    (
        'permissions: {network: {http: [{url: "https://a.b", access: full, paths: ["/${tenant}/**"]}]}}',
        "acme",
    ),
    ('permissions: {network: {http: [{url: "https://a.b", credential: {from: "secret://${tenant}", as: "header:A"}, access: full}]}}', "acme"),
    ('permissions: {network: {deny: [{to: "${tenant}.example"}]}}', "acme"),
    ('permissions: {network: {listen: ["tcp://${tenant}:80"]}}', "127.0.0.1"),
    (
        'permissions: {nn: {models: [{name: "${tenant}", digest: "sha256:%s", backend: b}]}}' % ("0" * 64),
        "acme",
    ),
    ('rules: [{when: {calls: {to: "${tenant}.example", over: 1}}, then: {deny: [network]}}]', "acme"),
)  # fmt: skip


@pytest.mark.parametrize(("text", "word"), NOT_REPLACED)
@pytest.mark.parametrize("subject", [ANYONE, EVERYONE])
def test_nothing_is_put_into_the_network(text, word, subject):
    with pytest.raises(PolicyError) as caught:
        compiled(policy(text), subject=subject, is_study=True)
    assert "error" in {each.severity.value for each in caught.value.findings}
    assert compiled(policy(text.replace("${tenant}", word)), is_study=True).open_names == ()


def test_nothing_is_put_into_the_network_of_a_ceiling():
    for text in ('never: ["${tenant}.example"]', 'ports: ["${tenant}"]'):
        with pytest.raises(PolicyError):
            compiled(policy(), boundary("c", f"ceiling: {{network: {{{text}}}}}"), subject=EVERYONE)
