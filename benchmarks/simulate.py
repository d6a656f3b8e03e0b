"""How fast recorded calls are replayed on a candidate policy: `python benchmarks/simulate.py [RECORDS]`.

The records are made up here, as columns of facts, one for each call; reading them from a log is not measured.
INVARIANT: the same arguments replay the same records.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

# a file beside this one has the name of the package
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]

from policy import Plan, compile_policy, load_document  # noqa: E402  # see above
from policy.calls import CALL_CODES  # noqa: E402
from policy.plan import Right  # noqa: E402
from policy.simulate import FactColumns, simulate  # noqa: E402
from policy.simulate.columns import DECISIONS, NONE, REASONS  # noqa: E402

RECORDS = 10_000_000
TARGETS = (1_000, 100_000, 1_000_000)
RULES = (10, 1_000, 10_000)
EXECUTIONS = 10_000


@dataclass(frozen=True, slots=True)
class Measured:
    """One replay."""

    records: int
    targets: int
    rules: int
    states: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Records a second."""
        return self.records / self.seconds


def some_plan(rules: int) -> Plan:
    """A policy with so many rules, each for a folder or a kind of file of its own."""
    deny = "\n".join(
        f"      - {{id: d{number}, uri: 'fs:///srv/data/part{number % 97}/**/{number}-*.tmp'}}"
        for number in range(rules // 10)
    )
    files = ", ".join(f"'part{number % 97}/set{number}/**'" for number in range(rules - rules // 10))
    text = f"""
version: 1
metadata: {{name: candidate}}
permissions:
  storage:
    allow:
      - {{id: data, uri: 'fs:///srv/data/**', mount: /data, access: [read, list], include: [{files}]}}
      - {{id: out, uri: 'tmp://out', mount: /out, access: [read, list, create, write], max_bytes: 64Mi}}
    deny:
{deny or "      []"}
"""
    document = load_document(text.encode(), file="candidate.yaml")
    return compile_policy(document, base_dir="/", now_ns=None, is_study=True)


def some_columns(records: int, targets: int) -> FactColumns:
    """So many calls on so many distinct paths: opening, reading, writing, and what needs no path."""
    chance = np.random.default_rng(records * 31 + targets)
    half = targets // 2
    texts = [
        f"/srv/data/part{number % 97}/set{number % 9_000}/{number}-report.csv".encode()
        for number in range(half)
    ]
    texts += [f"tmp://out/run/{number}/result.json".encode() for number in range(targets - half - 1)]
    texts.append(b"stdout")
    names = ("path_open", "fd_read", "fd_write", "fd_close", "path_filestat_get", "clock_time_get")
    call = np.array([CALL_CODES[name] for name in names])[chance.integers(0, len(names), records)]
    target = chance.integers(0, targets, records)
    wants = np.select(
        [call == CALL_CODES["path_open"], call == CALL_CODES["fd_read"], call == CALL_CODES["fd_write"]],
        [
            chance.choice([int(Right.READ), int(Right.CREATE | Right.WRITE)], records),
            int(Right.READ),
            int(Right.WRITE),
        ],
        0,
    )
    is_refused = chance.random(records) < 0.01
    zeros = np.zeros(records, np.int64)
    return FactColumns(
        call=call,
        wants=wants,
        target=np.where(call == CALL_CODES["clock_time_get"], NONE, target),
        target2=zeros + NONE,
        decision=np.where(is_refused, DECISIONS.index("deny"), DECISIONS.index("allow")),
        reason=np.where(is_refused, REASONS.index("rule"), 0),
        missing=np.where(is_refused, int(Right.READ), 0),
        is_masked=chance.random(records) < 0.001,
        flags=zeros,
        rule=chance.integers(0, 3, records),
        module=chance.integers(0, 5, records),
        execution=chance.integers(0, EXECUTIONS, records),
        count=zeros + 1,
        done=zeros + 1,
        bytes_in=zeros,
        bytes_out=zeros + 512,
        texts=pa.array(texts, pa.large_binary()),
        rules=("in", "out", "default"),
        modules=tuple(f"sha256:{number:064x}" for number in range(5)),
        executions=tuple(f"run-{number}" for number in range(EXECUTIONS)),
        evidence=pa.nulls(records, pa.string()),
    )


def measure(records: int, targets: int, rules: int) -> Measured:
    """Replay once."""
    plan, columns = some_plan(rules), some_columns(records, targets)
    start = time.perf_counter()
    found = simulate(plan, columns)
    seconds = time.perf_counter() - start
    if found.records != records:
        raise RuntimeError(f"{found.records} records came back of {records}")
    return Measured(records, targets, rules, len(plan.automaton.states), seconds)


def main() -> None:
    """Print a table."""
    records = int(sys.argv[1]) if len(sys.argv) > 1 else RECORDS
    print(f"{'records':>12} {'targets':>10} {'rules':>7} {'states':>8} {'seconds':>8} {'records/s':>12}")
    pairs = [(targets, RULES[0]) for targets in TARGETS] + [(TARGETS[1], rules) for rules in RULES[1:]]
    for targets, rules in pairs:
        one = measure(records, targets, rules)
        print(
            f"{one.records:>12,} {one.targets:>10,} {one.rules:>7,} {one.states:>8,} {one.seconds:>8.2f}"
            f" {one.per_second:>12,.0f}"
        )


if __name__ == "__main__":
    main()
