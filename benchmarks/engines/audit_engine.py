"""What the audit log costs: writing, sealing, asking and proving, beside others that could hold the records.

Run it with `python benchmarks/audit.py [--records 1e6,1e7] [--table all]`; it prints the tables of
docs/explanation/cost.md. The records are `audit_shapes.py`, in the shape of real runs; at each size the log
is made once, the others hold the same records in the same run, and all is deleted afterwards.
"""

from __future__ import annotations

import argparse
import math
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import audit_others
from audit_log_of_record import Filled, Question, fill, opened, proofs, questions, verified
from audit_readers import side_by_side

TABLES = ("ingest", "bytes", "query", "proof", "readers")
MOST_S = 12.0  # for one question, over all of its rounds
ROUNDS = 7


def median_ms(ask: Callable[[], object]) -> float:
    """The median of some rounds, of one where that takes long, after a first one that does not count."""
    begun, times = time.perf_counter(), []
    ask()
    first = time.perf_counter() - begun
    for _ in range(ROUNDS if first * ROUNDS < MOST_S else 1):
        begun = time.perf_counter()
        ask()
        times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1e3


@dataclass(slots=True)
class Figures:
    """Rows of a table, each with a figure for each size."""

    title: str
    unit: str
    rows: dict[str, dict[int, float]] = field(default_factory=dict)

    def note(self, name: str, size: int, value: float) -> None:
        """Keep one figure."""
        self.rows.setdefault(name, {})[size] = value

    def show(self, sizes: Sequence[int]) -> None:
        """Print it as Markdown; the last column says how a figure grows with ten times the records."""
        print(f"\n{self.title}\n\n| {self.unit} | {' | '.join(f'{size:,}' for size in sizes)} | x10 |")
        print("|---|" + "---|" * (len(sizes) + 1))
        for name, found in self.rows.items():
            known = [size for size in sizes if size in found]
            growth = "-"
            if len(known) > 1:
                ratio = found[known[-1]] / max(found[known[0]], 1e-9)
                growth = f"{ratio ** (1 / math.log10(known[-1] / known[0])):.2g}"
            print(f"| {name} | {' | '.join(shown(found.get(size)) for size in sizes)} | {growth} |")


def shown(value: float | None) -> str:
    """Three digits."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


@dataclass(slots=True)
class Bench:
    """All tables of one run."""

    tables: frozenset[str]
    others_up_to: int
    ingest: Figures = field(default_factory=lambda: Figures("Writing, durable", "M records a second"))
    short: Figures = field(
        default_factory=lambda: Figures("Where the time goes", "microseconds, milliseconds where it says so")
    )
    size: Figures = field(default_factory=lambda: Figures("Bytes a record", "bytes"))
    query: Figures = field(default_factory=lambda: Figures("Questions", "median, ms"))
    answers: dict[str, int] = field(default_factory=dict)  # rows, by question
    proof: Figures = field(default_factory=lambda: Figures("Proofs", "ms, other units where it says so"))

    def measure(self, folder: Path, records: int, *, batches: float, file_records: int) -> None:
        """Fill a log with so many records, and ask it; then the others."""
        made = fill(folder / "log", records, batches=batches, file_records=file_records)
        print(
            f"made {made.records:,} records of {made.executions:,} executions in {made.files} log files, {made.entries:,} entries",
            flush=True,
        )
        if {"ingest", "bytes"} & self.tables:
            self._writing(made, records)
        if "query" in self.tables:
            self._asking(made, records)
        if "proof" in self.tables:
            for name, value in proofs(made, median_ms).items():
                self.proof.note(name, records, value)
            self.proof.note("verify everything, seconds", records, verified(made))
            self.proof.show([records])
        if {"ingest", "bytes", "query"} & self.tables and records <= self.others_up_to:
            self._others(made, folder, records)

    def _writing(self, made: Filled, records: int) -> None:
        self.ingest.note(
            "write-ahead log, committed each 65,536 records", records, made.records / made.append_s / 1e6
        )
        self.ingest.note("sealed, by the process that seals", records, made.records / made.seal_s / 1e6)
        self.ingest.note(
            "both, one after the other, with starts, ends and receipts",
            records,
            made.records / (made.append_s + made.edges_s + made.seal_s) / 1e6,
        )
        self.short.note(
            "start, end and receipt of an execution, ms", records, made.edges_s / made.executions * 1e3
        )
        self.size.note("write-ahead log (deleted when sealed)", records, made.wal_bytes / made.records)
        total = 0.0
        for kind, value in made.per_record.items():
            self.size.note(f"sealed: {kind}", records, value)
            total += value
        self.size.note("**sealed, all files**", records, total)
        for one in (self.ingest, self.short, self.size):
            one.show([records])

    def _asking(self, made: Filled, records: int) -> None:
        begun = time.perf_counter()
        with opened(made) as reader:
            first = questions(made)[0]
            first.ask(reader)
            self.query.note(
                "log of record: open it, and the first question", records, (time.perf_counter() - begun) * 1e3
            )
            for question in questions(made):
                rows = question.ask(reader)
                self.query.note(
                    f"log of record: {question.name}", records, median_ms(partial(question.ask, reader))
                )
                self.answers[question.name] = rows
        self.query.show([records])

    def _others(self, made: Filled, folder: Path, records: int) -> None:
        segments = sorted(
            str(path) for path in (made.root / "seg").rglob("*.parquet") if path.name.count(".") == 1
        )
        for make in audit_others.ALL:
            place = folder / "other"
            place.mkdir()
            holder = make(place, segments)
            try:
                self._other(holder, questions(made), records, made.records)
            finally:
                holder.close()
                shutil.rmtree(place)
        for one in (self.ingest, self.size, self.query):
            one.show([records])

    def _other(self, holder: audit_others.Holder, asked: list[Question], records: int, rows: int) -> None:
        self.ingest.note(holder.name, records, rows / holder.seconds / 1e6)
        self.size.note(holder.name, records, holder.size / rows)
        print(
            f"{holder.name}: {rows / holder.seconds / 1e6:.3f} M records/s, {holder.size / rows:.1f} bytes",
            flush=True,
        )
        if "query" in self.tables:
            for question in asked:
                if (
                    holder.ask(question.sql) != self.answers.get(question.name)
                    and "totals" not in question.name
                ):
                    print(
                        f"{holder.name}, {question.name}: {holder.ask(question.sql)} rows, not {self.answers[question.name]}"
                    )
                self.query.note(
                    f"{holder.name}: {question.name}",
                    records,
                    median_ms(partial(holder.ask, question.sql)),
                )

    def show(self, sizes: Sequence[int]) -> None:
        """Print all tables over all sizes."""
        for one in (self.ingest, self.short, self.size, self.query, self.proof):
            if one.rows:
                one.show(sizes)


def main() -> None:
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser(description="What the audit log costs.")
    parser.add_argument("--records", default="1e6", help="sizes, such as 1e6,1e7,1e8")
    parser.add_argument("--table", default="all", choices=(*TABLES, "all"))
    parser.add_argument("--batches", type=float, default=10.0, help="length of an execution; 1: as measured")
    parser.add_argument(
        "--file-records", type=float, default=5e5, help="records of a log file when it is sealed"
    )
    parser.add_argument("--others-up-to", type=float, default=1e7, help="no other engine beyond this size")
    parser.add_argument("--folder", type=Path, default=None, help="where there is room")
    given = parser.parse_args()
    wanted = frozenset(TABLES) if given.table == "all" else frozenset({given.table})
    sizes = [int(float(one)) for one in given.records.split(",")]
    bench = Bench(wanted, int(given.others_up_to))
    for size in sizes if wanted - {"readers"} else []:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            bench.measure(Path(folder), size, batches=given.batches, file_records=int(given.file_records))
    bench.show(sizes)
    if "readers" in wanted:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            side_by_side(Path(folder))


if __name__ == "__main__":
    main()
