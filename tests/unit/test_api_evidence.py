"""What the log says, in the words of policies: as facts and as columns, which agree."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import duckdb
import pyarrow as pa
import pytest

from api.evidence import columns_of, facts_of
from audit.columns import OPENED, plain
from audit.facts import grouping
from audit.filters import RecordFilter
from audit.levels import condense
from audit.masks import mask
from audit.query import AuditReader
from audit.terms import AuditTerms, Level, Mask, Veil
from audit.wal import RecordFrame
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


def logged(root, audit: AuditTerms, key: bytes = b"k" * 32):
    """Write the story as it is kept under `audit`, and give the facts of it."""
    began = start(audit=audit)
    made, arena = pack(STORY)
    rows = decode(began, [RecordFrame(0, len(STORY), made.tobytes(), arena, 0)], OPENED.empty_table())
    rows = pa.concat_tables(list(condense([mask(rows, began, OneKey(key))], began)))
    return _facts(rows)


class OneKey:
    def __init__(self, key: bytes) -> None:
        self._key = key

    def key(self, tenant: str) -> bytes:  # noqa: ARG002  # the shape is that of MaskKeys
        return self._key


class OneTable:
    """Answers the question behind facts from one table of rows."""

    def __init__(self, rows: pa.Table) -> None:
        self._rows = rows

    def facts(self, wanted, keep=("module_id", "policy_id")):  # noqa: ARG002  # the shape is that of the reader
        columns, group, around = grouping(keep)
        plain_rows = pa.table(
            [plain(self._rows.column(name)) for name in self._rows.column_names],
            names=self._rows.column_names,
        )
        with duckdb.connect() as engine:
            engine.register("kept", plain_rows)
            return engine.sql(around.format(f"SELECT {columns} FROM kept {group}")).to_arrow_table()


def _facts(rows):
    return facts_of(cast("AuditReader", OneTable(rows)), RecordFilter())


def whole(facts):
    return [replace(each, evidence="") for each in facts]


def test_summaries_are_the_same_evidence_as_single_calls(tmp_path):
    single, summed = (logged(tmp_path, AuditTerms(level=level)) for level in (Level.CALLS, Level.SUMMARY))
    assert sorted(map(str, whole(single))) == sorted(map(str, whole(summed)))


def test_counts_say_that_their_targets_are_not_known(tmp_path):
    found = logged(tmp_path, AuditTerms(level=Level.COUNTS))
    read = one(found, "fd_read")
    assert (read.target, read.is_masked, read.count, read.bytes_in) == (None, True, 1, 4096)
    refused = one(found, "path_open", decision="deny")
    assert refused.reason == "escape"


def test_a_hash_or_a_shortened_path_is_never_taken_for_a_path(tmp_path):
    for veil in (Veil.HMAC, Veil.PREFIX, Veil.DROP):
        found = logged(tmp_path, AuditTerms(mask=(Mask(column="path", veil=veil, names=1),)))
        for each in found:
            if each.call.startswith("path_"):
                assert (each.target, each.target2, each.is_masked) == (None, None, True)
