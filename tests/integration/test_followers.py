"""A service whose log is followed: whatever receivers do, guests run, and the log is sealed and signed."""

from __future__ import annotations

import json
import re
import threading

import pytest

from api.followers import file_of
from api.service import Service
from api.settings import load_settings
from audit.filters import RecordFilter
from audit.tlog.log import TransparencyLog
from sandbox.runner import Order
from tests.commands import Shell, guest
from tests.receivers import WAIT_S, Issuer, SyslogReceiver, http_receiver, published, raw_server
from tests.time_authority import TimeAuthority

POLICY = b'version: 1\nmetadata: {name: test}\npermissions: {storage: {allow: [{id: in, uri: "tmp://s", mount: /s, access: [read]}]}}\n'
OK = (200, "text/plain", b"")
NAME = 'a\n<13>1 ]"\u202e\x1b[31m'.encode()
# creates a file where it may only read
CREATING = guest(
    f"""(drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const {len(NAME)}) (i32.const 1)
          (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 48)))""",
    NAME,
)


@pytest.fixture
def settings(tmp_path):
    made = load_settings({}, home=tmp_path / "home")
    made.home.mkdir(mode=0o700)
    return made


def refuse(service):
    plan = service.policies.plan_inline(POLICY)
    done = service.run(Order(plan=plan, module=CREATING, module_name="h.wasm"))
    assert done.receipt.refused
    return done.receipt


def test_guests_run_and_the_log_is_signed_while_every_receiver_hangs(settings):
    released, hanging = threading.Event(), threading.Semaphore(0)

    def hang(channel):
        hanging.release()
        released.wait(WAIT_S)

    def answer(_got):
        hanging.release()
        released.wait(WAIT_S)
        return OK

    with raw_server(hang) as port, http_receiver(answer) as receiver:
        file_of(settings).write_text(
            f'[followers.log]\nkind = "syslog"\naddress = "tcp://127.0.0.1:{port}"\ntimeout_s = 300\n'
            f'[followers.hook]\nkind = "webhook"\nsends = "checkpoints"\nurl = "{receiver.url}"\ntimeout_s = 300\n'
        )
        problems: list[str] = []
        with Service(settings, on_problem=problems.append) as service:
            refuse(service)
            service.seal()
            for _ in range(2):
                assert hanging.acquire(timeout=WAIT_S)
            # both receivers hold what they were sent, and say nothing; everything goes on
            later = refuse(service)
            service.seal()
            assert service._signer
            assert service._signer.wait(service.desk.status().tree_size, timeout_s=WAIT_S).problem is None
            assert service.records(RecordFilter(execution=later.execution_id, decision="deny")).rows
            status = service.desk.status()
            assert {one.name: one.lag > 0 for one in status.followers} == {"log": True, "hook": True}
            assert not released.is_set()
        assert not released.is_set()  # nor did the end wait for them
        released.set()
    assert problems == []
    assert (
        published(TransparencyLog(settings.audit_dir / "tlog")).checkpoint.size
        == service.desk.status().tree_size
    )


def test_a_guests_refusal_reaches_syslog_and_its_checkpoint_the_folder(settings, tmp_path):
    (tmp_path / "off").mkdir()
    receiver = SyslogReceiver()
    with raw_server(receiver) as port:
        file_of(settings).write_text(
            f'[followers.log]\nkind = "syslog"\naddress = "tcp://127.0.0.1:{port}"\n'
            f'[followers.off]\nkind = "folder"\npath = "{tmp_path}/off"\n'
        )
        with Service(settings) as service:
            receipt = refuse(service)
            service.seal()
            receiver.came.get(timeout=WAIT_S)
        shell = Shell(tmp_path, settings.home)
        done = shell.ask("audit", "follow", "--once", "--output", "json")
        assert (done.status, [each["lag"] for each in done.json]) == (0, [0, 0])
    # a set: what is not acknowledged when the service ends is sent once more
    refused = {
        number
        for one in receiver.messages
        if receipt.execution_id.encode() in one
        for number in re.findall(rb'seq="([0-9]+)"', one)
    }
    assert len(refused) == receipt.refused
    assert all(len(message.splitlines()) == 1 for message in receiver.messages)
    note = (settings.audit_dir / "tlog" / "checkpoint").read_bytes()
    assert note in [path.read_bytes() for path in (tmp_path / "off").iterdir()]


def test_the_commands_say_what_follows(settings, tmp_path):
    shell = Shell(tmp_path, settings.home)
    with Service(settings) as service:
        refuse(service)
    none = shell.ask("audit", "followers", "list")
    assert (none.status, none.out) == (0, b"")
    file_of(settings).write_text('[followers.a]\nkind = "webhook"\nurl = "http://127.0.0.1:1"\n')
    assert shell.ask("audit", "followers", "check").text == "1 followers\n"
    behind = shell.ask("audit", "follow", "--once", "--only", "a")
    assert (behind.status, "Connection refused" in behind.text) == (1, True)
    (listed,) = shell.ask("audit", "followers", "list", "--output", "json").json
    assert (listed["kind"], listed["sends"], listed["lag"] > 0) == ("webhook", "refusals", True)
    assert "follower a" in shell.ask("audit", "status").text
    assert shell.ask("audit", "follow", "--once", "--only", "b").status == 2
    file_of(settings).write_text('[followers.a]\nkind = "webhook"\nuri = "http://127.0.0.1:1"\n')
    wrong = shell.ask("audit", "followers", "check", "--output", "json")
    assert (wrong.status, wrong.json["is_valid"]) == (1, False)
    assert wrong.json["faults"] == [
        "followers.a.uri: unknown key (did you mean url?)", "followers.a: expected url or url_file, one of them"
    ]  # fmt: skip
    assert shell.ask("audit", "followers", "list").status == 1
    assert (
        json.loads(shell.ask("audit", "status", "--output", "json").out)["followers"][0]["name"]
        == "followers.toml"
    )


def test_time_stamps_are_listed_and_verified_offline(settings, tmp_path):
    authority, shell = TimeAuthority(), Shell(tmp_path, settings.home)
    (tmp_path / "root.pem").write_bytes(authority.issuer.pem)
    (tmp_path / "other.pem").write_bytes(Issuer.make().pem)
    with Service(settings) as service:
        refuse(service)
    assert shell.ask("audit", "timestamps").said == "there are no time stamps\n"
    with http_receiver(authority) as receiver:
        file_of(settings).write_text(
            f'[followers.time]\nkind = "timestamp"\nurl = "{receiver.url}"\ncertificate_file = "{tmp_path}/root.pem"\n'
        )
        assert shell.ask("audit", "follow", "--once").status == 0
    (listed,) = shell.ask("audit", "timestamps", "--output", "json").json
    assert (listed["verified"], listed["problem"]) == ("not asked", None)
    good = shell.ask("audit", "timestamps", "--certificate", tmp_path / "root.pem", "--output", "json")
    assert (good.status, good.json[0]["verified"]) == (0, "yes")
    bad = shell.ask("audit", "timestamps", "--certificate", tmp_path / "other.pem", "--output", "json")
    assert (bad.status, bad.json[0]["verified"]) == (1, "no")
    no_certificate = shell.ask("audit", "timestamps", "--certificate", file_of(settings))
    assert (no_certificate.status, "expected certificates in PEM" in no_certificate.said) == (2, True)
