"""One run that somebody asked for, and what follows from it alone: its beginning on record, its job.

Carrying it out is `runner.py`. Nothing here touches the disk or starts anything. INVARIANT: what a cell is
told comes from the plan and the caller; of the module it is told sizes and names of exports only.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from audit.identity import new_execution_id
from audit.inert import inert
from audit.start import ExecutionStart, MountPoint
from audit.store import TENANT
from audit.terms import AuditTerms, CallTerms, Level, Mask, Payload, Veil
from audit.text import from_host
from policy.calls import MODULE
from policy.plan import UNLIMITED, Isolation, StdinMode
from policy.plan_network import has_network
from sandbox.admission import digest_of
from sandbox.confinement.bounds import bounds_of
from sandbox.determinism import is_repeatable
from sandbox.engine_config import EngineConfig
from sandbox.guest import StoreLimits, World
from sandbox.imports import host_call
from sandbox.job import Job
from sandbox.monitor import layout
from sandbox.outlet import ignore
from sandbox.wasm.shape import PAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from audit.identity import ExecutionId
    from audit.receipt import Outcome
    from policy.plan import Plan
    from policy.plan_audit import Audit
    from sandbox.admission import Admitted
    from sandbox.outlet import OnOutput
    from sandbox.preopens import Preopens
    from sandbox.wasm.shape import MemoryType

# Linux passes 128 KiB as one argument and 2 MiB as all of them; a guest's memory is the limit that matters.
MAX_ARGUMENT_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class StoredModule:
    """A module that is read when its turn has come: what waits need not be in memory."""

    digest: str  # of what `read` gives; `read` has checked it
    read: Callable[[], bytes]  # raises OSError


class Unstarted(Exception):  # noqa: N818  # an outcome of a run, not a mistake of ours
    """A run is over before anything of it was read."""

    def __init__(self, outcome: Outcome) -> None:
        """Keep how it ended."""
        super().__init__(outcome)
        self.outcome = outcome


class OrderRefused(Exception):  # noqa: N818  # an outcome of a run, shown as `refused`, not a mistake of ours
    """The caller asked for what the policy, or the engine, does not take."""


@dataclass(frozen=True, slots=True)
class Order:
    """One run that somebody asked for."""

    plan: Plan
    module: bytes | StoredModule
    module_name: str
    tenant: str = TENANT
    extra_args: tuple[str, ...] = ()
    invoke: str | None = None
    stdin_fd: int | None = None  # read by the guest when the plan grants it; stays the caller's
    on_stdout: OnOutput = ignore
    on_stderr: OnOutput = ignore
    on_progress: Callable[[str], None] | None = None  # `wait`, `compile`, `run`: for people who wait
    cancelled: threading.Event = field(default_factory=threading.Event)  # set it to end the run, at any time
    exec_id: ExecutionId = field(default_factory=new_execution_id)
    module_digest: str = field(init=False)

    def __post_init__(self) -> None:
        """Name the module, once: hashing a large one takes milliseconds."""
        source = self.module
        digest = source.digest if isinstance(source, StoredModule) else digest_of(source)
        object.__setattr__(self, "module_digest", digest)

    def read_module(self) -> bytes:
        """Give the bytes of the module; raises OSError."""
        source = self.module
        return source.read() if isinstance(source, StoredModule) else source

    def tell(self, step: str) -> None:
        """Say what is being done now, to whoever waits."""
        if self.on_progress is not None:
            self.on_progress(step)


def check_order(order: Order, *, is_in_process: bool = False) -> None:
    """Refuse what the policy does not take; OrderRefused.

    That is a plan made for study only, one for a process that runs guests itself where this is none
    (`is_in_process`), and arguments that it does not want, or that would not reach the
    guest as they are.
    """
    if order.plan.open_names:
        # SECURITY: a denial that names nobody refuses nothing
        names = ", ".join(f"${{{name}}}" for name in order.plan.open_names)
        raise OrderRefused(f"the policy asks for {names}, which is not known for this run")
    if not order.plan.may_run:
        named = ", ".join(inert(field) for field in order.plan.unenforced)
        reason = (
            f"this version does not enforce all of it ({named})" if named else "it is no policy for a module"
        )
        raise OrderRefused(f"the policy was compiled for study and may not run: {reason}")
    if order.plan.runtime.isolation is Isolation.IN_PROCESS and not is_in_process:
        # SECURITY: a guest that gets out there is in a process that holds keys, and runs for others
        raise OrderRefused(
            "the policy has the isolation in-process, which only a process that serves nobody else offers:"
            " `wasmgate run`"
        )
    _check_repeatable(order)
    if order.extra_args and not order.plan.is_extra_args_allowed:
        raise OrderRefused("the policy takes no arguments from the caller (`extra_args: false`)")
    size = 0
    for text in (order.module_name, *order.extra_args):
        # SECURITY: the engine cuts an argument at NUL without a word
        if "\0" in text:
            raise OrderRefused("an argument holds a NUL character")
        try:
            size += len(text.encode())
        except UnicodeEncodeError as err:
            raise OrderRefused("an argument is no valid UTF-8, which WASI requires") from err
    if size > MAX_ARGUMENT_BYTES:
        raise OrderRefused(f"the arguments have {size} bytes, more than {MAX_ARGUMENT_BYTES}")


def _check_repeatable(order: Order) -> None:
    """Refuse a deterministic run of what is not the same each time."""
    if not order.plan.runtime.deterministic:
        return
    if has_network(order.plan.network):
        raise OrderRefused("a deterministic run has no network: what comes from it is never the same")
    if not _is_input_repeatable(order):
        # in which pieces a pipe or a terminal gives what it has, is a matter of time
        raise OrderRefused("a deterministic run reads standard input from a file, and this is none")


def _is_input_repeatable(order: Order) -> bool:
    fd = order.stdin_fd
    return fd is None or order.plan.stdio.stdin is StdinMode.NONE or is_repeatable(fd)


def start_of(order: Order, started_ns: int) -> ExecutionStart:
    """What the audit log is told before the first host call."""
    plan = order.plan
    return ExecutionStart(
        exec_id=order.exec_id,
        started_at_ns=started_ns,
        module_digest=order.module_digest,
        module_name=from_host(order.module_name),
        tenant=from_host(order.tenant),
        policy_name=plan.name,
        policy_digest=plan.policy_digest,
        plan_digest=plan.plan_digest,
        mode=plan.mode.value,
        layout_version=layout.VERSION,
        record_bytes=layout.RECORD_BYTES,
        rules=tuple(rule.id for rule in plan.rules),
        mounts=tuple(MountPoint.of(guest=mount.guest, base=mount.base) for mount in plan.mounts),
        retain_days=plan.audit.retain_days,
        audit=terms_of(plan.audit),
        unenforced=tuple(from_host(field) for field in plan.unenforced),
    )


def terms_of(audit: Audit) -> AuditTerms:
    """What is kept of the calls of a run, as the audit log is told."""
    return AuditTerms(
        level=Level(str(audit.level)),
        payload=Payload.parse(str(audit.payload)),
        mask=tuple(
            Mask(
                column=mask.column,
                veil=Veil(mask.veil),
                names=mask.names,
                pointer=mask.pointer,
                glob=mask.glob,
                pattern=mask.pattern,
            )
            for mask in audit.mask
        ),
        rules=tuple(
            CallTerms(f"{MODULE}.{each.call}", Level(str(each.level)), Payload.parse(str(each.payload)))
            for each in audit.calls
        ),
    )


def job_of(order: Order, admitted: Admitted, preopens: Preopens) -> Job:
    """What the cell is told."""
    plan = order.plan
    return Job(
        config=replace(EngineConfig.of(plan), for_components=admitted.parts is not None),
        parts=admitted.parts,
        limits=_store_limits(plan, admitted.shape.memories),
        world=World(
            argv=(order.module_name, *plan.args, *order.extra_args),
            environment=plan.environment,
            preopens=preopens,
            has_stdin=plan.stdio.stdin is not StdinMode.NONE,
        ),
        entries=("_initialize", admitted.entry) if admitted.has_initializer else (admitted.entry,),
        fuel=max(plan.limits.fuel, 0),
        cpu_ms=plan.limits.cpu_ms,
        wall_ms=plan.limits.wall_ms,
        full_ms=plan.audit.on_full_ms,
        ring_bytes=layout.RING_BYTES,
        required=plan.runtime.require_walls,
        has_network=has_network(plan.network) and _uses_network(admitted),
        bounds=bounds_of(plan) if plan.runtime.isolation is Isolation.CONFINED else None,
    )


def _uses_network(admitted: Admitted) -> bool:
    """Whether the module imports a call that is about sockets, or about requests."""
    calls = (host_call(item) for item in admitted.shape.imports)
    return any(call is not None and call.capability == "network" for call in calls)


def memory_share(memories: Sequence[MemoryType], limit_bytes: int) -> int | None:
    """How far each of several memories may grow, so that all of them stay within a limit; None: no matter.

    The engine has one limit for each memory, the policy one for all: what a memory does not need by its own
    maximum goes to the others, in equal parts.
    """
    if limit_bytes == UNLIMITED or len(memories) < 2:
        return None
    low, high = 0, limit_bytes // PAGE_BYTES
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _grown(memories, middle) <= limit_bytes else (low, middle - 1)
    return low * PAGE_BYTES


def _grown(memories: Sequence[MemoryType], pages: int) -> int:
    """Bytes of all memories, each grown to `pages` where it can be."""
    return sum(
        max(memory.minimum, pages if memory.maximum is None else min(pages, memory.maximum))
        * memory.page_bytes
        for memory in memories
    )


def _store_limits(plan: Plan, memories: Sequence[MemoryType]) -> StoreLimits:
    limits = plan.limits
    share = memory_share(memories, limits.memory_bytes)
    largest = max((memory.minimum_bytes for memory in memories), default=0)
    return StoreLimits(
        memory_bytes=limits.memory_bytes if share is None else max(share, largest),
        table_elements=limits.table_elements,
        instances=limits.instances,
        tables=limits.tables,
        memories=limits.memories,
        share_bytes=share,
    )
