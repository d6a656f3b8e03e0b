"""Native code in a cell tries to leave something for the next run, which looks for it everywhere.

Who looks is a cell that is a process and no more, so that it sees all there is. What such a cell leaves, the next
one finds: that the search is good is the twin of each test.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from sandbox.outcome import CANCELLED
from tests.escape.native import (
    LIBC,
    UNCONFINED,
    Lab,
    children,
    opened,
    tried,
    wait_for_cell,
    wait_for_spare,
    wait_until,
)
from tests.escape.test_native_ring import rings
from tests.runs import policy

MARK = "left-by-another-run"
NUMBER = 0x57_41_53_4D  # of queues and memory
PAGE = 4_096
OURS = 0o600
KEYS_OF_USER = -4  # SPEC: keyctl(2), KEY_SPEC_USER_KEYRING
ADD_KEY, KEYCTL = (248, 250) if os.uname().machine == "x86_64" else (217, 219)
SEARCH, UNLINK = 10, 9


def _made(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result


def _write(path: str) -> None:
    Path(path).write_text(MARK, encoding="ascii")


def _key() -> int:
    return _made(LIBC.syscall(KEYCTL, SEARCH, KEYS_OF_USER, b"user", MARK.encode(), 0))


LEAVE: dict[str, Callable[[], object]] = {
    "shared memory by name": lambda: _write(f"/dev/shm/{MARK}"),
    "a temporary file": lambda: _write(f"/tmp/{MARK}"),
    "a message queue by name": lambda: _made(
        LIBC.mq_open(f"/{MARK}".encode(), os.O_RDWR | os.O_CREAT, OURS, None)
    ),
    "shared memory by number": lambda: _made(LIBC.shmget(NUMBER, PAGE, 0o1000 | OURS)),
    "a message queue by number": lambda: _made(LIBC.msgget(NUMBER, 0o1000 | OURS)),
    "semaphores by number": lambda: _made(LIBC.semget(NUMBER, 1, 0o1000 | OURS)),
    "a key": lambda: _made(LIBC.syscall(ADD_KEY, b"user", MARK.encode(), b"x", 1, KEYS_OF_USER)),
}
FIND: dict[str, Callable[[], object]] = {
    "shared memory by name": lambda: Path(f"/dev/shm/{MARK}").unlink(),
    "a temporary file": lambda: Path(f"/tmp/{MARK}").unlink(),
    "a message queue by name": lambda: _made(LIBC.mq_unlink(f"/{MARK}".encode())),
    "shared memory by number": lambda: _made(LIBC.shmctl(_made(LIBC.shmget(NUMBER, 0, 0)), 0, None)),
    "a message queue by number": lambda: _made(LIBC.msgctl(_made(LIBC.msgget(NUMBER, 0)), 0, None)),
    "semaphores by number": lambda: _made(LIBC.semctl(_made(LIBC.semget(NUMBER, 0, 0)), 0, 0)),
    "a key": lambda: _made(LIBC.syscall(KEYCTL, UNLINK, _key(), KEYS_OF_USER)),
}
"""What finds a thing takes it away as well, so that no test sees that of another."""


def leave(what: str) -> str:
    return tried(LEAVE[what])


def leave_all() -> str:
    return ", ".join(what for what in LEAVE if tried(LEAVE[what]).startswith("done"))


def find_all() -> str:
    return ", ".join(what for what in FIND if tried(FIND[what]).startswith("done"))


@pytest.mark.parametrize("what", LEAVE)
def test_nothing_with_a_name_is_left_for_the_next_run(what, lab):
    attempt = lab.attempt(leave, what)
    assert attempt.is_killed or attempt.said == "EACCES"
    assert lab.attempt(find_all, plan=policy(UNCONFINED)).said == ""


def test_what_a_process_that_is_not_confined_leaves_is_found(lab):
    plan = policy(UNCONFINED)
    left = lab.attempt(leave_all, plan=plan).said
    assert "shared memory by name, a temporary file" in left
    assert lab.attempt(find_all, plan=plan).said == left
    assert lab.attempt(find_all, plan=plan).said == ""


# --- what has no name: the process itself -----------------------------------------------------------------

_left: list[str] = []
_hold: list[int] = []


def _signals() -> str:
    odd = [number for number in signal.valid_signals() if signal.getsignal(number) == _ignore]
    return f"{sorted(odd)} {sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))}"


def _ignore(number: int, frame: object) -> None: ...


def _descriptors() -> str:
    return " ".join(str(number) for number in range(1_024) if tried(partial(os.fstat, number)) != "EBADF")


def look() -> str:
    """All that a cell knows of itself and that an earlier one could have changed."""
    found = (
        _left,
        sorted(os.environ),
        sys.argv[0],
        _signals(),
        _descriptors(),
        fcntl.fcntl(0, fcntl.F_GETFL),
        os.lseek(0, 0, os.SEEK_CUR),
        os.get_blocking(1),
    )
    return repr(found)


def spoil() -> str:
    """Change it all, and look again."""
    _left.append(MARK)
    os.environ["LEFT"] = MARK
    sys.argv[0] = MARK
    signal.signal(signal.SIGUSR1, _ignore)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGTERM})
    _hold.extend(os.dup(1) for _ in range(20))
    fcntl.fcntl(0, fcntl.F_SETFL, os.O_NONBLOCK)
    os.set_blocking(1, False)
    return look()


@pytest.fixture(scope="module", params=[0, 4], ids=["forked when asked for", "forked before"])
def runs(request, tmp_path_factory, cache) -> Iterator[Lab]:
    with opened(tmp_path_factory.mktemp("runs"), cache, spare_cells=request.param) as made:
        yield made


def test_a_run_finds_the_process_as_each_run_does(runs):
    first = runs.attempt(look).said
    spoilt = []
    for _ in range(2):
        wait_for_spare(runs.log.runner)
        spoilt.append(runs.attempt(spoil).said)
        wait_for_spare(runs.log.runner)
        assert runs.attempt(look).said == first
    # and within the run, what was changed is seen
    assert spoilt[0] == spoilt[1] != first
    assert MARK in spoilt[0]


def test_a_cell_is_used_once(runs):
    pids = []
    for _ in range(4):
        pids.append(runs.attempt(own_pid).said)
        wait_for_spare(runs.log.runner)
    assert len(set(pids)) == 4


def own_pid() -> str:
    return str(os.getpid())


# --- a run that goes on beside ----------------------------------------------------------------------------

OF_OTHERS = (
    "environ",
    "mem",
    "maps",
    "cmdline",
    "status",
    "fd/0",
    "fd/1",
    "cwd/etc/passwd",
    "root/etc/passwd",
)


def spin() -> str:
    while True:
        pass


def read_of(pid: str) -> str:
    return " ".join(tried(partial(os.open, f"/proc/{pid}/{name}", os.O_RDONLY)) for name in OF_OTHERS)


def count_rings() -> str:
    return str(len(rings()))


def test_a_run_reads_nothing_of_another_that_goes_on_beside_it(lab):
    runner = lab.log.runner
    wait_until(lambda: not children(lab.zygote))
    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(lab.attempt, spin)
        pid = wait_for_cell(lab.zygote)
        (other,) = runner.running
        confined, bare = lab.both(read_of, pid)
        assert lab.attempt(count_rings).said == "1"
        assert runner.cancel(other)
        assert beside.result().execution.receipt.outcome.message == CANCELLED
    assert set(confined.said.split()) == {"EACCES"}
    assert "done" in bare.said
