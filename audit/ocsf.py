"""Which class and activity of the Open Cybersecurity Schema Framework a host call belongs to.

The whole event is built when records are exported (`export/ocsf_events.py`); here are the two numbers that
each record carries, for functions of WASI 0.1, and what the schema calls them. Source: OCSF 1.9,
`file_activity`, `network_activity`, `kernel_activity` and `process_activity`. INVARIANT: every function of
the interface has a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class EventClass(IntEnum):
    """OCSF `class_uid`: category times 1000 and the class."""

    BASE = 0
    FILE_SYSTEM = 1001
    KERNEL = 1003
    MODULE = 1005
    PROCESS = 1007
    EVENT_LOG = 1008
    ENTITY = 3004
    NETWORK = 4001
    API = 6003


@dataclass(frozen=True, slots=True)
class Activity:
    """OCSF `class_uid` and `activity_id`."""

    class_uid: int
    activity_id: int


UNKNOWN = Activity(EventClass.BASE, 0)

VERSION = "1.9.0-dev"
"""The version of the schema that events are written for and checked against."""

OTHER = 99
"""The `activity_id` (and any other code) for which the event says itself what it was."""


@dataclass(frozen=True, slots=True)
class Captions:
    """What the schema calls a class, its category and its activities."""

    name: str
    category: str
    activities: dict[int, str]


CAPTIONS: dict[EventClass, Captions] = {
    EventClass.BASE: Captions("Base Event", "Uncategorized", {}),
    EventClass.FILE_SYSTEM: Captions(
        "File System Activity",
        "System Activity",
        {
            1: "Create",
            2: "Read",
            3: "Update",
            4: "Delete",
            5: "Rename",
            6: "Set Attributes",
            7: "Set Security",
            8: "Get Attributes",
            9: "Get Security",
            12: "Mount",
            13: "Unmount",
            14: "Open",
        },
    ),
    EventClass.KERNEL: Captions(
        "Kernel Activity", "System Activity", {1: "Create", 2: "Read", 3: "Delete", 4: "Invoke"}
    ),
    EventClass.MODULE: Captions("Module Activity", "System Activity", {1: "Load", 2: "Unload", 3: "Invoke"}),
    EventClass.PROCESS: Captions(
        "Process Activity", "System Activity", {1: "Launch", 2: "Terminate", 3: "Open"}
    ),
    EventClass.EVENT_LOG: Captions(
        "Event Log Activity",
        "System Activity",
        {2: "Delete", 3: "Export", 4: "Archive", 5: "Rotate", 9: "Enable", 10: "Disable"},
    ),
    EventClass.ENTITY: Captions(
        "Entity Management",
        "Identity & Access Management",
        {1: "Create", 2: "Read", 3: "Update", 4: "Delete"},
    ),
    EventClass.NETWORK: Captions(
        "Network Activity",
        "Network Activity",
        {1: "Open", 2: "Close", 3: "Reset", 4: "Fail", 5: "Refuse", 6: "Traffic", 7: "Listen"},
    ),
    EventClass.API: Captions(
        "API Activity", "Application Activity", {1: "Create", 2: "Read", 3: "Update", 4: "Delete"}
    ),
}
"""The activities that a record or an event of ours can have."""

_CREATE = Activity(EventClass.FILE_SYSTEM, 1)
_READ = Activity(EventClass.FILE_SYSTEM, 2)
_UPDATE = Activity(EventClass.FILE_SYSTEM, 3)
_DELETE = Activity(EventClass.FILE_SYSTEM, 4)
_RENAME = Activity(EventClass.FILE_SYSTEM, 5)
_SET_ATTRIBUTES = Activity(EventClass.FILE_SYSTEM, 6)
_SET_SECURITY = Activity(EventClass.FILE_SYSTEM, 7)
_GET_ATTRIBUTES = Activity(EventClass.FILE_SYSTEM, 8)
_OPEN = Activity(EventClass.FILE_SYSTEM, 14)
_FILE_OTHER = Activity(EventClass.FILE_SYSTEM, 99)
_INVOKE = Activity(EventClass.KERNEL, 4)
_TERMINATE = Activity(EventClass.PROCESS, 2)
_NET_OPEN = Activity(EventClass.NETWORK, 1)
_SHUTDOWN = Activity(EventClass.NETWORK, 2)
_REFUSE = Activity(EventClass.NETWORK, 5)
_TRAFFIC = Activity(EventClass.NETWORK, 6)
_LISTEN = Activity(EventClass.NETWORK, 7)
_NETWORK_OTHER = Activity(EventClass.NETWORK, 99)

_ACTIVITIES: dict[str, Activity] = {
    "args_get": _INVOKE,
    "args_sizes_get": _INVOKE,
    "environ_get": _INVOKE,
    "environ_sizes_get": _INVOKE,
    "clock_res_get": _INVOKE,
    "clock_time_get": _INVOKE,
    "fd_advise": _FILE_OTHER,
    "fd_allocate": _UPDATE,
    "fd_close": _FILE_OTHER,
    "fd_datasync": _FILE_OTHER,
    "fd_fdstat_get": _GET_ATTRIBUTES,
    "fd_fdstat_set_flags": _SET_ATTRIBUTES,
    "fd_fdstat_set_rights": _SET_SECURITY,
    "fd_filestat_get": _GET_ATTRIBUTES,
    "fd_filestat_set_size": _UPDATE,
    "fd_filestat_set_times": _SET_ATTRIBUTES,
    "fd_pread": _READ,
    "fd_prestat_get": _GET_ATTRIBUTES,
    "fd_prestat_dir_name": _GET_ATTRIBUTES,
    "fd_pwrite": _UPDATE,
    "fd_read": _READ,
    "fd_readdir": _READ,
    "fd_renumber": _FILE_OTHER,
    "fd_seek": _FILE_OTHER,
    "fd_sync": _FILE_OTHER,
    "fd_tell": _FILE_OTHER,
    "fd_write": _UPDATE,
    "http_finish": _NETWORK_OTHER,
    "http_request": _NET_OPEN,
    "http_response": _TRAFFIC,
    "path_create_directory": _CREATE,
    "path_filestat_get": _GET_ATTRIBUTES,
    "path_filestat_set_times": _SET_ATTRIBUTES,
    "path_link": _CREATE,
    "path_open": _OPEN,  # or `CREATE`, see `of`
    "path_readlink": _GET_ATTRIBUTES,
    "path_remove_directory": _DELETE,
    "path_rename": _RENAME,
    "path_symlink": _CREATE,
    "path_unlink_file": _DELETE,
    "poll_oneoff": _INVOKE,
    "proc_exit": _TERMINATE,
    "proc_raise": _INVOKE,
    "random_get": _INVOKE,
    "sched_yield": _INVOKE,
    "sock_accept": _NET_OPEN,
    "sock_bind": _LISTEN,
    "sock_connect": _NET_OPEN,
    "sock_getaddrinfo": _NETWORK_OTHER,
    "sock_getlocaladdr": _NETWORK_OTHER,
    "sock_getpeeraddr": _NETWORK_OTHER,
    "sock_getsockopt": _NETWORK_OTHER,
    "sock_listen": _LISTEN,
    "sock_open": _NETWORK_OTHER,
    "sock_recv": _TRAFFIC,
    "sock_recv_from": _TRAFFIC,
    "sock_send": _TRAFFIC,
    "sock_send_to": _TRAFFIC,
    "sock_setsockopt": _NETWORK_OTHER,
    "sock_shutdown": _SHUTDOWN,
}


def activity(call: str, *, is_creating: bool = False, is_refused: bool = False) -> Activity:
    """Give class and activity of a call without its module prefix; `UNKNOWN` for one not in the table.

    `is_creating`: a `path_open` that was asked to create the file.
    """
    found = _ACTIVITIES.get(call, UNKNOWN)
    if is_creating and found == _OPEN:
        return _CREATE
    if is_refused and found.class_uid == EventClass.NETWORK:
        return _REFUSE
    return found
