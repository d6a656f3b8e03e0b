"""Whole runs, for tests: a policy in YAML, a guest in WebAssembly text, a runner over a log of its own.

What a run left is read back as queries read it: sealed, from the log. Nothing here replaces a part of the project.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import wasmtime

from audit.call_names import bare
from audit.query import AuditReader, Row
from audit.receipt import Outcome, OutcomeKind, Receipt
from audit.recovery import recover
from audit.writer import AuditWriter
from policy import Plan, compile_policy, load_document
from policy.calls import CALLS
from sandbox.cache import ArtifactCache
from sandbox.monitor.decode import decode
from sandbox.network.brief import Supplier
from sandbox.runner import Execution, Order, Runner

P1 = "wasi_snapshot_preview1"
_TYPES = {"i": "i32", "I": "i64"}
_SIGNATURES = {
    call.name: f"(param {' '.join(_TYPES[letter] for letter in call.parameters)})"
    + (" (result i32)" if call.has_result else "")
    for call in CALLS
}


def guest(body: str, *, uses: str = "", fields: str = "", memory: str = "1") -> bytes:
    """A module whose `_start` is `body`, with the host calls named in `uses`."""
    imports = " ".join(
        f'(import "{P1}" "{name}" (func ${name} {_SIGNATURES[name]}))' for name in uses.split()
    )
    held = f'(memory (export "memory") {memory})' if memory else ""
    return bytes(wasmtime.wat2wasm(f'(module {imports} {held} {fields} (func (export "_start") {body}))'))


def text_data(at: int, text: bytes) -> str:
    """A data segment."""
    return f'(data (i32.const {at}) "{"".join(f"{chr(92)}{byte:02x}" for byte in text)}")'


def says(text: bytes, *, fd: int = 1, at: int = 1024) -> tuple[str, str]:
    """Body and data of a guest that writes `text` at once."""
    body = f"""(i32.store (i32.const 0) (i32.const {at})) (i32.store (i32.const 4) (i32.const {len(text)}))
      (drop (call $fd_write (i32.const {fd}) (i32.const 0) (i32.const 1) (i32.const 8)))"""
    return body, text_data(at, text)


FOREVER = "(loop $l (br $l))"
SLEEP = """(i32.store8 (i32.const 72) (i32.const 0)) (i32.store (i32.const 80) (i32.const 1))
  (i64.store (i32.const 88) (i64.const 3600000000000))
  (drop (call $poll_oneoff (i32.const 64) (i32.const 256) (i32.const 1) (i32.const 512)))"""
HELLO = guest(says(b"hello\n")[0], uses="fd_write", fields=says(b"hello\n")[1])


def policy(text: str = "", base_dir: Path = Path("/")) -> Plan:
    """The plan of a document of which `text` is all but its head."""
    head = "version: 1\nkind: ModulePolicy\nmetadata: {name: test}\n"
    document = load_document((head + text).encode(), file="test.yaml")
    return compile_policy(document, base_dir=str(base_dir), now_ns=None)


def limits(**values: object) -> Plan:
    """A plan with these limits."""
    inner = ", ".join(f"{name}: {value}" for name, value in values.items())
    return policy(f"resources: {{limits: {{{inner}}}}}\n")


def mount_rule(host: Path, access: str, *, mount: str = "/d", more: str = "") -> str:
    """A policy's storage section with one rule."""
    return (
        "permissions:\n  storage:\n    allow:\n"
        f'      - {{id: d, uri: "fs://{host}/**", mount: {mount}, access: [{access}]{more}}}\n'
    )


@dataclass(slots=True)
class Log:
    """A runner and its log; `rows` seals what is written."""

    root: Path
    writer: AuditWriter
    runner: Runner
    _reader: AuditReader | None = field(default=None)

    def run(self, module: bytes, plan: Plan | None = None, **order: object) -> Execution:
        """Run to the end."""
        name = str(order.pop("module_name", "guest.wasm"))
        return self.runner.run(
            Order(plan=plan or policy(), module=module, module_name=name, **order)  # type: ignore[arg-type]  # each test knows its own
        )

    def rows(self, execution: Execution | Receipt) -> list[Row]:
        """The records of an execution, as sealed, in order."""
        from audit.filters import RecordFilter

        receipt = execution.receipt if isinstance(execution, Execution) else execution
        self.writer.rotate()
        recover(self.root, decode)
        reader = self._reader = self._reader or AuditReader(self.root, decode)
        wanted = RecordFilter(execution=receipt.execution_id)
        return sorted(reader.stream(wanted), key=lambda row: int(row["seq"] or 0))

    def check(self, execution: Execution | Receipt) -> list[Row]:
        """The records, when they agree with the receipt one for one; its totals, too."""
        receipt = execution.receipt if isinstance(execution, Execution) else execution
        rows = self.rows(receipt)
        assert [row["seq"] for row in rows] == list(range(len(rows)))
        assert receipt.records == len(rows)
        counted = Counter((bare(str(row["call"])), str(row["decision"])) for row in rows)
        assert {(one.call, one.decision): one.count for one in receipt.calls} == dict(counted)
        assert receipt.resources.host_calls == len(rows)
        return rows

    def close(self) -> None:
        """End everything."""
        if self._reader is not None:
            self._reader.close()
        self.runner.close()
        self.writer.close()


def open_log(
    root: Path,
    cache: ArtifactCache,
    *,
    writer: Callable[[Path], AuditWriter] = AuditWriter,
    supplier: Supplier | None = None,
) -> Log:
    """A log with a runner, below `root`."""
    made = writer(root / "log")
    runner = Runner(writer=made, cache=cache, scratch=root / "scratch", supplier=supplier)
    return Log(root / "log", made, runner)


def limit(name: str) -> Outcome:
    """The outcome of a run that a limit ended."""
    return Outcome(kind=OutcomeKind.LIMIT, limit=name, message=f"stopped by the limit `{name}`")


def exited(code: int = 0) -> Outcome:
    """The outcome of a run that ended by itself."""
    return Outcome(kind=OutcomeKind.EXITED, exit_code=code)


def emptied(folder: Path) -> Path:
    """The folder, new and empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder
