"""Holds and deletions over HTTP: for operators of all tenants, on record, and dry unless it is said."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from tests.aged_logs import DAY_NS, add
from tests.http_service import open_api
from tests.records import start

NOBODY = "019b0000-0000-7000-8000-0000000000ff"


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with open_api(tmp_path_factory.mktemp("home")) as found:
        settings = found.service.settings
        old = time.time_ns() - 30 * DAY_NS
        for number, tenant in ((1, "acme"), (2, "default")):
            of = replace(start(number=number, tenant=tenant, retain_days=1), started_at_ns=old)
            add(settings, of, is_signed=False)
        yield found


OPERATIONS = [
    ("GET", "/v1/audit/holds", None),
    ("POST", "/v1/audit/holds", {"tenant": "acme", "reason": "x"}),
    ("DELETE", f"/v1/audit/holds/{NOBODY}?reason=x", None),
    ("POST", "/v1/audit/prune", {}),
]


@pytest.mark.parametrize(("method", "path", "body"), OPERATIONS)
@pytest.mark.parametrize("role", ["auditor", "exporter", "runner", "tenant-auditor"])
def test_nobody_but_an_operator_may(api, method, path, body, role):
    tenants = ("acme",) if role == "tenant-auditor" else ()
    assert api.caller(role, tenants=tenants).request(method, path, json=body).status_code == 403
    confined = api.caller("operator", tenants=("acme",))
    assert confined.request(method, path, json=body).status_code == 403
    assert api.caller("operator").request(method, path, json=body).status_code in {200, 201, 404}
    for hold in api.client.get("/v1/audit/holds").json()["holds"]:
        api.client.delete(f"/v1/audit/holds/{hold['id']}", params={"reason": "x"})


@pytest.mark.parametrize(
    "body",
    [
        {"reason": "x"},
        {"tenant": "a", "module": "sha256:ab", "reason": "x"},
        {"tenant": "a"},
        {"tenant": "a", "reason": " "},
        {"tenant": "a", "reason": "x", "from": "soon"},
        {"tenant": "a", "reason": "x", "from": "5", "to": "5"},
        {"module": "name", "reason": "x"},
        {"tenant": "a", "reason": "x", "more": 1},
    ],
)
def test_a_hold_that_nobody_can_mean_is_refused(api, body):
    assert api.client.post("/v1/audit/holds", json=body).status_code in {400, 422}
    assert api.client.get("/v1/audit/holds").json() == {"holds": []}


def test_a_hold_keeps_and_a_prune_deletes_what_is_left(api):
    held = api.client.post("/v1/audit/holds", json={"tenant": "acme", "reason": "case 7"})
    assert held.status_code == 201
    assert api.client.get("/v1/audit/holds").json()["holds"] == [held.json()]
    dry = api.client.post("/v1/audit/prune", json={}).json()
    assert (dry["dry_run"], dry["deleted"]) == (True, None)
    assert {one["tenant"]: one["action"] for one in dry["segments"]} == {
        "acme": "keep",
        "default": "would delete",
    }
    done = api.client.post("/v1/audit/prune", json={"dry_run": False})
    assert done.status_code == 200, done.text
    assert done.json()["deleted"]["segments"] == 1
    ended = api.client.delete(f"/v1/audit/holds/{held.json()['id']}", params={"reason": "closed"})
    assert ended.json() == held.json()
    assert api.client.post("/v1/audit/prune", json={"dry_run": False}).json()["deleted"]["segments"] == 1
    assert api.client.get("/v1/audit/events").json()["events"] == []
    events = api.client.get("/v1/audit/control", params={"event": "prune"}).json()["events"]
    assert [one["tenant"] for one in events] == ["acme", "default"]
    assert all(one["actor"].startswith("key:") and one["leaf"] is not None for one in events)


def test_the_budget_is_an_alarm_on_record_and_in_the_status(tmp_path):
    with open_api(tmp_path, audit_disk_bytes="100") as api:
        assert "of the 100 bytes" in " ".join(api.client.get("/v1/audit/status").json()["problems"])
        deadline = time.monotonic() + 10
        while not (found := api.client.get("/v1/audit/control", params={"event": "disk"}).json()["events"]):
            assert time.monotonic() < deadline
        assert found[0]["details"]["level"] == 95


def test_a_service_deletes_by_itself_only_if_the_settings_say_so(tmp_path):
    with open_api(tmp_path) as api:
        of = replace(start(number=1, retain_days=1), started_at_ns=time.time_ns() - 30 * DAY_NS)
        add(api.service.settings, of, is_signed=False)
    for wanted, left in (("off", 1), ("daily", 0)):
        with open_api(tmp_path, audit_prune=wanted) as api:
            deadline = time.monotonic() + (10 if wanted == "daily" else 1)
            while time.monotonic() < deadline and api.service.retaining.plan().plan.going:
                pass
            assert len(api.service.retaining.plan().plan.going) == left
