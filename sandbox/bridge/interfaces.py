"""The types of the calls of WASI 0.2 that the bridge has, one for each of `policy.component_calls`.

The order of cases and fields is that of the specification. What each of them does is in `calls_*.py`. It is
longer than most: there are many calls, a line each.
"""

from __future__ import annotations

from typing import Final

from policy.component_calls import COMPONENT_CALLS
from sandbox.bridge.abi import Function, Plain, Record, Sequence, Type, Variant, enumeration, function

_U8, _U32, _U64 = Plain(1), Plain(4), Plain(8, "i64")
_HANDLE = _U32
_STRING = Sequence(_U8)
_DATETIME = Record((_U64, _U32))
_FILE_TYPE = enumeration(8)
_MAYBE_TIME = Variant((None, _DATETIME))

_V4 = Record((Plain(2), Record((_U8,) * 4)))
_V6 = Record((Plain(2), _U32, Record((Plain(2),) * 8), _U32))
_PLACE = Variant((_V4, _V6))

_MAYBE_STRING = Variant((None, _STRING))
_MAYBE_U32 = Variant((None, _U32))
_MAYBE_U64 = Variant((None, _U64))
_FIELD_SIZE = Record((_MAYBE_STRING, _MAYBE_U32))
# SPEC: wasi:http/types, error-code: what a case holds, by its number; the others hold nothing
_HTTP_CASES: Final[dict[int, Type]] = {
    1: Record((_MAYBE_STRING, Variant((None, Plain(2))))),
    14: Record((Variant((None, _U8)), _MAYBE_STRING)),
    17: _MAYBE_U64,
    21: _MAYBE_U32,
    22: Variant((None, _FIELD_SIZE)),
    23: _MAYBE_U32,
    24: _FIELD_SIZE,
    26: _MAYBE_U32,
    27: _FIELD_SIZE,
    28: _MAYBE_U64,
    29: _MAYBE_U32,
    30: _FIELD_SIZE,
    31: _MAYBE_STRING,
    32: _MAYBE_STRING,
    38: _MAYBE_STRING,
}

TYPES: Final[dict[str, Type]] = {
    "error": _HANDLE,  # handles, where a text says `own<error>`
    "input-stream": _HANDLE,
    "output-stream": _HANDLE,
    "pollable": _HANDLE,
    "descriptor": _HANDLE,
    "directory-entry-stream": _HANDLE,
    "terminal-input": _HANDLE,
    "terminal-output": _HANDLE,
    "datetime": _DATETIME,
    "stream-error": Variant((_HANDLE, None)),
    "error-code": enumeration(37),
    "advice": enumeration(6),
    "descriptor-type": _FILE_TYPE,
    "descriptor-flags": _U8,
    "path-flags": _U8,
    "open-flags": _U8,
    "descriptor-stat": Record((_FILE_TYPE, _U64, _U64, _MAYBE_TIME, _MAYBE_TIME, _MAYBE_TIME)),
    "new-timestamp": Variant((None, None, _DATETIME)),
    "directory-entry": Record((_FILE_TYPE, _STRING)),
    "hash": Record((_U64, _U64)),
    "network": _HANDLE,
    "tcp-socket": _HANDLE,
    "udp-socket": _HANDLE,
    "resolve-address-stream": _HANDLE,
    "incoming-datagram-stream": _HANDLE,
    "outgoing-datagram-stream": _HANDLE,
    "net-code": enumeration(21),
    "ip-address-family": enumeration(2),
    "ip-address": Variant((Record((_U8,) * 4), Record((Plain(2),) * 8))),
    "ip-socket-address": _PLACE,
    "shutdown-type": enumeration(3),
    "incoming-datagram": Record((Sequence(_U8), _PLACE)),
    "outgoing-datagram": Record((Sequence(_U8), Variant((None, _PLACE)))),
    "fields": _HANDLE,
    "outgoing-request": _HANDLE,
    "request-options": _HANDLE,
    "outgoing-body": _HANDLE,
    "future-incoming-response": _HANDLE,
    "incoming-response": _HANDLE,
    "incoming-body": _HANDLE,
    "future-trailers": _HANDLE,
    "incoming-request": _HANDLE,
    "outgoing-response": _HANDLE,
    "response-outparam": _HANDLE,
    "method": Variant((*(None,) * 9, _STRING)),
    "scheme": Variant((None, None, _STRING)),
    "header-error": enumeration(3),
    "http-code": Variant(tuple(_HTTP_CASES.get(case) for case in range(39))),
}

_DROP = "(u32) -> _"
_AT = "borrow<descriptor>, path-flags, string"
_TCP, _UDP = "borrow<tcp-socket>", "borrow<udp-socket>"
_IN, _OUT = "borrow<incoming-datagram-stream>", "borrow<outgoing-datagram-stream>"
_BY = "borrow<network>, ip-socket-address"
_SOCKETS: Final = {
    "network.drop": _DROP,
    "instance-network.instance-network": "() -> own<network>",
    "ip-name-lookup.resolve-addresses": (
        "(borrow<network>, string) -> result<own<resolve-address-stream>, net-code>"
    ),
    "resolve-address-stream.drop": _DROP,
    "resolve-address-stream.resolve-next-address": (
        "(borrow<resolve-address-stream>) -> result<option<ip-address>, net-code>"
    ),
    "resolve-address-stream.subscribe": "(borrow<resolve-address-stream>) -> own<pollable>",
    "tcp-create-socket.create-tcp-socket": "(ip-address-family) -> result<own<tcp-socket>, net-code>",
    "udp-create-socket.create-udp-socket": "(ip-address-family) -> result<own<udp-socket>, net-code>",
    "tcp-socket.drop": _DROP,
    "tcp-socket.start-bind": f"({_TCP}, {_BY}) -> result<_, net-code>",
    "tcp-socket.finish-bind": f"({_TCP}) -> result<_, net-code>",
    "tcp-socket.start-connect": f"({_TCP}, {_BY}) -> result<_, net-code>",
    "tcp-socket.finish-connect": (
        f"({_TCP}) -> result<tuple<own<input-stream>, own<output-stream>>, net-code>"
    ),
    "tcp-socket.start-listen": f"({_TCP}) -> result<_, net-code>",
    "tcp-socket.finish-listen": f"({_TCP}) -> result<_, net-code>",
    "tcp-socket.accept": (
        f"({_TCP}) -> result<tuple<own<tcp-socket>, own<input-stream>, own<output-stream>>, net-code>"
    ),
    "tcp-socket.local-address": f"({_TCP}) -> result<ip-socket-address, net-code>",
    "tcp-socket.remote-address": f"({_TCP}) -> result<ip-socket-address, net-code>",
    "tcp-socket.is-listening": f"({_TCP}) -> bool",
    "tcp-socket.address-family": f"({_TCP}) -> ip-address-family",
    "tcp-socket.set-listen-backlog-size": f"({_TCP}, u64) -> result<_, net-code>",
    "tcp-socket.keep-alive-enabled": f"({_TCP}) -> result<bool, net-code>",
    "tcp-socket.set-keep-alive-enabled": f"({_TCP}, bool) -> result<_, net-code>",
    "tcp-socket.keep-alive-idle-time": f"({_TCP}) -> result<u64, net-code>",
    "tcp-socket.set-keep-alive-idle-time": f"({_TCP}, u64) -> result<_, net-code>",
    "tcp-socket.keep-alive-interval": f"({_TCP}) -> result<u64, net-code>",
    "tcp-socket.set-keep-alive-interval": f"({_TCP}, u64) -> result<_, net-code>",
    "tcp-socket.keep-alive-count": f"({_TCP}) -> result<u32, net-code>",
    "tcp-socket.set-keep-alive-count": f"({_TCP}, u32) -> result<_, net-code>",
    "tcp-socket.hop-limit": f"({_TCP}) -> result<u8, net-code>",
    "tcp-socket.set-hop-limit": f"({_TCP}, u8) -> result<_, net-code>",
    "tcp-socket.receive-buffer-size": f"({_TCP}) -> result<u64, net-code>",
    "tcp-socket.set-receive-buffer-size": f"({_TCP}, u64) -> result<_, net-code>",
    "tcp-socket.send-buffer-size": f"({_TCP}) -> result<u64, net-code>",
    "tcp-socket.set-send-buffer-size": f"({_TCP}, u64) -> result<_, net-code>",
    "tcp-socket.subscribe": f"({_TCP}) -> own<pollable>",
    "tcp-socket.shutdown": f"({_TCP}, shutdown-type) -> result<_, net-code>",
    "udp-socket.drop": _DROP,
    "udp-socket.start-bind": f"({_UDP}, {_BY}) -> result<_, net-code>",
    "udp-socket.finish-bind": f"({_UDP}) -> result<_, net-code>",
    "udp-socket.stream": (
        f"({_UDP}, option<ip-socket-address>)"
        " -> result<tuple<own<incoming-datagram-stream>, own<outgoing-datagram-stream>>, net-code>"
    ),
    "udp-socket.local-address": f"({_UDP}) -> result<ip-socket-address, net-code>",
    "udp-socket.remote-address": f"({_UDP}) -> result<ip-socket-address, net-code>",
    "udp-socket.address-family": f"({_UDP}) -> ip-address-family",
    "udp-socket.unicast-hop-limit": f"({_UDP}) -> result<u8, net-code>",
    "udp-socket.set-unicast-hop-limit": f"({_UDP}, u8) -> result<_, net-code>",
    "udp-socket.receive-buffer-size": f"({_UDP}) -> result<u64, net-code>",
    "udp-socket.set-receive-buffer-size": f"({_UDP}, u64) -> result<_, net-code>",
    "udp-socket.send-buffer-size": f"({_UDP}) -> result<u64, net-code>",
    "udp-socket.set-send-buffer-size": f"({_UDP}, u64) -> result<_, net-code>",
    "udp-socket.subscribe": f"({_UDP}) -> own<pollable>",
    "incoming-datagram-stream.drop": _DROP,
    "incoming-datagram-stream.receive": f"({_IN}, u64) -> result<list<incoming-datagram>, net-code>",
    "incoming-datagram-stream.subscribe": f"({_IN}) -> own<pollable>",
    "outgoing-datagram-stream.drop": _DROP,
    "outgoing-datagram-stream.check-send": f"({_OUT}) -> result<u64, net-code>",
    "outgoing-datagram-stream.send": f"({_OUT}, list<outgoing-datagram>) -> result<u64, net-code>",
    "outgoing-datagram-stream.subscribe": f"({_OUT}) -> own<pollable>",
}
_FIELDS, _REQUEST, _OPTIONS = "borrow<fields>", "borrow<outgoing-request>", "borrow<request-options>"
_BAD_HEADER = "result<_, header-error>"
_TIME = "option<u64>"
_ARRIVED = "option<result<result<{}, http-code>>>"
_HTTP: Final = {
    "types.http-error-code": "(borrow<error>) -> option<http-code>",
    "fields.new": "() -> own<fields>",
    "fields.from-list": "(list<tuple<string, list<u8>>>) -> result<own<fields>, header-error>",
    "fields.get": f"({_FIELDS}, string) -> list<list<u8>>",
    "fields.has": f"({_FIELDS}, string) -> bool",
    "fields.set": f"({_FIELDS}, string, list<list<u8>>) -> {_BAD_HEADER}",
    "fields.delete": f"({_FIELDS}, string) -> {_BAD_HEADER}",
    "fields.append": f"({_FIELDS}, string, list<u8>) -> {_BAD_HEADER}",
    "fields.entries": f"({_FIELDS}) -> list<tuple<string, list<u8>>>",
    "fields.clone": f"({_FIELDS}) -> own<fields>",
    "fields.drop": _DROP,
    "outgoing-request.new": "(own<fields>) -> own<outgoing-request>",
    "outgoing-request.body": f"({_REQUEST}) -> result<own<outgoing-body>>",
    "outgoing-request.method": f"({_REQUEST}) -> method",
    "outgoing-request.set-method": f"({_REQUEST}, method) -> result",
    "outgoing-request.path-with-query": f"({_REQUEST}) -> option<string>",
    "outgoing-request.set-path-with-query": f"({_REQUEST}, option<string>) -> result",
    "outgoing-request.scheme": f"({_REQUEST}) -> option<scheme>",
    "outgoing-request.set-scheme": f"({_REQUEST}, option<scheme>) -> result",
    "outgoing-request.authority": f"({_REQUEST}) -> option<string>",
    "outgoing-request.set-authority": f"({_REQUEST}, option<string>) -> result",
    "outgoing-request.headers": f"({_REQUEST}) -> own<fields>",
    "outgoing-request.drop": _DROP,
    "request-options.new": "() -> own<request-options>",
    "request-options.connect-timeout": f"({_OPTIONS}) -> {_TIME}",
    "request-options.set-connect-timeout": f"({_OPTIONS}, {_TIME}) -> result",
    "request-options.first-byte-timeout": f"({_OPTIONS}) -> {_TIME}",
    "request-options.set-first-byte-timeout": f"({_OPTIONS}, {_TIME}) -> result",
    "request-options.between-bytes-timeout": f"({_OPTIONS}) -> {_TIME}",
    "request-options.set-between-bytes-timeout": f"({_OPTIONS}, {_TIME}) -> result",
    "request-options.drop": _DROP,
    "outgoing-body.write": "(borrow<outgoing-body>) -> result<own<output-stream>>",
    "outgoing-body.finish": "(own<outgoing-body>, option<own<fields>>) -> result<_, http-code>",
    "outgoing-body.drop": _DROP,
    "future-incoming-response.subscribe": "(borrow<future-incoming-response>) -> own<pollable>",
    "future-incoming-response.get": (
        f"(borrow<future-incoming-response>) -> {_ARRIVED.format('own<incoming-response>')}"
    ),
    "future-incoming-response.drop": _DROP,
    "incoming-response.status": "(borrow<incoming-response>) -> u16",
    "incoming-response.headers": "(borrow<incoming-response>) -> own<fields>",
    "incoming-response.consume": "(borrow<incoming-response>) -> result<own<incoming-body>>",
    "incoming-response.drop": _DROP,
    "incoming-body.stream": "(borrow<incoming-body>) -> result<own<input-stream>>",
    "incoming-body.finish": "(own<incoming-body>) -> own<future-trailers>",
    "incoming-body.drop": _DROP,
    "future-trailers.subscribe": "(borrow<future-trailers>) -> own<pollable>",
    "future-trailers.get": f"(borrow<future-trailers>) -> {_ARRIVED.format('option<own<fields>>')}",
    "future-trailers.drop": _DROP,
    "outgoing-handler.handle": (
        "(own<outgoing-request>, option<own<request-options>>)"
        " -> result<own<future-incoming-response>, http-code>"
    ),
}
_REST: Final = {
    "environment.get-environment": "() -> list<tuple<string, string>>",
    "environment.get-arguments": "() -> list<string>",
    "environment.initial-cwd": "() -> option<string>",
    "exit.exit": "(result) -> _",
    "exit.exit-with-code": "(u8) -> _",
    "stdin.get-stdin": "() -> own<input-stream>",
    "stdout.get-stdout": "() -> own<output-stream>",
    "stderr.get-stderr": "() -> own<output-stream>",
    "terminal-input.drop": _DROP,
    "terminal-output.drop": _DROP,
    "terminal-stdin.get-terminal-stdin": "() -> option<own<terminal-input>>",
    "terminal-stdout.get-terminal-stdout": "() -> option<own<terminal-output>>",
    "terminal-stderr.get-terminal-stderr": "() -> option<own<terminal-output>>",
    "monotonic-clock.now": "() -> u64",
    "monotonic-clock.resolution": "() -> u64",
    "monotonic-clock.subscribe-instant": "(u64) -> own<pollable>",
    "monotonic-clock.subscribe-duration": "(u64) -> own<pollable>",
    "wall-clock.now": "() -> datetime",
    "wall-clock.resolution": "() -> datetime",
    "error.drop": _DROP,
    "error.to-debug-string": "(borrow<error>) -> string",
    "pollable.drop": _DROP,
    "pollable.ready": "(borrow<pollable>) -> bool",
    "pollable.block": "(borrow<pollable>) -> _",
    "poll.poll": "(list<borrow<pollable>>) -> list<u32>",
    "input-stream.drop": _DROP,
    "output-stream.drop": _DROP,
    "input-stream.read": "(borrow<input-stream>, u64) -> result<list<u8>, stream-error>",
    "input-stream.blocking-read": "(borrow<input-stream>, u64) -> result<list<u8>, stream-error>",
    "input-stream.skip": "(borrow<input-stream>, u64) -> result<u64, stream-error>",
    "input-stream.blocking-skip": "(borrow<input-stream>, u64) -> result<u64, stream-error>",
    "input-stream.subscribe": "(borrow<input-stream>) -> own<pollable>",
    "output-stream.check-write": "(borrow<output-stream>) -> result<u64, stream-error>",
    "output-stream.write": "(borrow<output-stream>, list<u8>) -> result<_, stream-error>",
    "output-stream.blocking-write-and-flush": (
        "(borrow<output-stream>, list<u8>) -> result<_, stream-error>"
    ),
    "output-stream.flush": "(borrow<output-stream>) -> result<_, stream-error>",
    "output-stream.blocking-flush": "(borrow<output-stream>) -> result<_, stream-error>",
    "output-stream.subscribe": "(borrow<output-stream>) -> own<pollable>",
    "output-stream.write-zeroes": "(borrow<output-stream>, u64) -> result<_, stream-error>",
    "output-stream.blocking-write-zeroes-and-flush": (
        "(borrow<output-stream>, u64) -> result<_, stream-error>"
    ),
    "output-stream.splice": "(borrow<output-stream>, borrow<input-stream>, u64) -> result<u64, stream-error>",
    "output-stream.blocking-splice": (
        "(borrow<output-stream>, borrow<input-stream>, u64) -> result<u64, stream-error>"
    ),
    "preopens.get-directories": "() -> list<tuple<own<descriptor>, string>>",
    "descriptor.drop": _DROP,
    "directory-entry-stream.drop": _DROP,
    "descriptor.read-via-stream": "(borrow<descriptor>, u64) -> result<own<input-stream>, error-code>",
    "descriptor.write-via-stream": "(borrow<descriptor>, u64) -> result<own<output-stream>, error-code>",
    "descriptor.append-via-stream": "(borrow<descriptor>) -> result<own<output-stream>, error-code>",
    "descriptor.advise": "(borrow<descriptor>, u64, u64, advice) -> result<_, error-code>",
    "descriptor.sync-data": "(borrow<descriptor>) -> result<_, error-code>",
    "descriptor.get-flags": "(borrow<descriptor>) -> result<descriptor-flags, error-code>",
    "descriptor.get-type": "(borrow<descriptor>) -> result<descriptor-type, error-code>",
    "descriptor.set-size": "(borrow<descriptor>, u64) -> result<_, error-code>",
    "descriptor.set-times": "(borrow<descriptor>, new-timestamp, new-timestamp) -> result<_, error-code>",
    "descriptor.read": "(borrow<descriptor>, u64, u64) -> result<tuple<list<u8>, bool>, error-code>",
    "descriptor.write": "(borrow<descriptor>, list<u8>, u64) -> result<u64, error-code>",
    "descriptor.read-directory": "(borrow<descriptor>) -> result<own<directory-entry-stream>, error-code>",
    "descriptor.sync": "(borrow<descriptor>) -> result<_, error-code>",
    "descriptor.create-directory-at": "(borrow<descriptor>, string) -> result<_, error-code>",
    "descriptor.stat": "(borrow<descriptor>) -> result<descriptor-stat, error-code>",
    "descriptor.stat-at": f"({_AT}) -> result<descriptor-stat, error-code>",
    "descriptor.set-times-at": f"({_AT}, new-timestamp, new-timestamp) -> result<_, error-code>",
    "descriptor.link-at": f"({_AT}, borrow<descriptor>, string) -> result<_, error-code>",
    "descriptor.open-at": f"({_AT}, open-flags, descriptor-flags) -> result<own<descriptor>, error-code>",
    "descriptor.readlink-at": "(borrow<descriptor>, string) -> result<string, error-code>",
    "descriptor.remove-directory-at": "(borrow<descriptor>, string) -> result<_, error-code>",
    "descriptor.rename-at": (
        "(borrow<descriptor>, string, borrow<descriptor>, string) -> result<_, error-code>"
    ),
    "descriptor.symlink-at": "(borrow<descriptor>, string, string) -> result<_, error-code>",
    "descriptor.unlink-file-at": "(borrow<descriptor>, string) -> result<_, error-code>",
    "descriptor.is-same-object": "(borrow<descriptor>, borrow<descriptor>) -> bool",
    "descriptor.metadata-hash": "(borrow<descriptor>) -> result<hash, error-code>",
    "descriptor.metadata-hash-at": f"({_AT}) -> result<hash, error-code>",
    "directory-entry-stream.read-directory-entry": (
        "(borrow<directory-entry-stream>) -> result<option<directory-entry>, error-code>"
    ),
    "types.filesystem-error-code": "(borrow<error>) -> option<error-code>",
    "random.get-random-bytes": "(u64) -> list<u8>",
    "random.get-random-u64": "() -> u64",
    "insecure.get-insecure-random-bytes": "(u64) -> list<u8>",
    "insecure.get-insecure-random-u64": "() -> u64",
    "insecure-seed.insecure-seed": "() -> tuple<u64, u64>",
}
TEXTS: Final = _REST | _SOCKETS | _HTTP
"""The types, by the recorded name of each call."""

FUNCTIONS: Final[dict[str, Function]] = {name: function(text, TYPES) for name, text in TEXTS.items()}
"""The type of each call, by its recorded name."""

UNSERVED: Final[dict[tuple[str, str], Function]] = {
    ("wasi:http/types", name): function(f"({params}) -> {result}", TYPES)
    for name, params, result in (
        ("[method]incoming-request.method", "borrow<incoming-request>", "method"),
        ("[method]incoming-request.path-with-query", "borrow<incoming-request>", "option<string>"),
        ("[method]incoming-request.scheme", "borrow<incoming-request>", "option<scheme>"),
        ("[method]incoming-request.authority", "borrow<incoming-request>", "option<string>"),
        ("[method]incoming-request.headers", "borrow<incoming-request>", "own<fields>"),
        ("[method]incoming-request.consume", "borrow<incoming-request>", "result<own<incoming-body>>"),
        ("[resource-drop]incoming-request", "own<incoming-request>", "_"),
        ("[constructor]outgoing-response", "own<fields>", "own<outgoing-response>"),
        ("[method]outgoing-response.status-code", "borrow<outgoing-response>", "u16"),
        ("[method]outgoing-response.set-status-code", "borrow<outgoing-response>, u16", "result"),
        ("[method]outgoing-response.headers", "borrow<outgoing-response>", "own<fields>"),
        ("[method]outgoing-response.body", "borrow<outgoing-response>", "result<own<outgoing-body>>"),
        ("[resource-drop]outgoing-response", "own<outgoing-response>", "_"),
        (
            "[static]response-outparam.set",
            "own<response-outparam>, result<own<outgoing-response>, http-code>",
            "_",
        ),
        ("[resource-drop]response-outparam", "own<response-outparam>", "_"),
    )
}
"""What answers requests from outside, which no component here is ever given: it may be imported, and a call
ends the guest. It has no code, as nothing that could be recorded happens."""
assert list(FUNCTIONS) == [call.name for call in COMPONENT_CALLS]
