from __future__ import annotations

import pytest

from policy.plan import Mode, Right
from sandbox.imports import Provision, Standing
from sandbox.inspection import NOTE_AUDIT, NOTE_NO_MEMORY, NOTE_START, ImportView, inspect
from sandbox.refusal import AdmissionRefused, Refusal
from tests.components import real_components
from tests.modules import NONE, START, imported, module, plan

CALLS = {
    "args_get": "(param i32 i32) (result i32)",
    "environ_get": "(param i32 i32) (result i32)",
    "fd_write": "(param i32 i32 i32 i32) (result i32)",
    "fd_readdir": "(param i32 i32 i32 i64 i32) (result i32)",
    "fd_prestat_get": "(param i32 i32) (result i32)",
    "path_open": "(param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)",
    "path_symlink": "(param i32 i32 i32 i32 i32) (result i32)",
    "path_rename": "(param i32 i32 i32 i32 i32 i32) (result i32)",
    "path_link": "(param i32 i32 i32 i32 i32 i32 i32) (result i32)",
    "sock_accept": "(param i32 i32 i32) (result i32)",
}
MEMORY = '(memory (export "memory") 1)'
SAMPLE = module("".join(imported(name, kind) for name, kind in CALLS.items()) + MEMORY + START)


def standings(rights: Right = NONE, **changes: object) -> dict[str, Standing]:
    views = inspect(SAMPLE, plan(rights, **changes)).imports  # type: ignore[arg-type]  # fields of a plan
    return {view.name: view.grant.standing for view in views if view.grant}


def view(name: str, rights: Right = NONE) -> ImportView:
    return next(item for item in inspect(SAMPLE, plan(rights)).imports if item.name == name)


def test_without_a_policy_imports_are_provided_and_not_judged() -> None:
    found = inspect(SAMPLE)
    assert {item.provision for item in found.imports} == {Provision.PROVIDED}
    assert {item.provided_by for item in found.imports} == {"wasi_snapshot_preview1"}
    assert {item.grant for item in found.imports} == {None}
    assert found.not_granted == ()
    assert found.refusal is None


def test_a_denied_call_is_refused_by_its_rule() -> None:
    grant = view("sock_accept").grant
    assert grant is not None
    assert (grant.standing, grant.rule_id) == (Standing.REFUSED, "no-network")


def test_without_mounts_no_path_call_is_granted() -> None:
    found = standings()
    assert {call for call, standing in found.items() if standing is Standing.REFUSED} == {
        "path_open",
        "path_symlink",
        "path_rename",
        "path_link",
        "sock_accept",
    }
    assert found["fd_prestat_get"] is found["fd_readdir"] is Standing.EMPTY
    assert found["fd_write"] is Standing.GRANTED


@pytest.mark.parametrize(
    ("call", "enough", "short"),
    [
        ("path_open", Right.READ, NONE),
        ("path_symlink", Right.SYMLINK, Right.WRITE),
        ("path_rename", Right.DELETE | Right.CREATE, Right.DELETE),
        ("path_link", Right.READ | Right.WRITE | Right.CREATE, Right.READ | Right.CREATE),
    ],
)
def test_a_path_call_is_granted_where_some_path_has_its_rights(
    call: str, enough: Right, short: Right
) -> None:
    assert standings(enough)[call] is Standing.GRANTED
    assert standings(short)[call] is Standing.REFUSED


def test_the_right_that_is_missing_is_named() -> None:
    grant = view("path_rename", Right.DELETE).grant
    assert grant is not None
    assert grant.rule_id == "default"
    assert grant.note == "no path of the policy allows create"


def test_listing_is_empty_where_nothing_may_be_listed() -> None:
    assert standings(Right.READ)["fd_readdir"] is Standing.EMPTY
    assert standings(Right.LIST)["fd_readdir"] is Standing.GRANTED


def test_an_empty_environment_is_granted_and_empty() -> None:
    assert standings()["environ_get"] is Standing.EMPTY
    assert standings(environment=(("A", "1"),))["environ_get"] is Standing.GRANTED


def test_what_is_linked_to_a_refusal_is_listed() -> None:
    found = inspect(SAMPLE, plan(Right.READ))
    assert {item.name for item in found.not_granted} == {
        "path_symlink",
        "path_rename",
        "path_link",
        "sock_accept",
    }


@pytest.mark.parametrize(
    ("text", "provision", "reason"),
    [
        (imported("log", from_module="env"), Provision.FOREIGN, Refusal.FOREIGN_IMPORT),
        (imported("fd_close", from_module="wasi_unstable"), Provision.PREVIEW0, Refusal.PREVIEW0),
        (imported("fd_close"), Provision.SIGNATURE, Refusal.IMPORT_SIGNATURE),
        ('(import "env" "g" (global i32))', Provision.KIND, Refusal.IMPORT_KIND),
    ],
)
def test_what_is_not_provided_is_shown_and_refused(text: str, provision: Provision, reason: Refusal) -> None:
    for under in (None, plan()):
        found = inspect(module(text + START), under)
        assert (found.imports[0].provision, found.imports[0].provided_by) == (provision, "")
        assert found.refusal is not None
        assert found.refusal.reason is reason


def test_inspection_and_admission_agree_on_the_entry() -> None:
    library = module('(func (export "run"))')
    assert inspect(library).refusal is not None
    assert inspect(library, invoke="run").refusal is None


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(AdmissionRefused, match="not a valid module, byte 9"):
        inspect(b"\0asm\1\0\0\0\7")
    with pytest.raises(AdmissionRefused, match="not a component that can be read here, byte 9"):
        inspect(b"\0asm\x0d\0\1\0\7")


def test_a_component_is_laid_open() -> None:
    found = inspect(real_components()["resvg"].read_bytes())
    assert found.refusal is None
    assert [item.name for item in found.exports] == ["wasi:cli/run@0.2.6"]
    asked = {(item.module, item.name): item.provided_by for item in found.imports}
    assert asked["wasi:filesystem/types@0.2.6", "[method]descriptor.open-at"] == "wasi:filesystem/types"
    assert {item.provision for item in found.imports} == {Provision.PROVIDED}
    empty = inspect(b"\0asm\x0d\0\1\0")
    assert empty.refusal is not None
    assert empty.refusal.reason is Refusal.NO_ENTRY


def test_exports_say_what_can_be_invoked() -> None:
    found = inspect(
        module('(func (export "run")) (func (export "add") (param i32)) (memory (export "m\\1b") 1)')
    )
    assert [(item.name, item.kind, item.signature, item.is_callable) for item in found.exports] == [
        ("run", "function", "() -> ()", True),
        ("add", "function", "(i32) -> ()", False),
        ("m\\x1b", "memory", "", False),
    ]


def test_a_start_function_beside_host_calls_is_noted() -> None:
    call = imported("sched_yield", "(result i32)")
    assert NOTE_START in inspect(module(f"{call} (func $f) (start $f) {MEMORY}")).notes
    assert inspect(module(f"{call} (func $f) {MEMORY}")).notes == ()
    assert inspect(module("(func $f) (start $f)")).notes == ()


def test_host_calls_without_a_memory_are_noted() -> None:
    assert NOTE_NO_MEMORY in inspect(module(imported("sched_yield", "(result i32)"))).notes


def test_audit_mode_is_noted() -> None:
    assert NOTE_AUDIT in inspect(SAMPLE, plan(mode=Mode.AUDIT)).notes
    assert inspect(SAMPLE, plan()).notes == ()


def test_hostile_text_comes_out_inert() -> None:
    fields = imported("a\\0ab\\1b]0;x\\07", from_module="\\e2\\80\\ae") + '(@custom "se\\0a" "x")'
    found = inspect(module(fields + START))
    shown = [found.imports[0].module, found.imports[0].name, *found.custom_sections]
    assert all(text.isprintable() for text in shown)
    assert found.custom_sections == ("se\\x0a",)
