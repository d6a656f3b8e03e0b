"""Small components that call WASI 0.2, as text: the types of the interfaces, and a command that calls them.

The names of cases and fields are those of the specification: bare wasmtime takes a component only if they are
right, and so the types of `sandbox/bridge/interfaces.py`, from which the functions' are rendered, are right too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import wasmtime

from policy.component_calls import COMPONENT_CALLS
from sandbox.bridge import interfaces

VERSION = "0.2.6"
MEMORY_PAGES = 8
ROOM = 131_072
"""Where the guest's allocator begins."""

_CODES = [
    "access",
    "would-block",
    "already",
    "bad-descriptor",
    "busy",
    "deadlock",
    "quota",
    "exist",
    "file-too-large",
    "illegal-byte-sequence",
    "in-progress",
    "interrupted",
    "invalid",
    "io",
    "is-directory",
    "loop",
    "too-many-links",
    "message-size",
    "name-too-long",
    "no-device",
    "no-entry",
    "no-lock",
    "insufficient-memory",
    "insufficient-space",
    "not-directory",
    "not-empty",
    "not-recoverable",
    "unsupported",
    "no-tty",
    "no-such-device",
    "overflow",
    "not-permitted",
    "pipe",
    "read-only",
    "invalid-seek",
    "text-file-busy",
    "cross-device",
]


def _enum(names: Sequence[str]) -> str:
    return "(enum " + " ".join(f'"{name}"' for name in names) + ")"


def _variant(cases: Mapping[str, str]) -> str:
    return "(variant " + " ".join(f'(case "{name}" {of})' for name, of in cases.items()) + ")"


def _flags(names: str) -> str:
    return "(flags " + " ".join(f'"{name}"' for name in names.split()) + ")"


_NET_CODES = [
    "unknown",
    "access-denied",
    "not-supported",
    "invalid-argument",
    "out-of-memory",
    "timeout",
    "concurrency-conflict",
    "not-in-progress",
    "would-block",
    "invalid-state",
    "new-socket-limit",
    "address-not-bindable",
    "address-in-use",
    "remote-unreachable",
    "connection-refused",
    "connection-reset",
    "connection-aborted",
    "datagram-too-large",
    "name-unresolvable",
    "temporary-resolver-failure",
    "permanent-resolver-failure",
]
_HTTP_CODES: dict[str, str] = {
    "DNS-timeout": "",
    "DNS-error": "$DNS-error-payload",
    "destination-not-found": "",
    "destination-unavailable": "",
    "destination-IP-prohibited": "",
    "destination-IP-unroutable": "",
    "connection-refused": "",
    "connection-terminated": "",
    "connection-timeout": "",
    "connection-read-timeout": "",
    "connection-write-timeout": "",
    "connection-limit-reached": "",
    "TLS-protocol-error": "",
    "TLS-certificate-error": "",
    "TLS-alert-received": "$TLS-alert-received-payload",
    "HTTP-request-denied": "",
    "HTTP-request-length-required": "",
    "HTTP-request-body-size": "(option u64)",
    "HTTP-request-method-invalid": "",
    "HTTP-request-URI-invalid": "",
    "HTTP-request-URI-too-long": "",
    "HTTP-request-header-section-size": "(option u32)",
    "HTTP-request-header-size": "(option $field-size-payload)",
    "HTTP-request-trailer-section-size": "(option u32)",
    "HTTP-request-trailer-size": "$field-size-payload",
    "HTTP-response-incomplete": "",
    "HTTP-response-header-section-size": "(option u32)",
    "HTTP-response-header-size": "$field-size-payload",
    "HTTP-response-body-size": "(option u64)",
    "HTTP-response-trailer-section-size": "(option u32)",
    "HTTP-response-trailer-size": "$field-size-payload",
    "HTTP-response-transfer-coding": "(option string)",
    "HTTP-response-content-coding": "(option string)",
    "HTTP-response-timeout": "",
    "HTTP-upgrade-failed": "",
    "HTTP-protocol-error": "",
    "loop-detected": "",
    "configuration-error": "",
    "internal-error": "(option string)",
}
HTTP_CODES = tuple(_HTTP_CODES)
_METHODS = "get head post put delete connect options trace patch"
_OF_NETWORK = tuple(
    ("use", name, "wasi:sockets/network")
    for name in ("network", "net-code", "ip-address-family", "ip-socket-address")
)
_EXPORTED = {"net-code": "error-code", "http-code": "error-code"}
"""What is called otherwise here than there, as two interfaces have it."""
_TIMES = ("data-access-timestamp", "data-modification-timestamp", "status-change-timestamp")
_NAMED: dict[str, tuple[tuple[str, str, str], ...]] = {
    "wasi:io/error": (("resource", "error", ""),),
    "wasi:io/poll": (("resource", "pollable", ""),),
    "wasi:io/streams": (
        ("use", "error", "wasi:io/error"),
        ("use", "pollable", "wasi:io/poll"),
        ("resource", "input-stream", ""),
        ("resource", "output-stream", ""),
        ("type", "stream-error", '(variant (case "last-operation-failed" (own $error)) (case "closed"))'),
    ),
    "wasi:cli/stdin": (("use", "input-stream", "wasi:io/streams"),),
    "wasi:cli/stdout": (("use", "output-stream", "wasi:io/streams"),),
    "wasi:cli/stderr": (("use", "output-stream", "wasi:io/streams"),),
    "wasi:cli/environment": (),
    "wasi:cli/exit": (),
    "wasi:cli/terminal-input": (("resource", "terminal-input", ""),),
    "wasi:cli/terminal-output": (("resource", "terminal-output", ""),),
    "wasi:cli/terminal-stdin": (("use", "terminal-input", "wasi:cli/terminal-input"),),
    "wasi:cli/terminal-stdout": (("use", "terminal-output", "wasi:cli/terminal-output"),),
    "wasi:cli/terminal-stderr": (("use", "terminal-output", "wasi:cli/terminal-output"),),
    "wasi:clocks/monotonic-clock": (("use", "pollable", "wasi:io/poll"),),
    "wasi:clocks/wall-clock": (
        ("type", "datetime", '(record (field "seconds" u64) (field "nanoseconds" u32))'),
    ),
    "wasi:random/random": (),
    "wasi:random/insecure": (),
    "wasi:random/insecure-seed": (),
    "wasi:filesystem/types": (
        ("use", "error", "wasi:io/error"),
        ("use", "input-stream", "wasi:io/streams"),
        ("use", "output-stream", "wasi:io/streams"),
        ("use", "datetime", "wasi:clocks/wall-clock"),
        ("resource", "descriptor", ""),
        ("resource", "directory-entry-stream", ""),
        ("type", "error-code", _enum(_CODES)),
        ("type", "advice", _enum(["normal", "sequential", "random", "will-need", "dont-need", "no-reuse"])),
        (
            "type",
            "descriptor-type",
            _enum(
                [
                    "unknown",
                    "block-device",
                    "character-device",
                    "directory",
                    "fifo",
                    "symbolic-link",
                    "regular-file",
                    "socket",
                ]
            ),
        ),
        (
            "type",
            "descriptor-flags",
            _flags(
                "read write file-integrity-sync data-integrity-sync requested-write-sync mutate-directory"
            ),
        ),
        ("type", "path-flags", _flags("symlink-follow")),
        ("type", "open-flags", _flags("create directory exclusive truncate")),
        (
            "type",
            "descriptor-stat",
            '(record (field "type" $descriptor-type) (field "link-count" u64) (field "size" u64) '
            + " ".join(f'(field "{name}" (option $datetime))' for name in _TIMES)
            + ")",
        ),
        (
            "type",
            "new-timestamp",
            '(variant (case "no-change") (case "now") (case "timestamp" $datetime))',
        ),
        (
            "type",
            "directory-entry",
            '(record (field "type" $descriptor-type) (field "name" string))',
        ),
        ("type", "metadata-hash-value", '(record (field "lower" u64) (field "upper" u64))'),
    ),
    "wasi:sockets/network": (
        ("resource", "network", ""),
        ("type", "net-code", _enum(_NET_CODES)),
        ("type", "ip-address-family", _enum(["ipv4", "ipv6"])),
        ("type", "ipv4-address", "(tuple u8 u8 u8 u8)"),
        ("type", "ipv6-address", "(tuple u16 u16 u16 u16 u16 u16 u16 u16)"),
        ("type", "ip-address", '(variant (case "ipv4" $ipv4-address) (case "ipv6" $ipv6-address))'),
        (
            "type",
            "ipv4-socket-address",
            '(record (field "port" u16) (field "address" $ipv4-address))',
        ),
        (
            "type",
            "ipv6-socket-address",
            """(record (field "port" u16) (field "flow-info" u32) (field "address" $ipv6-address)
            (field "scope-id" u32))""",
        ),
        (
            "type",
            "ip-socket-address",
            '(variant (case "ipv4" $ipv4-socket-address) (case "ipv6" $ipv6-socket-address))',
        ),
    ),
    "wasi:sockets/instance-network": (("use", "network", "wasi:sockets/network"),),
    "wasi:sockets/ip-name-lookup": (
        ("use", "pollable", "wasi:io/poll"),
        *((("use", name, "wasi:sockets/network")) for name in ("network", "net-code", "ip-address")),
        ("resource", "resolve-address-stream", ""),
    ),
    "wasi:sockets/tcp": (
        ("use", "pollable", "wasi:io/poll"),
        ("use", "input-stream", "wasi:io/streams"),
        ("use", "output-stream", "wasi:io/streams"),
        *_OF_NETWORK,
        ("resource", "tcp-socket", ""),
        ("type", "shutdown-type", _enum(["receive", "send", "both"])),
    ),
    "wasi:sockets/tcp-create-socket": (
        *_OF_NETWORK,
        ("use", "tcp-socket", "wasi:sockets/tcp"),
    ),
    "wasi:sockets/udp": (
        ("use", "pollable", "wasi:io/poll"),
        *_OF_NETWORK,
        ("resource", "udp-socket", ""),
        ("resource", "incoming-datagram-stream", ""),
        ("resource", "outgoing-datagram-stream", ""),
        (
            "type",
            "incoming-datagram",
            '(record (field "data" (list u8)) (field "remote-address" $ip-socket-address))',
        ),
        (
            "type",
            "outgoing-datagram",
            '(record (field "data" (list u8)) (field "remote-address" (option $ip-socket-address)))',
        ),
    ),
    "wasi:sockets/udp-create-socket": (
        *_OF_NETWORK,
        ("use", "udp-socket", "wasi:sockets/udp"),
    ),
    "wasi:http/types": (
        ("use", "pollable", "wasi:io/poll"),
        ("use", "input-stream", "wasi:io/streams"),
        ("use", "output-stream", "wasi:io/streams"),
        ("use", "error", "wasi:io/error"),
        *(
            ("resource", name, "")
            for name in (
                "fields",
                "outgoing-request",
                "request-options",
                "outgoing-body",
                "future-incoming-response",
                "incoming-response",
                "incoming-body",
                "future-trailers",
            )
        ),
        (
            "type",
            "DNS-error-payload",
            '(record (field "rcode" (option string)) (field "info-code" (option u16)))',
        ),
        (
            "type",
            "TLS-alert-received-payload",
            '(record (field "alert-id" (option u8)) (field "alert-message" (option string)))',
        ),
        (
            "type",
            "field-size-payload",
            '(record (field "field-name" (option string)) (field "field-size" (option u32)))',
        ),
        (
            "type",
            "http-code",
            _variant(_HTTP_CODES),
        ),
        (
            "type",
            "method",
            _variant(dict.fromkeys(_METHODS.split(), "") | {"other": "string"}),
        ),
        ("type", "scheme", '(variant (case "HTTP") (case "HTTPS") (case "other" string))'),
        ("type", "header-error", _variant(dict.fromkeys(["invalid-syntax", "forbidden", "immutable"], ""))),
    ),
    "wasi:http/outgoing-handler": tuple(
        ("use", name, "wasi:http/types")
        for name in ("outgoing-request", "request-options", "future-incoming-response", "http-code")
    ),
    "wasi:filesystem/preopens": (("use", "descriptor", "wasi:filesystem/types"),),
}


def _rendered(text: str) -> str:
    """A type of `interfaces.py` as component text."""
    tokens = re.findall(r"[a-z][a-z0-9-]*|_|[<>,]", text)

    def read() -> str:
        name, inner = tokens.pop(0), []
        if tokens[:1] == ["<"]:
            while (sign := tokens.pop(0)) != ">":
                if sign == "," or tokens[0] != ">":
                    inner.append(read())
        if name in {"own", "borrow"}:
            return f"({name} {inner[0]})"
        if name == "result":
            ok = f" {inner[0]}" if inner and inner[0] != "_" else ""
            return f"(result{ok}" + (f" (error {inner[1]})" if len(inner) > 1 else "") + ")"
        if inner:
            return f"({name} {' '.join(inner)})"
        plain = {"bool", "u8", "u16", "u32", "u64", "s64", "string", "_"}
        return name if name in plain else f"${'metadata-hash-value' if name == 'hash' else name}"

    return read()


def _function(text: str, *, is_method: bool) -> str:
    params, _, result = text.partition("->")
    inside = params.strip()[1:-1]
    depth, parts, last = 0, [], ""
    for char in inside:
        depth += {"<": 1, ">": -1}.get(char, 0)
        if char == "," and not depth:
            parts.append(last)
            last = ""
        else:
            last += char
    parts += [last] if last.strip() else []
    labels = ["self" if is_method and not nth else f"p{nth}" for nth in range(len(parts))]
    given = " ".join(
        f'(param "{label}" {_rendered(part)})' for label, part in zip(labels, parts, strict=True)
    )
    back = _rendered(result.strip())
    return f"(func {given}" + (f" (result {back})" if back != "_" else "") + ")"


def _interface(name: str, used: set[str]) -> str:
    fields = []
    for how, label, more in _NAMED[name]:
        if how == "resource":
            fields.append(f'(export "{label}" (type ${label} (sub resource)))')
        elif how == "use":
            fields.append(f"(alias outer $top ${label} (type $outer-{label}))")
            fields.append(f'(export "{_EXPORTED.get(label, label)}" (type ${label} (eq $outer-{label})))')
        else:
            fields.append(f"(type $own-{label} {more})")
            fields.append(f'(export "{_EXPORTED.get(label, label)}" (type ${label} (eq $own-{label})))')
    for call in COMPONENT_CALLS:
        if call.interface == name and call.name in used and not call.function.startswith("[resource-drop]"):
            is_method = call.function.startswith("[method]")
            kind = _function(interfaces.TEXTS[call.name], is_method=is_method)
            fields.append(f'(export "{call.function}" {kind})')
    aliases = [
        f'(alias export $i-{name} "{_EXPORTED.get(label, label)}" (type ${label}))'
        for how, label, _ in _NAMED[name]
        if how != "use"
    ]
    ident = f"$i-{name}"
    return f'(import "{name}@{VERSION}" (instance {ident} {" ".join(fields)}))\n' + "\n".join(aliases)


def _lowered(used: Sequence[str]) -> str:
    text = []
    for call in COMPONENT_CALLS:
        if call.name not in used:
            continue
        if call.function.startswith("[resource-drop]"):
            made = f"(canon resource.drop ${call.function.partition(']')[2]})"
        else:
            text.append(f'(alias export $i-{call.interface} "{call.function}" (func $g-{call.name}))')
            made = (
                f"(canon lower (func $g-{call.name}) (memory (core memory $memory))"
                " (realloc (core func $realloc)) string-encoding=utf8)"
            )
        text.append(f"(core func $f-{call.name} {made})")
    return "\n".join(text)


def _libc(forgets_at: int) -> str:
    return f"""
(core module $Libc
  (memory (export "memory") {MEMORY_PAGES})
  (global $top (mut i32) (i32.const {ROOM}))
  (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
    (if (i32.gt_u (global.get $top) (i32.const {forgets_at})) (then (global.set $top (i32.const {ROOM}))))
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.set $top (i32.add (local.get $at) (local.get 3)))
    (local.get $at)))
(core instance $libc (instantiate $Libc))
(alias core export $libc "memory" (core memory $memory))
(alias core export $libc "realloc" (core func $realloc))"""


def command(body: str, *, uses: str, fields: str = "", run: str = "run", forgets_at: int = -1) -> bytes:
    """A component that exports `wasi:cli/run`: `body` leaves 0 or 1 on the stack.

    `uses` names the calls, as they are recorded; each is a core function of the same name. The guest's
    allocator gives nothing back, or with `forgets_at` begins anew behind that address.
    """
    names = uses.split()
    core = [
        f'(import "w" "{name}" (func ${name} (param {" ".join(kind.core_params)})'
        f"{' (result ' + kind.core_results[0] + ')' if kind.core_results else ''}))"
        for name in names
        for kind in [interfaces.FUNCTIONS[name]]
    ]
    given = " ".join(f'(export "{name}" (func $f-{name}))' for name in names)
    asked = [name for name in _NAMED if _is_asked(name, set(names))]
    text = f"""(component $top
{chr(10).join(_interface(name, set(names)) for name in asked)}
{_libc(forgets_at)}
{_lowered(names)}
(core instance $w {given})
(core module $Main
  {chr(10).join(core)}
  (import "libc" "memory" (memory {MEMORY_PAGES}))
  {fields}
  (func (export "{run}") (result i32) {body}))
(core instance $main (instantiate $Main (with "w" (instance $w)) (with "libc" (instance $libc))))
(alias core export $main "{run}" (core func $core-run))
(func $run (result (result)) (canon lift (core func $core-run)))
(instance $exported (export "run" (func $run)))
(export "wasi:cli/run@{VERSION}" (instance $exported)))"""
    return bytes(wasmtime.wat2wasm(text))


def _is_asked(interface: str, names: set[str]) -> bool:
    """Whether an interface has a call that is named, or types that one of those needs."""
    if any(call.interface == interface and call.name in names for call in COMPONENT_CALLS):
        return True
    return any(
        how == "use" and more == interface and _is_asked(other, names)
        for other, entries in _NAMED.items()
        for how, _, more in entries
    )
