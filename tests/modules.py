"""Small modules and plans for tests of admission, compilation and inspection.

Real programs are found by `tests/programs.py`; documents of policies are compiled elsewhere.
A plan from here is written out by hand, so these tests do not hang on the policy compiler.
"""

from __future__ import annotations

from dataclasses import replace

import wasmtime

from policy.plan import (
    UNLIMITED,
    Clocks,
    Limits,
    Mode,
    Mount,
    PathAutomaton,
    PathClass,
    Plan,
    Random,
    Right,
    Rule,
    RuleId,
    RuleKind,
    Runtime,
    Stdio,
)
from policy.plan_audit import Audit
from policy.plan_network import NetworkPlan, NnPlan
from sandbox.wasm.shape import PAGE_BYTES

NONE = Right(0)
START = '(func (export "_start"))'
P1 = "wasi_snapshot_preview1"

LIMITS = Limits(
    memory_bytes=16 * PAGE_BYTES,
    cpu_ms=5_000,
    wall_ms=10_000,
    fuel=UNLIMITED,
    module_bytes=1 << 20,
    compile_ms=30_000,
    stack_bytes=512 << 10,
    tables=4,
    table_elements=1_000,
    instances=8,
    memories=2,
    stdout_bytes=1 << 20,
    stderr_bytes=1 << 18,
    disk_bytes=1 << 24,
    files=256,
    open_files=64,
    host_calls=1_000_000,
)

_DEFAULT = Rule(
    RuleId("default"), RuleKind.DEFAULT, "", "nothing is allowed that no rule allows", "add a rule"
)
_NO_NETWORK = Rule(RuleId("no-network"), RuleKind.DENY, "permissions.network", "no network", "")


def module(fields: str = START) -> bytes:
    """Assemble a module from the fields of its text."""
    return bytes(wasmtime.wat2wasm(f"(module {fields})"))


def imported(name: str, signature: str = "", from_module: str = P1) -> str:
    """Text of one imported function."""
    return f'(import "{from_module}" "{name}" (func {signature}))'


def mounts(rights: Right) -> tuple[tuple[Mount, ...], PathAutomaton]:
    """One mount whose every path has `rights`."""
    classes = (PathClass(0, (0,) * 7), PathClass(int(rights), (0,) * 7))
    automaton = PathAutomaton(states=((0, 0, 0, 0, 2), (0, 0, 1, 1, 3)), edges=(), classes=classes)
    mount = Mount(guest="/in", host="/srv/in", scratch="", start=1, is_split=False, is_mutable=True)
    return (mount,), automaton


def plan(rights: Right = NONE, *, limits: Limits = LIMITS, **changes: object) -> Plan:
    """A plan that grants `rights` in one mount, or has no mounts."""
    found, automaton = (
        mounts(rights) if rights else ((), PathAutomaton(((0, 0, 0, 0, 2),), (), (PathClass(0, (0,) * 7),)))
    )
    base = Plan(
        name="test",
        policy_digest="sha256:0",
        plan_digest="sha256:1",
        mode=Mode.ENFORCE,
        match_digests=(),
        match_names=(),
        match_tenants=(),
        match_signers=(),
        rules=(_DEFAULT, _NO_NETWORK),
        denied_calls=(("sock_accept", 1),),
        mounts=found,
        automaton=automaton,
        temporal=(),
        network=NetworkPlan(),
        nn=NnPlan(),
        environment=(),
        args=(),
        is_extra_args_allowed=True,
        stdio=Stdio(),
        clocks=Clocks(),
        random=Random(),
        limits=limits,
        runtime=Runtime(),
        audit=Audit(),
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # the fields a test names are its own business
