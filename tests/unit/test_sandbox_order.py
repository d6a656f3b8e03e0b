"""What follows from an order alone: how memories share a limit, and what a job carries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.plan import Engine
from sandbox.admission import admit
from sandbox.engine_config import MAX_STACK_BYTES, EngineConfig, engine_key
from sandbox.job import Job
from sandbox.order import Order, OrderRefused, check_order, job_of, memory_share, start_of
from sandbox.wasm.shape import PAGE_BYTES, MemoryType
from tests.modules import module, plan

memories = st.lists(
    st.builds(
        lambda low, room: MemoryType(low, None if room is None else low + room),
        st.integers(0, 40),
        st.none() | st.integers(0, 60),
    ),
    max_size=4,
)


def grown(found, share):
    pages = share // PAGE_BYTES
    return [max(m.minimum, pages if m.maximum is None else min(pages, m.maximum)) for m in found]


@given(found=memories, spare=st.integers(0, 100))
def test_memories_that_share_a_limit_stay_within_it_together(found, spare):
    limit = (sum(m.minimum for m in found) + spare) * PAGE_BYTES
    share = memory_share(found, limit)
    if len(found) < 2:
        assert share is None
        return
    assert share is not None
    assert sum(grown(found, share)) * PAGE_BYTES <= limit
    # and no page more could be given to all
    more = sum(grown(found, share + PAGE_BYTES)) * PAGE_BYTES
    assert more > limit or share + PAGE_BYTES > limit


def test_no_limit_is_shared_by_nobody():
    assert memory_share([MemoryType(1, None)] * 3, -1) is None


def test_a_job_comes_out_of_its_file_as_it_went_in():
    made = plan(environment=(("A", "ü\n"),), args=("x",))
    order = Order(plan=made, module=module(), module_name="m.wasm", extra_args=("--", "é"))
    job = job_of(order, admit(order.read_module(), name="m.wasm", plan=made), (("/srv", "/d", True),))
    assert Job.from_json(job.to_json()) == job
    assert job.world.argv == ("m.wasm", "x", "--", "é")


@pytest.mark.parametrize(
    ("asked", "given_bytes"), [(16_384, 16_384), (1 << 40, MAX_STACK_BYTES), (-1, MAX_STACK_BYTES)]
)
def test_the_stack_is_bounded_by_what_a_process_has(asked, given_bytes):
    from dataclasses import replace

    made = plan()
    assert (
        EngineConfig.of(replace(made, limits=replace(made.limits, stack_bytes=asked))).stack_bytes
        == given_bytes
    )


def test_engines_that_cannot_load_each_others_artifacts_have_names_of_their_own():
    keys = {engine_key(EngineConfig(engine, has_fuel)) for engine in Engine for has_fuel in (False, True)}
    assert len(keys) == 4
    assert engine_key(EngineConfig(stack_bytes=1)) == engine_key(EngineConfig(stack_bytes=2))


def order_of(**changes):
    return Order(plan=plan(**changes), module=module(), module_name="m.wasm")


def test_a_plan_for_study_does_not_run():
    with pytest.raises(OrderRefused, match=r"for study .*\(rules\[0\], b: anchors\)"):
        check_order(order_of(may_run=False, unenforced=("rules[0]", "b: anchors")))
    with pytest.raises(OrderRefused, match="no policy for a module"):
        check_order(order_of(may_run=False))


def test_a_plan_that_accepts_what_is_not_enforced_runs_and_says_so():
    order = order_of(unenforced=("rules[0]",))
    check_order(order)
    assert start_of(order, 0).unenforced == ("rules[0]",)
    assert start_of(order_of(), 0).unenforced == ()


def test_a_plan_with_a_name_that_nobody_filled_does_not_run():
    with pytest.raises(OrderRefused, match=r"\$\{run.id\}, \$\{tenant\}, which is not known"):
        check_order(order_of(open_names=("run.id", "tenant")))
    check_order(order_of(open_names=()))
