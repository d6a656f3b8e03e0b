"""Built-in denies hold in audit mode, wherever the document's own denies lie."""

from __future__ import annotations

import pytest

from policy import Plan, compile_policy, load_document
from policy.decide import Deny, WouldDeny, decide


def _plan(deny: str) -> Plan:
    text = f"""version: 1
metadata: {{name: audited}}
mode: audit
permissions:
  storage:
    allow: [{{id: home, uri: "fs:///home/**", mount: /home, access: [read, list]}}]
    deny: [{{id: mine, uri: "{deny}"}}]
"""
    return compile_policy(load_document(text.encode(), file="p.yaml"), base_dir="/", now_ns=None)


@pytest.mark.parametrize(
    "deny", ["fs:///home/ann/**", "fs:///home/**", "fs:///home/*/.ssh/**", "fs:///**/.ssh/**"]
)
def test_a_deny_of_the_document_does_not_stand_in_for_a_built_in_one(deny: str) -> None:
    verdict = decide(_plan(deny), "path_readlink", target="/home/ann/.ssh/id")
    assert isinstance(verdict, Deny)
    assert verdict.rule_id == "builtin.ssh"


def test_a_deny_of_the_document_alone_is_only_recorded() -> None:
    verdict = decide(_plan("fs:///home/ann/**"), "path_readlink", target="/home/ann/notes")
    assert isinstance(verdict, WouldDeny)
    assert verdict.rule_id == "mine"
