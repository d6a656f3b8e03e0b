"""What calls and starts of components of WASI 0.2 cost, monitored, beside the bare engine and modules.

Run it with `python benchmarks/components.py [--rounds N]`; it prints the tables of docs/explanation/cost.md.
All ways take turns, on one machine in one run; what guests do, and how they take the time, is in
`component_guests.py`. Bare is the engine's own support of components; it opens no socket for them, so that a
connection is compared with one of a module, monitored, and with one that this process makes.
"""

from __future__ import annotations

import argparse
import functools
import mmap
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Self

import wasmtime
from wasmtime import component as wasmtime_component

HERE = Path(__file__).resolve().parent
# files beside this one have names of packages, which come first
others = [entry for entry in sys.path if Path(entry).resolve() != HERE]
sys.path[:] = [str(HERE.parent), *others, str(HERE)]

from component_guests import (  # noqa: E402
    FILE,
    FILE_BYTES,
    SCRATCH,
    TASKS,
    Task,
    component,
    connecting,
    module,
)

from audit.writer import AuditWriter  # noqa: E402  # see above
from policy.plan import Plan  # noqa: E402
from sandbox.admission import admit  # noqa: E402
from sandbox.bridge.generate import bridge, edge  # noqa: E402
from sandbox.bundle import pack  # noqa: E402
from sandbox.cache import ArtifactCache  # noqa: E402
from sandbox.engine_wasmtime import (  # noqa: E402
    Artifacts,
    Code,
    EndKind,
    EngineConfig,
    Machine,
    StoreLimits,
    World,
    compile_artifact,
    wat_to_wasm,
)
from sandbox.monitor import generate, layout, tables  # noqa: E402
from sandbox.runner import Order, Runner  # noqa: E402
from sandbox.shared_memory import make_shared  # noqa: E402
from sandbox.wasm.component.assembly import core_modules, is_component  # noqa: E402
from tests.runs import guest, policy  # noqa: E402
from tests.wasi2 import MEMORY_PAGES, command  # noqa: E402

PAUSE_S = (
    0.1  # what a run leaves to be done after its end, as the next cell kept ready, is not the next one's
)
SPARES = 8  # of four kinds of cells: for modules and components, with their guest loaded and without
ENTRY = "wasi:cli/run@0.2.6"
LIMITS = StoreLimits(-1, -1, -1, -1, -1)


class Bare:
    """The engine alone, with its own support of components; guests see `folder` as `/d`."""

    def __init__(self, folder: Path) -> None:
        """Compile nothing yet."""
        settings = wasmtime.Config()
        settings.epoch_interruption = True  # as an engine of ours has it
        self.engine = wasmtime.Engine(settings)
        self.folder = folder
        self.components = wasmtime_component.Linker(self.engine)
        self.components.add_wasip2()
        self.modules = wasmtime.Linker(self.engine)
        self.modules.define_wasi()

    def compiled(self, data: bytes, name: str) -> str:
        """What a later start begins with: the path of a file."""
        make = wasmtime_component.Component if is_component(data) else wasmtime.Module
        path = self.folder.parent / name
        path.write_bytes(make(self.engine, data).serialize())
        return str(path)

    def run(self, artifact: str, *, is_module: bool) -> bytes:
        """Load and run to the end; gives what it printed."""
        out = self.folder.parent / "out"
        config = wasmtime.WasiConfig()
        config.stdout_file = str(out)
        config.preopen_dir(str(self.folder), "/d")
        store = wasmtime.Store(self.engine)
        store.set_epoch_deadline(1)
        store.set_wasi(config)
        (self._module if is_module else self._component)(store, artifact)
        return out.read_bytes()

    def _module(self, store: wasmtime.Store, artifact: str) -> None:
        loaded = wasmtime.Module.deserialize_file(self.engine, artifact)
        start = self.modules.instantiate(store, loaded).exports(store)["_start"]
        if not isinstance(start, wasmtime.Func):
            raise TypeError("the module has no start")
        start(store)

    def _component(self, store: wasmtime.Store, artifact: str) -> None:
        loaded = wasmtime_component.Component.deserialize_file(self.engine, artifact)
        instance = self.components.instantiate(store, loaded)
        interface = instance.get_export_index(store, ENTRY)
        index = instance.get_export_index(store, "run", interface)
        run = None if index is None else instance.get_func(store, index)
        if run is None or run(store).tag != "ok":
            raise RuntimeError("the component did not end well")


class Monitored:
    """Ours, with everything that a run has: cell, walls, ring and log."""

    def __init__(self, root: Path, spare_cells: int = 0) -> None:
        """Keep the log and what is compiled below `root`."""
        root.mkdir()
        self.writer = AuditWriter(root / "log")
        self.cache = ArtifactCache(root / "cache")
        self.runner = Runner(
            writer=self.writer, cache=self.cache, scratch=root / "scratch", spare_cells=spare_cells
        )

    def run(self, data: bytes, plan: Plan) -> bytes:
        """Run to the end; gives what it printed."""
        done = self.runner.run(Order(plan=plan, module=data, module_name="guest.wasm"))
        if done.receipt.outcome.exit_code != 0:
            raise RuntimeError(done.receipt.outcome)
        return done.stdout

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End everything."""
        self.runner.close()
        self.writer.close()
        self.cache.close()


@functools.cache
def own_code(root: Path, *, for_components: bool) -> tuple[Code, EngineConfig]:
    """An engine with the monitor loaded, and for components the bridge, too."""
    config = EngineConfig(for_components=for_components)
    texts = {
        "gate": [generate.gate(for_components=for_components)],
        "probe": [generate.probe()],
        "monitor": [generate.monitor(for_components=for_components)],
    }
    if for_components:
        texts["monitor"] += [bridge(), edge()]
    paths = {
        name: compiled(root / f"{name}-{int(for_components)}", list(map(wat_to_wasm, each)), config)
        for name, each in texts.items()
    }
    return Code.load(config, Artifacts(**paths)), config


def compiled(path: Path, modules: Sequence[bytes], config: EngineConfig) -> str:
    """The path of a file that holds one precompiled module, or several."""
    made = [compile_artifact(module, config) for module in modules]
    path.write_bytes(made[0] if len(made) == 1 else pack(made))
    return str(path)


class Wired:
    """What a cell does in a run, done in this process: no walls, and nobody keeps what is in the ring."""

    def __init__(self, root: Path, data: bytes, plan: Plan, folder: Path | None = None) -> None:
        """Compile a guest, which sees `folder` as `/d`."""
        self.plan = plan
        self.mounts = () if folder is None else ((str(folder), "/d", True),)
        self.admitted = admit(data, name="guest.wasm", plan=plan)
        self.code, config = own_code(root, for_components=is_component(data))
        modules = core_modules(data) if is_component(data) else (data,)
        fd, name = tempfile.mkstemp(dir=root)
        os.close(fd)
        self.artifact = compiled(Path(name), modules, config)
        self.out = root / "printed"
        self.out.touch()

    def run(self) -> tuple[bytes, float]:
        """What it printed, and milliseconds from its artifact to its end; the monitor was loaded before."""
        machine = Machine(self.code)
        ring = make_shared("ring", layout.RING_BYTES)
        content = tables.encode(self.plan, plain=frozenset()).content
        with mmap.mmap(ring, layout.RING_BYTES) as view:

            def drain(_why: int) -> int:
                for read, written in ((layout.TAIL, layout.DONE), (layout.ARENA_TAIL, layout.ARENA_HEAD)):
                    view[read : read + 8] = view[written : written + 8]
                return 0

            begun = time.perf_counter()
            self.code.load_guest(self.artifact)
            world = World((), (), self.mounts, has_stdin=False)
            machine.begin(limits=LIMITS, fuel=None, world=world, streams=(str(self.out), os.devnull))
            size, parts = layout.RING_BYTES, self.admitted.parts
            machine.assemble(drain=drain, ring_fd=ring, ring_bytes=size, tables=content, parts=parts)
            end = machine.run(self.admitted.entry)
            took = (time.perf_counter() - begun) * 1_000
        os.close(ring)
        if end.kind != EndKind.RETURNED:
            raise RuntimeError(end)
        return self.out.read_bytes(), took

    def printed(self) -> bytes:
        """The one."""
        return self.run()[0]

    def took_ms(self) -> float:
        """The other."""
        return self.run()[1]


def turns(rounds: int, *ways: Callable[[], float]) -> list[list[float]]:
    """What each way gives in each round, one after the other; the first round warms up."""
    found = [[way() for way in ways] for _ in range(rounds + 1)][1:]
    return [list(column) for column in zip(*found, strict=True)]


def beside(first: list[float], *others: list[float]) -> str:
    """The median of the first way; of each other one too, with the median of its ratios to the first."""
    cells = [f"{statistics.median(first):.2f}"]
    for other in others:
        ratio = statistics.median(two / one for one, two in zip(first, other, strict=True))
        cells += [f"{statistics.median(other):.2f}", f"{ratio:.2f}"]
    return " | ".join(cells)


def elapsed(task: Task, run: Callable[[], bytes]) -> float:
    """Microseconds of one repetition, as the guest says."""
    return task.elapsed(run())


def timed(run: Callable[[], object]) -> float:
    """Milliseconds."""
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1_000


def rested(run: Callable[[], object]) -> float:
    """The same, after a pause."""
    time.sleep(PAUSE_S)
    return timed(run)


@contextmanager
def listening() -> Iterator[int]:
    """A port on loopback that takes every connection, and closes it."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as server:

        def take() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=take, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def connect_here(port: int, times: int) -> float:
    """Microseconds that this process takes for a connection."""
    start = time.perf_counter()
    for _ in range(times):
        socket.create_connection(("127.0.0.1", port)).close()
    return (time.perf_counter() - start) * 1e6 / times


def calls(rounds: int, folder: Path, ours: Monitored) -> None:
    """Print what calls cost, by components and by modules."""
    bare, root = Bare(folder), folder.parent
    plan = policy(
        "permissions: {storage: {allow: [{uri: 'fs://" + str(folder) + "/**', mount: /d,"
        " access: [read, list, write]}]}}\nresources: {limits: {host_calls: 10M}}\n"
    )
    found: list[list[str]] = [[], []]
    for task in TASKS:
        ways: list[Callable[[], bytes]] = []
        for nth, data in enumerate((component(task), module(task))):
            artifact = bare.compiled(data, f"guest-{nth}")
            ways.append(partial(bare.run, artifact, is_module=bool(nth)))
            ways += [Wired(root, data, plan, folder).printed, partial(ours.run, data, plan)]
        columns = turns(rounds, *(partial(elapsed, task, way) for way in ways))
        for nth, (rows, work) in enumerate(zip(found, (task.component, task.module), strict=True)):
            rows.append(f"| {work.name} | {beside(*columns[3 * nth : 3 * nth + 3])} |")
    for kind, rows in zip(("component", "module"), found, strict=True):
        print(f"| calls of a {kind} | bare, µs | monitored, in one process | times | a whole run | times |")
        print("|---|---|---|---|---|---|", *rows, "", sep="\n", flush=True)


def connections(rounds: int, ours: Monitored) -> None:
    """Print what a connection costs; the engine by itself opens none."""
    with listening() as port:
        task = connecting(port)
        guests = module(task), component(task, has_folder=False)
        plan = policy(f"permissions: {{network: {{tcp: [{{to: 127.0.0.1, ports: [{port}]}}]}}}}\n")
        columns = turns(
            rounds,
            partial(connect_here, port, 4 * task.times),
            *(partial(elapsed, task, partial(ours.run, data, plan)) for data in guests),
        )
    print("| connect, and close | µs |\n|---|---|")
    for name, column in zip(
        ("a Python program", task.module.name, task.component.name), columns, strict=True
    ):
        print(f"| {name} | {statistics.median(column):.0f} |")


def starts(rounds: int, root: Path) -> None:
    """Print what a start costs, with everything compiled before."""
    guests = (
        command("(i32.const 0)", uses="wall-clock.now"),
        guest("", uses="clock_time_get", memory=str(MEMORY_PAGES)),
    )
    bare, plan = Bare(root / "files" / "d"), policy()
    (root / "files" / "out").touch()
    ways: list[Callable[[], float]] = []
    with Monitored(root / "ready", SPARES) as ready, Monitored(root / "not-ready") as not_ready:
        for nth, data in enumerate(guests):
            artifact = bare.compiled(data, f"start-{nth}")
            ways.append(partial(timed, partial(bare.run, artifact, is_module=bool(nth))))
            ways.append(Wired(root, data, plan).took_ms)
            ways += [partial(rested, partial(one.run, data, plan)) for one in (ready, not_ready)]
        medians = list(map(statistics.median, turns(rounds * 2, *ways)))
    names = (
        "bare: loaded, made and run in this process",
        "monitored: the same in this process, the monitor loaded before",
        "monitored: a whole run, cell kept ready",
        "monitored: a whole run, no cell kept ready",
    )
    print("\n| start, compiled before | component, ms | module, ms |\n|---|---|---|")
    for name, one, other in zip(names, medians[:4], medians[4:], strict=True):
        print(f"| {name} | {one:.2f} | {other:.2f} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        root = Path(name).resolve()
        folder = root / "files" / "d"
        folder.mkdir(parents=True)
        (folder / FILE).write_bytes(os.urandom(FILE_BYTES))
        (folder / SCRATCH).touch()
        with Monitored(root / "calls") as ours:
            calls(rounds, folder, ours)
            connections(rounds, ours)
        starts(rounds, root)


if __name__ == "__main__":
    main()
