"""Programs that read give way to those that write, and only while they read."""

from __future__ import annotations

import os
import threading

import pytest
from click.testing import CliRunner

from api.cli import wasmgate
from api.priority import NICENESS, giving_way
from audit.writer import AuditWriter


def niceness():
    return os.getpriority(os.PRIO_PROCESS, 0)


def of_a_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(niceness()))
    thread.start()
    thread.join()
    return found[0]


def in_a_process_of_its_own(act):
    # where nobody may raise a priority again, the tests that follow are not to suffer
    child = os.fork()
    if not child:
        status = 1
        try:
            act()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]


def test_what_reads_gives_way_with_the_threads_that_it_starts():
    def act():
        before = niceness()
        with giving_way():
            assert (niceness(), of_a_thread()) == (max(before, NICENESS),) * 2
        assert niceness() in {before, max(before, NICENESS)}

    assert in_a_process_of_its_own(act) == 0


@pytest.mark.parametrize("already", [0, 7, NICENESS])
def test_what_gives_way_already_does_not_get_ahead(already):
    def act():
        os.setpriority(os.PRIO_PROCESS, 0, max(already, niceness()))
        with giving_way():
            assert niceness() == max(already, NICENESS)

    assert in_a_process_of_its_own(act) == 0


def test_a_question_by_command_line_is_asked_that_way(tmp_path, monkeypatch):
    asked = []

    def ask(*_):
        asked.append(niceness())
        raise ZeroDivisionError

    monkeypatch.setattr("audit.query.AuditReader.records", ask)

    AuditWriter(tmp_path / "log").close()

    def act():
        before = niceness()
        CliRunner().invoke(wasmgate, ["audit", "query", "--audit-dir", str(tmp_path / "log")])
        assert asked == [max(before, NICENESS)]

    assert in_a_process_of_its_own(act) == 0
