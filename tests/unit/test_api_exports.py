from __future__ import annotations

import stat
import threading
from dataclasses import replace

import pytest

from api.exports import MAX_KEPT, Export, ExportJobs, ExportState, TooManyExportsError, Written, new_export
from audit.errors import QueryError


def wanted(owner="ann:1", form="csv"):
    return new_export(owner=owner, form=form, media_type="text/csv")


def writing(content=b"a,b\n", rows=1):
    def write(out):
        out.write(content)
        return Written(rows, b'{"rows":1}')

    return write


def finished(folder, export, write) -> Export:
    jobs = ExportJobs(folder)
    jobs.start(export, write)
    jobs.close()
    found = jobs.get(export.export_id, owner=export.owner)
    assert found is not None
    return found


def test_an_export_that_is_done_has_its_content_and_its_manifest_and_outlives_the_service(tmp_path):
    export = wanted()
    assert finished(tmp_path, export, writing()).state is ExportState.DONE
    jobs = ExportJobs(tmp_path)
    found = jobs.get(export.export_id, owner=export.owner)
    assert found is not None
    assert (found.state, found.rows, found.size_bytes, found.form) == (ExportState.DONE, 1, 4, "csv")
    assert jobs.file(found).read_bytes() == b"a,b\n"
    assert jobs.manifest(found) == b'{"rows":1}'
    assert stat.S_IMODE(jobs.file(found).parent.stat().st_mode) == 0o700
    jobs.close()


def test_an_export_is_shown_to_its_owner_only(tmp_path):
    export = wanted()
    finished(tmp_path, export, writing())
    jobs = ExportJobs(tmp_path)
    assert jobs.get(export.export_id, owner="ann:2") is None
    assert jobs.list(owner="ann:2") == ()
    assert [each.export_id for each in jobs.list(owner="ann:1")] == [export.export_id]
    jobs.close()


def test_one_that_fails_says_what_kind_of_error_and_leaves_no_file(tmp_path):
    def fail(out):
        out.write(b"half")
        raise QueryError("secret place")

    found = finished(tmp_path, wanted(), fail)
    assert (found.state, found.problem, found.rows) == (ExportState.FAILED, "QueryError", None)
    assert list(tmp_path.iterdir()) == []


def test_what_a_crash_left_is_removed_and_never_shown(tmp_path):
    export = wanted()
    finished(tmp_path, export, writing())
    half = tmp_path / wanted().export_id
    half.mkdir()
    (half / "export.bin").write_bytes(b"half")
    odd = tmp_path / wanted().export_id
    odd.mkdir()
    (odd / "job.json").write_bytes((tmp_path / export.export_id / "job.json").read_bytes())
    jobs = ExportJobs(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [export.export_id]
    assert len(jobs.list(owner=export.owner)) == 1
    jobs.close()


def test_the_oldest_that_is_over_makes_room_and_one_that_goes_on_does_not(tmp_path):
    jobs = ExportJobs(tmp_path)
    go = threading.Event()

    def wait(out):
        go.wait(10)
        return writing()(out)

    first = jobs.start(wanted(), wait)
    for _ in range(MAX_KEPT - 1):
        jobs.start(wanted(), writing())
    with pytest.raises(TooManyExportsError):
        jobs.start(wanted(), writing())
    go.set()
    jobs._threads.submit(lambda: None).result(10)  # one after the other, so all are done
    newest = jobs.start(wanted(), writing())
    assert jobs.get(first.export_id, owner=first.owner) is None
    assert jobs.get(newest.export_id, owner=newest.owner) is not None
    jobs.close()


def test_who_asks_often_loses_their_own_exports_and_not_those_of_others(tmp_path):
    jobs = ExportJobs(tmp_path)
    theirs = jobs.start(replace(wanted(), owner="other:0"), writing())
    mine = [jobs.start(wanted(), writing()) for _ in range(MAX_KEPT - 1)]
    jobs._threads.submit(lambda: None).result(30)
    jobs.start(wanted(), writing())
    assert jobs.get(theirs.export_id, owner=theirs.owner) is not None
    assert sum(jobs.get(one.export_id, owner=one.owner) is None for one in mine) == 1
    jobs.close()
