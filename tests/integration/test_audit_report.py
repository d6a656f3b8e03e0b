"""A report over a real log: its numbers are those of the log, and what is wrong is said and shown."""

from __future__ import annotations

import json
import time
from contextlib import closing
from dataclasses import replace

import pytest

from api.cli import run as wasmgate
from api.settings import load_settings
from audit.columns import REFUSING
from audit.events import Gap
from audit.writer import AuditWriter
from tests.aged_logs import DAY_NS, add
from tests.records import IN, STORY, T0, call, start
from tests.sealed_logs import rows_of

PERIOD = ("--from", "2026-11-01", "--to", "2027-01-01")
HOSTILE = b"</script><script>alert(1)</script>\x00\xe2\x80\xae"


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("WASMGATE_HOME", str(tmp_path / "home"))
    return load_settings({"WASMGATE_HOME": str(tmp_path / "home")})


@pytest.fixture
def log(settings):
    for number, tenant in ((1, "default"), (2, "acme"), (3, "acme")):
        add(settings, start(number=number, tenant=tenant), rounds=number)
    return settings.audit_dir


@pytest.fixture
def report(capsys):
    def made(*options, status=0):
        found = wasmgate(["audit", "report", *options])
        out, err = capsys.readouterr()
        assert found == status, err
        return out

    return made


def document(report, *options, status=0):
    return json.loads(report(*PERIOD, "--output", "json", *options, status=status))


def refused(rounds):
    return rounds * sum(one in REFUSING for one in rows_of(start(), STORY).column("decision").to_pylist())


def test_the_numbers_are_those_of_the_log(log, report):
    found = document(report)
    assert found["totals"]["calls"] == 6 * len(STORY)
    assert found["totals"]["refusals"] == refused(6) == sum(one["count"] for one in found["refused"])
    assert (found["totals"]["executions"], found["totals"]["tenants"]) == (3, 2)
    assert sum(sum(one["counts"].values()) for one in found["timeline"]) == 6 * len(STORY)
    assert found["outcomes"] == {"exited": 3}
    assert [one["runs"] for one in found["policies"]] == [3]
    assert found["verification"]["errors"] == 0
    assert len(found["examples"]) == refused(6)
    assert found["readers"][0]["event"] == "read"  # this one


def test_a_tenant_has_its_own_numbers_and_nothing_of_others(log, report):
    found = document(report, "--tenant", "acme")
    assert found["totals"]["calls"] == 5 * len(STORY)
    assert {one["tenant"] for one in found["examples"]} == {"acme"}
    assert start(number=1).exec_id not in json.dumps(found["examples"])
    assert document(report, "--tenant", "nobody")["totals"]["calls"] == 0


def test_page_and_json_have_the_same_numbers(log, report, tmp_path):
    found = document(report)
    assert report(*PERIOD, "--out", str(tmp_path / "r.html")) == ""
    page = (tmp_path / "r.html").read_text()
    for name in ("calls", "refusals", "executions", "modules", "bytes_in", "bytes_out"):
        assert f"<b>{found['totals'][name]:,}</b>" in page
    for one in found["examples"]:
        assert one["ref"] in page
    for name, count in found["verification"]["checked"].items():
        assert f"<td>{name}</td>" in page, count


def test_an_empty_period_says_so(log, report):
    page = report("--from", "2020-01-01", "--to", "2020-01-02")
    assert "No execution began in the period." in page


def test_a_log_that_does_not_verify_is_red_and_the_status_is_1(log, report):
    victim = next(path for path in (log / "seg").rglob("*.parquet") if path.name.count(".") == 1)
    content = bytearray(victim.with_suffix(".chunks").read_bytes())
    content[0] ^= 1
    victim.with_suffix(".chunks").write_bytes(content)
    page = report(*PERIOD, status=1)
    assert '<p class="result failed">FAILED' in page
    assert document(report, status=1)["verification"]["state"] == "failed"
    assert '<p class="result not made">' in report(*PERIOD, "--no-verify")


def test_a_log_that_was_never_signed_is_not_called_verified(settings, report):
    add(settings, start(number=1), is_signed=False)
    assert document(report, status=3)["verification"]["state"] == "incomplete"


def test_gaps_are_in_the_report(settings, log, report):
    with closing(AuditWriter(settings.audit_dir)) as writer:
        gap = Gap(
            exec_id=start(number=1).exec_id,
            first_seq=100,
            last_seq=105,
            reason="disk </b> full",
            at_ns=T0 + 5,
        )
        writer.note_gap(gap)
    found = document(report)
    (one,) = found["coverage"]["gaps"]
    assert one["ref"].endswith(":100 to 105")
    assert "disk &lt;/b&gt; full" in report(*PERIOD)
    assert document(report, "--tenant", "acme")["coverage"]["gaps"] == []


def test_what_a_guest_chose_stays_text(settings, report):
    of = start(number=1, module_name="<b>\u202e", tenant="<i>", policy_name="</title>")
    story = (call("path_open", HOSTILE, opener=IN, fd=3, decision=1, errno=76, reason=2),)
    add(settings, of, story=story)
    page = report(*PERIOD)
    for text in ("<script", "<b>\\u", "<i>", "\u202e", "\x00"):
        assert text not in page
    assert "&lt;script&gt;alert(1)" in page


def test_times_that_make_no_sense_are_refused(log, report):
    report("--from", "soon", "--to", "2026-11-02", status=2)
    report("--from", "2026-11-02", "--to", "2026-11-02", status=2)
    report("--from", "2026-11-02", status=2)


def test_retention_and_holds_are_in_the_report(settings, report, capsys):
    old = time.time_ns() - 30 * DAY_NS
    add(settings, replace(start(number=1, retain_days=1), started_at_ns=old))
    assert wasmgate(["audit", "hold", "add", "--tenant", "acme", "--reason", "case 7"]) == 0
    assert wasmgate(["audit", "prune"]) == 0
    capsys.readouterr()
    found = json.loads(report("--from", "2020-01-01", "--to", "2100-01-01", "--output", "json"))
    assert [one["event"] for one in found["retention"]] == ["hold", "prune"]
    assert found["coverage"]["pruned_segments"] == 1
    assert found["holds"][0]["reason"] == "case 7"
    assert found["verification"]["errors"] == 0
