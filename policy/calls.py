"""Which rights each host call of WASI 0.1 and its sockets needs, and what kind of target it has.

The table is read by `policy.decide` (what would happen, and why) and by the generator of the
monitor in `sandbox/` (what happens), so the two cannot drift apart. Names are those of the
specification. The order is part of the record layout: a call's index is its code.
"""

from __future__ import annotations

from dataclasses import dataclass

from policy.plan import Right

MODULE = "wasi_snapshot_preview1"

_NONE = Right(0)


@dataclass(frozen=True, slots=True)
class HostCall:
    """One function of the interface, and the capability that governs it."""

    name: str
    capability: str  # section of the policy that governs it
    parameters: str  # one letter each: `i` i32, `I` i64
    has_result: bool = True  # an errno; only `proc_exit` has none
    rights: Right = _NONE  # needed on the (first) path, where a path decides
    rights2: Right = _NONE  # needed on the second path
    does_io: bool = False  # may block or touch a file: worth a clock read
    is_extension: bool = False  # not of WASI 0.1 itself, but of hosts that have sockets
    is_inner: bool = False  # what calls of components are carried out by: no module imports it


_STORAGE = "storage"


CALLS: tuple[HostCall, ...] = (
    HostCall("args_get", "args", "ii"),
    HostCall("args_sizes_get", "args", "ii"),
    HostCall("environ_get", "environment", "ii"),
    HostCall("environ_sizes_get", "environment", "ii"),
    HostCall("clock_res_get", "clocks", "ii"),
    HostCall("clock_time_get", "clocks", "iIi"),
    HostCall("fd_advise", _STORAGE, "iIIi", does_io=True),
    HostCall("fd_allocate", _STORAGE, "iII", rights=Right.WRITE, does_io=True),
    HostCall("fd_close", _STORAGE, "i", does_io=True),
    HostCall("fd_datasync", _STORAGE, "i", does_io=True),
    HostCall("fd_fdstat_get", _STORAGE, "ii"),
    HostCall("fd_fdstat_set_flags", _STORAGE, "ii"),
    HostCall("fd_fdstat_set_rights", _STORAGE, "iII"),
    HostCall("fd_filestat_get", _STORAGE, "ii", does_io=True),
    HostCall("fd_filestat_set_size", _STORAGE, "iI", rights=Right.WRITE, does_io=True),
    HostCall("fd_filestat_set_times", _STORAGE, "iIIi", rights=Right.WRITE, does_io=True),
    HostCall("fd_pread", _STORAGE, "iiiIi", rights=Right.READ, does_io=True),
    HostCall("fd_prestat_get", _STORAGE, "ii"),
    HostCall("fd_prestat_dir_name", _STORAGE, "iii"),
    HostCall("fd_pwrite", _STORAGE, "iiiIi", rights=Right.WRITE, does_io=True),
    HostCall("fd_read", _STORAGE, "iiii", rights=Right.READ, does_io=True),
    HostCall("fd_readdir", _STORAGE, "iiiIi", rights=Right.LIST, does_io=True),
    HostCall("fd_renumber", _STORAGE, "ii"),
    HostCall("fd_seek", _STORAGE, "iIii"),
    HostCall("fd_sync", _STORAGE, "i", does_io=True),
    HostCall("fd_tell", _STORAGE, "ii"),
    HostCall("fd_write", _STORAGE, "iiii", rights=Right.WRITE, does_io=True),
    HostCall("path_create_directory", _STORAGE, "iii", rights=Right.CREATE, does_io=True),
    HostCall("path_filestat_get", _STORAGE, "iiiii", does_io=True),
    HostCall("path_filestat_set_times", _STORAGE, "iiiiIIi", rights=Right.WRITE, does_io=True),
    HostCall(
        "path_link", _STORAGE, "iiiiiii", rights=Right.READ | Right.WRITE, rights2=Right.CREATE, does_io=True
    ),
    HostCall("path_open", _STORAGE, "iiiiiIIii", does_io=True),
    HostCall("path_readlink", _STORAGE, "iiiiii", rights=Right.READ, does_io=True),
    HostCall("path_remove_directory", _STORAGE, "iii", rights=Right.DELETE, does_io=True),
    HostCall("path_rename", _STORAGE, "iiiiii", rights=Right.DELETE, rights2=Right.CREATE, does_io=True),
    HostCall("path_symlink", _STORAGE, "iiiii", rights=Right.SYMLINK, does_io=True),
    HostCall("path_unlink_file", _STORAGE, "iii", rights=Right.DELETE, does_io=True),
    HostCall("poll_oneoff", "clocks", "iiii", does_io=True),
    HostCall("proc_exit", "process", "i", has_result=False),
    HostCall("proc_raise", "process", "i"),
    HostCall("random_get", "random", "ii"),
    HostCall("sched_yield", "process", "", does_io=True),
    HostCall("sock_accept", "network", "iii", does_io=True),
    HostCall("sock_recv", "network", "iiiiii", does_io=True),
    HostCall("sock_send", "network", "iiiii", does_io=True),
    HostCall("sock_shutdown", "network", "ii", does_io=True),
    *(
        HostCall(name, "network", parameters, does_io=True, is_extension=True)
        for name, parameters in (
            ("sock_open", "iii"),
            ("sock_bind", "iii"),
            ("sock_listen", "ii"),
            ("sock_connect", "iii"),
            ("sock_recv_from", "iiiiiiii"),
            ("sock_send_to", "iiiiiii"),
            ("sock_getsockopt", "iiiii"),
            ("sock_setsockopt", "iiiii"),
            ("sock_getlocaladdr", "iiii"),
            ("sock_getpeeraddr", "iiii"),
            ("sock_getaddrinfo", "iiiiiiii"),
        )
    ),
    *(
        HostCall(name, "network", parameters, does_io=True, is_extension=True, is_inner=True)
        for name, parameters in (
            ("http_request", "iiiii"),
            ("http_response", "iiii"),
            ("http_finish", "ii"),
        )
    ),
)

PLACED_CALLS = frozenset(
    {"sock_bind", "sock_connect", "sock_getaddrinfo", "sock_listen", "sock_send_to", "http_request"}
)
"""Calls on the network that a place or a name decides; the others are on what these let through."""

CALL_CODES: dict[str, int] = {call.name: code for code, call in enumerate(CALLS)}
