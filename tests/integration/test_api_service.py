"""The composition root: several threads run modules through one service, and all of it is on record."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from api.run_bounds import BusyError
from api.service import Service
from api.settings import load_settings
from audit.filters import RecordFilter
from audit.receipt import OutcomeKind
from sandbox.runner import Order
from tests.commands import SPINNING, guest, printing

POLICY = b"version: 1\nmetadata: {name: test}\nresources: {limits: {timeout: 20s, cpu: 20s}}\n"


@pytest.fixture
def settings(tmp_path: Path):
    variables = {
        "WASMGATE_MAX_CONCURRENT_RUNS": "2",
        "WASMGATE_MAX_TENANT_RUNS": "2",
        "WASMGATE_MAX_TENANT_WAITING_RUNS": "10",
        "WASMGATE_MAX_WAIT_S": "30",
    }
    return load_settings(variables, home=tmp_path / "home")


def test_threads_share_a_service(settings):
    with Service(settings) as service:
        plan = service.policies.plan_inline(POLICY)
        digest = service.modules.put(printing(b"hello"), name="hello.wasm")
        module = service.modules.get(digest)

        def run(_number):
            return service.run(Order(plan=plan, module=module, module_name="hello.wasm"))

        with ThreadPoolExecutor(4) as pool:
            done = list(pool.map(run, range(8)))
        assert all(each.receipt.outcome.exit_code == 0 for each in done)
        assert {service.outputs.get(each.receipt.execution_id, "stdout") for each in done} == {b"hello"}
        assert len(service.records(RecordFilter()).rows) == 8
        assert service.seal()
        assert service.stats(RecordFilter()).calls == {"fd_write": {"allow": 8}}
        assert service.receipt(done[0].receipt.execution_id) == done[0].receipt
        assert len(service.executions(limit=20)) == 8
    assert not list((settings.audit_dir / "wal").glob("*.wal"))
    assert settings.home.stat().st_mode & 0o777 == 0o700


def test_a_run_can_be_cancelled_and_further_ones_wait(settings):
    settings = settings.model_copy(update={"max_wait_s": 1})
    running = threading.Barrier(3)
    with Service(settings) as service:
        plan = service.policies.plan_inline(POLICY)
        module = printing(b"up", then=SPINNING)

        def on_stdout(_chunk: bytes, /) -> None:
            running.wait(30)

        def run():
            return service.run(Order(plan=plan, module=module, module_name="m", on_stdout=on_stdout))

        with ThreadPoolExecutor(2) as pool:
            two = [pool.submit(run) for _ in range(2)]
            running.wait(30)
            waited = service.run(Order(plan=plan, module=module, module_name="m")).receipt
            assert (waited.outcome.kind, waited.outcome.limit) == (OutcomeKind.REFUSED, "wait")
            assert waited.resources.waited_ms >= 1_000
            assert service.receipt(waited.execution_id) == waited
            assert not service.cancel("01a20490-d053-754d-9ff7-0772ed2a8a2b")
            for exec_id in service.running:
                assert service.cancel(exec_id)
            for each in two:
                assert each.result(30).receipt.outcome.kind is OutcomeKind.KILLED
        assert service.running == ()


def test_a_service_that_is_closed_runs_nothing_more(settings):
    with Service(settings) as service:
        order = Order(plan=service.policies.plan_inline(POLICY), module=printing(b"x"), module_name="m")
        assert service.run(order).receipt.outcome.exit_code == 0
        service.cancel_all()
        with pytest.raises(BusyError):
            service.run(order)


def test_a_brief_service_leaves_its_log_to_the_next_reader(settings):
    with Service(settings, is_brief=True) as service:
        plan = service.policies.plan_inline(POLICY)
        service.run(Order(plan=plan, module=guest("unreachable"), module_name="m"))
    (left,) = (settings.audit_dir / "wal").glob("*.wal")
    with Service(settings) as service:
        assert not left.exists()
        (execution,) = service.executions(limit=5)
        assert execution.receipt is not None
        assert execution.receipt.outcome.kind is OutcomeKind.TRAPPED
