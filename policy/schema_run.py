"""Streams, clocks, limits, the runtime and the audit of a policy document, as typed values.

The rest of the document is in `schema.py`. INVARIANT: each limit has a default that lets nothing grow without
end, but for `fuel`, which `cpu` and `timeout` bound.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from policy.fields import (
    ByteLimit,
    CountLimit,
    Days,
    Flag,
    HostCallsLimit,
    Many,
    MaskTerm,
    MemoryLimit,
    Milliseconds,
    MonotonicClock,
    NonEmpty,
    OneOrMany,
    OnFull,
    OpenFilesLimit,
    PayloadTerm,
    Resolution,
    Section,
    StackLimit,
    WallClock,
)
from policy.schema_network import Model

MIB: Final = 2**20

IsolationWord = Literal["confined", "process", "in-process"]
WallWord = Literal["no_new_privs", "rlimits", "capabilities", "landlock", "seccomp", "namespaces", "cgroup"]


class StdioSection(Model):
    """The three standard streams."""

    stdin: Literal["none", "inherit", "caller"] = Field(
        default="none",
        description="Standard input: `none`, `inherit` (the host's), or `caller` (what the caller sends).",
    )
    stdout: Literal["none", "inherit", "capture"] = Field(
        default="capture",
        description="Standard output: `none`, `inherit`, or `capture` (kept with the execution and "
        "passed on to the caller).",
    )
    stderr: Literal["none", "inherit", "capture"] = Field(
        default="capture", description="Standard error; as `stdout`."
    )


class ClocksSection(Model):
    """What the clocks say."""

    wall: WallClock = Field(
        default="real", description="The time of day: `real`, `frozen:<time>`, or `none`."
    )
    monotonic: MonotonicClock = Field(
        default="real",
        description="The clock that only runs forward: `real`, `frozen:<time or duration>`, or `none`.",
    )
    resolution: Resolution = Field(default=1_000, description="The finest step that a clock shows.")


class LimitsSection(Model):
    """What a run may use; sizes in bytes, times in milliseconds."""

    memory: MemoryLimit = Field(default=64 * MIB, description="Bytes of all linear memories together.")
    cpu: Milliseconds = Field(default=5_000, description="Time spent in the guest.")
    timeout: Milliseconds = Field(default=10_000, description="Wall-clock time, also while the guest waits.")
    fuel: CountLimit = Field(default=-1, description="Count of instructions, which is exact.")
    module: ByteLimit = Field(default=64 * MIB, description="Size of the module.")
    compile: Milliseconds = Field(default=30_000, description="Time to compile it.")
    stack: StackLimit = Field(default=512 * 2**10, description="Stack of the guest; never unlimited.")
    tables: CountLimit = Field(default=4, description="Tables.")
    table_elements: CountLimit = Field(default=10_000, description="Entries of each table.")
    instances: CountLimit = Field(default=8, description="Instances.")
    memories: CountLimit = Field(default=2, description="Linear memories.")
    stdout: ByteLimit = Field(default=1 * MIB, description="Bytes on standard output.")
    stderr: ByteLimit = Field(default=256 * 2**10, description="Bytes on standard error.")
    disk: ByteLimit = Field(default=16 * MIB, description="Bytes written to files.")
    files: CountLimit = Field(default=256, description="Files and directories made.")
    open_files: OpenFilesLimit = Field(
        default=64, description="Descriptors open at one time; never unlimited."
    )
    connections: CountLimit = Field(default=4, description="Connections open at one time.")
    net_in: ByteLimit = Field(default=8 * MIB, description="Bytes received.")
    net_out: ByteLimit = Field(default=8 * MIB, description="Bytes sent.")
    host_calls: HostCallsLimit = Field(default=1_000_000, description="Host calls.")


class Resources(Model):
    """What a run may use."""

    limits: Section[LimitsSection] = Field(default=LimitsSection(), description="What a run may use at most.")


class RuntimeSection(Model):
    """How the module is run."""

    abi: Literal["auto", "wasi-0.1", "wasi-0.2"] = Field(
        default="auto", description="The interface of the module: `auto`, `wasi-0.1` or `wasi-0.2`."
    )
    engine: Literal["cranelift", "pulley"] = Field(
        default="cranelift",
        description="What compiles the module: `cranelift` (ahead of time) or `pulley` (an interpreter).",
    )
    isolation: IsolationWord = Field(
        default="confined",
        description="What a run is kept in: `confined` (a process of its own, behind the walls of the "
        "operating system), `process` (a process of its own) or `in-process` (that of whoever runs it).",
    )
    require_walls: Many[WallWord] = Field(
        default=(),
        description="Walls of the operating system that must stand around the run; where one does not, "
        "nothing is run. All of them come with `confined`.",
    )
    deterministic: Flag = Field(
        default=False,
        description="Whether a run with the same module, policy and input is the same each time. Clocks that "
        "are `real` then count from a fixed time, random bytes that are `real` come from a seed, and each "
        "result of an instruction has one form.",
    )
    cache: Flag = Field(default=True, description="Whether the compiled module is kept for the next run.")


class AuditRule(Model):
    """An exception for some calls."""

    call: NonEmpty = Field(description="Glob over the names of calls, such as `fd_read` or `path_*`.")
    level: Literal["counts", "summary", "calls"] | None = Field(
        default=None, description="The level for these calls."
    )
    payload: PayloadTerm | None = Field(default=None, description="The payload for these calls.")


class AuditSection(Model):
    """How the trail of a run is kept."""

    level: Literal["counts", "summary", "calls"] = Field(
        default="calls",
        description="What is recorded: `calls` (each one), `summary` (one record for each call, target "
        "and decision) or `counts` (totals). What is refused, does not return or ends the guest has a record "
        "of its own at every level.",
    )
    payload: PayloadTerm = Field(
        default="none",
        description="What is kept of the bytes that are read and written: `none`, `digest` (SHA-256), "
        "`head:256` (the digest and the first 256 bytes) or `full`.",
    )
    mask: OneOrMany[MaskTerm] = Field(
        default=("default",),
        description="What is blotted out in what is kept: `path:hmac`, `path:drop` or `path:prefix:2`, "
        "for all paths or behind it a glob as in `path:drop:/in/customers/**`, of which the first that fits "
        "counts; `payload:drop` or `payload:digest`, with a glob or not; `json:/email`, one value of "
        "payloads that are JSON. `default` is what is never stored: arguments, environment, random bytes.",
    )
    sync: Literal["batch", "deny", "all"] = Field(
        default="deny",
        description="What must be durable before a call returns: nothing (`batch`), refusals (`deny`) "
        "or everything (`all`).",
    )
    on_full: OnFull = Field(
        default=10_000,
        description="What happens when the log is full: the guest waits, for as long as is said, and is "
        "then killed; or it is killed at once.",
    )
    timestamps: Literal["auto", "exact", "coarse"] = Field(
        default="auto", description="How times are taken: `exact`, `coarse`, or `auto`."
    )
    retain: Days = Field(
        default=90,
        description="How long records are kept at least. It is written into the log with each execution; "
        "`wasmgate audit prune` deletes what is older, and a service where the operator says so.",
    )
    rules: Many[AuditRule] = Field(
        default=(), description="Exceptions for some calls; the first that matches counts."
    )
