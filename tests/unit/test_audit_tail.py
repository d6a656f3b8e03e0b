"""What is not sealed yet can be read while it is written."""

from __future__ import annotations

from audit import tail
from audit.catalogue import Catalogue
from audit.store import Store
from audit.writer import AuditWriter
from sandbox.monitor.decode import decode
from tests.records import STORY, start, tell


def test_it_holds_what_was_written_so_far(tmp_path):
    writer, one, two = AuditWriter(tmp_path), start(), start(number=1)
    store = Store(tmp_path)
    catalogue = Catalogue(store)
    assert tail.read_tail(store, catalogue).table(catalogue, decode).num_rows == 0
    tell(writer, one)
    tell(writer, two, rounds=2, is_ended=False)
    found = tail.read_tail(store, catalogue)
    assert found.sources == {writer.path.name}
    assert found.found[one.exec_id].receipt is not None
    assert found.found[two.exec_id].receipt is None
    assert found.table(catalogue, decode).num_rows == 3 * len(STORY)
    assert found.table(catalogue, decode, exec_id=two.exec_id).num_rows == 2 * len(STORY)
    writer.close()


def test_a_file_that_is_sealed_between_listing_and_reading_is_passed_over(tmp_path, monkeypatch):
    writer = AuditWriter(tmp_path)
    tell(writer, start())
    store = Store(tmp_path)
    gone = store.wal / "run-0-000000.wal"
    monkeypatch.setattr(tail, "wal_files", lambda _: [gone, writer.path])
    assert tail.read_tail(store, Catalogue(store)).sources == {writer.path.name}
    writer.close()
