"""Runs a script of `tests/guests.py` in this process: under bare wasmtime, or under the monitor.

The whole way, with cells and an audit log, is `sandbox.runner`; here is what decides, with the same artifacts
in the same wiring. Everything that is compiled is compiled once for all tests.
"""

from __future__ import annotations

import contextlib
import functools
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest import mock

import numpy as np
import wasmtime

from audit.identity import new_execution_id
from policy import compile_policy, load_document
from policy.calls import CALLS
from policy.plan import UNLIMITED, Clocks, Plan, StdinMode
from sandbox import engine_wasmtime as engine
from sandbox.engine_wasmtime import (
    Artifacts,
    Code,
    EndKind,
    EngineConfig,
    GuestError,
    Machine,
    StoreLimits,
    World,
)
from sandbox.monitor import generate, layout, tables
from sandbox.monitor.layout import IN_FLIGHT, RECORD, Decision, Reason, Stop
from sandbox.ring import Ring
from tests.guests import LOG, Script, Seen, script_text

CONFIG = EngineConfig()
LIMITS = StoreLimits(memory_bytes=1 << 26, table_elements=10_000, instances=8, tables=4, memories=2)
GUEST_NAME = "script"


@functools.cache
def artifact(module: bytes) -> str:
    """Path of a compiled module; it lasts as long as this process."""
    fd = os.memfd_create("artifact")
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(engine.compile_artifact(module, CONFIG))
    return f"/proc/self/fd/{fd}"


@functools.cache
def ours(name: str) -> str:
    """Path of the compiled gate, probe or monitor."""
    return artifact(engine.wat_to_wasm(getattr(generate, name)()))


@functools.cache
def script_guest() -> str:
    """Path of the compiled guest that interprets scripts."""
    return artifact(engine.wat_to_wasm(script_text()))


def storage(root: Path, *rules: str, deny: Sequence[str] = (), more: str = "", mode: str = "enforce") -> Plan:
    """A plan from rules in which `ROOT` stands for a folder; `more` is text of further sections."""
    lines = [f"version: 1\nkind: ModulePolicy\nmetadata: {{name: test}}\nmode: {mode}"]
    if "permissions:" not in more:
        lines.append("permissions:")
    lines.append(more) if "permissions:" in more else None
    if rules or deny:
        lines.append("  storage:")
    for key, entries in (("allow", rules), ("deny", deny)):
        if entries:
            lines.append(f"    {key}:")
            lines += [f"      - {{{entry}}}" for entry in entries]
    if "permissions:" not in more:
        if not rules and not deny:
            lines.append("  args: []")
        lines.append(more)
    text = "\n".join(lines).replace("ROOT", str(root))
    return compile_policy(load_document(text.encode(), file="test.yaml"), base_dir=str(root), now_ns=None)


ALL = "access: [read, list, create, write, append, delete, symlink]"


def allow_all(*roots: Path) -> Plan:
    """A plan that refuses nothing in `roots`, which the guest finds at /a, /b and so on."""
    rules = [
        f'uri: "fs://{root}/**", mount: /{letter}, {ALL}' for letter, root in zip("abcd", roots, strict=False)
    ]
    plan = storage(roots[0], *rules)
    free = replace(
        plan.limits,
        stdout_bytes=UNLIMITED,
        stderr_bytes=UNLIMITED,
        disk_bytes=UNLIMITED,
        files=UNLIMITED,
        open_files=4_000,
        host_calls=UNLIMITED,
    )
    return replace(
        plan,
        denied_calls=(),
        clocks=Clocks(resolution_ns=1),
        limits=free,
        environment=(("LANG", "C"), ("EMPTY", ""), ("ÜMLAUT", "ß=ß")),
        args=("one", "", "dréi"),
        stdio=replace(plan.stdio, stdin=StdinMode.CALLER),
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run left: what the guest saw, and how it ended."""

    seen: list[Seen]
    end: EndKind
    message: str
    exit_code: int
    stdout: bytes
    stderr: bytes

    @property
    def errnos(self) -> list[int]:
        """The errno of each call that returned."""
        return [seen.errno for seen in self.seen]


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the monitor, with names for numbers."""

    call: str
    decision: Decision
    rule: str
    reason: Reason
    right: str
    errno: int
    fd: int
    fd2: int
    opener: int
    aux: int
    flags: int
    target: bytes
    target2: bytes
    t_ns: int
    dur_ns: int

    @property
    def verdict(self) -> tuple[str, str, str, str]:
        """Decision, rule, reason and missing right, in words."""
        return self.decision.name.lower(), self.rule, self.reason.name.lower(), self.right


@dataclass(frozen=True, slots=True)
class Watched(Outcome):
    """A run under the monitor."""

    records: list[Record]
    counters: np.ndarray[tuple[int, int], np.dtype[np.uint64]]
    header: Mapping[str, int]
    unarmed: int = 0


@dataclass(slots=True)
class Collected:
    """Takes records as an audit writer would."""

    records: list[tuple[bytes, bytes, int]] = field(default_factory=list)

    def append(
        self, exec_id: object, *, first_seq: int, records: bytes, arena: bytes, arena_start: int
    ) -> None:
        del exec_id
        assert first_seq == sum(len(raw) for raw, _, _ in self.records) // layout.RECORD_BYTES
        self.records.append((records, arena, arena_start))

    def intent(self, exec_id: object, *, seq: int, record: bytes, arena: bytes, arena_start: int) -> None:
        del exec_id, seq
        self.records.append((record, arena, arena_start))

    def named(self, plan: Plan) -> list[Record]:
        return [
            _record(row, arena, start, plan)
            for raw, arena, start in self.records
            for row in np.frombuffer(raw, RECORD)
        ]


_RIGHTS = ("", "read", "list", "create", "write", "append", "delete", "symlink")
_MASK = layout.ARENA_BYTES - 1


def _record(row: np.void, arena: bytes, start: int, plan: Plan) -> Record:
    at = (int(row["target_at"]) - start) & _MASK
    middle, end = at + int(row["target_len"]), at + int(row["target_len"]) + int(row["target2_len"])
    return Record(
        call=CALLS[row["call"]].name,
        decision=Decision(row["decision"]),
        rule=plan.rules[row["rule"]].id,
        reason=Reason(row["reason"]),
        right=_RIGHTS[row["right"]],
        target=arena[at:middle],
        target2=arena[middle:end],
        **{
            name: int(row[name])
            for name in ("errno", "fd", "fd2", "opener", "aux", "flags", "t_ns", "dur_ns")
        },
    )


@contextlib.contextmanager
def streams(stdin: bytes) -> Iterator[tuple[int, int]]:
    """Put files in the place of this process's standard streams; gives those of output and error."""
    files = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
    os.pwrite(files[0], stdin, 0)
    kept = [_duplicate(number) for number in range(3)]
    try:
        for number, fd in enumerate(files):
            os.dup2(fd, number)
        # the engine's own standard input is one for the whole process, and read to its end by the first run
        with mock.patch.object(wasmtime.WasiConfig, "inherit_stdin", _open_stdin):
            yield files[1], files[2]
    finally:
        for number, fd in enumerate(kept):
            os.dup2(fd, number) if fd >= 0 else os.close(number)
        for fd in (*files, *kept):
            if fd >= 0:
                os.close(fd)


def _open_stdin(wasi: wasmtime.WasiConfig) -> None:
    wasi.stdin_file = "/proc/self/fd/0"


def _duplicate(number: int) -> int:
    try:
        return os.dup(number)
    except OSError:
        return -1


def _content(fd: int) -> bytes:
    return os.pread(fd, 1 << 24, 0)


def world(plan: Plan, roots: Sequence[Path]) -> World:
    """What the guest finds; `roots` stand in for the host folders of the mounts."""
    return World(
        argv=(GUEST_NAME, *plan.args),
        environment=plan.environment,
        preopens=tuple(
            (str(root), mount.guest, mount.is_mutable) for root, mount in zip(roots, plan.mounts, strict=True)
        ),
        has_stdin=plan.stdio.stdin is not StdinMode.NONE,
    )


def roots_of(plan: Plan) -> tuple[Path, ...]:
    """The host folders of a plan without scratch."""
    return tuple(Path(mount.host) for mount in plan.mounts)


@functools.cache
def _bare_engine() -> tuple[wasmtime.Engine, wasmtime.Module, wasmtime.Linker]:
    made = engine.make_engine(CONFIG)
    linker = wasmtime.Linker(made)
    linker.define_wasi()
    module = wasmtime.Module.deserialize_file(made, script_guest())
    linker.define_unknown_imports_as_traps(module)  # the engine has no sockets of its own
    return made, module, linker


def run_bare(script: Script, plan: Plan, roots: Sequence[Path] = (), stdin: bytes = b"") -> Outcome:
    """Run under wasmtime's own WASI and nothing else."""
    made, module, linker = _bare_engine()
    with streams(stdin) as (out, err):
        store = wasmtime.Store(made)
        store.set_epoch_deadline(1)
        store.set_wasi(engine._wasi(world(plan, roots or roots_of(plan)), engine.OWN_STREAMS))
        exports = linker.instantiate(store, module).exports(store)
        memory, start, log = exports["memory"], exports["_start"], exports["log"]
        assert isinstance(memory, wasmtime.Memory)
        assert isinstance(start, wasmtime.Func)
        assert isinstance(log, wasmtime.Global)
        memory.write(store, script.image(), 0)
        end, message, code = EndKind.RETURNED, "", 0
        try:
            start(store)
        except wasmtime.ExitTrap as trap:
            end, code = EndKind.EXITED, trap.code
        except (wasmtime.Trap, wasmtime.WasmtimeError) as trap:
            end, message = EndKind.TRAPPED, str(trap)
        seen = script.seen(bytes(memory.read(store, LOG, int(log.value(store)))))
        del exports, memory, start, log, store
        return Outcome(seen, end, message, code, _content(out), _content(err))


_HEADER = {
    "done": layout.DONE, "head": layout.HEAD, "bytes_read": layout.BYTES_READ, "bytes_written": layout.BYTES_WRITTEN,
    "stdout": layout.STDOUT_BYTES, "stderr": layout.STDERR_BYTES, "disk": layout.DISK_BYTES,
    "files": layout.FILES_MADE, "open": layout.OPEN_FILES, "arena": layout.ARENA_HEAD,
}  # fmt: skip


def run_watched(
    script: Script,
    plan: Plan,
    roots: Sequence[Path] = (),
    *,
    stdin: bytes = b"",
    guest: str = "",
    answer: int = 0,
    plain: frozenset[int] = frozenset(),
) -> Watched:
    """Run under the monitor; `answer` is what the monitor is told when it asks for room or durability."""
    ring, sink = Ring(new_execution_id()), Collected()

    def drain(_why: int) -> int:
        ring.drain(sink)
        return answer

    unarmed, log = 0, b""
    try:
        with streams(stdin) as (out, err):
            paths = Artifacts(ours("gate"), ours("probe"), ours("monitor"), guest or script_guest())
            machine = Machine(Code.load(CONFIG, paths))
            machine.begin(limits=LIMITS, fuel=None, world=world(plan, roots or roots_of(plan)))
            try:
                unarmed = machine.assemble(
                    drain=drain,
                    ring_fd=ring.fd,
                    ring_bytes=layout.RING_BYTES,
                    tables=tables.encode(plan, plain=plain).content,
                )
                memory, store = machine._memory, machine._store
                assert memory is not None
                if not guest:
                    memory.write(store, script.image(), 0)
                end = machine.run("_start")
                if not guest:
                    assert machine._guest is not None
                    place = engine.exported(store, machine._guest, "log")
                    assert isinstance(place, wasmtime.Global)
                    log = bytes(memory.read(store, LOG, int(place.value(store))))
            except GuestError as err_:
                end = err_.end
            counters, totals = ring.counters().copy(), ring.finish(sink)
            header = {name: ring.long(at) for name, at in _HEADER.items()}
            header["stop"], header["exited"] = ring.word(layout.STOP), ring.word(layout.EXITED)
            header["exit_code"] = struct.unpack("<i", struct.pack("<I", ring.word(layout.EXIT_CODE)))[0]
            named = sink.named(plan)
            # INVARIANT: records = counters, after every run of every test
            assert totals.is_sound
            assert totals.records == len(named)
            assert int(counters.sum()) == sum(record.errno != IN_FLIGHT for record in named)
            return Watched(
                script.seen(log), end.kind, end.message, end.exit_code, _content(out), _content(err),
                named, counters, header, unarmed,
            )  # fmt: skip
    finally:
        ring.close()


def stopped(run: Watched) -> Stop:
    """Why the monitor ended the guest."""
    return Stop(run.header["stop"])
