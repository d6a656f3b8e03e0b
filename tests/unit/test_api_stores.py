"""What the service keeps: modules, policies, output."""

from __future__ import annotations

import pytest

from api.modules import ModuleMissingError, ModuleStore, module_digest
from api.outputs import OutputStore
from api.policies import PolicyMissingError, PolicyStore
from audit.errors import FormatError
from audit.identity import new_execution_id
from policy import PolicyError

POLICY = b"version: 1\nmetadata: {name: kept}\nmatch: {name: m.wasm}\n"


def test_a_module_is_kept_under_its_digest(tmp_path):
    store = ModuleStore(tmp_path)
    digest = store.put(b"bytes", name="m.wasm")
    assert store.put(b"bytes", name="again.wasm") == digest
    assert store.get(digest) == b"bytes"
    (kept,) = store.list()
    assert (kept.digest, kept.name, kept.size_bytes) == (digest, "m.wasm", 5)
    assert store.about(digest) == kept


def test_a_module_that_changed_on_disk_is_not_handed_out(tmp_path):
    store = ModuleStore(tmp_path)
    digest = store.put(b"bytes")
    (file,) = tmp_path.glob("*.wasm")
    file.write_bytes(b"other")
    with pytest.raises(ModuleMissingError, match="has changed on disk"):
        store.get(digest)


@pytest.mark.parametrize("text", ["", "sha256:../../etc", "sha256:" + "A" * 64, "sha256:" + "a" * 64 + "\n"])
def test_what_is_no_digest_names_no_file(tmp_path, text):
    with pytest.raises(ModuleMissingError):
        module_digest(text)
    with pytest.raises(ModuleMissingError):
        ModuleStore(tmp_path).get(text)


def test_an_unknown_module_is_told(tmp_path):
    with pytest.raises(ModuleMissingError):
        ModuleStore(tmp_path).about(module_digest("sha256:" + "0" * 64))


@pytest.fixture
def policies(tmp_path) -> PolicyStore:
    for name in ("named", "uploaded"):
        (tmp_path / name).mkdir()
    return PolicyStore(named=tmp_path / "named", uploaded=tmp_path / "uploaded")


def test_a_policy_is_found_by_name_and_by_digest(policies, tmp_path):
    (tmp_path / "named/a.yaml").write_bytes(POLICY)
    (tmp_path / "named/notes.txt").write_bytes(b"")
    assert policies.names() == ("a",)
    assert policies.plan("a").name == "kept"
    digest = policies.put(POLICY)
    assert policies.digests() == (digest,)
    assert policies.plan(digest) == policies.plan("a")


def test_a_stored_policy_says_which_modules_it_is_for(policies, tmp_path):
    loose = POLICY.replace(b"match: {name: m.wasm}\n", b"")
    with pytest.raises(PolicyError):
        policies.put(loose)
    (tmp_path / "named/a.yaml").write_bytes(loose)
    with pytest.raises(PolicyError):
        policies.plan("a")
    assert policies.plan_inline(loose).name == "kept"


def test_a_policy_that_changed_under_its_digest_is_not_used(policies, tmp_path):
    digest = policies.put(POLICY)
    (file,) = (tmp_path / "uploaded").glob("*.yaml")
    file.write_bytes(POLICY + b"mode: audit\n")
    with pytest.raises(PolicyMissingError, match="changed on disk"):
        policies.plan(digest)


@pytest.mark.parametrize("name", ["", "../a", "a/b", ".hidden", "a\nb", "/etc/passwd", "sha256:" + "0" * 64])
def test_a_name_leads_nowhere_else(policies, tmp_path, name):
    (tmp_path / "a.yaml").write_bytes(POLICY)
    with pytest.raises(PolicyMissingError):
        policies.plan(name)


def test_a_policy_that_cannot_be_read_is_no_empty_policy(policies, tmp_path):
    (tmp_path / "named/a.yaml").write_bytes(b"version: 1\n  nonsense")
    with pytest.raises(PolicyError):
        policies.plan("a")


def test_output_is_kept_for_each_execution(tmp_path):
    store = OutputStore(tmp_path)
    execution = new_execution_id()
    store.put(execution, "stdout", b"\0\xff")
    store.put(execution, "stderr", b"")
    assert store.get(execution, "stdout") == b"\0\xff"
    assert store.get(execution, "stderr") == b""
    assert [path.name for path in tmp_path.iterdir()] == [f"{execution}.stdout"]
    assert store.path(execution, "stdout").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FormatError):
        store.get("../../x", "stdout")


def test_a_policy_keeps_its_digest_when_a_baseline_or_a_boundary_comes(policies, tmp_path):
    extending = POLICY + b"extends: [base]\n"
    baseline = "version: 1\nkind: Baseline\nmetadata: {name: base}\n"
    (tmp_path / "named/base.yaml").write_text(baseline)
    digest = policies.put(extending)
    assert policies.plan(digest).name == "kept"
    (tmp_path / "named/base.yaml").write_text(baseline + "permissions: {random: none}\n")
    assert policies.plan(digest).name == "kept"
    (tmp_path / "named/base.yaml").unlink()
    with pytest.raises(PolicyError):
        policies.plan(digest)
