"""Old segments go on record, whatever interrupts it, and the rest of the log still verifies."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace

import pytest

from api.cli import run as wasmgate
from api.retaining import Record, Retaining, UnsignedError, retaining_here
from api.sealing import open_reader
from api.settings import load_settings
from api.signing import sign_once
from audit.catalogue import Catalogue
from audit.filters import RecordFilter
from audit.holds import Scope
from audit.pruning import GOING
from audit.store import Store
from audit.verify import standalone
from tests.aged_logs import DAY_NS, add
from tests.records import STORY, start

OLD, YOUNG, OTHER = (
    start(number=1, retain_days=1),
    start(number=2, retain_days=100_000),
    start(number=3, retain_days=1, tenant="acme", module_digest="sha256:" + "12" * 32),
)


@pytest.fixture
def settings(tmp_path):
    return load_settings({"WASMGATE_HOME": str(tmp_path / "home")})


@pytest.fixture
def log(settings):
    """Three executions, each in a segment of its own; two are long over."""
    for one in (OLD, YOUNG, OTHER):
        add(settings, aged(one))
    return settings.audit_dir


def aged(of):
    return replace(of, started_at_ns=time.time_ns() - 30 * DAY_NS)


def look(settings):
    key = standalone.key_of(str(settings.audit_keys_dir / "signing.vkey"))
    report, _ = standalone.verify(str(settings.audit_dir), [key])
    return report


def errors(report):
    return [one for one in report.findings if one.severity == "error"]


def segments(log):
    return sorted(path.name for path in (log / "seg").rglob("*.parquet") if path.name.count(".") == 1)


def executions(log):
    with open_reader(log) as reader:
        return {row["exec_id"] for row in reader.stream(RecordFilter())}


def test_what_is_old_goes_and_the_rest_verifies(settings, log):
    retaining = retaining_here(settings)
    assert [len(retaining.plan().plan.going), len(segments(log))] == [2, 3]
    done = retaining.prune(actor="test")
    assert (done.deleted.segments, done.deleted.held, len(done.events)) == (2, 0, 2)
    assert len(segments(log)) == 1
    assert executions(log) == {YOUNG.exec_id}
    report = look(settings)
    assert errors(report) == []
    assert report.checked["segments pruned on record"] == 2
    assert report.checked["execution trees"] == 3  # over the hashes, which stay
    assert retaining.plan().plan.going == retaining.plan().unfinished == ()


def test_the_event_names_what_went(settings, log):
    before = {one.path: one for one in Catalogue(Store(log)).retained()}
    retaining_here(settings).prune(actor="test", tenant="acme")
    (event,) = Catalogue(Store(log)).events(kind="prune")
    (path,) = event.details["segments"].split("\n")
    assert (event.tenant, before[path].tenant, event.actor) == ("acme", "acme", "test")
    assert (event.details["rows"], event.details["executions"]) == (str(len(STORY)), "1")
    log_entries = look(settings)
    assert errors(log_entries) == []


def test_segments_that_are_gone_without_a_record_are_a_loss(settings, log):
    for path in (log / "seg").rglob("*"):
        if path.is_file() and path.name.endswith(GOING):
            path.unlink()
    assert errors(look(settings)) != []


def test_a_record_that_is_not_signed_excuses_nobody(settings, log):
    retaining = Retaining(settings, unsigned(settings))
    with pytest.raises(UnsignedError):
        retaining.prune(actor="test")
    assert len(segments(log)) == 3
    assert errors(look(settings)) == []
    (gone, *_) = Catalogue(Store(log)).pruned()
    (log / gone).unlink()
    assert errors(look(settings)) != []
    sign_once(settings)
    assert errors(look(settings)) == []
    assert retaining_here(settings).prune(actor="test").deleted.segments == 2  # and what was left is done now


def unsigned(settings):
    real = retaining_here(settings)._record
    return Record(event=real.event, seal=real.seal, sign=lambda _size: "there is no key")


@pytest.mark.parametrize("steps", range(4))
def test_a_crash_leaves_what_the_next_prune_finishes(settings, log, steps):
    real, calls = retaining_here(settings)._record, []

    def step(name, act):
        def stepped(*given):
            calls.append(name)
            if len(calls) > steps + 1:  # the first seal is of what was left
                raise KeyboardInterrupt(name)
            return act(*given)

        return stepped

    dying = Record(
        event=step("event", real.event), seal=step("seal", real.seal), sign=step("sign", real.sign)
    )
    with pytest.raises(KeyboardInterrupt):
        Retaining(settings, dying).prune(actor="test")
    assert len(segments(log)) == 3
    assert [one for one in errors(look(settings)) if one.what != "wal"] == []
    done = retaining_here(settings).prune(actor="test")
    assert done.deleted.segments == 2
    assert executions(log) == {YOUNG.exec_id}
    named = [one.details["segments"] for one in Catalogue(Store(log)).events(kind="prune")]
    assert len(named) == len(set(named)) == 2
    assert errors(look(settings)) == []


def test_a_catalogue_that_is_made_anew_knows_what_is_gone(settings, log):
    retaining_here(settings).prune(actor="test")
    (log / "catalog.sqlite").unlink()
    assert executions(log) == {YOUNG.exec_id}
    assert errors(look(settings)) == []


@pytest.mark.parametrize(
    ("scope", "kept"),
    [
        (Scope(tenant="acme"), OTHER),
        (Scope(execution=OLD.exec_id), OLD),
        (Scope(module=OTHER.module_digest), OTHER),
    ],
)
def test_what_is_on_hold_stays_until_it_is_released(settings, log, scope, kept):
    retaining = retaining_here(settings)
    held = retaining.hold(scope, reason="case 7", actor="test")
    retaining.prune(actor="test")
    assert executions(log) == {YOUNG.exec_id, kept.exec_id}
    assert retaining.release(held.hold_id, reason="closed", actor="test") == held
    assert retaining.release(held.hold_id, reason="closed", actor="test") is None
    retaining.prune(actor="test")
    assert executions(log) == {YOUNG.exec_id}
    assert errors(look(settings)) == []


def test_a_hold_that_comes_between_record_and_deletion_keeps_the_files(settings, log):
    with pytest.raises(UnsignedError):
        Retaining(settings, unsigned(settings)).prune(actor="test")
    retaining = retaining_here(settings)
    held = retaining.hold(Scope(tenant="acme"), reason="case 7", actor="test")
    done = retaining.prune(actor="test")
    assert (done.deleted.segments, done.deleted.held, len(segments(log))) == (1, 1, 2)
    assert errors(look(settings)) == []
    retaining.release(held.hold_id, reason="closed", actor="test")
    assert retaining.prune(actor="test").deleted.segments == 1


def test_the_commands_say_what_they_do(settings, log, monkeypatch, capsys):
    monkeypatch.setenv("WASMGATE_HOME", str(settings.home))

    def run(*arguments, status=0):
        found = wasmgate(["audit", *arguments])
        out, err = capsys.readouterr()
        assert found == status, out + err
        return out

    held = run("hold", "add", "--tenant", "acme", "--reason", "case \u202e 7").strip()
    assert "case \\u202e 7" in run("hold", "list")
    assert json.loads(run("hold", "list", "--output", "json"))[0]["id"] == held
    would = json.loads(run("prune", "--dry-run", "--output", "json"))
    assert [one["action"] for one in would["segments"]] == ["would delete", "keep", "keep"]
    assert would["deleted"] is None
    assert len(segments(log)) == 3
    did = json.loads(run("prune", "--output", "json"))
    assert (did["deleted"]["segments"], len(segments(log))) == (1, 2)
    run("hold", "release", "nobody", "--reason", "x", status=1)
    run("hold", "release", held, "--reason", "closed")
    assert run("hold", "list") == ""
    run("hold", "add", "--reason", "x", status=2)
    run("hold", "add", "--tenant", "a", "--reason", " ", status=2)
    run("prune", "--until", "soon", status=2)
    assert "delete" in run("prune", "--until", "2100-01-01")
    run("verify")


def test_a_copy_that_was_pruned_by_nobody_is_as_before(settings, log, tmp_path):
    shutil.copytree(log, tmp_path / "copy")
    retaining_here(settings).prune(actor="test")
    key = standalone.key_of(str(settings.audit_keys_dir / "signing.vkey"))
    report, _ = standalone.verify(str(tmp_path / "copy"), [key])
    assert errors(report) == []
