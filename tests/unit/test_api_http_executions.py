from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from api.http.problems import ProblemView
from tests.http_service import (
    HOSTILE,
    POLICY,
    WASM,
    busy_guest,
    echo_guest,
    encoded,
    endless_guest,
    hostile_guest,
    open_api,
)
from tests.modules import module

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with open_api(
        tmp_path_factory.mktemp("home"), max_concurrent_runs="2", max_tenant_runs="2", max_waiting_runs="1"
    ) as found:
        yield found


def post(api, body, **headers):
    content = body if isinstance(body, bytes | str) else json.dumps(body)
    return api.client.post("/v1/executions", content=content, headers={**JSON, **headers})


def wait_until_done(api, path):
    until = time.monotonic() + 30
    while time.monotonic() < until:
        found = api.client.get(path).json()
        if found["status"] == "done":
            return found
    raise AssertionError("still running")


def test_a_run_is_answered_with_its_receipt_when_it_is_over(api):
    digest = api.upload(hostile_guest())
    answer = post(api, {"module": digest, "policy_document": POLICY, "name": "cleaner.wasm"})
    assert answer.status_code == 201
    found = answer.json()
    receipt = found["receipt"]
    assert receipt["outcome"]["kind"] == "exited"
    assert receipt["module"] == {"digest": digest, "name": "cleaner.wasm"}
    assert receipt["policy"]["name"] == "inline"
    assert answer.headers["location"] == found["links"]["self"]
    assert api.client.get(found["links"]["self"]).json() == found
    assert receipt == json.loads(api.service.receipt(found["execution_id"]).to_json()) | {
        "gaps": [],
        "unenforced": [],
        "isolation": "confined",
        "network": None,
        "determinism_digest": "",
    }


def test_an_inline_policy_may_be_a_json_object(api):
    body = {"module": api.upload(module()), "policy_document": {"version": 1, "metadata": {"name": "inline"}}}
    answer = post(api, body)
    assert answer.status_code == 201
    assert answer.json()["receipt"]["policy"]["name"] == "inline"
    body["policy_document"] = {"version": 2, "metadata": {"name": "inline"}}
    assert post(api, body).status_code == 422


def test_a_stored_policy_is_used_by_name(api):
    found = api.run(hostile_guest(), policy="stored")
    assert found["policy"]["name"] == "stored"
    assert found["receipt"]["outcome"]["kind"] == "exited"


def test_output_is_handed_out_as_bytes_to_keep_and_never_as_a_page(api):
    found = api.run(hostile_guest())
    for stream in ("stdout", "stderr"):
        answer = api.client.get(found["links"][stream])
        assert answer.content == HOSTILE.encode()
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-disposition"].startswith("attachment")


def test_text_of_a_guest_is_harmless_in_records_and_receipts(api):
    found = api.run(hostile_guest())
    for link in ("self", "events"):
        answer = api.client.get(found["links"][link])
        assert answer.headers["content-type"] == "application/json"
        for piece in (b"<", b">", b"\x1b", "\u202e".encode(), b"\r"):
            assert piece not in answer.content
    records = api.client.get(found["links"]["events"]).json()["events"]
    assert [each["call"].rpartition(".")[2] for each in records] == ["path_open", "fd_write", "fd_write"]
    assert HOSTILE in records[0]["guest_target"] or HOSTILE in records[0]["target"]


def test_arguments_and_input_reach_the_guest(api):
    found = api.run(echo_guest(), stdin=encoded(b"\0hello\xff"), args=["--x", "\u202e\n"])
    assert api.client.get(found["links"]["stdout"]).content == b"\0hello\xff"
    assert found["receipt"]["outcome"]["kind"] == "exited"


def test_input_that_the_policy_does_not_grant_is_refused(api):
    digest = api.upload(echo_guest())
    body = {
        "module": digest,
        "policy_document": POLICY.replace("stdin: caller, ", ""),
        "stdin": encoded(b"x"),
    }
    answer = post(api, body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "stdin"
    assert post(api, body | {"stdin": ""}).status_code == 201


def test_a_module_that_is_refused_is_an_execution_whose_outcome_says_so(api):
    found = api.run(b"no module at all")
    assert found["status"] == "done"
    assert found["receipt"]["outcome"]["kind"] == "refused"
    assert "_start" not in found["receipt"]["outcome"]["message"]
    assert api.run(module('(func (export "go"))'), invoke="go")["receipt"]["outcome"]["kind"] == "exited"


def test_a_policy_with_errors_is_told_in_full_and_nothing_is_on_record(api):
    before = api.client.get("/v1/executions").json()
    answer = post(
        api,
        {
            "module": api.upload(hostile_guest()),
            "policy_document": "version: 1\nmetadata: {nam: <b>}\nx: y\n",
        },
    )
    assert answer.status_code == 422
    problem = ProblemView.model_validate_json(answer.content)
    assert problem.type == "urn:wasmgate:problem:policy-invalid"
    assert len(problem.errors) >= 2
    assert all(each.line and each.column for each in problem.errors)
    assert b"<" not in answer.content
    assert api.client.get("/v1/executions").json() == before


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, 201),
        ({"module": "sha256:" + "0" * 64}, 404),
        ({"module": "../x"}, 422),
        ({"policy": "stored"}, 422),
        ({"policy_document": None}, 409),
        ({"tenant": "acme"}, 201),
        ({"tenant": "../x"}, 422),
        ({"tenant": None}, 422),
        ({"policy_document": None, "policy": "none"}, 404),
        ({"policy_document": None, "policy": "../key"}, 422),
        ({"policy_document": None, "policy": "stored"}, 201),
        ({"args": "x"}, 422),
        ({"args": ["a\0b"]}, 422),
        ({"args": ["x"] * 256}, 201),
        ({"args": ["x"] * 257}, 422),
        ({"args": ["x" * 4_096]}, 201),
        ({"args": ["x" * 4_097]}, 422),
        ({"args": ["é" * 4_096] * 20}, 422),
        ({"args": [1]}, 422),
        ({"stdin": "%%%"}, 422),
        ({"stdin": "YQ"}, 422),
        ({"stdin": "YQ=="}, 201),
        ({"wait": "yes"}, 422),
        ({"wait": 1}, 422),
        ({"wait": None}, 422),
        ({"invoke": ""}, 422),
        ({"name": "a/b"}, 422),
        ({"unknown": 1}, 422),
    ],
)
def test_each_field_is_taken_as_what_it_is_or_refused(api, change, status):
    body = {"module": api.upload(module()), "policy_document": POLICY, **change}
    answer = post(api, body)
    assert answer.status_code == status, answer.text
    if status >= 400:
        ProblemView.model_validate_json(answer.content)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"null", b"[]", b'"x"', b"\xff\xfe", b"{}", b"[" * 100_000, b'{"a":' * 100_000, b'{"module": "\\ud800"}',
        b'{"module": NaN}', b'{"args": [' + b"1," * 100_000 + b"1]}", b'{"module": 1' + b"0" * 5_000 + b"}",
    ],
)  # fmt: skip
def test_a_body_that_makes_no_sense_is_a_problem(api, body):
    answer = post(api, body)
    assert answer.status_code == 422
    problem = ProblemView.model_validate_json(answer.content)
    assert 1 <= len(problem.errors) <= 100


def test_a_body_that_is_too_large_or_of_another_type_is_refused(api):
    assert post(api, b" " * ((8 << 20) + 1)).status_code == 413
    assert api.client.post("/v1/executions", content=b"{}", headers=WASM).status_code == 415


@pytest.mark.parametrize("how", ["field", "header"])
def test_a_run_that_nobody_waits_for_is_answered_at_once_and_can_be_cancelled(api, how):
    body = {"module": api.upload(endless_guest()), "policy_document": POLICY, "wait": how == "header"}
    answer = post(api, body, **({"Prefer": "foo; a=b, Respond-Async"} if how == "header" else {}))
    assert answer.status_code == 202
    found = answer.json()
    path = answer.headers["location"]
    assert (found["status"], found["receipt"], found["links"]["self"]) == ("running", None, path)
    assert api.client.get(path).json()["status"] == "running"
    assert found["execution_id"] in [
        each["execution_id"] for each in api.client.get("/v1/executions").json()["executions"]
    ]
    assert api.client.get(found["links"]["stdout"]).status_code == 409
    cancelled = api.client.delete(path)
    assert cancelled.status_code == 202
    done = wait_until_done(api, path)
    assert done["receipt"]["outcome"]["kind"] == "killed"
    assert api.client.get(found["links"]["stdout"]).status_code == 200
    again = api.client.delete(path)
    assert again.status_code == 409
    assert again.json()["type"] == "urn:wasmgate:problem:not-running"
    assert api.client.get(path).json() == done


def test_as_many_runs_as_allowed_go_on_and_one_more_is_told_to_come_back(api):
    body = {"module": api.upload(endless_guest()), "policy_document": POLICY, "wait": False}
    paths = [post(api, body).headers["location"] for _ in range(3)]
    assert [api.client.get(path).json()["status"] for path in paths] == ["running", "running", "waiting"]
    count = len(api.client.get("/v1/executions").json()["executions"])
    answer = post(api, body)
    assert answer.status_code == 429
    assert ProblemView.model_validate_json(answer.content).type == "urn:wasmgate:problem:too-many-runs"
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert len(api.client.get("/v1/executions").json()["executions"]) == count
    for path in paths:
        assert api.client.delete(path).status_code == 202
    for path in paths:
        wait_until_done(api, path)
    assert api.run(module())["status"] == "done"


@pytest.mark.parametrize("part", ["", "/stdout", "/stderr"])
@pytest.mark.parametrize(
    "name", ["01999999-0000-7000-8000-000000000000", "..%2f..%2fkey.json", "x", "%00", "A" * 36]
)
def test_an_execution_that_is_not_there_is_not_found(api, name, part):
    assert api.client.get(f"/v1/executions/{name}{part}").status_code in {404, 422}
    assert api.client.delete(f"/v1/executions/{name}").status_code in {404, 422}


def test_executions_are_listed_newest_first_each_once(api):
    for _ in range(3):
        api.run(module())
    whole = api.client.get("/v1/executions", params={"limit": 1_000}).json()
    assert whole["next"] is None
    times = [each["started_at"] for each in whole["executions"]]
    assert times == sorted(times, reverse=True)
    seen, cursor = [], None
    while True:
        page = api.client.get(
            "/v1/executions", params={"limit": 2} | ({"cursor": cursor} if cursor else {})
        ).json()
        seen += page["executions"]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == whole["executions"]


def test_executions_are_found_by_module(api):
    digest = api.run(module('(func (export "_start")) (func (export "mine"))'), name="mine.wasm")["module"][
        "digest"
    ]
    for wanted in (digest, "mine.wasm"):
        found = api.client.get("/v1/executions", params={"module": wanted}).json()["executions"]
        assert [each["module"]["digest"] for each in found] == [digest]
    assert api.client.get("/v1/executions", params={"module": "other"}).json()["executions"] == []


def test_a_cursor_of_another_query_or_of_nobody_is_refused(api):
    for _ in range(2):
        api.run(module())
    cursor = api.client.get("/v1/executions", params={"limit": 1}).json()["next"]
    assert api.client.get("/v1/executions", params={"cursor": cursor}).status_code == 200
    for params in (
        {"cursor": cursor, "module": "x"},
        {"cursor": "x"},
        {"cursor": "é"},
        {"cursor": cursor[:-3]},
        {"cursor": "W10"},
    ):
        answer = api.client.get("/v1/executions", params=params)
        assert answer.status_code == 400
        assert answer.json()["type"] == "urn:wasmgate:problem:bad-filter"


def test_the_records_of_an_execution_are_dense_whichever_way_they_are_read(api):
    found = api.run(busy_guest(250))
    path = found["links"]["events"]
    whole = api.client.get(path, params={"limit": 10_000}).json()["events"]
    assert [each["seq"] for each in whole] == list(range(250))
    assert found["receipt"]["records"] == 250
    for way in ("cursor", "after_seq"):
        seen, params = [], {"limit": 60}
        while True:
            page = api.client.get(path, params=params).json()
            seen += page["events"]
            if page["next"] is None:
                break
            params = {"limit": 60, way: page["next"] if way == "cursor" else page["events"][-1]["seq"]}
        assert seen == whole
    assert api.client.get(path, params={"after_seq": 249}).json() == {"events": [], "next": None}
    assert len(api.client.get(path, params={"after_seq": -1}).json()["events"]) == 100
    assert api.client.get(path, params={"after_seq": 1, "cursor": "x"}).status_code == 400
    assert api.client.get(path, params={"after_seq": -2}).status_code == 422


BOUND = (
    "g, *.wasm, all\np, acme, all, stored, allow\np, twice, all, stored, allow\np, twice, all, other, allow\n"
)


def bind(home: Path) -> None:
    folder = home / "policies/resolution"
    folder.mkdir()
    shipped = Path(__file__).resolve().parents[2] / "policies/resolution/model.conf"
    (folder / "model.conf").write_text(shipped.read_text())
    (folder / "bindings.csv").write_text(BOUND)


def test_without_a_policy_the_bindings_say_which_one_governs(tmp_path):
    with open_api(tmp_path) as found:
        bind(found.home)
        body = {"module": found.upload(echo_guest()), "tenant": "acme"}
        done = found.client.post("/v1/executions", json=body)
        assert (done.status_code, done.json()["tenant"]) == (201, "acme")
        assert done.json()["receipt"]["policy"]["name"] == "stored"
        assert done.json()["receipt"]["tenant"] == "acme"
        records = found.client.get(done.json()["links"]["events"]).json()["events"]
        assert {record["tenant_id"] for record in records} == {"acme"}
        for tenant, words in (("initech", "no binding allows one"), ("twice", "ambiguous")):
            refused = found.client.post("/v1/executions", json={**body, "tenant": tenant})
            assert (refused.status_code, refused.json()["type"]) == (409, "urn:wasmgate:problem:ungoverned")
            assert words in refused.json()["detail"]
            assert refused.json()["errors"]
        assert len(found.client.get("/v1/executions").json()["executions"]) == 1


def test_a_boundary_of_the_service_holds_for_what_is_sent_too(tmp_path):
    boundary = "version: 1\nkind: Boundary\nmetadata: {name: top}\nmatch: {tenant: [acme]}\nceiling: {limits: {memory: 8Mi}}\n"
    with open_api(tmp_path) as found:
        (found.home / "policies/top.yaml").write_text(boundary)
        body = {"module": found.upload(echo_guest()), "policy_document": POLICY}
        assert found.client.post("/v1/executions", json={**body, "tenant": "acme"}).status_code == 422
        (found.home / "policies/top.yaml").write_text(boundary.replace("memory", "memry"))
        broken = found.client.post("/v1/executions", json=body)
        assert (broken.status_code, broken.json()["type"]) == (503, "urn:wasmgate:problem:unavailable")
        assert "top.yaml:5" in broken.json()["detail"]
        assert str(tmp_path) not in broken.text
        (found.home / "policies/top.yaml").unlink()
        assert found.client.post("/v1/executions", json=body).status_code == 201
