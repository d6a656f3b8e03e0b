"""More runs than there are turns: who waits, who is turned away, and what becomes of both when the service ends."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox.admission import digest_of
from sandbox.cache import ArtifactCache
from sandbox.compile_turns import Cancelled, CompileTurns
from sandbox.compiler import CompileLimits, prepare
from sandbox.engine_config import EngineConfig, engine_key
from tests.http_service import POLICY, ServiceProcess, endless_guest, open_api
from tests.modules import module

TWO = {
    "WASMGATE_MAX_CONCURRENT_RUNS": "2",
    "WASMGATE_MAX_TENANT_RUNS": "2",
    "WASMGATE_MAX_WAITING_RUNS": "4",
    "WASMGATE_MAX_TENANT_WAITING_RUNS": "3",
}
ENDLESS = endless_guest()


def shorter(timeout: str) -> str:
    return POLICY.replace("timeout: 20s", f"timeout: {timeout}")


def start(service: ServiceProcess, *, tenant: str = "default", timeout: str = "20s", wait: bool = False):
    """Ask for a run that ends when its time is up."""
    body = {
        "module": digest_of(ENDLESS),
        "policy_document": shorter(timeout),
        "tenant": tenant,
        "wait": wait,
    }
    return service.ask("POST", "/v1/executions", json.dumps(body).encode(), content_type="application/json")


def started(service: ServiceProcess, **asked) -> str:
    answer = start(service, **asked)
    assert answer.status == 202, answer.body
    return str(answer.headers["location"])


def status(service: ServiceProcess, path: str) -> str:
    return str(service.ask("GET", path).json()["status"])


def until(what, seconds: float = 30):
    """Ask until there is an answer."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come to that")


def receipt(service: ServiceProcess, path: str):
    def done():
        view = service.ask("GET", path).json()
        return view if view["status"] == "done" else None

    return until(done)["receipt"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_a_flood_is_turned_away_and_what_was_taken_is_done(home):
    with ServiceProcess(home, variables=TWO) as service:
        service.upload(ENDLESS)
        with ThreadPoolExecutor(24) as pool:
            asked = [pool.submit(start, service, timeout="200ms", wait=True) for _ in range(24)]
            answers = [each.result(60) for each in asked]
            assert service.ask("GET", "/v1/health").status == 200
        found = Counter(answer.status for answer in answers)
        assert set(found) == {201, 429}
        assert found[201] >= 5  # two that run and three that wait
        for answer in answers:
            if answer.status == 429:
                assert 1 <= int(answer.headers["retry-after"]) <= 60
                assert answer.json()["type"] == "urn:wasmgate:problem:too-many-runs"
            else:
                assert answer.json()["receipt"]["outcome"]["limit"] in {"timeout", "cpu"}
        known = service.ask("GET", "/v1/executions?limit=100").json()["executions"]
        assert len(known) == found[201]  # who was turned away is not on record
        waited = [each["receipt"]["resources"]["waited_ms"] for each in known]
        assert min(waited) < 200 <= max(waited)


def test_a_tenant_that_asks_for_much_does_not_keep_others_waiting(home):
    more = TWO | {"WASMGATE_MAX_WAITING_RUNS": "30", "WASMGATE_MAX_TENANT_WAITING_RUNS": "20"}
    with ServiceProcess(home, variables=more) as service:
        service.upload(ENDLESS)
        many = [started(service, tenant="many", timeout="400ms") for _ in range(12)]
        one = start(service, tenant="one", timeout="400ms", wait=True)
        assert one.status == 201
        left = [path for path in many if status(service, path) == "waiting"]
        assert len(left) >= 6  # of ten that waited before it came
        for path in many:
            receipt(service, path)


def test_who_waits_can_be_cancelled_and_its_guest_never_starts(home):
    with ServiceProcess(home, variables=TWO) as service:
        service.upload(ENDLESS)
        going = [started(service) for _ in range(2)]
        waiting, stays = started(service), started(service)
        assert [status(service, path) for path in (*going, waiting, stays)] == [
            "running",
            "running",
            "waiting",
            "waiting",
        ]
        assert service.ask("GET", f"{waiting}/stdout").status == 409
        assert service.ask("DELETE", waiting).status == 202
        found = receipt(service, waiting)
        assert found["outcome"] == {
            "kind": "killed",
            "exit_code": None,
            "limit": None,
            "message": "cancelled",
        }
        assert (found["records"], found["walls"]) == (0, [])
        assert status(service, stays) == "waiting"
        assert service.ask("DELETE", going[0]).status == 202
        until(lambda: status(service, stays) == "running")
        assert receipt(service, going[0])["records"] > 0


def test_who_waited_too_long_is_given_up_and_the_receipt_says_so(home):
    with ServiceProcess(home, variables=TWO | {"WASMGATE_MAX_WAIT_S": "1"}) as service:
        service.upload(ENDLESS)
        for _ in range(2):
            started(service)
        outcome = receipt(service, started(service))["outcome"]
        assert (outcome["kind"], outcome["limit"]) == ("refused", "wait")


def test_the_queue_shows_each_key_its_own_tenants(tmp_path):
    settings = {name.removeprefix("WASMGATE_").lower(): value for name, value in TWO.items()}
    with open_api(tmp_path, **settings) as api:
        digest = api.upload(ENDLESS)
        for tenant in ("a", "a", "b", "a"):
            body = {"module": digest, "policy_document": POLICY, "tenant": tenant, "wait": False}
            assert api.client.post("/v1/executions", json=body).status_code == 202
        whole = api.client.get("/v1/queue").json()
        assert whole["total"] == {"running": 2, "waiting": 2}
        assert whole["tenants"] == [
            {"tenant": "a", "running": 2, "waiting": 1},
            {"tenant": "b", "running": 0, "waiting": 1},
        ]
        assert whole["bounds"] == {
            "running": 2,
            "running_of_tenant": 2,
            "waiting": 4,
            "waiting_of_tenant": 3,
            "wait_s": 60,
        }
        mine = api.caller("runner", tenants=("b",)).get("/v1/queue").json()
        assert (mine["total"], mine["tenants"]) == (None, [{"tenant": "b", "running": 0, "waiting": 1}])
        assert api.stranger.get("/v1/queue").status_code == 401
        for each in api.client.get("/v1/executions").json()["executions"]:
            api.client.delete(each["links"]["self"])
        until(lambda: api.client.get("/v1/queue").json()["total"] == {"running": 0, "waiting": 0})


# --- the end ----------------------------------------------------------------------------------------------


def outcomes(home: Path, key: str, paths: list[str]):
    """What a service that starts on this home says of executions."""
    with ServiceProcess(home) as service:
        service.key = key
        return [receipt(service, path)["outcome"] for path in paths]


def test_the_end_of_the_service_is_on_record_for_who_ran_and_for_who_waited(home):
    with ServiceProcess(home, variables=TWO) as service:
        service.upload(ENDLESS)
        paths = [started(service) for _ in range(4)]
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(start, service, wait=True)
            until(lambda: service.ask("GET", "/v1/queue").json()["total"]["waiting"] == 3)
            assert service.stop(signal.SIGTERM) == 0
            answer = asked.result(30)  # who waits is answered
        assert answer.status == 201
        assert answer.json()["receipt"]["outcome"]["message"] == "the service ended before its turn came"
        key = service.key
    found = outcomes(home, key, paths)
    assert [each["kind"] for each in found] == ["killed"] * 4
    assert [each["message"] for each in found[2:]] == ["the service ended before its turn came"] * 2
    assert found[0]["message"] == "cancelled"


def test_what_runs_may_end_by_itself_before_the_service_does(home):
    with ServiceProcess(home, variables=TWO) as service:
        service.upload(ENDLESS)
        path = started(service, timeout="200ms")
        until(lambda: status(service, path) == "running")
        assert service.stop(signal.SIGTERM) == 0
        key = service.key
    (outcome,) = outcomes(home, key, [path])
    assert (outcome["kind"], outcome["limit"]) == ("limit", "timeout")  # half a second is given


def test_a_service_that_is_killed_finds_what_ran_and_what_waited(home):
    with ServiceProcess(home, variables=TWO) as service:
        service.upload(ENDLESS)
        paths = [started(service) for _ in range(4)]
        until(lambda: status(service, paths[1]) == "running")
        assert service.stop(signal.SIGKILL) == -signal.SIGKILL
        key = service.key
    found = outcomes(home, key, paths)
    assert [each["kind"] for each in found] == ["killed"] * 4


# --- compilers --------------------------------------------------------------------------------------------


def large(number: int) -> bytes:
    """A module that takes a compiler some time; another one for each number."""
    body = "(local.set $n (i32.mul (local.get $n) (i32.const 7)))" * 3_000
    functions = "".join(f"(func $f{each} (local $n i32) {body})" for each in range(10))
    return module(f'{functions} (func (export "_start") (drop (i32.const {number})))')


def compilers() -> int:
    """How many compilers run, as children of this process."""
    found = 0
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text(encoding="ascii").split():
            try:
                line = Path(f"/proc/{child}/cmdline").read_bytes()
            except OSError:
                continue
            found += b"sandbox.compile_process" in line
    return found


def compile_all(modules: list[bytes], turns: CompileTurns, cache: ArtifactCache | None):
    """Compile them at the same time; gives what came of each, and how many compilers ran at once."""
    config = EngineConfig()
    is_over, most = threading.Event(), 0

    def one(content: bytes) -> bool:
        found = prepare(
            content,
            digest=digest_of(content),
            config=config,
            engine_key=engine_key(config),
            limits=CompileLimits(wall_ms=60_000),
            cache=cache,
            turns=turns,
        )
        found.artifact.close()
        return found.is_cached

    with ThreadPoolExecutor(len(modules)) as pool:
        made = [pool.submit(one, content) for content in modules]
        while not is_over.is_set():
            most = max(most, compilers())
            if all(each.done() for each in made):
                is_over.set()
            time.sleep(0.01)
        return [each.result() for each in made], most


def test_a_module_that_many_ask_for_is_compiled_once(tmp_path):
    with ArtifactCache(tmp_path / "cache") as cache:
        found, most = compile_all([large(0)] * 4, CompileTurns(4), cache)
    assert sorted(found) == [False, True, True, True]
    assert most == 1


@pytest.mark.parametrize("turns", [1, 2])
def test_no_more_compilers_run_than_may(turns, tmp_path):
    with ArtifactCache(tmp_path / "cache") as cache:
        found, most = compile_all([large(number) for number in range(4)], CompileTurns(turns), cache)
    assert found == [False] * 4
    assert most == turns


def test_without_a_cache_each_is_compiled_for_itself():
    found, most = compile_all([large(0)] * 2, CompileTurns(2), None)
    assert found == [False, False]
    assert most == 2


def test_who_waits_for_a_compiler_can_be_cancelled():
    turns, cancelled = CompileTurns(1), threading.Event()
    with turns.turn("one", None), ThreadPoolExecutor(1) as pool:
        assert turns.going == 1

        def wait() -> None:
            with turns.turn("two", cancelled):
                raise AssertionError("there was no turn to be had")

        waiting = pool.submit(wait)
        cancelled.set()
        with pytest.raises(Cancelled):
            waiting.result(30)
    with turns.turn("two", None):
        assert turns.going == 1
    assert turns.going == 0
