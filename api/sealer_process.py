"""Sealing in a process of its own, and the handle that the service has of it.

What sealing does is `audit.recovery`; who asks for it, and when, is `sealing.py`. The process reads a line,
seals, and answers in one line of JSON what it did. INVARIANT: an answer is about the request before it; a
process that dies is started again, not sooner than its back-off says, and one whose parent dies ends.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from audit.errors import AuditError
from audit.inert import inert

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from audit.sealer import Sealed

T = TypeVar("T")

ANSWER_S = 600.0  # a file of 64 MB takes about two seconds; a process that says nothing for so long is stuck
_END_S = 10.0  # until one that does not end is killed
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 30.0


class SealingError(AuditError):
    """What is recorded could not be sealed; nothing is lost, and it is tried again."""

    def __init__(self, problem: str) -> None:
        """Say what the process said, or what became of it."""
        super().__init__(f"the audit log could not be sealed: {inert(problem)}")
        self.problem = problem


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedFile:
    """What became of one log file, as far as it is told."""

    wal: str
    rows: int
    segments: int
    receipts: int
    killed: int
    entries: int  # that were appended to the transparency log
    lost_bytes: int
    problem: str | None

    @staticmethod
    def of(sealed: Sealed) -> SealedFile:
        """Give it of what the sealer says."""
        return SealedFile(
            wal=sealed.wal,
            rows=sealed.rows,
            segments=len(sealed.segments),
            receipts=len(sealed.receipts),
            killed=len(sealed.killed),
            entries=sealed.entries,
            lost_bytes=sealed.lost_bytes,
            problem=None if sealed.problem is None else str(sealed.problem),
        )

    @property
    def sentence(self) -> str | None:
        """What an operator should hear of it; None if all is well."""
        if self.problem != "corrupt":
            return None
        return (
            f"the log file {self.wal} is damaged: {self.rows} records were sealed, {self.lost_bytes} bytes"
            " could not be read and are kept beside it as .damaged"
        )


class SealerProcess:
    """The process that seals one log; for one thread at a time."""

    def __init__(
        self,
        root: Path,
        *,
        keys_dir: Path | None,
        clock: Callable[[], float] = time.monotonic,
        answer_s: float = ANSWER_S,
    ) -> None:
        """Start nothing yet: the first request does."""
        keys = [] if keys_dir is None else [str(keys_dir)]
        self._command = [sys.executable, "-P", "-m", "api.sealer_process", str(root), *keys]
        self._clock, self._answer_s = clock, answer_s
        self._process: subprocess.Popen[bytes] | None = None
        self._wait_s, self._not_before = 0.0, 0.0

    @property
    def pid(self) -> int | None:
        """The process that runs now; None if none does."""
        process = self._process
        return None if process is None or process.poll() is not None else process.pid

    def seal(self) -> tuple[SealedFile, ...]:
        """Have all that is over sealed; raises SealingError.

        A process that is not there, or dies, is started again once; if that one dies too, the next request
        fails at once until the back-off is over.
        """
        if self._clock() < self._not_before:
            raise SealingError("its process ended more than once, and is not started again yet")
        for _ in range(2):
            answer = self._ask()
            if answer is not None:
                self._wait_s = 0.0
                return _read(answer)
        self._wait_s = min(max(self._wait_s * 2, _FIRST_WAIT_S), _LONGEST_WAIT_S)
        self._not_before = self._clock() + self._wait_s
        raise SealingError("its process ended without an answer")

    def close(self) -> None:
        """Let it end what it does, and end; a second call does nothing."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            _pipe(process.stdin).close()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _pipe(process.stdout).close()

    def _ask(self) -> bytes | None:
        """Give the answer to one request; None if the process died over it."""
        process = self._process
        if process is None or process.poll() is not None:
            self.close()
            process = self._process = self._start()
        try:
            os.write(_pipe(process.stdin).fileno(), b"\n")
            return self._line(_pipe(process.stdout).fileno())
        except OSError:  # nobody reads: it died, which may be known to the pipe before it is to us
            process.kill()
            process.wait(_END_S)
            return None
        finally:
            if process.poll() is not None:
                self.close()

    def _line(self, handle: int) -> bytes | None:
        line, end = b"", self._clock() + self._answer_s
        while not line.endswith(b"\n"):
            if not select.select([handle], [], [], max(end - self._clock(), 0.0))[0]:
                _pipe(self._process).kill()
                _pipe(self._process).wait(_END_S)
                return None
            some = os.read(handle, 1 << 16)
            if not some:
                _pipe(self._process).wait(_END_S)
                return None
            line += some
        return line

    def _start(self) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                cwd="/",
                # as the cells, it gets nothing of ours
                env={"PYTHONPATH": str(Path(__file__).resolve().parent.parent), "LC_ALL": "C.UTF-8"},
                start_new_session=True,
            )
        except OSError as err:
            raise SealingError(f"its process can't be started: {err.strerror}") from err


def _pipe(found: T | None) -> T:
    if found is None:
        raise TypeError("a process without pipes")
    return found


def _read(answer: bytes) -> tuple[SealedFile, ...]:
    try:
        said = cast("dict[str, object]", json.loads(answer))
        failure = said["failure"]
        files = cast("Sequence[dict[str, object]]", said["sealed"])
        sealed = tuple(SealedFile(**cast("dict[str, int]", one)) for one in files)  # type: ignore[arg-type]  # it is our own line
    except (ValueError, KeyError, TypeError) as err:
        raise SealingError("its process said something that is no answer") from err
    if failure is not None:
        raise SealingError(str(failure))
    return sealed


# --- the process itself -----------------------------------------------------------------------


def _answer(root: Path, keys_dir: Path | None) -> dict[str, object]:
    from api.sealing import recovered

    try:
        sealed = recovered(root, keys_dir=keys_dir)
    except (AuditError, OSError) as err:
        return {"sealed": [], "failure": str(err)}
    return {"sealed": [asdict(SealedFile.of(one)) for one in sealed], "failure": None}


def _get_ready() -> None:
    """Import what sealing needs before it is asked for: the first file takes no longer than others."""
    from audit.columns import OPENED

    for name in ("audit.recovery", "sandbox.monitor.decode", "audit.masks"):
        importlib.import_module(name)
    OPENED.empty_table()  # the library under it imports more when it is used for the first time


def main(arguments: list[str]) -> int:
    """Seal at each line, until the parent is gone; gives the exit status."""
    root, *keys = arguments
    parent = os.getppid()
    _get_ready()
    # a fork of the parent may hold the pipe open longer than the parent lives
    while os.read(0, 4096) and os.getppid() == parent:
        line = json.dumps(_answer(Path(root), Path(keys[0]) if keys else None))
        try:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
        except BrokenPipeError:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
