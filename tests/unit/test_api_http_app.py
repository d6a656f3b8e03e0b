from __future__ import annotations

import json

import pytest
from pydantic import BaseModel
from structlog.testing import capture_logs

from api.http import audit_examples, audit_models, audit_views, examples, views
from api.http.access import OPEN, PERMISSIONS
from api.http.models import RunRequest
from api.http.problems import KINDS, ProblemView
from audit.columns import SCHEMA
from audit.errors import QueryError
from policy.access import PERMISSIONS as ALL_PERMISSIONS
from tests.http_service import open_api


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with open_api(tmp_path_factory.mktemp("home")) as found:
        yield found


def operations(api):
    for path, item in api.app.openapi()["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def test_the_document_is_the_one_that_was_read_and_accepted(api, golden):
    answer = api.client.get("/v1/openapi.json")
    assert answer.status_code == 200
    golden("openapi.json", json.dumps(answer.json(), indent=1, sort_keys=True) + "\n")


def test_each_operation_is_named_summarised_and_has_an_example(api):
    ids = [operation["operationId"] for _, _, operation in operations(api)]
    assert len(ids) == len(set(ids)) == 41
    for _, path, operation in operations(api):
        assert operation["summary"]
        assert operation["description"]
        good = next(answer for status, answer in operation["responses"].items() if status.startswith("2"))
        kind, content = next(iter(good["content"].items()))
        assert kind == "application/octet-stream" or content["example"], path


def test_each_operation_has_a_permission_and_nothing_else_has_one(api):
    assert {operation["operationId"] for _, _, operation in operations(api)} == set(PERMISSIONS)
    assert {name for name in PERMISSIONS.values() if name != OPEN} <= {*ALL_PERMISSIONS, "executions"}


def test_each_operation_but_health_asks_for_the_key_and_each_error_is_a_problem(api):
    for _, path, operation in operations(api):
        assert operation.get("security") == ([] if path == "/v1/health" else None)
        for status, answer in operation["responses"].items():
            if not status.startswith("2"):
                assert list(answer["content"]) == ["application/problem+json"], path


@pytest.mark.parametrize(
    ("model", "example"),
    [
        (views.HealthView, examples.HEALTH),
        (views.ModuleView, examples.MODULE),
        (views.ModulesView, examples.MODULES),
        (views.InspectedModuleView, examples.INSPECTED),
        (views.PoliciesView, examples.POLICIES),
        (views.PolicyView, examples.POLICY),
        (views.CheckView, examples.CHECKED),
        (views.ExecutionView, examples.EXECUTION),
        (views.ExecutionView, examples.RUNNING),
        (views.ExecutionsView, examples.EXECUTIONS),
        (views.StatsView, examples.STATS),
        (RunRequest, examples.RUN_REQUEST),
        (audit_views.EventsView, audit_examples.EVENTS),
        (audit_views.AuditExecutionsView, audit_examples.EXECUTIONS),
        (audit_views.AuditExecutionTotalsView, audit_examples.EXECUTION),
        (audit_views.TargetsView, audit_examples.FILES),
        (audit_views.TargetsView, audit_examples.CONNECTIONS),
        (audit_models.AggregateRequest, audit_examples.AGGREGATE_REQUEST),
        (audit_views.GroupsView, audit_examples.AGGREGATE),
        (audit_models.ExportRequest, audit_examples.EXPORT_REQUEST),
        (audit_views.ExportView, audit_examples.EXPORT_GOING),
        (audit_views.ExportView, audit_examples.EXPORT),
        (audit_views.ExportsView, audit_examples.EXPORTS),
        (audit_views.ConsistencyView, audit_examples.CONSISTENCY),
        (audit_views.RecordProofView, audit_examples.RECORD_PROOF),
        (audit_models.VerifyRequest, audit_examples.VERIFY_REQUEST),
        (audit_models.HashRequest, audit_examples.HASH_REQUEST),
        (audit_views.HashView, audit_examples.HASH),
        (audit_views.StatusView, audit_examples.STATUS),
        (audit_views.ControlEventsView, audit_examples.CONTROL),
    ],
)
def test_examples_follow_their_models(model: type[BaseModel], example):
    model.model_validate_json(json.dumps(example))


def test_a_record_is_shown_by_the_columns_of_the_log():
    assert list(views.RecordView.model_fields) == SCHEMA.names


def test_there_is_no_page_that_loads_anything(api):
    for path in ("/docs", "/redoc", "/openapi.json", "/v1/docs"):
        assert api.client.get(path).status_code == 404


def test_unknown_paths_and_methods_are_problems(api):
    answer = api.client.get("/v1/nothing")
    assert answer.status_code == 404
    assert ProblemView.model_validate_json(answer.content).type == "urn:wasmgate:problem:not-found"
    answer = api.client.delete("/v1/modules")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, POST, PUT"
    assert ProblemView.model_validate_json(answer.content).type == "urn:wasmgate:problem:method-not-allowed"
    assert api.client.delete("/v1/openapi.json").headers["allow"] == "GET, HEAD"


def test_an_error_of_ours_is_a_500_without_a_trace_and_its_id_is_in_the_log(api, monkeypatch):
    def fail():
        raise RuntimeError("secret detail")

    monkeypatch.setattr(api.service.modules, "list", fail)
    with capture_logs() as lines:
        answer = api.client.get("/v1/modules")
    assert answer.status_code == 500
    problem = ProblemView.model_validate_json(answer.content)
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    failed = [line for line in lines if line["event"] == "request failed"]
    assert [line["request_id"] for line in failed] == [problem.request_id] == [answer.headers["x-request-id"]]
    assert "secret detail" in str(failed[0]["exc_info"])


def test_a_log_that_cannot_be_read_is_a_503(api, monkeypatch):
    def fail(_wanted):
        raise QueryError("/secret/place is damaged")

    monkeypatch.setattr(api.service, "records", fail)
    answer = api.client.get("/v1/audit/events")
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:wasmgate:problem:unavailable"
    assert "secret" not in answer.text


def test_requests_are_logged_by_route_without_query_path_or_key(api):
    with capture_logs() as lines:
        api.client.get("/v1/modules/sha256:" + "0" * 64, params={"policy": "visible-name"})
        api.client.get("/v1/visible-name")
    requests = [line for line in lines if line["event"] == "request"]
    assert [(line["method"], line["route"], line["status"]) for line in requests] == [
        ("GET", "/v1/modules/{digest}", 404),
        ("GET", "none", 404),
    ]
    assert all(line["ms"] >= 0 and line["request_id"] for line in requests)
    assert "visible-name" not in repr(lines)
    assert api.key not in repr(lines)


def test_kinds_of_problems_are_told_by_name_and_have_a_sentence():
    assert all(400 <= kind.status <= 599 and kind.title for kind in KINDS.values())
