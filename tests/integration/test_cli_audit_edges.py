"""Edges of `wasmgate audit`: what is mixed up, empty, deleted or not signed, each told in a sentence."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from api.cli import run as wasmgate
from api.retaining import retaining_here
from api.settings import load_settings
from tests.aged_logs import DAY_NS, add
from tests.records import STORY, start

OLD, YOUNG = start(number=1, retain_days=1), start(number=2, retain_days=100_000)
EARLY, LATE = "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z"


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("WASMGATE_HOME", str(tmp_path / "home"))
    found = load_settings({"WASMGATE_HOME": str(tmp_path / "home")})
    for one in (OLD, YOUNG):
        add(found, replace(one, started_at_ns=time.time_ns() - 30 * DAY_NS))
    return found


@pytest.fixture
def audit(settings, capsys):  # the log is there
    def ask(*arguments, status=0):
        """What it printed, and what it said."""
        found = wasmgate(["audit", *arguments])
        out, err = capsys.readouterr()
        assert found == status, out + err
        return out, err

    return ask


PERIODS = [
    ("query",),
    ("stats",),
    ("aggregate",),
    ("tail",),
    ("control",),
    ("export", "--form", "csv", "--out", "-"),
    ("report",),
    ("hold", "add", "--tenant", "acme", "--reason", "r"),
]


@pytest.mark.parametrize("command", PERIODS, ids=lambda words: words[0])
def test_a_period_that_ends_before_it_begins_is_refused_in_one_sentence(audit, command):
    out, err = audit(*command, "--from", LATE, "--to", EARLY, status=2)
    assert out == ""
    (line,) = (line for line in err.splitlines() if "to: expected" in line)
    assert "`from`" in line or "--from" in line


@pytest.mark.parametrize("command", PERIODS[:-2], ids=lambda words: words[0])
def test_a_period_that_ends_after_it_begins_is_taken(audit, command):
    audit(*command, "--from", EARLY, "--to", LATE)


def test_the_tail_that_follows_nothing_gives_the_last_records_in_their_order(audit):
    lines = [json.loads(line) for line in audit("tail", "--lines", "3")[0].splitlines()]
    all_of_them = [json.loads(line) for line in audit("query", "--output", "ndjson")[0].splitlines()]
    assert len(all_of_them) > 3
    assert lines == all_of_them[:3][::-1]  # a query gives the newest first
    one = ("--execution", OLD.exec_id)
    seqs = [json.loads(line)["seq"] for line in audit("tail", *one)[0].splitlines()]
    assert seqs == list(range(len(STORY)))[-10:]
    assert audit("tail", "--call", "nothing") == ("", "no records\n")
    table = audit("tail", "--output", "table", "--lines", "2")[0].splitlines()
    assert (len(table), table[0].split()[0]) == (3, "time")


def test_the_picture_of_an_execution_whose_records_were_deleted_says_so(audit, settings):
    assert "deleted" not in audit("show", OLD.exec_id)[1]
    retaining_here(settings).prune(actor="user:ann(1)")
    (event,) = json.loads(audit("control", "--event", "prune", "--output", "json")[0])
    out, err = audit("show", OLD.exec_id)
    assert OLD.exec_id in out
    assert err.startswith("its records were deleted on ")
    assert f"by user:ann(1): event {event['id']}, leaf {event['leaf']}" in err
    (gone,) = json.loads(audit("show", OLD.exec_id, "--output", "json")[0])["deleted"]
    assert (gone["event"], gone["segments"], gone["of"]) == (event["id"], 1, 1)
    assert json.loads(audit("show", YOUNG.exec_id, "--output", "json")[0])["deleted"] == []


def test_a_hold_on_nothing_or_on_two_things_is_refused_in_a_sentence(audit):
    wrong = (((), "none of them"), (("--tenant", "acme", "--exec", OLD.exec_id), "more than one"))
    for words, found in wrong:
        _, err = audit("hold", "add", *words, "--reason", "r", status=2)
        assert f"expected one of --tenant, --exec and --module, found {found}" in err
        assert "{" not in err
    audit("hold", "add", "--tenant", "acme", "--reason", "r")


def test_files_are_shown_with_times_and_counts_that_people_read(audit):
    table = audit("files", OLD.exec_id)[0]
    assert "{" not in table
    assert "T" in table.splitlines()[1].split()[-1]
    assert table.splitlines()[1].split()[-1].endswith("Z")
    rows = json.loads(audit("files", OLD.exec_id, "--output", "json")[0])
    assert isinstance(rows[0]["first_t_ns"], int)
    assert isinstance(rows[0]["decisions"], dict)


def test_the_status_says_what_is_not_signed_and_how_to_sign_it(audit):
    audit("query")
    audit("query")  # the first read is sealed by the second
    _, err = audit("status")
    assert "leaves are not signed yet" in err
    assert "`wasmgate audit seal`" in err
    audit("seal")
    assert "not signed" not in audit("status")[1]


def test_sealing_seals_and_signs_what_is_left_and_says_how_much(audit, settings):
    audit("query")
    (out, err) = audit("seal")
    assert err == ""
    assert out.startswith("sealed 0 rows of 1 files; ")
    found = json.loads(audit("seal", "--output", "json")[0])
    assert (found["files"], found["rows"]) == (0, 0)
    assert f"{found['size']} leaves are signed" in out
    note = (settings.audit_dir / "tlog/checkpoint").read_text().splitlines()
    assert int(note[1]) == found["size"]


def test_where_there_is_no_log_nothing_is_sealed_or_made(audit, tmp_path):
    _, err = audit("seal", "--audit-dir", str(tmp_path / "none"), status=1)
    assert "holds no audit log" in err
    assert not (tmp_path / "none").exists()


def test_a_log_that_cannot_be_signed_is_sealed_and_the_command_fails(audit, settings):
    audit("query")
    key = settings.audit_keys_dir / "signing.key"
    key.chmod(0o644)
    out, err = audit("seal", status=1)
    assert out == ""
    assert "not signed" in err
    key.chmod(0o600)
    assert audit("seal")[0].startswith("sealed 0 rows of 0 files; ")
