from __future__ import annotations

import stat
import threading
import time

import pytest

from api.exports import (
    MAX_GOING_OF_ONE,
    MAX_KEPT,
    MAX_KEPT_OF_ONE,
    Export,
    ExportJobs,
    ExportState,
    TooManyExportsError,
    Written,
    new_export,
)
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


def waited(jobs, *exports):
    """Wait until they are over; gives them as they are then."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        found = [jobs.get(each.export_id, owner=each.owner) for each in exports]
        if all(each is None or each.state is not ExportState.RUNNING for each in found):
            return [each for each in found if each is not None]
    raise TimeoutError


def blocking(go):
    def wait(out):
        go.wait(30)
        return writing()(out)

    return wait


def test_one_key_has_so_many_going_on_and_another_still_gets_its_own(tmp_path):
    jobs, go = ExportJobs(tmp_path), threading.Event()
    mine = [jobs.start(wanted(), blocking(go)) for _ in range(MAX_GOING_OF_ONE)]
    with pytest.raises(TooManyExportsError, match="this key"):
        jobs.start(wanted(), writing())
    theirs = jobs.start(wanted("other:0"), writing())
    assert [each.state for each in waited(jobs, theirs)] == [ExportState.DONE]  # it did not wait for mine
    assert {each.state for each in jobs.list(owner="ann:1")} == {ExportState.RUNNING}
    go.set()
    assert {each.state for each in waited(jobs, *mine)} == {ExportState.DONE}
    jobs.start(wanted(), writing())
    jobs.close()


def test_no_more_are_written_at_once_than_may_and_each_gets_its_turn(tmp_path):
    jobs, go, begun = ExportJobs(tmp_path), threading.Event(), []

    def write(owner):
        def wait(out):
            begun.append(owner)
            return blocking(go)(out)

        return wait

    started = [jobs.start(wanted(owner), write(owner)) for owner in ("a:0", "a:0", "b:0", "c:0", "b:0")]
    until = time.monotonic() + 10
    while len(begun) < 2 and time.monotonic() < until:
        pass
    assert sorted(begun) == ["a:0", "b:0"]
    go.set()
    assert {each.state for each in waited(jobs, *started)} == {ExportState.DONE}
    assert sorted(begun) == ["a:0", "a:0", "b:0", "b:0", "c:0"]
    jobs.close()


def test_as_many_as_are_kept_going_on_leave_no_room_and_one_that_is_over_makes_it(tmp_path):
    jobs, go = ExportJobs(tmp_path), threading.Event()
    each_key = [wanted(f"key:{n // MAX_GOING_OF_ONE}") for n in range(MAX_KEPT)]
    started = [jobs.start(each, blocking(go)) for each in each_key]
    with pytest.raises(TooManyExportsError, match="100 exports"):
        jobs.start(wanted(), writing())
    go.set()
    waited(jobs, *started)
    newest = jobs.start(wanted(), writing())
    assert jobs.get(started[0].export_id, owner=started[0].owner) is None
    assert jobs.get(newest.export_id, owner=newest.owner) is not None
    jobs.close()


def test_who_asks_often_loses_their_own_exports_and_not_those_of_others(tmp_path):
    jobs = ExportJobs(tmp_path)
    theirs = jobs.start(wanted("other:0"), writing())
    mine = [waited(jobs, jobs.start(wanted(), writing()))[0] for _ in range(MAX_KEPT_OF_ONE)]
    waited(jobs, theirs)
    jobs.start(wanted(), writing())
    assert jobs.get(theirs.export_id, owner=theirs.owner) is not None
    assert [jobs.get(one.export_id, owner=one.owner) is None for one in mine] == [True] + [False] * (
        len(mine) - 1
    )
    jobs.close()


def test_what_waits_when_the_service_ends_is_not_begun(tmp_path):
    jobs, go, begun = ExportJobs(tmp_path), threading.Event(), []

    def write(out):
        begun.append(1)
        return blocking(go)(out)

    for _ in range(3):
        jobs.start(wanted(), write)
    closing = threading.Thread(target=jobs.close)
    closing.start()
    go.set()
    closing.join(10)
    assert not closing.is_alive()
    assert begun == [1]
    with pytest.raises(TooManyExportsError, match="ending"):
        jobs.start(wanted(), write)
