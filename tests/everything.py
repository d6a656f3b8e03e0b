"""One document of each kind with every field in it, and the values of each as they are written."""

from __future__ import annotations

EVERYTHING = """
version: 1
kind: ModulePolicy
metadata: {name: all, description: x, owner: o, labels: {trust: untrusted, level: 3}, reason: 12:30, expires: 2027-06-30T00:00:00Z}
match: {digest: ["sha256:%(hex)s"], name: "*.wasm", signer: ["key:a"], tenant: [acme]}
extends: [baseline/a]
mode: enforce
when_unenforceable: warn
permissions:
  storage:
    allow:
      - {id: in, uri: "fs:///srv/${tenant}/**", mount: /in, access: [read, list], include: ["**/*.csv"], exclude: [a], max_bytes: 64Mi, max_files: 50}
      - {uri: "tmp://out", mount: /out, access: [create]}
    deny: [{id: d, uri: "fs:./x/**/.*", access: [read]}, {uri: "tmp://out/*"}]
  network:
    tcp: [{id: t, to: db.example, ports: [443, "8000-8010"], private: allow}, {to: "*", ports: ["*"], i_understand: any-destination}]
    udp: [{to: 192.0.2.0/24, ports: [53]}]
    deny: [{id: n, to: 10.0.0.0/8, ports: [22]}, {url: "https://a.example", methods: [GET], paths: ["/a/**"]}]
    dns: {names: ["*.example.com"], max_queries: 16, pin: true, i_understand: any-destination}
    http:
      - {id: h, url: "https://api.example", access: read-only, paths: ["/v2/*"], headers: {deny: [Cookie]}, max_request_bytes: 1Mi, max_response_bytes: 4Mi, redirects: recheck, credential: {from: "secret://t", as: "header:Authorization"}}
      - {url: "http://*:8080", methods: [GET, POST], i_understand: any-destination}
    listen: ["tcp://127.0.0.1:8080"]
    private: deny
  environment: {allow: [{id: e, key: A, value: 1}, {key: B, from: "secret://b"}]}
  args: [a, 1, true, 1.5]
  extra_args: false
  stdio: {stdin: none, stdout: capture, stderr: inherit}
  clocks: {wall: "frozen:2026-01-01T00:00:00Z", monotonic: "frozen:5s", resolution: 1ms}
  random: seeded:00ff
  nn: {models: [{name: m, digest: "sha256:%(hex)s", backend: onnx}], max_calls: 5, max_tensor_bytes: 1Mi}
  host_functions: [{id: f, name: "env/*", args: [x]}]
rules:
  - {id: r1, when: {opened: "fs:///keys/**"}, then: {deny: [network, storage.write], for: run, raise: finding/high}}
  - {when: {bytes_out: {to: "*", over: 8Mi, window: 1h}}, then: {deny: [network]}}
  - {when: {bytes_in: {from: a.example, over: 8, window: run}}, then: {raise: finding/low}}
  - {when: {calls: {to: "tmp://out", over: 5}}, then: {deny: [nn]}}
resources:
  limits: {memory: 64Mi, cpu: 5s, timeout: 250ms, fuel: 20G, module: 4096, compile: 30s, stack: 512Ki, tables: 4, table_elements: 10k, instances: 8, memories: 2, stdout: 1Mi, stderr: 1Mi, disk: unlimited, files: 50, open_files: 64, connections: 0, net_in: 0, net_out: 0, host_calls: 200000}
runtime: {abi: auto, engine: pulley, isolation: process, require_walls: [landlock, seccomp], deterministic: true, cache: true}
audit: {level: calls, payload: "head:256", mask: [default, "json:/email"], sync: all, on_full: "block:5s", timestamps: exact, retain: 400d, rules: [{call: "fd_*", level: counts, payload: none}]}
tests: [{name: a, given: {call: path_open, uri: "fs:///etc/passwd", access: [read]}, expect: deny, rule: r, reason: b}]
""" % {"hex": "3f" * 32}  # noqa: UP031  # braces are the document's

CEILING = """
version: 1
kind: Boundary
metadata: {name: top, owner: security}
match: {tenant: ["*"]}
ceiling:
  storage: {roots: ["fs:///srv/${tenant}/**", "tmp://**"], access: [read], never: ["**/.ssh/**", "fs:///etc/**", 5]}
  network: {schemes: [https, tcp], ports: [443, "1-2"], never: ["169.254.0.0/16", "::1/128", a.example], private: allow-listed, listen: none}
  limits: {memory: 512Mi, cpu: 1s, fuel: 200G, timeout: 300s, open_files: 8, stack: 1Mi, host_calls: 5, unlimited: forbidden}
  require: {digest_for: ["trust=untrusted"], audit_level: calls, isolation: process, walls: [landlock], signed_policy: true}
  modes: [enforce, audit]
when_unenforceable: warn
change_control:
  approvals: {default: 1, widening: 2}
  auto_approve: no-new-access
  break_glass: {roles: [a], max_duration: 1h, second_person: true, audit_payload: full, review_within: 24h}
learn: {from: denials, min_runs: 5, generalise: {min_siblings: 6, forbid_if_unobserved_matches: ["*secret*"]}, output: draft}
anchors: [{kind: file, path: /mnt/a, every: 1000}, {kind: webhook, url: "https://a.example", every: 5m}]
tests: [{name: a, given: {module: any, call: connect, host: a.example, resolves: 169.254.169.254, port: 443, protocol: tcp}, expect: deny}]
"""

TESTS = """
version: 1
kind: PolicyTest
metadata: {name: t}
policy: all
tests: [{name: a, given: {call: http, method: GET, url: "https://a.example/x", tenant: acme, target: a, target2: b, address: 192.0.2.1, digest: "sha256:%s", after: [r1]}, expect: would_deny}]
""" % ("3f" * 32)  # as above

BASELINE = "version: 1\nkind: Baseline\nmetadata: {name: b}\nextends: []\npermissions:\nrules:\naudit: {}\n"
