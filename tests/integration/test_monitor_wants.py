"""What is read off a record is what the monitor asked: the plan gives the same verdict on a call with those rights.

Documents, files and calls are random, and the monitor decides in a real guest. The documents are those of
`tests/strategies.py`.
"""

from __future__ import annotations

import json
import random

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from policy import PolicyError, compile_policy, load_document
from policy.calls import CALL_CODES, CALLS
from policy.decide import Deny, decide
from policy.plan import RIGHTS, Plan, Right
from policy.targets import resolve
from sandbox.monitor.calls.opening import ABSENT
from sandbox.monitor.layout import Decision, Reason
from sandbox.monitor.wants import wants
from tests import strategies
from tests.guests import Script
from tests.machines import Record, run_watched, storage
from tests.sequences import APPEND, CREAT, DIRECTORY, EXCL, READ, TRUNC, WRITE

FOLDERS = ("a", "b", "a/ab", "a/b", ".ssh", "é")
FILES = ("ab", "a.c", "a/a", "a/a.c", "a/b/a", "b/b", ".ssh/a", "é/a.c", "a/ab/.x")
NAMES = (*FOLDERS, *FILES, "new", "a/new", "b/.x", "a/b/ab", "é/b")


def compiled(document: dict[str, object]) -> Plan:
    try:
        loaded = load_document(json.dumps(document).encode(), file="random.yaml")
        return compile_policy(loaded, base_dir="/", now_ns=None)
    except PolicyError:
        assume(False)  # rules that contradict each other are another test's matter
        raise


def asked_for(record: Record) -> Right:
    return wants(
        record.call,
        flags=record.flags,
        is_allowed=record.decision is Decision.ALLOW,
        is_ruled=not (record.decision is Decision.ALLOW and record.rule == "default"),
        missing=Right[record.right.upper()] if record.right else Right(0),
    )


def some_calls(script: Script, chance: random.Random, mounts: int) -> None:
    for _ in range(6):
        fd = script.open(
            chance.choice(NAMES),
            3 + chance.randrange(mounts),
            oflags=chance.choice((0, 0, CREAT, CREAT, CREAT | EXCL, TRUNC, CREAT | TRUNC, DIRECTORY)),
            rights=chance.choice((READ, READ, WRITE, READ | WRITE, 0)),
            fdflags=chance.choice((0, 0, APPEND)),
        )
        script.read(fd)
        script.write(fd, b"x")
        script.pwrite(fd, b"x", 0)
        script.readdir(fd)
        script.call("fd_filestat_set_size", fd, 0)
        script.stat(chance.choice(NAMES), 3)
        script.on(chance.choice(("path_unlink_file", "path_create_directory")), chance.choice(NAMES), 3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(strategies.storage_documents(), st.sampled_from(("enforce", "audit")), st.integers(0, 1 << 32))
def test_the_plan_gives_the_verdict_that_is_on_record(tmp_path_factory, document, mode, seed):
    plan = compiled(document | {"mode": mode})
    roots = [tmp_path_factory.mktemp("mount") for _ in plan.mounts]
    for root in roots:
        for name in FOLDERS:
            (root / name).mkdir()
        for name in FILES:
            (root / name).write_bytes(b"text")
    script = Script()
    some_calls(script, random.Random(seed), len(plan.mounts))
    records = run_watched(script, plan, roots).records
    paths: dict[int, str] = {-2 - index: mount.guest for index, mount in enumerate(plan.mounts)}
    for seq, record in enumerate(records):
        start = paths.get(record.opener)
        if start is None:
            continue
        path = f"{start.rstrip('/')}/{record.target.decode()}" if record.target else start
        paths[seq] = path
        asked = asked_for(record)
        looks = record.call == "path_filestat_get" and not asked
        is_running = record.reason not in {Reason.NONE, Reason.RULE}
        if is_running or not (asked or looks or record.call == "path_open") or len(resolve(plan, path)) != 1:
            continue
        decided = decide(plan, record.call, target=path, wants=asked)
        expected = record.decision is not Decision.ALLOW
        if (record.call, record.right) in {("path_filestat_get", "read"), ("fd_write", "write")}:
            continue  # a file on the way, or one that was not opened to append: neither is in the plan
        assert (type(decided).__name__ != "Allow") == expected, (record, path, asked, decided)
        assert isinstance(decided, Deny) == (record.decision is Decision.DENY)
        if expected and Right.APPEND not in asked:
            assert decided.rule_id == record.rule


def test_what_was_not_there_is_on_record(tmp_path):
    (tmp_path / "old").write_bytes(b"")
    plan = storage(tmp_path, 'uri: "fs://ROOT/**", mount: /a, access: [write, create]')
    script = Script()
    script.open("old", oflags=CREAT, rights=WRITE)
    script.open("new", oflags=CREAT, rights=WRITE)
    records = run_watched(script, plan).records
    assert [bool(record.flags & ABSENT) for record in records] == [False, True]
    assert [asked_for(record) for record in records] == [Right.WRITE, Right.CREATE | Right.WRITE]


def test_a_refusal_to_make_a_file_says_that_making_it_was_asked(tmp_path):
    plan = storage(tmp_path, 'uri: "fs://ROOT/**", mount: /a, access: [write]')
    script = Script()
    script.open("new", oflags=CREAT, rights=WRITE)
    (record,) = run_watched(script, plan).records
    assert (record.decision, record.right) == (Decision.DENY, "create")
    assert asked_for(record) == Right.CREATE | Right.WRITE


def test_every_call_has_a_mask_of_rights():
    for call in CALLS:
        for right in (Right(0), *RIGHTS):
            found = wants(call.name, flags=-1, is_allowed=False, is_ruled=True, missing=right)
            assert 0 <= int(found) < 1 << len(RIGHTS)
    assert wants("fd_readdir", flags=0, is_allowed=True, is_ruled=False) == Right(0)
    assert wants("fd_readdir", flags=0, is_allowed=True, is_ruled=True) == Right.LIST
    assert CALL_CODES["path_open"] < len(CALLS)
