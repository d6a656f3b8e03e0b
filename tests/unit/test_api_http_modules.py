from __future__ import annotations

import hashlib

import pytest

from tests.http_service import HOSTILE, WASM, hostile_guest, open_api
from tests.modules import START, imported, module

LIMIT = 4_096


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with open_api(tmp_path_factory.mktemp("home"), max_upload_bytes=str(LIMIT)) as found:
        yield found


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_module_is_kept_by_the_digest_of_its_bytes_and_handing_it_over_again_changes_nothing(api, method):
    code = module(f'(func (export "_start")) (func (export "{method}"))')
    answer = api.client.request(
        method, "/v1/modules", params={"name": "first.wasm"}, content=code, headers=WASM
    )
    assert answer.status_code == 201
    digest = f"sha256:{hashlib.sha256(code).hexdigest()}"
    assert answer.json()["digest"] == digest
    assert answer.headers["location"] == f"/v1/modules/{digest}"
    again = api.client.request(
        method, "/v1/modules", params={"name": "second.wasm"}, content=code, headers=WASM
    )
    assert again.status_code == 200
    assert again.json() == answer.json()
    assert answer.json() in api.client.get("/v1/modules").json()["modules"]
    assert api.service.modules.get(digest) == code


def test_a_body_as_large_as_the_limit_is_taken_and_one_byte_more_is_not(api):
    assert api.client.post("/v1/modules", content=b"\0" * LIMIT, headers=WASM).status_code == 201
    answer = api.client.post("/v1/modules", content=b"\1" * (LIMIT + 1), headers=WASM)
    assert answer.status_code == 413
    assert answer.json()["type"] == "urn:wasmgate:problem:too-large"


def test_a_body_of_unknown_length_is_cut_off_at_the_limit(api):
    answer = api.client.post("/v1/modules", content=iter([b"\2" * 1_000] * 5), headers=WASM)
    assert answer.status_code == 413
    assert api.client.post("/v1/modules", content=iter([b"\2" * 1_000] * 4), headers=WASM).status_code == 201


@pytest.mark.parametrize("kind", ["application/wasm", "application/octet-stream", "Application/WASM; x=y"])
def test_a_module_has_a_type(api, kind):
    assert api.client.post("/v1/modules", content=b"abc", headers={"Content-Type": kind}).status_code in {
        200,
        201,
    }


@pytest.mark.parametrize(
    "kind", ["text/html", "application/json", "multipart/form-data", HOSTILE.encode("unicode_escape")]
)
def test_a_body_of_another_type_is_refused(api, kind):
    answer = api.client.post("/v1/modules", content=b"abc", headers={"Content-Type": kind})
    assert answer.status_code == 415


@pytest.mark.parametrize("headers", [WASM, {"Content-Type": ""}, {}], ids=["named", "empty", "none"])
def test_a_body_without_a_type_is_taken_for_what_it_is(api, headers):
    assert api.client.post("/v1/modules", content=b"untyped", headers=headers).status_code in {200, 201}


@pytest.mark.parametrize("name", ["a.wasm", "A", "x" * 200, "clean-er_2.1+b@c"])
def test_a_name_of_plain_letters_is_taken(api, name):
    assert api.client.post("/v1/modules", params={"name": name}, content=b"n", headers=WASM).status_code in {
        200,
        201,
    }


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a b", "x" * 201, "\u202ea", "a\n", "\0", ".x", "é"])
def test_any_other_name_is_not(api, name):
    assert (
        api.client.post("/v1/modules", params={"name": name}, content=b"n", headers=WASM).status_code == 422
    )


def test_a_parameter_that_is_not_known_is_refused(api):
    answer = api.client.post("/v1/modules", params={"nmae": "x"}, content=b"n", headers=WASM)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "query.nmae"


@pytest.mark.parametrize(
    "digest",
    [
        "sha256:0",
        "..%2f..%2fkey.json",
        "sha256:" + "G" * 64,
        "sha256:" + "A" * 64,
        "%00",
        "md5:" + "0" * 64,
        "%ff",
    ],
)
def test_what_is_no_digest_leads_nowhere(api, digest):
    assert api.client.get(f"/v1/modules/{digest}").status_code in {404, 422}


def test_a_module_that_is_not_there_is_not_found(api):
    answer = api.client.get(f"/v1/modules/sha256:{'0' * 64}")
    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:wasmgate:problem:not-found"


def test_a_module_is_laid_open_and_a_policy_says_what_it_does_not_grant(api):
    digest = api.upload(module(imported("sock_accept", "(param i32 i32 i32) (result i32)") + START))
    plain = api.client.get(f"/v1/modules/{digest}").json()
    assert plain["refusal"] is None
    assert [(each["name"], each["standing"]) for each in plain["inspection"]["imports"]] == [
        ("sock_accept", None)
    ]
    assert plain["inspection"]["exports"][0]["is_callable"]
    assert plain["inspection"]["not_granted"] == []
    compared = api.client.get(f"/v1/modules/{digest}", params={"policy": "stored"}).json()
    assert compared["policy"] == "stored"
    assert compared["inspection"]["not_granted"] == ["sock_accept"]
    assert compared["inspection"]["imports"][0]["standing"] == "refused"
    assert compared["inspection"]["imports"][0]["rule"]
    assert api.client.get(f"/v1/modules/{digest}", params={"policy": "none"}).status_code == 404


def test_what_cannot_be_read_is_kept_and_says_why(api):
    digest = api.upload(b"#!/bin/sh")
    found = api.client.get(f"/v1/modules/{digest}").json()
    assert found["inspection"] is None
    assert found["refusal"]["reason"] == "not-wasm"


def test_text_of_a_module_is_harmless(api):
    digest = api.upload(module('(func (export "_start")) (func (export "</script>\\n\\1b[31m"))'))
    answer = api.client.get(f"/v1/modules/{digest}")
    assert b"<" not in answer.content
    assert b"\x1b" not in answer.content
    assert [each["name"] for each in answer.json()["inspection"]["exports"]][1].startswith("</script>")


def test_a_file_that_was_exchanged_on_disk_is_not_handed_out(api):
    digest = api.upload(hostile_guest("x"))
    path = api.home / "modules" / f"{digest.removeprefix('sha256:')}.wasm"
    path.write_bytes(b"other")
    answer = api.client.get(f"/v1/modules/{digest}")
    assert answer.status_code == 404
    assert "changed on disk" in answer.json()["detail"]
