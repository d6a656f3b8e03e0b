"""A check of the log over HTTP: what it costs at most, and that it tells nobody of tenants that are not theirs."""

from __future__ import annotations

import json
import time

import pytest

from api.checking_log import FRESH_S, Checks
from api.signing import sign_once
from audit.tlog.errors import UnprovableError
from tests.http_service import hostile_guest, open_api


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with open_api(tmp_path_factory.mktemp("home")) as found:
        found.mine = found.run(hostile_guest(), tenant="acme")["execution_id"]
        found.theirs = found.run(hostile_guest(), tenant="globex")["execution_id"]
        found.service.seal()
        sign_once(found.service.settings)
        yield found


@pytest.fixture
def checks(api):
    settings = api.service.settings
    now = [100.0]
    found = Checks(settings.audit_dir, settings.audit_keys_dir / "signing.vkey", clock=lambda: now[0])
    return found, now


def lines_of(client, **wanted):
    answer = client.post("/v1/audit/verify", json=wanted)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def damage(api, tenant):
    """Change a byte of a tenant's segment; gives what puts it back."""
    (path,) = (
        each
        for each in (api.service.settings.audit_dir / "seg" / f"tenant={tenant}").rglob("*.parquet")
        if each.name.count(".") == 1
    )
    content = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    return lambda: path.write_bytes(content)


def test_all_of_it_is_told_to_who_reads_all_of_it(api):
    found = lines_of(api.client)[-1]
    assert (found["kind"], found["status"], found["not_listed"]) == ("result", 0, 0)
    assert found["checked"]["executions"] == 2
    assert found["checked_at"].endswith("Z")


def test_who_is_confined_to_tenants_learns_no_count_of_what_is_not_theirs(api):
    mine = api.caller("tenant-auditor", tenants=("acme",), name="ann")
    for line in lines_of(mine, execution=api.mine):
        assert line["checked"] == {}
        assert line.get("not_listed") is None
    assert mine.post("/v1/audit/verify", json={}).status_code == 403
    assert mine.post("/v1/audit/verify", json={"execution": api.theirs}).status_code == 404


def test_who_is_confined_to_tenants_hears_that_the_log_fails_and_nothing_of_whose_part_does(api):
    undo = damage(api, "globex")
    try:
        api.service.desk.checks.forget()
        ours = lines_of(api.caller("tenant-auditor", tenants=("acme",), name="bob"), execution=api.mine)
        assert (ours[-1]["result"], ours[-1]["findings"]) == ("FAILED", [])
        assert "globex" not in json.dumps(ours)
        assert api.theirs not in json.dumps(ours)
        (theirs,) = lines_of(api.client)
        assert "globex" in json.dumps(theirs)
    finally:
        undo()
        api.service.desk.checks.forget()


def test_a_key_whose_check_goes_on_is_told_to_wait_and_another_is_answered(api):
    turns = api.app.state.gateway.turns.checks
    api.service.desk.checks.forget()
    client = api.caller("auditor", name="eve")
    (mark,) = [each.mark for each in api.keys.known() if each.name == "eve"]
    with turns.take(mark):
        answer = client.post("/v1/audit/verify", json={})
        assert (answer.status_code, answer.json()["type"]) == (429, "urn:wasmgate:problem:too-many-checks")
        assert answer.headers["retry-after"] == "10"
        assert lines_of(api.client)[-1]["status"] == 0
    assert lines_of(client)[-1]["status"] == 0
    until = time.monotonic() + 5
    while len(turns) and time.monotonic() < until:
        pass
    assert len(turns) == 0


def test_asked_again_at_once_the_same_check_is_told_of_with_its_time(api):
    api.service.desk.checks.forget()
    first, again = lines_of(api.client)[-1], lines_of(api.client)[-1]
    assert again == first
    api.service.desk.checks.forget()
    assert lines_of(api.client)[-1]["checked_at"] > first["checked_at"]


def test_a_check_is_not_told_of_again_when_it_is_old(checks):
    found, now = checks
    begun = found.begin()
    begun.result()
    assert found.recent() is begun
    now[0] += FRESH_S + 0.1
    assert found.recent() is None


def test_a_check_is_not_told_of_again_when_the_log_was_signed_since(api, checks):
    found, _ = checks
    begun = found.begin()
    begun.result()
    assert found.recent() is begun
    assert api.client.get("/v1/audit/events").status_code == 200
    api.service.seal()  # so that there is something to sign: this read is on record
    sign_once(api.service.settings)
    assert found.recent() is None


def test_a_check_that_did_not_come_to_its_end_is_never_told_of_again(tmp_path, api):
    settings = api.service.settings
    (tmp_path / "tlog").mkdir()
    found = Checks(tmp_path, settings.audit_keys_dir / "signing.vkey")
    over = []
    begun = found.begin(lambda: over.append(1))
    assert found.recent() is None or begun.is_over(within_s=0)
    assert begun.result()["status"] != 0
    assert over == [1]


def test_what_cannot_be_begun_holds_no_turn(tmp_path, api):
    with pytest.raises(UnprovableError):
        Checks(tmp_path, tmp_path / "no.vkey").begin()
    assert len(api.app.state.gateway.turns.checks) == 0
