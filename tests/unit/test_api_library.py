"""Folders of documents: what is read, what is passed over, and what is never taken for no boundary."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from api import library
from api.library import Folder, Library, LibraryError, load_library, read_resolution
from api.loading import UnreadableError, load_folders, load_plan
from api.settings import load_settings
from policy.errors import PolicyError

POLICY = "version: 1\nmetadata: {name: NAME}\nmatch: {name: ['*.wasm']}\n"
BASELINE = "version: 1\nkind: Baseline\nmetadata: {name: NAME}\n"
BOUNDARY = "version: 1\nkind: Boundary\nmetadata: {name: NAME}\nmatch: {tenant: ['*']}\nceiling: {limits: {memory: 8Mi}}\n"


def keep(folder: Path, file: str, text: str, name: str = "") -> Path:
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace("NAME", name or path.stem))
    return path


def read(folder: Path) -> Library:
    return load_library((Folder(folder, ""),))


def names(found: Library) -> tuple[list[str], list[str]]:
    return [each.name for each in found.bundle.baselines], [each.name for each in found.bundle.boundaries]


def test_baselines_and_boundaries_are_kept_by_kind(tmp_path):
    keep(tmp_path, "b.yaml", BASELINE)
    keep(tmp_path, "deep/er/c.yml", BOUNDARY)
    keep(tmp_path, "a.json", '{"version": 1, "kind": "Baseline", "metadata": {"name": "a"}}')
    keep(tmp_path, "d.yaml", POLICY)
    keep(tmp_path, "notes.txt", "kind: Boundary")
    keep(tmp_path, ".hidden.yaml", "no: document")
    assert names(read(tmp_path)) == (["a", "b"], ["c"])
    assert [each.file for each in read(tmp_path).documents] == ["a.json", "b.yaml", "d.yaml", "deep/er/c.yml"]


def test_a_policy_is_found_by_its_name_and_not_by_that_of_its_file(tmp_path):
    keep(tmp_path, "file.yaml", POLICY, "clean")
    keep(tmp_path, "other.yaml", BASELINE, "base")
    assert read(tmp_path).policy("clean").path == tmp_path / "file.yaml"
    for name in ("file", "base", "none"):
        with pytest.raises(LibraryError, match="no document is the policy"):
            read(tmp_path).policy(name)


def test_two_policies_of_one_name_are_an_error_for_whoever_asks(tmp_path):
    keep(tmp_path, "a.yaml", POLICY, "clean")
    keep(tmp_path, "b.yaml", POLICY, "clean")
    with pytest.raises(LibraryError, match="several documents"):
        read(tmp_path).policy("clean")


def test_a_policy_with_errors_is_passed_over_and_named(tmp_path):
    keep(tmp_path, "a.yaml", POLICY + "permissons: {}\n")
    keep(tmp_path, "b.yaml", "version: 1\nkind: ModulePolicy\n")
    keep(tmp_path, "c.yaml", BASELINE)
    assert names(read(tmp_path)) == (["c"], [])
    assert read(tmp_path).unusable == ("a.yaml", "b.yaml")
    with pytest.raises(LibraryError, match=r"with errors: a\.yaml"):
        read(tmp_path).policy("a")


@pytest.mark.parametrize(
    "text",
    [
        BOUNDARY + "celing: {}\n",
        BOUNDARY.replace("kind: Boundary", "kind: Boundry"),
        BOUNDARY.replace("kind: Boundary\n", ""),
        BASELINE + "permissons: {}\n",
        "version: 1\nmetadata: {",
        "- a list",
        "",
        "\0",
    ],
)
def test_what_is_or_may_be_a_boundary_with_errors_is_an_error(tmp_path, text):
    keep(tmp_path, "good.yaml", BASELINE)
    keep(tmp_path, "a.yaml", text)
    with pytest.raises(PolicyError) as caught:
        read(tmp_path)
    assert {finding.file for finding in caught.value.findings} == {"a.yaml"}


def test_the_case_of_an_ending_hides_no_boundary(tmp_path):
    keep(tmp_path, "CEILING.YAML", BOUNDARY, "c")
    keep(tmp_path, "notes.TXT", "kind: Boundary")
    assert names(read(tmp_path)) == ([], ["c"])


def test_two_boundaries_of_one_name_are_an_error(tmp_path):
    keep(tmp_path, "a.yaml", BOUNDARY, "same")
    keep(tmp_path, "b.yaml", BOUNDARY, "same")
    with pytest.raises(PolicyError):
        read(tmp_path)


def test_a_file_that_stands_in_two_folders_is_read_once(tmp_path):
    keep(tmp_path, "in/a.yaml", BASELINE)
    (tmp_path / "in/again.yaml").symlink_to("a.yaml")
    found = load_library((Folder(tmp_path, ""), Folder(tmp_path / "in", "in")))
    assert names(found) == (["a"], [])


def test_a_missing_folder_is_an_error_unless_nobody_named_it(tmp_path):
    with pytest.raises(LibraryError, match="no such file"):
        read(tmp_path / "none")
    assert load_library((Folder(tmp_path / "none", "", is_optional=True),)) == Library()


def test_a_folder_that_is_none_is_an_error(tmp_path):
    file = keep(tmp_path, "a.yaml", BOUNDARY)
    for is_optional in (False, True):
        with pytest.raises(LibraryError, match="not a directory"):
            load_library((Folder(file, "", is_optional=is_optional),))


def test_links_out_of_the_folder_and_links_to_folders_are_errors(tmp_path):
    outside = keep(tmp_path, "outside/a.yaml", BOUNDARY)
    inside = tmp_path / "inside"
    keep(inside, "b.yaml", BASELINE)
    for target, problem in (
        (outside, "leads out"),
        (outside.parent, "a link to a folder"),
        (tmp_path / "none.yaml", "leads out"),
    ):
        link = inside / ("link.yaml" if target.suffix else "link")
        link.symlink_to(target)
        with pytest.raises(LibraryError, match=problem):
            read(inside)
        link.unlink()
    assert names(read(inside)) == (["b"], [])


def test_a_link_within_the_folder_that_leads_nowhere_is_an_error(tmp_path):
    (tmp_path / "a.yaml").symlink_to("missing.yaml")
    with pytest.raises(LibraryError, match="no such file"):
        read(tmp_path)


def test_a_pipe_that_calls_itself_a_document_is_an_error_at_once(tmp_path):
    os.mkfifo(tmp_path / "a.yaml")
    with pytest.raises(LibraryError, match="not a file"):
        read(tmp_path)


def test_sizes_counts_and_depths_are_bounded(tmp_path, monkeypatch):
    for number in range(4):
        keep(tmp_path, f"a{number}.yaml", BASELINE)
    assert len(read(tmp_path).documents) == 4
    monkeypatch.setattr(library, "MAX_DOCUMENTS", 3)
    with pytest.raises(LibraryError, match="more than"):
        read(tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(library, "MAX_BYTES", 100)
    with pytest.raises(LibraryError, match="more than"):
        read(tmp_path)
    monkeypatch.undo()
    keep(tmp_path, "/".join("d" * 17) + "/a.yaml", BASELINE, "deep")
    with pytest.raises(LibraryError, match="folders deep"):
        read(tmp_path)


def test_a_document_over_its_size_is_an_error(tmp_path):
    keep(tmp_path, "a.yaml", "#" * (1 << 20) + "\n")
    with pytest.raises(PolicyError):
        read(tmp_path)


def test_model_and_bindings_are_read_from_their_folder(tmp_path):
    keep(tmp_path, "resolution/model.conf", "model")
    keep(tmp_path, "resolution/bindings.csv", "bindings")
    assert read_resolution(Folder(tmp_path, "")) == (
        ("resolution/model.conf", "model"),
        ("resolution/bindings.csv", "bindings"),
    )
    (tmp_path / "resolution/bindings.csv").write_bytes(b"\xff")
    with pytest.raises(LibraryError, match="UTF-8"):
        read_resolution(Folder(tmp_path, ""))
    (tmp_path / "resolution/bindings.csv").unlink()
    with pytest.raises(LibraryError, match="no such file"):
        read_resolution(Folder(tmp_path, ""))
    (tmp_path / "resolution/bindings.csv").symlink_to("/etc/hostname")
    with pytest.raises(LibraryError, match="leads out"):
        read_resolution(Folder(tmp_path, ""))


# --- which folders count ------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch) -> Path:
    home = tmp_path / "home"
    monkeypatch.setenv("WASMGATE_HOME", str(home))
    return home


def test_a_policy_in_a_folder_that_no_rule_can_name_is_an_error(home, tmp_path):
    folder = tmp_path / os.fsdecode(b"a\xff")
    with pytest.raises(UnreadableError, match="no valid UTF-8"):
        load_plan(str(keep(folder, "p.yaml", POLICY)))
    assert load_plan(str(keep(tmp_path / "é", "p.yaml", POLICY))).may_run


def test_the_settings_folder_counts_even_if_other_folders_are_named(home, tmp_path):
    keep(home, "policies/a.yaml", BOUNDARY)
    keep(tmp_path, "more/b.yaml", BOUNDARY)
    for further in ((), (str(tmp_path / "more"),)):
        assert "a" in names(load_folders(further))[1]
    assert names(load_folders((str(tmp_path / "more"),)))[1] == ["a", "b"]


def test_a_boundary_of_the_settings_cannot_be_evaded_by_naming_no_library(home, tmp_path):
    policy = str(keep(tmp_path, "wide.yaml", POLICY))
    assert load_plan(policy, tenant="acme").limits.memory_bytes == 64 << 20
    keep(home, "policies/a.yaml", BOUNDARY)
    (tmp_path / "empty").mkdir()
    for further in ((), (str(tmp_path / "empty"),)):
        with pytest.raises(PolicyError, match="8"):
            load_plan(policy, library=further, tenant="acme")
    narrow = keep(tmp_path, "narrow.yaml", POLICY + "resources: {limits: {memory: 4Mi}}\n")
    assert load_plan(str(narrow), tenant="acme").limits.memory_bytes == 4 << 20


def test_the_settings_own_folder_may_be_missing_and_one_that_was_named_may_not(home, tmp_path, monkeypatch):
    assert load_folders(()) == Library()
    monkeypatch.setenv("WASMGATE_POLICIES_DIR", str(tmp_path / "mistyped"))
    with pytest.raises(UnreadableError, match="mistyped"):
        load_folders(())
    assert not Folder.of_settings(load_settings()).is_optional


def test_settings_with_an_error_are_told(home, monkeypatch):
    monkeypatch.setenv("WASMGATE_POLICY_DIR", "/x")
    with pytest.raises(UnreadableError, match="POLICIES_DIR"):
        load_folders(())
