"""A disk that fails on purpose: system calls of a real process that fail, stop half-way or are its last.

`Faults` gives an environment for a child process and rules that say which of its calls meet what; the rules can
be changed while it runs, and its calls can be counted. Nothing of the project is replaced: a library of ours
(`faults.c`, built with `cc`) stands between the process and the C library.

    faults = Faults(tmp_path)
    rule = faults.fail("fdatasync", under=".wal", error=errno.EIO, skip=2, times=1)
    done = subprocess.run([sys.executable, "-c", CODE], env=faults.environment())
    assert rule.hit == 1

To meet each point of a program: run it once under `count`, then once for each number below `seen` with
`kill(..., skip=number)` or `fail(..., skip=number)`. A program that is run hundreds of times need not be
started each time: `forks` imports once and forks.

    with faults.forks("from tests.x import main") as forks:
        for number in range(forks.points("rename", under=tmp_path / "log", arguments=[tmp_path / "log"])):
            faults.kill("rename", under=tmp_path / "log", skip=number)
            done = forks.run(tmp_path / "log")      # done.status == -9; done.text is what it printed
            faults.clear()

Calls: `write` (with `writev`, `pwrite`), `fsync`, `fdatasync`, `ftruncate`, `rename` (by the new name), `mkdir`,
`unlink`, `open` (of a file that is made). `under` is any part of the
path; descriptors count by the path that they lead to now. Calls of statically linked code are not met, nor what
a process does before its first rule is there.
"""

from __future__ import annotations

import atexit
import json
import mmap
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

ROOT = Path(__file__).resolve().parents[1]
CALLS = frozenset({"write", "fsync", "fdatasync", "ftruncate", "rename", "mkdir", "unlink", "open"})
_RULES = 32
_RULE = struct.Struct("<iiii qqqq 16s 456s")
_SEEN, _HIT = 32, 40
_SERVER = """
import json, os, sys, time, traceback
exec(sys.argv[1])
for line in sys.stdin:
    out, kill_after_s, *arguments = json.loads(line)
    child = os.fork()
    if not child:
        status = 1
        try:
            handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            main(*arguments)
            status = 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(child, 9)
    print(os.waitpid(child, 0)[1], flush=True)
"""
_FAIL, _SHORT, _KILL_BEFORE, _KILL_AFTER, _COUNT = range(1, 6)
assert _RULE.size == 520


@cache
def library() -> Path:
    """Build the library once for this process."""
    folder = mkdtemp(prefix="faults-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = Path(folder) / "faults.so"
    source = Path(__file__).with_name("faults.c")
    subprocess.run(
        ["cc", "-O2", "-Wall", "-shared", "-fPIC", "-o", str(made), str(source), "-ldl"], check=True
    )
    return made


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, and how often it was met."""

    faults: Faults
    number: int

    @property
    def seen(self) -> int:
        """How many calls it was about."""
        return self.faults.long(self.number, _SEEN)

    @property
    def hit(self) -> int:
        """How many of them it changed."""
        return self.faults.long(self.number, _HIT)

    def lift(self) -> None:
        """Let all further calls pass."""
        self.faults.switch(self.number, is_on=False)


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one run."""

    status: int  # negative: a signal
    text: str


@dataclass(frozen=True, slots=True)
class Forks:
    """A process that forks for each run, so that a run costs milliseconds."""

    faults: Faults
    process: subprocess.Popen[str]
    out: Path

    def run(self, *arguments: str | Path, kill_after_s: float | None = None) -> Done:
        """Call `main(*arguments)`, all text, in a fork, to its end; what it prints comes back.

        With `kill_after_s` it gets a SIGKILL after so many seconds.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.out.write_bytes(b"")  # a fork that is killed early has not said anything
        order = [str(self.out), kill_after_s, *map(str, arguments)]
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        status = os.waitstatus_to_exitcode(int(self.process.stdout.readline()))
        return Done(status, self.out.read_text())

    def points(self, call: str, *, under: str | Path, arguments: Sequence[str | Path]) -> int:
        """Run it without a fault, and say how often it made a call."""
        rule = self.faults.count(call, under=under)
        done = self.run(*arguments)
        assert done.status == 0, done.text
        seen = rule.seen
        self.faults.clear()
        return seen


class Faults:
    """Rules for the processes that are started with `environment()`."""

    def __init__(self, folder: Path) -> None:
        """Keep the rules in a file below `folder`."""
        self.path = folder / "faults"
        self.path.write_bytes(bytes(_RULES * _RULE.size))
        with self.path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _RULES * _RULE.size)
        self._used = 0

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Give the environment of a process that meets the rules, and finds the project."""
        return {
            **os.environ,
            "LD_PRELOAD": str(library()),
            "TEST_FAULTS": str(self.path),
            "PYTHONPATH": str(ROOT),
            **(more or {}),
        }

    def python(
        self, code: str, *arguments: str | Path, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run Python code under the rules, to its end."""
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            cwd=ROOT,
        )

    def start(self, code: str, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start Python code under the rules; its output can be read, its input written."""
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            env=self.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def fail(self, call: str, *, under: str | Path, error: int, skip: int = 0, times: int = -1) -> Rule:
        """Let `call` fail with `error`: after `skip` calls that pass, `times` times (negative: always)."""
        return self._add(call, _FAIL, under, error=error, skip=skip, times=times)

    def cut_short(self, *, under: str | Path, error: int, size: int, skip: int = 0, times: int = -1) -> Rule:
        """Let a `write` take `size` bytes only, and what follows fail with `error`."""
        return self._add("write", _SHORT, under, error=error, size=size, skip=skip, times=times)

    def kill(self, call: str, *, under: str | Path, skip: int = 0, is_after: bool = False) -> Rule:
        """Kill the process at a call, before it has an effect or after."""
        return self._add(call, _KILL_AFTER if is_after else _KILL_BEFORE, under, skip=skip, times=1)

    def count(self, call: str, *, under: str | Path) -> Rule:
        """Count calls, and change none."""
        return self._add(call, _COUNT, under)

    def clear(self) -> None:
        """Drop all rules."""
        self._map[:] = bytes(len(self._map))
        self._used = 0

    @contextmanager
    def forks(self, code: str) -> Iterator[Forks]:
        """Start a process that runs `code` once, and its `main` in a fork of its own for each run."""
        process = self.start(_SERVER, code)
        try:
            yield Forks(self, process, self.path.with_name("faults.out"))
        finally:
            process.stdin.close()  # type: ignore[union-attr]  # it is a pipe
            process.wait(60)
            process.stdout.close()  # type: ignore[union-attr]  # as above

    def long(self, number: int, at: int) -> int:
        """Read a 64-bit word of a rule."""
        return int(struct.unpack_from("<q", self._map, number * _RULE.size + at)[0])

    def switch(self, number: int, *, is_on: bool) -> None:
        """Put a rule in force, or out of it."""
        struct.pack_into("<i", self._map, number * _RULE.size, int(is_on))

    def _add(
        self,
        call: str,
        action: int,
        under: str | Path,
        *,
        error: int = 0,
        size: int = 0,
        skip: int = 0,
        times: int = -1,
    ) -> Rule:
        assert call in CALLS, call
        number, self._used = self._used, self._used + 1
        name, path = call.encode(), os.fsencode(under)
        assert len(path) < 456
        _RULE.pack_into(self._map, number * _RULE.size, 0, action, error, size, skip, times, 0, 0, name, path)
        self.switch(number, is_on=True)
        return Rule(self, number)
