"""The one door to wasmtime: engines, compilation, and the wiring of gate, guest and monitor.

Everything else in the project deals in artifacts (bytes), numbers and the small classes below;
what the monitor does is generated in `sandbox/monitor`. No function here reads a policy document,
and nothing here is called with guest text that it would print.
"""

from __future__ import annotations

import ctypes
import ctypes
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from typing import TYPE_CHECKING

import wasmtime
from wasmtime import _ffi as ffi
from wasmtime._extern import wrap_extern

from policy.plan import Engine
from sandbox.shared_memory import map_shared

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WASI = "wasi_snapshot_preview1"
MAX_STACK_BYTES = 4 << 20  # the thread's own stack is 8 MiB; wasmtime needs room beside the guest's


class CompileError(Exception):
    """The engine refused the module; the message is the engine's and holds guest text."""


class HostError(Exception):
    """The engine could not be set up; not the guest's doing."""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What decides the code of an artifact, and the stack that code may use."""

    engine: Engine = Engine.CRANELIFT
    has_fuel: bool = False
    stack_bytes: int = 512 << 10


def engine_key(config: EngineConfig) -> str:
    """A name for all artifacts that an engine of this configuration can load."""
    fuel = "fuel" if config.has_fuel else "nofuel"
    return f"wasmtime-{version('wasmtime')}-{config.engine.value}-{fuel}"


def make_engine(config: EngineConfig) -> wasmtime.Engine:
    """An engine with epochs on, and without threads, 64-bit memories and components."""
    settings = wasmtime.Config()
    settings.epoch_interruption = True
    settings.consume_fuel = config.has_fuel
    settings.max_wasm_stack = min(config.stack_bytes, MAX_STACK_BYTES)
    settings.wasm_multi_memory = True
    settings.wasm_threads = False
    settings.wasm_memory64 = False
    settings.wasm_component_model = False
    if config.engine is Engine.PULLEY:
        settings.target = "pulley64"
    return wasmtime.Engine(settings)


def compile_artifact(module: bytes, config: EngineConfig) -> bytes:
    """The precompiled form of a binary module; raises CompileError.

    Takes seconds and gigabytes on hostile input: call it in a process with limits.
    """
    # SECURITY: the engine takes anything that does not start with NUL for WebAssembly text.
    if module[:4] != b"\0asm":
        raise CompileError("not a WebAssembly binary")
    try:
        return bytes(wasmtime.Module(make_engine(config), module).serialize())
    except wasmtime.WasmtimeError as err:
        raise CompileError(str(err)) from err


def wat_to_wasm(text: str) -> bytes:
    """Assemble WebAssembly text of ours."""
    return bytes(wasmtime.wat2wasm(text))


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """What a guest may have, in bytes and pieces; -1 is unlimited."""

    memory_bytes: int
    table_elements: int
    instances: int
    tables: int
    memories: int


@dataclass(frozen=True, slots=True)
class World:
    """What a guest finds when it starts."""

    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    preopens: tuple[tuple[str, str, bool], ...]  # host directory, guest path, is mutable
    has_stdin: bool  # standard output and error are always descriptors 1 and 2 of this process


@dataclass(frozen=True, slots=True)
class Artifacts:
    """Paths of the precompiled modules; whoever passes them has authenticated them."""

    gate: str
    probe: str
    monitor: str
    guest: str


class EndKind(StrEnum):
    """How the guest's last instruction ended."""

    RETURNED = "returned"
    EXITED = "exited"
    TRAPPED = "trapped"
    CPU = "cpu"
    FUEL = "fuel"
    STACK = "stack"
    MEMORY = "memory"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class End:
    """The end of a guest; `message` is the engine's and holds guest text."""

    kind: EndKind
    message: str = ""
    exit_code: int = 0


_TRAPS = {
    wasmtime.TrapCode.INTERRUPT: EndKind.CPU,
    wasmtime.TrapCode.OUT_OF_FUEL: EndKind.FUEL,
    wasmtime.TrapCode.STACK_OVERFLOW: EndKind.STACK,
}
_PAGE = 65_536


class Machine:
    """One store with gate, guest, probe and monitor in it; used once, by one thread.

    `interrupt` may be called from another thread; nothing else may.
    """

    def __init__(self, config: EngineConfig, *, limits: StoreLimits, fuel: int, world: World) -> None:
        self._engine = make_engine(config)
        self._limits = limits
        self._store = wasmtime.Store(self._engine)
        self._store.set_epoch_deadline(1)
        if config.has_fuel:
            self._store.set_fuel(fuel)
        self._store.set_wasi(_wasi(world))
        self._memory: wasmtime.Memory | None = None
        self._guest: wasmtime.Instance | None = None

    def assemble(
        self, paths: Artifacts, *, drain: Callable[[int], int], ring_fd: int, ring_bytes: int, tables: bytes
    ) -> int:
        """Wire gate, guest and monitor, put the ring on `ring_fd`; says how many calls came too early.

        Raises HostError, or GuestError when instantiating the guest failed.
        """
        store, engine = self._store, self._engine
        linker = wasmtime.Linker(engine)
        linker.define_wasi()
        # INVARIANT: the guest is linked to the gate's functions and to nothing else
        gate = wasmtime.Instance(store, _load(engine, paths.gate), [])
        bare = wasmtime.Linker(engine)
        bare.define_instance(store, WASI, gate)
        self._limit(ours=False)
        try:
            self._guest = bare.instantiate(store, _load(engine, paths.guest))
        except (wasmtime.WasmtimeError, wasmtime.Trap) as err:
            raise GuestError(self._end(err)) from err
        self._limit(ours=True)
        memory = _export(store, self._guest, "memory")
        if not isinstance(memory, wasmtime.Memory):
            memory = wasmtime.Memory(store, wasmtime.MemoryType(wasmtime.Limits(0, 0)))
        self._memory = memory
        probe = linker.instantiate(store, _load(engine, paths.probe))
        linker.define_instance(store, "probe", probe)
        linker.define_instance(store, "gate", gate)
        linker.define(store, "guest", "memory", memory)
        kind = wasmtime.FuncType([wasmtime.ValType.i32()], [wasmtime.ValType.i32()])
        linker.define_func("host", "drain", kind, drain)
        monitor = linker.instantiate(store, _load(engine, paths.monitor)).exports(store)
        self._place(monitor, ring_fd=ring_fd, ring_bytes=ring_bytes, tables=tables)
        monitor["arm"](store)  # type: ignore[operator]  # an export of ours, known to be a function
        self._limit(ours=False)
        unarmed = gate.exports(store)["unarmed"]
        assert isinstance(unarmed, wasmtime.Global)
        return int(unarmed.value(store))

    def run(self, entry: str) -> End:
        """Call an exported function without parameters, to its end whatever that is."""
        assert self._guest is not None
        function = _export(self._store, self._guest, entry)
        if not isinstance(function, wasmtime.Func):
            return End(EndKind.REFUSED, f"no function is exported as `{entry}`")
        try:
            values = function(self._store)
        except (wasmtime.WasmtimeError, wasmtime.Trap) as err:
            return self._end(err)
        return End(EndKind.RETURNED, "" if values is None else f"returned {values}")

    def interrupt(self) -> None:
        """End the guest at its next epoch check."""
        self._engine.increment_epoch()

    @property
    def memory_bytes(self) -> int:
        """Size of the guest's memory, which never shrinks: its peak."""
        return 0 if self._memory is None else int(self._memory.data_len(self._store))

    def _limit(self, *, ours: bool) -> None:
        """Limit the store to the guest's share, or leave room for what the monitor adds."""
        limits = self._limits
        self._store.set_limits(
            memory_size=-1 if ours else limits.memory_bytes,
            table_elements=-1 if ours else limits.table_elements,
            instances=-1 if limits.instances < 0 else limits.instances + 4,
            tables=-1 if limits.tables < 0 else limits.tables + 2,
            memories=-1 if limits.memories < 0 else limits.memories + 4,
        )

    def _place(
        self, monitor: Mapping[str, object], *, ring_fd: int, ring_bytes: int, tables: bytes
    ) -> None:
        """Map the shared ring over the monitor's memory, and copy the plan's tables into its own."""
        ring, plan = monitor["ring"], monitor["plan"]
        assert isinstance(ring, wasmtime.Memory)
        assert isinstance(plan, wasmtime.Memory)
        if ring.data_len(self._store) != ring_bytes:
            raise HostError("the monitor's ring has another size than the layout")
        map_shared(ctypes.cast(ring.data_ptr(self._store), ctypes.c_void_p), ring_fd, ring_bytes)
        missing = -(-len(tables) // _PAGE) - plan.size(self._store)
        if missing > 0:
            plan.grow(self._store, missing)
        ctypes.memmove(plan.data_ptr(self._store), tables, len(tables))

    def _end(self, err: Exception) -> End:
        if isinstance(err, wasmtime.ExitTrap):
            return End(EndKind.EXITED, exit_code=err.code)
        text = str(err)
        kind = _TRAPS.get(err.trap_code) if isinstance(err, wasmtime.Trap) else None
        if kind is None and "forcibly exceeded" in text or "exceeds memory limits" in text:
            kind = EndKind.MEMORY
        limit = self._limits.memory_bytes
        if kind is None and 0 <= limit < self.memory_bytes + _PAGE:
            # the engine does not say that it refused to grow a memory: a trap with no room left is that
            kind = EndKind.MEMORY
        return End(kind or EndKind.TRAPPED, text)


class GuestError(Exception):
    """The guest could not be instantiated; `end` says how it ended."""

    def __init__(self, end: End) -> None:
        super().__init__(end.message)
        self.end = end


def _load(engine: wasmtime.Engine, path: str) -> wasmtime.Module:
    # SECURITY: native code: only artifacts that `sandbox.cache` has authenticated come here
    try:
        return wasmtime.Module.deserialize_file(engine, path)
    except wasmtime.WasmtimeError as err:
        raise HostError(f"the engine does not load an artifact: {err}") from err


def _export(store: wasmtime.Store, instance: wasmtime.Instance, name: str) -> object:
    """An export by name, or None; `Instance.exports` takes quadratic time on many."""
    item = ffi.wasmtime_extern_t()
    raw = name.encode()
    context = store._context()  # noqa: SLF001  # no public way to look one export up
    if not ffi.wasmtime_instance_export_get(
        context, ctypes.byref(instance._instance), raw, len(raw), ctypes.byref(item)  # noqa: SLF001
    ):
        return None
    return wrap_extern(item)


def _wasi(world: World) -> wasmtime.WasiConfig:
    wasi = wasmtime.WasiConfig()
    wasi.argv = list(world.argv)
    wasi.env = list(world.environment)
    if world.has_stdin:
        wasi.stdin_file = "/proc/self/fd/0"
    wasi.stdout_file = "/proc/self/fd/1"
    wasi.stderr_file = "/proc/self/fd/2"
    for host, guest, is_mutable in world.preopens:
        wasi.preopen_dir(host, guest, is_mutable)
    return wasi
