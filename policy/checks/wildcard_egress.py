"""The check for rules that let a module reach anybody.

Which spelling stands for which hosts is said in `policy/network/`. A host pattern that the whole
Internet can join is no narrower than `*`, so it is reported too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from policy.errors import Severity, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.document import PolicyDocument
    from policy.errors import Finding
    from policy.places import Path

ID = "wildcard-egress"
SUMMARY = "a rule lets the module reach every host"
WHY = "whatever the module can read can then be sent anywhere"

_NETWORKS = ("0.0.0.0/0", "::/0", "::ffff:0:0/96")


def check(document: PolicyDocument) -> Iterator[Finding]:
    """Yield a warning for each rule whose destination is everybody, or everybody below a top-level domain."""
    for path, host in _destinations(document):
        if host in _NETWORKS or host == "*" or (host.startswith("*.") and "." not in host[2:].rstrip(".")):
            finding = document.source.finding(
                ID,
                path,
                problem=f"{quoted(host)} is every host: {WHY}",
                suggestion="name the hosts, as api.example.com or *.example.com",
            )
            yield replace(finding, severity=Severity.WARNING)


def _destinations(document: PolicyDocument) -> Iterator[tuple[Path, str]]:
    network = document.model.permissions.network
    base: Path = ("permissions", "network")
    for protocol, rules in (("tcp", network.tcp), ("udp", network.udp)):
        for index, rule in enumerate(rules):
            yield (*base, protocol, index, "to"), rule.to.strip().lower()
    for index, request in enumerate(network.http):
        try:
            host = urlsplit(request.url).hostname or ""
        except ValueError:  # what is no URL is reported where it is read
            continue
        yield (*base, "http", index, "url"), host
    for index, name in enumerate(network.dns.names if network.dns else ()):
        yield (*base, "dns", "names", index), name.strip().lower()
