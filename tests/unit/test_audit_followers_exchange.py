"""An exchange ends within its time and size whatever the server does, follows nowhere, and tells no secret."""

from __future__ import annotations

import itertools
import socket
import threading

import pytest

from audit.followers.errors import SinkError
from audit.followers.exchange import endpoint, post
from tests.receivers import Issuer, http_receiver, raw_server

SECRET = "s3cr3t-path"


def posted(url, **given):
    most = given.pop("most", 100)
    return post(endpoint(url, **given), b"body", kind="text/plain", most=most)


def raw(port, **given):
    return posted(f"http://127.0.0.1:{port}/{SECRET}", **given)


def test_a_post_arrives_and_its_answer_comes_back():
    with http_receiver(lambda _got: (202, "Text/Plain; charset=x", b"yes")) as receiver:
        answer = posted(f"{receiver.url}/a?b=c", token="t0k")
    (got,) = receiver.got
    assert (got.path, got.body, got.headers["authorization"]) == ("/a?b=c", b"body", "Bearer t0k")
    assert (answer.status, answer.kind, answer.body) == (202, "text/plain", b"yes")


def test_a_redirect_is_an_answer_and_is_not_followed():
    with http_receiver(lambda _got: (307, "text/plain", b"")) as receiver:
        assert posted(receiver.url).status == 307
        assert len(receiver.got) == 1


@pytest.mark.parametrize("extra", [0, 1])
def test_an_answer_is_as_long_as_it_may_be_and_no_longer(extra):
    with http_receiver(lambda _got: (200, "text/plain", b"x" * (100 + extra))) as receiver:
        if not extra:
            assert len(posted(receiver.url).body) == 100
            return
        with pytest.raises(SinkError, match="too long"):
            posted(receiver.url)


def drip(channel, piece=b"a"):
    channel.sendall(b"HTTP/1.1 200 OK\r\n")
    for _ in itertools.count():
        channel.sendall(piece)


def hang(channel):
    while channel.recv(4096):
        pass


def headers_for_ever(channel):
    channel.sendall(b"HTTP/1.1 200 OK\r\n")
    for number in itertools.count():
        channel.sendall(b"X-%d: a\r\n" % number)


def continue_for_ever(channel):
    for _ in itertools.count():
        channel.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")


def chunks_for_ever(channel):
    channel.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in itertools.count():
        channel.sendall(b"1\r\na\r\n")


def garbage(channel):
    channel.recv(1)
    channel.sendall(b"\x16\x03\x01\x02\x00" * 10)


def early_end(channel):
    channel.recv(65_536)
    channel.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort")


def nothing(channel):
    channel.recv(65_536)


@pytest.mark.parametrize(
    "server",
    [drip, headers_for_ever, continue_for_ever, chunks_for_ever, garbage, early_end, nothing],
    ids=lambda one: one.__name__,
)
def test_a_server_that_misbehaves_is_an_error_without_the_path(server):
    with raw_server(server) as port, pytest.raises(SinkError) as caught:
        raw(port, timeout_s=2)
    assert f"http://127.0.0.1:{port}" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_server_that_never_answers_ends_the_exchange_in_time():
    with raw_server(hang) as port, pytest.raises(SinkError, match=r"no whole answer within 0\.2 s"):
        raw(port, timeout_s=0.2)


def test_a_server_that_sends_a_byte_now_and_then_does_not_prolong_it():
    stopped = threading.Event()

    def slow(channel: socket.socket) -> None:
        channel.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n")
        while not stopped.wait(0.05):
            channel.sendall(b"a")

    with raw_server(slow) as port, pytest.raises(SinkError, match=r"no whole answer within 0\.5 s"):
        raw(port, timeout_s=0.5)
    stopped.set()


def test_nobody_there_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(SinkError, match="refused"):
        raw(port)


def test_a_server_with_a_known_certificate_is_reached(tmp_path):
    issuer = Issuer.make()
    (tmp_path / "ca.pem").write_bytes(issuer.pem)
    with http_receiver(tls=issuer.server(tmp_path)) as receiver:
        assert posted(receiver.url, ca_file=tmp_path / "ca.pem").status == 200


@pytest.mark.parametrize("fault", ["another root", "another name", "system roots"])
def test_a_server_with_another_certificate_gets_nothing(tmp_path, fault):
    issuer = Issuer.make()
    (tmp_path / "ca.pem").write_bytes((Issuer.make() if fault == "another root" else issuer).pem)
    tls = issuer.server(tmp_path, "127.0.0.2" if fault == "another name" else "127.0.0.1")
    with http_receiver(tls=tls) as receiver:
        ca_file = None if fault == "system roots" else tmp_path / "ca.pem"
        with pytest.raises(SinkError, match=r"(?i)certificate"):
            posted(f"{receiver.url}/{SECRET}", ca_file=ca_file)
    assert receiver.got == []


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/", "http://10.0.0.1/", "https://user:pw@example.com/", "https://example.com/#a", "https://",
        "ftp://127.0.0.1/", "https://example.com/\r\nX: y", "https://example.com/a b", "https://example.com:99999/",
        "https://example.com/é", "http://127.0.0.1@example.com/", "", "x" * 3000,
    ],
)  # fmt: skip
def test_a_url_that_is_refused_is_not_repeated(url):
    with pytest.raises(ValueError, match=r"\Aan? ") as caught:
        endpoint(url)
    assert not url or url not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://example.com", "http://127.0.0.1:1/x", "http://localhost/", "http://[::1]:80/"]
)
def test_a_url_that_may_be(url):
    assert endpoint(url).shown.startswith(url[:10])


def test_a_secret_is_in_no_repr():
    made = endpoint(f"https://example.com/{SECRET}", token="t0k3n")
    assert SECRET not in repr(made)
    assert "t0k3n" not in repr(made)
