from __future__ import annotations

import pytest

from policy.globs import GlobError
from policy.network.listeners import ListenerError, parse_listener
from policy.network.names import HostNameError, parse_name, parse_pattern
from policy.network.ports import PortError, parse_ports
from policy.network.request_paths import canonical_path, parse_path_glob
from policy.network.urls import UrlError, parse_asked_url, parse_origin


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("api.example.com", ("com", "example", "api")),
        ("API.Example.COM.", ("com", "example", "api")),
        ("localhost", ("localhost",)),
        ("my_service.svc", ("svc", "my_service")),
        ("xn--bcher-kva.de", ("de", "xn--bcher-kva")),
        ("1.2.3.4x", ("4x", "3", "2", "1")),
    ],
)
def test_a_name_has_one_form(text, labels):
    assert parse_name(text) == labels
    assert parse_name(".".join(reversed(labels))) == labels


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a..b",
        ".a",
        "a.b..",
        "-a.b",
        "a-.b",
        "a b",
        "a:80",
        "u@h",
        "http://:@host",
        "a/b",
        "a" * 64,
        "a." * 127 + "aa",
        "1.2.3",
        "127.1",
        "0x7f.1",
        "a.0x7f",
        "a.123",
        "ex\u200bample.com",
        "example\u3002com",
        "bücher.de",
        "\u212aelvin.com",
        "exa\x00mple.com",
        "a\n",
    ],
)
def test_what_is_no_name_in_its_canonical_form_is_refused(text):
    with pytest.raises(HostNameError):
        parse_name(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("bücher.de", "xn--bcher-kva.de"),
        ("*.Straße.de", "*.xn--strae-oqa.de"),
        ("example\u3002com", "example.com"),
        ("https://api.x.com/v1", "api.x.com"),
        ("api.x.com:443", "api.x.com"),
        ("api.*.com", "*.com"),
        ("*api.x.com", "*.x.com"),
        ("ex\u200bample.com", ""),
        ("\u212aelvin.com", ""),
    ],
)
def test_a_pattern_is_mended_only_where_nothing_is_in_doubt(text, meant):
    with pytest.raises(HostNameError) as caught:
        parse_pattern(text)
    assert caught.value.suggestion == meant


@pytest.mark.parametrize(
    ("text", "ports"),
    [("443", (443, 443)), ("8000-8010", (8000, 8010)), ("*", (1, 65535)), ("65535", (65535, 65535))],
)
def test_ports_are_read(text, ports):
    assert parse_ports(text) == ports


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("12:30", ""),
        ("80..90", "80-90"),
        ("0", ""),
        ("65536", ""),
        ("8010-8000", "8000-8010"),
        ("080", "80"),
        ("80,443", ""),
        ("http", ""),
        ("1-65536", ""),
        ("-1", ""),
        ("٤٤٣", ""),
    ],
)
def test_odd_ports_are_refused(text, meant):
    with pytest.raises(PortError) as caught:
        parse_ports(text)
    assert caught.value.suggestion == meant


@pytest.mark.parametrize(
    "text",
    [
        "api.x.com",
        "ftp://x",
        "HTTPS://x",
        "https://u:p@x",
        "http://:@host",
        "https://",
        "https://:443",
        "https://x:0",
        "https://x:99999",
        "https://x:",
        "https://x/",
        "https://x/v1",
        "https://x?q",
        "https://x#f",
        "https://127.1",
        "https://[127.0.0.1]",
        "https://[::ffff:1.2.3.4]",
        "https://x y",
        "https://[::1",
        "//x",
    ],
)
def test_a_rule_names_an_origin_and_nothing_else(text):
    with pytest.raises(UrlError):
        parse_origin(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://x",
        "http://*.x.com:8080",
        "https://x:*",
        "https://[::1]:8443",
        "http://10.0.0.1",
        "https://x:8000-8010",
    ],
)
def test_an_origin_is_read(text):
    assert parse_origin(text).ports[0] >= 1


@pytest.mark.parametrize(
    "text",
    [
        "https://x\\@y/",
        "https://x /",
        "https://x\t/",
        "https://x/ü",
        "https://user@x/",
        "https://x:80-81/",
        "https://x:*/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://x:080/",
        "https:///a",
        "https:/x",
    ],
)
def test_an_ambiguous_url_of_a_request_is_refused(text):
    with pytest.raises(UrlError):
        parse_asked_url(text)


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("", ()),
        ("/", ()),
        ("/a", (b"a",)),
        ("/a/", (b"a",)),
        ("/%61%7E", (b"a~",)),
        ("/a%20b", (b"a%20b",)),
        ("/%c3%a9", (b"%C3%A9",)),
        ("/a?x=//../;", (b"a",)),
        ("/a#/..", (b"a",)),
        ("?a", ()),
        ("/...", (b"...",)),
        ("/a+b@c:d,e", (b"a+b@c:d,e",)),
    ],
)
def test_a_path_has_one_form(text, segments):
    assert canonical_path(text) == segments
    assert canonical_path("/" + "/".join(each.decode() for each in segments)) == segments


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "//",
        "/a//b",
        "/.",
        "/..",
        "/a/../b",
        "/%2e%2e/a",
        "/%2E",
        "/.%2e",
        "/a%2Fb",
        "/a%2fb",
        "/a%5Cb",
        "/a\\b",
        "/a;b",
        "/a%3Bb",
        "/a%00",
        "/a%0d%0a",
        "/a%",
        "/a%4",
        "/a%zz",
        "/é",
        "/a b",
        "/a%7f",
        "/[a]",
        '/a"b',
        "/a\n",
    ],
)
def test_an_ambiguous_path_is_refused(text):
    with pytest.raises(UrlError):
        canonical_path(text)


@pytest.mark.parametrize(
    "text", ["a", "/a/", "/é", "/a;b", "/a b", "/%61", "/%c3", "/a%2Fb", "/a//b", "/a/../b", "/a**", "/a#b"]
)
def test_a_glob_that_no_path_could_match_is_refused(text):
    with pytest.raises(GlobError):
        parse_path_glob(text)


@pytest.mark.parametrize("text", ["/", "/**", "/v2/contacts/*", "/a%20b", "/[ab]/?", "/v1/**/c"])
def test_a_path_glob_is_read(text):
    assert isinstance(parse_path_glob(text), tuple)


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1:80",
        "tcp://localhost:80",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:99999",
        "http://127.0.0.1:80",
        "tcp://127.0.0.1:80/",
        "tcp://[::ffff:127.0.0.1]:80",
        "tcp://10.0.0.0/8:80",
        "tcp://224.0.0.1:80",
        "tcp://*:80",
    ],
)
def test_what_is_no_place_to_listen_at_is_refused(text):
    with pytest.raises(ListenerError):
        parse_listener(text)


@pytest.mark.parametrize("text", ["tcp://127.0.0.1:80", "udp://[::1]:53", "tcp://0.0.0.0:0"])
def test_a_place_to_listen_at_is_read(text):
    assert parse_listener(text)[0] in {"tcp", "udp"}
