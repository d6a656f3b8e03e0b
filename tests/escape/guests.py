"""Guests that attack, each in a whole run: one compiled module that makes the calls it is told on its standard input.

How calls are laid out is `tests/guests.py`. A run is a real one: admitted, in a confined cell, with its records in
an audit log, from which they are read back. Around the mount lies what no attack may reach or change.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import wasmtime

from audit.query import Row
from policy.plan import Plan
from sandbox.runner import Execution
from sandbox.shared_memory import make_readable
from tests.guests import LOG_END, Script, Seen, script_text
from tests.runs import P1, Log, policy

SECRET = b"what nobody may read"
STDIO = "  stdio: {stdin: caller, stdout: capture, stderr: capture}\n"
ALL = "read, list, create, write, append, delete, symlink"
NOTCAPABLE = 76

_LOAD = f"""(local $end i32)
  (loop $more
    (i32.store (i32.const {LOG_END - 32}) (local.get $end))
    (i32.store (i32.const {LOG_END - 28}) (i32.const 65536))
    (if (i32.eqz (call $fd_read (i32.const 0) (i32.const {LOG_END - 32}) (i32.const 1) (i32.const {LOG_END - 24})))
      (then (local.set $end (i32.add (local.get $end) (i32.load (i32.const {LOG_END - 24}))))
        (br_if $more (i32.load (i32.const {LOG_END - 24}))))))
  (block $over (loop $next"""


@cache
def interpreter() -> bytes:
    """The guest: reads a script, makes its calls, and prints what it saw of each."""
    text = script_text(((0, b""),))
    start = "(local $back i32) (local $times i64)\n  (block $over (loop $next"
    if text.count(start) != 1:
        raise AssertionError("the guest of scripts has changed")
    return bytes(wasmtime.wat2wasm(text.replace(start, f"(local $back i32) (local $times i64) {_LOAD}")))


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a script."""

    execution: Execution
    seen: tuple[Seen, ...]  # of each call that returned
    rows: tuple[Row, ...]  # of the script's own calls

    @property
    def errnos(self) -> list[int]:
        """What each call gave."""
        return [each.errno for each in self.seen]

    @property
    def decisions(self) -> list[str]:
        """How each call was decided."""
        return [str(row["decision"]) for row in self.rows]

    @property
    def rules(self) -> list[str | None]:
        """By which rule."""
        return [None if row["rule_id"] is None else str(row["rule_id"]) for row in self.rows]


@dataclass(frozen=True, slots=True)
class Scene:
    """A mount, and what lies beside it."""

    top: Path
    mount: Path
    outside: Path

    @classmethod
    def made(cls, top: Path) -> Scene:
        """Make it: files and folders on both sides."""
        scene = cls(top, top / "mount", top / "outside")
        for folder in (scene.mount / "dir", scene.outside / "dir"):
            folder.mkdir(parents=True)
        (scene.mount / "file").write_bytes(b"file")
        (scene.mount / "dir/inner").write_bytes(b"inner")
        (scene.outside / "secret").write_bytes(SECRET)
        return scene

    def granting(self, access: str = ALL, *, more: str = "", deny: str = "", after: str = "") -> Plan:
        """The plan of a policy that grants this on the mount, as `/m`."""
        denied = f"    deny:\n{deny}" if deny else ""
        return policy(
            "permissions:\n  storage:\n    allow:\n"
            f'      - {{id: mine, uri: "fs://{self.mount}/**", mount: /m, access: [{access}]{more}}}\n'
            f"{denied}{STDIO}{after}"
        )


def tree(folder: Path) -> dict[str, tuple[str, bytes]]:
    """What is in a folder: each name with its kind and content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = ("link", os.fsencode(path.readlink()))
        elif path.is_dir():
            found[name] = ("folder", b"")
        else:
            found[name] = ("file", path.read_bytes())
    return found


def play(log: Log, plan: Plan, script: Script, **order: object) -> Played:
    """Run a script to its end, under a plan that has `STDIO`."""
    fd = make_readable("script", script.image())
    try:
        os.lseek(fd, 0, os.SEEK_SET)
        execution = log.run(interpreter(), plan, stdin_fd=fd, **order)
    finally:
        os.close(fd)
    rows = log.check(execution)
    first = next(
        number for number, row in enumerate(rows) if (row["call"], row["bytes_in"]) == (f"{P1}.fd_read", 0)
    )
    printed = execution.stdout
    seen = tuple(script.seen(printed))
    return Played(execution, seen, tuple(rows[first + 1 : first + 1 + len(script.calls)]))
