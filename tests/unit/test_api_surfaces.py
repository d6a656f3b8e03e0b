"""The small parts of the surfaces: exit statuses, tables, pictures, logs, relays, printed commands."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from api import invocation
from api.exits import exit_status
from api.logs import configure_logs, logger
from api.relay import Relay
from api.report import cut, refusal_groups
from api.tables import cell, render_table, write_rows
from api.terminal import Paint, Progress
from api.timeline import render_timeline, timeline
from audit.receipt import Outcome, OutcomeKind
from policy.fixed import DEFAULT
from sandbox.refused_calls import RefusedCall
from tests.runs import policy

HOSTILE = "a\nb\x1b[31m\u202ec\udcff</script>"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome(kind=OutcomeKind.EXITED, exit_code=0), 0),
        (Outcome(kind=OutcomeKind.EXITED, exit_code=255), 255),
        (Outcome(kind=OutcomeKind.EXITED, exit_code=256), 255),
        (Outcome(kind=OutcomeKind.EXITED, exit_code=2**32 - 1), 255),
        (Outcome(kind=OutcomeKind.TRAPPED), 134),
        (Outcome(kind=OutcomeKind.LIMIT, limit="cpu"), 137),
        (Outcome(kind=OutcomeKind.KILLED), 137),
        (Outcome(kind=OutcomeKind.REFUSED), 125),
    ],
)
def test_each_end_has_its_status(outcome, status):
    assert exit_status(outcome) == status


def test_a_signal_gives_the_status_that_shells_know():
    assert exit_status(Outcome(kind=OutcomeKind.KILLED), signal_number=15) == 143
    assert exit_status(Outcome(kind=OutcomeKind.EXITED, exit_code=3), signal_number=15) == 3


@given(st.integers(-(2**31), 2**32 - 1))
def test_only_zero_is_success(code):
    status = exit_status(Outcome(kind=OutcomeKind.EXITED, exit_code=code))
    assert 0 <= status <= 255
    assert (status == 0) == (code == 0)


def test_rows_come_out_in_each_form(capsys):
    rows: list[dict[str, object]] = [{"a": 1, "b": HOSTILE.replace("\udcff", "")}, {"a": None, "b": "x"}]
    write_rows(rows, columns=("a", "b"), output="table")
    assert capsys.readouterr().out == "a  b\n1  a\\x0ab\\x1b[31m\\u202ec</script>\n-  x\n"
    write_rows(rows, columns=(), output="ndjson")
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == rows
    write_rows(rows, columns=(), output="json")
    assert json.loads(capsys.readouterr().out) == rows
    assert write_rows([], columns=(), output="json") == 0
    assert capsys.readouterr().out == "[]\n"


def refused_by_default(call: str, target: str, right: str | None) -> RefusedCall:
    return RefusedCall(
        seq=0,
        call=call,
        decision="deny",
        target=target,
        guest_target=target,
        rule=DEFAULT,
        reason="rule",
        right=right,
    )


def test_a_report_says_how_to_allow_paths_and_places_alike():
    path = refused_by_default("path_open", "/d/a", "read")
    places = [
        refused_by_default("outgoing-handler.handle", "GET https://a.example/", None),
        refused_by_default("sock_connect", "192.0.2.1:1", None),
    ]
    plan = policy()
    rule = 'add to permissions.storage.allow a rule as {uri: "fs:///d/a", mount: /d/a, access: [read]}'
    where = "add what is named here to permissions.network.http or permissions.network.tcp"
    for refused, advice in (([path], rule), (places, where), ([*places, path], f"{rule}; {where}")):
        (group,) = refusal_groups(plan, refused)
        assert group.allow == advice


def test_a_cell_is_inert_and_cut():
    assert "\x1b" not in cell(HOSTILE)
    assert len(cell("x" * 500)) == 60
    assert cut("y" * 500).endswith("…")
    assert render_table([]) == ""


def rows_of(*calls):
    return [
        {"t_ns": t, "call": f"wasi_snapshot_preview1.{name}", "decision": word} for t, name, word in calls
    ]


def test_a_timeline_counts_each_call_once():
    picture = timeline(
        rows_of(
            (0, "fd_read", "allow"), (50, "fd_read", "deny"), (99, "random_get", "allow"), (99, "?", "allow")
        ),
        columns=10,
    )
    lanes = {lane.capability: lane for lane in picture.lanes}
    assert lanes["storage"].counts == (1, 0, 0, 0, 0, 1, 0, 0, 0, 0)
    assert sum(lanes["storage"].refused) == 1
    assert lanes["random"].counts[-1] == lanes["unknown"].counts[-1] == 1
    plain = "\n".join(render_timeline(picture, paint=Paint(io.StringIO()), is_unicode=False))
    assert plain.isascii()
    assert "storage     |@    @    | 2, 1 refused" in plain
    assert "refused     |     x    |" in plain
    assert render_timeline(timeline([]), paint=Paint(io.StringIO()), is_unicode=True) == ["no host calls"]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 10**12),
            st.sampled_from(["fd_read", "sock_send"]),
            st.sampled_from(["allow", "deny"]),
        )
    )
)
def test_no_call_is_lost_in_a_picture(calls):
    picture = timeline(rows_of(*calls))
    assert sum(lane.total for lane in picture.lanes) == len(calls)
    assert sum(sum(lane.refused) for lane in picture.lanes) == sum(word == "deny" for _, _, word in calls)
    for lane in picture.lanes:
        line = next(
            line
            for line in render_timeline(picture, paint=Paint(io.StringIO()), is_unicode=True)
            if lane.capability in line
        )
        bar = line.split("|")[1]
        assert [mark != " " for mark in bar] == [count > 0 for count in lane.counts]


def test_colours_are_for_terminals(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert Paint(Terminal())("x", "red") == "\x1b[31mx\x1b[0m"
    assert (
        Paint(io.StringIO())("x", "red")
        == Paint(io.StringIO()).bold("x")
        == Paint(io.StringIO()).faint("x")
        == "x"
    )
    monkeypatch.setenv("NO_COLOR", "1")
    assert Paint(Terminal())("x", "red") == "x"


def test_progress_is_for_terminals_and_cleans_up(monkeypatch):
    monkeypatch.setattr("api.terminal._DELAY_S", 0.0)
    for stream, is_quiet in ((io.StringIO(), False), (Terminal(), True)):
        with Progress(stream, is_quiet=is_quiet) as progress:
            progress.say("compiling")
        assert stream.getvalue() == ""
    seen = Terminal()
    with Progress(seen) as progress:
        progress.say("compiling")
        while "compiling" not in seen.getvalue():
            pass
    assert seen.getvalue().endswith("\r\x1b[2K")


def test_a_relay_writes_all_of_it_and_stops_at_a_closed_pipe():
    read, write = os.pipe()
    relay = Relay(write)
    relay(b"one")
    relay(b"two")
    assert os.read(read, 10) == b"onetwo"
    os.close(read)
    relay(b"nobody reads this")
    relay(b"nor this")
    assert relay.problem == ""
    os.close(write)


def test_a_relay_says_why_it_could_not_write():
    with Path("/dev/full").open("wb", buffering=0) as full:
        relay = Relay(full.fileno())
        relay(b"x")
    assert relay.problem == "No space left on device"


def test_printed_commands_can_be_pasted(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/srv/a b/wasmgate"])
    monkeypatch.setenv("PATH", "/nowhere")
    assert invocation.command("audit", "it's") == "'/srv/a b/wasmgate' audit 'it'\"'\"'s'"
    monkeypatch.setattr(sys, "argv", ["/x/cli.py"])
    assert invocation.program().endswith(" -m api.cli")


@pytest.fixture
def log_stream():
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:], root.level = before
    structlog.reset_defaults()


def test_log_lines_are_inert_json(log_stream):
    configure_logs("info", log_stream, is_terminal=False)
    logger("test").info("it says", text=HOSTILE, count=3, many=[HOSTILE])
    logger("test").debug("not shown")
    logging.getLogger("library").warning("from %s", HOSTILE)
    ours, theirs = map(json.loads, log_stream.getvalue().splitlines())
    assert (ours["event"], ours["part"], ours["count"], ours["level"]) == ("it says", "test", 3, "info")
    assert ours["text"] == ours["many"][0] == "a\\x0ab\\x1b[31m\\u202ec\\udcff</script>"
    assert theirs["event"].startswith("from a\\x0ab")


def test_log_lines_for_people_are_one_line_each(log_stream):
    configure_logs("info", log_stream, is_terminal=True)
    logger("test").warning("it says", text=HOSTILE)
    assert log_stream.getvalue().count("\n") == 1
    assert "\x1b" not in log_stream.getvalue()
