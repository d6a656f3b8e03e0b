"""Finds allow rules that decide nothing.

The automaton is built in `path_rules.py`. A rule is dead when no path has a right because of it; that is
an error where a built-in deny is the reason, since the document can't have meant it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from policy.automaton import walk
from policy.document import PolicyDocument
from policy.errors import Finding, Severity
from policy.plan import RIGHTS, PathAutomaton, Rule, RuleKind
from policy.storage import Grant, Storage


@dataclass(frozen=True, slots=True)
class Compiled:
    """What one compilation has found out about paths."""

    storage: Storage
    rules: tuple[Rule, ...]
    first_allow: int  # index of the first allow rule
    automaton: PathAutomaton
    starts: Mapping[str, int]  # state of each mount by guest path


def deciding_rules(automaton: PathAutomaton) -> frozenset[int]:
    """The indices of the rules that grant something somewhere."""
    return frozenset(
        index
        for found in automaton.classes
        for position, index in enumerate(found.rules)
        if found.rights >> position & 1
    )


def dead_rules(document: PolicyDocument, compiled: Compiled) -> Iterator[Finding]:
    """Yield a finding for each allow rule that grants nothing."""
    deciding = deciding_rules(compiled.automaton)
    for offset, grant in enumerate(compiled.storage.grants):
        if compiled.first_allow + offset in deciding or not grant.rights:
            continue
        where = (*grant.path, "uri")
        builtin = _refusing_builtin(compiled, grant)
        if builtin is not None:
            problem = f"dead rule: {builtin.id} refuses everything here: {builtin.summary}"
            yield document.source.finding("dead-rule", where, problem=problem)
        else:
            problem = "dead rule: other rules already grant or refuse all that it names"
            yield replace(
                document.source.finding("dead-rule", where, problem=problem), severity=Severity.WARNING
            )


def _refusing_builtin(compiled: Compiled, grant: Grant) -> Rule | None:
    """The built-in deny that covers all that `grant` names."""
    segments = [grant.file.encode()] if grant.file else []
    state = walk(compiled.automaton, compiled.starts[grant.guest], segments)
    found = compiled.automaton.classes[compiled.automaton.states[state][2]]
    deciders = [
        compiled.rules[index]
        for right, index in zip(RIGHTS, found.rules, strict=True)
        if right & grant.rights
    ]
    return deciders[0] if all(rule.kind is RuleKind.BUILTIN for rule in deciders) else None
