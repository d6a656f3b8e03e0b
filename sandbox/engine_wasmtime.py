"""The one door to wasmtime: engines, compilation, and the wiring of gate, guest and monitor.

What goes in and comes out are the plain values of `engine_config.py` and `guest.py`; what the monitor does
is generated in `sandbox/monitor`. No function here reads a policy document, and nothing here is called with
guest text that it would print. It is longer than most: nothing else may import the engine.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import wasmtime
from wasmtime import _ffi as ffi
from wasmtime._extern import wrap_extern

from policy.calls import CALLS
from policy.plan import Engine
from sandbox.artifact import private_file
from sandbox.bundle import MAGIC, is_bundle, pack, unpack
from sandbox.engine_config import MAX_STACK_BYTES, EngineConfig, engine_key
from sandbox.guest import (
    Artifacts,
    CompileError,
    End,
    EndKind,
    GuestError,
    HostError,
    StoreLimits,
    World,
)
from sandbox.joining import Joined
from sandbox.network.protocol import EXCHANGE_BYTES, Status
from sandbox.parts import Parts, slots
from sandbox.shared_memory import map_shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = [
    "OWN_STREAMS",
    "Artifacts",
    "Code",
    "CompileError",
    "End",
    "EndKind",
    "EngineConfig",
    "GuestError",
    "HostError",
    "Machine",
    "StoreLimits",
    "World",
    "compile_artifact",
    "engine_key",
    "gate_slots",
    "make_engine",
    "wat_to_wasm",
]

WASI = "wasi_snapshot_preview1"
_PAGE = 65_536
_OF_BRIDGE = 1 + 8  # instances and memories of the bridge, and of `component_admission.MAX_EDGES`
OWN_STREAMS = ("/proc/self/fd/1", "/proc/self/fd/2")
_NO_WORLD = World(("",), (), (), has_stdin=False)
_OWN_FUEL = 1 << 40  # for gate and monitor to come up, which takes a few hundred
_TRAPS: dict[object, EndKind] = {
    wasmtime.TrapCode.INTERRUPT: EndKind.CPU,
    wasmtime.TrapCode.OUT_OF_FUEL: EndKind.FUEL,
    wasmtime.TrapCode.STACK_OVERFLOW: EndKind.STACK,
}
_T = TypeVar("_T")
_Extern = (
    wasmtime.Func | wasmtime.Table | wasmtime.Memory | wasmtime.SharedMemory | wasmtime.Global | wasmtime.Tag
)
_Component = Joined[wasmtime.Module, wasmtime.Instance, _Extern]
_AFTER_NO_MEMORY: set[object] = {wasmtime.TrapCode.UNREACHABLE, wasmtime.TrapCode.MEMORY_OUT_OF_BOUNDS}
"""How a guest ends that was refused memory: it gives up, or uses the -1 as an address."""
_NO_MEMORY = ("exceeds memory limits", "forcibly exceeded", "GC heap out of memory")
"""What the engine says when it ends a guest for want of memory itself."""


def _go_on() -> None:
    """Have nothing to do first."""


def _no_network(*_: int) -> int:
    """Answer what is asked of a broker where there is none."""
    return int(Status.NOTCAPABLE)


def make_engine(config: EngineConfig) -> wasmtime.Engine:
    """An engine with epochs on, and without 64-bit memories and components."""
    settings = wasmtime.Config()
    settings.epoch_interruption = True
    settings.consume_fuel = config.has_fuel
    stack_bytes = min(config.stack_bytes, MAX_STACK_BYTES)
    # WORKAROUND: the engine panics on a stack above its 2 MiB for asynchronous calls, which nobody makes
    ffi.wasmtime_config_async_stack_size_set(settings.ptr(), 2 * MAX_STACK_BYTES)
    settings.max_wasm_stack = stack_bytes
    settings.wasm_multi_memory = True
    # Atomic instructions, which compilers use on memories that nobody shares; `admission.py` refuses shared
    # ones, without which no instruction starts a thread or waits for one. The interpreter has none of them.
    settings.wasm_threads = config.engine is Engine.CRANELIFT
    settings.wasm_memory64 = False
    settings.wasm_component_model = False
    if config.is_deterministic:
        # both leave a choice to the processor: which bits a NaN has, and what a relaxed instruction rounds to
        settings.cranelift_nan_canonicalization = True
        settings.wasm_relaxed_simd_deterministic = True
    if config.engine is Engine.PULLEY:
        settings.target = "pulley64"
    return wasmtime.Engine(settings)


def compile_bundle(modules: Iterable[bytes], config: EngineConfig) -> bytes:
    """The precompiled form of a component's core modules, in one bundle; raises CompileError."""
    return pack([compile_artifact(module, config) for module in modules])


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


@dataclass(slots=True)
class Code:
    """An engine, and the modules that it loaded."""

    engine: wasmtime.Engine
    gate: wasmtime.Module
    probe: wasmtime.Module
    monitor: tuple[wasmtime.Module, ...]  # for components with the bridge and its edge
    guest: tuple[wasmtime.Module, ...] | None  # None: not yet; of a component its core modules

    @staticmethod
    def load(config: EngineConfig, paths: Artifacts) -> Code:
        """Load what the paths lead to; raises HostError."""
        engine = make_engine(config)
        gate, probe = (_load(engine, path) for path in (paths.gate, paths.probe))
        monitor = _load_all(engine, paths.monitor)
        guest = _load_all(engine, paths.guest) if paths.guest else None
        return Code(engine, gate, probe, monitor, guest)

    def load_guest(self, path: str) -> None:
        """Load the guest; raises HostError."""
        self.guest = _load_all(self.engine, path)


class Machine:
    """One store with gate, guest, probe and monitor in it; used once, by one thread.

    It is made before anything is known of a run, `begin` says what the guest is given, `assemble` loads it.
    `interrupt` may be called from another thread; nothing else may.
    """

    def __init__(self, code: Code) -> None:
        self._code = code
        self._engine = code.engine
        self._store = wasmtime.Store(code.engine)
        self._store.set_epoch_deadline(1)
        with contextlib.suppress(wasmtime.WasmtimeError):  # of an engine that counts no fuel
            self._store.set_fuel(_OWN_FUEL)
        self._linker = wasmtime.Linker(code.engine)
        self._linker.define_wasi()
        # INVARIANT: the guest is linked to the gate's functions and to nothing else
        for_components = len(code.monitor) > 1
        self._slots, self._unarmed = gate_slots(self._store, slots(for_components=for_components))
        gate = wasmtime.Instance(self._store, code.gate, [self._slots, self._unarmed])
        self._bare = wasmtime.Linker(code.engine)
        self._bare.define_instance(self._store, WASI, gate)
        self._limits = StoreLimits(0, 0, 0, 0, 0)
        self._has_fuel = False
        self._memory: wasmtime.Memory | None = None
        self._guest: wasmtime.Instance | None = None
        self._component = _component(self._store, code, gate) if for_components else None

    def begin(
        self,
        *,
        limits: StoreLimits,
        fuel: int | None,
        world: World,
        streams: tuple[str, str] = OWN_STREAMS,
    ) -> None:
        """Say what the guest may use and what it finds; opens the directories and files of its world.

        `streams` are paths for its standard output and error.
        """
        self._limits = limits
        self._has_fuel = fuel is not None
        if fuel is not None:
            self._store.set_fuel(fuel)
        self._store.set_wasi(_wasi(world, streams))

    def assemble(
        self,
        *,
        drain: Callable[[int], int],
        ring_fd: int,
        ring_bytes: int,
        tables: bytes,
        before_guest: Callable[[], None] = _go_on,
        network: Callable[..., int] = _no_network,
        exchange_fd: int | None = None,
        parts: Parts | None = None,
    ) -> int:
        """Wire gate, guest and monitor, put the ring on `ring_fd`; says how many calls came too early.

        `before_guest` is called when none of the guest's code has run. `network` asks the broker, over pages
        that it shares with `exchange_fd`. Raises HostError, or GuestError when
        instantiating the guest failed.
        """
        store = self._store
        guest = _expect(self._code.guest, tuple)
        before_guest()
        if self._component is None:
            self._instantiate(lambda: self._bare.instantiate(store, guest[0]))
        self._limit(ours=True)
        left = store.get_fuel() if self._has_fuel else None
        if left is not None:  # the guest pays for its calls, not for what has to be there before the first
            store.set_fuel(_OWN_FUEL)
        memory = self._guest_memory()
        standing = self._wire(memory, drain, network)
        self._place(standing, ring_fd=ring_fd, ring_bytes=ring_bytes, tables=tables)
        if exchange_fd is not None:
            self._share(standing["exchange"], exchange_fd, EXCHANGE_BYTES)
        standing["arm"](store)  # type: ignore[operator]  # an export of ours, known to be a function
        self._limit(ours=False)
        if left is not None:
            store.set_fuel(left)
        if self._component is not None:
            component, made = self._component, _expect(parts, Parts)
            self._instantiate(lambda: component.join(guest, made))
        return int(self._unarmed.value(store))

    def _wire(
        self, memory: wasmtime.Memory, drain: Callable[[int], int], network: Callable[..., int]
    ) -> Mapping[str, object]:
        """Make instances of probe and monitor; gives what the monitor exports."""
        store, linker, code = self._store, self._linker, self._code
        linker.define_instance(store, "probe", linker.instantiate(store, code.probe))
        linker.define(store, "gate", "table", self._slots)
        linker.define(store, "guest", "memory", memory)
        if self._component is not None:
            linker.define(store, "slots", "as", self._component.named)
        kind = wasmtime.FuncType([wasmtime.ValType.i32()], [wasmtime.ValType.i32()])
        linker.define_func("host", "drain", kind, drain)
        words = [wasmtime.ValType.i32()] * 2 + [wasmtime.ValType.i64()] * 6
        asks = wasmtime.FuncType(words, [wasmtime.ValType.i32()])
        linker.define_func("host", "ask", asks, network)
        linker.define_func("host", "network", asks, network)
        return linker.instantiate(store, code.monitor[0]).exports(store)

    def rehearse(self, *, has_fuel: bool) -> None:
        """Make instances of our own modules, in place of a run: what that touches is there for the next one.

        None of their functions is called: the engine would start its threads.
        """
        fuel = _OWN_FUEL if has_fuel else None
        self.begin(limits=StoreLimits(-1, -1, -1, -1, -1), fuel=fuel, world=_NO_WORLD)
        memory = wasmtime.Memory(self._store, wasmtime.MemoryType(wasmtime.Limits(0, 0)))
        self._wire(memory, lambda _: 0, _no_network)

    def run(self, entry: str) -> End:
        """Call an exported function without parameters, to its end whatever that is."""
        guest = _expect(self._guest, wasmtime.Instance)
        function = exported(self._store, guest, entry)
        if not isinstance(function, wasmtime.Func):
            return End(EndKind.REFUSED, f"no function is exported as `{entry}`")
        try:
            values = function(self._store)
        except (wasmtime.WasmtimeError, wasmtime.Trap) as err:
            return self._end(err)
        if self._component is not None and values:
            return End(EndKind.EXITED, exit_code=1)  # `wasi:cli/run` says that it failed
        return End(EndKind.RETURNED, "" if values is None else f"returned {values}")

    def interrupt(self) -> None:
        """End the guest at its next epoch check."""
        self._engine.increment_epoch()

    @property
    def memory_bytes(self) -> int:
        """Size of the guest's memory, which never shrinks: its peak."""
        if self._component is not None:
            sizes = [_expect(one, wasmtime.Memory).data_len(self._store) for one in self._component.memories]
            return sum(map(int, sizes))
        return 0 if self._memory is None else int(self._memory.data_len(self._store))

    def _instantiate(self, make: Callable[[], wasmtime.Instance]) -> None:
        self._limit(ours=False)
        try:
            self._guest = make()
        except (wasmtime.WasmtimeError, wasmtime.Trap) as err:
            raise GuestError(self._end(err)) from err
        if self._limits.share_bytes is not None:
            # the engine's limit is for each memory: several share what the policy gives to all
            self._limits = replace(self._limits, memory_bytes=self._limits.share_bytes)

    def _guest_memory(self) -> wasmtime.Memory:
        """What the guest exports as its memory, or what stands for it: the bridge's, or an empty one."""
        if self._component is not None:
            return _expect(self._component.memory, wasmtime.Memory)
        memory = exported(self._store, _expect(self._guest, wasmtime.Instance), "memory")
        if not isinstance(memory, wasmtime.Memory):
            memory = wasmtime.Memory(self._store, wasmtime.MemoryType(wasmtime.Limits(0, 0)))
        self._memory = memory
        return memory

    def _limit(self, *, ours: bool) -> None:
        """Limit the store to the guest's share, or leave room for what the monitor adds."""
        limits = self._limits
        self._store.set_limits(
            memory_size=-1 if ours else limits.memory_bytes,
            table_elements=-1 if ours else limits.table_elements,
            instances=-1 if limits.instances < 0 else limits.instances + 4 + _OF_BRIDGE,
            tables=-1 if limits.tables < 0 else limits.tables + 2,
            memories=-1 if limits.memories < 0 else limits.memories + 4 + _OF_BRIDGE,
        )

    def _place(self, monitor: Mapping[str, object], *, ring_fd: int, ring_bytes: int, tables: bytes) -> None:
        """Map the shared ring over the monitor's memory, and copy the plan's tables into its own."""
        self._share(monitor["ring"], ring_fd, ring_bytes)
        plan = _expect(monitor["plan"], wasmtime.Memory)
        missing = -(-len(tables) // _PAGE) - plan.size(self._store)
        if missing > 0:
            plan.grow(self._store, missing)
        ctypes.memmove(plan.data_ptr(self._store), tables, len(tables))

    def _share(self, exported: object, fd: int, size: int) -> None:
        """Put pages that others have mapped in the place of one of the monitor's memories."""
        memory = _expect(exported, wasmtime.Memory)
        if memory.data_len(self._store) != size:
            raise HostError("a memory of the monitor has another size than the layout")
        map_shared(ctypes.cast(memory.data_ptr(self._store), ctypes.c_void_p), fd, size)

    def _end(self, err: Exception) -> End:
        if isinstance(err, wasmtime.ExitTrap):
            return End(EndKind.EXITED, exit_code=err.code)
        text = str(err)
        if isinstance(err, wasmtime.Trap):
            code = err.trap_code
            kind = _TRAPS.get(code, EndKind.TRAPPED)
            # The engine does not say that it refused to grow a memory. A guest that gives up with less than a
            # page left was refused one; one that asked for more at once is told apart by nobody.
            if code in _AFTER_NO_MEMORY and 0 <= self._limits.memory_bytes < self.memory_bytes + _PAGE:
                kind = EndKind.MEMORY
            return End(kind, text)
        # SECURITY: what stands behind the last of these words is the engine's, not a name of the guest's
        cause = text.rpartition("Caused by:")[2]
        is_memory = any(words in cause for words in _NO_MEMORY)
        return End(EndKind.MEMORY if is_memory else EndKind.TRAPPED, text)


class _Joinery:
    """What joining a component asks of the engine: see `joining.py`."""

    def __init__(self, store: wasmtime.Store, engine: wasmtime.Engine) -> None:
        self._store = store
        self._engine = engine

    def find(self, instance: wasmtime.Instance, name: str) -> _Extern:
        item = exported(self._store, instance, name)
        if item is None:  # none of ours: a core module without what its component says it has
            raise wasmtime.WasmtimeError(f"a core module does not export `{name}`")
        return item

    def make(self, module: wasmtime.Module, given: Sequence[_Extern]) -> wasmtime.Instance:
        return wasmtime.Instance(self._store, module, given)

    def link(
        self,
        module: wasmtime.Module,
        instances: Mapping[str, wasmtime.Instance],
        items: Mapping[tuple[str, str], _Extern],
    ) -> wasmtime.Instance:
        linker = wasmtime.Linker(self._engine)
        for name, instance in instances.items():
            linker.define_instance(self._store, name, instance)
        for (space, name), item in items.items():
            linker.define(self._store, space, name, item)
        return linker.instantiate(self._store, module)


def _component(store: wasmtime.Store, code: Code, gate: wasmtime.Instance) -> _Component:
    _, bridge, edge = code.monitor
    kind = wasmtime.GlobalType(wasmtime.ValType.i32(), mutable=True)
    named = wasmtime.Global(store, kind, wasmtime.Val.i32(0))
    return Joined(_Joinery(store, code.engine), (bridge, edge), gate, named)


def gate_slots(store: wasmtime.Store, count: int = len(CALLS)) -> tuple[wasmtime.Table, wasmtime.Global]:
    """What a gate is made on: the table that it calls through, and its count of calls that came too early."""
    limits = wasmtime.Limits(count, count)
    table = wasmtime.Table(store, wasmtime.TableType(wasmtime.ValType.funcref(), limits), None)
    kind = wasmtime.GlobalType(wasmtime.ValType.i32(), mutable=True)
    return table, wasmtime.Global(store, kind, wasmtime.Val.i32(0))


def _expect(item: object, kind: type[_T]) -> _T:
    if not isinstance(item, kind):
        raise HostError(f"expected a {kind.__name__}, found a {type(item).__name__}")
    return item


def _load_all(engine: wasmtime.Engine, path: str) -> tuple[wasmtime.Module, ...]:
    """What a file holds: one module, or a bundle of several; raises HostError."""
    with open(path, "rb") as file:  # noqa: PTH123  # of a descriptor that is open
        if not is_bundle(file.read(len(MAGIC))):
            return (_load(engine, path),)
        file.seek(0)
        try:
            parts = unpack(memoryview(file.read()))
        except ValueError as err:
            raise HostError(f"the engine does not load a bundle: {err}") from err
    return tuple(_load_part(engine, part) for part in parts)


def _load_part(engine: wasmtime.Engine, part: memoryview) -> wasmtime.Module:
    """Load one module of a bundle, from a file of its own.

    What is loaded from a file has its memory's first contents there, and nothing is to be made of it later.
    """
    fd = private_file("wasmgate-part")
    try:
        with open(fd, "wb", closefd=False) as file:  # a descriptor
            file.write(part)
        return _load(engine, f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def _load(engine: wasmtime.Engine, path: str) -> wasmtime.Module:
    # SECURITY: native code: only artifacts that `sandbox.cache` has authenticated come here
    try:
        return wasmtime.Module.deserialize_file(engine, path)
    except wasmtime.WasmtimeError as err:
        raise HostError(f"the engine does not load an artifact: {err}") from err


def exported(store: wasmtime.Store, instance: wasmtime.Instance, name: str) -> _Extern | None:
    """An export by name, or None; `Instance.exports` takes quadratic time on many."""
    item = ffi.wasmtime_extern_t()
    raw = name.encode()
    context = store._context()  # noqa: SLF001  # no public way to look one up
    holder = ctypes.byref(instance._instance)  # noqa: SLF001  # as above
    if not ffi.wasmtime_instance_export_get(context, holder, raw, len(raw), ctypes.byref(item)):
        return None
    return wrap_extern(item)


def _wasi(world: World, streams: tuple[str, str]) -> wasmtime.WasiConfig:
    wasi = wasmtime.WasiConfig()
    wasi.argv = list(world.argv)
    wasi.env = list(world.environment)
    if world.has_stdin:
        # opened by its path, it would start threads at once, which no wall around this process would hold
        wasi.inherit_stdin()
    wasi.stdout_file, wasi.stderr_file = streams
    for host, guest, is_mutable in world.preopens:
        wasi.preopen_dir(host, guest, is_mutable)
    return wasi
