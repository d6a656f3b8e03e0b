"""The log of record for `audit_engine.py`: filled, sealed and asked through what does it in the product.

The data are `audit_shapes.py`; other engines that hold the same are `audit_others.py`. INVARIANT: writing and
sealing are timed apart from making the data, and nothing else runs meanwhile.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from audit_shapes import BEGIN_NS, RARE, Workload, module_digest

from api.proving import canonical_records, open_prover
from api.sealer_process import SealerProcess
from api.sealing import open_reader
from audit.filters import RecordFilter
from audit.identity import execution_id
from audit.query import Aggregation, AuditReader
from audit.tlog.key_files import KeyFolder
from audit.tlog.log import TransparencyLog
from audit.tlog.receipt_notes import sign_receipts
from audit.tlog.record_proof import parse_record_proof
from audit.tlog.signer import sign_head
from audit.verify import standalone
from audit.writer import AuditWriter

COMMIT_RECORDS = 65_536
_LONG = 1_900  # records: of an execution that proofs and pages are about
ORIGIN = "example.com/benchmark"


@dataclass(slots=True)
class Filled:
    """A log, and what it took to make it."""

    root: Path
    records: int = 0
    executions: int = 0
    last_ns: int = BEGIN_NS
    sample: str = ""  # a long execution in the middle
    wal_bytes: int = 0
    append_s: float = 0.0  # `append` and `commit` of records
    edges_s: float = 0.0  # `begin` and `end` of executions, with the receipt's own file
    seal_s: float = 0.0
    files: int = 0
    entries: int = 0
    bytes_of: Counter[str] = field(default_factory=Counter)  # by kind of file

    @property
    def per_record(self) -> dict[str, float]:
        """Bytes a record, by kind of file."""
        return {kind: size / self.records for kind, size in sorted(self.bytes_of.items())}


def fill(root: Path, wanted: int, *, batches: float, file_records: int, is_sealed: bool = True) -> Filled:
    """Write so many records, and have them sealed file by file in the process that seals."""
    made, work = Filled(root), Workload(wanted, batches)
    writer, sealer = AuditWriter(root), SealerProcess(root, keys_dir=None)
    sealer.seal()  # it starts, and imports what it needs
    uncommitted = 0
    for piece in work.pieces():
        begun, name = time.perf_counter(), piece.start.exec_id
        if piece.receipt is not None:
            writer.end(name, piece.receipt)
            if made.records > wanted // 2 and not made.sample and piece.receipt.records > _LONG:
                made.sample = name
            made.edges_s += time.perf_counter() - begun
            continue
        if piece.records is None:
            writer.begin(piece.start)
            made.edges_s += time.perf_counter() - begun
            continue
        writer.append(name, first_seq=piece.first_seq, records=piece.records.tobytes(), arena=piece.arena)
        count = len(piece.records)
        uncommitted += count
        if uncommitted >= COMMIT_RECORDS:
            writer.commit()
            uncommitted = 0
        made.append_s += time.perf_counter() - begun
        made.records, made.last_ns = made.records + count, int(piece.records["t_ns"][-1])
        if is_sealed and made.records // file_records > made.files:
            _seal(made, writer, sealer)
    made.executions = work.executions
    _seal(made, writer, sealer, is_last=True, is_sealed=is_sealed)
    sealer.close()
    for path in root.rglob("*"):
        if path.is_file():
            made.bytes_of[_kind(path)] += path.stat().st_size
    return made


def _seal(
    made: Filled, writer: AuditWriter, sealer: SealerProcess, *, is_last: bool = False, is_sealed: bool = True
) -> None:
    made.wal_bytes, made.files = made.wal_bytes + writer.size_bytes, made.files + 1
    if is_last:
        writer.close()
    else:
        writer.rotate()
    if is_sealed:
        begun = time.perf_counter()
        made.entries += sum(one.entries for one in sealer.seal())
        made.seal_s += time.perf_counter() - begun


def _kind(path: Path) -> str:
    for suffix, kind in ((".deny.parquet", "refusals"), (".rollup.parquet", "roll-ups"), (".parquet", "records"),
                         (".chunks", "chunk hashes"), (".manifest.json", "manifests"), (".receipt.json", "receipts"), (".wal", "wal")):  # fmt: skip
        if path.name.endswith(suffix):
            return kind
    return "transparency log" if "tlog" in path.parts else "catalogue"


@dataclass(frozen=True, slots=True)
class Question:
    """A question, for every engine."""

    name: str
    sql: str
    ask: Callable[[AuditReader], int]  # gives how many rows


def questions(made: Filled) -> list[Question]:
    """What people ask, about this log."""
    span = made.last_ns - BEGIN_NS
    low, high, module = BEGIN_NS + span * 45 // 100, BEGIN_NS + span * 55 // 100, module_digest(2)
    common, rare = "/srv/acme/in/2026-11/set-010/", f"/srv/initech/in/2026-11/set-{RARE:03d}/"
    page = "ORDER BY t_ns DESC, exec_id DESC, seq DESC LIMIT 100"
    under = "target >= '{0}' AND target < '{0}~'"  # what an index can help with
    groups = "SELECT call, decision, sum(n) FROM records GROUP BY call, decision"

    def refusals(reader: AuditReader) -> int:
        wanted = RecordFilter(decision="deny", module=module, from_ns=low, to_ns=high)
        return len(reader.records(wanted).rows)

    def prefix(path: str) -> Callable[[AuditReader], int]:
        return lambda reader: len(reader.records(RecordFilter(path_prefix=path)).rows)

    return [
        Question("refusals of a module, a tenth of the time", f"SELECT * FROM records WHERE decision = 2 AND module_id = '{module}' AND t_ns >= {low} AND t_ns < {high} {page}", refusals),
        Question("counts by call and decision", groups, lambda reader: len(reader.aggregate(Aggregation(by=("call", "decision"))).rows)),
        Question("newest 100 under a folder", f"SELECT * FROM records WHERE {under.format(common)} {page}", prefix(common)),
        Question("all under a folder of long ago", f"SELECT * FROM records WHERE {under.format(rare)} {page}", prefix(rare)),
        Question("500 records of an execution", f"SELECT * FROM records WHERE exec_id = '{made.sample}' ORDER BY seq LIMIT 500", lambda reader: len(reader.records(RecordFilter(execution=made.sample, limit=500)).rows)),
        Question("newest 100", f"SELECT * FROM records {page}", lambda reader: len(reader.records(RecordFilter()).rows)),
        Question("totals and number of executions", "SELECT count(*), count(DISTINCT exec_id), sum(bytes_in), sum(bytes_out), min(t_ns), max(t_ns) FROM records", lambda reader: reader.stats(RecordFilter()).executions),
    ]  # fmt: skip


def opened(made: Filled) -> AuditReader:
    """Queries on the log, as the service has them, but without a limit on time."""
    return open_reader(made.root, totals_seconds=None)


def proofs(made: Filled, median: Callable[[Callable[[], object]], float]) -> dict[str, float]:
    """Milliseconds: sign, prove and verify."""
    keys = KeyFolder(made.root.parent / f"{made.root.name}.keys")
    keys.create(ORIGIN)
    log, found = TransparencyLog(made.root / "tlog"), {}
    begun = time.perf_counter()
    sign_head(log, keys)
    found["sign the head, the first time"] = (time.perf_counter() - begun) * 1e3
    begun = time.perf_counter()
    sign_receipts(log, keys, size=log.size, receipts=made.root / "exec")
    found["sign one receipt"] = (time.perf_counter() - begun) * 1e3 / made.executions
    name, size = made.sample, log.size
    prover = open_prover(made.root)
    exec_id = execution_id(name)
    found["inclusion proof of a receipt"] = median(lambda: prover.receipt(exec_id))
    found["inclusion proof of a record"] = median(lambda: prover.record(exec_id, 1_000, canonical_records))
    proof = prover.record(exec_id, 1_000, canonical_records).content
    key = standalone.key_of((keys.path / "signing.vkey").read_text().strip())
    found["verify the proof of a record"] = median(lambda: standalone.check_proof(proof, [key]))
    found["bytes of that proof"] = len(proof)
    found["consistency proof"] = median(lambda: prover.growth(size // 3, size))
    found["leaves"] = size
    parse_record_proof(proof)
    return found


def verified(made: Filled) -> float:
    """Seconds to verify everything, from the files and a key."""
    key = standalone.key_of(str(made.root.parent / f"{made.root.name}.keys" / "signing.vkey"))
    begun = time.perf_counter()
    report, _ = standalone.verify(str(made.root), [key])
    if report.findings:
        raise SystemExit("\n".join(standalone.lines(report, ())))
    return time.perf_counter() - begun
