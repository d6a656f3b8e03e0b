"""Native code in a cell tries to outlive its run, or the service: by processes, threads, timers, or by not hearing.

What has a name and could be found by the next run is `test_native_state.py`.
"""

from __future__ import annotations

import _thread
import contextlib
import ctypes
import os
import platform
import resource
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from policy.plan import Plan
from sandbox.guest import EndKind
from sandbox.outcome import CANCELLED
from tests.escape.native import LIBC, UNCONFINED, WHOLE, call, children, is_alive, wait_for_cell, wait_until
from tests.escape.test_native_control import end, say
from tests.runs import exited, limit, mount_rule, policy

ROOT = Path(__file__).resolve().parents[2]
X86 = platform.machine() == "x86_64"
CLONE, EXIT = (56, 60) if X86 else (220, 93)
SHORT = "resources: {limits: {timeout: 300ms, cpu: unlimited}}\n"
EVERY_SIGNAL = sorted(signal.valid_signals())


def short(head: str = WHOLE) -> Plan:
    return policy(head + SHORT)


def deafen() -> None:
    """Hear no signal that can be kept from being heard."""
    signal.pthread_sigmask(signal.SIG_BLOCK, EVERY_SIGNAL)


# --- processes --------------------------------------------------------------------------------------------

VM, VFORK, PARENT, UNTRACED, NEWPID = 0x100, 0x4000, 0x8000, 0x80_0000, 0x2000_0000
FLAGS = {
    "a child": signal.SIGCHLD,
    "a child that nobody hears of": 0,
    "a child in the same memory": VM | VFORK | signal.SIGCHLD,
    "a brother": PARENT | signal.SIGCHLD,
    "a child that cannot be traced": UNTRACED | signal.SIGCHLD,
    "the first of its own": NEWPID | signal.SIGCHLD,
}


def clone(flags: str) -> str:
    return call(CLONE, ctypes.c_ulong(int(flags)), None, None, None, None)


@pytest.mark.parametrize("what", FLAGS)
def test_no_process_is_made_by_any_flags(what, lab):
    attempt = lab.attempt(clone, int(FLAGS[what]))
    assert attempt.is_killed
    wait_until(lambda: not children(lab.zygote))


def daemon() -> str:
    """Leave a process behind that belongs to nobody and holds the standard output; gives its number."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        os.setsid()
        if (grandchild := os.fork()) == 0:
            time.sleep(60)
            os._exit(0)
        os.write(writer, str(grandchild).encode())
        os._exit(0)
    os.waitpid(child, 0)
    return os.read(reader, 32).decode()


def test_a_process_that_is_not_confined_leaves_one_and_its_run_ends_all_the_same(lab):
    confined, bare = lab.both(daemon)
    assert confined.is_killed
    left = int(bare.said)
    assert is_alive(left)
    assert bare.execution.receipt.outcome == exited()
    os.kill(left, signal.SIGKILL)


# --- threads, and ends that are none ----------------------------------------------------------------------


def leader_exits() -> str:
    """End the first thread only."""
    os.write(1, str(os.getpid()).encode())
    _thread.start_new_thread(time.sleep, (60,))
    return call(EXIT, 0)


def end_and_go_on() -> str:
    """Say that the guest is over, and do not end."""
    os.write(1, str(os.getpid()).encode())
    say(end(EndKind.RETURNED))
    deafen()
    while True:
        time.sleep(1)


def hear_nothing() -> str:
    os.write(1, str(os.getpid()).encode())
    deafen()
    for number in EVERY_SIGNAL:
        with contextlib.suppress(OSError):
            signal.signal(number, signal.SIG_IGN)
    while True:
        time.sleep(1)


@pytest.mark.parametrize("attack", [leader_exits, hear_nothing])
def test_a_cell_that_does_not_want_to_end_is_ended(attack, lab):
    attempt = lab.attempt(attack, plan=short())
    assert attempt.execution.receipt.outcome == limit("timeout")
    assert not is_alive(int(attempt.said))


def test_a_cell_that_says_it_is_over_and_goes_on_is_ended(lab):
    attempt = lab.attempt(end_and_go_on, plan=short())
    assert attempt.execution.receipt.outcome == exited()
    wait_until(lambda: not is_alive(int(attempt.said)))


TIMERS = {
    "alarm": (37, 0, 60),
    "setitimer": (38, 103, 0, None, None),
    "timer_create": (222, 107, 1, None, None),
    "timerfd_create": (283, 85, 1, 0),
}


def set_timer(name: str) -> str:
    numbers = TIMERS[name]
    return call(numbers[0 if X86 else 1] or 0, *numbers[2:])


@pytest.mark.parametrize("name", [name for name, row in TIMERS.items() if row[0 if X86 else 1]])
def test_no_timer_is_set_or_taken_back(name, lab):
    assert lab.attempt(set_timer, name).is_killed
    assert lab.attempt(set_timer, name, plan=policy(UNCONFINED)).said != ""


# --- files of the run -------------------------------------------------------------------------------------

SCRATCH = (
    "permissions:\n  extra_args: true\n  storage:\n    allow:\n"
    '      - {id: scratch, uri: "tmp://work", mount: /w, access: [read, list, create, write, delete, symlink]}\n'
)


def litter(outside: str) -> str:
    """Make in each directory that it holds what is hard to take away."""
    made = 0
    for number in range(3, 64):
        with contextlib.suppress(OSError):
            if not stat.S_ISDIR(os.fstat(number).st_mode):
                continue
            at = number
            for depth in range(200):
                os.mkdir("deep", dir_fd=at)
                os.symlink(outside, f"link{depth}", dir_fd=at)
                at = os.open("deep", os.O_RDONLY | os.O_DIRECTORY, dir_fd=at) if depth < 40 else at
                made += 1
                if depth >= 40:
                    break
            os.mkdir("shut", mode=0, dir_fd=number)
            os.close(os.open(b"\xff\n\x1b[2J", os.O_CREAT | os.O_WRONLY, 0, dir_fd=number))
            made += 2
    return str(made)


def test_scratch_goes_with_the_run_and_nothing_that_its_links_lead_to(lab, tmp_path):
    (tmp_path / "kept").write_bytes(b"kept")
    attempt = lab.attempt(litter, tmp_path, plan=policy(SCRATCH))
    assert int(attempt.said) > 40
    assert list((lab.log.root.parent / "scratch").glob("*-*")) == []
    assert (tmp_path / "kept").read_bytes() == b"kept"
    folder = tmp_path / "mount"
    folder.mkdir()
    plan = policy(mount_rule(folder, "read, list, create, write, symlink") + "  extra_args: true\n")
    assert int(lab.attempt(litter, tmp_path, plan=plan).said) > 40
    assert (folder / "deep").is_dir()  # in a mount of the host it stays


# --- the service is gone ----------------------------------------------------------------------------------

SERVICE = """
import os, sys, threading
from pathlib import Path
from sandbox.cache import ArtifactCache
from sandbox.order import Order
from tests.escape.native import WHOLE, opened
from tests.runs import HELLO, policy
root, cache, module, *attacks = sys.argv[1:]
with opened(Path(root), ArtifactCache(Path(cache))) as lab:
    lab.log.runner.warm()
    print(lab.log.runner._cells._zygote.process.pid, flush=True)
    plan = policy(WHOLE + "resources: {limits: {timeout: 60s, cpu: 60s}}")
    def run(attack):
        lab.log.runner.run(Order(plan=plan, module=HELLO, module_name="guest.wasm", extra_args=(module, attack),
                                 on_stdout=lambda chunk: os.write(1, chunk)))
        os.write(1, f"{attack} 0\\n".encode())
    threads = [threading.Thread(target=run, args=(attack,)) for attack in attacks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def _stay(name: str) -> str:
    os.write(1, f"{name} {os.getpid()}\n".encode())
    deafen()
    while True:
        time.sleep(1)


def stay() -> str:
    return _stay("stay")


def slip_the_leash() -> str:
    """Close all that tells of the service's end, and stay."""
    for number in range(3, 64):
        with contextlib.suppress(OSError):
            os.close(number)
    return _stay("slip_the_leash")


def loosen_the_leash() -> str:
    """Ask for no more signals about any descriptor, and stay."""
    for number in range(3, 64):
        LIBC.fcntl(number, F_SETFL, 0)
    return _stay("loosen_the_leash")


STAYING = ("stay", "slip_the_leash", "loosen_the_leash")
F_SETFL = 4


def left_of(root: Path, cache_root: Path, *, zygote_too: bool) -> list[str]:
    """Kill a service in which attacks go on, and its zygote or not; gives those that go on all the same."""
    words = [sys.executable, "-c", SERVICE, str(root), str(cache_root), __name__, *STAYING]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        zygote = int(service.stdout.readline())
        # a cell that is ended for its attack is none that is left
        said = [service.stdout.readline().split() for _ in STAYING]
        cells = {name: int(pid) for name, pid in said}
        assert set(cells) == set(STAYING)
        assert is_alive(cells["stay"])
        if zygote_too:
            os.kill(zygote, signal.SIGKILL)
            assert is_alive(cells["stay"])
        service.kill()
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not any(map(is_alive, cells.values())), 1)
        left = [name for name, pid in cells.items() if is_alive(pid)]
        for name in left:
            os.kill(cells[name], signal.SIGKILL)
    return left


def test_cells_end_with_the_service(tmp_path, cache_root):
    assert left_of(tmp_path, cache_root, zygote_too=False) == []


@pytest.fixture(scope="module")
def left_without_anybody(tmp_path_factory, cache_root) -> list[str]:
    return left_of(tmp_path_factory.mktemp("service"), cache_root, zygote_too=True)


def test_a_cell_ends_with_the_service_also_when_nobody_but_the_kernel_is_left(left_without_anybody):
    assert "stay" not in left_without_anybody


@pytest.mark.parametrize("attack", ["slip_the_leash", "loosen_the_leash"])
def test_a_cell_does_not_get_rid_of_what_ends_it(attack, left_without_anybody):
    assert attack not in left_without_anybody


# --- processor time ---------------------------------------------------------------------------------------


def spin_and_hear_nothing() -> str:
    deafen()
    while True:
        pass


def test_the_kernels_last_limit_of_processor_time_is_one_that_cannot_be_put_off(lab):
    plan = policy(WHOLE + "resources: {limits: {timeout: 20s, cpu: 10s}}\n")
    wait_until(lambda: not children(lab.zygote))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lab.attempt, spin_and_hear_nothing, plan=plan)
        _, hard = resource.prlimit(wait_for_cell(lab.zygote), resource.RLIMIT_CPU)
        lab.log.runner.cancel(lab.log.runner.running[0])
        assert running.result().execution.receipt.outcome.message == CANCELLED
    # at the soft limit the kernel sends a signal that can be blocked, at the hard one SIGKILL
    assert hard != resource.RLIM_INFINITY


@pytest.mark.slow
def test_processor_time_ends_also_for_who_hears_no_signal(lab):
    plan = policy(WHOLE + "resources: {limits: {timeout: 15s, cpu: 100ms}}\n")
    receipt = lab.attempt(spin_and_hear_nothing, plan=plan).execution.receipt
    assert receipt.outcome == limit("cpu")
    assert receipt.resources.wall_ms < 15_000
