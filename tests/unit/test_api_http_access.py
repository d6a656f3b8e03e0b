"""Who reaches what: each role at each operation, and what a key of one tenant can try to see of another."""

from __future__ import annotations

import pytest

from tests.http_service import hostile_guest, open_api

_EXPORT = {"form": "ndjson", "filter": {}}
ROUTES = {
    "read": [
        ("GET", "/v1/audit/events"), ("GET", "/v1/audit/stats"), ("GET", "/v1/audit/executions"),
        ("GET", "/v1/audit/executions/{mine}"), ("GET", "/v1/audit/executions/{mine}/events"),
        ("GET", "/v1/audit/executions/{mine}/files"), ("GET", "/v1/audit/executions/{mine}/connections"),
        ("POST", "/v1/audit/aggregate"),
    ],
    "export": [("POST", "/v1/audit/exports"), ("GET", "/v1/audit/exports"), ("GET", "/v1/audit/exports/{mine}"),
               ("GET", "/v1/audit/exports/{mine}/file")],
    "control": [("GET", "/v1/audit/control")],
    "proof": [("GET", "/v1/audit/checkpoint"), ("GET", "/v1/audit/tile/0/000"),
              ("GET", "/v1/audit/proof/inclusion?exec={mine}&seq=0"),
              ("GET", "/v1/audit/proof/consistency?first=0")],
    "entries": [("GET", "/v1/audit/tile/entries/000")],
    "verify": [("POST", "/v1/audit/verify")],
    "hash": [("POST", "/v1/audit/hash")],
    "status": [("GET", "/v1/audit/status")],
    "modules": [("GET", "/v1/modules"), ("POST", "/v1/modules"), ("PUT", "/v1/modules"),
                ("GET", "/v1/modules/{digest}")],
    "policies": [("GET", "/v1/policies"), ("GET", "/v1/policies/stored"), ("POST", "/v1/policies/check")],
    "run": [("POST", "/v1/executions"), ("DELETE", "/v1/executions/{mine}")],
    "executions": [("GET", "/v1/executions"), ("GET", "/v1/executions/{mine}")],
    "output": [("GET", "/v1/executions/{mine}/stdout"), ("GET", "/v1/executions/{mine}/stderr")],
}  # fmt: skip
MAY = {
    "operator": set(ROUTES),
    "auditor": {"read", "control", "proof", "entries", "verify", "hash", "status", "policies", "executions"},
    "tenant-auditor": {"read", "control", "proof", "verify", "hash", "executions"},
    "exporter": set[str](),  # takes away what it may read: nothing
    "runner": {"modules", "policies", "run", "output", "executions"},
    "nobody": set[str](),
}


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with open_api(tmp_path_factory.mktemp("home")) as found:
        found.mine = found.run(hostile_guest("/mine"), tenant="acme")["execution_id"]
        found.theirs = found.run(hostile_guest("/theirs"), tenant="globex")["execution_id"]
        yield found


def ask(api, client, method, path):
    path = path.format(mine=api.mine, digest="sha256:" + "0" * 64)
    body = {"execution": api.mine} if path.endswith("/verify") else {}
    return client.request(method, path, json=body if method in {"POST", "PUT"} else None)


@pytest.mark.parametrize("role", MAY)
def test_each_role_gets_to_what_it_may_do_and_to_nothing_else(api, role):
    tenants = ("acme",) if role == "tenant-auditor" else ()
    client = api.caller(role, tenants=tenants)
    for permission, routes in ROUTES.items():
        for method, path in routes:
            status = ask(api, client, method, path).status_code
            assert (status == 403) == (permission not in MAY[role]), (role, method, path, status)
            assert status != 500


def test_every_operation_is_in_that_table(api):
    known = {
        (method, path.partition("?")[0].replace("{mine}", "{execution_id}"))
        for routes in ROUTES.values()
        for method, path in routes
    }
    assert len(known) >= len(api.app.openapi()["paths"]) - 3  # health, the tail, which does not end


def test_a_refusal_is_a_problem_that_says_which_permission_is_missing(api):
    answer = api.caller("runner").get("/v1/audit/events")
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:wasmgate:problem:forbidden")
    assert "`read`" in answer.json()["detail"]


def test_roles_add_up_and_a_tenant_auditor_without_a_tenant_sees_nothing(api):
    assert api.caller("tenant-auditor").get("/v1/audit/events").status_code == 403
    both = api.caller("tenant-auditor", "exporter", tenants=("acme",))
    assert both.post("/v1/audit/exports", json=_EXPORT).status_code == 202
    assert both.get("/v1/audit/status").status_code == 403


def test_an_exporter_takes_away_what_its_other_role_may_read_and_nothing_alone(api):
    for tenants in ((), ("acme",)):
        alone = api.caller("exporter", tenants=tenants)
        answer = alone.post("/v1/audit/exports", json=_EXPORT)
        assert (answer.status_code, "`read`" in answer.json()["detail"]) == (403, True)
    assert api.caller("exporter", "runner").post("/v1/audit/exports", json=_EXPORT).status_code == 403
    assert api.caller("exporter", "auditor").post("/v1/audit/exports", json=_EXPORT).status_code == 202


def test_a_key_with_tenants_reaches_no_further_whatever_its_role(api):
    for role in ("tenant-auditor", "auditor", "operator"):
        client = api.caller(role, tenants=("acme",))
        rows = client.get("/v1/audit/events").json()["events"]
        assert {row["tenant_id"] for row in rows} == {"acme"}, role
    assert {row["tenant_id"] for row in api.client.get("/v1/audit/events").json()["events"]} == {
        "acme",
        "globex",
    }


@pytest.fixture(scope="module")
def acme(api):
    return api.caller("tenant-auditor", "exporter", tenants=("acme",))


@pytest.mark.parametrize(
    "path",
    [
        "/v1/audit/executions/{}", "/v1/audit/executions/{}/events", "/v1/audit/executions/{}/files",
        "/v1/audit/executions/{}/connections", "/v1/executions/{}", "/v1/audit/proof/inclusion?exec={}&seq=0",
    ],
)  # fmt: skip
def test_an_execution_of_another_tenant_is_answered_like_one_that_does_not_exist(api, acme, path):
    theirs = acme.get(path.format(api.theirs))
    none = acme.get(path.format("01999999-0000-7000-8000-000000000000"))
    assert theirs.status_code == none.status_code == 404
    different = {"request_id", "detail"}
    assert {k: v for k, v in theirs.json().items() if k not in different} == {
        k: v for k, v in none.json().items() if k not in different
    }
    assert theirs.json()["detail"].replace(api.theirs, "") == none.json()["detail"].replace(
        "01999999-0000-7000-8000-000000000000", ""
    )
    assert acme.get(path.format(api.mine)).status_code in {200, 409}


def test_naming_another_tenant_or_its_execution_in_a_filter_finds_nothing(api, acme):
    for given in ({"tenant": "globex"}, {"execution": api.theirs}, {"q": "tenant = 'globex'"}):
        assert acme.get("/v1/audit/events", params=given).json()["events"] == []
        assert acme.get("/v1/audit/stats", params=given).json()["records"] == 0
        assert api.client.get("/v1/audit/events", params=given).json()["events"] != []
    assert acme.get("/v1/audit/events", params={"q": "tenant = 'acme' or tenant = 'globex'"}).json()["events"]


def test_what_is_counted_by_tenant_is_counted_of_ones_own(api, acme):
    body = {"by": ["tenant"], "metrics": ["count"]}
    rows = acme.post("/v1/audit/aggregate", json=body).json()["rows"]
    assert [row["tenant"] for row in rows] == ["acme"]
    assert {row["tenant"] for row in api.client.post("/v1/audit/aggregate", json=body).json()["rows"]} == {
        "acme",
        "globex",
    }
    assert (
        acme.post("/v1/audit/aggregate", json={**body, "filter": {"tenant": "globex"}}).json()["rows"] == []
    )


def test_a_list_of_executions_has_ones_own(api, acme):
    for path in ("/v1/executions", "/v1/audit/executions"):
        assert {each["tenant"] for each in acme.get(path).json()["executions"]} == {"acme"}
        assert {each["tenant"] for each in api.client.get(path).json()["executions"]} == {"acme", "globex"}


def test_a_cursor_belongs_to_whoever_it_was_given_to_and_cannot_be_moved_to_another_tenant(api, acme):
    globex = api.caller("tenant-auditor", tenants=("globex",))
    for path, name in (("/v1/audit/events", "events"), ("/v1/audit/executions", "executions")):
        if name == "executions":
            api.run(hostile_guest("/more"), tenant="acme")
        cursor = acme.get(path, params={"limit": 1}).json()["next"]
        assert cursor
        for other in (globex, api.client):
            answer = other.get(path, params={"limit": 1, "cursor": cursor})
            assert (answer.status_code, answer.json()["type"]) == (400, "urn:wasmgate:problem:bad-filter")
        assert acme.get(path, params={"limit": 1, "cursor": cursor}).status_code == 200


@pytest.mark.parametrize("kind", ["text/csv", "application/vnd.apache.arrow.stream"])
def test_a_stream_has_ones_own_and_needs_the_permission_to_export(api, acme, kind):
    answer = acme.get("/v1/audit/events", headers={"Accept": kind})
    assert answer.status_code == 200
    assert b"acme" in answer.content
    assert b"globex" not in answer.content
    assert b"globex" in api.client.get("/v1/audit/events", headers={"Accept": kind}).content
    assert api.caller("auditor").get("/v1/audit/events", headers={"Accept": kind}).status_code == 403


def wait_for(client, export):
    while client.get(f"/v1/audit/exports/{export}").json()["state"] == "running":
        pass
    return client.get(f"/v1/audit/exports/{export}/file")


def test_an_export_has_ones_own_and_is_for_the_key_that_asked(api, acme):
    export = acme.post("/v1/audit/exports", json=_EXPORT).json()["export_id"]
    content = wait_for(acme, export)
    assert content.status_code == 200
    assert b"acme" in content.content
    assert b"globex" not in content.content
    others = ("tenant-auditor", "exporter")
    for other in (api.client, api.caller("operator"), api.caller(*others, tenants=("acme",))):
        assert other.get(f"/v1/audit/exports/{export}").status_code == 404
        assert other.get(f"/v1/audit/exports/{export}/file").status_code == 404
        assert export not in other.get("/v1/audit/exports").text


def test_a_key_that_takes_the_name_of_a_revoked_one_does_not_take_its_exports(api):
    first = api.caller("operator", name="carol")
    export = first.post("/v1/audit/exports", json=_EXPORT).json()["export_id"]
    assert wait_for(first, export).status_code == 200
    api.keys.revoke("carol")
    assert first.get("/v1/audit/exports").status_code == 401
    second = api.caller("tenant-auditor", "exporter", tenants=("acme",), name="carol")
    assert second.get("/v1/audit/exports").json()["exports"] == []
    assert second.get(f"/v1/audit/exports/{export}/file").status_code == 404


def test_a_hash_of_a_value_is_made_with_ones_own_key_only_and_never_makes_one(api, acme):
    for tenant in ("globex", "acme"):
        answer = acme.post("/v1/audit/hash", json={"tenant": tenant, "value": "/srv/a.key"})
        assert answer.status_code == 404
    assert not (api.home / "audit-keys/mask").exists()


def test_a_runner_of_one_tenant_runs_for_no_other(api):
    runner = api.caller("runner", tenants=("acme",))
    digest = api.upload(hostile_guest())
    body = {"module": digest, "policy": "stored", "tenant": "globex"}
    assert runner.post("/v1/executions", json=body).status_code == 403
    assert runner.post("/v1/executions", json={**body, "tenant": "acme"}).status_code == 201
    assert runner.get(f"/v1/executions/{api.theirs}/stdout").status_code == 404
    assert runner.delete(f"/v1/executions/{api.theirs}").status_code == 404
    assert runner.get(f"/v1/executions/{api.mine}/stdout").status_code == 200


def test_a_proof_is_the_document_that_the_command_writes_to_its_file(api, monkeypatch):
    class Proof:
        content = b'{"path":"/a</script>\\u0001"}\n'

    class Proofs:
        def record(self, *_: object) -> Proof:
            return Proof()

    monkeypatch.setattr("api.http.tlog.open_prover", lambda _: Proofs())
    answer = api.client.get(f"/v1/audit/proof/inclusion?exec={api.mine}&seq=0")
    assert answer.content == b'{"path":"/a\\u003c/script\\u003e\\u0001"}\n'
