"""What the log says, in the words of policies: as facts and as columns, which agree."""

from __future__ import annotations

import pytest

from api.evidence import columns_of, facts_of
from audit.filters import RecordFilter
from audit.query import AuditReader
from audit.writer import AuditWriter
from policy.plan import Right
from policy.simulate import FactColumns
from policy.simulate.columns import NONE
from sandbox.monitor.decode import decode
from tests.records import IN, STORY, call, pack, start, tell

ODD = b"a\\b\xff"
DEEP = b"d" * 4_095
EXTRA = (
    call("path_open", ODD, opener=IN, fd=3, fd2=7, flags=1 << 35, rule=2),
    call("path_open", b"/etc/passwd", opener=IN, fd=3, decision=1, errno=76, reason=2),
    call("path_open", b"", opener=-1, fd=3, decision=1, errno=76, reason=1, right=1),
    call("clock_time_get", flags=0),
    call("clock_time_get", flags=1),
    call("clock_time_get", flags=2),
    call("path_open", DEEP, opener=IN, fd=3, fd2=8, flags=2, rule=2),
    call("path_unlink_file", b"x", opener=len(STORY) + 6, fd=8, rule=2),
    call("path_open", b"new", opener=IN, fd=3, fd2=9, flags=0x8001 | 1 << 40, rule=2),
    call("path_open", b"dir", opener=IN, fd=3, fd2=9, flags=1 << 35),
)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    root = tmp_path_factory.mktemp("log")
    writer = AuditWriter(root)
    tell(writer, start())
    tell(writer, start(number=1), is_ended=False)
    made, arena = pack(EXTRA, first_seq=len(STORY))
    writer.append(start(number=1).exec_id, first_seq=len(STORY), records=made.tobytes(), arena=arena)
    writer.commit()
    with AuditReader(root, decode) as reader:
        yield reader
    writer.close()


@pytest.fixture(scope="module")
def facts(log):
    return facts_of(log, RecordFilter())


def one(facts, call, **wanted):
    (found,) = (
        each for each in facts if each.call == call and all(getattr(each, k) == v for k, v in wanted.items())
    )
    return found


def test_facts_are_distinct_counted_and_name_a_record(facts):
    read = one(facts, "fd_read")
    assert (read.count, read.bytes_in, read.wants, read.rule) == (2, 8192, Right.READ, "in")
    assert read.evidence == f"{start().exec_id}:2"
    assert sum(each.count for each in facts) == 2 * len(STORY) + len(EXTRA)


def test_bytes_that_are_no_text_come_back_as_the_system_shows_them(facts):
    assert one(facts, "path_open", target="/srv/in/a\\b\udcff").guest_target == "/in/a\\b\udcff"


def test_a_clock_is_named_where_it_has_a_name(facts):
    assert [each.target for each in facts if each.call == "clock_time_get"] == ["wall", "monotonic", None]


def test_a_target_that_was_lost_is_masked_and_one_that_never_was_is_not(facts):
    assert one(facts, "path_open", decision="deny", missing=Right.READ).is_masked
    assert not one(facts, "path_open", guest_target="/etc/passwd").is_masked


def test_a_target_that_was_cut_is_masked(facts):
    assert one(facts, "path_unlink_file", decision="allow").is_masked


def test_what_was_asked_is_read_off_the_flags(facts):
    assert one(facts, "path_open", target="/srv/in/new").wants == Right.CREATE | Right.WRITE
    assert one(facts, "path_open", target="/srv/in/dir").wants == Right(0)


def test_columns_hold_the_same(log, facts):
    found, expected = columns_of(log, RecordFilter(), by_execution=False), FactColumns.of(facts)
    for name in (
        "call",
        "wants",
        "decision",
        "reason",
        "missing",
        "is_masked",
        "flags",
        "count",
        "bytes_in",
        "bytes_out",
    ):
        assert getattr(found, name).tolist() == getattr(expected, name).tolist(), name
    for columns in (found, expected):
        assert len(set(columns.texts.to_pylist())) == len(columns.texts)
    for name in ("target", "target2"):
        texts = [
            [
                None if place == NONE else columns.texts[place].as_py()
                for place in getattr(columns, name).tolist()
            ]
            for columns in (found, expected)
        ]
        assert texts[0] == texts[1]
    assert found.evidence.to_pylist() == expected.evidence.to_pylist()


def test_columns_keep_executions_apart_when_asked(log):
    found = columns_of(log, RecordFilter())
    assert found.executions == (start().exec_id, start(number=1).exec_id)
    assert sorted(set(found.execution.tolist())) == [0, 1]
    assert int(found.count.sum()) == 2 * len(STORY) + len(EXTRA)
