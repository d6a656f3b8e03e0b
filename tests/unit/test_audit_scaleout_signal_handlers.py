"""A guest that traps still traps where the embedded ClickHouse runs in the same process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys, wasmtime
from audit.scaleout.backend import Backend
from audit.scaleout.clickhouse import ClickHouse
engine = wasmtime.Engine()
module = wasmtime.Module(engine, '(module (memory 1) (func (export "ill") unreachable)'
    ' (func (export "segv") (drop (i32.load (i32.const -1)))) (func (export "fpe") (drop (i32.div_s (i32.const 1) (i32.const 0)))))')
store = wasmtime.Store(engine)
made = wasmtime.Instance(store, module, [])
with ClickHouse(Backend.parse(sys.argv[1])) as database:
    for number in range(3):
        assert database.rows("SELECT 1 AS one") == [{"one": 1}]
        for name in ("ill", "segv", "fpe"):
            try:
                made.exports(store)[name](store)
            except wasmtime.Trap:
                print("trap", name)
"""


def test_guests_trap_beside_the_embedded_engine(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, f"chdb://{tmp_path / 'ch'}"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.split()[1::2]) == (0, ["ill", "segv", "fpe"] * 3), done.stderr[-500:]
