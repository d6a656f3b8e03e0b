"""Tests that are minted from facts pass on the plan that decided them, whatever text a guest chose."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from policy import compile_policy, load_document
from policy.document import PolicyTestDocument, load_any
from policy.facts import Fact
from policy.minting import mint
from policy.plan import Right
from policy.testing import run_case

TEXT = """version: 1
metadata: {name: team/minting}
permissions: {storage: {allow: [{id: in, uri: "fs:///in/**", access: [read]}]}}
"""
PLAN = compile_policy(load_document(TEXT.encode(), file="t.yaml"), base_dir="/", now_ns=None)


def opened(target: str, decision: str, wants: Right = Right.READ, **more: object) -> Fact:
    return Fact(call="path_open", wants=wants, target=target, decision=decision, evidence="run:1", **more)  # type: ignore[arg-type]  # each test knows its own


def cases(text: str):
    document = load_any(text.encode(), file="minted.yaml")
    assert isinstance(document, PolicyTestDocument)
    return document.model.tests


@given(st.lists(st.text(max_size=12), min_size=1, max_size=6))
def test_hostile_text_is_read_back_as_it_was_and_the_tests_pass(names):
    facts = [opened(f"/in/{name}", "allow", rule="in") for name in names]
    facts += [opened(f"/other/{name}", "deny", rule="default", reason="rule") for name in names]
    made = mint(PLAN, facts, source="a: 'run'\n")
    if not made.tests:
        assert all("\0" in name or ".." in name for name in names)
        return
    found = cases(made.text)
    assert len(found) == made.tests
    uris = {f"fs://{fact.target}" for fact in facts}
    for case in found:
        assert case.given.uri in uris
        assert run_case(PLAN, case).is_passed


def test_what_the_plan_does_not_decide_so_is_left_out_and_counted():
    facts = [
        opened("/in/a", "allow", rule="in"),
        opened("/in/link", "deny", reason="symlink"),
        opened("/in/\udcff", "allow"),
    ]
    made = mint(PLAN, facts, source="x")
    assert (made.tests, made.left_out) == (1, 2)
    assert "left out: 2" in made.text


def test_equal_calls_are_one_test_and_what_nothing_decides_is_none():
    facts = [
        opened("/in/a", "allow", rule="in"),
        opened("/in/a", "allow", rule="in", flags=2),
        Fact(call="proc_exit", wants=Right(0)),
    ]
    assert (mint(PLAN, facts, source="x").tests, mint(PLAN, facts, source="x").left_out) == (1, 0)


def test_opening_a_folder_is_minted_as_looking_at_it():
    (case,) = cases(mint(PLAN, [opened("/in", "allow", Right(0))], source="x").text)
    assert (case.given.call, case.expect) == ("path_filestat_get", "allow")


def test_a_document_never_grows_beyond_what_is_read():
    made = mint(
        PLAN,
        (opened(f"/in/{number}/{'x' * 1_000}", "allow", rule="in") for number in range(2_000)),
        source="x",
    )
    assert made.left_out > 0
    assert len(cases(made.text)) == made.tests
