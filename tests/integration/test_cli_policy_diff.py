"""`wasmgate policy diff`: what it prints, and when a merge is let through."""

from __future__ import annotations

import pytest

from tests.commands import Shell

HEAD = "version: 1\nmetadata: {name: p}\n"
READ = HEAD + 'permissions: {storage: {allow: [{id: in, uri: "fs:///srv/in/**", access: [read]}]}}\n'
LIST = READ.replace("[read]", "[read, list]")


@pytest.fixture
def shell(tmp_path):
    for name, text in {"read": READ, "list": LIST, "bad": HEAD + "permission: {}\n"}.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    (tmp_path / "home").mkdir()
    return Shell(tmp_path, tmp_path / "home")


def test_a_wider_policy_is_shown_with_a_call_to_ask(shell):
    done = shell.ask("policy", "diff", "read.yaml", "list.yaml")
    assert done.status == 0
    assert done.text == (
        "B allows more than A: 1 difference\n"
        "+ storage: list: fs:///srv/in and everything below\n"
        "    rule of A: default: what no rule allows is refused\n"
        "    rule of B: in (permissions.storage.allow[0]): allows read, list on /srv/in\n"
        "    A: deny, B: allow; ask: --call path_open --target fs:///srv/in --access list\n"
    )


def test_what_is_to_be_asked_can_be_asked(shell):
    (line,) = [
        each
        for each in shell.ask("policy", "diff", "read.yaml", "list.yaml").text.splitlines()
        if "ask:" in each
    ]
    words = line.partition("ask: ")[2].split()
    assert shell.ask("policy", "explain", *words, "read.yaml").text.startswith("deny")
    assert shell.ask("policy", "explain", *words, "list.yaml").text.startswith("allow")


def test_new_access_is_refused(shell):
    done = shell.ask("policy", "diff", "read.yaml", "list.yaml", "--no-new-access")
    assert done.status == 1
    assert "refused" in done.said


def test_less_access_passes(shell):
    done = shell.ask("policy", "diff", "list.yaml", "read.yaml", "--no-new-access")
    assert done.status == 0
    assert done.text.startswith("B allows less than A: 1 difference\n- storage: list")


def test_no_difference_passes(shell):
    done = shell.ask("policy", "diff", "read.yaml", "read.yaml", "--no-new-access")
    assert (done.status, done.text) == (0, "A and B decide alike\n")


def test_json_has_the_witness(shell):
    found = shell.ask("policy", "diff", "read.yaml", "list.yaml", "--output", "json").json
    assert found["is_wider"] is True
    assert found["differences"][0]["witness"] == {
        "call": "path_open",
        "target": "fs:///srv/in",
        "access": ["list"],
    }


def test_a_bad_policy_is_told_and_lets_nothing_pass(shell):
    done = shell.ask("policy", "diff", "read.yaml", "bad.yaml", "--no-new-access")
    assert done.status == 1
    assert "bad.yaml" in done.said


def test_a_file_that_is_missing_lets_nothing_pass(shell):
    assert shell.ask("policy", "diff", "read.yaml", "none.yaml", "--no-new-access").status != 0


def test_a_baseline_that_was_widened_is_seen_in_the_policy_that_extends_it(shell):
    base = "version: 1\nkind: Baseline\nmetadata: {name: base}\n"
    deny = base + 'permissions: {storage: {deny: [{id: no-keys, uri: "fs:///srv/in/*.pem"}]}}\n'
    for folder, text in {"old": deny, "new": base}.items():
        (shell.folder / folder).mkdir()
        (shell.folder / folder / "base.yaml").write_text(text)
    (shell.folder / "child.yaml").write_text(READ + "extends: [base]\n")
    words = ("policy", "diff", "child.yaml", "child.yaml", "--no-new-access")
    found = shell.ask(*words, "--old-library", "old", "--library", "new")
    assert found.status == 1
    assert "rule of A: no-keys" in found.text
    assert shell.ask(*words, "--old-library", "new", "--library", "old").status == 0
    assert shell.ask(*words, "--library", "new").text == "A and B decide alike\n"


def test_a_denial_that_only_a_tenant_shows_is_not_taken_out_in_silence(shell):
    rule = '{id: t, uri: "fs:///srv/${tenant}/**", access: [read]}'
    denied = (
        HEAD + f'permissions: {{storage: {{allow: [{rule}], deny: [{{id: d, uri: "fs:///srv/globex"}}]}}}}\n'
    )
    (shell.folder / "denied.yaml").write_text(denied)
    (shell.folder / "open.yaml").write_text(HEAD + f"permissions: {{storage: {{allow: [{rule}]}}}}\n")
    words = ("policy", "diff", "denied.yaml", "open.yaml", "--no-new-access")
    done = shell.ask(*words)
    assert done.status == 1
    assert "may meet d" in done.text
    assert shell.ask(*words, "--tenant", "globex").status == 1
    assert shell.ask(*words, "--tenant", "acme").status == 0
