"""Files of documents that a person has checked: all kinds, several at once, in every form."""

from __future__ import annotations

import pytest

from policy.text import MAX_FINDINGS
from tests.commands import Shell

HEAD = "version: 1\nkind: {}\nmetadata: {{name: {}}}\n"
GRANT = "permissions: {{storage: {{allow: [{{id: in, uri: 'fs://{}/**', mount: /in, access: [read]}}]}}}}\n"


@pytest.fixture
def shell(tmp_path) -> Shell:
    for folder in ("work", "home"):
        (tmp_path / folder).mkdir()
    return Shell(tmp_path / "work", tmp_path / "home")


def write(shell: Shell, name: str, text: str) -> str:
    (shell.folder / name).write_text(text)
    return name


def document(shell: Shell, kind: str, name: str, text: str = "") -> str:
    return write(shell, f"{name}.yaml", HEAD.format(kind, name) + text)


def ids(done) -> list[str]:
    return [each["id"] for each in done.json["findings"]]


def test_several_files_are_checked_and_counted(shell):
    good = document(shell, "ModulePolicy", "good")
    bad = document(shell, "ModulePolicy", "bad", "mode: enforc\n")
    broken = write(shell, "broken.yaml", "a: [\n")
    done = shell.ask("policy", "check", good, bad, broken)
    assert done.status == 1
    assert done.text.splitlines()[-2:] == ["2 errors, 0 warnings", "3 files checked, 2 with errors"]
    fine = shell.ask("policy", "check", good, good)
    assert (fine.status, fine.text) == (0, "no findings\n2 files checked, 0 with errors\n")


def test_all_kinds_are_checked(shell):
    base = document(shell, "Baseline", "base", GRANT.format("/srv/x"))
    ceiling = document(shell, "Boundary", "ceiling", "anchors: [{kind: file, every: 5}]\n")
    tests = document(
        shell,
        "PolicyTest",
        "tests",
        "policy: base.yaml\ntests: [{name: a, given: {call: fd_read}, expect: deny}]\n",
    )
    assert shell.ask("policy", "check", base, tests).status == 0
    done = shell.ask("policy", "check", ceiling, "--output", "json")
    assert (done.status, ids(done)) == (1, ["not-enforceable-yet", "bad-anchor"])


def test_tests_of_a_policy_that_nobody_finds_are_an_error(shell):
    text = "policy: {}\ntests: [{{name: a, given: {{call: fd_read}}, expect: deny}}]\n"
    lost = document(shell, "PolicyTest", "lost", text.format("nobody"))
    done = shell.ask("policy", "check", lost, "--output", "json")
    assert (done.status, ids(done)) == (1, ["unknown-policy"])
    assert done.json["findings"][0]["line"] == 4
    document(shell, "ModulePolicy", "somebody")
    found = document(shell, "PolicyTest", "found", text.format("somebody"))
    assert shell.ask("policy", "check", found, "--library", ".").status == 0


def test_a_link_that_leads_elsewhere_is_told(shell):
    (shell.folder / "real").mkdir()
    (shell.folder / "link").symlink_to("real")
    folder = shell.folder.resolve()
    linked = document(shell, "ModulePolicy", "linked", GRANT.format(folder / "link"))
    assert ids(shell.ask("policy", "check", linked, "--output", "json")) == ["leads-elsewhere"]
    direct = document(shell, "ModulePolicy", "direct", GRANT.format(folder / "real"))
    absent = document(shell, "ModulePolicy", "absent", GRANT.format(folder / "none"))
    assert ids(shell.ask("policy", "check", direct, absent, "--output", "json")) == []


def test_a_document_with_very_many_faults_tells_how_many_more_there_are(shell):
    rules = "".join(
        f"      - {{id: r{n}, uri: 'fs:///**', access: [read]}}\n" for n in range(MAX_FINDINGS + 20)
    )
    many = document(shell, "ModulePolicy", "many", f"permissions:\n  storage:\n    allow:\n{rules}")
    found = shell.ask("policy", "check", many, "--output", "json").json["findings"]
    assert len(found) == MAX_FINDINGS + 1
    assert found[-1]["id"] == "more-findings"
    keys = "".join(f"k{n}: 1\n" for n in range(MAX_FINDINGS + 7))
    shapeless = document(shell, "ModulePolicy", "shapeless", keys)
    found = shell.ask("policy", "check", shapeless, "--output", "json").json["findings"]
    assert found[-1]["message"] == "7 more findings are not shown"


def test_sarif_names_the_program_and_its_version(shell):
    bad = document(shell, "ModulePolicy", "bad", "mode: enforc\n")
    done = shell.ask("policy", "check", bad, "--output", "sarif")
    driver = done.json["runs"][0]["tool"]["driver"]
    assert (done.status, driver["name"], bool(driver["version"])) == (1, "wasmgate", True)
    lines = shell.ask("policy", "check", bad, bad, "--output", "ndjson").lines
    assert [line["id"] for line in lines] == ["bad-value", "bad-value"]


def test_a_file_that_is_not_there_is_said_in_one_sentence(shell):
    done = shell.ask("policy", "check", "nothing.yaml")
    assert (done.status != 0, done.said) == (True, "policy nothing.yaml: no such file or directory")
