"""Finds allow rules that decide nothing.

The automaton is built in `path_rules.py`. A rule is dead when no path has a right because of it; that is
an error where a built-in deny or a boundary is the reason, since the document can't have meant it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_

from policy.automaton import walk
from policy.document import PolicyDocument
from policy.errors import Finding, Severity
from policy.plan import RIGHTS, PathAutomaton, Rule, RuleKind
from policy.storage import Grant, Storage
from policy.temporal import OverTime


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


def dead_rules(
    document: PolicyDocument, compiled: Compiled, outside: Collection[int] = ()
) -> Iterator[Finding]:
    """Yield a finding for each allow rule that grants nothing.

    `outside` are the indices of those that were found to exceed a boundary, which is told elsewhere.
    """
    deciding = deciding_rules(compiled.automaton)
    for offset, grant in enumerate(compiled.storage.grants):
        index = compiled.first_allow + offset
        if index in deciding or not grant.rights:
            continue
        where = (*grant.path, "uri")
        deciders = _deciders(compiled, grant)
        if all(rule.kind.is_final for rule in deciders):
            if index not in outside or any(rule.kind is RuleKind.BUILTIN for rule in deciders):
                reason = f"{deciders[0].id} refuses everything here: {deciders[0].summary}"
                yield document.source.finding("dead-rule", where, problem=f"dead rule: {reason}")
            continue
        if all(rule.kind is RuleKind.ALLOW for rule in deciders):
            names = " and ".join(dict.fromkeys(rule.id for rule in deciders))
            reason = f"shadowed by {names}, which stands before it and grants all that it names"
        else:
            reason = "other rules already grant or refuse all that it names"
        finding = document.source.finding("dead-rule", where, problem=f"dead rule: {reason}")
        yield replace(finding, severity=Severity.WARNING)


def _deciders(compiled: Compiled, grant: Grant) -> list[Rule]:
    """What decides the rights of `grant` where it begins."""
    segments = [grant.file.encode()] if grant.file else []
    state = walk(compiled.automaton, compiled.starts[grant.guest], segments)
    found = compiled.automaton.classes[compiled.automaton.states[state][2]]
    return [
        compiled.rules[index]
        for right, index in zip(RIGHTS, found.rules, strict=True)
        if right & grant.rights
    ]


def unwatched_rules(document: PolicyDocument, later: OverTime, automaton: PathAutomaton) -> Iterator[Finding]:
    """Yield a warning for each rule over time that watches no path of any mount: it never starts."""
    met = reduce(or_, (found.marks for found in automaton.classes), 0)
    for place, rule in enumerate(later.rules):
        if rule.watches_paths and not met >> place & 1:
            problem = "dead rule: what it watches lies in no mount, so it never starts"
            finding = document.source.finding("dead-rule", (*rule.path, "when"), problem=problem)
            yield replace(finding, severity=Severity.WARNING)
