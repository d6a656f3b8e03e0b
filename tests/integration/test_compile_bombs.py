"""Modules that are cheap to send and dear to compile: each is refused, on record, and a smaller one runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from audit.receipt import Outcome, OutcomeKind
from policy.plan import Engine, Plan
from sandbox.compiler import CompileLimits, compile_module
from sandbox.engine_config import EngineConfig
from sandbox.refusal import AdmissionRefused, Refusal
from tests import bombs
from tests.runs import Log, exited, policy

ROOM = "memory: 1Gi, table_elements: unlimited"
TIME = "longer than the policy's compile limit of 300 ms"
MEMORY = "takes more than 4096 MiB of memory"


@dataclass(frozen=True, slots=True)
class Bomb:
    """A module by its size: one that is refused and why, and one that runs."""

    make: Callable[[int], bytes]
    size: int
    twin: int
    refused: str = TIME


# What the compiler takes long for: only its limit ends it.
SLOW = [
    Bomb(bombs.functions, 100_000, 1_000),
    Bomb(bombs.nested_blocks, 2_000_000, 20_000),
    Bomb(bombs.nested_loops, 100_000, 300),
    Bomb(bombs.nested_branches, 700_000, 10_000),
    Bomb(bombs.functions_of_locals, 10_000, 20),
    Bomb(bombs.loops_of_locals, 1_000, 1),
    Bomb(bombs.live_values, 1_000_000, 10_000),
    Bomb(bombs.long_function, 700_000, 7_000),
    Bomb(bombs.calls_with_values, 2_000, 1),
    Bomb(bombs.blocks_of_values, 1_000, 2),
    Bomb(bombs.jumps_with_values, 200, 1),
    Bomb(bombs.types, 40_000, 400),
    Bomb(bombs.element_expressions, 3_000_000, 3_000),
    Bomb(bombs.constant, 10_000_000, 10_000),
]
# What admission counts, or the engine as it reads: over at once.
COUNTED = [
    Bomb(bombs.jump_table, 3_000_000, 30_000, "more than the engine takes: `br_table` has 3000000 targets"),
    Bomb(bombs.local_variables, 1_000_000, 10_000, "more than the engine takes: locals exceed maximum"),
    Bomb(
        bombs.element_segments,
        1_000_000,
        10_000,
        "more than the engine takes: element segments count exceeds limit of 100000",
    ),
    Bomb(
        bombs.data_segments,
        1_000_000,
        10_000,
        "more than the engine takes: data segments count exceeds limit of 100000",
    ),
    Bomb(bombs.functions, 1_000_001, 100, "1000001 functions, more than the 1000000"),
    Bomb(bombs.globals_, 1_000_001, 10_000, "1000001 globals, more than the 1000000"),
    Bomb(bombs.types, 100_001, 100, "100001 types, more than the 100000"),
    Bomb(bombs.recursive_types, 100_000, 10_000, "100001 types, more than the 100000"),
    Bomb(bombs.type_groups, 100_000, 10_000, "100001 types, more than the 100000"),
    Bomb(bombs.wide_structs, 300, 3, "bytes of declarations, more than the 4194304"),
    Bomb(bombs.subtypes, 30_000, 300, "bytes of declarations, more than the 4194304"),
    Bomb(bombs.export_name, 1_000_000, 10_000, "1000000 bytes in a name, more than the 100000"),
    Bomb(bombs.export_names, 20_000, 200, "20001 exports, more than the 10000"),
    Bomb(bombs.data, 70_000_000, 700_000, "more than the policy's limit of 67108864"),
    Bomb(bombs.names_of_functions, 70_000_000, 50_000_000, "more than the policy's limit of 67108864"),
]
# What a policy's limits on the module as it starts do not take, whatever it costs.
LIMITED = [
    Bomb(bombs.elements, 10_000_000, 10_000, "10000000 elements, more than the policy's limit of 10000"),
    Bomb(bombs.scattered_data, 1_000_000_000, 10_000_000, "bytes of memory, more than the policy's limit"),
]


def by_name(bomb: Bomb) -> str:
    return f"{bomb.make.__name__} {bomb.size}"


def limits(text: str) -> Plan:
    return policy(f"resources: {{limits: {{{text}}}}}\n")


def refused(log: Log, bomb: Bomb, plan: Plan) -> str:
    receipt = log.run(bomb.make(bomb.size), plan).receipt
    assert (receipt.outcome.kind, receipt.records, receipt.walls) == (OutcomeKind.REFUSED, 0, ())
    message = receipt.outcome.message or ""
    assert message.isprintable()
    return message


def twin(log: Log, bomb: Bomb, plan: Plan) -> Outcome:
    return log.run(bomb.make(bomb.twin), plan).receipt.outcome


@pytest.mark.parametrize("bomb", SLOW, ids=by_name)
def test_what_takes_long_to_compile_is_refused_and_a_smaller_one_runs(shared, bomb):
    assert refused(shared, bomb, limits(f"{ROOM}, compile: 300ms")).endswith(TIME)
    assert twin(shared, bomb, limits(ROOM)) == exited()


@pytest.mark.parametrize("bomb", COUNTED, ids=by_name)
def test_what_has_too_many_of_something_is_refused_and_a_smaller_one_runs(shared, bomb):
    assert bomb.refused in refused(shared, bomb, limits(ROOM))
    assert twin(shared, bomb, limits(ROOM)) == exited()


@pytest.mark.parametrize("bomb", LIMITED, ids=by_name)
def test_what_starts_larger_than_its_policy_allows_is_never_compiled(shared, bomb):
    assert bomb.refused in refused(shared, bomb, policy())
    assert twin(shared, bomb, policy()) == exited()


def test_an_import_with_a_giant_name_is_refused_and_its_name_is_cut(shared):
    giant = refused(shared, Bomb(bombs.import_name, 1_000_000, 0), policy())
    assert "1000000 bytes in a name, more than the 100000" in giant
    long = refused(shared, Bomb(bombs.import_name, 100_000, 0), policy())
    assert "no host function here provides: `wasi_snapshot_preview1.xxx" in long
    assert len(long) < 200


@pytest.mark.parametrize("engine", list(Engine))
@pytest.mark.parametrize(
    "bomb",
    [
        Bomb(bombs.nested_blocks, 300_000, 3_000),
        Bomb(bombs.blocks_of_values, 100, 1),
        Bomb(bombs.element_expressions, 200_000, 1_000),
    ],
    ids=by_name,
)
def test_what_takes_much_memory_to_compile_is_refused(bomb, engine):
    config, bounds = EngineConfig(engine), CompileLimits(60_000, memory_bytes=256 << 20)
    with pytest.raises(AdmissionRefused, match="takes more than 256 MiB of memory") as caught:
        compile_module(bomb.make(bomb.size), config=config, limits=bounds).close()
    assert caught.value.reason is Refusal.COMPILE_MEMORY
    compile_module(bomb.make(bomb.twin), config=config, limits=bounds).close()


@pytest.mark.slow
@pytest.mark.parametrize("bomb", SLOW, ids=by_name)
def test_the_usual_limits_end_each_of_them(shared, bomb):
    """Sizes of ten times, 4 GiB and 10 seconds: each ends in the one or the other."""
    message = refused(
        shared, replace(bomb, size=10 * bomb.size), limits(f"{ROOM}, module: unlimited, compile: 10s")
    )
    ends = (MEMORY, "compile limit of 10000 ms", "that are taken here", "more than the engine takes")
    assert [words for words in ends if words in message], message
