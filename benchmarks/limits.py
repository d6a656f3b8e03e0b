"""How soon after its limit a run is over: from the deadline of each kind of guest to its receipt.

Run it with `python benchmarks/limits.py [--rounds N]`; it prints the table of docs/explanation/cost.md. In
each round every kind takes its turn on one machine. What is measured is the whole way: a cell is started,
the guest is ended, the cell is gone, its last records are taken, and the receipt is durable. A guest that does
nothing shows how much of that is no matter of the limit.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from audit.receipt import Receipt
from audit.writer import AuditWriter
from policy import compile_policy, load_document
from policy.plan import Plan
from sandbox.cache import ArtifactCache
from sandbox.engine_wasmtime import wat_to_wasm
from sandbox.runner import Order, Runner

WALL_MS = 200
CPU_MS = 100
WASI = "wasi_snapshot_preview1"
SLEEP = """(i32.store (i32.const 80) (i32.const 1)) (i64.store (i32.const 88) (i64.const 3600000000000))
  (drop (call $poll (i32.const 64) (i32.const 256) (i32.const 1) (i32.const 512)))"""
PRINT = """(i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 4096))
  (loop $l (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (br $l))"""
FILL = "(loop $l (memory.fill (i32.const 0) (i32.const 7) (i32.const 0xffff0000)) (br $l))"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of guest, with the limit that ends it."""

    name: str
    body: str
    limits: str
    limit: str | None
    pages: int = 2


WALL = f"timeout: {WALL_MS}ms, cpu: unlimited, host_calls: unlimited, stdout: unlimited, memory: 4Gi"
CPU = f"timeout: 60s, cpu: {CPU_MS}ms, host_calls: unlimited, memory: 4Gi"
KINDS = (
    Kind("does nothing", "", WALL, None),
    Kind("spins", "(loop $l (br $l))", WALL, "timeout"),
    Kind("sleeps", SLEEP, WALL, "timeout"),
    Kind("calls the host", "(loop $l (drop (call $yield)) (br $l))", WALL, "timeout"),
    Kind("prints", PRINT, WALL, "timeout"),
    Kind("fills 4 GiB at once", FILL, WALL, "timeout", 65_535),
    Kind("spins", "(loop $l (br $l))", CPU, "cpu"),
    Kind("calls the host", "(loop $l (drop (call $yield)) (br $l))", CPU, "cpu"),
    Kind("fills 4 GiB at once", FILL, CPU, "cpu", 65_535),
)


def module(kind: Kind) -> bytes:
    """The guest, as a binary."""
    imports = (
        ("poll_oneoff", "poll", "i32 i32 i32 i32"),
        ("fd_write", "write", "i32 i32 i32 i32"),
        ("sched_yield", "yield", ""),
    )
    lines = [
        f'(import "{WASI}" "{name}" (func ${short} (param {kinds}) (result i32)))'
        for name, short, kinds in imports
    ]
    lines.append(f'(memory (export "memory") {kind.pages}) (func (export "_start") {kind.body})')
    return wat_to_wasm(f"(module {' '.join(lines)})")


def plan(kind: Kind) -> Plan:
    """Its policy."""
    text = "version: 1\nmetadata: {name: limits}\npermissions: {stdio: {stdout: inherit}}\n"
    text += f"resources: {{limits: {{{kind.limits}}}}}\n"
    return compile_policy(load_document(text.encode(), file="limits.yaml"), base_dir="/", now_ns=None)


def late_ms(kind: Kind, receipt: Receipt, run_ms: float) -> float:
    """How long after its limit the run was over; for processor time, what was used beyond it."""
    outcome = receipt.outcome
    if outcome.limit != kind.limit:
        raise SystemExit(f"{kind.name}: expected the limit {kind.limit}, found {outcome}")
    match kind.limit:
        case "timeout":
            return run_ms - WALL_MS
        case "cpu":
            return (receipt.resources.cpu_ms or 0) - CPU_MS
        case _:
            return run_ms


def measure(rounds: int, run: Callable[[Kind], tuple[Receipt, float]]) -> dict[Kind, list[float]]:
    """All kinds in turns; the first round compiles, and does not count."""
    found: dict[Kind, list[float]] = {kind: [] for kind in KINDS}
    for number in range(rounds + 1):
        for kind in KINDS:
            late = late_ms(kind, *run(kind))
            if number:
                found[kind].append(late)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as base, ArtifactCache(Path(base) / "artifacts") as cache:
        writer = AuditWriter(Path(base) / "log")
        runner = Runner(writer=writer, cache=cache, scratch=Path(base) / "scratch")

        def run(kind: Kind) -> tuple[Receipt, float]:
            started: list[float] = []
            order = Order(
                plan=plan(kind),
                module=module(kind),
                module_name="guest.wasm",
                on_progress=lambda step: started.append(time.perf_counter()) if step == "run" else None,
            )
            receipt = runner.run(order).receipt
            return receipt, (time.perf_counter() - started[0]) * 1_000

        found = measure(rounds, run)
        runner.close()
        writer.close()
    print("| the guest | limit | median, ms | p99, ms | largest, ms |")
    print("|---|---|---|---|---|")
    for kind, times in found.items():
        p99 = statistics.quantiles(times, n=100, method="inclusive")[98]
        figures = " | ".join(f"{each:.0f}" for each in (statistics.median(times), p99, max(times)))
        print(f"| {kind.name} | {f'`{kind.limit}`' if kind.limit else ''} | {figures} |")


if __name__ == "__main__":
    main()
