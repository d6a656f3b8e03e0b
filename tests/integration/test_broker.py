"""The broker's process: what it has, what keeps it in, and that it ends with whoever it is for."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from policy.plan import Plan
from sandbox.network.account import MAX_BYTES, MAX_REFUSALS
from sandbox.network.brokers import BrokerHandle
from sandbox.network.channel import Channel
from sandbox.network.protocol import EXCHANGE_BYTES, Op, Protocol, Status, halves
from tests.runs import policy

LOCAL = 0xFFFF_7F00_0001


def granting(port: int = 9, more: str = "") -> Plan:
    return policy(f"permissions: {{network: {{tcp: [{{to: 127.0.0.1, ports: [{port}]}}]{more}}}}}\n")


@pytest.fixture
def broker() -> Iterator[BrokerHandle]:
    with BrokerHandle(granting()) as made:
        yield made


_ways: list[Channel] = []


def way_to(broker: BrokerHandle) -> Channel:
    """The cell's end; closed when the test is over."""
    _ways.append(Channel(os.dup(broker.channel.fileno())))
    return _ways[-1]


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while _ways:
        _ways.pop().close()


def status_of(pid: int, name: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split(":", 1)[1].strip() for line in lines if line.startswith(f"{name}:"))


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(is_so: object) -> None:
    until = time.monotonic() + 20
    while not is_so():  # type: ignore[operator]  # each is a function
        assert time.monotonic() < until
        time.sleep(0.01)


def test_it_is_kept_in_and_has_nothing_but_what_it_needs(broker):
    way = way_to(broker)
    assert way.call(Op.OPEN, 0, (4, Protocol.TCP)).status is Status.OK
    assert (status_of(broker.pid, "NoNewPrivs"), status_of(broker.pid, "Seccomp")) == ("1", "2")
    assert int(status_of(broker.pid, "CapEff"), 16) == 0
    links = {os.readlink(f"/proc/{broker.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{broker.pid}/fd")}  # noqa: PTH115, PTH208  # names of descriptors
    kinds = {link.partition(":")[0] for link in links}
    assert kinds <= {"/dev/null", "socket", "pipe", "/memfd"}, links
    assert len([link for link in links if link.startswith("socket")]) == 2  # the channel, and what was made
    environment = Path(f"/proc/{broker.pid}/environ").read_bytes().split(b"\0")
    assert {each.partition(b"=")[0] for each in environment} <= {b"PYTHONPATH", b"LC_ALL", b""}


@pytest.mark.parametrize(("low", "has_it"), [(80, True), (8_080, False)])
def test_it_may_bind_a_low_port_only_where_the_plan_has_one(low, has_it):
    with BrokerHandle(policy(f'permissions: {{network: {{listen: ["tcp://127.0.0.1:{low}"]}}}}\n')) as broker:
        assert way_to(broker).call(Op.OPEN, 0, (4, Protocol.TCP)).status is Status.OK
        kept = int(status_of(broker.pid, "CapEff"), 16)
    assert kept in ({0, 1 << 10} if has_it else {0})  # nobody has it who did not before


def test_it_ends_when_nobody_asks_any_more_and_its_account_is_whole(broker):
    way = way_to(broker)
    made = way.call(Op.OPEN, 0, (4, Protocol.TCP))
    assert way.call(Op.ASK_CONNECT, made.results[0], (*halves(LOCAL), 10)).results[0] != 0
    way.close()
    account = broker.end()
    assert not is_there(broker.pid)
    assert account.is_complete
    assert [(one.op, one.place, one.is_forged) for one in account.refused] == [
        ("connect", "127.0.0.1:10", False)
    ]
    assert broker.end().refused == account.refused
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # names of descriptors
    broker.close()
    broker.close()
    assert len(os.listdir("/proc/self/fd")) == before - 3  # noqa: PTH208  # as above


def test_it_ends_with_a_supervisor_that_is_killed():
    script = """
        import os, sys
        from sandbox.network.brokers import BrokerHandle
        from sandbox.network.channel import Channel
        from sandbox.network.protocol import Op
        from tests.integration.test_broker import granting
        broker = BrokerHandle(granting())
        way = Channel(os.dup(broker.channel.fileno()))
        way.call(Op.OPEN, 0, (4, 2))
        child = os.fork()  # somebody who holds on to the channel, as a cell would
        if child == 0:
            os.close(broker._leash)
            way.call(Op.RECV_FROM, 0, (4096, 10, 0, -1))
            os._exit(0)
        print(broker.pid, child, flush=True)
        sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[2],
    ) as process:
        assert process.stdout is not None
        pid, child = map(int, process.stdout.readline().split())
        assert is_there(pid)
        process.kill()
    wait_for(lambda: not is_there(pid))
    wait_for(lambda: not is_there(child))  # its answer does not come


def test_without_room_for_its_account_nothing_is_done():
    with BrokerHandle(granting()) as broker:
        way = way_to(broker)
        made = way.call(Op.OPEN, 0, (4, Protocol.TCP)).results[0]
        os.ftruncate(broker._account, MAX_BYTES + 1)
        os.lseek(broker._account, MAX_BYTES + 1, os.SEEK_SET)  # where it writes next: beyond what it may
        assert way.call(Op.CONNECT, made, (*halves(LOCAL), 10, 0)).status is Status.IO  # it is gone
        wait_for(lambda: not is_there(broker.pid))


def test_refusals_without_end_are_counted_and_not_all_kept(broker):
    way = way_to(broker)
    made = way.call(Op.OPEN, 0, (4, Protocol.TCP)).results[0]
    for port in range(MAX_REFUSALS + 50):
        assert way.call(Op.CONNECT, made, (*halves(LOCAL), 1_000 + port, 0)).status is Status.NOTCAPABLE
    way.close()
    account = broker.end()
    assert (len(account.refused), account.counts["forged"]) == (MAX_REFUSALS, MAX_REFUSALS + 50)


def test_who_sends_nonsense_is_answered_sixteen_times_at_most(broker):
    way = way_to(broker)
    way._socket.settimeout(10)
    answers = 0
    for _ in range(40):
        try:
            way._socket.send(b"x")
            answers += bool(way._socket.recv(1_000))
        except OSError:
            break
    assert answers == 15
    wait_for(lambda: not is_there(broker.pid))
    assert broker.end().counts["malformed"] == 16


def test_its_walls_keep_files_and_programs_from_it():
    script = """
        import os, socket
        from sandbox.confinement import process
        from sandbox.network.walls import confine_broker
        reader, writer = os.pipe()
        process.end_with(reader)
        walls = confine_broker(reader, sockets=16, has_low_ports=False)
        def tried(attempt):
            try:
                attempt()
            except OSError as err:
                return err.strerror
            return "done"
        print(",".join(walls), flush=True)
        print(tried(lambda: os.close(os.open("/etc/hosts", os.O_RDONLY))), flush=True)
        print(tried(lambda: os.close(os.open("/etc/passwd", os.O_RDONLY))), flush=True)
        print(tried(lambda: os.close(os.open("/tmp/wasmgate-broker-wrote", os.O_WRONLY | os.O_CREAT))), flush=True)
        print(tried(lambda: socket.socket(socket.AF_INET).close()), flush=True)
        print(tried(lambda: socket.socket(socket.AF_UNIX).close()), flush=True)
        print(tried(lambda: os.execv("/bin/true", ["true"])), flush=True)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[2],
        check=False,
    )
    walls, *said = done.stdout.decode().splitlines()
    if "landlock" in walls:
        assert said[:3] == ["done", "Permission denied", "Permission denied"]
    if "seccomp" in walls:
        assert said[3:] == ["done", "Permission denied"]
        assert done.returncode == -31  # SIGSYS: no program is started
    assert {"no_new_privs", "rlimits", "capabilities"} <= set(walls.split(","))


def test_the_pages_that_are_shared_can_not_be_cut_short(broker):
    with pytest.raises(PermissionError):
        os.ftruncate(broker.exchange, 0)
    assert len(mmap.mmap(broker.exchange, EXCHANGE_BYTES)) == EXCHANGE_BYTES
