"""The catalogue can be made again from what is on disk, and stays right with several users."""

from __future__ import annotations

import multiprocessing
import shutil
from pathlib import Path

import pytest

from audit.catalogue import Catalogue
from audit.errors import FormatError, WriteError
from audit.identity import ExecutionId
from audit.leaves import LeafKind
from audit.manifest import File, Files, Manifest, Source, Span
from audit.recovery import recover
from audit.store import Store
from audit.tlog.errors import DamageError
from audit.writer import AuditWriter
from sandbox.monitor.decode import decode
from tests.records import T0, receipt, start, tell

ONE, TWO = start(), start(number=1, module_name="other")
OTHER = start(number=2, tenant="acme")


def manifest(name, of, *, t_ns=T0, tenant="default"):
    file = File(f"{name}.parquet", 100, "00")
    return Manifest(
        segment=f"seg/{tenant}/{name}.parquet",
        tenant=tenant,
        files=Files(records=file, refusals=None, rollup=file, chunks=file),
        rows=3,
        calls=4,
        refusals=1,
        t_min_ns=t_ns,
        t_max_ns=t_ns + 10,
        root="ab" * 32,
        chunks=2,
        modules=(of.module_digest,),
        policies=(of.policy_digest,),
        spans=(
            Span(of.exec_id, 0, 2, 3, 3, 1),
            Span(ExecutionId(of.exec_id[:-1] + "f"), 5, 9, 3, 4, 1, ((6, 7),)),
        ),
        source=Source(wal=f"{name}.wal", size_bytes=50, lost_bytes=1, problem="torn"),
    )


@pytest.fixture
def catalogue(tmp_path):
    store = Store(tmp_path)
    store.create()
    return Catalogue(store)


def test_a_manifest_comes_back():
    made = manifest("a", ONE, t_ns=-(2**63))
    assert Manifest.from_json(made.to_json()) == made
    with pytest.raises(FormatError):
        Manifest.from_json(made.to_json().replace(b'"rows":3', b'"rows":null'))


def test_adding_twice_is_adding_once(catalogue):
    for _ in range(2):
        catalogue.add([manifest("a", ONE)], [receipt(ONE)])
    assert [segment.source_wal for segment in catalogue.segments()] == ["a.wal"]
    assert catalogue.sealed() == {"a.wal"}
    assert catalogue.receipts(limit=5) == (receipt(ONE),)
    assert catalogue.ranges(ONE.exec_id) == ((0, 2),)


def test_segments_are_chosen_by_execution_and_time(catalogue):
    catalogue.add([manifest("a", ONE)], [])
    catalogue.add([manifest("b", TWO, t_ns=T0 + 100)], [])

    def names(**kw):
        return [segment.path.name for segment in catalogue.segments(**kw)]

    assert names() == ["a.parquet", "b.parquet"]
    assert names(exec_id=TWO.exec_id) == ["b.parquet"]
    assert names(from_ns=T0 + 10) == ["a.parquet", "b.parquet"]
    assert names(from_ns=T0 + 11) == ["b.parquet"]
    assert names(to_ns=T0 + 100) == ["a.parquet"]
    assert names(to_ns=T0 + 101) == ["a.parquet", "b.parquet"]
    assert names(exec_id="nobody") == []


def test_modules_have_names(catalogue):
    catalogue.add([], [receipt(ONE), receipt(TWO)])
    assert catalogue.digests_named("other") == (TWO.module_digest,)
    assert catalogue.digests_named("nobody") == ()
    assert catalogue.receipt("nobody") is None


def test_policies_have_names(catalogue):
    catalogue.add([], [receipt(ONE), receipt(TWO)])
    assert catalogue.policies_named(ONE.policy_name) == (ONE.policy_digest,)
    assert catalogue.policies_named("nobody") == ()


def test_executions_of_some_segments_are_counted_once(catalogue):
    made = [manifest("a", ONE), manifest("b", ONE), manifest("c", TWO)]
    catalogue.add(made, [])
    both, other = [one.segment for one in made[:2]], made[2].segment
    always = f"{ONE.exec_id[:-1]}f"  # is in each of them
    assert catalogue.count_executions(both) == 2
    assert catalogue.count_executions([*both, other]) == 3
    assert catalogue.count_executions([*both, other], exec_id=TWO.exec_id) == 1
    assert catalogue.count_executions(both, [always, TWO.exec_id]) == 3  # of which one is in no segment
    assert catalogue.count_executions([], [TWO.exec_id]) == 1
    assert catalogue.count_executions([]) == 0


def all_of(catalogue):
    return (
        catalogue.segments(),
        catalogue.receipts(limit=99),
        {kind: catalogue.leaf_keys(kind) for kind in LeafKind},
        catalogue.events(),
        {of.exec_id: catalogue.parts(of.exec_id) for of in (ONE, TWO, OTHER)},
        catalogue.entries_read(),
    )


def test_it_is_made_again_from_what_is_on_disk(tmp_path):
    writer = AuditWriter(tmp_path)
    for of in (ONE, TWO, OTHER):
        tell(writer, of)
    writer.close()
    recover(tmp_path, decode)
    store = Store(tmp_path)
    # an execution that is over and not sealed yet is in neither
    late = AuditWriter(tmp_path)
    tell(late, start(number=7))
    before = all_of(Catalogue(store))
    assert len(before[0]) == 2
    assert len(before[1]) == 3
    for path in tmp_path.glob("catalog.sqlite*"):
        path.unlink()
    assert all_of(Catalogue(store)) == before
    Catalogue(store).rebuild()
    assert all_of(Catalogue(store)) == before
    late.close()


def test_a_segment_without_an_entry_is_not_taken_for_sealed(tmp_path):
    writer = AuditWriter(tmp_path)
    tell(writer, ONE)
    writer.close()
    (sealed,) = recover(tmp_path, decode)
    (made,) = sealed.segments
    copy = made.with_name("run-0-000000.manifest.json")
    text = made.with_suffix(".manifest.json").read_text()
    copy.write_text(text.replace(made.stem, "run-0-000000"))
    catalogue = Catalogue(Store(tmp_path))
    catalogue.rebuild()
    assert [segment.path for segment in catalogue.segments()] == [made]


def test_a_log_of_another_version_is_refused(tmp_path):
    store = Store(tmp_path)
    store.create()
    old = store.segments / "tenant=default" / "run-0-000000.manifest.json"
    old.parent.mkdir()
    old.write_bytes(b'{"schema":"wasmgate.record.v1","segment":"seg/x.parquet"}')
    with pytest.raises(FormatError, match="other versions of this program wrote this log"):
        Catalogue(store)


def test_entries_that_were_cut_away_are_noticed(tmp_path):
    writer = AuditWriter(tmp_path)
    tell(writer, ONE)
    writer.close()
    recover(tmp_path, decode)
    shutil.rmtree(tmp_path / "tlog")
    with pytest.raises(DamageError, match="0 entries, and had"):
        Catalogue(Store(tmp_path)).catch_up()


def test_tenants_are_kept_apart(catalogue):
    catalogue.add([manifest("a", ONE), manifest("a", OTHER, tenant="acme")], [receipt(ONE), receipt(OTHER)])
    assert [segment.tenant for segment in catalogue.segments(tenant="acme")] == ["acme"]
    assert {segment.tenant for segment in catalogue.segments()} == {"acme", "default"}
    assert catalogue.sealed() == {"a.wal"}
    assert [made.execution_id for made in catalogue.receipts(limit=9, tenant="acme")] == [OTHER.exec_id]
    assert len(catalogue.receipts(limit=9)) == 2


def test_what_is_deleted_is_forgotten(catalogue):
    catalogue.add([manifest("a", ONE), manifest("b", TWO)], [receipt(ONE), receipt(TWO)])
    catalogue.drop(["seg/default/a.parquet"], [ONE.exec_id])
    assert [segment.path.name for segment in catalogue.segments()] == ["b.parquet"]
    assert catalogue.receipts(limit=9) == (receipt(TWO),)
    assert catalogue.parts(ONE.exec_id) == ()


def test_a_catalogue_that_is_no_database_says_what_to_do(tmp_path):
    Store(tmp_path).create()
    Store(tmp_path).catalogue.write_bytes(b"x" * 5000)
    with pytest.raises(WriteError, match="made anew if it is deleted"):
        Catalogue(Store(tmp_path))


def test_a_transaction_that_fails_leaves_nothing(catalogue):
    def broken():
        yield receipt(ONE)
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        catalogue.add([manifest("a", ONE)], broken())
    assert catalogue.segments() == ()
    assert catalogue.receipts(limit=1) == ()


def add_some(root, number):
    for turn in range(10):
        Catalogue(Store(Path(root))).add([manifest(f"{number}-{turn}", ONE)], [])


def test_processes_make_it_and_add_to_it_at_once(tmp_path):
    Store(tmp_path).create()
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=add_some, args=(str(tmp_path), number)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert len(Catalogue(Store(tmp_path)).segments()) == 30
