"""The reference of every finding, as Markdown: its meaning, and an example whose message is the program's own."""

from __future__ import annotations

from functools import cache

from policy.bundle import make_bundle
from policy.catalogue import MEANINGS
from policy.checking import check_document
from policy.checks import CHECKS, SITUATIONAL_CHECKS
from policy.document import load_any
from policy.errors import Finding, PolicyError, Severity

NOW = 1_800_000_000 * 10**9
DIGEST = "sha256:" + "3f" * 32
HEAD = "version: 1\nmetadata: {name: p}\n"
LIBRARY = (
    "version: 1\nkind: Baseline\nmetadata: {name: base}\n",
    "version: 1\nkind: Boundary\nmetadata: {name: top}\nceiling: {storage: {roots: ['fs:///**', 'tmp://**'], access: [read, list, create, write, append, delete, symlink]}, network: {schemes: [tcp, udp, http, https], ports: ['*'], private: allow, listen: any}, limits: {memory: 1Gi}}\n",
)


def allow(*rules: str) -> str:
    return "permissions:\n  storage:\n    allow:\n" + "".join(f"      - {{{rule}}}\n" for rule in rules)


def network(*lines: str) -> str:
    return "permissions:\n  network:\n" + "".join(f"    {line}\n" for line in lines)


def later(when: str, then: str) -> str:
    return f"rules:\n  - when: {{{when}}}\n    then: {{{then}}}\n"


IN = 'uri: "fs:///srv/in/**", mount: /in, access: [read]'
EXAMPLES: dict[str, tuple[str, str]] = {
    "empty-access": (allow('uri: "fs:///srv/in/**", access: []'), allow('uri: "fs:///srv/in/**", access: [read]')),
    "nul-byte": ('permissions: {args: ["a\\0b"]}\n', 'permissions: {args: ["a b"]}\n'),
    "environment-name": ("permissions: {environment: {allow: [{key: A=B, value: x}]}}\n", "permissions: {environment: {allow: [{key: A, value: x}]}}\n"),
    "unlimited": ("resources: {limits: {disk: unlimited}}\n", "resources: {limits: {disk: 1Gi}}\n"),
    "no-digest": ("match: {name: cleaner.wasm}\n", f'match: {{digest: "{DIGEST}"}}\n'),
    "whole-filesystem": (allow('uri: "fs:///**", access: [read]'), allow(IN)),
    "writable-root": (allow('uri: "fs:///srv/**", access: [create, write]'), allow('uri: "fs:///srv/out/**", access: [create, write]')),
    "wildcard-egress": (network('tcp: [{to: "*", ports: [443], i_understand: any-destination}]'), network("tcp: [{to: 192.0.2.1, ports: [443]}]")),
    "nested-grants": (allow('uri: "fs:///srv/**", mount: /a, access: [read]', 'uri: "fs:///srv/x/**", mount: /b, access: [write]'), allow('uri: "fs:///srv/a/**", mount: /a, access: [read]', 'uri: "fs:///srv/b/**", mount: /b, access: [write]')),
    "shadowed-mount": (allow('uri: "fs:///srv/a/**", mount: /m, access: [read]', 'uri: "fs:///srv/b/**", mount: /m/x, access: [read]'), allow('uri: "fs:///srv/a/**", mount: /m, access: [read]', 'uri: "fs:///srv/b/**", mount: /n, access: [read]')),
    "unused-right": (allow('uri: "fs:///srv/a.json", access: [read, list]'), allow('uri: "fs:///srv/a.json", access: [read]')),
    "unknown-audit-call": ("audit: {rules: [{call: fd_reed, level: counts}]}\n", "audit: {rules: [{call: fd_read, level: counts}]}\n"),
    "dead-audit-rule": ("audit: {rules: [{call: 'fd_*', level: summary}, {call: fd_read, level: counts}]}\n", "audit: {rules: [{call: fd_read, level: counts}, {call: 'fd_*', level: summary}]}\n"),
    "unlimited-payload": ("audit: {payload: full}\nresources: {limits: {host_calls: unlimited}}\n", "audit: {payload: full}\nresources: {limits: {host_calls: 10k}}\n"),
    "walls-without-confinement": ("runtime: {isolation: process, require_walls: [landlock]}\n", "runtime: {isolation: confined, require_walls: [landlock]}\n"),
    "look-alike": (allow('uri: "fs:///srv/\u0440\u0430y/**", access: [read]'), allow('uri: "fs:///srv/pay/**", access: [read]')),
    "plain-secret": ("permissions: {environment: {allow: [{key: DB_PASSWORD, value: hunter2x}]}}\n", "permissions: {environment: {allow: [{key: DB_HOST, value: db.example}]}}\n"),
    "expired": ("metadata: {name: p, expires: 2020-01-01T00:00:00Z}\n", "metadata: {name: p, expires: 2200-01-01T00:00:00Z}\n"),
    "not-enforceable-yet": (network("dns: {names: [a.example.com], pin: false}"), network()),
    "syntax": ("mode: [\n", "mode: enforce\n"),
    "tag": ("mode: !!str enforce\n", "mode: enforce\n"),
    "duplicate-key": ("mode: enforce\nmode: audit\n", "mode: enforce\n"),
    "bad-key": ("[a]: b\n", "mode: audit\n"),
    "bad-alias": ("mode: *x\n", "mode: audit\n"),
    "unknown-key": ("permisions: {}\n", "permissions: {}\n"),
    "missing-key": (allow('uri: "fs:///srv/in/**"'), allow(IN)),
    "wrong-type": ("permissions: {extra_args: yes}\n", "permissions: {extra_args: true}\n"),
    "bad-value": ("mode: enforc\n", "mode: enforce\n"),
    "bad-version": ("version: 2\nmetadata: {name: p}\n", ""),
    "bad-name": ("metadata: {name: my policy}\n", "metadata: {name: my-policy}\n"),
    "bad-id": (allow("id: a/b, " + IN), allow("id: a-b, " + IN)),
    "bad-text": ('extends: [""]\n', "extends: [base]\n"),
    "bad-digest": ("match: {digest: sha256:3F}\n", f'match: {{digest: "{DIGEST}"}}\n'),
    "bad-quantity": ("resources: {limits: {memory: 64MB, cpu: 5}}\n", "resources: {limits: {memory: 64Mi, cpu: 5s}}\n"),
    "bad-time": ("metadata: {name: p, expires: 2200-01-01}\n", "metadata: {name: p, expires: 2200-01-01T00:00:00Z}\n"),
    "bad-choice": ("permissions: {random: maybe}\n", "permissions: {random: real}\n"),
    "bad-path": (allow('uri: "/srv/in/", access: [read]'), allow('uri: "fs:///srv/in/**", access: [read]')),
    "empty-list": (network("tcp: [{to: 192.0.2.1, ports: []}]"), network("tcp: [{to: 192.0.2.1, ports: [443]}]")),
    "bad-placeholder": ('permissions: {args: ["${tennant}"]}\n', 'permissions: {args: ["${tenant}"]}\n'),
    "bad-host": (network('tcp: [{to: "*", ports: [443]}]'), network("tcp: [{to: 192.0.2.1, ports: [443]}]")),
    "bad-address": (network("tcp: [{to: 10.0.0.1/8, ports: [443]}]"), network("tcp: [{to: 10.0.0.0/8, ports: [443]}]")),
    "bad-port": (network('tcp: [{to: 192.0.2.1, ports: ["8010-8000"]}]'), network('tcp: [{to: 192.0.2.1, ports: ["8000-8010"]}]')),
    "bad-url": (network("http: [{url: api.example.com, methods: [GET]}]"), network('http: [{url: "https://api.example.com", methods: [GET]}]')),
    "bad-method": (network('http: [{url: "https://api.example.com", methods: [get]}]'), network('http: [{url: "https://api.example.com", methods: [GET]}]')),
    "bad-header": (network('http: [{url: "https://api.example.com", methods: [GET], headers: {deny: ["Cookie:"]}}]'), network('http: [{url: "https://api.example.com", methods: [GET], headers: {deny: [Cookie]}}]')),
    "bad-listener": (network('listen: ["tcp://localhost:8080"]'), network('listen: ["tcp://127.0.0.1:8080"]')),
    "bad-credential": (network('http: [{url: "https://api.example.com", methods: [GET], credential: {from: token, as: "header:Authorization"}}]'), network('http: [{url: "https://api.example.com", methods: [GET], credential: {from: "secret://token", as: "header:Authorization"}}]')),
    "bad-deny": (network('deny: [{to: 192.0.2.1, paths: ["/a"]}]'), network("deny: [{to: 192.0.2.1}]")),
    "bad-trigger": (allow(IN) + later('opened: "fs:///srv/in/**", calls: {to: "fs:///srv/in/**", over: 5}', "deny: [network]"), allow(IN) + later('opened: "fs:///srv/in/**"', "deny: [network]")),
    "bad-target": (allow(IN) + later("calls: {to: /srv, over: 5}", "deny: [network]"), allow(IN) + later('calls: {to: "fs:///srv/in/**", over: 5}', "deny: [network]")),
    "empty-rule": (allow(IN) + later('opened: "fs:///srv/in/**"', ""), allow(IN) + later('opened: "fs:///srv/in/**"', "deny: [network]")),
    "mount-conflict": (allow('uri: "fs:///srv/a/**", mount: /m, access: [read]', 'uri: "fs:///srv/b/**", mount: /m, access: [read]'), allow('uri: "fs:///srv/a/**", mount: /m, access: [read]', 'uri: "fs:///srv/b/**", mount: /n, access: [read]')),
    "mount-missing": (allow('uri: "tmp://out", access: [create]'), allow('uri: "tmp://out", mount: /out, access: [create]')),
    "file-rule": (allow('uri: "fs:///srv/a.json", mount: /in/b.json, access: [read]'), allow('uri: "fs:///srv/a.json", mount: /in/a.json, access: [read]')),
    "duplicate-id": (allow("id: in, " + IN, 'id: in, uri: "fs:///srv/b/**", access: [read]'), allow("id: in, " + IN, 'id: b, uri: "fs:///srv/b/**", access: [read]')),
    "dead-rule": (allow('uri: "fs:///proc/**", access: [read]'), allow(IN)),
    "no-lookup": (network("tcp: [{to: db.example, ports: [5432]}]"), network("tcp: [{to: db.example, ports: [5432]}]", "dns: {names: [db.example]}")),
    "unknown-baseline": ("extends: [bass]\n", "extends: [base]\n"),
    "outside-boundary": ("resources: {limits: {memory: 2Gi}}\n", "resources: {limits: {memory: 1Gi}}\n"),
}  # fmt: skip
"""For each finding that a policy can have: one that has it, and its twin. The head of a document is left out."""


def document(text: str) -> str:
    """The whole document of an example."""
    return (
        text
        if text.startswith("version")
        else ("version: 1\n" if text.startswith("metadata") else HEAD) + text
    )


@cache
def findings(text: str) -> tuple[Finding, ...]:
    """Everything that is found about an example."""
    bundle = make_bundle(load_any(each.encode(), file="library.yaml") for each in LIBRARY)
    try:
        read = load_any(document(text).encode(), file="policy.yaml")
    except PolicyError as err:
        return err.findings
    return check_document(read, base_dir="/policies", now_ns=NOW, bundle=bundle)


def ids(text: str) -> set[str]:
    return {finding.id for finding in findings(text)}


@cache
def page() -> str:
    """The whole page."""
    lints = [check.ID for check in (*CHECKS, *SITUATIONAL_CHECKS)]
    lines = [
        "# Findings\n",
        "What `wasmgate policy check` reports, by the id that stands in its JSON and SARIF.",
        "This page is made from the program; `--accept-golden` writes it.",
        "An error keeps a policy from being used, a warning does not.",
        "Examples leave out `version` and `metadata` where nothing depends on them; the messages are what the program says of them.\n",
        "## Lints\n",
        "A lint looks at a document as a whole.\n",
    ]
    for rule in lints:
        lines += _entry(rule)
    lines += ["## Other findings\n", "These are about the text, its shape, and what does not fit together.\n"]
    for rule in sorted(set(MEANINGS) - set(lints)):
        lines += _entry(rule)
    return "\n".join(lines).rstrip() + "\n"


def _entry(rule: str) -> list[str]:
    meaning = MEANINGS[rule]
    lines = [
        f"### {rule}\n",
        f"It says: {meaning.what}.",
        f"Why: {meaning.why}.",
        f"What to do: {meaning.fix}\n",
    ]
    if rule in EXAMPLES:
        bad, good = EXAMPLES[rule]
        found = next(each for each in findings(bad) if each.id == rule)
        mark = "warning: " if found.severity is Severity.WARNING else ""
        said = f"{mark}{found.field}: {found.sentence}" if found.field else f"{mark}{found.sentence}"
        lines += ["```yaml", f"# bad\n{_shown(bad)}# good\n{_shown(good)}```\n", "```text", said, "```\n"]
    return lines


def _shown(text: str) -> str:
    return "".join(char if char.isascii() else f"\\u{ord(char):04x}" for char in text) or "version: 1\n"
