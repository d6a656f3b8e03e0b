"""`kill -9` of whoever appends and of whoever signs: what was acknowledged is there, and nothing contradicts it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from audit.tlog.checkpoint import open_checkpoint
from audit.tlog.log import TransparencyLog
from audit.tlog.merkle import leaf_hash, root_of, verify_consistency
from tests.tlogs import entries_of, new_keys, signed

ROOT = Path(__file__).resolve().parents[2]
APPEND = """
import sys
from pathlib import Path
from audit.tlog.log import TransparencyLog
log = TransparencyLog(Path(sys.argv[1]))
sizes = [int(one) for one in sys.argv[2].split(",")]
print(log.size, flush=True)
while True:
    for size in sizes:
        first = log.size
        log.append([b"entry %d" % number for number in range(first, first + size)])
        print(first + size, flush=True)
"""
ROUNDS = [pytest.param(range(8), id="gate"), pytest.param(range(100, 600), id="slow", marks=pytest.mark.slow)]


@pytest.mark.parametrize("rounds", ROUNDS)
def test_an_appender_that_is_killed_leaves_all_that_it_acknowledged(tmp_path, rounds):
    folder = tmp_path / "tlog"
    log = TransparencyLog(folder)
    for number in rounds:
        chance = random.Random(number)
        sizes = ",".join(str(chance.choice([1, 3, 100, 255, 300, 1000])) for _ in range(5))
        process = subprocess.Popen(
            [sys.executable, "-c", APPEND, str(folder), sizes], stdout=subprocess.PIPE, cwd=ROOT
        )
        with process:
            assert process.stdout is not None
            said = [int(process.stdout.readline()) for _ in range(chance.randint(1, 12))]
            try:
                process.wait(chance.random() * 0.01)
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
            said += [
                int(line) for line in process.stdout.read().splitlines(keepends=True) if line.endswith(b"\n")
            ]
        size = log.size
        assert size >= said[-1]
        entries = entries_of(size)
        assert list(log.entries(0, size)) == entries
        assert log.root() == root_of([leaf_hash(entry) for entry in entries])


@pytest.mark.parametrize("rounds", ROUNDS)
def test_a_signer_that_is_killed_has_signed_nothing_that_contradicts_itself(tmp_path, rounds):
    keys = new_keys(tmp_path)
    log = TransparencyLog(tmp_path / "audit/tlog")
    command = [sys.executable, "-P", "-m", "api.signing", str(tmp_path / "audit"), str(keys.path), "--once"]
    seen = []
    log.append(entries_of(1, first=0))
    begun = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={"PYTHONPATH": str(ROOT)})
    whole = time.monotonic() - begun  # most of it to start; a busy machine takes longer
    for number in rounds:
        chance = random.Random(number)
        log.append(entries_of(chance.choice([1, 2, 300]), first=log.size))
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env={"PYTHONPATH": str(ROOT)}
        )
        with process:
            try:
                process.wait(whole * (0.3 + chance.random()))
            except subprocess.TimeoutExpired:
                process.kill()
        known = [keys.load().verifier]
        there = [path for path in (log.directory / "checkpoint", keys.remembered) if path.exists()]
        seen += [open_checkpoint(path.read_bytes(), known[0].name, known).checkpoint for path in there]
    assert seen
    log.append([b"last"])
    last = signed(log, keys)
    for one in seen:
        verify_consistency(
            one.size,
            last.size,
            path=log.consistency(one.size, last.size),
            first_root=one.root,
            second_root=last.root,
        )
