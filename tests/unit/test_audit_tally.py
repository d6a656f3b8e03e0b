"""Counts for a receipt agree with the rows."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest

from audit.call_names import bare
from audit.columns import OPENED, SCHEMA, WORDS
from audit.segment import Written, segment_writer
from audit.tally import Tally
from sandbox.monitor.decode import decode
from tests.records import IN, STORY, T0, call, frame, start

OF = start()


def tally(*calls):
    return Tally(decode(OF, [frame(calls)], OPENED.empty_table()))


def test_calls_are_counted_by_decision():
    made = tally(*STORY)
    plain = Counter((bare(row["call"]), WORDS[row["decision"]]) for row in made.rows.to_pylist())
    assert {(one.call, one.decision): one.count for one in made.calls()} == plain


def test_only_the_first_hundred_refusals_are_listed():
    made = tally(*(call("path_open", b"x", opener=IN, decision=1, reason=1) for _ in range(150)))
    assert [one.seq for one in made.refusals()] == list(range(100))


def test_a_refusal_without_a_host_path_names_what_the_guest_asked_for():
    (one,) = tally(call("path_open", b"/etc/passwd", opener=IN, decision=3, reason=2)).refusals()
    assert one.target == "/etc/passwd"


def test_no_rows_make_an_empty_receipt():
    made = Tally(SCHEMA.empty_table()).receipt(OF, message="gone", gaps=())
    assert (made.records, made.calls, made.refusals, made.ended_at_ns) == (0, (), (), OF.started_at_ns)
    assert Tally.of([], OF.exec_id).calls() == ()


def test_times_and_counts_that_nobody_can_believe_are_kept_out_of_the_receipt():
    big = (1 << 63) - 1
    made = tally(call("fd_read", aux=big), call("fd_read", aux=big), call("sched_yield", t_ns=big)).receipt(
        OF, message="x", gaps=()
    )
    assert made.resources.bytes_read == 0
    assert made.to_json()
    assert (
        tally(call("sched_yield", t_ns=T0 + 5_000_000)).receipt(OF, message="x", gaps=()).resources.wall_ms
        == 5
    )


def test_what_is_counted_of_a_segment_is_what_its_rows_say_and_few_rows_are_held(tmp_path):
    refused = call("path_open", b"secret", opener=IN, fd=3, decision=1, errno=76, reason=2)
    calls = [*STORY * 40, *[refused] * 150, call("fd_read", opener=IN, fd=5, aux=7)]
    rows = decode(OF, [frame(calls)], OPENED.empty_table())
    path = tmp_path / "one.parquet"
    with segment_writer(path, Written()) as file:
        for at in range(0, rows.num_rows, 100):
            file.add(rows.slice(at, 100))
    found, whole = Tally.of([path], OF.exec_id), Tally(rows)
    assert found.rows.num_rows < 130
    assert found.receipt(OF, message="gone", gaps=()) == whole.receipt(OF, message="gone", gaps=())
    assert Tally.of([path], start(number=7).exec_id).rows.num_rows == 0


@pytest.mark.parametrize("moved", [(1 << 53) - 2, 1 << 53, (1 << 63) - 1])
def test_what_a_cell_claims_to_have_moved_is_counted_as_before(tmp_path, moved):
    rows = decode(OF, [frame([call("fd_read", opener=IN, fd=5, aux=moved)] * 3)], OPENED.empty_table())
    rows = pa.concat_tables([rows.slice(0, 1), rows.slice(1).set_column(
        SCHEMA.get_field_index("bytes_in"), SCHEMA.field("bytes_in"), pa.array([0, 0], pa.int64()))])  # fmt: skip
    path = tmp_path / "one.parquet"
    with segment_writer(path, Written()) as file:
        file.add(rows)
    found, whole = Tally.of([path], OF.exec_id), Tally(rows)
    assert found.receipt(OF, message="gone", gaps=()) == whole.receipt(OF, message="gone", gaps=())
