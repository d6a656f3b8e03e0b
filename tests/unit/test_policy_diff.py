"""Differences between plans: against brute force over small paths, and one example of each kind of difference."""

from __future__ import annotations

import copy
import functools
import itertools
import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from policy import Plan, PolicyError, compile_policy, load_document
from policy.aliases import CONTENT, rights_elsewhere
from policy.answer import answer
from policy.decisions import Allow, Deny
from policy.diff import Change, Difference, Direction, diff
from policy.diff.change import verdict
from policy.diff.name_globs import name_only_in
from policy.diff.render import difference_as_json, render_difference
from policy.diff.roots import elsewhere
from policy.diff.storage import tree_of
from policy.diff.verdicts import LOOKED_AT
from policy.plan import RIGHTS, Mode, Right
from policy.question import Question
from policy.schema_run import AuditSection, ClocksSection, LimitsSection, RuntimeSection, StdioSection
from tests.strategies import NAMES, allow_rules, deny_rules, storage_documents

Document = dict[str, Any]

quick = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
PREFIXES = ("fs://", "fs:///srv", "fs:///srv/m", "fs:///srv/m/a", "fs:///home/b", "fs:///etc", "tmp://s",
            "", "/srv/m", "/srv/m/a", "/home/b", "/scratch")  # fmt: skip
TARGETS = tuple(
    "/".join((prefix, *tail)) for prefix in PREFIXES for count in range(3) for tail in itertools.product(NAMES[:6], repeat=count)
    if "/".join((prefix, *tail)).startswith(("fs:///", "tmp://", "/"))
)  # fmt: skip
COMBINED = (
    Right.READ | Right.WRITE,
    Right.READ | Right.LIST,
    Right.WRITE | Right.APPEND,
    Right.CREATE | Right.DELETE,
)
WANTS = (*RIGHTS, *COMBINED)


def compiled(document: Document) -> Plan:
    text = json.dumps(document).encode()
    return compile_policy(load_document(text, file="p.yaml"), base_dir="/base", now_ns=None, is_study=True)


def compiled_or_skipped(document: Document) -> Plan:
    try:
        return compiled(document)
    except PolicyError:
        assume(False)
        raise


@st.composite
def altered(draw: st.DrawFn, document: Document) -> Document:
    """A copy of a document with one or two rules removed, added, or changed."""
    changed = copy.deepcopy(document)
    storage = changed["permissions"]["storage"]
    for number in range(draw(st.integers(1, 2))):
        rules = storage[draw(st.sampled_from(("allow", "allow", "deny")))]
        kind = draw(st.sampled_from(("remove", "allow", "deny", "access", "include")))
        if kind == "allow":
            storage["allow"].append(draw(allow_rules(50 + number)))
        elif kind == "deny":
            storage["deny"].append(draw(deny_rules(60 + number)))
        elif rules and kind == "remove":
            rules.pop(draw(st.integers(0, len(rules) - 1)))
        elif rules and kind == "access":
            rules[-1]["access"] = draw(
                st.lists(st.sampled_from([str(r.name).lower() for r in RIGHTS]), min_size=1, unique=True)
            )
        elif rules and rules[-1].get("include"):
            rules[-1]["include"] = []
    return changed


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Plan, Plan]:
    document = draw(storage_documents())
    other = draw(altered(document)) if draw(st.integers(0, 5)) else draw(storage_documents())
    mode = draw(
        st.sampled_from(
            (("enforce", "enforce"), ("enforce", "enforce"), ("audit", "audit"), ("enforce", "audit"))
        )
    )
    return compiled_or_skipped(document | {"mode": mode[0]}), compiled_or_skipped(other | {"mode": mode[1]})


def level(plan: Plan, question: Question, *, has_levels: bool) -> int:
    match answer(plan, question):
        case Allow():
            return 2
        case Deny():
            return 0
        case _:
            return 1 if has_levels else 0


def wanted_by(change: Change) -> list[frozenset[str]]:
    return [frozenset(name.split("+")) for name in change.rights]


def names_of(rights: Right) -> frozenset[str]:
    return frozenset(str(right.name).lower() for right in RIGHTS if right & rights)


@quick
@given(pairs(), st.lists(st.sampled_from(TARGETS), min_size=30, max_size=60))
def test_each_difference_that_brute_force_finds_is_told(both, targets):
    a, b = both
    found = diff(a, b)
    told = {
        direction: [
            wants for change in found.items if change.direction is direction for wants in wanted_by(change)
        ]
        for direction in Direction
    }
    has_levels = a.mode is b.mode is Mode.AUDIT
    questions = [
        Question(call="path_open" if wants else "path_filestat_get", target=target, wants=wants)
        for target in targets
        for wants in (None, *WANTS)
    ]
    for question in questions:
        wants = question.wants
        levels = [level(plan, question, has_levels=has_levels) for plan in both]
        if levels[0] != levels[1]:
            direction = Direction.WIDER if levels[1] > levels[0] else Direction.NARROWER
            assert any(each <= names_of(wants) if wants else True for each in told[direction]), question


@quick
@given(pairs())
def test_each_witness_is_answered_differently_and_as_the_change_says(both):
    for change in diff(*both).items:
        if change.witness is not None:
            answers = tuple(verdict(plan, change.witness) for plan in both)
            assert answers == (change.answer_a, change.answer_b)
            assert answers[0] != answers[1]
            assert (answers[1] == "allow") is (change.direction is Direction.WIDER) or "would_deny" in answers


@quick
@given(pairs(), st.lists(st.sampled_from(TARGETS), min_size=4, max_size=8))
def test_each_move_that_one_plan_refuses_is_told(both, targets):
    found = diff(*both)
    has_levels = both[0].mode is both[1].mode is Mode.AUDIT
    for call in ("path_rename", "path_link"):
        for source, goal in itertools.product(targets, targets):
            question = Question(call=call, target=source, target2=goal)
            levels = [level(plan, question, has_levels=has_levels) for plan in both]
            if levels[0] != levels[1]:
                direction = Direction.WIDER if levels[1] > levels[0] else Direction.NARROWER
                assert any(change.direction is direction for change in found.items), question


@quick
@given(pairs(), st.data())
def test_the_tables_say_what_is_decided(both, data):
    tree = tree_of(*both)
    if not tree.kinds:
        return
    for _ in range(5):
        kind = data.draw(st.sampled_from(tree.kinds))
        for wanted in (LOOKED_AT, *data.draw(st.lists(st.integers(1, 127), min_size=5, max_size=15))):
            for plan, verdicts, end in zip(both, tree.verdicts, kind.ends, strict=True):
                assert verdicts.answer(end, wanted) == verdict(plan, kind.wants(wanted)), (
                    kind.target,
                    wanted,
                )


@quick
@given(pairs())
def test_rights_elsewhere_are_those_that_decide_moves(both):
    for plan in both:
        assert elsewhere(plan) == tuple(rights_elsewhere(plan, mount) & CONTENT for mount in plan.mounts)


@quick
@given(storage_documents())
def test_a_plan_does_not_differ_from_itself_nor_from_its_document_in_another_order(document):
    plan = compiled_or_skipped(document)
    assert diff(plan, plan) == Difference()
    renamed = copy.deepcopy(document)
    for rule in (*renamed["permissions"]["storage"]["allow"], *renamed["permissions"]["storage"]["deny"]):
        rule["id"] += ".x"
    assert diff(plan, compiled(renamed | {"metadata": {"name": "other"}})).items == ()


def seen_from_b(change: Change) -> tuple[object, ...]:
    rules = change.rule_b and change.rule_b.id, change.rule_a and change.rule_a.id
    return (
        change.direction.mirrored,
        change.area,
        change.rights,
        change.witness,
        change.answer_b,
        change.answer_a,
        *rules,
    )


def seen_from_a(change: Change) -> tuple[object, ...]:
    rules = change.rule_a and change.rule_a.id, change.rule_b and change.rule_b.id
    return (
        change.direction,
        change.area,
        change.rights,
        change.witness,
        change.answer_a,
        change.answer_b,
        *rules,
    )


@quick
@given(pairs())
def test_the_difference_the_other_way_round_is_its_mirror_image(both):
    a, b = both
    assert set(map(seen_from_b, diff(a, b).items)) == set(map(seen_from_a, diff(b, a).items))


def is_of_a_pair(change: Change) -> bool:
    """A move may become possible when its goal has fewer rights, since then nothing is gained there."""
    return change.witness is not None and change.witness.target2 is not None


@quick
@given(storage_documents(), st.data())
def test_removing_an_allow_rule_is_only_narrower(document, data):
    smaller = copy.deepcopy(document)
    allow = smaller["permissions"]["storage"]["allow"]
    allow.pop(data.draw(st.integers(0, len(allow) - 1)))
    found = diff(compiled_or_skipped(document), compiled_or_skipped(smaller))
    assert {change.direction for change in found.items if not is_of_a_pair(change)} <= {Direction.NARROWER}


@quick
@given(storage_documents(), deny_rules(9))
def test_adding_a_deny_rule_is_only_narrower(document, deny):
    more = copy.deepcopy(document)
    more["permissions"]["storage"]["deny"].append(deny)
    found = diff(compiled_or_skipped(document), compiled_or_skipped(more))
    assert {change.direction for change in found.items if not is_of_a_pair(change)} <= {Direction.NARROWER}


# --- storage, one at a time ----------------------------------------------------------------------


def plan_of(*allow: Document, deny: tuple[Document, ...] = (), **sections: Any) -> Plan:
    storage = {"allow": list(allow), "deny": list(deny)}
    permissions = {"storage": storage, **sections.pop("permissions", {})}
    return compiled({"version": 1, "metadata": {"name": "p"}, "permissions": permissions, **sections})


def tree(access: str = "read", root: str = "/srv/in", **more: Any) -> Document:
    return {"id": "tree", "uri": f"fs://{root}/**", "access": access.split(), **more}


def lines(a: Plan, b: Plan) -> list[str]:
    return [f"{change.direction.value} {change.what}" for change in diff(a, b).items]


def test_a_rule_that_is_added_is_wider_and_names_its_tree():
    found = diff(plan_of(), plan_of(tree("read list")))
    (change,) = found.items
    assert (change.direction, change.what) == (
        Direction.WIDER,
        "read, list: fs:///srv/in and everything below",
    )
    assert change.rule_b is not None
    assert change.rule_b.field == "permissions.storage.allow[0]"
    assert found.is_wider


def test_a_rule_that_is_removed_is_narrower():
    found = diff(plan_of(tree("read list")), plan_of())
    assert [change.direction for change in found.items] == [Direction.NARROWER]
    assert not found.is_wider


def test_a_single_file_is_told_as_one():
    file = {"uri": "fs:///srv/state.json", "access": ["read"]}
    assert lines(plan_of(), plan_of(file))[0] == "wider read: fs:///srv/state.json"


def test_one_mount_with_two_rights_is_wider_than_two_mounts_with_one_each():
    apart = plan_of(tree("read"), tree("write", mount="/other", id="other"))
    together = plan_of(tree("read write"), tree("write", mount="/other", id="other"))
    rights = {name for change in diff(apart, together).items for name in change.rights}
    assert "read+write" in rights


def test_the_same_directory_at_another_guest_path_is_told():
    found = diff(plan_of(tree(mount="/in")), plan_of(tree(mount="/data")))
    assert {(change.direction, change.witness and change.witness.target) for change in found.items} == {
        (Direction.WIDER, "/data"),
        (Direction.NARROWER, "/in"),
    }


def test_guest_paths_that_change_places_are_told():
    one, other = tree(mount="/a"), tree(root="/srv/out", mount="/b", id="other")
    swapped = one | {"mount": "/b"}, other | {"mount": "/a"}
    assert {change.direction for change in diff(plan_of(one, other), plan_of(*swapped)).items} == {
        Direction.CHANGED
    }


def test_a_witness_is_text_where_a_text_shows_the_difference():
    before = plan_of(tree(include=["[!-~]*"]))
    for change in diff(before, plan_of(tree(include=["*"]))).items:
        assert change.witness is not None
        assert change.witness.target is not None
        change.witness.target.encode()


def test_names_that_are_no_text_are_compared_too():
    found = diff(plan_of(tree(include=["?*"])), plan_of(tree(include=["*"])))
    (change,) = found.items
    assert change.direction is Direction.WIDER
    assert change.witness is not None
    with pytest.raises(UnicodeEncodeError):
        str(change.witness.target).encode()
    assert "\\x" in render_difference(found)


def test_a_deny_at_a_right_that_nothing_grants_is_no_difference():
    assert (
        diff(plan_of(tree()), plan_of(tree(), deny=({"uri": "fs:///srv/in/x", "access": ["write"]},))).items
        == ()
    )


def test_a_move_becomes_possible_where_the_goal_loses_a_right():
    rules = tree("delete"), tree("read create", root="/srv/out", id="out")
    fewer = tree("delete"), tree("create", root="/srv/out", id="out")
    (change,) = [
        each for each in diff(plan_of(*rules), plan_of(*fewer)).items if each.direction is Direction.WIDER
    ]
    assert change.witness == Question(call="path_rename", target="fs:///srv/in", target2="fs:///srv/out")
    assert (change.answer_a, change.answer_b) == ("deny", "allow")


def test_a_policy_that_only_audits_is_wider_than_one_that_enforces():
    assert lines(plan_of(tree()), plan_of(tree(), mode="audit")) == ["wider mode: audit, not enforce"]


def test_what_is_only_recorded_counts_as_less_than_what_is_allowed():
    a, b = plan_of(tree("read"), mode="audit"), plan_of(tree("read list"), mode="audit")
    (change,) = diff(a, b).items
    assert (change.direction, change.answer_a, change.answer_b) == (Direction.WIDER, "would_deny", "allow")


# --- budgets --------------------------------------------------------------------------------------


def scratch(name: str = "s", **more: Any) -> Document:
    return {"id": name, "uri": f"tmp://{name}", "mount": f"/{name}", "access": ["write", "create"], **more}


@pytest.mark.parametrize("field", ["max_bytes", "max_files"])
@pytest.mark.parametrize(
    ("before", "after", "direction"),
    [("1k", "2k", "wider"), ("2k", "1k", "narrower"), ("1k", None, "wider"), (None, "1k", "narrower")],
)
def test_a_larger_budget_is_wider(field, before, after, direction):
    a, b = (plan_of(scratch(**({field: value} if value else {}))) for value in (before, after))
    assert [change.direction.value for change in diff(a, b).items] == [direction]


def halves(first: str, second: str) -> tuple[Document, Document]:
    rule = {"uri": "tmp://s", "mount": "/s", "access": ["write"]}
    return rule | {"id": "x", "include": ["x/**"], "max_bytes": first}, rule | {
        "id": "rest",
        "max_bytes": second,
    }


def test_a_budget_that_is_divided_is_narrower():
    whole = {"id": "all", "uri": "tmp://s", "mount": "/s", "access": ["write"], "max_bytes": "10k"}
    assert {change.direction for change in diff(plan_of(whole), plan_of(*halves("5k", "5k"))).items} == {
        Direction.NARROWER
    }


def test_a_budget_that_is_given_twice_is_wider():
    whole = {"id": "all", "uri": "tmp://s", "mount": "/s", "access": ["write"], "max_bytes": "10k"}
    assert {change.direction for change in diff(plan_of(whole), plan_of(*halves("10k", "10k"))).items} == {
        Direction.WIDER
    }


# --- rules over time ------------------------------------------------------------------------------

LATER: Document = {
    "id": "later",
    "when": {"opened": "fs:///srv/in/keys/**"},
    "then": {"deny": ["storage.write"], "for": "run"},
}


def later(**changes: Any) -> Document:
    return LATER | changes


def over(section: Document, *rules: Document) -> Plan:
    return plan_of(section, rules=list(rules))


TIMED = (
    (later(), later(), None),
    (later(), None, "wider"),
    (later(), later(when={"opened": "fs:///srv/in/**"}), "narrower"),
    (later(), later(when={"opened": "fs:///srv/in/keys/a"}), "wider"),
    (later(), later(when={"opened": "fs:///srv/elsewhere/**"}), "wider"),
    (later(), later(then={"deny": ["storage"], "for": "run"}), "narrower"),
    (later(), later(then={"deny": ["storage.write"], "for": "run", "raise": "finding/high"}), "narrower"),
)


@pytest.mark.parametrize(("before", "after", "direction"), TIMED)
def test_rules_over_time_are_compared_by_what_they_watch_and_refuse(before, after, direction):
    a, b = over(tree("read write"), before), over(tree("read write"), *([after] if after else []))
    assert {change.direction.value for change in diff(a, b).items} == ({direction} if direction else set())
    mirrored = {"wider": "narrower", "narrower": "wider"}.get(direction)
    assert {change.direction.value for change in diff(b, a).items} == ({mirrored} if mirrored else set())


def test_the_witness_of_a_rule_over_time_is_a_call_after_it_started():
    (change,) = diff(over(tree("read write"), LATER), over(tree("read write"))).items
    assert change.witness == Question(
        call="path_open", target="fs:///srv/in/keys", wants=Right.WRITE, after=("later",)
    )
    assert (change.answer_a, change.answer_b) == ("deny", "allow")


def test_two_rules_over_time_that_together_watch_the_same_are_equal():
    apart = (
        later(id="one", when={"opened": "fs:///srv/in/a/**"}),
        later(id="two", when={"opened": "fs:///srv/in/b/**"}),
    )
    assert (
        diff(
            over(tree("read write"), later(when={"opened": "fs:///srv/in/[ab]/**"})),
            over(tree("read write"), *apart),
        ).items
        == ()
    )


def counting(limit: str, window: str | None = None, to: str = "*") -> Document:
    bound = {"to": to, "over": limit} | ({"window": window} if window else {})
    return {"id": "count", "when": {"bytes_out": bound}, "then": {"deny": ["network"], "for": "run"}}


@pytest.mark.parametrize(
    ("before", "after", "direction"),
    [
        (counting("1Mi"), counting("2Mi"), "wider"),
        (counting("1Mi"), counting("1Mi"), None),
        (counting("1Mi"), counting("1Mi", "1h"), "wider"),
        (counting("1Mi", "1m"), counting("1Mi", "1h"), "narrower"),
        (counting("1Mi"), counting("1Mi", to="a.example"), "wider"),
    ],
)
def test_rules_that_count_are_compared_by_when_they_start(before, after, direction):
    found = {change.direction.value for change in diff(over(tree(), before), over(tree(), after)).items}
    assert found == ({direction} if direction else set())


# --- the other sections ---------------------------------------------------------------------------

SCALARS = (
    ({"permissions": {"args": ["-x"]}}, "changed"),
    ({"permissions": {"extra_args": False}}, "narrower"),
    ({"permissions": {"stdio": {"stdin": "inherit"}}}, "wider"),
    ({"permissions": {"stdio": {"stdin": "caller"}}}, "wider"),
    ({"permissions": {"stdio": {"stdout": "none"}}}, "narrower"),
    ({"permissions": {"stdio": {"stderr": "inherit"}}}, "wider"),
    ({"permissions": {"clocks": {"wall": "frozen:2026-01-01T00:00:00Z"}}}, "narrower"),
    ({"permissions": {"clocks": {"monotonic": "none"}}}, "narrower"),
    ({"permissions": {"clocks": {"resolution": "1ms"}}}, "narrower"),
    ({"permissions": {"clocks": {"resolution": "1ns"}}}, "wider"),
    ({"permissions": {"random": "none"}}, "narrower"),
    ({"permissions": {"random": "seeded:00ff"}}, "narrower"),
    ({"permissions": {"environment": {"allow": [{"key": "A", "value": "1"}]}}}, "wider"),
    ({"match": {"name": "a*"}}, "narrower"),
    ({"match": {"digest": "sha256:" + "0" * 64}}, "narrower"),
    ({"mode": "audit"}, "wider"),
    ({"runtime": {"engine": "pulley"}}, "changed"),
    ({"runtime": {"cache": False}}, "changed"),
    ({"runtime": {"isolation": "process"}}, "wider"),
    ({"runtime": {"require_walls": ["landlock"]}}, "narrower"),
    ({"runtime": {"deterministic": True}}, "narrower"),
    ({"audit": {"sync": "batch"}}, "weaker"),
    ({"audit": {"sync": "all"}}, "stronger"),
    ({"audit": {"on_full": "kill"}}, "changed"),
    ({"audit": {"timestamps": "exact"}}, "stronger"),
    ({"audit": {"timestamps": "coarse"}}, "weaker"),
    ({"audit": {"retain": "30d"}}, "weaker"),
    ({"audit": {"retain": "400d"}}, "stronger"),
    ({"audit": {"level": "summary"}}, "weaker"),
    ({"audit": {"payload": "digest"}}, "stronger"),
    ({"audit": {"mask": ["json:/email"]}}, "weaker"),
    ({"audit": {"rules": [{"call": "fd_*", "level": "counts"}]}}, "weaker"),
    *(({"resources": {"limits": {name: value}}}, direction) for name, values in {
        "memory": ("1Mi", "1Gi"), "cpu": ("1s", "1h"), "timeout": ("1s", "unlimited"), "module": ("1Mi", "1Gi"),
        "compile": ("1s", "1h"), "stack": ("64Ki", "1Mi"), "tables": ("1", "9"), "table_elements": ("1", "unlimited"),
        "instances": ("1", "99"), "memories": ("1", "99"), "stdout": ("1", "1Gi"), "stderr": ("1", "unlimited"),
        "connections": ("1", "9"), "net_in": ("1", "1Gi"), "net_out": ("1", "unlimited"),
        "disk": ("1", "1Gi"), "files": ("1", "999"), "open_files": ("1", "999"), "host_calls": ("1", "2M"),
    }.items() for value, direction in zip(values, ("narrower", "wider"), strict=True)),
    ({"resources": {"limits": {"fuel": "1k"}}}, "narrower"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("section", "direction"), SCALARS, ids=lambda value: json.dumps(value) if isinstance(value, dict) else ""
)
def test_each_field_that_is_flipped_shows(section, direction):
    base, flipped = (
        compiled({"version": 1, "metadata": {"name": "p"}}),
        compiled({"version": 1, "metadata": {"name": "p"}, **section}),
    )
    assert {change.direction.value for change in diff(base, flipped).items} == {direction}
    pairs = {"wider": "narrower", "weaker": "stronger"}
    mirrored = (pairs | {other: one for one, other in pairs.items()}).get(direction, direction)
    assert {change.direction.value for change in diff(flipped, base).items} == {mirrored}


@pytest.mark.parametrize(
    ("before", "after", "directions"),
    [
        ({"isolation": "confined"}, {"isolation": "process"}, ["wider"]),
        ({"isolation": "process"}, {"isolation": "confined"}, ["narrower"]),
        ({"isolation": "process"}, {"isolation": "process"}, []),
        ({"isolation": "confined"}, {}, []),
        (
            {"require_walls": ["seccomp", "landlock"]},
            {"require_walls": ["landlock", "seccomp", "landlock"]},
            [],
        ),
        ({"require_walls": ["seccomp", "landlock"]}, {"require_walls": ["landlock"]}, ["wider"]),
        ({"require_walls": ["landlock"]}, {"require_walls": ["seccomp"]}, ["wider", "narrower"]),
        ({"require_walls": ["landlock"]}, {"isolation": "process"}, ["wider", "wider"]),
    ],
)
def test_fewer_walls_are_wider(before, after, directions):
    one, other = (
        compiled({"version": 1, "metadata": {"name": "p"}, "runtime": runtime}) for runtime in (before, after)
    )
    found = diff(one, other)
    assert [change.direction.value for change in found.items] == directions
    assert found.is_wider is ("wider" in directions)


@pytest.mark.parametrize(("stronger", "weaker"), [("process", "in-process"), ("confined", "in-process")])
def test_the_process_of_whoever_runs_it_is_wider_than_one_of_its_own(stronger, weaker):
    named = {"version": 1, "metadata": {"name": "p"}, "match": {"digest": ["sha256:" + "0" * 64]}}
    one, other = (compiled(named | {"runtime": {"isolation": each}}) for each in (stronger, weaker))
    assert [(change.direction, change.area) for change in diff(one, other).items] == [
        (Direction.WIDER, "runtime")
    ]
    assert [change.direction for change in diff(other, one).items] == [Direction.NARROWER]


# A section of the document, and its fields that a plan of this version does not hold.
NOT_HELD: dict[type[BaseModel], set[str]] = {
    RuntimeSection: {"abi"},
    AuditSection: set(),
    StdioSection: set(),
    ClocksSection: set(),
    LimitsSection: set(),
}


def test_no_scalar_field_is_forgotten():
    told = json.dumps([section for section, _ in SCALARS])
    for model, not_held in NOT_HELD.items():
        for name in set(model.model_fields) - not_held:
            assert f'"{name}": ' in told, (model.__name__, name)


@pytest.mark.parametrize(
    "section",
    [
        {"runtime": {"abi": "wasi-0.2"}},
        {"permissions": {"host_functions": [{"name": "a/b"}]}},
    ],
)
def test_a_part_that_a_plan_does_not_hold_counts_as_changed_when_only_one_sets_it(section):
    head: Document = {"version": 1, "metadata": {"name": "p"}}
    found = diff(compiled(head), compiled(head | section))
    assert [change.direction for change in found.items] == [Direction.CHANGED]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            {"permissions": {"environment": {"allow": [{"key": "A", "from": "secret://a"}]}}},
            {"permissions": {"environment": {"allow": [{"key": "A", "from": "secret://b"}]}}},
        ),
        (
            {"permissions": {"host_functions": [{"name": "a/b"}]}},
            {"permissions": {"host_functions": [{"name": "a/b", "args": ["x"]}]}},
        ),
    ],
)
def test_a_part_that_a_plan_does_not_hold_counts_as_changed_when_its_values_differ(before, after):
    head: Document = {"version": 1, "metadata": {"name": "p"}}
    found = diff(compiled(head | before), compiled(head | after))
    assert [(change.direction, change.area) for change in found.items] == [(Direction.CHANGED, "unenforced")]
    assert found.is_wider
    again = compiled(head | before | {"metadata": {"name": "q"}})
    assert diff(compiled(head | before), again) == Difference()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"permissions": {"random": "seeded:00"}}, {"permissions": {"random": "seeded:01"}}),
        (
            {"permissions": {"clocks": {"wall": "frozen:2026-01-01T00:00:00Z"}}},
            {"permissions": {"clocks": {"wall": "frozen:2027-01-01T00:00:00Z"}}},
        ),
        (
            {"permissions": {"environment": {"allow": [{"key": "A", "value": "1"}]}}},
            {"permissions": {"environment": {"allow": [{"key": "A", "value": "2"}]}}},
        ),
        ({"permissions": {"stdio": {"stdin": "caller"}}}, {"permissions": {"stdio": {"stdin": "inherit"}}}),
    ],
)
def test_a_value_without_an_order_counts_as_wider_for_the_gate(before, after):
    head: Document = {"version": 1, "metadata": {"name": "p"}}
    found = diff(compiled(head | before), compiled(head | after))
    assert [change.direction for change in found.items] == [Direction.CHANGED]
    assert found.is_wider


def test_placeholders_are_compared_as_text():
    rule = tree(root="/srv/${tenant}")
    found = diff(plan_of(rule), plan_of(rule | {"access": ["read", "list"]}))
    assert "${tenant}" in str(found.items[0].witness)
    assert found.notes


# --- the network ----------------------------------------------------------------------------------

SOCKET: Document = {"id": "db", "to": "db.internal", "ports": ["5432"]}
REQUEST: Document = {"id": "api", "url": "https://api.example.com", "methods": ["GET"], "paths": ["/v1/**"]}


def net(**section: Any) -> Plan:
    return plan_of(permissions={"network": section})


NETWORKS: tuple[tuple[Document, Document, str], ...] = (
    ({"tcp": [SOCKET]}, {"tcp": [SOCKET | {"ports": ["5432-5433"]}]}, "wider"),
    ({"tcp": [SOCKET]}, {"udp": [SOCKET]}, "narrower wider"),
    ({"tcp": [SOCKET | {"to": "203.0.113.0/24"}]}, {"tcp": [SOCKET | {"to": "203.0.113.0/25"}]}, "narrower"),
    ({"tcp": [SOCKET]}, {"tcp": [SOCKET], "deny": [{"id": "no", "to": "db.internal"}]}, "narrower"),
    ({"tcp": [SOCKET]}, {"tcp": [SOCKET], "deny": [{"id": "no", "to": "other.internal"}]}, ""),
    ({"http": [REQUEST]}, {"http": [REQUEST | {"methods": ["GET", "POST"]}]}, "wider"),
    ({"http": [REQUEST]}, {"http": [REQUEST | {"paths": ["/v1/a/**"]}]}, "narrower"),
    ({"http": [REQUEST | {"max_response_bytes": "1Mi"}]}, {"http": [REQUEST]}, "wider"),
    ({"dns": {"names": ["a.example"]}}, {"dns": {"names": ["*.example", "a.example"]}}, "wider"),
    ({"dns": {"names": ["a.example"]}}, {"dns": {"names": ["a.example"], "pin": False}}, "wider"),
    ({"dns": {"names": ["a.example"]}}, {"dns": {"names": ["a.example"], "max_queries": "8"}}, "narrower"),
    ({"listen": ["tcp://127.0.0.1:8080"]}, {}, "narrower"),
)


@pytest.mark.parametrize(("before", "after", "directions"), NETWORKS)
def test_networks_are_compared_by_what_they_reach(before, after, directions):
    a, b = net(**before), net(**after)
    found = diff(a, b)
    assert {change.direction.value for change in found.items} == set(directions.split())
    for change in found.items:
        if change.witness is not None:
            assert (verdict(a, change.witness), verdict(b, change.witness)) == (
                change.answer_a,
                change.answer_b,
            )
            assert change.answer_a != change.answer_b


def test_a_rule_elsewhere_does_not_show_in_the_network():
    network = {"network": {"tcp": [SOCKET], "http": [REQUEST], "dns": {"names": ["a.example"]}}}
    found = diff(plan_of(permissions=network), plan_of(tree(), permissions=network))
    assert {change.area for change in found.items} == {"storage"}


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("globs", "others", "name"),
    [
        (("a*",), ("a", "a?*"), None),
        (("a*",), ("a", "ab*"), "ax"),
        (("[ab]",), ("a", "b"), None),
        (("[!a]",), ("b",), "x"),
        (("*",), ("?*",), None),
        (("*x*",), ("x*", "*x"), "axa"),
        (("[]]",), ("]",), None),
        (("[",), ("[[]",), None),
    ],
)
def test_names_are_compared_exactly(globs, others, name):
    found = name_only_in(globs, others)
    assert found == name or (name is not None and found is not None and len(found) == len(name))


@settings(max_examples=100, deadline=None)
@given(*[st.lists(st.text("ab*?[]!-", max_size=5), min_size=1, max_size=3)] * 2)
def test_a_name_that_is_found_is_matched_by_one_side_only(globs, others):
    from fnmatch import fnmatchcase

    def matches(name: str, among: list[str]) -> bool:
        return any(fnmatchcase(name, glob) for glob in among)

    found = name_only_in(tuple(globs), tuple(others))
    names = ["".join(letters) for size in range(1, 5) for letters in itertools.product("ab]c", repeat=size)]
    if found is None:
        assert not any(matches(name, globs) and not matches(name, others) for name in names)
    else:
        assert matches(found, globs)
        assert not matches(found, others)


# --- how it is told -------------------------------------------------------------------------------


def test_the_first_line_is_the_verdict():
    a, b = plan_of(tree()), plan_of(tree("read list"))
    assert render_difference(diff(a, a)) == "A and B decide alike\n"
    assert render_difference(diff(a, b)).splitlines()[0] == "B allows more than A: 1 difference"
    assert render_difference(diff(b, a)).splitlines()[0] == "B allows less than A: 1 difference"


def test_json_says_the_same():
    found: dict[str, Any] = dict(difference_as_json(diff(plan_of(), plan_of(tree()))))
    assert found["is_wider"] is True
    (change,) = found["differences"]
    assert change["witness"] == {"call": "path_open", "target": "fs:///srv/in", "access": ["read"]}
    assert (change["answer_a"], change["answer_b"]) == ("deny", "allow")
    json.dumps(found)


@functools.cache
def thousand(first: int) -> Plan:
    deny = tuple({"uri": f"fs:///srv/customer-{index:05d}/keys.pem"} for index in range(first, 1_000))
    return plan_of(tree(root="/srv"), deny=deny)


def test_a_thousand_rules_are_compared_soon():
    a, b = thousand(0), thousand(1)
    start = time.process_time()
    (change,) = diff(a, b).items
    assert time.process_time() - start < 4.0  # seconds of a slow core; measured: 0.4
    assert change.what == "read: fs:///srv/customer-00000/keys.pem and everything below"
