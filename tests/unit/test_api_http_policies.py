from __future__ import annotations

import json

import pytest

from tests.http_service import HOSTILE, POLICY, STORED, open_api

YAML = {"Content-Type": "application/yaml"}


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with open_api(tmp_path_factory.mktemp("home")) as found:
        (found.home / "policies/broken.yaml").write_text(STORED.replace("storage", "storge"))
        yield found


def check(api, text, kind="application/yaml", **params):
    return api.client.post("/v1/policies/check", params=params, content=text, headers={"Content-Type": kind})


def test_policies_are_listed_by_name_valid_or_not(api):
    assert api.client.get("/v1/policies").json() == {"policies": [{"name": "broken"}, {"name": "stored"}]}


def test_a_policy_is_shown_with_its_text_its_digests_and_what_it_allows(api):
    found = api.client.get("/v1/policies/stored").json()
    assert found["text"] == STORED
    assert found["is_valid"] is True
    plan = api.service.policies.plan("stored")
    assert (found["policy_digest"], found["plan_digest"]) == (plan.policy_digest, plan.plan_digest)
    assert any("/s" in line for line in found["explanation"])


def test_a_broken_policy_is_shown_with_its_findings(api):
    found = api.client.get("/v1/policies/broken").json()
    assert found["is_valid"] is False
    assert found["plan_digest"] is None
    assert found["findings"][0]["line"] == 5


@pytest.mark.parametrize("name", ["none", "..%2fkey", "%2e%2e", "a%00", "x" * 101, "sha256:" + "0" * 64])
def test_what_is_no_policy_is_not_found(api, name):
    assert api.client.get(f"/v1/policies/{name}").status_code in {404, 422}


def test_a_good_document_is_checked_and_gives_the_digest_of_its_plan(api):
    found = check(api, POLICY).json()
    assert found["is_valid"] is True
    assert found["plan_digest"].startswith("sha256:")
    assert found["policy_name"] == "inline"


def test_every_finding_of_a_bad_document_is_told_at_once_with_its_place(api):
    answer = check(api, "version: 2\nmetadata: {nam: x}\npermissions: {storge: {}}\n")
    assert answer.status_code == 200
    found = answer.json()
    assert found["is_valid"] is False
    assert len(found["findings"]) >= 3
    assert {each["line"] for each in found["findings"]} == {1, 2, 3}
    assert all(each["column"] and each["message"] and each["id"] for each in found["findings"])


def test_json_is_taken_as_well(api):
    document = {"version": "1", "metadata": {"name": "j"}}
    assert check(api, json.dumps({**document, "version": 1}), "application/json").json()["is_valid"] is True


def test_a_stored_policy_must_say_what_it_is_for_and_an_inline_one_need_not(api):
    assert check(api, POLICY, stored="true").json()["is_valid"] is False
    assert check(api, STORED, stored="true").json()["is_valid"] is True
    assert check(api, POLICY, stored="yes").status_code == 422


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe\xff",
        b"\0",
        b"[" * 10_000,
        b"{" * 10_000,
        b"a: &a [*a]",
        b"- " * 5_000,
        b"x" * 70_000,
        HOSTILE.encode(),
    ],
)
def test_hostile_text_is_findings_and_no_failure(api, text):
    answer = check(api, text)
    assert answer.status_code == 200
    assert answer.json()["is_valid"] is False
    assert b"<" not in answer.content
    assert b"\x1b" not in answer.content


def test_a_document_of_another_type_is_refused(api):
    assert check(api, POLICY, "text/plain").status_code == 415
