"""Native code in a cell against the terminal that its service was started in.

One service runs all attacks under a terminal of its own, one after the other, and tells what came of each on a pipe:
what stands on the terminal afterwards is what the attacks put there. With `stdin: caller` a cell holds the terminal.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import signal
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from sandbox.cache import ArtifactCache
from tests.escape.native import WHOLE, Lab, opened, tried
from tests.runs import policy

ROOT = Path(__file__).resolve().parents[2]
HERE = "tests.escape.test_native_terminal"
CALLER = "permissions: {extra_args: true, stdio: {stdin: caller}}\n"
OPEN_CALLER = CALLER + "runtime: {isolation: process}\n"
ESCAPE = b"\x1b]0;owned\x07"
TIOCSTI, TIOCLINUX, FIONBIO = 0x5412, 0x541C, 0x5421
CONTROLS = {
    "type": TIOCSTI,
    "take over": termios.TIOCSCTTY,
    "give up": termios.TIOCNOTTY,
    "bring to the front": termios.TIOCSPGRP,
    "set attributes": termios.TCSETS,
    "set attributes later": termios.TCSETSF,
    "set the size": termios.TIOCSWINSZ,
    "throw away": termios.TCFLSH,
    "stop": termios.TCXONC,
    "paste": TIOCLINUX,
    "shut others out": termios.TIOCEXCL,
}


def control(what: str) -> str:
    """A request about each descriptor that may be a terminal."""
    return " ".join(tried(partial(fcntl.ioctl, fd, CONTROLS[what], bytes(64))) for fd in (0, 1, 2))


def terminals() -> str:
    return " ".join(str(fd) for fd in range(64) if os.isatty(fd))


def open_terminal() -> str:
    paths = ("/dev/tty", "/dev/pts/0", "/dev/console", "/dev/ptmx", "/proc/self/fd/0")
    return " ".join(tried(partial(os.open, path, os.O_RDWR)) for path in paths)


def read_input() -> str:
    return os.read(0, 64).decode()


def write_to_input() -> str:
    return tried(lambda: os.write(0, ESCAPE))


def make_it_not_wait() -> str:
    """Leave the caller's terminal so that it does not wait for input."""
    return tried(lambda: fcntl.fcntl(0, fcntl.F_SETFL, os.O_RDWR | os.O_NONBLOCK))


def make_it_not_wait_by_ioctl() -> str:
    return tried(lambda: fcntl.ioctl(0, FIONBIO, b"\1\0\0\0"))


def make_it_signal() -> str:
    """Have the terminal signal whoever is in its foreground when there is input."""
    return tried(lambda: fcntl.fcntl(0, fcntl.F_SETFL, os.O_RDWR | os.O_ASYNC))


# --- the service, as a program -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Terminal:
    """A terminal that is this process's own, and its standard streams, and what a person at it does and sees."""

    person: int

    @classmethod
    def made(cls) -> Terminal:
        person, ours = os.openpty()
        tty.setraw(ours)
        fcntl.ioctl(ours, termios.TIOCSCTTY, 0)
        for number in range(3):
            os.dup2(ours, number)
        os.set_blocking(person, False)
        return cls(person)

    def seen(self) -> str:
        """What was put on it since the last look."""
        try:
            return os.read(self.person, 4_096).decode()
        except BlockingIOError:
            return ""

    def open_anew(self) -> None:
        """Have standard input be the same terminal, opened once more, of which nobody asked anything yet."""
        fd = os.open(os.ttyname(0), os.O_RDWR)
        os.dup2(fd, 0)
        os.close(fd)

    def state(self) -> str:
        """All that a program that is started in it next would find."""
        size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
        return repr((termios.tcgetattr(0), size, os.tcgetpgrp(0), fcntl.fcntl(0, fcntl.F_GETFL)))


def serve(lab: Lab, terminal: Terminal) -> dict[str, str]:
    """Run the attacks; gives what was found of each."""
    found: dict[str, str] = {}

    got: list[int] = []
    signal.signal(signal.SIGIO, lambda number, _: got.append(number))  # which ends who has no such line

    def hear() -> str:
        """Whether input on the terminal signals this process."""
        os.write(terminal.person, b"x")
        time.sleep(0.3)
        os.read(0, 1)
        return "sent" if got else "none"

    def attempt(label: str, attack: Callable[..., str], *args: str, head: str = CALLER) -> None:
        got.clear()
        before, flags = terminal.state(), fcntl.fcntl(0, fcntl.F_GETFL)
        named = getattr(importlib.import_module(HERE), attack.__name__)
        done = lab.attempt(named, *args, plan=policy(head), stdin_fd=0)
        found[label] = "killed" if done.is_killed else done.said
        found[f"{label}, seen"] = terminal.seen()
        found[f"{label}, state"] = "as it was" if terminal.state() == before else "changed"
        if attack is make_it_signal:
            found[f"{label}, signal"] = hear()
        fcntl.fcntl(0, fcntl.F_SETFL, flags)

    os.write(terminal.person, b"typed")
    attempt("read without a grant", read_input, head=WHOLE)
    attempt("read", read_input)
    attempt("terminals without a grant", terminals, head=WHOLE)
    attempt("terminals", terminals)
    attempt("open", open_terminal)
    for what in CONTROLS:
        attempt(what, control, what)
    attempt("set the size, bare", control, "set the size", head=OPEN_CALLER)
    attempt("write", write_to_input)
    attempt("write without a grant", write_to_input, head=WHOLE)
    attempt("not wait", make_it_not_wait)
    attempt("not wait, by another call", make_it_not_wait_by_ioctl)
    attempt("signal", make_it_signal)
    terminal.open_anew()
    attempt("signal, bare", make_it_signal, head=OPEN_CALLER)
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    attempt("signal where somebody else did", make_it_signal)
    make_it_signal()
    found["signal by itself"] = hear()
    return found


def main() -> None:
    """Be the service; the arguments are a folder, a cache, and a descriptor that answers go to."""
    root, cache, answers = sys.argv[1:]
    terminal = Terminal.made()
    with opened(Path(root), ArtifactCache(Path(cache))) as lab:
        found = serve(lab, terminal)
    os.write(int(answers), json.dumps(found).encode())


# --- what it found ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found(tmp_path_factory, cache_root) -> dict[str, str]:
    reader, writer = os.pipe()
    words = [
        sys.executable,
        "-m",
        HERE,
        str(tmp_path_factory.mktemp("terminal")),
        str(cache_root),
        str(writer),
    ]
    with os.fdopen(reader) as answers:
        try:
            subprocess.run(
                words, cwd=ROOT, pass_fds=(writer,), start_new_session=True, check=True, timeout=60
            )
        finally:
            os.close(writer)
        return dict(json.load(answers))


def test_without_a_grant_a_cell_holds_no_terminal_and_with_one_its_input(found):
    assert found["terminals without a grant"] == ""
    assert found["terminals"] == "0"
    assert (found["read without a grant"], found["read"]) == ("", "typed")


def test_no_terminal_is_opened_by_a_name(found):
    assert set(found["open"].split()) == {"EACCES"}


@pytest.mark.parametrize("what", CONTROLS)
def test_a_terminal_that_a_cell_holds_takes_no_request_of_it(what, found):
    assert found[what] == "killed"
    assert (found[f"{what}, seen"], found[f"{what}, state"]) == ("", "as it was")


def test_where_nothing_stands_against_it_a_request_is_made(found):
    assert "done" in found["set the size, bare"]


def test_without_a_grant_nothing_is_written_to_the_terminal(found):
    assert (found["write without a grant"], found["write without a grant, seen"]) == ("EBADF", "")


def test_a_cell_that_may_read_the_terminal_writes_nothing_to_it(found):
    assert found["write, seen"] == ""


@pytest.mark.parametrize("how", ["not wait", "not wait, by another call", "signal"])
def test_a_terminal_is_after_a_run_as_it_was_before(how, found):
    assert found[f"{how}, state"] == "as it was"


def test_a_terminal_that_never_signalled_anybody_signals_nobody_for_a_cell(found):
    assert (found["signal, signal"], found["signal, bare, signal"]) == ("none", "none")
    assert found["signal by itself"] == "sent"  # this process may, and a cell has a terminal of its own


def test_a_terminal_signals_nobody_for_a_cell_whoever_had_it_signal_before(found):
    assert found["signal where somebody else did, signal"] == "none"


if __name__ == "__main__":
    main()
