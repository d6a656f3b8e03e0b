"""The followers of a log in a process of their own, and the handle that the service has of it.

What a follower does is `audit/followers/`. The process has a thread for each follower, reads what is sealed
and signed, and tells of itself only in the files of their states. INVARIANT: nothing that runs, records,
seals or signs ever waits for a follower; a process that dies is started again, and one whose parent dies
ends.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from api.log_status import FollowerStatus
from audit.errors import AuditError
from audit.followers.build import Surroundings, check_works, work_of
from audit.followers.config import FollowerConfig, read_followers
from audit.followers.errors import BusyFollowerError, FollowersFileError
from audit.followers.follower import Follower, Step
from audit.followers.state import StateFile
from audit.tlog.errors import DamageError
from audit.tlog.log import TransparencyLog
from audit.tlog.tile_files import read_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from api.settings import Settings

POLL_S = 1.0  # what is sealed or signed is sent this long after, at most
_AGAIN_S = 5.0  # until a process that died is started again
_LAST_S = 1.0  # for what is being sent at the end
_END_S = 2.0  # until one that does not end is killed: what it sends now, it sends again
_FILE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Followers:
    """The followers of one log."""

    configs: tuple[FollowerConfig, ...]
    around: Surroundings

    @staticmethod
    def of(settings: Settings) -> Followers:
        """Read the file of followers; none if there is no file. Raises FollowersFileError."""
        return Followers.read(file_of(settings), Surroundings(settings.audit_dir, folder_of(settings)))

    @staticmethod
    def read(file: Path, around: Surroundings) -> Followers:
        """Read a file of followers; none if there is no file. Raises FollowersFileError."""
        try:
            content = read_file(file, most=_FILE_BYTES)
        except FileNotFoundError:
            return Followers((), around)
        except DamageError:
            raise FollowersFileError((f"{file}: expected a regular file of at most 1 MiB",)) from None
        return Followers(read_followers(content), around)

    def check(self) -> None:
        """Look whether every follower could be made; raises FollowersFileError."""
        check_works(self.configs, self.around)

    def state_file(self, config: FollowerConfig) -> StateFile:
        """Where it is kept how far a follower is."""
        return StateFile(self.around.state_dir, config.name)

    def follower(self, config: FollowerConfig) -> Follower:
        """Make a follower; raises FollowersFileError. The caller holds its state."""
        return Follower(work_of(config, self.around), self.state_file(config))

    def statuses(self) -> tuple[FollowerStatus, ...]:
        """Say how each of them is doing; nothing is sent, and no sink is asked."""
        try:
            size = TransparencyLog(self.around.audit_dir / "tlog").size
        except AuditError:
            size = 0
        found = []
        for config in self.configs:
            state = self.state_file(config).load()
            problem = state.problem
            if problem is None and state.rejected:
                problem = f"{state.rejected} records were taken and not kept"
            found.append(FollowerStatus(config.name, max(size - state.leaf, 0), problem))
        return tuple(found)


def file_of(settings: Settings) -> Path:
    """The file that names the followers."""
    return settings.home / "followers.toml"


def folder_of(settings: Settings) -> Path:
    """The folder in which it is kept how far each one is."""
    return settings.home / "followers"


def follower_statuses(settings: Settings) -> tuple[FollowerStatus, ...]:
    """Say how the followers are doing; a file that is wrong is told of as one that does not follow."""
    try:
        return Followers.of(settings).statuses()
    except FollowersFileError as err:
        return (FollowerStatus(file_of(settings).name, 0, str(err).replace("\n", "; ")),)


def follow_once(followers: Followers, config: FollowerConfig) -> tuple[FollowerStatus, int]:
    """Let one follower send all that there is; gives how it is doing then, and how many steps it sent.

    Stops at the first failure. Raises FollowersFileError, BusyFollowerError and WriteError.
    """
    file, sent = followers.state_file(config), 0
    with file.held():
        follower = followers.follower(config)
        while follower.step() is Step.SENT:
            sent += 1
        size = TransparencyLog(followers.around.audit_dir / "tlog").size
        state = follower.state
    return FollowerStatus(config.name, max(size - state.leaf, 0), state.problem), sent


def open_followers(settings: Settings, *, on_problem: Callable[[str], None]) -> FollowersProcess | None:
    """Start the followers of the log that the settings name; None if there are none.

    `on_problem` hears of a file that is wrong: then nothing follows, and everything else goes on.
    """
    try:
        followers = Followers.of(settings)
        followers.check()
    except FollowersFileError as err:
        on_problem(f"nothing follows the audit log: {err}")
        return None
    if not followers.configs:
        return None
    return FollowersProcess(file_of(settings), followers.around)


@contextlib.contextmanager
def followed(settings: Settings, *, on_problem: Callable[[str], None]) -> Iterator[None]:
    """Have the log followed while this goes on; see `open_followers`."""
    process = open_followers(settings, on_problem=on_problem)
    try:
        yield
    finally:
        if process is not None:
            process.close()


class FollowersProcess:
    """The process of the followers; nothing waits for it but `close`, and that not for long."""

    def __init__(self, file: Path, around: Surroundings, *, again_s: float = _AGAIN_S) -> None:
        """Start it; after its death it is started again `again_s` seconds later."""
        self._again_s = again_s
        folders = (str(file), str(around.audit_dir), str(around.state_dir))
        self._command = [sys.executable, "-P", "-m", "api.followers", *folders]
        self._closing = threading.Event()
        self._process = self._start()
        self._thread = threading.Thread(target=self._watch, name="wasmgate-followers", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        """The process that follows now."""
        return self._process.pid

    def close(self) -> None:
        """End it, within seconds; what it had not sent is sent when it is started again."""
        self._closing.set()
        self._end(self._process)
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self._process.wait()
            self._drop_pipe(self._process)
            if self._closing.wait(self._again_s):
                return
            self._process = self._start()
            if self._closing.is_set():  # `close` may have seen the process before
                self._end(self._process)

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            bufsize=0,
            cwd="/",
            # as the cells, it gets nothing of ours
            env={"PYTHONPATH": str(Path(__file__).resolve().parent.parent), "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )

    @staticmethod
    def _drop_pipe(process: subprocess.Popen[bytes]) -> None:
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        self._drop_pipe(process)
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# --- the process itself -----------------------------------------------------------------------


def _follow(followers: Followers, config: FollowerConfig, closing: threading.Event) -> None:
    """Follow until the end; waits while another process does."""
    file = followers.state_file(config)
    while not closing.is_set():
        with contextlib.suppress(BusyFollowerError, OSError, AuditError), file.held():
            _go_on(followers, config, closing)
        closing.wait(POLL_S)


def _go_on(followers: Followers, config: FollowerConfig, closing: threading.Event) -> None:
    try:
        follower = followers.follower(config)
    except FollowersFileError as err:  # a file that it names has gone since the start
        file = followers.state_file(config)
        file.save(replace(file.load(), problem=str(err)))
        closing.wait(_AGAIN_S)
        return
    while not closing.is_set():
        match follower.step():
            case Step.SENT:
                continue
            case Step.IDLE:
                closing.wait(POLL_S)
            case Step.FAILED:
                closing.wait(follower.wait_s)


def main(arguments: list[str]) -> int:
    """Follow until the parent is gone; gives the exit status."""
    file, audit_dir, state_dir = (Path(each) for each in arguments)
    parent = os.getppid()
    try:
        followers = Followers.read(file, Surroundings(audit_dir, state_dir))
    except FollowersFileError:
        return 1
    closing = threading.Event()
    # daemons: one that hangs in a name server does not keep the process from ending
    threads = [
        threading.Thread(target=_follow, args=(followers, config, closing), name=config.name, daemon=True)
        for config in followers.configs
    ]
    for thread in threads:
        thread.start()
    _wait_for_end(parent)
    closing.set()
    # what is being acknowledged just now need not be sent again
    ends_at = time.monotonic() + _LAST_S
    for thread in threads:
        thread.join(max(ends_at - time.monotonic(), 0.0))
    return 0


def _wait_for_end(parent: int) -> None:
    import select

    # a fork of the parent may hold the pipe open longer than the parent lives
    while os.getppid() == parent:
        ready, _, _ = select.select([0], [], [], POLL_S)
        if ready and not os.read(0, 4096):
            return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
