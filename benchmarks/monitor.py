"""What the monitor costs: each call untraced, monitored and traced by a Python callback, side by side.

Run it with `python benchmarks/monitor.py [--rounds N]`; it prints the table of
docs/explanation/cost.md. Every figure is the median over rounds in which all variants take turns, on one
machine in one run; what a way of tracing adds is the median of what it added in each round.
"""

from __future__ import annotations

import argparse
import mmap
import os
import statistics
import struct
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import wasmtime

from policy import compile_policy, load_document
from policy.calls import CALLS, MODULE
from policy.plan import Plan
from policy.plan_audit import Timestamps
from sandbox.engine_wasmtime import (
    Artifacts,
    Code,
    EngineConfig,
    Machine,
    StoreLimits,
    World,
    compile_artifact,
    gate_slots,
    make_engine,
    wat_to_wasm,
)
from sandbox.monitor import generate, layout, tables
from sandbox.shared_memory import make_shared

CONFIG = EngineConfig()
RULES = (1, 10, 100, 1_000, 10_000)


@dataclass(frozen=True, slots=True)
class Task:
    """One thing a guest does over and over; `times` of it in one call of its export."""

    name: str
    times: int
    body: str  # WebAssembly text of one repetition
    before: str = ""
    is_plain: bool = True  # in a mount where no device can be, as scratch or `nodev`


_OPEN = """(drop (call $path_open (i32.const 3) (i32.const 1) (i32.const 0) (i32.const 5) (i32.const 0)
  (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 256)))"""
_CLOSE = "(drop (call $fd_close (i32.load (i32.const 256))))"

TASKS = (
    Task(
        "cheap call (`fd_tell`)",
        200_000,
        "(drop (call $fd_tell (i32.load (i32.const 256)) (i32.const 320)))",
        _OPEN,
    ),
    Task(
        "clock (`clock_time_get`)",
        200_000,
        "(drop (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 320)))",
    ),
    Task(
        "file read, 4 KiB (`fd_pread`)",
        2_000,
        """(i32.store (i32.const 400) (i32.const 4096)) (i32.store (i32.const 404) (i32.const 4096))
  (drop (call $fd_pread (i32.load (i32.const 256)) (i32.const 400) (i32.const 1) (i64.const 0)
    (i32.const 320)))""",
        _OPEN,
    ),
    Task(
        "file read, 4 KiB, at the cursor (`fd_read`)",
        2_000,
        """(i32.store (i32.const 400) (i32.const 4096)) (i32.store (i32.const 404) (i32.const 4096))
  (drop (call $fd_read (i32.load (i32.const 256)) (i32.const 400) (i32.const 1) (i32.const 320)))""",
        _OPEN,
    ),
    Task("open and close", 1_000, _OPEN + _CLOSE),
    Task("open and close, where devices could be", 1_000, _OPEN + _CLOSE, is_plain=False),
)

REFUSED = Task(
    "refused open",
    100_000,
    """(drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 16) (i32.const 23) (i32.const 0)
  (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 256)))""",
)

COMPUTE = Task(
    "compute and memory",
    20_000_000,
    """(i32.store (i32.add (i32.const 8192)
       (i32.and (i32.mul (local.get $n) (i32.const 2654435761)) (i32.const 0x7ffc)))
     (i32.add (local.get $n) (i32.load (i32.add (i32.const 8192)
       (i32.and (i32.mul (local.get $n) (i32.const 40503)) (i32.const 0x7ffc))))))""",
)


def guest_text(task: Task) -> str:
    """A guest with one export `run` that does the task `times` times."""
    types = {"i": "i32", "I": "i64"}
    imports = "\n".join(
        f'(import "{MODULE}" "{c.name}" (func ${c.name} (param {" ".join(types[p] for p in c.parameters)})'
        + (" (result i32)))" if c.has_result else "))")
        for c in CALLS
        if f"${c.name} " in task.body + task.before
    )
    return f"""(module {imports} (memory (export "memory") 2)
  (data (i32.const 0) "f.txt") (data (i32.const 16) "some/where/000000/9.txt")
  (func (export "run") (local $n i32) {task.before} (local.set $n (i32.const {task.times}))
    (loop $l {task.body} (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))"""


class Bench:
    """Compiled modules and a directory to work in."""

    def __init__(self, folder: Path) -> None:
        """Compile the monitor; the guests are compiled when they are first used."""
        self.folder = folder
        (folder / "tree").mkdir()
        (folder / "tree" / "f.txt").write_bytes(b"x" * 8_192)
        self._paths: dict[str, str] = {}
        for name in ("gate", "probe", "monitor"):
            self._paths[name] = self._compile(name, getattr(generate, name)())

    def _compile(self, name: str, text: str) -> str:
        path = self.folder / f"{name}.cwasm"
        path.write_bytes(compile_artifact(wat_to_wasm(text), CONFIG))
        return str(path)

    def guest(self, task: Task) -> str:
        """The artifact of a task's guest."""
        if task.name not in self._paths:
            self._paths[task.name] = self._compile(f"guest{len(self._paths)}", guest_text(task))
        return self._paths[task.name]

    def plan(self, timestamps: Timestamps, rules: int = 0) -> Plan:
        """A policy that allows the tree, or one that splits it by this many rules."""
        more = "\n".join(
            f"      - {{uri: 'fs://{self.folder}/tree/some/where/{i:06d}/**'}}" for i in range(rules)
        )
        deny = f"    deny:\n{more}" if more else ""
        text = f"""version: 1
metadata: {{name: bench}}
permissions:
  storage:
    allow:
      - {{id: tree, uri: 'fs://{self.folder}/tree/**', mount: /t, access: [read, list]}}
{deny}
audit: {{sync: batch}}
resources: {{limits: {{host_calls: unlimited}}}}
"""
        plan = compile_policy(load_document(text.encode(), file="bench.yaml"), base_dir="/", now_ns=None)
        return replace(plan, audit=replace(plan.audit, timestamps=timestamps))

    def monitored(self, task: Task, plan: Plan) -> Callable[[], float]:
        """A timer of one run of the task under the monitor; the ring is emptied as it fills."""

        def once() -> float:
            ring = make_shared("ring", layout.RING_BYTES)
            view = mmap.mmap(ring, layout.RING_BYTES)

            def drain(_why: int) -> int:
                view[layout.TAIL : layout.TAIL + 8] = view[layout.DONE : layout.DONE + 8]
                view[layout.ARENA_TAIL : layout.ARENA_TAIL + 8] = view[
                    layout.ARENA_HEAD : layout.ARENA_HEAD + 8
                ]
                return 0

            ours = {name: self._paths[name] for name in ("gate", "probe", "monitor")}
            machine = Machine(Code.load(CONFIG, Artifacts(**ours, guest=self.guest(task))))
            machine.begin(limits=StoreLimits(-1, -1, -1, -1, -1), fuel=None, world=self._world())
            machine.assemble(
                drain=drain,
                ring_fd=ring,
                ring_bytes=layout.RING_BYTES,
                tables=tables.encode(plan, plain=frozenset({0} if task.is_plain else ())).content,
            )
            begin = time.perf_counter()
            end = machine.run("run")
            took = time.perf_counter() - begin
            assert end.kind == "returned", end
            (head,) = struct.unpack("<Q", view[layout.HEAD : layout.HEAD + 8])
            assert task is COMPUTE or head >= task.times, head
            view.close()
            os.close(ring)
            return took / task.times

        return once

    def bare(self, task: Task, hook: Callable[[int], None] | None = None) -> Callable[[], float]:
        """A timer of the task on the engine alone, or with a Python callback before each call."""

        def once() -> float:
            engine = make_engine(CONFIG)
            store = wasmtime.Store(engine)
            store.set_epoch_deadline(1)
            wasi = wasmtime.WasiConfig()
            wasi.preopen_dir(str(self.folder / "tree"), "/t", fs_mutable=False)
            store.set_wasi(wasi)
            linker = wasmtime.Linker(engine)
            linker.define_wasi()
            guest = wasmtime.Module.deserialize_file(engine, self.guest(task))
            if hook is not None:
                instance = _with_hook(store, linker, guest, hook)
            else:
                instance = linker.instantiate(store, guest)
            run = instance.exports(store)["run"]
            assert isinstance(run, wasmtime.Func)
            begin = time.perf_counter()
            run(store)
            return (time.perf_counter() - begin) / task.times

        return once

    def _world(self) -> World:
        return World((), (), ((str(self.folder / "tree"), "/t", False),), has_stdin=False)


def _with_hook(
    store: wasmtime.Store, linker: wasmtime.Linker, guest: wasmtime.Module, hook: Callable[[int], None]
) -> wasmtime.Instance:
    """Wire a guest as tracing in Python would: a shim that calls Python, then the host function."""
    types = {"i": "i32", "I": "i64"}
    lines = ['(module (import "py" "hook" (func $hook (param i32)))']
    shims = []
    for code, call in enumerate(CALLS):
        if call.is_extension:  # the engine has no such function
            continue
        params = " ".join(types[letter] for letter in call.parameters)
        kind = f"(param {params})" + (" (result i32)" if call.has_result else "")
        lines.append(f'(import "{MODULE}" "{call.name}" (func $r{code} {kind}))')
        arguments = " ".join(f"(local.get {i})" for i in range(len(call.parameters)))
        shims.append(f"(func $s{code} {kind} (call $hook (i32.const {code})) (call $r{code} {arguments}))")
    lines.append(f'(import "gate" "table" (table $t {len(CALLS)} {len(CALLS)} funcref))')
    lines.append('(import "guest" "memory" (memory 0)) (export "memory" (memory 0))')
    slots_text = " ".join(
        "(ref.null func)" if call.is_extension else f"(ref.func $s{code})" for code, call in enumerate(CALLS)
    )
    text = "\n".join([*lines, *shims, f"(elem (table $t) (i32.const 0) funcref {slots_text}))"])
    engine = store.engine
    slots, unarmed = gate_slots(store)
    gate = wasmtime.Instance(store, wasmtime.Module(engine, wat_to_wasm(generate.gate())), [slots, unarmed])
    bare = wasmtime.Linker(engine)
    bare.define_instance(store, MODULE, gate)
    instance = bare.instantiate(store, guest)
    linker.define(store, "gate", "table", slots)
    linker.define(store, "guest", "memory", instance.exports(store)["memory"])
    linker.define_func("py", "hook", wasmtime.FuncType([wasmtime.ValType.i32()], []), hook)
    linker.instantiate(store, wasmtime.Module(engine, wat_to_wasm(text)))
    return instance


def rounds_of(variants: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each variant in each round; they take turns, so that noise meets them all alike."""
    seen: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, once in variants.items():
            seen[name].append(once())
    return seen


def difference(seen: dict[str, list[float]], name: str) -> float:
    """Microseconds that a variant adds to the bare call: the median over rounds of what it added in each."""
    return 1e6 * statistics.median(one - bare for one, bare in zip(seen[name], seen["bare"], strict=True))


def calls_table(bench: Bench, rounds: int) -> list[str]:
    """Microseconds that each way of tracing adds to a call."""
    trail: list[tuple[int, int]] = []
    lines = [
        "| call | untraced, µs | no clock | auto | exact | Python callback |",
        "|---|---|---|---|---|---|",
    ]
    for task in TASKS:
        small = replace(task, times=max(task.times // 10, 100), name=task.name + " (callback)")
        seen = rounds_of(
            {
                "bare": bench.bare(task),
                "coarse": bench.monitored(task, bench.plan(Timestamps.COARSE)),
                "auto": bench.monitored(task, bench.plan(Timestamps.AUTO)),
                "exact": bench.monitored(task, bench.plan(Timestamps.EXACT)),
                "python": bench.bare(small, lambda code: trail.append((code, time.time_ns()))),
            },
            rounds,
        )
        trail.clear()
        added = " | ".join(f"{difference(seen, name):+.2f}" for name in ("coarse", "auto", "exact", "python"))
        lines.append(f"| {task.name} | {statistics.median(seen['bare']) * 1e6:.2f} | {added} |")
    return lines


def rules_table(bench: Bench, rounds: int) -> list[str]:
    """Microseconds of a refused open, record included, by the number of rules."""
    variants = {str(count): bench.monitored(REFUSED, bench.plan(Timestamps.COARSE, count)) for count in RULES}
    seen = rounds_of(variants, rounds)
    lines = ["| rules | a path decided, refused and recorded, µs |", "|---|---|"]
    return lines + [
        f"| {int(name):,} | {statistics.median(seconds) * 1e6:.2f} |" for name, seconds in seen.items()
    ]


def compute_line(bench: Bench, rounds: int) -> str:
    """The ratio for a guest that computes."""
    seen = rounds_of(
        {"bare": bench.bare(COMPUTE), "monitored": bench.monitored(COMPUTE, bench.plan(Timestamps.AUTO))},
        rounds,
    )
    ratio = statistics.median(one / bare for one, bare in zip(seen["monitored"], seen["bare"], strict=True))
    return f"compute-bound guest, monitored against bare: {ratio:.3f} times (median of {rounds} rounds)"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    # a guest's output goes to descriptors 1 and 2 of its process, which here is ours
    report = os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name).resolve())
        print("\n".join(calls_table(bench, rounds)), end="\n\n", file=report, flush=True)
        print("\n".join(rules_table(bench, rounds)), end="\n\n", file=report, flush=True)
        print(compute_line(bench, rounds), file=report)


if __name__ == "__main__":
    main()
