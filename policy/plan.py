"""The compiled policy: a frozen, canonical value that enforcement reads.

Loading and compiling live beside this file (`source.py`, `compiler.py`), the tables of the network
in `plan_network.py`, the trail in `plan_audit.py`; what is done with a plan lives in `sandbox/`. A plan
holds integers, tuples, bytes and identifiers only, so two equal documents give two equal plans with one
digest everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag, StrEnum
from typing import NewType

from policy.plan_audit import Audit
from policy.plan_network import NetworkPlan, NnPlan
from policy.plan_temporal import TemporalRule

RuleId = NewType("RuleId", str)

UNLIMITED = -1
"""What a limit of `unlimited` compiles to, wherever the type below is a plain `int`."""


class Right(IntFlag):
    """The seven access rights of a storage rule, one bit each."""

    READ = 1
    LIST = 2
    CREATE = 4
    WRITE = 8
    APPEND = 16
    DELETE = 32
    SYMLINK = 64


RIGHTS: tuple[Right, ...] = tuple(Right)
"""All rights, in bit order; `RIGHTS[i].value == 1 << i`."""


class Mode(StrEnum):
    """Whether a refusal is enforced, or only recorded as `would_deny`."""

    ENFORCE = "enforce"
    AUDIT = "audit"
    LEARN = "learn"  # enforced like `enforce`; directories without a grant are mounted, so that refusals tell


class RuleKind(IntEnum):
    """Where a rule stands in the evaluation order."""

    DEFAULT = 0
    BUILTIN = 1
    DENY = 2
    ALLOW = 3
    BOUNDARY = 4
    TEMPORAL = 5

    @property
    def is_final(self) -> bool:
        """Whether what such a rule refuses is refused in mode `audit` too."""
        return self in {RuleKind.BUILTIN, RuleKind.BOUNDARY}


@dataclass(frozen=True, slots=True)
class Rule:
    """One line that can decide a call; its index in `Plan.rules` is what a record carries."""

    id: RuleId
    kind: RuleKind
    field: str  # dotted path in the document, as `permissions.storage.allow[0]`
    summary: str  # one line of plain English: what it allows or denies
    hint: str  # how to allow what it refused; empty for an allow rule
    max_bytes: int = UNLIMITED  # bytes the guest may write through this rule
    max_files: int = UNLIMITED  # files and directories the guest may make through it


@dataclass(frozen=True, slots=True)
class PathClass:
    """What every path in one equivalence class of the automaton may have done to it."""

    rights: int  # mask of the `Right`s that are allowed
    rules: tuple[int, ...]  # seven indices into `Plan.rules`: what decided each right
    marks: int = 0  # mask: bit i is set where `Plan.temporal[i]` watches this path


LIVE = 1
"""State flag: some right is allowed at this path, or may be allowed below it."""

UNIFORM = 2
"""State flag: this path and every path below it lie in the same class."""


@dataclass(frozen=True, slots=True)
class PathAutomaton:
    """A deterministic automaton over the bytes of `/segment/segment` below a mount.

    The mount itself is the empty string, at the mount's start state; each segment is consumed
    with the slash before it. Row `i` of `states` is `(first_edge, n_edges, class, default, flags)`;
    an edge is `(low, high, target)` with inclusive byte bounds, sorted by `low`, not overlapping
    within a state; a byte that no edge covers goes to `default`. State 0 is dead: class 0, no
    rights, not live, default 0. All numbers are below 2**32, `n_edges` and `class` below 2**16.
    """

    states: tuple[tuple[int, int, int, int, int], ...]
    edges: tuple[tuple[int, int, int], ...]
    classes: tuple[PathClass, ...]


@dataclass(frozen=True, slots=True)
class Mount:
    """One directory that the guest finds open when it starts."""

    guest: str  # absolute, normalised guest path, as `/in`
    host: str  # absolute host path of the directory; empty for scratch
    scratch: str  # name of a `tmp://` directory made for the run; empty for a host path
    start: int  # the automaton's state for the mount itself
    is_split: bool  # not every path below has the same rights: links are not followed
    is_mutable: bool  # some path below allows more than read and list
    is_optional: bool = False  # where the host has no such directory, an empty one stands in

    @property
    def base(self) -> str:
        """What a target in this mount starts with in the audit: `/srv/in` or `tmp://out`."""
        return self.host or f"tmp://{self.scratch}"


class StdinMode(StrEnum):
    """Where the guest's standard input comes from."""

    NONE = "none"
    INHERIT = "inherit"
    CALLER = "caller"


class StdoutMode(StrEnum):
    """Where the guest's standard output or error goes."""

    NONE = "none"
    INHERIT = "inherit"
    CAPTURE = "capture"


@dataclass(frozen=True, slots=True)
class Stdio:
    """The three standard streams."""

    stdin: StdinMode = StdinMode.NONE
    stdout: StdoutMode = StdoutMode.CAPTURE
    stderr: StdoutMode = StdoutMode.CAPTURE


class SourceKind(IntEnum):
    """How a clock or the random source answers."""

    NONE = 0
    REAL = 1
    FIXED = 2  # a frozen clock, or seeded randomness
    VIRTUAL = 3  # in a deterministic run: a clock that reads and waits move, or a seed made for the run


@dataclass(frozen=True, slots=True)
class Clocks:
    """What the guest's clocks say; all times in nanoseconds."""

    wall: SourceKind = SourceKind.REAL
    wall_ns: int = 0  # since 1970 UTC, when frozen; where it starts, when virtual
    monotonic: SourceKind = SourceKind.REAL
    monotonic_ns: int = 0  # when frozen; where it starts, when virtual
    resolution_ns: int = 1_000


VIRTUAL_WALL_NS = 946_684_800 * 10**9
"""Where a virtual wall clock starts: 2000-01-01T00:00:00Z."""

VIRTUAL_MONOTONIC_NS = 10**9
"""Where a virtual monotonic clock starts; 0 stands for no time at all in some languages."""


@dataclass(frozen=True, slots=True)
class Random:
    """Where random bytes come from."""

    kind: SourceKind = SourceKind.REAL
    seed: bytes = b""  # 32 bytes when `kind` is FIXED, else empty


@dataclass(frozen=True, slots=True)
class Limits:
    """Resource limits; `UNLIMITED` where the document says so. Sizes in bytes, times in ms."""

    memory_bytes: int
    cpu_ms: int
    wall_ms: int
    fuel: int  # UNLIMITED means fuel is not counted
    module_bytes: int
    compile_ms: int
    stack_bytes: int
    tables: int
    table_elements: int
    instances: int
    memories: int
    stdout_bytes: int
    stderr_bytes: int
    disk_bytes: int
    files: int
    open_files: int
    host_calls: int
    connections: int = 4
    net_in_bytes: int = 8 * 2**20
    net_out_bytes: int = 8 * 2**20


class Engine(StrEnum):
    """How the guest's code is executed."""

    CRANELIFT = "cranelift"
    PULLEY = "pulley"


class Isolation(StrEnum):
    """What a run is kept in, from the weakest to the strongest."""

    IN_PROCESS = "in-process"  # that of whoever runs it
    PROCESS = "process"
    CONFINED = "confined"


WALLS = ("no_new_privs", "rlimits", "capabilities", "landlock", "seccomp", "namespaces", "cgroup")
"""Walls of the operating system that a policy can require; only `Isolation.CONFINED` puts them up."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """How the module is run."""

    engine: Engine = Engine.CRANELIFT
    cache: bool = True
    isolation: Isolation = Isolation.CONFINED
    require_walls: tuple[str, ...] = ()  # some of `WALLS`, in their order, each once
    deterministic: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that enforcement needs to know about one policy, and its digest.

    `denied_calls` names each host call that is refused whatever its arguments, with the index of the
    rule that refuses it; calls that are not named are decided by their arguments.
    `rules[0]` is the default deny.
    """

    name: str
    policy_digest: str  # `sha256:…` of the source documents
    plan_digest: str  # `sha256:…` of this value, without the two digests
    mode: Mode
    match_digests: tuple[str, ...]  # modules this policy is for; empty when it does not say
    match_names: tuple[str, ...]  # name globs
    match_tenants: tuple[str, ...]  # tenant globs
    match_signers: tuple[str, ...]
    rules: tuple[Rule, ...]
    denied_calls: tuple[tuple[str, int], ...]
    mounts: tuple[Mount, ...]
    automaton: PathAutomaton
    temporal: tuple[TemporalRule, ...]
    network: NetworkPlan
    nn: NnPlan
    environment: tuple[tuple[str, str], ...]
    args: tuple[str, ...]
    is_extra_args_allowed: bool
    stdio: Stdio
    clocks: Clocks
    random: Random
    limits: Limits
    runtime: Runtime
    audit: Audit
    unenforced: tuple[str, ...] = ()  # fields of the document that this version does not enforce
    unenforced_digest: str = ""  # `sha256:…` of the values of those that the plan does not hold itself
    may_run: bool = True  # False: for study only, since `unenforced` was not accepted by the document
    open_names: tuple[str, ...] = ()  # what `${…}` asks for and nobody told: it may not run
