"""Services that are killed with all that belongs to them, and what has to be in their log afterwards.

The service is the real one, with a process that seals, one that signs, a zygote and cells; a thread of its own
kills some of these at random, and the test kills the whole. INVARIANT: what was acknowledged is read from what
a service printed, and from the files of its guests, and from nothing else.
"""

# ruff: noqa: T201  # programs that say what they did
from __future__ import annotations

import json
import os
import random
import signal
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from api.service import Service
from api.settings import Settings, load_settings
from audit.errors import AuditError
from audit.filters import RecordFilter
from audit.query import AuditReader
from audit.receipt import Receipt
from audit.store import Store
from audit.tlog.log import TransparencyLog
from audit.verify import standalone
from sandbox.monitor.decode import decode
from sandbox.runner import Order
from tests.integration.test_execution_records import TELLS
from tests.runs import guest, mount_rule, says

ROOMY = "resources: {limits: {host_calls: unlimited, timeout: 60s, cpu: 60s}}\n"
_SAY = says(b".")
BUSY = guest(
    f"(local $n i32) (loop $l {_SAY[0]} (drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 910) (i32.const 4)"
    " (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 512)))"
    " (local.set $n (i32.add (local.get $n) (i32.const 1))) (br_if $l (i32.lt_u (local.get $n) (i32.const 150))))",
    uses="fd_write path_open",
    fields=_SAY[1] + '(data (i32.const 910) "../x")',
)
"""A guest that makes 300 calls, every other one refused, and ends."""


def settings_of(folder: Path) -> Settings:
    return load_settings({"WASMGATE_MAX_CONCURRENT_RUNS": "4"}, home=folder / "home")


def document(folder: Path, sync: str) -> bytes:
    rule = mount_rule(folder, "read, list, create, write")
    return f"version: 1\nmetadata: {{name: crash}}\n{rule}{ROOMY}audit: {{sync: {sync}}}\n".encode()


@dataclass(slots=True)
class Load:
    """What one service does until somebody kills it."""

    folder: Path
    service: Service
    seed: str
    lock: threading.Lock = field(default_factory=threading.Lock)

    def say(self, line: str) -> None:
        with self.lock:
            print(line, flush=True)

    def busy(self, sync: str) -> None:
        plan = self.service.policies.plan_inline(document(self.folder / "work", sync))
        while True:
            done = self.service.run(Order(plan=plan, module=BUSY, module_name="busy.wasm")).receipt
            self.say(f"end {done.execution_id} {done.records} {done.outcome.kind.value}")

    def tells(self) -> None:
        number = 0
        while True:
            name, number = f"tells-{self.seed}-{number}", number + 1
            place = self.folder / "work/told" / name
            place.mkdir(parents=True)
            plan = self.service.policies.plan_inline(document(place, "deny"))
            done = self.service.run(Order(plan=plan, module=TELLS, module_name=name)).receipt
            self.say(f"end {done.execution_id} {done.records} {done.outcome.kind.value}")

    def seals(self) -> None:
        while True:
            with suppress(AuditError):  # its process was killed; it is tried again
                self.service.seal()

    def kills(self) -> None:
        chance, never = random.Random(self.seed), threading.Event()
        while True:
            never.wait(chance.random() * 0.25)
            name = chance.choice(["sealer", "signer", "cell", "cell", "zygote"])
            for pid in self.pids(name)[:1]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.say(f"kill {name}")

    def pids(self, name: str) -> list[int]:
        """Processes of this service; only its own children are ever named here."""
        service = self.service
        if name == "sealer":
            found = [service._sealing.pid]
        elif name == "signer":
            found = [service._signer.pid if service._signer is not None else None]
        else:
            zygote = service._runner._cells._zygote
            top = None if zygote is None else zygote.process.pid
            found = [top] if name == "zygote" else _children(top)
        return [pid for pid in found if pid is not None]


def _children(pid: int | None) -> list[int | None]:
    with suppress(OSError):
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def act(what: str, folder: str, seed: str = "0") -> None:
    """Serve until killed, or start, run once and end."""
    service = Service(settings_of(Path(folder)))
    load = Load(Path(folder), service, seed)
    if what == "restart":
        plan = service.policies.plan_inline(document(Path(folder) / "work", "deny"))
        with service:
            done = service.run(Order(plan=plan, module=BUSY, module_name="last.wasm")).receipt
            load.say(f"end {done.execution_id} {done.records} {done.outcome.kind.value}")
        return
    load.say("up")
    work = [
        (load.busy, ("deny",)),
        (load.busy, ("batch",)),
        (load.tells, ()),
        (load.seals, ()),
        (load.kills, ()),
    ]

    def checked(what, arguments) -> None:
        try:
            what(*arguments)
        except BaseException as err:  # noqa: BLE001  # whoever started this process is to know
            load.say(f"failed {type(err).__name__}: {err}")

    for one in work:
        threading.Thread(target=checked, args=one, daemon=True).start()
    threading.Event().wait()


@dataclass(slots=True)
class Said:
    """What services printed."""

    ends: dict[str, int] = field(default_factory=dict)  # records, by execution
    kills: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def hear(self, text: str) -> None:
        for line in text.splitlines(keepends=True):
            if not line.endswith("\n"):
                continue
            word, *rest = line.split() or [""]
            if word == "end":
                assert rest[0] not in self.ends
                self.ends[rest[0]] = int(rest[1])
                self.kinds[rest[2]] += 1
            elif word == "kill":
                self.kills[rest[0]] += 1
            elif word == "failed":  # other words come from processes whose parent was killed
                self.failures.append(line)


def check(folder: Path, said: Said) -> None:
    """See that the log has all that was acknowledged, once, and that it verifies against what it said before."""
    root = folder / "home/audit"
    receipts, refused = check_sealed(root)
    assert said.failures == []
    assert {name: receipts[name].records for name in said.ends} == said.ends
    for name, receipt in receipts.items():
        seen = folder / "work/told" / receipt.module_name / "seen"
        assert not seen.exists() or seen.stat().st_size <= refused[name]
    check_signed(root, folder / "home/audit-keys/signing.vkey", folder / "remembered")


def check_sealed(root: Path) -> tuple[dict[str, Receipt], Counter[str]]:
    """See that all is sealed, each record once, and each entry; give the receipts, and refusals by execution."""
    store = Store(root)
    assert not [path for path in store.wal.iterdir() if not path.name.endswith(".part")]
    assert not list(store.segments.rglob(".*"))
    paths = store.receipts.glob("[!.]*.receipt.json")
    receipts: dict[str, Receipt] = {
        one.execution_id: one for one in (Receipt.from_json(path.read_bytes()) for path in paths)
    }
    seqs: dict[str, list[int]] = {}
    refused: Counter[str] = Counter()
    with AuditReader(root, decode) as reader:
        for row in reader.stream(RecordFilter(ascending=True, fields=("exec_id", "seq", "decision"))):
            seqs.setdefault(str(row["exec_id"]), []).append(int(row["seq"] or 0))
            refused[str(row["exec_id"])] += row["decision"] == "deny"
    for name, receipt in receipts.items():
        assert seqs.pop(name, []) == list(range(receipt.records))
    assert seqs == {}
    _check_entries(root, receipts)
    return receipts, refused


def check_signed(root: Path, key: Path, remembered: Path) -> None:
    """See that the stand-alone verifier finds nothing, and nothing that contradicts what it saw before."""
    report, _ = standalone.verify(str(root), [standalone.key_of(str(key))], remember=str(remembered))
    assert (report.status, remembered.exists()) == (0, True), standalone.lines(report, ())


def _check_entries(root: Path, receipts: dict[str, Receipt]) -> None:
    log = TransparencyLog(Store(root).tlog)
    entries = [json.loads(entry) for entry in log.entries(0, log.size)]
    names = {
        "segment": ("segment",), "receipt": ("exec_id",), "refusal": ("exec_id", "seq"), "event": ("id",),
        "gap": ("exec_id", "first"), "key": ("new",),
    }  # fmt: skip
    times = Counter((one["type"], *(one[name] for name in names[one["type"]])) for one in entries)
    assert set(times.values()) <= {1}
    assert {one["exec_id"] for one in entries if one["type"] == "receipt"} == set(receipts)
    assert not [one for one in entries if one["type"] == "gap"]
