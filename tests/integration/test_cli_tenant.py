"""`wasmgate run --tenant`: which policy governs, what the tenant changes, and that it is on record."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.commands import Done, Shell, opening, printing

ROOT = Path(__file__).resolve().parents[2]
CALM = "version: 1\nmetadata: {name: calm}\nmatch: {name: ['*.wasm']}\n"
READER = """\
version: 1
metadata: {name: reader}
match: {name: ['read-*.wasm'], tenant: [acme, globex]}
permissions:
  storage:
    allow:
      - {id: in, uri: "fs:./uploads/${tenant}/**", mount: /in, access: [read]}
"""
BINDINGS = """\
g, *.wasm, all
g, read-*.wasm, readers
g2, acme, standard
p, standard, all, calm, allow
p, acme, readers, reader, allow
p, acme, readers, calm, deny
"""
HELLO = printing(b"hello\n")


@dataclass(frozen=True)
class Desk:
    """A shell with a folder of policies of its own."""

    shell: Shell

    @property
    def policies(self) -> Path:
        return self.shell.folder / "policies"

    def keep(self, file: str, text: str) -> None:
        path = self.policies / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(self, *words: str, module: bytes = HELLO, name: str = "guest.wasm") -> Done:
        (self.shell.folder / name).write_bytes(module)
        where = ("--audit-dir", str(self.shell.log), "--receipt", "receipt.json")
        return self.shell(
            "run", *where, *words, name, environment={"WASMGATE_POLICIES_DIR": str(self.policies)}
        )

    def records(self) -> list[dict[str, object]]:
        found = self.shell.ask("audit", "query", "--audit-dir", self.shell.log, "--output", "ndjson")
        return [json.loads(line) for line in found.out.splitlines()]


@pytest.fixture
def desk(shell: Shell) -> Desk:
    made = Desk(shell)
    made.keep("resolution/model.conf", (ROOT / "policies/resolution/model.conf").read_text())
    made.keep("resolution/bindings.csv", BINDINGS)
    made.keep("calm.yaml", CALM)
    made.keep("sub/reader.yaml", READER)
    for tenant in ("acme", "globex"):
        made.keep(f"sub/uploads/{tenant}/mine-{tenant}", "x")
    return made


def test_the_policy_that_governs_is_found_and_the_tenant_is_on_record(desk):
    done = desk.run("--tenant", "acme")
    assert (done.status, done.out, done.err) == (0, b"hello\n", b"")
    receipt = desk.shell.receipt()
    assert (receipt["tenant"], receipt["policy"]["name"]) == ("acme", "calm")
    assert {record["tenant_id"] for record in desk.records()} == {"acme"}
    shown = desk.shell.ask("audit", "show", "--audit-dir", desk.shell.log, receipt["execution_id"])
    assert "acme" in shown.text


def test_a_run_without_a_tenant_is_of_the_default_one(desk):
    assert desk.run("--policy", str(desk.policies / "calm.yaml")).status == 0
    assert desk.shell.receipt()["tenant"] == "default"
    assert {record["tenant_id"] for record in desk.records()} == {"default"}


def test_a_tenant_that_no_binding_is_about_runs_nothing(desk):
    done = desk.run("--tenant", "initech")
    assert (done.status, done.out) == (125, b"")
    assert "no policy governs guest.wasm for tenant initech" in done.said
    assert desk.records() == []


def test_two_policies_run_nothing_and_both_bindings_are_named(desk):
    desk.keep("resolution/bindings.csv", BINDINGS.replace("p, acme, readers, calm, deny\n", ""))
    done = desk.run("--tenant", "acme", name="read-it.wasm")
    assert (done.status, done.out) == (125, b"")
    assert "line 4 allows policy calm" in done.said
    assert "line 5 allows policy reader" in done.said
    assert desk.run("--tenant", "acme").status == 0


def test_the_policy_must_be_for_the_tenant_too(desk):
    desk.keep(
        "resolution/bindings.csv",
        BINDINGS.replace("p, acme, readers, reader", "p, standard, readers, reader").replace(
            "p, acme, readers, calm, deny", "p, standard, readers, calm, deny"
        ),
    )
    assert desk.run("--tenant", "acme", name="read-it.wasm").status == 0
    done = desk.run("--tenant", "standard", name="read-it.wasm")
    assert (done.status, done.out) == (125, b"")
    assert "the policy is not for the tenant" in done.said


def test_a_named_policy_for_other_tenants_is_refused_on_record(desk):
    policy = str(desk.policies / "sub/reader.yaml")
    assert desk.run("--policy", policy, "--tenant", "globex", name="read-it.wasm").status == 0
    done = desk.run("--policy", policy, "--tenant", "initech", name="read-it.wasm")
    assert (done.status, done.out) == (125, b"")
    receipt = desk.shell.receipt()
    assert (receipt["outcome"]["kind"], receipt["tenant"]) == ("refused", "initech")
    assert "other tenants" in receipt["outcome"]["message"]


def test_each_tenant_reads_its_own_files(desk):
    policy = str(desk.policies / "sub/reader.yaml")
    module = opening(b"mine-acme")
    for tenant in ("acme", "globex"):
        assert (
            desk.run("--policy", policy, "--tenant", tenant, module=module, name="read-it.wasm").status == 0
        )
        assert desk.shell.receipt()["calls"]["path_open"] == {"allow": 1}
    targets = {(record["tenant_id"], record["target"], record["errno"]) for record in desk.records()}
    base = desk.policies / "sub/uploads"
    assert targets == {("acme", f"{base}/acme/mine-acme", 0), ("globex", f"{base}/globex/mine-acme", 44)}


def test_a_boundary_in_the_settings_folder_is_never_left_out(desk):
    wide = desk.shell.folder / "wide.yaml"
    wide.write_text(CALM)
    assert desk.run("--policy", str(wide)).status == 0
    desk.keep(
        "ceiling.yaml",
        "version: 1\nkind: Boundary\nmetadata: {name: top}\nmatch: {tenant: ['*']}\nceiling: {limits: {memory: 8Mi}}\n",
    )
    done = desk.run("--policy", str(wide))
    assert (done.status, done.out) == (125, b"")
    (desk.policies / "ceiling.yaml").write_text("kind: Boundary\n")
    assert desk.run("--policy", str(wide)).status == 125
    (desk.policies / "ceiling.yaml").unlink()
    assert desk.run("--policy", str(wide)).status == 0


def test_a_boundary_of_a_further_library_counts_as_well(desk):
    further = desk.shell.folder / "further"
    further.mkdir()
    (further / "top.yaml").write_text(
        "version: 1\nkind: Boundary\nmetadata: {name: top}\nmatch: {tenant: [acme]}\nceiling: {limits: {memory: 8Mi}}\n"
    )
    assert desk.run("--tenant", "acme", "--library", str(further)).status == 125
    assert desk.run("--tenant", "standard", "--library", str(further)).status == 0
    assert desk.run("--tenant", "standard", "--library", str(further / "none")).status == 125


def test_it_says_why_when_it_is_asked(desk):
    done = desk.run("--tenant", "acme", "-v")
    assert done.said == (
        "wasmgate: policy calm governs guest.wasm for tenant acme\n"
        "  tenant acme inherits from standard (line 3)\n"
        '  module "guest.wasm" is in group all: its name matches *.wasm (line 1)\n'
        "  line 4 allows policy calm to tenant standard for all\n"
    )
    told = json.loads(desk.run("--tenant", "acme", "--output", "json").said)
    assert (told["resolution"]["policy"], told["resolution"]["line"], told["tenant"]) == ("calm", 4, "acme")


def test_without_a_policy_and_without_bindings_it_asks_for_one(desk):
    (desk.policies / "resolution/bindings.csv").unlink()
    assert desk.run("--tenant", "acme").status == 125
    (desk.policies / "resolution/model.conf").unlink()
    (desk.policies / "resolution").rmdir()
    done = desk.run("--tenant", "acme")
    assert done.status == 2
    assert "--policy" in done.said


@pytest.mark.parametrize("tenant", ["../x", "", "a/b", "*", "\u0430cme"])
def test_a_tenant_that_is_no_name_is_a_mistake_of_usage(desk, tenant):
    assert desk.run("--tenant", tenant).status == 2


def test_resolve_says_the_same_without_running(desk: Desk):
    def ask(*words: str) -> Done:
        return desk.shell.ask(
            "policy", "resolve", *words, environment={"WASMGATE_POLICIES_DIR": str(desk.policies)}
        )

    (desk.shell.folder / "guest.wasm").write_bytes(HELLO)
    assert ask("guest.wasm", "--tenant", "acme").text.startswith("policy calm\n")
    assert ask("guest.wasm", "--tenant", "acme", "--output", "json").json["verdict"] == "resolved"
    assert ask("guest.wasm", "--tenant", "initech").status == 1
    digest = "sha256:" + "0" * 64
    assert (
        ask("read-x.wasm", "--digest", digest, "--tenant", "acme", "--output", "json").json["policy"]
        == "reader"
    )
    assert ask("guest.wasm", "--digest", "abc", "--tenant", "acme").status == 2
    assert ask("missing.wasm").status == 1
    desk.keep("resolution/bindings.csv", "p, acme, nobody, calm, allow\n")
    assert ask("guest.wasm", "--tenant", "acme").status == 1


def test_resolve_says_when_no_document_holds_the_policy(desk: Desk):
    desk.keep("resolution/bindings.csv", BINDINGS.replace("calm, allow", "clam, allow"))
    (desk.shell.folder / "guest.wasm").write_bytes(HELLO)
    done = desk.shell(
        *("policy", "resolve", "guest.wasm", "--tenant", "acme"),
        environment={"WASMGATE_POLICIES_DIR": str(desk.policies)},
    )
    assert done.status == 1
    assert done.out.startswith(b"policy clam\n")
    assert b"no document is the policy of that name, so nothing may run" in done.err
