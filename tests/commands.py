"""Runs the command line as a person does: in a process of its own, with a home of its own.

What it says and does is checked by `tests/integration/test_cli_*.py`. Guests are small and made of text here.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import click
import wasmtime
from click.testing import CliRunner

from api.cli import wasmgate

ROOT = Path(__file__).resolve().parents[1]
P1 = "wasi_snapshot_preview1"


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    status: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def said(self) -> str:
        return self.err.decode()

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True)
class Shell:
    """A folder to work in, and the state of wasmgate beside it."""

    folder: Path
    home: Path

    @property
    def log(self) -> Path:
        return self.folder / "audit"

    def start(
        self,
        *words: str | bytes | Path,
        environment: dict[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
        stdout: int | None = subprocess.PIPE,
        before: Callable[[], None] | None = None,
    ) -> subprocess.Popen[bytes]:
        """`before` is done in the new process, before it becomes wasmgate."""
        variables = {"WASMGATE_HOME": str(self.home), "PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
        return subprocess.Popen(
            [sys.executable, "-m", "api.cli", *words],
            cwd=self.folder,
            env=variables | (environment or {}),
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            preexec_fn=before,  # noqa: PLW1509  # closes a descriptor, nothing else
        )

    def __call__(
        self,
        *words: str | bytes | Path,
        environment: dict[str, str] | None = None,
        stdin: bytes | None = None,
        stdout: int | None = subprocess.PIPE,
    ) -> Done:
        source = subprocess.DEVNULL if stdin is None else subprocess.PIPE
        with self.start(*words, environment=environment, stdin=source, stdout=stdout) as process:
            out, err = process.communicate(stdin, timeout=90)
        return Done(process.returncode, out or b"", err or b"")

    def ask(self, *words: str | Path, environment: dict[str, str] | None = None) -> Done:
        """The same in this process, which is faster: for commands that run no guest."""
        variables = {"WASMGATE_HOME": str(self.home)} | (environment or {})
        with contextlib.chdir(self.folder):
            done = CliRunner().invoke(wasmgate, list(map(str, words)), env=variables, standalone_mode=False)
        if isinstance(done.exception, click.ClickException):
            return Done(done.exception.exit_code, done.stdout_bytes, done.exception.format_message().encode())
        if done.exception is not None:
            raise done.exception
        status = done.return_value if isinstance(done.return_value, int) else 0
        return Done(status, done.stdout_bytes, done.stderr_bytes)

    def run(
        self,
        guest: bytes,
        *words: str | bytes | Path,
        policy: str = "",
        name: str = "guest.wasm",
        stdin: bytes | None = None,
        stdout: int | None = subprocess.PIPE,
    ) -> Done:
        """`wasmgate run` with the log of this folder; words after `--` are the guest's."""
        options, split, args = _split(words)
        (self.folder / name).write_bytes(guest)
        where = ("--policy", self.policy(policy), "--audit-dir", self.log)
        return self("run", *where, *options, name, *split, *args, stdin=stdin, stdout=stdout)

    def policy(self, text: str = "") -> Path:
        path = self.folder / "policy.yaml"
        path.write_text(f"version: 1\nmetadata: {{name: test}}\n{text}")
        return path

    def receipt(self) -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads((self.folder / "receipt.json").read_text()))


def _split(words):
    words = list(words)
    if "--" not in words:
        return words, [], []
    at = words.index("--")
    return words[:at], ["--"], words[at + 1 :]


FUNCTIONS = {
    "proc_exit": "(param i32)",
    "fd_write": "(param i32 i32 i32 i32) (result i32)",
    "fd_read": "(param i32 i32 i32 i32) (result i32)",
    "path_open": "(param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)",
    "args_sizes_get": "(param i32 i32) (result i32)",
    "args_get": "(param i32 i32) (result i32)",
    "sock_send": "(param i32 i32 i32 i32 i32) (result i32)",
}


def literal(data: bytes) -> str:
    return "".join(f"\\{byte:02x}" for byte in data)


@functools.cache
def guest(body: str, data: bytes = b"", *, entry: str = "_start") -> bytes:
    """A module with one function; `data` lies at 1024."""
    imports = "\n".join(f'(import "{P1}" "{name}" (func ${name} {kind}))' for name, kind in FUNCTIONS.items())
    return bytes(
        wasmtime.wat2wasm(
            f'(module {imports} (memory (export "memory") 2) (data (i32.const 1024) "{literal(data)}")'
            f' (func (export "{entry}") {body}))'
        )
    )


def exiting(code: int) -> bytes:
    return guest(f"(call $proc_exit (i32.const {code}))")


def printing(data: bytes, *, fd: int = 1, then: str = "", entry: str = "_start") -> bytes:
    return guest(_write(fd, 1024, len(data)) + then, data, entry=entry)


def _write(fd: int, at: int, size: int) -> str:
    return (
        f"(i32.store (i32.const 0) (i32.const {at})) (i32.store (i32.const 4) (i32.const {size}))"
        f"(drop (call $fd_write (i32.const {fd}) (i32.const 0) (i32.const 1) (i32.const 8)))"
    )


def opening(*paths: bytes, then: str = "", rights: int = 2) -> bytes:
    """Tries to open each path below the first mount; `rights` are those of WASI, 2 to read and 64 to write."""
    body, at = "", 1024
    for path in paths:
        body += (
            f"(drop (call $path_open (i32.const 3) (i32.const 0) (i32.const {at}) (i32.const {len(path)})"
            f" (i32.const 0) (i64.const {rights}) (i64.const 0) (i32.const 0) (i32.const 16)))"
        )
        at += len(path)
    return guest(body + then, b"".join(paths))


SPINNING = "(loop (br 0))"
ECHOING = guest(
    "(drop (call $args_sizes_get (i32.const 16) (i32.const 20))) (drop (call $args_get (i32.const 2048) (i32.const 4096)))"
    "(i32.store (i32.const 0) (i32.const 4096)) (i32.store (i32.const 4) (i32.load (i32.const 20)))"
    "(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))"
)
CAT = guest(
    "(i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 512))"
    "(drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))"
    "(i32.store (i32.const 4) (i32.load (i32.const 8)))"
    "(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))"
)
