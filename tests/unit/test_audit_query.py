"""Queries give what a plain look at every row would give."""

from __future__ import annotations

import base64
import fnmatch
import itertools
from dataclasses import replace
from uuid import UUID

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.catalogue import Catalogue
from audit.columns import SCHEMA
from audit.errors import FilterError, QueryError
from audit.filters import RecordFilter
from audit.query import AuditReader
from audit.receipt import OutcomeKind
from audit.recovery import recover
from audit.store import Store
from audit.writer import AuditWriter
from sandbox.monitor.decode import decode
from tests.records import IN, STORY, T0, call, pack, receipt, start, tell

FIRST, SECOND, LIVE = (
    start(),
    start(number=1, module_digest="sha256:" + "99" * 32, module_name="other"),
    start(number=2),
)
HOSTILE = b"x'; DROP TABLE segments; --\n\x1b[2J\xff\\"


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """A log with a sealed segment of two runs, and a run that is still going on."""
    root = tmp_path_factory.mktemp("log [a] 'b'")
    writer = AuditWriter(root)
    tell(writer, FIRST, rounds=2)
    tell(writer, SECOND)
    writer.close()
    recover(root, decode)
    writer = AuditWriter(root)
    tell(writer, LIVE, is_ended=False)
    made, arena = pack(
        [call("path_open", HOSTILE, opener=IN, fd=3, decision=1, errno=76, reason=1)], first_seq=len(STORY)
    )
    writer.append(LIVE.exec_id, first_seq=len(STORY), records=made.tobytes(), arena=arena)
    writer.commit()
    with AuditReader(root, decode) as reader:
        yield reader
    writer.close()


@pytest.fixture(scope="module")
def everything(log):
    return list(log.stream(RecordFilter(ascending=True)))


def test_sealed_and_unsealed_rows_are_all_there_once(everything):
    assert len(everything) == 4 * len(STORY) + 1
    assert len({(row["exec_id"], row["seq"]) for row in everything}) == len(everything)


def test_keys_are_the_columns_and_decisions_are_words(everything):
    assert set(everything[0]) >= {
        "exec_id",
        "seq",
        "t_ns",
        "call",
        "decision",
        "target",
        "guest_target",
        "reason",
        "right",
        "opener_seq",
    }
    assert {row["decision"] for row in everything} == {"allow", "deny", "would_deny"}


def naive(rows, wanted, digests):
    prefix = wanted.stored_prefix
    holds = MEANINGS.get(wanted.q)
    for row in rows:
        names = (row["call"], row["call"].partition(".")[2])
        paths = [row[name] for name in ("target", "guest_target", "target2") if row[name] is not None]
        if (
            wanted.execution in {None, row["exec_id"]}
            and wanted.decision in {None, row["decision"]}
            and wanted.rule in {None, row["rule_id"]}
            and (wanted.module is None or row["module_id"] in digests)
            and (wanted.call is None or any(fnmatch.fnmatchcase(name, wanted.call) for name in names))
            and (prefix is None or any(path.startswith(prefix) for path in paths))
            and (wanted.from_ns is None or row["t_ns"] >= wanted.from_ns)
            and (wanted.to_ns is None or row["t_ns"] < wanted.to_ns)
            and (wanted.after_seq is None or row["seq"] > wanted.after_seq)
            and wanted.errno in {None, row["errno"]}
            and wanted.class_uid in {None, row["class_uid"]}
            and wanted.policy in {None, "test", row["policy_id"]}
            and wanted.tenant in {None, row["tenant_id"]}
            and (wanted.tenants is None or row["tenant_id"] in wanted.tenants)
            and (wanted.path is None or wanted.path in paths)
            and (wanted.path_glob is None or any(fnmatch.fnmatchcase(one, wanted.path_glob) for one in paths))
            and (wanted.min_bytes is None or row["bytes_in"] + row["bytes_out"] >= wanted.min_bytes)
            and (wanted.min_duration_ns is None or (row["dur_ns"] or -9) >= wanted.min_duration_ns)
            and (holds is None or holds(row))
        ):
            yield row


MEANINGS = {
    None: None,
    "errno != 0": lambda row: row["errno"] != 0,
    "rule != 'in' and not bytes_out > 12": lambda row: row["rule_id"] != "in" and row["bytes_out"] <= 12,
    "decision in ('deny', 'would_deny') or call like '%\\_read'": lambda row: (
        row["decision"] != "allow" or row["call"].endswith("_read")
    ),
    "rule is null": lambda row: row["rule_id"] is None,
    "call = 'path_open'": lambda row: row["call"].endswith(".path_open"),
    "not reason in ('rule', 'escape')": lambda row: row["reason"] not in {"rule", "escape"},
    "dur_ns between 0 and 50": lambda row: row["dur_ns"] is not None and 0 <= row["dur_ns"] <= 50,
}

FILTERS = st.builds(
    RecordFilter,
    tenant=st.sampled_from([None, None, None, "default", "other"]),
    tenants=st.sampled_from([None, None, None, ("default", "other"), ("other",), ()]),
    policy=st.sampled_from([None, None, FIRST.policy_digest, "test", "nothing"]),
    errno=st.sampled_from([None, None, None, 0, 76]),
    class_uid=st.sampled_from([None, None, None, 1001, 1003]),
    path=st.sampled_from([None, None, None, "/srv/in/a.csv", "/in/a.csv", "/"]),
    path_glob=st.sampled_from([None, None, None, "*.csv", "/srv/*", "tmp://*/[no]*"]),
    min_bytes=st.sampled_from([None, None, None, 0, 33]),
    min_duration_ns=st.sampled_from([None, None, None, 0, 50, 51]),
    q=st.sampled_from([None, None, None, *MEANINGS]),
    execution=st.sampled_from([None, None, FIRST.exec_id, LIVE.exec_id]),
    module=st.sampled_from([None, None, "sample", "other", FIRST.module_digest, "nothing"]),
    call=st.sampled_from(
        [None, None, "path_*", "fd_read", "wasi_snapshot_preview1.fd_*", "*", "fd_?ead", "[pf]*_open"]
    ),
    decision=st.sampled_from([None, None, "allow", "deny", "would_deny", "limit"]),
    rule=st.sampled_from([None, None, "default", "in", "nothing"]),
    path_prefix=st.sampled_from(
        [None, None, "/srv/in", "/in/", "tmp://out", "/etc", "std", "/in/x'; DROP", "%", ""]
    ),
    from_ns=st.sampled_from([None, T0 + 3000, T0 + 2_000_000]),
    to_ns=st.sampled_from([None, T0 + 9000, T0 + 2_000_500]),
    after_seq=st.sampled_from([None, None, -1, 0, 5, 1 << 62]),
    limit=st.sampled_from([2, 9, 20]),
    ascending=st.sampled_from([None, True, False]),
)


@settings(max_examples=40, deadline=None)
@given(FILTERS)
def test_a_filter_gives_what_a_plain_look_gives(log, everything, wanted):
    digests = {"sample": {FIRST.module_digest}, "other": {SECOND.module_digest}}.get(
        wanted.module, {wanted.module}
    )
    expected = list(naive(everything, wanted, digests))
    expected.sort(key=lambda row: (row["t_ns"], row["exec_id"], row["seq"]), reverse=not wanted.is_ascending)
    found, cursor = [], wanted
    for _ in itertools.count():
        page = log.records(cursor)
        found += page.rows
        assert len(page.rows) <= wanted.limit
        if page.next is None:
            break
        cursor = RecordFilter(
            **{name: getattr(wanted, name) for name in wanted.__dataclass_fields__} | {"cursor": page.next}
        )
    assert found == expected
    stats = log.stats(wanted)
    assert stats.records == len(expected)
    assert stats.executions == len({row["exec_id"] for row in expected})
    assert sum(n for words in stats.calls.values() for n in words.values()) == len(expected)
    assert sum(stats.refusals_by_rule.values()) == sum(row["decision"] != "allow" for row in expected)
    assert (stats.bytes_in, stats.bytes_out) == tuple(
        sum(row[name] for row in expected) for name in ("bytes_in", "bytes_out")
    )
    assert stats.first_t_ns == min((row["t_ns"] for row in expected), default=None)


def test_a_path_is_found_by_its_bytes_as_the_system_shows_them(log):
    wanted = RecordFilter(path_prefix="/in/x'; DROP TABLE segments; --\n\x1b[2J\udcff\\")
    (row,) = log.records(wanted).rows
    assert row["guest_target"] == "/in/x'; DROP TABLE segments; --\n\x1b[2J\\xff\\\\"
    assert log.records(RecordFilter(path_prefix="\ud800")).rows == ()


def test_streaming_stops_where_it_is_told(log):
    assert len(list(log.stream(RecordFilter(), limit=7))) == 7


def test_an_execution_is_found_while_it_runs_and_after(log):
    running, over = log.execution(LIVE.exec_id), log.execution(FIRST.exec_id)
    assert (running.start, running.receipt) == (LIVE, None)
    assert over.receipt == receipt(FIRST, records=2 * len(STORY))
    assert log.execution(start(number=9).exec_id) is None
    with pytest.raises(FilterError):
        log.execution("../x")


def test_executions_come_newest_first_and_page_by_page(log):
    def ids(**kw):
        return [item.exec_id for item in log.executions(limit=2, **kw)]

    assert ids() == [LIVE.exec_id, SECOND.exec_id]
    assert ids(before=(SECOND.started_at_ns, SECOND.exec_id)) == [FIRST.exec_id]
    assert ids(module="other") == [SECOND.exec_id]
    assert ids(module=LIVE.module_digest) == [LIVE.exec_id, FIRST.exec_id]


def test_refusals_are_those_of_a_receipt(log):
    assert [(one.seq, one.call, one.target, one.rule, one.reason) for one in log.refusals(LIVE.exec_id)][
        :2
    ] == [
        (4, "path_open", "/etc/passwd", "default", "escape"),
        (8, "path_unlink_file", "/srv/in/secret", "builtin", "rule"),
    ]


def test_the_engine_reads_nothing_else(log):
    for statement in (
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "COPY (SELECT 1) TO '/tmp/wasmgate-out.csv'",
        "ATTACH '/tmp/wasmgate-other.db'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
    ):
        with pytest.raises(duckdb.Error):
            log._engine._engine.execute(statement)


def test_a_folder_without_a_log_is_an_error_and_stays_as_it_is(tmp_path):
    with pytest.raises(QueryError, match="no audit log"):
        AuditReader(tmp_path / "typo", decode)
    assert list(tmp_path.iterdir()) == []


def test_a_segment_that_is_gone_is_an_error_not_a_smaller_answer(tmp_path):
    writer = AuditWriter(tmp_path)
    tell(writer, start())
    writer.close()
    (sealed,) = recover(tmp_path, decode)
    (segment,) = sealed.segments
    segment.unlink()
    with AuditReader(tmp_path, decode) as reader, pytest.raises(QueryError):
        reader.records(RecordFilter())


def test_rows_that_are_sealed_while_a_query_runs_come_once(tmp_path, monkeypatch):
    writer, of = AuditWriter(tmp_path), start()
    count = tell(writer, of)
    writer.close()
    plain_segments = Catalogue.segments

    def seal_first(self, **kw):
        monkeypatch.setattr(Catalogue, "segments", plain_segments)
        recover(tmp_path, decode)
        return plain_segments(self, **kw)

    with AuditReader(tmp_path, decode) as reader:
        monkeypatch.setattr(Catalogue, "segments", seal_first)
        assert len(reader.records(RecordFilter()).rows) == count
        assert not any(Store(tmp_path).wal.iterdir())
        assert len(reader.records(RecordFilter()).rows) == count


def test_an_execution_that_was_refused_before_it_began_has_a_receipt_and_no_rows(tmp_path):
    writer, of = AuditWriter(tmp_path), start()
    writer.begin(of)
    writer.end(of.exec_id, receipt(of))
    writer.close()
    (sealed,) = recover(tmp_path, decode)
    assert (sealed.rows, sealed.segments) == (0, ())
    with AuditReader(tmp_path, decode) as reader:
        assert reader.records(RecordFilter()).rows == ()
        found = reader.execution(of.exec_id)
        assert found is not None
        assert found.receipt is not None
        assert found.receipt.outcome.kind is OutcomeKind.EXITED
        assert reader.stats(RecordFilter()).records == 0


@pytest.mark.parametrize("is_up", [True, False])
def test_pages_are_of_what_there_was_at_the_first_while_the_log_grows(tmp_path, is_up):
    writer, one, two = AuditWriter(tmp_path), start(), start(number=1)
    tell(writer, one, rounds=3)
    tell(writer, two, rounds=2, is_ended=False)
    with AuditReader(tmp_path, decode, cursor_key=b"k" * 32) as reader:
        wanted = RecordFilter(limit=4, ascending=is_up)
        there = [(row["exec_id"], row["seq"]) for row in reader.records(replace(wanted, limit=100)).rows]
        page, found = reader.records(wanted), []
        for number in itertools.count():
            found += [(row["exec_id"], row["seq"]) for row in page.rows]
            if page.next is None:
                break
            # records of the one that goes on, as old as those that are there; a new one; and sealing
            first = (2 + number) * len(STORY)
            made, arena = pack(STORY, first_seq=first, t0=two.started_at_ns - first * 1000)
            writer.append(two.exec_id, first_seq=first, records=made.tobytes(), arena=arena)
            tell(writer, start(number=10 + number))
            writer.rotate()
            recover(tmp_path, decode)
            with AuditReader(tmp_path, decode, cursor_key=b"k" * 32) as again:  # as after a restart
                page = again.records(replace(wanted, cursor=page.next))
        assert found == there
        assert len(there) == 5 * len(STORY)
    writer.close()


def test_a_cursor_is_of_one_reader_unless_they_share_a_key(tmp_path):
    writer = AuditWriter(tmp_path)
    tell(writer, start())
    with AuditReader(tmp_path, decode) as one, AuditReader(tmp_path, decode) as other:
        cursor = one.records(RecordFilter(limit=1)).next
        assert one.records(RecordFilter(limit=1, cursor=cursor)).rows
        with pytest.raises(FilterError, match="cursor"):
            other.records(RecordFilter(limit=1, cursor=cursor))
    writer.close()


def test_a_cursor_says_nothing_of_other_tenants(tmp_path):
    writer, mine, theirs = AuditWriter(tmp_path), start(tenant="mine"), start(number=1, tenant="theirs")
    tell(writer, mine, is_ended=False)
    tell(writer, theirs, is_ended=False)
    with AuditReader(tmp_path, decode) as reader:
        cursor = reader.records(RecordFilter(limit=1, tenants=("mine",))).next
        raw = base64.urlsafe_b64decode(f"{cursor}==")
        assert UUID(mine.exec_id).bytes in raw
        assert UUID(theirs.exec_id).bytes not in raw
    writer.close()


def test_only_the_wanted_columns_come(log):
    rows = log.records(RecordFilter(fields=("call", "decision"), limit=3)).rows
    assert [set(row) for row in rows] == [{"call", "decision"}] * 3


def test_batches_are_every_record_with_the_stored_columns(log, everything):
    batches = list(log.batches(RecordFilter(ascending=True, limit=2)))
    assert sum(batch.num_rows for batch in batches) == len(everything)
    assert batches[0].schema.names == SCHEMA.names


def test_executions_are_of_the_tenants_outcomes_and_times_that_are_asked_for(tmp_path):
    writer = AuditWriter(tmp_path)
    for number in range(6):
        tell(writer, start(number=number, tenant="ab"[number % 2]), is_ended=number < 4)
    with AuditReader(tmp_path, decode) as reader:

        def numbers(**kw):
            return [int(item.exec_id[-2:], 16) for item in reader.executions(limit=10, **kw)]

        for _ in range(2):
            assert numbers() == [5, 4, 3, 2, 1, 0]
            assert numbers(tenants=("a",)) == [4, 2, 0]
            assert numbers(tenants=()) == []
            assert numbers(outcome=OutcomeKind.EXITED) == [3, 2, 1, 0]
            assert numbers(outcome=OutcomeKind.KILLED) == []
            assert numbers(from_ns=T0 + 2_000_000, to_ns=T0 + 4_000_000) == [3, 2]
            assert [item.tenant for item in reader.executions(limit=2)] == ["b", "a"]
            writer.rotate()
            recover(tmp_path, decode)
    writer.close()


@pytest.mark.parametrize("is_begun", [True, False])
def test_what_is_sealed_between_two_looks_leaves_no_hole(tmp_path, monkeypatch, is_begun):
    # the reader has seen the first records; two files with the rest are sealed before it asks for segments
    writer, of = AuditWriter(tmp_path), start()
    writer.begin(of)

    def add(first):
        made, arena = pack(STORY, first_seq=first, t0=of.started_at_ns)
        made["opener"][made["opener"] >= 0] += first
        made["aux"][[one.call == "path_rename" for one in STORY]] = -3
        writer.append(of.exec_id, first_seq=first, records=made.tobytes(), arena=arena)
        writer.commit()

    if is_begun:
        add(0)
    ask = Catalogue.segments
    done: list[int] = []

    def late(self, **about):
        if not done:
            done.append(1)
            for number in (1, 2) if is_begun else (0, 1, 2):
                add(number * len(STORY))
                writer.rotate()
            assert len(recover(tmp_path, decode)) >= 2
        return ask(self, **about)

    monkeypatch.setattr(Catalogue, "segments", late)
    with AuditReader(tmp_path, decode) as reader:
        for count in (len(STORY) if is_begun else 0, 3 * len(STORY)):
            seqs = [row["seq"] for row in reader.stream(RecordFilter(ascending=True))]
            assert seqs == list(range(len(seqs)))
            assert len(seqs) >= count
    writer.close()
