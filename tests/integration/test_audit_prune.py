"""Old segments go on record, whatever interrupts it, and the rest of the log still verifies."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace

import pytest

from api.cli import run as wasmgate
from api.control import control_event
from api.proving import canonical_records, open_prover
from api.retaining import Pruned, Record, Retaining, UnsignedError, retaining_here
from api.sealing import open_reader, seal_left
from api.settings import load_settings
from api.signing import sign_once
from audit.catalogue import Catalogue
from audit.catalogue_tables import Retained
from audit.columns import WORDS
from audit.filters import RecordFilter
from audit.holds import Scope
from audit.leaves import event_leaf
from audit.pruning import GOING, prune_details
from audit.receipt import CallCount
from audit.store import Store
from audit.tlog.errors import UnprovableError
from audit.verify import standalone
from audit.writer import AuditWriter
from tests.aged_logs import DAY_NS, add, counted
from tests.records import STORY, pack, receipt, start, tell
from tests.sealed_logs import rows_of

OLD, YOUNG, OTHER = (
    start(number=1, retain_days=1),
    start(number=2, retain_days=100_000),
    start(number=3, retain_days=1, tenant="acme", module_digest="sha256:" + "12" * 32),
)


def deleted(done: Pruned) -> int:
    """Give how many segments a prune deleted."""
    assert done.deleted is not None
    return done.deleted.segments


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
    assert done.deleted is not None
    assert (done.deleted.segments, done.deleted.held, len(done.events)) == (2, 0, 2)
    assert len(segments(log)) == 1
    assert executions(log) == {YOUNG.exec_id}
    report = look(settings)
    assert errors(report) == []
    assert report.checked["segments pruned on record"] == 2
    assert report.checked["execution trees"] == 3  # over the hashes, which stay
    assert (retaining.plan().plan.going, retaining.plan().unfinished) == ((), ())


def test_the_event_names_what_went(settings, log):
    before = {one.path: one for one in Catalogue(Store(log)).retained()}
    retaining_here(settings).prune(actor="test", tenant="acme")
    (event,) = Catalogue(Store(log)).events(kind="prune")
    (path,) = str(event.details["segments"]).split("\n")
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
    assert deleted(retaining_here(settings).prune(actor="test")) == 2  # and what was left is done now


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
    assert done.deleted is not None
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
    assert done.deleted is not None
    assert (done.deleted.segments, done.deleted.held, len(segments(log))) == (1, 1, 2)
    assert errors(look(settings)) == []
    retaining.release(held.hold_id, reason="closed", actor="test")
    assert deleted(retaining.prune(actor="test")) == 1


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


def test_a_crash_amid_deleting_leaves_a_log_that_verifies_and_is_finished_later(settings, log):
    with pytest.raises(UnsignedError):
        Retaining(settings, unsigned(settings)).prune(actor="test")
    sign_once(settings)
    files = sorted(path for path in (log / "seg").rglob("*") if path.name.endswith(GOING))
    gone = sorted(Catalogue(Store(log)).pruned())
    doomed = [path for path in files if any(str(path).startswith(str(log / one)[:-8]) for one in gone)]
    for path in doomed:
        path.unlink()
        assert errors(look(settings)) == []
        assert executions(log) == {YOUNG.exec_id}
    assert retaining_here(settings).plan().unfinished == ()


def test_the_rest_of_an_execution_can_still_be_proved(settings):
    """Its first segment goes; records in the second still lead to the receipt."""
    of = aged(replace(OLD, retain_days=1))
    other = aged(replace(YOUNG, started_at_ns=of.started_at_ns))
    rows = 200
    with closing(AuditWriter(settings.audit_dir)) as writer:
        tell(writer, of, rounds=rows // len(STORY), is_ended=False)
        writer.rotate()
        seal_left(settings.audit_dir, keys_dir=settings.audit_keys_dir)
        first = rows // len(STORY) * len(STORY)
        made, arena = pack(STORY[:2], first_seq=first, t0=of.started_at_ns)
        writer.append(of.exec_id, first_seq=first, records=made.tobytes(), arena=arena)
        tell(writer, other, is_ended=False)  # keeps the second segment
        writer.end(of.exec_id, summed(of, [*STORY * (rows // len(STORY)), *STORY[:2]]))
        writer.end(other.exec_id, counted(other))
    seal_left(settings.audit_dir, keys_dir=settings.audit_keys_dir)
    sign_once(settings)
    assert deleted(retaining_here(settings).prune(actor="test")) == 1
    assert errors(look(settings)) == []
    prover = open_prover(settings.audit_dir)
    proof = prover.record(of.exec_id, first, canonical_records)
    key = standalone.key_of(str(settings.audit_keys_dir / "signing.vkey"))
    assert standalone.check_proof(proof.content, [key])["row"]["seq"] == str(first)
    with pytest.raises(UnprovableError, match="retention may have removed it"):
        prover.record(of.exec_id, 0, canonical_records)


def summed(of, story):
    rows = rows_of(of, tuple(story))
    pairs = zip(*(rows.column(name).to_pylist() for name in ("call", "decision")), strict=True)
    counts = Counter((call.rpartition(".")[2], WORDS[decision]) for call, decision in pairs)
    calls = tuple(CallCount(call=c, decision=d, count=n) for (c, d), n in sorted(counts.items()))
    return replace(receipt(of, records=len(story)), calls=calls)


def test_many_segments_are_named_in_events_that_fit(tmp_path):
    store = Store(tmp_path)
    going = []
    for number in range(300):
        path = f"seg/tenant={'x' * 120 if number % 2 else 'y'}/day=2026-11-18/run-{'0' * 40}-{number:06d}.parquet"
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).with_suffix(".manifest.json").write_bytes(b"{}\n")
        going.append(
            Retained(
                path=path, tenant="x" if number % 2 else "y", rows=1 << 40, calls=1 << 50, t_min_ns=0, t_max_ns=1,
                file_bytes=1, modules=(), stays=(),
            )
        )  # fmt: skip
    named = []
    for tenant, details in prune_details(store, going):
        event = control_event("prune", actor="test", tenant=tenant, **details)
        entry = json.loads(event_leaf(event).entry)
        assert set(entry["details"]) == set(details)  # nothing was cut to a digest
        named += list(standalone.pruned_in(entry))
        assert len(str(details["manifests"]).split("\n")) == details["count"]
    assert sorted(named) == sorted(one.path for one in going)


@pytest.mark.parametrize(
    "path", ["../x.parquet", "x.parquet", "seg/../../x.parquet", "exec/x.receipt.json", "seg/x.txt"]
)
def test_a_record_that_names_what_is_no_segment_deletes_nothing(settings, log, path):
    victim = (log / path).resolve()
    victim.parent.mkdir(exist_ok=True, parents=True)
    victim.write_bytes(b"x")
    event = control_event("prune", actor="test", segments=path)
    retaining_here(settings)._record.event(event)
    retaining_here(settings).prune(actor="test", tenant="nobody")
    assert victim.read_bytes() == b"x"
