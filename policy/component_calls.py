"""The calls of WASI 0.2 that components make, and the call of WASI 0.1 that decides each.

A component's call is carried out, decided and recorded as a call of WASI 0.1, its base: what `calls.py` says
of the base holds for it. Names and interfaces are those of the specification. The order is part of the
record layout: codes follow those of `calls.py`, and new calls go to the end. It is longer than most: it is
one table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from policy.calls import CALL_CODES, CALLS, MODULE


@dataclass(frozen=True, slots=True)
class ComponentCall:
    """One function of an interface of WASI 0.2."""

    interface: str  # without its version: `wasi:filesystem/types`
    function: str  # as a component imports it: `[method]descriptor.open-at`
    base: str | None  # the call of WASI 0.1 that decides it; None: it reaches nothing, and is recorded only

    @property
    def name(self) -> str:
        """As it is recorded: `descriptor.open-at`, `monotonic-clock.now`, `descriptor.drop`."""
        brackets, _, rest = self.function.rpartition("]")
        if not brackets:
            return f"{self.interface.rpartition('/')[2]}.{rest}"
        last = {"[resource-drop": ".drop", "[constructor": ".new"}.get(brackets, "")
        return rest + last


def _of(interface: str, *functions: str) -> tuple[ComponentCall, ...]:
    """Make the calls of an interface, each written as `function` or `function = base`."""
    made = [function.partition(" = ") for function in functions]
    return tuple(ComponentCall(interface, name, base or None) for name, _, base in made)


COMPONENT_CALLS: Final = (
    *_of(
        "wasi:cli/environment",
        "get-environment = environ_get",
        "get-arguments = args_get",
        "initial-cwd",
    ),
    *_of("wasi:cli/exit", "exit = proc_exit", "exit-with-code = proc_exit"),
    *_of("wasi:cli/stdin", "get-stdin"),
    *_of("wasi:cli/stdout", "get-stdout"),
    *_of("wasi:cli/stderr", "get-stderr"),
    *_of("wasi:cli/terminal-input", "[resource-drop]terminal-input"),
    *_of("wasi:cli/terminal-output", "[resource-drop]terminal-output"),
    *_of("wasi:cli/terminal-stdin", "get-terminal-stdin"),
    *_of("wasi:cli/terminal-stdout", "get-terminal-stdout"),
    *_of("wasi:cli/terminal-stderr", "get-terminal-stderr"),
    *_of(
        "wasi:clocks/monotonic-clock",
        "now = clock_time_get",
        "resolution = clock_res_get",
        "subscribe-instant",
        "subscribe-duration = clock_time_get",
    ),
    *_of("wasi:clocks/wall-clock", "now = clock_time_get", "resolution = clock_res_get"),
    *_of("wasi:io/error", "[resource-drop]error", "[method]error.to-debug-string"),
    *_of(
        "wasi:io/poll",
        "[resource-drop]pollable",
        "[method]pollable.ready = poll_oneoff",
        "[method]pollable.block = poll_oneoff",
        "poll = poll_oneoff",
    ),
    *_of(
        "wasi:io/streams",
        "[resource-drop]input-stream = fd_close",
        "[resource-drop]output-stream = fd_close",
        "[method]input-stream.read = fd_read",
        "[method]input-stream.blocking-read = fd_read",
        "[method]input-stream.skip = fd_read",
        "[method]input-stream.blocking-skip = fd_read",
        "[method]input-stream.subscribe",
        "[method]output-stream.check-write",
        "[method]output-stream.write = fd_write",
        "[method]output-stream.blocking-write-and-flush = fd_write",
        "[method]output-stream.flush",
        "[method]output-stream.blocking-flush",
        "[method]output-stream.subscribe",
        "[method]output-stream.write-zeroes = fd_write",
        "[method]output-stream.blocking-write-zeroes-and-flush = fd_write",
        "[method]output-stream.splice = fd_write",
        "[method]output-stream.blocking-splice = fd_write",
    ),
    *_of("wasi:filesystem/preopens", "get-directories = fd_prestat_get"),
    *_of(
        "wasi:filesystem/types",
        "[resource-drop]descriptor = fd_close",
        "[resource-drop]directory-entry-stream = fd_close",
        "[method]descriptor.read-via-stream = fd_fdstat_get",
        "[method]descriptor.write-via-stream = fd_fdstat_get",
        "[method]descriptor.append-via-stream = fd_filestat_get",
        "[method]descriptor.advise = fd_advise",
        "[method]descriptor.sync-data = fd_datasync",
        "[method]descriptor.get-flags = fd_fdstat_get",
        "[method]descriptor.get-type = fd_fdstat_get",
        "[method]descriptor.set-size = fd_filestat_set_size",
        "[method]descriptor.set-times = fd_filestat_set_times",
        "[method]descriptor.read = fd_pread",
        "[method]descriptor.write = fd_pwrite",
        "[method]descriptor.read-directory = fd_readdir",
        "[method]descriptor.sync = fd_sync",
        "[method]descriptor.create-directory-at = path_create_directory",
        "[method]descriptor.stat = fd_filestat_get",
        "[method]descriptor.stat-at = path_filestat_get",
        "[method]descriptor.set-times-at = path_filestat_set_times",
        "[method]descriptor.link-at = path_link",
        "[method]descriptor.open-at = path_open",
        "[method]descriptor.readlink-at = path_readlink",
        "[method]descriptor.remove-directory-at = path_remove_directory",
        "[method]descriptor.rename-at = path_rename",
        "[method]descriptor.symlink-at = path_symlink",
        "[method]descriptor.unlink-file-at = path_unlink_file",
        "[method]descriptor.is-same-object = fd_filestat_get",
        "[method]descriptor.metadata-hash = fd_filestat_get",
        "[method]descriptor.metadata-hash-at = path_filestat_get",
        "[method]directory-entry-stream.read-directory-entry = fd_readdir",
        "filesystem-error-code",
    ),
    *_of("wasi:random/random", "get-random-bytes = random_get", "get-random-u64 = random_get"),
    *_of(
        "wasi:random/insecure",
        "get-insecure-random-bytes = random_get",
        "get-insecure-random-u64 = random_get",
    ),
    *_of("wasi:random/insecure-seed", "insecure-seed = random_get"),
    *_of("wasi:sockets/network", "[resource-drop]network"),
    *_of("wasi:sockets/instance-network", "instance-network"),
    *_of(
        "wasi:sockets/ip-name-lookup",
        "resolve-addresses = sock_getaddrinfo",
        "[resource-drop]resolve-address-stream",
        "[method]resolve-address-stream.resolve-next-address",
        "[method]resolve-address-stream.subscribe",
    ),
    *_of("wasi:sockets/tcp-create-socket", "create-tcp-socket = sock_open"),
    *_of("wasi:sockets/udp-create-socket", "create-udp-socket = sock_open"),
    *_of(
        "wasi:sockets/tcp",
        "[resource-drop]tcp-socket = fd_close",
        "[method]tcp-socket.start-bind = sock_bind",
        "[method]tcp-socket.finish-bind",
        "[method]tcp-socket.start-connect = sock_connect",
        "[method]tcp-socket.finish-connect = sock_getsockopt",
        "[method]tcp-socket.start-listen = sock_listen",
        "[method]tcp-socket.finish-listen",
        "[method]tcp-socket.accept = sock_accept",
        "[method]tcp-socket.local-address = sock_getlocaladdr",
        "[method]tcp-socket.remote-address = sock_getpeeraddr",
        "[method]tcp-socket.is-listening",
        "[method]tcp-socket.address-family",
        "[method]tcp-socket.set-listen-backlog-size",
        "[method]tcp-socket.keep-alive-enabled = sock_getsockopt",
        "[method]tcp-socket.set-keep-alive-enabled = sock_setsockopt",
        "[method]tcp-socket.keep-alive-idle-time",
        "[method]tcp-socket.set-keep-alive-idle-time",
        "[method]tcp-socket.keep-alive-interval",
        "[method]tcp-socket.set-keep-alive-interval",
        "[method]tcp-socket.keep-alive-count",
        "[method]tcp-socket.set-keep-alive-count",
        "[method]tcp-socket.hop-limit",
        "[method]tcp-socket.set-hop-limit",
        "[method]tcp-socket.receive-buffer-size = sock_getsockopt",
        "[method]tcp-socket.set-receive-buffer-size = sock_setsockopt",
        "[method]tcp-socket.send-buffer-size = sock_getsockopt",
        "[method]tcp-socket.set-send-buffer-size = sock_setsockopt",
        "[method]tcp-socket.subscribe",
        "[method]tcp-socket.shutdown = sock_shutdown",
    ),
    *_of(
        "wasi:sockets/udp",
        "[resource-drop]udp-socket = fd_close",
        "[method]udp-socket.start-bind = sock_bind",
        "[method]udp-socket.finish-bind",
        "[method]udp-socket.stream = sock_connect",
        "[method]udp-socket.local-address = sock_getlocaladdr",
        "[method]udp-socket.remote-address = sock_getpeeraddr",
        "[method]udp-socket.address-family",
        "[method]udp-socket.unicast-hop-limit",
        "[method]udp-socket.set-unicast-hop-limit",
        "[method]udp-socket.receive-buffer-size = sock_getsockopt",
        "[method]udp-socket.set-receive-buffer-size = sock_setsockopt",
        "[method]udp-socket.send-buffer-size = sock_getsockopt",
        "[method]udp-socket.set-send-buffer-size = sock_setsockopt",
        "[method]udp-socket.subscribe",
        "[resource-drop]incoming-datagram-stream = fd_close",
        "[method]incoming-datagram-stream.receive = sock_recv_from",
        "[method]incoming-datagram-stream.subscribe",
        "[resource-drop]outgoing-datagram-stream = fd_close",
        "[method]outgoing-datagram-stream.check-send",
        "[method]outgoing-datagram-stream.send = sock_send_to",
        "[method]outgoing-datagram-stream.subscribe",
    ),
    *_of(
        "wasi:http/types",
        "http-error-code",
        "[constructor]fields",
        "[static]fields.from-list",
        "[method]fields.get",
        "[method]fields.has",
        "[method]fields.set",
        "[method]fields.delete",
        "[method]fields.append",
        "[method]fields.entries",
        "[method]fields.clone",
        "[resource-drop]fields",
        "[constructor]outgoing-request",
        "[method]outgoing-request.body",
        "[method]outgoing-request.method",
        "[method]outgoing-request.set-method",
        "[method]outgoing-request.path-with-query",
        "[method]outgoing-request.set-path-with-query",
        "[method]outgoing-request.scheme",
        "[method]outgoing-request.set-scheme",
        "[method]outgoing-request.authority",
        "[method]outgoing-request.set-authority",
        "[method]outgoing-request.headers",
        "[resource-drop]outgoing-request",
        "[constructor]request-options",
        "[method]request-options.connect-timeout",
        "[method]request-options.set-connect-timeout",
        "[method]request-options.first-byte-timeout",
        "[method]request-options.set-first-byte-timeout",
        "[method]request-options.between-bytes-timeout",
        "[method]request-options.set-between-bytes-timeout",
        "[resource-drop]request-options",
        "[method]outgoing-body.write",
        "[static]outgoing-body.finish = http_finish",
        "[resource-drop]outgoing-body = http_finish",
        "[method]future-incoming-response.subscribe",
        "[method]future-incoming-response.get = http_response",
        "[resource-drop]future-incoming-response = fd_close",
        "[method]incoming-response.status",
        "[method]incoming-response.headers",
        "[method]incoming-response.consume",
        "[resource-drop]incoming-response = fd_close",
        "[method]incoming-body.stream",
        "[static]incoming-body.finish = fd_close",
        "[resource-drop]incoming-body = fd_close",
        "[method]future-trailers.subscribe",
        "[method]future-trailers.get",
        "[resource-drop]future-trailers",
    ),
    *_of("wasi:http/outgoing-handler", "handle = http_request"),
)

FIRST_CODE: Final = len(CALLS)
"""The code of the first call of a component; those before it are of WASI 0.1."""

MAX_CODES: Final = 255
"""A record has one byte for the code, and one of its values stands for a call that nobody knows."""

COMPONENT_CODES: Final = {
    (call.interface, call.function): FIRST_CODE + nth for nth, call in enumerate(COMPONENT_CALLS)
}

NAMES: Final = (*(call.name for call in CALLS), *(call.name for call in COMPONENT_CALLS))
"""The name of each call by its code; each is there once."""

MODULES: Final = (*(MODULE for _ in CALLS), *(call.interface for call in COMPONENT_CALLS))
"""Where each call is imported from, by its code."""

BASES: Final = (
    *range(len(CALLS)),
    *(MAX_CODES if call.base is None else CALL_CODES[call.base] for call in COMPONENT_CALLS),
)
"""The code of the call of WASI 0.1 that decides each call, by its code; MAX_CODES where there is none."""

_IDLE: Final = "sched_yield"
"""Stands for calls that nothing decides where records are judged anew: nothing refuses it either."""

_BASE_NAMES: Final = {call.name: call.base or _IDLE for call in COMPONENT_CALLS}

BASE_CODES: Final = {name: CALL_CODES[_BASE_NAMES.get(name, name)] for name in NAMES}
"""The code of the call of WASI 0.1 as which a recorded call is judged, by its name."""


def base_name(name: str) -> str:
    """Give the call of WASI 0.1 as which a recorded call is judged; other names stay as they are."""
    return _BASE_NAMES.get(name, name)


assert len(NAMES) == len(set(NAMES)) <= MAX_CODES
