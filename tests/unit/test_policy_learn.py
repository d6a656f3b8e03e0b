"""Learning a policy from facts: the least that makes them pass, whatever order they come in."""

from __future__ import annotations

import random as stdlib_random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy import compile_policy, load_document
from policy.answer import answer
from policy.bundle import Bundle
from policy.decisions import Allow
from policy.document import BoundaryDocument, load_any
from policy.facts import Fact
from policy.learn import Draft, LearnError, Material, Mounted, Run, learn
from policy.plan import Right
from policy.question import Question
from policy.subject import Subject
from tests.oracle import opinion

ONE = "0199aaaa-0000-7000-8000-000000000001"
TWO = "0199aaaa-0000-7000-8000-000000000002"
IN, OUT = Mounted("/in", "/srv/in"), Mounted("/out", "tmp://out")
MOUNTS = (IN, OUT)
NOTHING = Right(0)


def fact(
    call: str, path: str | None = None, wants: Right = NOTHING, *, mount: Mounted = IN, **more: Any
) -> Fact:
    target = None if path is None else f"{mount.base}/{path}".rstrip("/")
    guest = None if path is None else f"{mount.guest}/{path}".rstrip("/")
    values: dict[str, Any] = {"target": target, "guest_target": guest, "evidence": f"{ONE}:7"}
    return Fact(call=call, wants=wants, **(values | more))


def refused(call: str, path: str, wants: Right, **more: Any) -> Fact:
    values: dict[str, Any] = {"decision": "deny", "rule": "default", "reason": "rule", "missing": wants}
    return fact(call, path, wants, **(values | more))


def read(name: str, **more: Any) -> Fact:
    return refused("path_open", name, Right.READ, **more)


def learned(*facts: Fact, **more: Any) -> Draft:
    return learn(Material(runs=(Run(ONE, facts),), mounts=MOUNTS, **more))


def document(draft: Draft) -> dict[str, Any]:
    assert not draft.has_errors, draft.findings
    return cast("dict[str, Any]", load_document(draft.text.encode(), file="draft").source.value)


def allows(draft: Draft, call: str, path: str, wants: Right | None = None) -> bool:
    plan = compile_policy(load_document(draft.text.encode(), file="draft"), base_dir="/", now_ns=None)
    return isinstance(answer(plan, Question(call=call, target=path, wants=wants)), Allow)


def rules(draft: Draft) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", document(draft)["permissions"]["storage"]["allow"])


def boundary(text: str) -> BoundaryDocument:
    head = "version: 1\nkind: Boundary\nmetadata: {name: top}\n"
    found = load_any((head + text).encode(), file="boundary.yaml")
    assert isinstance(found, BoundaryDocument)
    return found


def test_one_refused_file_becomes_one_file_and_not_its_folder():
    draft = learned(read("a/b.csv"))
    assert allows(draft, "path_open", "/in/a/b.csv", Right.READ)
    assert not allows(draft, "path_open", "/in/a/c.csv", Right.READ)
    assert not allows(draft, "path_open", "/in/a/b.csv", Right.WRITE)
    assert not allows(draft, "fd_readdir", "/in/a")


def test_a_file_is_made_only_where_that_was_what_it_lacked():
    opened = refused("path_open", "r", Right.WRITE, flags=1, mount=OUT)
    assert not allows(learned(opened), "path_open", "/out/r", Right.CREATE)
    made = refused("path_open", "r", Right.WRITE | Right.CREATE, missing=Right.CREATE, mount=OUT)
    assert allows(learned(opened, made), "path_open", "/out/r", Right.CREATE | Right.WRITE)


def test_what_is_only_appended_to_is_only_appended_to():
    opened = refused("path_open", "log", Right.APPEND, missing=Right.WRITE)
    written = fact("fd_write", "log", Right.WRITE)
    draft = learned(opened, written)
    assert [rule["access"] for rule in rules(draft)] == [("append",)]
    cut = refused("fd_filestat_set_size", "log", Right.WRITE)
    assert [rule["access"] for rule in rules(learned(opened, written, cut))] == [("write",)]


def test_names_are_listed_only_where_they_were_read():
    draft = learned(read("x"), fact("fd_readdir", "", Right.LIST))
    assert allows(draft, "fd_readdir", "/in")
    assert not allows(learned(read("x")), "fd_readdir", "/in")
    below = learned(fact("fd_readdir", "a/b", Right.LIST), fact("fd_readdir", "a", Right.LIST))
    assert [rule["include"] for rule in rules(below)] == [("a/b",)]
    assert not allows(below, "fd_readdir", "/in/a/c")
    assert any("`/srv/in`" in note for note in below.notes)


def test_a_directory_that_was_only_opened_is_opened_by_what_is_granted_in_it():
    entered = fact("path_open", "d", NOTHING, flags=2, decision="deny", rule="default", missing=Right.READ)
    assert not any("list" in rule["access"] for rule in rules(learned(entered, read("d/x"))))
    assert allows(learned(entered), "fd_readdir", "/in/d")


def test_a_look_at_a_sensitive_name_is_not_turned_into_reading_it():
    looked = refused("path_filestat_get", "id.pem", Right.READ)
    draft = learned(looked, read("x"))
    assert not allows(draft, "path_open", "/in/id.pem", Right.READ)
    assert ["id.pem" in each.what for each, _ in draft.not_learned] == [True]
    plain = learned(replace(looked, target="/srv/in/a.txt", guest_target="/in/a.txt"))
    assert allows(plain, "path_filestat_get", "/in/a.txt")


def siblings(count: int, *more: str) -> list[Fact]:
    return [read(name) for name in (*(f"part-{n}.csv" for n in range(count)), *more)]


def test_siblings_become_the_narrowest_glob_and_fewer_do_not():
    draft = learned(*siblings(6))
    assert [rule["include"] for rule in rules(draft)] == [("part-*.csv",)]
    assert allows(draft, "path_open", "/in/part-77.csv", Right.READ)
    assert not allows(draft, "path_open", "/in/other.csv", Right.READ)
    assert len(rules(learned(*siblings(5)))[0]["include"]) == 5
    mixed = learned(*(read(f"{name}.csv") for name in "abcdef"))
    assert [rule["include"] for rule in rules(mixed)] == [("*.csv",)]


def test_nothing_sensitive_comes_along_with_a_glob():
    draft = learned(*(read(f"{name}.csv") for name in "abcdef"), read("own-secret.csv"))
    assert allows(draft, "path_open", "/in/own-secret.csv", Right.READ)
    for name in ("other-secret.csv", ".hidden.csv", "my-password.csv"):
        assert not allows(draft, "path_open", f"/in/{name}", Right.READ)
    assert allows(draft, "path_open", "/in/g.csv", Right.READ)


def test_a_sibling_that_a_rule_denies_stays_out():
    denied = refused("path_open", "part-9.csv", Right.READ, rule="no-nine")
    draft = learned(*siblings(7), denied)
    assert not allows(draft, "path_open", "/in/part-9.csv", Right.READ)
    assert allows(draft, "path_open", "/in/part-8.csv", Right.READ)
    assert any("no-nine" in each.why for each, _ in draft.not_learned)


def test_a_glob_never_gives_a_sibling_more_than_it_needed():
    wrote = [refused("path_open", f"{n}.csv", Right.WRITE) for n in range(6)]
    draft = learned(*wrote, read("master.csv"))
    assert allows(draft, "path_open", "/in/master.csv", Right.READ)
    assert not allows(draft, "path_open", "/in/master.csv", Right.WRITE)
    assert allows(draft, "path_open", "/in/7.csv", Right.WRITE)


def test_a_folder_that_looks_sensitive_is_learned_file_by_file():
    draft = learned(*(read(f"secrets/{n}.txt") for n in range(8)))
    assert len(rules(draft)[0]["include"]) == 8
    assert [each.why for each in draft.refused] == ["the folder `secrets` looks sensitive"]


def test_files_of_one_kind_in_many_folders_become_a_glob_over_folders():
    draft = learned(*(read(f"lib/{name}/init.py") for name in "abcdef"))
    assert [rule["include"] for rule in rules(draft)] == [("lib/*/*.py",)]
    assert not allows(draft, "path_open", "/in/lib/a/.x.py", Right.READ)
    assert not allows(draft, "path_open", "/in/lib/my-secret-lib/x.py", Right.READ)
    assert not allows(draft, "path_open", "/in/lib/x.py", Right.READ)


def test_a_boundary_says_how_many_runs_a_glob_takes():
    top = boundary(
        'ceiling: {storage: {roots: ["fs:///srv/**"], access: [read]}}\n'
        "learn: {from: records, min_runs: 2, generalise: {min_siblings: 3}}\n"
    )
    one = learned(*siblings(3), boundaries=(top,))
    assert "seen in 1 run, and 2 are asked for" in [each.why for each in one.refused]
    facts = tuple(siblings(3))
    two = learn(Material(runs=(Run(ONE, facts), Run(TWO, facts)), mounts=MOUNTS, boundaries=(top,)))
    assert [rule["include"] for rule in rules(two)] == [("part-*.csv",)]


def test_nothing_outside_a_boundary_is_learned():
    top = boundary(
        'ceiling: {storage: {roots: ["fs:///srv/in/**"], access: [read], never: ["**/*.pem"]},'
        " limits: {stdout: 1500k, memory: 32Mi}}\n"
    )
    spoke = fact("fd_write", None, NOTHING, target="stdout", bytes_out=3_000_000)
    draft = learned(
        read("a"), read("k.pem"), refused("path_open", "w", Right.WRITE), read("r", mount=OUT), spoke,
        boundaries=(top,),
    )  # fmt: skip
    assert [rule["include"] for rule in rules(draft)] == [("a",)]
    whys = " ".join(each.why for each, _ in draft.not_learned)
    assert all(part in whys for part in ("never", "access", "roots"))
    assert document(draft)["resources"]["limits"] == {"memory": "32Mi", "stdout": "1500000"}


def test_a_refusal_that_a_boundary_upholds_does_not_keep_the_lesson_open():
    top = boundary('ceiling: {storage: {roots: ["fs:///srv/in/**"], access: [read], never: ["**/*.pem"]}}\n')
    assert learned(read("k.pem"), fact("path_open", "a", Right.READ), boundaries=(top,)).is_final
    assert not learned(read("k.pem"), read("a"), boundaries=(top,)).is_final


def test_audits_are_no_evidence_where_the_boundary_wants_denials():
    top = boundary('ceiling: {storage: {roots: ["fs:///srv/**"], access: [read]}}\nlearn: {from: denials}\n')
    let_through = replace(read("a"), decision="would_deny")
    draft = learned(let_through, read("b"), boundaries=(top,))
    assert [rule["include"] for rule in rules(draft)] == [("b",)]
    assert [rule["include"] for rule in rules(learned(let_through))] == [("a",)]


@pytest.mark.parametrize(
    "reason", ["escape", "symlink", "file_type", "widens", "handle", "too_long", "clock"]
)
def test_what_no_grant_could_allow_is_told_and_not_granted(reason):
    draft = learned(read("x", reason=reason, rule="beneath"), read("y"))
    assert not allows(draft, "path_open", "/in/x", Right.READ)
    assert len(draft.not_learned) == 1
    assert allows(draft, "path_open", "/in/y", Right.READ)


@pytest.mark.parametrize("name", ["!x", "a\nb", "a\udcff", "e\u0301", "a\u202eb"])
def test_a_name_that_no_policy_can_hold_is_told(name):
    draft = learned(read(name), read("y"))
    assert [rule["include"] for rule in rules(draft)] == [("y",)]
    assert len(draft.not_learned) == 1
    assert draft.text.isascii()


@pytest.mark.parametrize(
    "name", ["a*b", "[x]", "q?", "{b}", "back\\slash", "${tenant}", "#x: y", '"', "é😀", "- a", "null"]
)
def test_a_hostile_name_is_that_name_and_no_glob(name):
    draft = learned(read(name))
    assert draft.text.isascii()
    assert allows(draft, "path_open", f"/in/{name}", Right.READ)
    for other in ("axb", "x", "qq", "b", "tenant", name + "x"):
        if other != name:
            assert not allows(draft, "path_open", f"/in/{other}", Right.READ)


def test_a_rename_learns_that_its_source_has_what_its_goal_has():
    moved = fact("path_rename", "a", Right.DELETE, target2="/srv/in/b", rule="x")
    draft = learned(moved, refused("path_open", "a", Right.WRITE), read("b"))
    assert draft.still_refused == ()
    plan = compile_policy(load_document(draft.text.encode(), file="d"), base_dir="/", now_ns=None)
    asked = Question(call="path_rename", target="/in/a", target2="/in/b")
    assert isinstance(answer(plan, asked), Allow)


def test_capabilities_are_those_that_were_used():
    facts = [
        fact("random_get", decision="deny", rule="random.none", reason="rule"),
        fact("clock_time_get", None, target="wall"),
        fact("fd_write", None, target="stdout"),
    ]
    permissions = document(learned(*facts))["permissions"]
    assert permissions["random"] == "real"
    assert permissions["clocks"] == {"wall": "real", "monotonic": "none"}
    assert permissions["stdio"] == {"stdin": "none", "stdout": "capture", "stderr": "none"}


def test_a_limit_that_ended_a_run_is_raised_and_time_is_not():
    spent = fact("fd_write", None, target="stdout", decision="limit", rule="limit.stdout", reason="stopped")
    draft = learn(Material(runs=(Run(ONE, (spent,), "stdout"),)))
    assert document(draft)["resources"]["limits"] == {"stdout": "2Mi"}
    late = learn(Material(runs=(Run(ONE, (fact("sched_yield"),), "timeout"),)))
    assert "resources" not in document(late)
    assert "timeout" in late.not_learned[0][0].what


def test_mounts_are_read_off_the_records_where_nobody_knows_them():
    facts = (read("a/x"), read("b/y"), read("r", mount=OUT))
    draft = learn(Material(runs=(Run(ONE, facts),)))
    assert {(rule["uri"], rule["mount"]) for rule in rules(draft)} == {
        ("fs:///srv/in/**", "/in"),
        ("tmp://out", "/out"),
    }


START = """
version: 1
metadata: {name: start}
mode: learn
permissions:
  args: [run]
  storage:
    allow:
      - {id: empty, uri: "fs:///srv/in/**", mount: /in, access: []}
      - {id: kept, uri: "fs:///srv/keep/**", mount: /keep, access: [read]}
    deny:
      - {id: no-x, uri: "fs:///srv/in/x*"}
"""


def test_an_extended_policy_keeps_what_it_says_and_its_mounts_while_there_is_more_to_learn():
    start = load_document(START.encode(), file="start.yaml")
    open_ = learned(read("a"), start=start)
    assert [rule["id"] for rule in rules(open_)] == ["empty", "kept", "learned-in-read"]
    assert document(open_)["mode"] == "learn"
    assert not open_.is_final
    passed = Run(TWO, (fact("path_open", "a", Right.READ, rule="learned-in-read"),))
    done = learn(Material(runs=(Run(ONE, (read("a"),)), passed), start=start))
    assert [rule["id"] for rule in rules(done)] == ["kept", "learned-in-read"]
    assert "mode" not in document(done)
    assert done.is_final
    assert document(done)["permissions"]["args"] == ("run",)
    assert not allows(learned(read("xy"), read("a"), start=start), "path_open", "/in/xy", Right.READ)


def test_what_an_extended_policy_grants_is_not_learned_again():
    start = load_document(START.encode(), file="start.yaml")
    kept = Mounted("/keep", "/srv/keep")
    draft = learned(fact("path_open", "f", Right.READ, mount=kept, rule="kept"), start=start)
    assert draft.rules == ()


def test_what_a_baseline_gives_and_refuses_counts_as_the_policy_s_own():
    parent = load_document(
        b"version: 1\nkind: Baseline\nmetadata: {name: base}\npermissions: {random: none, clocks: {wall: none}}\n",
        file="base.yaml",
    )
    start = load_document(b"version: 1\nmetadata: {name: s}\nextends: [base]\n", file="s.yaml")
    drawn = fact("random_get", decision="deny", rule="random.none", reason="rule")
    draft = learned(drawn, start=start, bundle=Bundle((parent,)))
    assert document(draft)["permissions"]["random"] == "real"
    assert "clocks" not in document(draft)["permissions"]


def test_a_boundary_of_the_library_holds_for_its_own_tenants_only():
    top = boundary(
        'match: {tenant: [acme]}\nceiling: {storage: {roots: ["fs:///other/**"], access: [read]}}\n'
    )
    bundle = Bundle((), (top,))
    free = learned(read("a"), bundle=bundle, subject=Subject(tenant="globex"))
    assert [rule["include"] for rule in rules(free)] == [("a",)]
    assert learned(read("a"), bundle=bundle, subject=Subject(tenant="acme")).rules == ()


def test_nothing_is_learned_from_nothing():
    with pytest.raises(LearnError, match="at least one execution"):
        learn(Material(runs=()))
    with pytest.raises(LearnError, match="no records"):
        learn(Material(runs=(Run(ONE, ()),)))


NAMES = (
    "a.csv",
    "b.csv",
    "c.csv",
    "d.csv",
    "e.csv",
    "f.csv",
    "g.csv",
    "x-secret.csv",
    ".hid",
    "k.pem",
    "dir",
    "log",
)
STORAGE = (
    ("path_open", Right.READ),
    ("path_open", Right.WRITE),
    ("path_open", Right.WRITE | Right.CREATE),
    ("path_open", Right.APPEND),
    ("path_create_directory", Right.CREATE),
    ("path_unlink_file", Right.DELETE),
    ("fd_readdir", Right.LIST),
    ("path_filestat_get", NOTHING),
)


@st.composite
def facts(draw: st.DrawFn) -> Fact:
    call, wants = draw(st.sampled_from(STORAGE))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=2))
    mount = draw(st.sampled_from(MOUNTS))
    seq = draw(st.integers(0, 50))
    made = refused if draw(st.booleans()) else fact
    return made(call, "/".join(names), wants, mount=mount, evidence=f"{ONE}:{seq}", rule="default")


many = st.lists(facts(), min_size=1, max_size=14)
few_examples = settings(max_examples=20)  # each learns, and compiles what was learned


def oracle_allows(content: dict[str, Any], found: Fact) -> bool:
    path = (found.guest_target or "").strip("/").split("/")
    guest, names = f"/{path[0]}", path[1:]
    storage = content["permissions"]["storage"]
    storage = {"allow": [dict(rule) for rule in storage["allow"]]}
    own = [rule for rule in storage["allow"] if rule["mount"] == guest]
    if not own:
        return False
    held = {
        right
        for right in ("read", "list", "create", "write", "append", "delete")
        if opinion({"permissions": {"storage": storage}}, guest, names, right).is_allowed
    }
    if "write" in held:
        held.add("append")
    return all(str(right.name).lower() in held for right in found.wants)


@given(many)
@few_examples
def test_all_that_was_learned_is_allowed_as_a_naive_reader_sees_it(found):
    draft = learned(*found)
    assert draft.still_refused == ()
    content = document(draft)
    sensitive_look = [each for each in found if each.call == "path_filestat_get"]
    assert all(oracle_allows(content, each) for each in found if each not in sensitive_look)


@given(many)
@few_examples
def test_no_name_that_matches_a_sensitive_pattern_comes_along(found):
    content = document(learned(*found))
    seen = {each.guest_target for each in found}
    for guest in ("/in", "/out"):
        for name in ("y-secret.csv", ".other.csv", "z.pem", "dir/q-secret.csv", "dir/.z.csv"):
            asked = fact("path_open", None, Right.READ, guest_target=f"{guest}/{name}")
            for right in (Right.READ, Right.WRITE, Right.CREATE, Right.DELETE, Right.APPEND):
                if f"{guest}/{name}" not in seen:
                    assert not oracle_allows(content, replace(asked, wants=right))


@given(many, many, st.randoms(use_true_random=False))
@few_examples
def test_the_order_of_facts_and_runs_does_not_matter(one, two, shuffler):
    def drafted(first: Sequence[Fact], second: Sequence[Fact], *, turned: bool) -> str:
        runs = (Run(ONE, tuple(first)), Run(TWO, tuple(second)))
        return learn(Material(runs=runs[::-1] if turned else runs, mounts=MOUNTS)).text

    other, more = list(one), list(two)
    cast("stdlib_random.Random", shuffler).shuffle(other)
    cast("stdlib_random.Random", shuffler).shuffle(more)
    assert drafted(one, two, turned=False) == drafted(other, more, turned=True)


@given(many)
@few_examples
def test_two_runs_count_double_and_grant_the_same(found):
    once = learned(*found)
    twice = learn(Material(runs=(Run(ONE, tuple(found)), Run(TWO, tuple(found))), mounts=MOUNTS))
    assert [(rule.mount, rule.rights, [glob for glob, _ in rule.include]) for rule in once.rules] == [
        (rule.mount, rule.rights, [glob for glob, _ in rule.include]) for rule in twice.rules
    ]
    assert [2 * rule.seen.calls for rule in once.rules] == [rule.seen.calls for rule in twice.rules]
    assert all(len(rule.seen.runs) == 2 for rule in twice.rules)


def _smaller(content: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The rules with one grant less: without an entry of `include`, or without a whole rule."""
    allow = [dict(rule) for rule in content["permissions"]["storage"]["allow"]]
    found = []
    for index, rule in enumerate(allow):
        entries = rule.get("include", ())
        if len(entries) < 2:
            found.append(allow[:index] + allow[index + 1 :])
            continue
        for entry in entries:
            less = rule | {"include": tuple(each for each in entries if each != entry)}
            found.append([*allow[:index], less, *allow[index + 1 :]])
    return found


@given(many)
@few_examples
def test_without_any_one_grant_some_fact_is_refused(found):
    asked = [each for each in found if each.wants]
    if not asked:
        return
    draft = learned(*asked)
    for allow in _smaller(document(draft)):
        content = {"permissions": {"storage": {"allow": allow}}}
        assert not all(oracle_allows(content, each) for each in asked)
