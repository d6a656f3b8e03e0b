from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from api.http.guard import RefusedEntries, host_of
from tests.http_service import open_api


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with open_api(tmp_path_factory.mktemp("home")) as found:
        yield found


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("localhost", "localhost"),
        ("LOCALHOST:8765", "localhost"),
        ("127.0.0.1:1", "127.0.0.1"),
        ("[::1]:8765", "::1"),
        ("evil.example:8765", "evil.example"),
        ("", None),
        ("localhost:x", None),
        ("localhost:123456", None),
        ("a b", None),
        ("[::1", None),
        ("localhost/", None),
        ("localhost@evil.example", None),
    ],
)
def test_the_name_in_a_host_header(header, host):
    assert host_of(header) == host


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9", "[::1]:9", "LocalHost:1"])
def test_its_own_names_are_answered(api, host):
    assert api.stranger.get("/v1/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "0.0.0.0", "localhost."]
)
def test_other_names_are_not_answered_not_even_with_the_key(api, host):
    for path in ("/v1/health", "/v1/modules"):
        answer = api.client.get(path, headers={"Host": host})
        assert answer.status_code == 421
        assert answer.json()["type"] == "urn:wasmgate:problem:wrong-host"


@pytest.mark.parametrize(
    "path", ["/v1/modules", "/v1/openapi.json", "/v1/nothing", "/", "/docs", "/v1/health/"]
)
def test_every_path_but_health_asks_for_the_key_known_or_not(api, path):
    answer = api.stranger.get(path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="wasmgate"'
    assert answer.headers["content-type"] == "application/problem+json"
    assert api.client.get(path).status_code in {200, 404}


def test_health_needs_no_key_and_says_nothing_else(api):
    answer = api.stranger.get("/v1/health")
    assert answer.status_code == 200
    assert set(answer.json()) == {"status", "version"}


@pytest.mark.parametrize(
    "form", ["Bearer {}x", "Basic {}", "{}", "Bearer", "Bearer  ", "bearer x{}", "Bearer {},{}"]
)
def test_a_key_with_a_slip_is_refused_and_the_right_form_is_not(api, form):
    wrong = {"Authorization": form.replace("{}", api.key)}
    assert api.stranger.get("/v1/modules", headers=wrong).status_code == 401
    assert api.stranger.get("/v1/modules", headers={"Authorization": f"bEARER {api.key}"}).status_code == 200


def test_two_keys_in_one_request_are_refused(api):
    headers = [("Authorization", f"Bearer {api.key}"), ("Authorization", "Bearer x")]
    assert api.stranger.get("/v1/modules", headers=headers).status_code == 401


def test_the_key_is_no_parameter(api):
    assert (
        api.stranger.get("/v1/modules", params={"key": api.key, "access_token": api.key}).status_code == 401
    )


def test_refused_entries_are_logged_a_few_a_minute_without_what_was_presented(api):
    now = [1_000.0]
    refused = RefusedEntries(clock=lambda: now[0])
    with capture_logs() as lines:
        for _ in range(20):
            refused.note(why="no-key", request_id="r")
        now[0] += 60
        refused.note(why="no-key", request_id="r")
    assert [line["event"] for line in lines] == ["entry refused"] * 5 + ["entries refused", "entry refused"]
    assert lines[5]["suppressed"] == 15
    with capture_logs() as lines:
        api.stranger.get(
            "/v1/modules", params={"q": "secret-query"}, headers={"Authorization": "Bearer wg_secret"}
        )
    assert lines
    assert "secret" not in repr(lines)


def test_every_answer_has_the_security_headers_and_no_cors(api):
    origin = {"Origin": "https://evil.example"}
    for answer in (
        api.client.get("/v1/modules", headers=origin),
        api.stranger.get("/v1/modules", headers=origin),
        api.client.get("/v1/none", headers=origin),
        api.client.options("/v1/modules", headers={**origin, "Access-Control-Request-Method": "GET"}),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "x-request-id" in answer.headers
        assert not [name for name in answer.headers if name.startswith("access-control")]
