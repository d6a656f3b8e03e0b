"""The catalogue can be made again from what is on disk, and stays right with several users."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from audit.catalogue import Catalogue
from audit.errors import FormatError
from audit.manifest import Manifest, Span
from audit.recovery import recover
from audit.store import Store
from audit.writer import AuditWriter
from sandbox.monitor.decode import decode
from tests.records import STORY, T0, receipt, start, tell

ONE, TWO = start(), start(number=1, module_name="other")


def manifest(name, of, *, t_ns=T0):
    return Manifest(
        segment=f"seg/{name}.parquet",
        source_wal=f"{name}.wal",
        rows=3,
        file_bytes=100,
        sha256="00",
        t_min_ns=t_ns,
        t_max_ns=t_ns + 10,
        spans=(Span(of.exec_id, 0, 2, 3), Span(of.exec_id[:-1] + "f", 5, 9, 3, ((6, 7),))),
        wal_bytes=50,
        wal_lost_bytes=1,
        wal_problem="torn",
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
        catalogue.add(manifest("a", ONE), [receipt(ONE)])
    assert [segment.source_wal for segment in catalogue.segments()] == ["a.wal"]
    assert catalogue.sealed() == {"a.wal"}
    assert catalogue.receipts(limit=5) == (receipt(ONE),)
    assert catalogue.ranges(ONE.exec_id) == ((0, 2),)


def test_segments_are_chosen_by_execution_and_time(catalogue):
    catalogue.add(manifest("a", ONE), [])
    catalogue.add(manifest("b", TWO, t_ns=T0 + 100), [])

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
    catalogue.add(None, [receipt(ONE), receipt(TWO)])
    assert catalogue.digests_named("other") == (TWO.module_digest,)
    assert catalogue.digests_named("nobody") == ()
    assert catalogue.receipt("nobody") is None


def test_it_is_made_again_from_manifests_and_receipts(tmp_path):
    writer = AuditWriter(tmp_path)
    tell(writer, ONE)
    tell(writer, TWO)
    writer.close()
    recover(tmp_path, decode)
    store = Store(tmp_path)
    before = Catalogue(store)
    segments, receipts = before.segments(), before.receipts(limit=9)
    for path in tmp_path.glob("catalog.sqlite*"):
        path.unlink()
    again = Catalogue(store)
    assert (again.segments(), again.receipts(limit=9)) == (segments, receipts)
    again.rebuild()
    assert (again.segments(), again.receipts(limit=9)) == (segments, receipts)
    assert again.ranges(ONE.exec_id) == ((0, len(STORY) - 1),)


def test_a_transaction_that_fails_leaves_nothing(catalogue):
    def broken():
        yield receipt(ONE)
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        catalogue.add(manifest("a", ONE), broken())
    assert catalogue.segments() == ()
    assert catalogue.receipts(limit=1) == ()


def add_some(root, number):
    for turn in range(10):
        Catalogue(Store(Path(root))).add(manifest(f"{number}-{turn}", ONE), [])


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
