"""Each limit against a guest that runs into it, with a twin that stays within; the receipt names the limit."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import pytest

from audit.receipt import OutcomeKind
from tests.runs import FOREVER, HELLO, SLEEP, exited, guest, limit, limits, mount_rule, policy, says

TAIL_CALLS = guest("(return_call $g)", fields="(func $g (return_call $h)) (func $h (return_call $g))")
FILLS = guest("(loop $l (memory.fill (i32.const 0) (i32.const 7) (i32.const 65536)) (br $l))")
YIELDS = guest("(loop $l (drop (call $sched_yield)) (br $l))", uses="sched_yield")
SPINS = guest(FOREVER)
SLEEPS = guest(SLEEP, uses="poll_oneoff")
NAP = guest(SLEEP.replace("3600000000000", "20000000"), uses="poll_oneoff")


def count_to(n: int) -> bytes:
    return guest(
        f"(local i32) (loop $l (br_if $l (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const {n}))))"
    )


# --- time -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [SPINS, SLEEPS, YIELDS], ids=["spins", "sleeps", "calls"])
def test_wall_clock_ends_whatever_the_guest_does(shared, module):
    begun = time.monotonic()
    done = shared.run(module, limits(timeout="50ms", cpu="unlimited", host_calls="unlimited"))
    assert done.receipt.outcome == limit("timeout")
    assert time.monotonic() - begun < 5
    assert 45 <= (done.receipt.resources.wall_ms or 0) < 5_000
    shared.check(done)


def test_a_guest_that_naps_within_its_time_ends_by_itself(shared):
    assert shared.run(NAP, limits(timeout="5s")).receipt.outcome == exited()


def test_a_wait_that_the_wall_clock_ended_is_on_record_as_never_returned(shared):
    (row,) = shared.check(shared.run(SLEEPS, limits(timeout="50ms")))
    assert (row["call"], row["errno"], row["dur_ns"]) == ("wasi_snapshot_preview1.poll_oneoff", -1, -1)


def test_a_standard_input_that_never_ends_is_cut_by_the_wall_clock(shared):
    read = """(i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 8))
      (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))"""
    module = guest(read, uses="fd_read")
    plan = policy("permissions: {stdio: {stdin: caller}}\nresources: {limits: {timeout: 100ms}}\n")
    silent, held = os.pipe()
    try:
        assert shared.run(module, plan, stdin_fd=silent).receipt.outcome == limit("timeout")
        os.write(held, b"line\n")
        assert shared.run(module, plan, stdin_fd=silent).receipt.outcome == exited()
    finally:
        os.close(silent)
        os.close(held)


def test_a_fifo_in_a_mount_holds_a_guest_up_no_longer_than_its_time(shared, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("x")

    def opens(name: bytes) -> bytes:
        body = f"""(call $proc_exit (call $path_open (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const {len(name)})
          (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 512)))"""
        return guest(body, uses="path_open proc_exit", fields=says(name)[1])

    plan = policy(mount_rule(tmp_path, "read, list") + "resources: {limits: {timeout: 300ms}}\n")
    assert shared.run(opens(b"file"), plan).receipt.outcome == exited()
    outcome = shared.run(opens(b"pipe"), plan).receipt.outcome
    assert outcome in (limit("timeout"), exited(76))  # held up in the host, or refused before that


@pytest.mark.parametrize(
    "module", [SPINS, TAIL_CALLS, FILLS, YIELDS], ids=["loop", "tail calls", "fill", "calls"]
)
def test_processor_time_ends_a_guest_that_is_busy(shared, module):
    done = shared.run(module, limits(cpu="20ms", timeout="20s", host_calls="unlimited"))
    assert done.receipt.outcome == limit("cpu")
    shared.check(done)


def test_processor_time_is_not_spent_asleep(shared):
    module = guest(SLEEP.replace("3600000000000", "300000000"), uses="poll_oneoff")
    assert shared.run(module, limits(cpu="100ms", timeout="20s")).receipt.outcome == exited()


@pytest.mark.parametrize(
    "limits_of", [{"cpu": "100ms", "timeout": "20s"}, {"cpu": "unlimited", "timeout": "100ms"}]
)
def test_the_start_section_is_under_the_limits(shared, limits_of):
    module = guest("", fields=f"(func $s {FOREVER}) (start $s)")
    outcome = shared.run(module, limits(**limits_of)).receipt.outcome
    assert outcome == limit("cpu" if limits_of["timeout"] == "20s" else "timeout")


def test_calls_of_the_start_section_are_refused_and_told(shared):
    module = guest("", uses="sched_yield", fields="(func $s (drop (call $sched_yield))) (start $s)")
    receipt = shared.run(module).receipt
    assert (receipt.outcome.kind, receipt.records) == (OutcomeKind.EXITED, 0)
    assert "1 host calls of the module's start section were refused" in (receipt.outcome.message or "")


@pytest.mark.parametrize("limits_of", [{}, {"timeout": "unlimited"}, {"cpu": "unlimited"}])
def test_a_guest_that_ends_needs_no_limit(shared, limits_of):
    assert shared.run(HELLO, limits(**limits_of)).receipt.outcome == exited()


# --- fuel -------------------------------------------------------------------------------------------------


def test_fuel_is_exact_and_the_same_on_each_run(shared):
    module = count_to(1_000)

    def ends(fuel: int) -> bool:
        outcome = shared.run(module, limits(fuel=fuel)).receipt.outcome
        assert outcome in (exited(), limit("fuel"))
        return bool(outcome == exited())

    low, high = 1_000, 20_000
    assert not ends(low)
    assert ends(high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if ends(middle) else (middle, high)
    assert [ends(high), ends(low), ends(high), ends(low)] == [True, False, True, False]


# --- memory, stack, tables --------------------------------------------------------------------------------

GROWS = guest("(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (unreachable)")


def test_memory_that_is_refused_ends_a_guest_that_gives_up(shared):
    done = shared.run(GROWS, limits(memory="2Mi"))
    assert done.receipt.outcome == limit("memory")
    assert done.receipt.resources.peak_memory_bytes == 2 << 20


def test_memory_within_the_limit_is_given(shared):
    module = guest("(if (i32.eq (memory.grow (i32.const 31)) (i32.const -1)) (then (unreachable)))")
    assert shared.run(module, limits(memory="2Mi")).receipt.outcome == exited()
    refused = shared.run(module, limits(memory="1Mi")).receipt.outcome
    assert refused.kind is OutcomeKind.TRAPPED  # it asked for much at once: nobody can tell why it gave up


def test_a_trap_with_a_full_memory_that_has_nothing_to_do_with_it_stays_a_trap(shared):
    module = guest("(drop (i32.div_u (i32.const 1) (i32.const 0)))", memory="32")
    outcome = shared.run(module, limits(memory="2Mi")).receipt.outcome
    assert (outcome.kind, outcome.limit) == (OutcomeKind.TRAPPED, None)
    assert "divide by zero" in (outcome.message or "")


def test_several_memories_share_one_limit(shared):
    module = guest(
        """(loop $a (br_if $a (i32.ne (memory.grow 0 (i32.const 1)) (i32.const -1))))
           (loop $b (br_if $b (i32.ne (memory.grow 1 (i32.const 1)) (i32.const -1))))
           (call $proc_exit (i32.add (memory.size 0) (memory.size 1)))""",
        uses="proc_exit",
        fields="(memory 1)",
    )
    assert shared.run(module, limits(memory="4Mi")).receipt.outcome == exited(64)
    alone = guest(
        """(loop $a (br_if $a (i32.ne (memory.grow 0 (i32.const 1)) (i32.const -1))))
           (call $proc_exit (memory.size 0))""",
        uses="proc_exit",
        fields="(memory 1 2)",
    )
    assert shared.run(alone, limits(memory="4Mi")).receipt.outcome == exited(62)


def test_deep_recursion_meets_the_stack_limit(shared):
    deep = guest(
        "(call $f (i32.const 1000000))",
        fields="(func $f (param i32) (if (local.get 0) (then (call $f (i32.sub (local.get 0) (i32.const 1))))))",
    )
    assert shared.run(deep).receipt.outcome == limit("stack")
    shallow = guest(
        "(call $f (i32.const 5000))",
        fields="(func $f (param i32) (if (local.get 0) (then (call $f (i32.sub (local.get 0) (i32.const 1))))))",
    )
    assert shared.run(shallow).receipt.outcome == exited()
    assert shared.run(shallow, limits(stack="16Ki")).receipt.outcome == limit("stack")
    assert shared.run(deep, limits(stack="4Mi")).receipt.outcome == limit("stack")


def test_tables_do_not_outgrow_their_limit(shared):
    module = guest(
        """(loop $l (br_if $l (i32.ne (table.grow (ref.null func) (i32.const 1)) (i32.const -1))))
           (call $proc_exit (table.size))""",
        uses="proc_exit",
        fields="(table 1 funcref)",
    )
    assert shared.run(module, limits(table_elements=77)).receipt.outcome == exited(77)


@pytest.mark.parametrize(
    ("fields", "limits_of"),
    [
        ("", {"memories": 1, "tables": 0, "instances": 1, "table_elements": 0, "memory": "64Ki"}),
        (
            "(table 5 funcref)",
            {"memories": 1, "tables": 1, "instances": 1, "table_elements": 5, "memory": "64Ki"},
        ),
    ],
)
def test_the_monitor_does_not_use_what_the_guest_is_given(shared, fields, limits_of):
    module = guest(says(b"x")[0], uses="fd_write", fields=says(b"x")[1] + fields)
    assert shared.run(module, limits(**limits_of)).stdout == b"x"


@pytest.mark.parametrize(
    ("module", "limits_of", "reason"),
    [
        (guest("", memory="33"), {"memory": "2Mi"}, "starts with 2162688 bytes of memory"),
        (guest("", fields="(memory 1) (memory 1)"), {"memories": 2}, "3 memories, more than"),
        (guest("", fields="(memory 20)", memory="20"), {"memory": "2Mi"}, "starts with 2621440 bytes"),
        (guest("", fields="(table 11 funcref)"), {"table_elements": 10}, "a table of 11 elements"),
        (guest("", fields="(table 1 funcref) (table 1 funcref)"), {"tables": 1}, "2 tables, more than"),
        (HELLO, {"module": 100}, "more than the policy's limit of 100"),
        (HELLO, {"compile": "1ms"}, "took longer than the policy's compile limit of 1 ms"),
    ],
    ids=["memory", "memories", "memories together", "table", "tables", "module", "compile"],
)
def test_a_module_that_starts_beyond_a_limit_is_refused(shared, module, limits_of, reason):
    plan = limits(**limits_of)
    if "compile" in limits_of:
        plan = replace(plan, runtime=replace(plan.runtime, cache=False))
    receipt = shared.run(module, plan).receipt
    assert receipt.outcome.kind is OutcomeKind.REFUSED
    assert reason in (receipt.outcome.message or "")


# --- output, calls, files ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("fd", "name"), [(1, "stdout"), (2, "stderr")])
def test_output_ends_the_guest_at_its_limit_and_not_before(shared, fd, name):
    body, data = says(b"0123456789", fd=fd)
    endless = guest(f"(loop $l {body} (br $l))", uses="fd_write", fields=data)
    done = shared.run(endless, limits(**{name: 105}))
    assert done.receipt.outcome == limit(name)
    assert getattr(done, name) == b"0123456789" * 10
    rows = shared.check(done)
    assert (len(rows), rows[-1]["decision"], rows[-1]["rule_id"]) == (11, "limit", f"limit.{name}")
    ten = guest(body * 10, uses="fd_write", fields=data)
    assert shared.run(ten, limits(**{name: 100})).receipt.outcome == exited()


def test_host_calls_end_the_guest_at_their_limit(shared):
    done = shared.run(YIELDS, limits(host_calls=50_000))
    assert done.receipt.outcome == limit("host_calls")
    rows = shared.check(done)
    assert (len(rows), rows[-1]["decision"]) == (50_001, "limit")
    five = guest("(drop (call $sched_yield))" * 5, uses="sched_yield")
    assert shared.run(five, limits(host_calls=5)).receipt.outcome == exited()
    assert shared.run(five, limits(host_calls=4)).receipt.outcome == limit("host_calls")


MAKES = guest(
    """(local $n i32) (loop $l
      (i32.store8 (i32.const 1024) (i32.add (i32.const 97) (local.get $n)))
      (if (i32.eqz (call $path_open (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const 1) (i32.const 1)
           (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 512)))
        (then (local.set $n (i32.add (local.get $n) (i32.const 1))) (br_if $l (i32.lt_u (local.get $n) (i32.const 20))))))
      (call $proc_exit (local.get $n))""",
    uses="path_open proc_exit",
)


@pytest.mark.parametrize(("name", "rule"), [("files", "limit.files"), ("open_files", "limit.open_files")])
def test_files_are_counted_and_the_receipt_names_the_limit(shared, tmp_path, name, rule):
    plan = policy(
        mount_rule(tmp_path, "read, list, create, write") + f"resources: {{limits: {{{name}: 7}}}}\n"
    )
    done = shared.run(MAKES, plan)
    assert done.receipt.outcome == exited(7)
    assert [one.rule for one in done.receipt.refusals] == [rule]
    shared.check(done)


def test_the_disk_is_bounded(shared, tmp_path):
    body, data = says(b"x" * 1_000, fd=4)
    module = guest(
        f"""(drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 900) (i32.const 1) (i32.const 1)
             (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 512)))
            {body * 5}""",
        uses="path_open fd_write",
        fields=data + '(data (i32.const 900) "f")',
    )
    plan = policy(mount_rule(tmp_path, "read, list, create, write") + "resources: {limits: {disk: 3500}}\n")
    done = shared.run(module, plan)
    assert (tmp_path / "f").stat().st_size == 3_000
    assert [one.rule for one in done.receipt.refusals] == ["limit.disk"] * 2
    assert done.receipt.resources.bytes_written == 3_000
    shared.check(done)


# --- how fast ---------------------------------------------------------------------------------------------


def test_a_kill_ends_the_run_soon(shared, record_property):
    took = []
    for _ in range(5):
        begun = time.monotonic()
        shared.run(SLEEPS, limits(timeout="1ms"))
        took.append(time.monotonic() - begun)
    record_property("kill_to_end_ms", [round(one * 1_000) for one in took])
    assert min(took) < 3
