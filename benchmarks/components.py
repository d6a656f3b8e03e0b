"""What the monitor costs components of WASI 0.2: their calls, and starting them, beside the bare engine.

Run it with `python benchmarks/components.py [--rounds N]`; it prints the tables of docs/explanation/cost.md. A
guest takes the time of its own loop, by its own clock, and prints it; both ways take turns, on one machine in one
run. Bare is the engine's own support of components; it opens no socket for them, so that a connection is compared
with one that this process makes.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import wasmtime
from wasmtime import component as wasmtime_component

HERE = Path(__file__).resolve().parent
# a file beside this one has the name of a package
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != HERE]
sys.path.insert(0, str(HERE.parent))

from audit.writer import AuditWriter  # noqa: E402  # see above
from policy.plan import Plan  # noqa: E402
from sandbox.cache import ArtifactCache  # noqa: E402
from sandbox.engine_wasmtime import wat_to_wasm  # noqa: E402
from sandbox.runner import Order, Runner  # noqa: E402
from tests.component_scripts import RESULT  # noqa: E402
from tests.runs import policy  # noqa: E402
from tests.wasi2 import command  # noqa: E402

_COMMON = (
    "monotonic-clock.now stdout.get-stdout output-stream.blocking-write-and-flush preopens.get-directories"
)
_NAME = 4_096
_TO = f"(i32.const {RESULT})"
_FD = f"(i32.load (i32.const {RESULT + 4}))"
_DIR = "(local.get $dir)"
_OPENED = f"""(call $descriptor.open-at {_DIR} (i32.const 0) (i32.const {_NAME}) (i32.const 4)
  (i32.const 0) (i32.const %d) {_TO})
(if (i32.load8_u {_TO}) (then (unreachable)))"""


@dataclass(frozen=True, slots=True)
class Task:
    """One thing a component does over and over."""

    name: str
    times: int
    uses: str
    body: str  # WebAssembly text of one repetition
    before: str = ""


_STREAM = f"(call $descriptor.%s (local.get $a) (i64.const 0) {_TO})(local.set $b {_FD})"
TASKS = (
    Task("null call (`wall-clock.now`)", 100_000, "wall-clock.now", f"(call $wall-clock.now {_TO})"),
    Task(
        "open and drop (`descriptor.open-at`)",
        2_000,
        "descriptor.open-at descriptor.drop",
        f"{_OPENED % 1}(call $descriptor.drop {_FD})",
    ),
    Task(
        "stream made, 4 KiB read, dropped (`input-stream.blocking-read`)",
        2_000,
        "descriptor.open-at descriptor.read-via-stream input-stream.blocking-read input-stream.drop",
        f"""{_STREAM % "read-via-stream"}
(call $input-stream.blocking-read (local.get $b) (i64.const 4096) {_TO})
(call $input-stream.drop (local.get $b))""",
        f"{_OPENED % 1}(local.set $a {_FD})",
    ),
    Task(
        "stream write, 4 KiB (`blocking-write-and-flush`)",
        2_000,
        "descriptor.open-at descriptor.write-via-stream output-stream.blocking-write-and-flush",
        f"""(call $output-stream.blocking-write-and-flush (local.get $b) (i32.const 8192) (i32.const 4096) {_TO})
(if (i32.load8_u {_TO}) (then (unreachable)))""",
        f"""{_OPENED % 2}(local.set $a {_FD}){_STREAM % "write-via-stream"}""",
    ),
)


def made(task: Task, *, has_folder: bool = True) -> bytes:
    """A component that does a task, and prints how many nanoseconds that took."""
    folder = ""
    if has_folder:
        folder = f"(call $preopens.get-directories {_TO})(local.set $dir (i32.load (i32.load {_TO})))"
    text = f"""(local $dir i32) (local $a i32) (local $b i32) (local $c i32) (local $n i32) (local $t i64)
(i32.store (i32.const {_NAME}) (i32.const 0x656c6966))
{folder}
{task.before}
;; the allocator of these components gives nothing back
(drop (memory.grow (i32.const 256)))
(local.set $n (i32.const {task.times}))
(local.set $t (call $monotonic-clock.now))
(loop $next
  {task.body}
  (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
(i64.store (i32.const 512) (i64.sub (call $monotonic-clock.now) (local.get $t)))
(call $output-stream.blocking-write-and-flush (call $stdout.get-stdout) (i32.const 512) (i32.const 8) {_TO})
(i32.const 0)"""
    return command(text, uses=" ".join(dict.fromkeys(f"{_COMMON} {task.uses}".split())))


CONNECT = Task(
    "connect, and close (`tcp-socket.start-connect`)",
    200,
    "instance-network.instance-network tcp-create-socket.create-tcp-socket tcp-socket.start-connect"
    " tcp-socket.subscribe pollable.block pollable.drop tcp-socket.finish-connect tcp-socket.drop"
    " input-stream.drop output-stream.drop",
    f"""(call $tcp-create-socket.create-tcp-socket (i32.const 0) {_TO})
(local.set $a {_FD})
(call $tcp-socket.start-connect (local.get $a) (local.get $b) (i32.const 0) (i32.const PORT)
  (i32.const 127) (i32.const 0) (i32.const 0) (i32.const 1) {"(i32.const 0) " * 6} {_TO})
(local.set $c (call $tcp-socket.subscribe (local.get $a)))
(call $pollable.block (local.get $c))
(call $pollable.drop (local.get $c))
(call $tcp-socket.finish-connect (local.get $a) {_TO})
(if (i32.load8_u {_TO}) (then (unreachable)))
(call $input-stream.drop {_FD})
(call $output-stream.drop (i32.load (i32.const {RESULT + 8})))
(call $tcp-socket.drop (local.get $a))""",
    "(local.set $b (call $instance-network.instance-network))",
)


class Bare:
    """The engine's own support of components."""

    def __init__(self, folder: Path) -> None:
        """Compile nothing yet; guests see `folder` as `/d`."""
        self.engine = wasmtime.Engine()
        self.folder = folder
        self.linker = wasmtime_component.Linker(self.engine)
        self.linker.add_wasip2()

    def compiled(self, data: bytes) -> bytes:
        """What a later start begins with."""
        return bytes(wasmtime_component.Component(self.engine, data).serialize())

    def run(self, artifact: bytes) -> bytes:
        """Run to the end; gives what it printed."""
        out = self.folder.parent / "out"
        config = wasmtime.WasiConfig()
        config.stdout_file = str(out)
        config.preopen_dir(str(self.folder), "/d")
        store = wasmtime.Store(self.engine)
        store.set_wasi(config)
        loaded = wasmtime_component.Component.deserialize(self.engine, artifact)
        instance = self.linker.instantiate(store, loaded)
        interface = instance.get_export_index(store, "wasi:cli/run@0.2.6")
        index = instance.get_export_index(store, "run", interface)
        run = None if index is None else instance.get_func(store, index)
        if run is None or run(store).tag != "ok":
            raise RuntimeError("the component did not end well")
        return out.read_bytes()


class Monitored:
    """Ours, with everything that a run has: cell, walls, ring and log."""

    def __init__(self, root: Path) -> None:
        """Keep the log and what is compiled below `root`."""
        self.writer = AuditWriter(root / "log")
        self.cache = ArtifactCache(root / "cache")
        self.runner = Runner(writer=self.writer, cache=self.cache, scratch=root / "scratch", spare_cells=2)

    def run(self, data: bytes, plan: Plan) -> bytes:
        """Run to the end; gives what it printed."""
        done = self.runner.run(Order(plan=plan, module=data, module_name="guest.wasm"))
        if done.receipt.outcome.exit_code != 0:
            raise RuntimeError(done.receipt.outcome)
        return done.stdout

    def close(self) -> None:
        """End everything."""
        self.runner.close()
        self.writer.close()
        self.cache.close()


def turns(rounds: int, *ways: Callable[[], float]) -> list[list[float]]:
    """What each way gives in each round, one after the other; the first round warms up."""
    found = [[way() for way in ways] for _ in range(rounds + 1)][1:]
    return [list(column) for column in zip(*found, strict=True)]


def shown(name: str, columns: list[list[float]]) -> str:
    """A row: medians, and the median of the ratios of a round."""
    first, second = columns
    ratio = statistics.median(two / one for one, two in zip(first, second, strict=True))
    return f"| {name} | {statistics.median(first):.2f} | {statistics.median(second):.2f} | {ratio:.2f} |"


def elapsed(output: bytes, task: Task) -> float:
    """Microseconds of one repetition."""
    return int.from_bytes(output[:8], "little") / 1_000 / task.times


def timed(run: Callable[[], object]) -> float:
    """Milliseconds."""
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1_000


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


def calls(rounds: int, root: Path, ours: Monitored) -> None:
    """Print what calls cost."""
    folder = root / "files" / "d"
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(os.urandom(4_096))
    bare = Bare(folder)
    plan = policy(
        "permissions: {storage: {allow: [{uri: 'fs://" + str(folder) + "/**', mount: /d,"
        " access: [read, list, write]}]}}\nresources: {limits: {host_calls: 10M}}\n"
    )
    print("| call | bare, µs | monitored, µs | times |\n|---|---|---|---|")
    for task in TASKS:
        data = made(task)
        artifact = bare.compiled(data)
        columns = turns(
            rounds,
            lambda: elapsed(bare.run(artifact), task),  # noqa: B023  # called before the next one
            lambda: elapsed(ours.run(data, plan), task),  # noqa: B023
        )
        print(shown(task.name, columns))
    with listening() as port:
        task = Task(
            CONNECT.name, CONNECT.times, CONNECT.uses, CONNECT.body.replace("PORT", str(port)), CONNECT.before
        )
        data = made(task, has_folder=False)
        plan = policy(f"permissions: {{network: {{tcp: [{{to: 127.0.0.1, ports: [{port}]}}]}}}}\n")
        columns = turns(
            rounds,
            lambda: connect_here(port, task.times),
            lambda: elapsed(ours.run(data, plan), task),
        )
        print(shown(task.name, columns))


def starts(rounds: int, root: Path, ours: Monitored) -> None:
    """Print what a start costs, with everything compiled before."""
    nothing = command("(i32.const 0)", uses="monotonic-clock.now")
    module = wat_to_wasm('(module (memory (export "memory") 1) (func (export "_start")))')
    bare = Bare(root / "files" / "d")
    artifact = bare.compiled(nothing)
    print("\n| start, compiled before | ms |\n|---|---|")
    columns = turns(
        rounds * 4,
        lambda: timed(lambda: bare.run(artifact)),
        lambda: timed(lambda: ours.run(module, policy())),
        lambda: timed(lambda: ours.run(nothing, policy())),
    )
    names = (
        "component, bare: loaded and run in this process",
        "module, a whole run",
        "component, a whole run",
    )
    for name, column in zip(names, columns, strict=True):
        print(f"| {name} | {statistics.median(column):.2f} |")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        ours = Monitored(root)
        try:
            calls(rounds, root, ours)
            starts(rounds, root, ours)
        finally:
            ours.close()


if __name__ == "__main__":
    main()
