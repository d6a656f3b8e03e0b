"""The signer, a process of its own that holds the signing key, and the handle that others have of it.

What is signed, and what is refused, is `audit.tlog.signer`. Who appends leaves pokes the signer; it looks by
itself as well, at least once a second. INVARIANT: the key is in no process that runs a guest, answers HTTP
or seals; a signer that dies is started again, one whose parent dies ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from audit.errors import AuditError
from audit.store import Store
from audit.tlog.errors import KeyFileError
from audit.tlog.key_files import KeyFolder
from audit.tlog.log import TransparencyLog
from audit.tlog.receipt_notes import sign_receipts
from audit.tlog.signer import sign_head, signed_head

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.settings import Settings

T = TypeVar("T")

POLL_S = 1.0  # a head is signed this long after it changed, at most
_AGAIN_S = 1.0  # until a signer that died is started again
_END_S = 10.0  # until one that does not end is killed
_STOPPED = 1


@dataclass(frozen=True, slots=True)
class SignerStatus:
    """What the signer said last."""

    size: int | None = None  # leaves under the newest checkpoint; None: nothing is signed yet
    problem: str | None = None  # why it does not sign; None: it does


def open_signer(settings: Settings, *, on_problem: Callable[[str], None]) -> SignerProcess:
    """Start the signer of the log that the settings name, and make its first key if there is none.

    `on_problem` hears, in a thread of its own, of each new reason for which nothing is signed. Raises
    AuditError if a first key can't be made.
    """
    ensure_key(settings)
    return SignerProcess(settings.audit_dir, settings.audit_keys_dir, on_problem=on_problem)


def ensure_key(settings: Settings) -> None:
    """Make the first key of a log that was never signed; raises AuditError.

    A log that was signed, and whose key is gone, gets none: the signer says so.
    """
    keys = KeyFolder(settings.audit_keys_dir)
    if keys.has_key():
        keys.load()
        return
    if (settings.audit_dir / "tlog" / "checkpoint").exists():
        return
    # another process may be quicker
    with contextlib.suppress(KeyFileError):
        keys.create(settings.audit_origin)
    keys.load()


def sign_once(settings: Settings) -> SignerStatus:
    """Sign the head as it is now, in a process that ends afterwards; raises AuditError as `open_signer`."""
    ensure_key(settings)
    command = _command(settings.audit_dir, settings.audit_keys_dir, "--once")
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd="/", env=_environment(), check=False
    )
    lines = done.stdout.splitlines()
    return _status(lines[-1]) if lines else SignerStatus(None, f"the signer ended with {done.returncode}")


class SignerProcess:
    """The signer of one log; thread-safe."""

    def __init__(
        self, audit_dir: Path, keys_dir: Path, *, on_problem: Callable[[str], None] = lambda _problem: None
    ) -> None:
        """Start it; the keys are its own matter, and their faults are problems, not errors."""
        self._command = _command(audit_dir, keys_dir)
        self._on_problem = on_problem
        self._status = SignerStatus()
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._process = self._start()
        self._thread = threading.Thread(target=self._follow, name="wasmgate-signer", daemon=True)
        self._thread.start()

    @property
    def status(self) -> SignerStatus:
        """What it said last."""
        return self._status

    @property
    def pid(self) -> int:
        """The process that signs now."""
        return self._process.pid

    def poke(self) -> None:
        """Say that the head may have changed; returns at once, and never fails."""
        self._poke(self._process)

    def wait(self, size: int, *, timeout_s: float) -> SignerStatus:
        """Return when `size` leaves or more are signed, when there is a problem, or when time is up."""
        with self._changed:
            self._changed.wait_for(
                lambda: (self._status.size or -1) >= size or self._status.problem is not None, timeout_s
            )
            return self._status

    def close(self) -> None:
        """Let it sign what is left, and end; a second call does nothing."""
        self._closing.set()
        process = self._process
        with contextlib.suppress(OSError):
            _pipe(process.stdin).close()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
        self._thread.join()

    @staticmethod
    def _poke(process: subprocess.Popen[bytes]) -> None:
        # a pipe that is full has pokes enough; one that is broken or closed has no signer behind it
        with contextlib.suppress(OSError, ValueError):
            os.write(_pipe(process.stdin).fileno(), b"\n")

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            cwd="/",
            env=_environment(),
            start_new_session=True,
        )
        os.set_blocking(_pipe(process.stdin).fileno(), False)
        return process

    def _follow(self) -> None:
        while True:
            process = self._process
            with _pipe(process.stdout) as lines:
                for line in lines:
                    self._hear(_status(line))
            ended = process.wait()
            with contextlib.suppress(OSError):
                _pipe(process.stdin).close()
            if self._closing.is_set():
                return
            self._hear(SignerStatus(self._status.size, f"the signer ended with {ended}; it is started again"))
            if self._closing.wait(_AGAIN_S):
                return
            self._process = self._start()
            if self._closing.is_set():  # `close` may have seen the process before
                _pipe(self._process.stdin).close()

    def _hear(self, status: SignerStatus) -> None:
        with self._changed:
            is_new = status.problem is not None and status.problem != self._status.problem
            self._status = status
            self._changed.notify_all()
        if is_new:
            self._on_problem(str(status.problem))


def _pipe(pipe: T | None) -> T:
    if pipe is None:
        raise TypeError("a process without pipes")
    return pipe


def _command(audit_dir: Path, keys_dir: Path, *options: str) -> list[str]:
    return [sys.executable, "-P", "-m", "api.signing", str(audit_dir), str(keys_dir), *options]


def _environment() -> dict[str, str]:
    # as the cells, it gets nothing of ours
    return {"PYTHONPATH": str(Path(__file__).resolve().parent.parent), "LC_ALL": "C.UTF-8"}


def _status(line: bytes) -> SignerStatus:
    try:
        said = cast("dict[str, object]", json.loads(line))
        size, problem = said["size"], said["problem"]
    except (ValueError, KeyError, TypeError):
        return SignerStatus(None, "the signer said something that is no status")
    return SignerStatus(
        size if isinstance(size, int) else None, problem if isinstance(problem, str) else None
    )


# --- the process itself -----------------------------------------------------------------------


class _Signer:
    """Signs what there is to sign, and says what came of it."""

    def __init__(self, audit_dir: Path, keys_dir: Path) -> None:
        self._log = TransparencyLog(audit_dir / "tlog")
        self._receipts = Store(audit_dir).receipts
        self._keys = KeyFolder(keys_dir)
        self._size: int | None = None
        self._said: SignerStatus | None = None

    def sign(self) -> SignerStatus:
        """Sign the head, and the receipts under it."""
        problem = None
        try:
            sign_head(self._log, self._keys)
            signed = signed_head(self._log, self._keys)
            self._size = signed.size if signed else None
            sign_receipts(self._log, self._keys, size=self._size or 0, receipts=self._receipts)
        except (AuditError, OSError) as err:
            problem = str(err)
        return SignerStatus(self._size, problem)

    def say(self, status: SignerStatus) -> None:
        """Write the status if it is news."""
        if status != self._said:
            line = json.dumps({"size": status.size, "problem": status.problem})
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
            self._said = status


def _wait(parent: int) -> bool:
    """Wait for a poke or for the time to look; False when there is nobody left to sign for."""
    ready, _, _ = select.select([0], [], [], POLL_S)
    is_over = bool(ready) and not os.read(0, 4096)
    # a fork of the parent may hold the pipe open longer than the parent lives
    return not is_over and os.getppid() == parent


def main(arguments: list[str]) -> int:
    """Sign once, or until the parent is gone; gives the exit status."""
    audit_dir, keys_dir, *options = arguments
    parent = os.getppid()
    signer = _Signer(Path(audit_dir), Path(keys_dir))
    with contextlib.suppress(BrokenPipeError):
        while True:
            status = signer.sign()
            signer.say(status)
            if options == ["--once"]:
                return _STOPPED if status.problem else 0
            if not _wait(parent):
                signer.sign()
                return 0
    return _STOPPED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
