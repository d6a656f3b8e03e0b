"""The files of a file's segments: the same, however many executions come together, and none after an error."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import segment_files
from audit.chunks import chunk_leaves, context_of
from audit.columns import OPENED, REFUSING, Stage, out_of_file
from audit.errors import FormatError
from audit.gather import Reading, Unrolled
from audit.leaves import REFUSALS_LEAVED
from audit.manifest import Source
from audit.rollup import Rollup
from audit.segment_files import make_segments
from audit.store import Store
from sandbox.monitor.decode import decode
from tests.records import STORY, frame, start

SOURCE = Source(wal="run-1-000001.wal", size_bytes=1, lost_bytes=0, problem=None)
NOTHING = OPENED.empty_table()


def part(number, tenant, copies):
    of = start(number=number, tenant=tenant)
    frames = [frame(STORY, first_seq=at * len(STORY)) for at in range(copies)]
    return Unrolled(of, frames, is_continued=False)


def rows_of(one):
    return decode(one.start, one.frames, NOTHING).to_pylist()


def is_refused(row):
    return row["decision"] in REFUSING


@settings(max_examples=8)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9)), min_size=1, max_size=6),
    st.integers(1, 400),
)
def test_executions_that_are_sealed_together_are_what_each_is_alone(tmp_path_factory, wanted, at_once):
    parts = [part(number, tenant, copies) for number, (tenant, copies) in enumerate(wanted)]
    tenants = [[one for one in parts if one.start.tenant == name] for name in "ab"]
    store = Store(tmp_path_factory.mktemp("log"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segment_files, "AT_ONCE", at_once)
        made = make_segments(store, [one for one in tenants if one], Reading(decode), SOURCE)
    assert [one.manifest.tenant for one in made] == sorted({one.start.tenant for one in parts if one.frames})
    for one in made:
        ours = [each for each in parts if each.start.tenant == one.manifest.tenant and each.frames]
        rows = [row for each in ours for row in rows_of(each)]
        path = store.root / one.manifest.segment
        assert out_of_file(pq.read_table(path, partitioning=None)).to_pylist() == rows
        kept = [row for row in rows if is_refused(row) or row["stage"] == Stage.TRAP]
        refusals = pq.read_table(path.with_suffix(".deny.parquet"), partitioning=None)
        assert out_of_file(refusals).to_pylist() == kept
        for each in ours:
            of = each.start
            context = context_of(of.exec_id, of.tenant, of.module_digest, of.policy_digest)
            whole = decode(of, each.frames, NOTHING)
            assert one.chunks[of.exec_id] == chunk_leaves(whole, of.exec_id, context)
        leaved = [row for table in one.refusals for row in table.to_pylist()]
        first = [[row for row in rows_of(each) if is_refused(row)][:REFUSALS_LEAVED] for each in ours]
        assert leaved == [row for some in first for row in some]
        rollup = Rollup()
        for each in ours:
            rollup.add(decode(each.start, each.frames, NOTHING), each.start.tenant)
        assert pq.read_table(path.with_suffix(".rollup.parquet"), partitioning=None).equals(rollup.table())
        assert [span.exec_id for span in one.manifest.spans] == [each.start.exec_id for each in ours]
        assert one.manifest.rows == one.manifest.calls == len(rows)


def test_an_error_in_one_tenant_leaves_no_unfinished_file(tmp_path):
    parts = [part(0, "a", 2), part(1, "b", 2)]

    def decoder(of, frames, known):
        return decode(of, frames, known).slice(0, 1 if of.tenant == "b" else None)

    with pytest.raises(FormatError):
        make_segments(Store(tmp_path), [[one] for one in parts], Reading(decoder), SOURCE)
    left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert not [name for name in left if name.startswith(".")]
    assert any(name.endswith(".manifest.json") for name in left)
    assert not list(tmp_path.rglob("tenant=b/**/*.parquet"))
