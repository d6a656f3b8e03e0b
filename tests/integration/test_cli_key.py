"""`wasmgate key`: keys are made, listed and revoked; each change is on record, and a service knows at once."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from api.cli import wasmgate


@pytest.fixture
def ask(tmp_path):
    def run(*words, home=tmp_path / "home"):
        return CliRunner().invoke(wasmgate, [*words], env={"WASMGATE_HOME": str(home)})

    return run


def test_a_key_is_shown_once_and_listed_without_it(ask):
    made = ask("key", "new", "--role", "auditor", "--name", "ann", "--output", "json")
    assert made.exit_code == 0, made.output
    key = json.loads(made.stdout)["key"]
    listed = ask("key", "list", "--output", "json")
    assert key not in listed.output
    (row,) = json.loads(listed.stdout)
    assert (row["name"], row["roles"], row["tenants"]) == ("ann", ["auditor"], [])
    assert "hash" not in row


def test_a_key_that_is_revoked_is_gone_and_another_is_not(ask):
    for name in ("ann", "bob"):
        assert ask("key", "new", "--role", "runner", "--tenant", "acme", "--name", name).exit_code == 0
    assert ask("key", "revoke", "ann").exit_code == 0
    assert [row["name"] for row in json.loads(ask("key", "list", "--output", "json").stdout)] == ["bob"]
    again = ask("key", "revoke", "ann")
    assert (again.exit_code, "no key of that name" in again.output) == (1, True)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--role", "auditer", "--name", "a"), "known: auditor"),
        (("--role", "tenant-auditor", "--name", "a"), "name one with --tenant"),
        (("--role", "auditor", "--name", "a b"), "expected"),
    ],
)
def test_what_makes_no_key_is_said(ask, words, sentence):
    done = ask("key", "new", *words)
    assert done.exit_code in {1, 2}
    assert sentence in done.output
    assert ask("key", "list", "--output", "json").stdout == "[]\n"


def test_that_keys_were_made_and_revoked_is_on_record(ask):
    ask("key", "new", "--role", "auditor", "--name", "ann")
    ask("key", "revoke", "ann")
    events = json.loads(ask("audit", "control", "--event", "key", "--output", "json").stdout)
    assert [each["details"]["action"] for each in events] == ["revoke", "new"]
    assert all(each["actor"].startswith("user:") for each in events)
    reads = json.loads(ask("audit", "control", "--event", "read", "--output", "json").stdout)
    assert next(each["details"]["what"] for each in reads if each["details"]["rows"] is None).endswith(
        "audit control"
    )
