"""Requests of components, over loopback: each rule about them, kept and broken, and what a server then saw.

What a request is decided by is tried alone in `tests/unit/test_policy_network_*.py`.
"""

from __future__ import annotations

import pytest

from api.report import refusal_groups
from tests.http_runs import ANSWERED, failed, here, network, of, rule, run
from tests.http_scripts import Asking, asking, serving
from tests.runs import Log, policy
from tests.wasi2 import HTTP_CODES


def test_a_request_that_a_rule_grants_is_made_and_is_on_record(shared: Log) -> None:
    with serving() as server:
        script = here(server.port, path="/a/b?c=d", headers=((b"X-One", b"1"), (b"x-one", b" 2 ")))
        told, rows, execution = run(shared, script, rule(server.port, 'access: read-only, paths: ["/a/**"]'))
    url = f"GET http://127.0.0.1:{server.port}/a/b?c=d"
    assert told["future-incoming-response.get"][0][:3] == ANSWERED
    assert told["status"] == [b"\xc8\x00"]
    assert told["fields.get"] == [b"/a/b?c=d"]
    assert told["fields.append"] == [b"\x00", b"\x00", b"\x01\x02"]  # those of an answer are fixed
    assert [one[:1] for one in told["incoming-response.consume"]] == [b"\x00", b"\x01"]
    assert told["input-stream.blocking-read"] == [b"\x00hello /a/b?c=d", b"\x01\x01", b"\x01\x01"]
    (seen,) = server.seen
    assert seen.line == "GET /a/b?c=d"
    assert seen.headers == {"Host": f"127.0.0.1:{server.port}", "Connection": "close", "x-one": "2"}
    assert {row["decision"] for row in rows} == {"allow"}
    (handled,) = of(rows, "handle")
    assert (handled["target"], handled["rule_id"]) == (url, "there")
    assert {row["target"] for row in rows if row["opener_seq"] == handled["seq"]} == {url}
    assert [row["flags"] for row in of(rows, "get")[:1]] == [200]
    (last,) = of(rows, "finish")
    assert (last["target"], last["flags"]) == (url, 200 | 14 << 16)
    account = execution.receipt.network
    assert account is not None
    (made,) = account.requests
    assert (made.request, made.rule) == (f"GET http://127.0.0.1:{server.port}", "there")
    assert (made.status, made.bytes_out, made.bytes_in) == (200, 0, 14)
    moved = [
        sum(int(row[name] or 0) for row in rows if row["target"] == url) for name in ("bytes_in", "bytes_out")
    ]
    assert tuple(moved) == account.counts[4:6]


@pytest.mark.parametrize(
    ("asked", "grant"),
    [
        ({"method": "POST", "late": b"x"}, "access: read-only"),
        ({"method": "PURGE"}, "methods: [GET]"),
        ({"path": "/b"}, 'access: full, paths: ["/a/**"]'),
        ({"path": "/a/../b"}, 'access: full, paths: ["/a/**"]'),
        ({"path": "/a/%2e%2e/b"}, 'access: full, paths: ["/a/**"]'),
        ({"headers": ((b"COOKIE", b"x"),)}, "access: full, headers: {deny: [Cookie]}"),
    ],
)
def test_what_no_rule_grants_is_refused_and_never_sent(
    shared: Log, asked: dict[str, object], grant: str
) -> None:
    with serving() as server:
        told, rows, _ = run(shared, here(server.port, **asked), rule(server.port, grant))
        granted, allowed, _ = run(shared, here(server.port), rule(server.port, grant))
    assert len(server.seen) == 1  # the twin's
    assert told["outgoing-handler.handle"] == [bytes([1, HTTP_CODES.index("HTTP-request-denied")])]
    assert "status" not in told
    (handled,) = of(rows, "handle")
    assert (handled["decision"], handled["errno"]) == ("deny", 76)
    is_header = "headers" in asked
    assert handled["rule_id"] in (("there",) if is_header else ("default", "builtin.request"))
    assert str(handled["target"]).endswith(str(asked.get("path", "/a")))
    assert granted["status"] == [b"\xc8\x00"]
    assert of(allowed, "handle")[0]["rule_id"] == "there"


@pytest.mark.parametrize(
    ("url", "named"),
    [("http://127.0.0.1:{other}", "127.0.0.1:{port}"), ("https://127.0.0.1:{port}", "127.0.0.1:{port}")],
)
def test_another_port_or_scheme_is_another_place(shared: Log, url: str, named: str) -> None:
    with serving() as server:
        at = {"port": server.port, "other": server.port ^ 1}
        plan = network(f'http: [{{id: there, url: "{url.format(**at)}", access: full}}]')
        told, rows, _ = run(shared, asking(Asking(authority=named.format(**at))), plan)
    assert not server.seen
    assert told["outgoing-handler.handle"] == [bytes([1, HTTP_CODES.index("HTTP-request-denied")])]
    assert [row["decision"] for row in of(rows, "handle")] == ["deny"]


def test_a_report_says_where_a_request_is_granted(shared: Log) -> None:
    with serving() as server:
        plan = rule(server.port, 'access: full, paths: ["/b"]')
        _, _, execution = run(shared, here(server.port), plan)
    (group,) = refusal_groups(plan, execution.refused)
    assert group.rule == "default"
    assert group.allow == "add what is named here to permissions.network.http"
    assert group.calls == ((f"outgoing-handler.handle GET http://127.0.0.1:{server.port}/a", 1),)


def test_without_a_rule_there_is_no_broker_and_the_request_is_named_all_the_same(shared: Log) -> None:
    with serving() as server:
        told, rows, execution = run(shared, here(server.port), policy())
    assert not server.seen
    assert told["outgoing-handler.handle"] == [bytes([1, HTTP_CODES.index("HTTP-request-denied")])]
    (handled,) = of(rows, "handle")
    assert (handled["decision"], handled["rule_id"]) == ("deny", "network.none")
    assert handled["target"] == f"GET http://127.0.0.1:{server.port}/a"
    assert execution.receipt.network is None


def test_a_name_that_leads_to_this_machine_is_refused_when_it_is_found_out(shared: Log) -> None:
    with serving() as server:
        script = asking(Asking(authority=f"localhost:{server.port}"))
        told, rows, execution = run(shared, script, rule(server.port, host="localhost"))
    assert not server.seen
    assert told["future-incoming-response.get"] == [failed("destination-IP-prohibited")]
    (handled,), (got,) = of(rows, "handle"), of(rows, "get")
    assert handled["decision"] == "allow"
    assert (got["decision"], got["rule_id"], got["errno"]) == ("deny", "builtin.loopback", 76)
    assert execution.receipt.network is not None


@pytest.mark.parametrize(
    "authority",
    ["127.0.0.1:{port}@example.com", "0x7f.1:{port}", "127.1:{port}"],
)
def test_other_spellings_lead_nowhere(shared: Log, authority: str) -> None:
    with serving() as server:
        script = asking(Asking(authority=authority.format(port=server.port)))
        told, rows, _ = run(shared, script, rule(server.port))
    assert told["outgoing-handler.handle"][0][0] == 1
    (handled,) = of(rows, "handle")
    assert handled["errno"] != 0
    assert not server.seen


@pytest.mark.parametrize(("early", "late"), [(b"before", b""), (b"", b"after"), (b"before ", b"after")])
def test_a_body_is_sent_whenever_it_is_written(shared: Log, early: bytes, late: bytes) -> None:
    with serving() as server:
        script = here(server.port, method="POST", early=early, late=late)
        told, rows, execution = run(shared, script, rule(server.port))
    (seen,) = server.seen
    assert (seen.line, seen.body) == ("POST /a", early + late)
    assert seen.headers["Transfer-Encoding"] == "chunked"
    assert told["input-stream.blocking-read"][0] == b"\x00you sent " + early + late
    network_use = execution.receipt.network
    assert network_use is not None
    assert network_use.requests[0].bytes_out == len(early + late)
    assert {row["decision"] for row in rows} == {"allow"}


@pytest.mark.parametrize(
    ("said", "is_sent"), [(b"5", True), (b"4", False), (b"6", False), (b"05", False), (b"-1", False)]
)
def test_a_body_has_the_length_that_was_said(shared: Log, said: bytes, is_sent: bool) -> None:
    with serving() as server:
        headers = ((b"content-length", said),)
        script = here(server.port, method="POST", late=b"12345", headers=headers)
        told, _, _ = run(shared, script, rule(server.port))
    # what is shorter than was said is no whole request: the connection ends before
    assert all(is_sent or len(seen.body) < int(said) for seen in server.seen)
    assert ("status" in told) == is_sent
    if is_sent:
        assert [seen.body for seen in server.seen] == [b"12345"]
        assert server.seen[0].headers["content-length"] == "5"
        assert "Transfer-Encoding" not in server.seen[0].headers


def test_a_body_that_is_given_up_is_no_request(shared: Log) -> None:
    with serving() as server:
        script = here(server.port, method="POST", late=b"half", is_dropped=True)
        told, _, _ = run(shared, script, rule(server.port))
    assert told["future-incoming-response.get"][0] == failed("HTTP-response-incomplete")
    assert not server.seen


@pytest.mark.parametrize(
    ("bound", "asked", "is_within"),
    [
        ("max_request_bytes: 5", {"method": "POST", "late": b"12345"}, True),
        ("max_request_bytes: 4", {"method": "POST", "late": b"12345"}, False),
        ("max_response_bytes: 100", {"path": "/big/100"}, True),
        ("max_response_bytes: 99", {"path": "/big/100"}, False),
        ("max_response_bytes: 40", {"path": "/pieces/10"}, True),
        ("max_response_bytes: 39", {"path": "/pieces/10"}, False),
    ],
)
def test_a_rule_bounds_bodies(shared: Log, bound: str, asked: dict[str, object], is_within: bool) -> None:
    with serving() as server:
        _, rows, _ = run(
            shared, here(server.port, reads=20, **asked), rule(server.port, f"access: full, {bound}")
        )
    limited = [row for row in rows if row["decision"] == "limit"]
    assert bool(limited) != is_within
    for row in limited:
        assert (row["rule_id"], row["reason"], row["errno"]) == ("there", "budget", 19)
    read = sum(int(row["bytes_in"] or 0) for row in of(rows, "blocking-read"))
    if "path" in asked:
        assert (read == (100 if "big" in bound + str(asked) else 40)) == is_within


def test_how_an_answer_travelled_is_not_told(shared: Log) -> None:
    with serving() as server:
        told, _, _ = run(shared, here(server.port, path="/pieces/3"), rule(server.port))
    assert told["fields.has"] == [b"\x00"]
    assert told["input-stream.blocking-read"][0][1:].startswith(b"many")


@pytest.mark.parametrize("word", ["recheck", "refuse"])
def test_a_redirect_is_given_or_withheld_and_never_followed(shared: Log, word: str) -> None:
    with serving() as server:
        told, rows, _ = run(
            shared, here(server.port, path="/moved"), rule(server.port, f"access: full, redirects: {word}")
        )
    assert [seen.line for seen in server.seen] == ["GET /moved"]
    if word == "recheck":
        assert told["status"] == [(302).to_bytes(2, "little")]
    else:
        assert "status" not in told
        got = of(rows, "get")[0]
        assert (got["decision"], got["rule_id"]) == ("deny", "there")
