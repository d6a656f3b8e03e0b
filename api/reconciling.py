"""A module beside a policy, an older version of itself, and what its runs used of the policy.

The judgements are `policy/reconcile.py` and `policy/tighten.py`; here what they need is read, and laid out.
INVARIANT: nothing is run and nothing is changed; what is narrower is only printed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from api.tables import cell, render_table
from audit.inert import inert
from policy.compiler import compile_policy
from policy.document import load_document
from policy.reconcile import Idle, Lack, Versions, idle, lacking, versions
from policy.tighten import Tighter, own_rules, tightened, told

if TYPE_CHECKING:
    from audit.query import AuditReader
    from policy.bundle import Bundle
    from policy.document import PolicyDocument
    from policy.facts import Fact
    from policy.plan import Plan
    from policy.subject import Subject
    from sandbox.inspection import Inspection

_MOST_EXECUTIONS = 1_000


@dataclass(frozen=True, slots=True)
class Studied:
    """A policy with what it is compiled with."""

    document: PolicyDocument
    base_dir: str
    bundle: Bundle
    subject: Subject

    def compiled(self, document: PolicyDocument) -> Plan:
        """Make a plan to study of a document in this one's place; raises PolicyError."""
        return compile_policy(
            document,
            base_dir=self.base_dir,
            now_ns=time.time_ns(),
            bundle=self.bundle,
            subject=self.subject,
            is_study=True,
        )


def studied(file: str, bundle: Bundle, subject: Subject) -> Studied:
    """Read a policy; raises UnreadableError and PolicyError."""
    from api.loading import read_policy

    text, base_dir = read_policy(file)
    return Studied(load_document(text, file=file), base_dir, bundle, subject)


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a module lacks and what it cannot use, under one policy."""

    lacking: tuple[Lack, ...]
    idle: tuple[Idle, ...]


def reconciled(found: Inspection, policy: Studied) -> Reconciled:
    """Compare the imports of a module with the grants of a policy; raises PolicyError."""
    plan = policy.compiled(policy.document)
    names = [name for _, name in _imports(found)]
    rights = {rule: mask for rule, (_, mask) in own_rules(policy.document, plan).items()}
    return Reconciled(lacking(names, plan), idle(names, plan, rights))


def _imports(found: Inspection) -> list[tuple[str, str]]:
    return [(each.module, each.name) for each in found.imports]


def compared(old: Inspection, new: Inspection) -> Versions:
    """Compare the imports of two versions of a module."""
    return versions(_imports(old), _imports(new))


def unused_by_runs(policy: Studied, digest: str, reader: AuditReader) -> tuple[Tighter, int]:
    """Say what the recorded runs of a module under this policy never used, and how many these are.

    Raises QueryError and PolicyError.
    """
    from api.evidence import facts_of
    from audit.filters import RecordFilter

    runs = [
        each.exec_id
        for each in reader.executions(limit=_MOST_EXECUTIONS, module=digest)
        if each.receipt is not None and each.receipt.policy_digest == policy.document.digest
    ]
    facts: list[Fact] = []
    for exec_id in runs:
        facts += facts_of(reader, RecordFilter(execution=exec_id))
    return tightened(policy.document, tuple(facts), policy.compiled), len(runs)


def render_reconciled(found: Reconciled) -> str:
    """Both lists as text."""
    lacks = [["  " + each.name, each.capability, each.why] for each in found.lacking]
    idles = [
        ["  " + inert(each.field), inert(each.what), "needs one of " + ", ".join(each.needs)]
        for each in found.idle
    ]
    return (
        f"\nimports without a grant ({len(lacks)})\n{render_table(lacks)}"
        f"\ngrants that no import can use ({len(idles)})\n{render_table(idles)}"
    )


def render_versions(found: Versions, old: str) -> str:
    """The difference between two versions as text."""
    rows = [[f"  + {cell(each.name)}", each.meaning] for each in found.added]
    rows += [[f"  - {cell(each.name)}", each.meaning] for each in found.removed]
    verdict = "needs more than before" if found.needs_more else "needs no more than before"
    news = f": new here: {', '.join(found.new_capabilities)}" if found.new_capabilities else ""
    return f"\nagainst {inert(Path(old).name)}: {verdict}{news}\n{render_table(rows)}"


def render_unused(found: Tighter, runs: int) -> str:
    """What runs never used as text, with the difference to a narrower policy."""
    if not runs:
        return "\nno recorded run of this module under this policy\n"
    head = f"\nwhat {runs} recorded run{'' if runs == 1 else 's'} never used ({len(found.unused)})\n"
    lines = "".join(f"  {inert(line)}\n" for line in told(found))
    shown = "".join(f"{inert(line)}\n" for line in found.difference.splitlines())
    return head + lines + (f"\n{shown}" if shown else "")


def reconciled_as_json(found: Reconciled) -> dict[str, object]:
    """Both lists as plain values."""
    return {
        "lacking": [
            {"import": each.name, "capability": each.capability, "why": each.why} for each in found.lacking
        ],
        "idle": [
            {"field": each.field, "what": each.what, "needs_one_of": list(each.needs)} for each in found.idle
        ],
    }


def versions_as_json(found: Versions) -> dict[str, object]:
    """The difference between two versions as plain values."""
    return {
        "needs_more": found.needs_more,
        "added": [{"import": each.name, "meaning": each.meaning} for each in found.added],
        "removed": [{"import": each.name, "meaning": each.meaning} for each in found.removed],
        "new_capabilities": list(found.new_capabilities),
        "gone_capabilities": list(found.gone_capabilities),
    }


def unused_as_json(found: Tighter, runs: int) -> dict[str, object]:
    """What runs never used as plain values."""
    return {
        "runs": runs,
        "unused": [
            {
                "field": each.field,
                "rule": each.rule,
                "rights": [str(right.name).lower() for right in each.rights],
                "is_whole_rule": each.is_whole,
            }
            for each in found.unused
        ],
        "narrower": found.text or None,
        "difference": found.difference or None,
    }
