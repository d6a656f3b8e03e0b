"""A plan, as the bytes that the monitor reads: `encode` and the offsets that the generator uses.

The monitor's code knows the shape of these tables and nothing of any plan, so one compiled monitor
serves them all. What the tables mean to a host call is in `sandbox/monitor/calls`.
INVARIANT: a table that does not fit its field is refused here, never cut. It is longer than most: all
offsets are in one place.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from policy.aliases import rights_elsewhere
from policy.calls import CALLS
from policy.meaning import MAX_WATCHES
from policy.plan import (
    UNLIMITED,
    Mode,
    PathClass,
    Plan,
    RuleId,
    RuleKind,
    SourceKind,
    StdinMode,
    StdoutMode,
)
from policy.plan_audit import Kept, Sync, Timestamps
from policy.plan_temporal import Reach
from policy.temporal import is_counted
from sandbox.monitor.layout import FIRST_MOUNT, PAGE, PAYLOAD_CALLS, PAYLOAD_MAX
from sandbox.network.protocol import MAX_HANDLES

# --- configuration words -----------------------------------------------------------------------
IS_AUDIT = 0  # u32: refusals are recorded as `would_deny` and let through
TIMED_ALL = 4  # u32
TIMED_IO = 8  # u32
SYNC_DENY = 12  # u32
SYNC_ALL = 16  # u32
WALL_KIND = 20  # u32: a SourceKind
MONOTONIC_KIND = 24  # u32
RANDOM_KIND = 28  # u32
WALL_NS = 32  # i64
MONOTONIC_NS = 40  # i64
RESOLUTION_NS = 48  # i64
MAX_HOST_CALLS = 56  # i64
MAX_STDOUT = 64  # i64
MAX_STDERR = 72  # i64
DISK_LEFT = 80  # i64: counted down by the monitor
FILES_LEFT = 88  # i64: counted down by the monitor
MAX_OPEN_FILES = 96  # u32
HARD_LINKS = 100  # u32: what is refused in audit mode too lies in some mount, so links are as well
STDIN_RULE = 104  # u32: 0 when granted
STDOUT_RULE = 108  # u32
STDERR_RULE = 112  # u32
IS_DETERMINISTIC = 116  # u32
FILES_NUMBERED = 120  # u32: counted up by the monitor
COUNTS_FUEL = 124  # u32
SEED = 128  # 32 bytes
RANDOM_BLOCK = 160  # i64: next block of the seeded stream
STATES_AT = 168  # u32
EDGES_AT = 172  # u32
CLASSES_AT = 176  # u32
RULES_AT = 180  # u32
FIXED_RULES = 184  # u32 each, in the order of FIXED_RULE_IDS
DENIED_CALLS = 264  # u32 [calls]: rule + 1, or 0
assert DENIED_CALLS + 4 * len(CALLS) <= 512

FIXED_RULE_IDS = (
    "beneath",
    "symlink",
    "handle",
    "file-type",
    "no-widening",
    "path-length",
    "limit.host_calls",
    "limit.stdout",
    "limit.stderr",
    "limit.disk",
    "limit.files",
    "limit.open_files",
    "audit",
    "clocks.wall",
    "clocks.monotonic",
    "limit.connections",  # these four in the order of `Budget`
    "limit.net_in",
    "limit.net_out",
    "limit.queries",
)
assert FIXED_RULES + 4 * len(FIXED_RULE_IDS) <= DENIED_CALLS

# --- working areas -----------------------------------------------------------------------------
RANDOM_STATE = 512  # 64 bytes of input, then 64 of output
STACKS = 1024  # two stacks of (state u32, offset u32) by depth, one for each path of a call
STACK_BYTES = 16_384
WAITING = 33_792  # u32 for each Trigger: the rules over time that it can start, by their bit
TAKERS = 33_808  # u32 for each right: the rule over time that has taken it away; written by the monitor
OVER_TIME = 33_840  # the rules over time, by their bit
MAX_OVER_TIME = MAX_WATCHES
CAPTURES = 36_352  # u32 [calls]: 0 nothing is kept of what it moves; else one more than the bytes kept
HASH_STATE = 36_608  # eight words
DESCRIPTORS = 36_864
DESCRIPTOR_BYTES = 48
FIRST_SOCKET = 4_160  # below are the host's own numbers, from here on those of the broker's handles
MAX_DESCRIPTORS = FIRST_SOCKET + MAX_HANDLES
FILE_NUMBERS = 285_696  # i64 each: the host's numbers of files, as a deterministic run came to see them
MAX_FILE_NUMBERS = 3_200
NET_TAKERS = 311_296  # u32 for each kind of `Reach`: one more than the rule over time that has taken it away
TABLES = 327_680  # what `encode` lays out freely starts here
MIN_PAGES = TABLES // PAGE

# --- one descriptor ----------------------------------------------------------------------------
KIND = 0  # u32: a K_… below
HANDLE = 4  # u32: of a socket, as the broker names it
STATE = 8  # u32: automaton state of a directory
FLAGS = 12  # u32: an F_… mask
OPENER = 16  # i64
RULE = 24  # u32: the rule whose budgets a write uses
CLASS = 28  # u32: offset of the class of its path
ELSEWHERE = 32  # u32: rights that other mounts may give to what lies in the mount of a directory
SIZE_SEEN = 40  # i64: the file had at least so many bytes at some time
K_FREE, K_STDIN, K_STDOUT, K_STDERR, K_DIRECTORY, K_FILE, K_TCP, K_UDP, K_HTTP = range(9)
F_APPEND = 1  # opened for writing at the end only
F_SPLIT = 2  # in a mount whose paths differ in rights
F_COUNTED = 4  # counts as an open file
F_PLAIN = 8  # in a mount that can hold nothing but regular files, directories and links
F_SOUGHT = 16  # its position may lie behind the end of the file
F_NONBLOCK = 32  # a socket that is not waited for

assert DESCRIPTORS + MAX_DESCRIPTORS * DESCRIPTOR_BYTES <= FILE_NUMBERS
assert FILE_NUMBERS + MAX_FILE_NUMBERS * 8 <= NET_TAKERS
assert NET_TAKERS + 4 * len(Reach) <= TABLES

# a state has 16 bytes: first edge, edges (u16), class (u16), default, flags
# an edge has 8: low (u8), high (u8), -, target (u32); both sizes are shifts in `paths.py`
CLASS_BYTES = 24  # rights (u32), seven rules (u16), padding, marks (u32)
MARKS = 20  # u32: the rules over time that watch these paths
RULE_BYTES = 24  # bytes left (i64), files left (i64), refuses in audit mode too (u32), is late (u32)
IS_LATE = 20  # u32: rules over time come before it

# --- one rule over time ------------------------------------------------------------------------
OVER_TIME_BYTES = 32  # rights that it takes away (u32), then these
OVER_TIME_RULE = 4  # u32
OVER = 8  # i64
COUNT = 16  # i64: counted up by the monitor
REACH = 24  # u32: kinds of network use that it takes away

_LATE = frozenset({RuleKind.ALLOW, RuleKind.DEFAULT})

_FOREVER = (1 << 63) - 1
FIRST_PREOPEN = 3


@dataclass(frozen=True, slots=True)
class Tables:
    """The contents of the monitor's plan memory, from address 0 on."""

    content: bytes

    @property
    def pages(self) -> int:
        """Pages the memory must have."""
        return -(-len(self.content) // PAGE)


def encode(plan: Plan, *, plain: frozenset[int] = frozenset()) -> Tables:
    """The plan memory for a run that starts with `plan.mounts` preopened from descriptor 3 on.

    `plain` are the indices of mounts in which no device can be opened: what is opened elsewhere is looked at
    once more.
    """
    free = bytearray()
    places = {}
    for name, rows in (
        (STATES_AT, b"".join(struct.pack("<IHHII", *row) for row in plan.automaton.states)),
        (
            EDGES_AT,
            b"".join(struct.pack("<BBHI", low, high, 0, to) for low, high, to in plan.automaton.edges),
        ),
        (CLASSES_AT, b"".join(_class(each) for each in plan.automaton.classes)),
        (RULES_AT, b"".join(_rule(plan, index) for index in range(len(plan.rules)))),
    ):
        places[name] = TABLES + len(free)
        free += rows
        free += bytes(-len(free) % 8)
    memory = bytearray(TABLES) + free
    _configure(memory, plan)
    _over_time(memory, plan)
    _captures(memory, plan)
    for place, address in places.items():
        struct.pack_into("<I", memory, place, address)
    _descriptors(memory, plan, classes_at=places[CLASSES_AT], plain=plain)
    return Tables(bytes(memory))


def _rule(plan: Plan, index: int) -> bytes:
    rule = plan.rules[index]
    limits = (_limit(rule.max_bytes), _limit(rule.max_files))
    return struct.pack("<qqII", *limits, rule.kind.is_final, rule.kind in _LATE)


def _class(found: PathClass) -> bytes:
    return struct.pack("<I7H2xI", found.rights, *found.rules, found.marks)


def _over_time(memory: bytearray, plan: Plan) -> None:
    """The rules over time that are counted here; those that are not never start."""
    for bit, rule in enumerate(plan.temporal):
        if not is_counted(rule):
            continue
        if bit >= MAX_OVER_TIME:
            raise ValueError(bit)
        at = OVER_TIME + bit * OVER_TIME_BYTES
        struct.pack_into("<IIqqI", memory, at, rule.rights, rule.rule, rule.over, 0, rule.reach)
        place = WAITING + 4 * (rule.trigger - 1)
        (mask,) = struct.unpack_from("<I", memory, place)
        struct.pack_into("<I", memory, place, mask | 1 << bit)


def _captures(memory: bytearray, plan: Plan) -> None:
    """What is kept of the bytes that calls move; of the others nothing ever is."""
    for code in PAYLOAD_CALLS:
        payload = plan.audit.terms(CALLS[code].name).payload
        kept = {Kept.FULL: PAYLOAD_MAX, Kept.HEAD: min(payload.head_bytes, PAYLOAD_MAX)}.get(payload.kept, 0)
        struct.pack_into("<I", memory, CAPTURES + 4 * code, kept + 1 if payload.kept is not Kept.NONE else 0)


def _index(plan: Plan, rule_id: RuleId) -> int:
    """The index of a rule that the monitor may name; the default where this plan never needs it."""
    return next((index for index, rule in enumerate(plan.rules) if rule.id == rule_id), 0)


def _refusing(plan: Plan, rule_id: str, *, is_none: bool) -> int:
    """The index of the rule that refuses a stream, or 0 when it is granted.

    SECURITY: 0 is the default deny, which no stream can name: refusing one without a rule is an error.
    """
    if not is_none:
        return 0
    index = _index(plan, RuleId(rule_id))
    if not index:
        raise ValueError(rule_id)
    return index


def _limit(value: int) -> int:
    return _FOREVER if value == UNLIMITED else value


def _configure(memory: bytearray, plan: Plan) -> None:
    times = plan.audit.timestamps
    links = any(plan.rules[rule].kind.is_final for entry in plan.automaton.classes for rule in entry.rules)
    words = {
        IS_AUDIT: plan.mode is Mode.AUDIT,
        TIMED_ALL: times is Timestamps.EXACT,
        TIMED_IO: times in (Timestamps.EXACT, Timestamps.AUTO),
        SYNC_DENY: plan.audit.sync in (Sync.DENY, Sync.ALL),
        SYNC_ALL: plan.audit.sync is Sync.ALL,
        WALL_KIND: plan.clocks.wall,
        MONOTONIC_KIND: plan.clocks.monotonic,
        RANDOM_KIND: plan.random.kind,
        IS_DETERMINISTIC: plan.runtime.deterministic,
        COUNTS_FUEL: plan.limits.fuel != UNLIMITED,
        MAX_OPEN_FILES: min(_limit(plan.limits.open_files), FIRST_SOCKET),
        HARD_LINKS: links,
        STDIN_RULE: _refusing(plan, "stdio.stdin", is_none=plan.stdio.stdin is StdinMode.NONE),
        STDOUT_RULE: _refusing(plan, "stdio.stdout", is_none=plan.stdio.stdout is StdoutMode.NONE),
        STDERR_RULE: _refusing(plan, "stdio.stderr", is_none=plan.stdio.stderr is StdoutMode.NONE),
    }
    for place, word in words.items():
        struct.pack_into("<I", memory, place, int(word))
    longs = {
        WALL_NS: plan.clocks.wall_ns,
        MONOTONIC_NS: plan.clocks.monotonic_ns,
        RESOLUTION_NS: plan.clocks.resolution_ns,
        MAX_HOST_CALLS: _limit(plan.limits.host_calls),
        MAX_STDOUT: _limit(plan.limits.stdout_bytes),
        MAX_STDERR: _limit(plan.limits.stderr_bytes),
        DISK_LEFT: _limit(plan.limits.disk_bytes),
        FILES_LEFT: _limit(plan.limits.files),
    }
    for place, long in longs.items():
        struct.pack_into("<q", memory, place, long)
    if plan.random.kind is SourceKind.FIXED:
        memory[SEED : SEED + 32] = plan.random.seed
    for index, rule_id in enumerate(map(RuleId, FIXED_RULE_IDS)):
        struct.pack_into("<I", memory, FIXED_RULES + 4 * index, _index(plan, rule_id))
    denied = dict(plan.denied_calls)
    for code, call in enumerate(CALLS):
        if call.name in denied:
            struct.pack_into("<I", memory, DENIED_CALLS + 4 * code, denied[call.name] + 1)


def _descriptors(memory: bytearray, plan: Plan, *, classes_at: int, plain: frozenset[int]) -> None:
    for fd, kind in enumerate((K_STDIN, K_STDOUT, K_STDERR)):
        struct.pack_into("<IIIIqII", memory, DESCRIPTORS + fd * DESCRIPTOR_BYTES, kind, 0, 0, 0, -1, 0, 0)
    for index, mount in enumerate(plan.mounts):
        class_index = plan.automaton.states[mount.start][2]
        struct.pack_into(
            "<IIIIqIII",
            memory,
            DESCRIPTORS + (FIRST_PREOPEN + index) * DESCRIPTOR_BYTES,
            K_DIRECTORY,
            0,
            mount.start,
            (F_SPLIT if mount.is_split else 0) | (F_PLAIN if index in plain else 0),
            FIRST_MOUNT - index,
            0,
            classes_at + class_index * CLASS_BYTES,
            rights_elsewhere(plan, mount),
        )
