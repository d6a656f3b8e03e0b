"""Grants that no record used, and the policy that is left without them."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from policy import Plan, PolicyDocument, compile_policy, load_document
from policy.facts import Fact
from policy.plan import Right
from policy.tighten import Tighter, tightened
from tests.oracle import RIGHTS as WORDS
from tests.oracle import opinion

TEXT = """
version: 1
metadata: {name: t}
permissions:
  storage:
    allow:
      - {id: in, uri: "fs:///srv/in/**", mount: /in, access: [read, list, delete]}
      - {id: out, uri: "tmp://out", mount: /out, access: [create, write]}
      - {id: never, uri: "fs:///srv/never/**", mount: /never, access: [read]}
"""


def compiled(document: PolicyDocument) -> Plan:
    return compile_policy(document, base_dir="/", now_ns=None)


def narrowed(*facts: Fact, text: str = TEXT) -> Tighter:
    return tightened(load_document(text.encode(), file="t"), facts, compiled)


def fact(call: str, path: str, wants: Right) -> Fact:
    target = f"/srv{path}" if not path.startswith("/out") else f"tmp:/{path}"
    return Fact(call=call, wants=wants, target=target, guest_target=path, rule="x")


def test_rights_and_rules_that_no_record_used_go():
    found = narrowed(
        fact("path_open", "/in/a", Right.READ), fact("path_open", "/out/b", Right.WRITE | Right.CREATE)
    )
    assert [(each.index, each.rights, each.is_whole) for each in found.unused] == [
        (0, Right.LIST | Right.DELETE, False),
        (2, Right.READ, True),
    ]
    rules = load_document(found.text.encode(), file="n").model.permissions.storage.allow
    assert [rule.access for rule in rules] == [("read",), ("create", "write")]
    assert "-        access: [read, list, delete]\n+        access: [read]\n" in found.difference


def test_a_policy_whose_every_right_was_used_stays():
    found = narrowed(
        fact("path_open", "/in/a", Right.READ),
        fact("fd_readdir", "/in", Right.LIST),
        fact("path_unlink_file", "/in/a", Right.DELETE),
        fact("path_open", "/out/b", Right.WRITE | Right.CREATE),
        fact("path_open", "/never/b", Right.READ),
    )
    assert (found.unused, found.text, found.difference) == ((), "", "")


def test_what_only_a_look_needs_stays_in_part():
    found = narrowed(fact("path_filestat_get", "/in/a", Right(0)))
    (first,) = [each for each in found.unused if each.rule == "in"]
    assert first.rights == Right.LIST | Right.DELETE


def test_a_rename_keeps_what_its_source_may_have_done_to_it():
    text = TEXT.replace("[read, list, delete]", "[read, list, create, delete]")
    moved = Fact(
        call="path_rename",
        wants=Right.DELETE,
        target="/srv/in/a",
        guest_target="/in/a",
        target2="/srv/in/b",
        rule="in",
    )
    found = narrowed(moved, fact("path_open", "/in/b", Right.READ), text=text)
    (first,) = [each for each in found.unused if each.rule == "in"]
    assert first.rights == Right.LIST


def allowed_by(document: dict[str, Any], asked: Fact) -> bool:
    names = str(asked.guest_target).strip("/").split("/")
    own = [rule for rule in document["permissions"]["storage"]["allow"] if rule["mount"] == f"/{names[0]}"]
    words = [word for word in WORDS if Right[word.upper()] & asked.wants]
    return bool(own) and all(opinion(document, f"/{names[0]}", names[1:], word).is_allowed for word in words)


FACTS = st.builds(
    fact,
    st.just("path_open"),
    st.sampled_from(["/in/a", "/in/b", "/out/a", "/never/x"]),
    st.sampled_from([Right.READ, Right.WRITE, Right.CREATE, Right.WRITE | Right.CREATE, Right.DELETE]),
)


@given(st.lists(FACTS, max_size=6))
@settings(max_examples=20)
def test_the_narrower_policy_allows_what_the_policy_allowed_of_the_records(facts):
    found = narrowed(*facts)
    before = load_document(TEXT.encode(), file="t").source.value
    after = load_document((found.text or TEXT).encode(), file="n").source.value
    for each in facts:
        assert allowed_by(before, each) <= allowed_by(after, each)  # type: ignore[arg-type]  # documents are mappings
