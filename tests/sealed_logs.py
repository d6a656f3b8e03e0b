"""Small logs that are sealed and signed, made of the pieces that really write them, for tests of verification.

Rows come from the decoder, chunk hashes from `audit.chunks`, the tree and the signatures from `audit.tlog`;
what a segment and its leaves say is written down here a second time, from the description of the format.
INVARIANT: the same arguments give the same rows and leaves (keys differ from run to run).
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from audit import canonical
from audit.chunks import chunk_leaves, context_of
from audit.columns import OPENED, SCHEMA, WORDS
from audit.gather import Reading
from audit.receipt import CallCount, Receipt
from audit.recovery import recover
from audit.start import ExecutionStart
from audit.times import to_rfc3339
from audit.tlog.key_files import KeyFolder
from audit.tlog.log import TransparencyLog
from audit.tlog.merkle import root_of
from audit.tlog.receipt_notes import sign_receipts
from audit.tlog.rotation import rotate
from audit.tlog.signer import sign_head
from audit.writer import AuditWriter
from sandbox.monitor.decode import decode
from tests.records import STORY, T0, Call, frame, receipt, start, tell

ORIGIN = "example.com/audit"
REFUSED = {"deny", "would_deny", "limit"}


@dataclass(slots=True)
class SealedLog:
    """A log that grows by segments and receipts."""

    folder: Path
    keys: KeyFolder
    log: TransparencyLog
    parts: dict[str, list[tuple[str, pa.Table, tuple[bytes, ...]]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    segments: int = 0

    @staticmethod
    def create(base: Path) -> SealedLog:
        folder = base / "audit"
        folder.mkdir(parents=True)
        keys = KeyFolder(base / "keys")
        keys.create(ORIGIN)
        return SealedLog(folder, keys, TransparencyLog(folder / "tlog"))

    @property
    def vkey(self) -> str:
        return (self.keys.path / "signing.vkey").read_text().strip()

    def seal(
        self,
        tables: list[tuple[ExecutionStart, pa.Table]],
        gaps: dict[str, list[tuple[int, int]]] | None = None,
    ) -> str:
        """Add a segment with these rows, all of one tenant; give its path."""
        tables = sorted(tables, key=lambda pair: pair[0].exec_id)
        tenant = tables[0][0].tenant
        self.segments += 1
        stem = f"seg/tenant={tenant}/day=2026-11-18/w-{self.segments:06d}"
        rows = pa.concat_tables([table for _, table in tables]).unify_dictionaries()
        (self.folder / stem).parent.mkdir(parents=True, exist_ok=True)
        plain = rows.to_pylist()
        leaves: list[bytes] = []
        executions: list[dict[str, object]] = []
        for of, table in tables:
            context = context_of(of.exec_id, of.tenant, of.module_digest, of.policy_digest)
            mine = chunk_leaves(table, of.exec_id, context)
            self.parts[of.exec_id].append((f"{stem}.parquet", table, mine))
            holes = (gaps or {}).get(of.exec_id, [])
            calls = sum(table.column("n").to_pylist())
            first = table.column("seq")[0].as_py()
            executions.append(
                {
                    "exec_id": of.exec_id,
                    "first_seq": first,
                    "last_seq": first + calls + sum(b - a + 1 for a, b in holes) - 1,
                    "rows": table.num_rows,
                    "calls": calls,
                    "chunks": len(mine),
                    "gaps": [{"first": a, "last": b} for a, b in holes],
                }
            )
            leaves += mine
        refused = [row for row in plain if row["decision"] in {2, 3, 5} or row["stage"] == 2]
        files: dict[str, object] = {
            "records": self._parquet(stem + ".parquet", rows),
            "refusals": self._parquet(stem + ".deny.parquet", pa.Table.from_pylist(refused, SCHEMA))
            if refused
            else None,
            "rollup": self._parquet(stem + ".rollup.parquet", _rollup(plain)),
            "chunks": self._file(stem + ".chunks", b"".join(leaves)),
        }
        manifest = {
            "schema": "wasmgate.segment.v1", "record_schema": "wasmgate.record.v2", "segment": f"{stem}.parquet",
            "tenant": tenant, "files": files, "rows": len(plain), "calls": sum(row["n"] for row in plain),
            "refusals": len(refused), "t_min_ns": str(min(row["t_ns"] for row in plain)),
            "t_max_ns": str(max(row["t_last_ns"] for row in plain)), "root": root_of(leaves).hex(),
            "chunks": len(leaves), "modules": sorted({of.module_digest for of, _ in tables}),
            "policies": sorted({of.policy_digest for of, _ in tables}), "executions": executions,
            "source": {"wal": f"w-{self.segments:06d}.wal", "bytes": 1, "lost_bytes": 0, "problem": None},
        }  # fmt: skip
        named = self._file(f"{stem}.manifest.json", canonical.dumps(manifest) + b"\n")
        entries = [
            {
                "type": "segment", "v": 1, "at": to_rfc3339(T0), "manifest": f"{stem}.manifest.json",
                "sha256": named["sha256"], "segment": f"{stem}.parquet", "root": manifest["root"],
                "rows": manifest["rows"], "calls": manifest["calls"], "tenant": tenant,
            }
        ]  # fmt: skip
        given: Counter[str] = Counter()
        for row in refused:
            given[row["exec_id"]] += 1
            if row["decision"] in {2, 3, 5} and given[row["exec_id"]] <= 100:
                entries.append(_refusal(row))
        self.append(*entries)
        return f"{stem}.parquet"

    def finish(
        self,
        of: ExecutionStart,
        *,
        gaps: tuple[tuple[int, int], ...] = (),
        counted: Counter[tuple[str, str]] | None = None,
    ) -> None:
        """Write the receipt of an execution, and its leaf."""
        parts = self.parts[of.exec_id]
        counts: Counter[tuple[str, str]] = Counter(counted or ())
        if counted is None:
            for _, table, _ in parts:
                for call, decision, n in zip(
                    *(table.column(c).to_pylist() for c in ("call", "decision", "n")), strict=True
                ):
                    counts[call.rpartition(".")[2], WORDS[decision]] += n
        made = receipt(of, records=sum(counts.values()))
        values = {name: getattr(made, name) for name in Receipt.__slots__}
        values |= {"gaps": gaps, "tenant": of.tenant}
        values["calls"] = tuple(
            CallCount(call=c, decision=d, count=n) for (c, d), n in sorted(counts.items())
        )
        made = Receipt(**values)
        named = self._file(f"exec/{of.exec_id}.receipt.json", made.to_json() + b"\n")
        leaves = [leaf for _, _, mine in parts for leaf in mine]
        self.append(
            {
                "type": "receipt", "v": 1, "at": to_rfc3339(T0), "exec_id": of.exec_id, "tenant": of.tenant,
                "sha256": named["sha256"], "records": made.records,
                "refusals": sum(n for (_, word), n in counts.items() if word in REFUSED),
                "root": root_of(leaves).hex(), "chunks": len(leaves), "segments": [path for path, _, _ in parts],
                "outcome": "exited",
            }
        )  # fmt: skip

    def append(self, *entries: dict[str, Any]) -> None:
        self.log.append([canonical.dumps(entry) for entry in entries])

    def sign(self) -> None:
        found = sign_head(self.log, self.keys)
        if found is not None:
            (self.folder / "exec").mkdir(exist_ok=True)
            sign_receipts(self.log, self.keys, size=found.size, receipts=self.folder / "exec")

    def rotate(self) -> None:
        rotate(self.log, self.keys, reason="yearly", at_ns=T0, seal_lock=self.folder / "seal.lock")

    def _parquet(self, name: str, table: pa.Table) -> dict[str, object]:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", store_schema=False)
        return self._file(name, sink.getvalue().to_pybytes())

    def _file(self, name: str, content: bytes) -> dict[str, object]:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return {"name": path.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def rows_of(of: ExecutionStart, calls: tuple[Call, ...], *, first_seq: int = 0) -> pa.Table:
    """Rows as the decoder makes them."""
    return decode(of, [frame(calls, first_seq=first_seq)], OPENED.empty_table())


def small_log(base: Path) -> SealedLog:
    """Three executions of two tenants in four segments, with refusals, an event and a new key."""
    made = SealedLog.create(base)
    one, two, three = start(number=1), start(number=2, tenant="acme"), start(number=3)
    made.append(
        {
            "type": "event",
            "v": 1,
            "at": to_rfc3339(T0),
            "id": "0",
            "event": "audit-on",
            "actor": "a",
            "tenant": None,
            "details": {},
        }
    )
    long = STORY[:1] + (STORY[1], STORY[2], STORY[3], STORY[4]) * 40
    made.seal([(one, rows_of(one, long)), (three, rows_of(three, STORY))])
    made.seal([(two, rows_of(two, STORY[:6]))])
    made.finish(three)
    made.sign()
    made.seal([(one, rows_of(one, STORY, first_seq=len(long)))])
    made.finish(one)
    made.rotate()
    made.seal([(two, rows_of(two, STORY[6:], first_seq=6))])
    made.finish(two)
    made.sign()
    return made


def real_log(base: Path) -> SealedLog:
    """Four executions of two tenants, one of them killed, written and sealed by what does it in the product."""
    made = SealedLog.create(base)
    runs = [
        start(number=1),
        start(number=2, tenant="acme.x/y"),
        start(number=3),
        start(number=4, tenant="acme.x/y"),
    ]
    for of, rounds in ((runs[0], 30), (runs[1], 2), (runs[2], 1), (runs[3], 1)):
        writer = AuditWriter(made.folder)
        tell(writer, of, rounds=rounds, is_ended=False)
        if of is not runs[2]:  # nobody ends this one: the sealer counts its records
            counts = Counter(
                (call.rpartition(".")[2], WORDS[decision])
                for call, decision in zip(
                    *(rows_of(of, STORY).column(c).to_pylist() for c in ("call", "decision")), strict=True
                )
            )
            calls = tuple(
                CallCount(call=c, decision=d, count=n * rounds) for (c, d), n in sorted(counts.items())
            )
            given = receipt(of, records=rounds * len(STORY))
            writer.end(of.exec_id, replace(given, calls=calls, tenant=of.tenant))
        writer.close()
        recover(made.folder, Reading(decode))
        made.sign()
        if of is runs[1]:
            made.rotate()
    return made


def _rollup(rows: list[dict[str, Any]]) -> pa.Table:
    sums: dict[tuple[object, object], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for row in rows:
        into = sums[row["call"], row["decision"]]
        for at, value in enumerate((1, row["n"], row["bytes_in"], row["bytes_out"])):
            into[at] += value
    names = ("rows", "n", "bytes_in", "bytes_out")
    return pa.Table.from_pylist(
        [{"call": c, "decision": d} | dict(zip(names, v, strict=True)) for (c, d), v in sums.items()]
    )


def _refusal(row: dict[str, Any]) -> dict[str, object]:
    same = ("exec_id", "seq", "call", "reason", "right", "target", "guest_target", "target2", "errno")
    return {
        "type": "refusal", "v": 1, "at": to_rfc3339(row["t_ns"]), "tenant": row["tenant_id"],
        "module": row["module_id"], "policy": row["policy_id"], "rule": row["rule_id"],
        "decision": WORDS[row["decision"]],
    } | {name: row[name] for name in same}  # fmt: skip
