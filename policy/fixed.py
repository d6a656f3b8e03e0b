"""The rules that every plan carries, whatever its document says.

Rules of a document are compiled in `compiler.py`. Each refusal of the monitor names a rule, so
limits, unsafe paths and missing capabilities have one here; their ids never change, because they
stand in old audit logs.
"""

from __future__ import annotations

from typing import Final

from policy.calls import CALLS
from policy.plan import Rule, RuleId, RuleKind

DEFAULT: Final = RuleId("default")

NETWORK_NONE: Final = RuleId("network.none")
RANDOM_NONE: Final = RuleId("random.none")
CLOCKS_WALL: Final = RuleId("clocks.wall")
CLOCKS_MONOTONIC: Final = RuleId("clocks.monotonic")
STDIO_STDIN: Final = RuleId("stdio.stdin")
STDIO_STDOUT: Final = RuleId("stdio.stdout")
STDIO_STDERR: Final = RuleId("stdio.stderr")

LIMIT_HOST_CALLS: Final = RuleId("limit.host_calls")
LIMIT_STDOUT: Final = RuleId("limit.stdout")
LIMIT_STDERR: Final = RuleId("limit.stderr")
LIMIT_DISK: Final = RuleId("limit.disk")
LIMIT_FILES: Final = RuleId("limit.files")
LIMIT_OPEN_FILES: Final = RuleId("limit.open_files")
LIMIT_CONNECTIONS: Final = RuleId("limit.connections")
LIMIT_NET_IN: Final = RuleId("limit.net_in")
LIMIT_NET_OUT: Final = RuleId("limit.net_out")
LIMIT_QUERIES: Final = RuleId("limit.queries")

BENEATH: Final = RuleId("beneath")
SYMLINK: Final = RuleId("symlink")
FILE_TYPE: Final = RuleId("file-type")
NO_WIDENING: Final = RuleId("no-widening")
PATH_LENGTH: Final = RuleId("path-length")
HANDLE: Final = RuleId("handle")
AUDIT: Final = RuleId("audit")

DEFAULT_RULE: Final = Rule(
    id=DEFAULT,
    kind=RuleKind.DEFAULT,
    field="",
    summary="what no rule allows is refused",
    hint="add a rule to permissions.storage.allow that grants this access to this path",
)

MATCH: Final = RuleId("match")
"""Not of a plan's rules: what refuses a module that the policy is not for."""

_SOMETIMES: Final = frozenset(
    {RANDOM_NONE, CLOCKS_WALL, CLOCKS_MONOTONIC, STDIO_STDIN, STDIO_STDOUT, STDIO_STDERR, MATCH}
)

REQUEST_CALLS: Final = tuple(call.name for call in CALLS if call.name.startswith("http_"))
SOCKET_CALLS: Final = tuple(
    call.name for call in CALLS if call.capability == "network" and call.name not in REQUEST_CALLS
)


def _built_in(rule: RuleId, summary: str, hint: str) -> Rule:
    return Rule(id=rule, kind=RuleKind.BUILTIN, field="", summary=summary, hint=hint)


def _limit(rule: RuleId, counted: str) -> Rule:
    name = rule.removeprefix("limit.")
    field = f"resources.limits.{name}"
    return Rule(rule, RuleKind.BUILTIN, field, f"a run is limited in its {counted}", f"raise {field}")


def is_reserved(rule: RuleId) -> bool:
    """Whether a record that names `rule` must mean no rule of a document."""
    return rule.startswith(("builtin.", "ceiling.")) or rule in _SOMETIMES


def missing_capability(rule: RuleId, field: str, what: str) -> Rule:
    """The rule that refuses a capability that the document leaves at `none`."""
    return Rule(
        rule,
        RuleKind.DEFAULT,
        field,
        f"the policy gives no {what}",
        f"set {field} to something other than none",
    )


def replaced_clock(rule: RuleId, field: str, what: str) -> Rule:
    """The rule that refuses a wait which would tell the real time of a frozen clock."""
    return Rule(
        rule,
        RuleKind.DEFAULT,
        field,
        f"the {what} stands still: a wait until a point in time on it never ends",
        f"set {field} to real, or let the program wait for a span of time",
    )


NETWORK_RULE: Final = Rule(
    id=NETWORK_NONE,
    kind=RuleKind.DEFAULT,
    field="permissions.network",
    summary="the policy gives no network",
    hint="add a rule to permissions.network.tcp, udp, dns or listen",
)

FIXED_RULES: Final = (
    _limit(LIMIT_HOST_CALLS, "number of host calls"),
    _limit(LIMIT_STDOUT, "bytes on standard output"),
    _limit(LIMIT_STDERR, "bytes on standard error"),
    _limit(LIMIT_DISK, "bytes written to files"),
    _limit(LIMIT_FILES, "number of files and directories made"),
    _limit(LIMIT_OPEN_FILES, "number of open descriptors"),
    _limit(LIMIT_CONNECTIONS, "number of connections at a time"),
    _limit(LIMIT_NET_IN, "bytes from the network"),
    _limit(LIMIT_NET_OUT, "bytes to the network"),
    Rule(
        LIMIT_QUERIES,
        RuleKind.BUILTIN,
        "permissions.network.dns.max_queries",
        "a run is limited in its number of lookups",
        "raise permissions.network.dns.max_queries",
    ),
    _built_in(
        BENEATH, "a path may not lead out of the directory it starts from", "name the path from its own mount"
    ),
    _built_in(
        SYMLINK,
        "a path with a symbolic link in it is not followed where rules tell paths of a mount apart",
        "name the file itself, or grant the whole mount with one rule without include, exclude or deny",
    ),
    _built_in(
        FILE_TYPE,
        "only regular files and directories are opened",
        "put a regular file there: devices are not granted",
    ),
    _built_in(
        NO_WIDENING,
        "a rename or a link may not give a file rights that it does not have where it is",
        "copy the contents instead, or grant the same access at both paths",
    ),
    _built_in(PATH_LENGTH, "a path is shorter than 4096 bytes", "use a shorter path"),
    _built_in(
        HANDLE,
        "a descriptor is used only for what it was opened for",
        "open the file for this access in the first place",
    ),
    _built_in(
        AUDIT, "a call that cannot be recorded does not happen", "look at the audit store: it is full or slow"
    ),
)
"""The rules after those of the document, in this order."""
