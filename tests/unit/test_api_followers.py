"""The followers' own process: it follows, comes back when it is killed in the middle, and ends with its parent."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from api.followers import Followers, FollowersProcess, file_of, follow_once, followed, follower_statuses
from api.settings import load_settings
from audit.followers.errors import BusyFollowerError
from tests.receivers import WAIT_S, http_receiver
from tests.records import start
from tests.sealed_logs import SealedLog
from tests.unit.test_audit_followers_refusals import refused

OK = (200, "text/plain", b"")


@pytest.fixture
def settings(tmp_path):
    return load_settings({}, home=tmp_path)


@pytest.fixture
def log(tmp_path):
    return SealedLog.create(tmp_path)


def named(settings, text):
    file_of(settings).write_text(text)
    return Followers.of(settings)


def hook(url, name="hook"):
    return f'[followers.{name}]\nkind = "webhook"\nurl = "{url}"\n'


def keys_of(got):
    return [json.loads(line)["key"] for one in got for line in one.body.splitlines()]


def test_a_kill_in_the_middle_loses_nothing_and_repeats_only_what_was_not_acknowledged(settings, log):
    of = start(number=1)
    log.seal([(of, refused(of, 1_203))])
    killed = threading.Event()
    process_of: queue.Queue[FollowersProcess] = queue.Queue()

    def answer(got):
        if not killed.is_set() and b":500" in got.body:  # the second batch: taken, and never acknowledged
            os.kill(process_of.get(timeout=WAIT_S).pid, signal.SIGKILL)
            killed.set()
        return OK

    with http_receiver(answer) as receiver:
        followers = named(settings, hook(receiver.url))
        process = FollowersProcess(file_of(settings), followers.around, again_s=0)
        process_of.put(process)
        try:
            for _ in range(4):
                receiver.came.get(timeout=WAIT_S)
        finally:
            process.close()
    keys = keys_of(receiver.got)
    assert killed.is_set()
    assert set(keys) == {f"{of.exec_id}:{at}" for at in range(1_203)}
    assert sorted(keys) == sorted([*set(keys), *(f"{of.exec_id}:{at}" for at in range(500, 1_000))])


def test_what_is_sealed_while_it_runs_is_sent(settings, log):
    of = start(number=1)
    with http_receiver() as receiver:
        named(settings, hook(receiver.url))
        with followed(settings, on_problem=pytest.fail):
            for number in range(2):
                log.seal([(of, refused(of, 2, first=2 * number))])
                receiver.came.get(timeout=WAIT_S)
    assert keys_of(receiver.got) == [f"{of.exec_id}:{at}" for at in range(4)]


def test_a_sink_that_hangs_holds_no_other_up_and_not_the_end(settings, log):
    of = start(number=1)
    log.seal([(of, refused(of, 2))])
    released = threading.Event()
    with http_receiver(lambda _got: (released.wait(WAIT_S), OK)[1]) as hanging, http_receiver() as receiver:
        named(settings, hook(hanging.url, "hanging") + hook(receiver.url))
        with followed(settings, on_problem=pytest.fail):
            hanging.came.get(timeout=WAIT_S)
            receiver.came.get(timeout=WAIT_S)
            assert not released.is_set()
        found = {one.name: one for one in follower_statuses(settings)}
        released.set()
    assert found["hanging"].lag == log.log.size
    assert len(keys_of(receiver.got)) == 2


def test_it_ends_when_its_parent_dies(settings, log):
    script = (
        "import sys\nfrom pathlib import Path\nfrom api.followers import FollowersProcess\n"
        "from audit.followers.build import Surroundings\n"
        "a, b, c = map(Path, sys.argv[1:])\n"
        "print(FollowersProcess(a, Surroundings(b, c)).pid, flush=True)\nsys.stdin.read()\n"
    )
    with http_receiver() as receiver:
        followers = named(settings, hook(receiver.url))
        around = (file_of(settings), followers.around.audit_dir, followers.around.state_dir)
        root = str(Path(__file__).resolve().parents[2])
        with subprocess.Popen(
            [sys.executable, "-c", script, *map(str, around)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={"PYTHONPATH": ":".join([root, *(path for path in sys.path if path)])},
        ) as parent:  # fmt: skip
            assert parent.stdout
            child = os.pidfd_open(int(parent.stdout.readline()))
            parent.kill()
        with os.fdopen(child) as ended:
            import select

            assert select.select([ended], [], [], WAIT_S)[0]


def test_once_sends_everything_and_says_how_far_it_is(settings, log):
    of = start(number=1)
    log.seal([(of, refused(of, 3))])
    with http_receiver() as receiver:
        followers = named(settings, hook(receiver.url))
        status, steps = follow_once(followers, followers.configs[0])
        assert (status.lag, status.problem, steps) == (0, None, 2)  # the segment, and the leaves behind it
        assert follow_once(followers, followers.configs[0])[1] == 0
    assert len(keys_of(receiver.got)) == 3


def test_two_processes_do_not_follow_at_once(settings, log):
    followers = named(settings, hook("http://127.0.0.1:1"))
    with followers.state_file(followers.configs[0]).held(), pytest.raises(BusyFollowerError):
        follow_once(followers, followers.configs[0])


def test_a_dead_sink_is_a_problem_in_the_status(settings, log):
    of = start(number=1)
    log.seal([(of, refused(of, 3))])
    followers = named(settings, hook("http://127.0.0.1:1/s3cr3t"))
    status, steps = follow_once(followers, followers.configs[0])
    assert (status.lag, steps) == (log.log.size, 0)
    assert "http://127.0.0.1:1: Connection refused" in (status.problem or "")
    assert follower_statuses(settings) == (status,)


def test_a_wrong_file_is_told_and_nothing_else_fails(settings, log):
    file_of(settings).write_text("[followers.a]\nkind = 'carrier pigeon'\n")
    said: list[str] = []
    with followed(settings, on_problem=said.append):
        pass
    (sentence,) = said
    kinds = "folder, webhook, syslog, otlp, witness, timestamp"
    assert sentence == f"nothing follows the audit log: followers.a.kind: expected one of {kinds}"
    assert follower_statuses(settings)[0].name == "followers.toml"


def test_no_file_is_no_follower(settings, log):
    with followed(settings, on_problem=pytest.fail):
        assert follower_statuses(settings) == ()
