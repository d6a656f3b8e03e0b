"""Each check of a document as a whole: what it finds, and the twin that it lets pass."""

from __future__ import annotations

import pytest

from policy.checks import (
    leads_elsewhere,
    look_alike,
    no_digest,
    plain_secret,
    shadowed_mount,
    wildcard_egress,
    writable_root,
)
from policy.document import load_document
from policy.errors import Severity


def document(text: str):
    return load_document(("version: 1\nmetadata: {name: p}\n" + text).encode(), file="p.yaml")


def network(text: str) -> str:
    return "permissions: {network: {" + text + "}}"


def allow(*rules: str) -> str:
    return "permissions: {storage: {allow: [" + ", ".join("{" + rule + "}" for rule in rules) + "]}}"


TWINS = [
    (wildcard_egress, network("tcp: [{to: '*', ports: [443], i_understand: any-destination}]"), network("tcp: [{to: '*.example.com', ports: [443]}]")),
    (wildcard_egress, network("udp: [{to: 0.0.0.0/0, ports: [53]}]"), network("udp: [{to: 192.0.2.0/24, ports: [53]}]")),
    (wildcard_egress, network("tcp: [{to: '::/0', ports: [443]}]"), network("tcp: [{to: '2001:4860::/32', ports: [443]}]")),
    (wildcard_egress, network("http: [{url: 'https://*.com', access: full}]"), network("http: [{url: 'https://*.x.com', access: full}]")),
    (wildcard_egress, network("dns: {names: ['*.COM']}"), network("dns: {names: ['x.com']}")),
    (writable_root, allow("uri: 'fs:///srv/**', access: [read, write]"), allow("uri: 'fs:///srv/**', access: [read, list]")),
    (writable_root, allow("uri: 'fs:///**', access: [delete]"), allow("uri: 'fs:///srv/x/**', access: [delete]")),
    (writable_root, allow("uri: 'fs:///var/**', access: [create]"), allow("uri: 'fs:///var/**', access: [create], include: ['x/*']")),
    (shadowed_mount, allow("uri: 'fs:///a/**', mount: /m, access: [read]", "uri: 'fs:///b/**', mount: /m/x, access: [read]"), allow("uri: 'fs:///a/**', mount: /m, access: [read]", "uri: 'fs:///b/**', mount: /n/x, access: [read]")),
    (shadowed_mount, allow("uri: 'fs:///a/**', mount: /m, access: [read]", "uri: 'tmp://x', mount: /m/x, access: [read]"), allow("uri: 'fs:///a/**', mount: /m, access: [read]", "uri: 'fs:///a/x/**', mount: /m/x, access: [read]")),
    (look_alike, allow('uri: "fs:///srv/\u0440\u0430y/**", access: [read]'), allow('uri: "fs:///srv/pay/**", access: [read]')),
    (look_alike, allow('uri: "fs:///srv/a\u200bb/**", access: [read]'), allow('uri: "fs:///srv/\u0444\u0430\u0439\u043b/**", access: [read]')),
    (look_alike, allow('uri: "fs:///srv/\uff50ay/**", access: [read]'), allow('uri: "fs:///srv/p\u00e4y/**", access: [read]')),
    (plain_secret, "permissions: {environment: {allow: [{key: DB_PASSWORD, value: hunter2x}]}}", "permissions: {environment: {allow: [{key: DB_PASSWORD, value: ''}]}}"),
    (plain_secret, "permissions: {environment: {allow: [{key: X, value: AKIAIOSFODNN7EXAMPLE}]}}", "permissions: {environment: {allow: [{key: X, value: eu-west-1}]}}"),
    (plain_secret, "permissions: {args: ['--api-key=abcdef123']}", "permissions: {args: ['--api-key-file=/k']}"),
    (plain_secret, "permissions: {args: ['q7Gm2Zr9LpXw4Vb8Tn1Ks6Hd3Jf5Cy0AoEuIiQ']}", "permissions: {args: ['some/long/path/to/a/file/that/is/no/secret/at/all']}"),
    (plain_secret, "permissions: {args: ['postgres://app:s3cret@db/x']}", "permissions: {args: ['postgres://db/x']}"),
    (no_digest, "match: {name: x}", "match: {digest: 'sha256:" + "0" * 64 + "'}"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "bad", "good"), TWINS)
def test_a_check_finds_it_and_lets_its_twin_pass(check, bad, good):
    found = list(check.check(document(bad)))
    assert [each.id for each in found] == [check.ID]
    assert found[0].line == 3
    assert list(check.check(document(good))) == []


def test_a_secret_is_not_repeated():
    (found,) = plain_secret.check(
        document("permissions: {environment: {allow: [{key: TOKEN, value: 'do-not-show'}]}}")
    )
    assert "do-not-show" not in found.render_with_source()
    assert found.line == 3


def test_an_untrusted_module_needs_a_digest():
    text = "match: {name: x}\n"
    labelled = b"version: 1\nmetadata: {name: p, labels: {trust: untrusted}}\n" + text.encode()
    (found,) = no_digest.check(load_document(labelled, file="p.yaml"))
    (mild,) = no_digest.check(document(text))
    assert (found.severity, mild.severity) == (Severity.ERROR, Severity.WARNING)


def test_invisible_characters_are_errors_also_where_people_read():
    hidden = b'version: 1\nmetadata: {name: p, description: "allows \\u202egnihton"}\n'
    plain = 'version: 1\nmetadata: {name: p, description: "раy attention"}\n'.encode()
    (found,) = look_alike.check(load_document(hidden, file="p.yaml"))
    assert found.severity is Severity.ERROR
    assert "\u202e" not in found.render_with_source()
    assert list(look_alike.check(load_document(plain, file="p.yaml"))) == []


def test_a_path_through_a_link_is_found():
    rules = document(
        allow("uri: 'fs:///srv/in/**', access: [read]", "uri: 'fs:./x', mount: /x, access: [read]")
    )
    there = {"/srv/in": "/etc"}.get
    (found,) = leads_elsewhere.check(rules, base_dir="/p", real_path=there)
    assert "/etc" in found.sentence
    assert list(leads_elsewhere.check(rules, base_dir="/p", real_path=lambda path: path)) == []
    assert list(leads_elsewhere.check(rules, base_dir="/p", real_path=lambda _: None)) == []
