"""Which policy governs this module for this tenant, and why.

casbin decides it (`authz.py`) from a model and bindings, which are read in `bindings.py`. Whether that
policy is for the module at all is asked of its plan afterwards, `policy.decide.decide_module`. INVARIANT: one
policy or none; where two could govern, that is an error which names both bindings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from policy.authz import Allow, Deny, glob, is_glob
from policy.bindings import (
    DIGEST,
    EVERYONE,
    Bindings,
    digest_text,
    group_text,
    name_text,
    plain_text,
    tenant_text,
)
from policy.errors import quoted
from policy.rule_lines import NAME, Line


@dataclass(frozen=True, slots=True)
class Binding:
    """One line that allows or denies a policy."""

    line: int
    tenant: str
    module: str  # a group or a digest
    policy: str
    effect: str

    def __str__(self) -> str:
        """Say it as a sentence."""
        tenant = "every tenant" if self.tenant == EVERYONE else f"tenant {self.tenant}"
        verb = "allows" if self.effect == "allow" else "denies"
        return f"line {self.line} {verb} policy {self.policy} to {tenant} for {self.module}"


class _NoTruth:
    __slots__ = ()

    def __bool__(self) -> NoReturn:
        raise TypeError("match on Resolved, NoPolicy and Ambiguous: what governs has no truth value")


@dataclass(frozen=True, slots=True)
class Resolved(_NoTruth):
    """One policy governs."""

    policy_name: str
    binding: Binding
    chain: tuple[str, ...]  # why, step by step


@dataclass(frozen=True, slots=True)
class NoPolicy(_NoTruth):
    """No policy governs, so nothing runs."""

    chain: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ambiguous(_NoTruth):
    """Several policies could govern, so nothing runs."""

    bindings: tuple[Binding, ...]  # one for each policy
    chain: tuple[str, ...]


Resolution = Resolved | NoPolicy | Ambiguous


def resolve(bindings: Bindings, *, tenant: str, module_name: str, module_digest: str) -> Resolution:
    """The policy that governs the module for the tenant; whatever fails, none does."""
    about = _Question(bindings, tenant, module_name, module_digest)
    if not NAME.fullmatch(tenant) or not DIGEST.fullmatch(module_digest) or not module_name:
        return NoPolicy(("a tenant, or a module without a name or a digest, that no line can be about",))
    allowed: list[Binding] = []
    denied: list[Binding] = []
    request = (tenant_text(tenant), name_text(module_name), digest_text(module_digest))
    for policy, enforcer in bindings.enforcers:
        match enforcer.allows((*request, policy)):
            case Allow(line):
                allowed.append(_binding(line))
            case Deny(is_failure=True, reason=reason):
                # SECURITY: a policy that could not be decided on might be a second one
                return NoPolicy((f"policy {policy}: {reason}",))
            case Deny(line):
                denied += [_binding(line)] if line else []
    chain = about.chain(allowed, denied)
    if len(allowed) == 1:
        return Resolved(allowed[0].policy, allowed[0], chain)
    if not allowed:
        return NoPolicy((*chain, "no line allows a policy: denied by default"))
    return Ambiguous(
        tuple(allowed), (*chain, "deny all but one of them with lines of their own, or bind one only")
    )


@dataclass(frozen=True, slots=True)
class _Question:
    """What was asked, for the explanation."""

    bindings: Bindings
    tenant: str
    module_name: str
    module_digest: str

    def chain(self, allowed: list[Binding], denied: list[Binding]) -> tuple[str, ...]:
        """The steps that led to the lines that decided, then the lines."""
        deciding = [*allowed, *denied]
        steps = list(self._inherited({binding.tenant for binding in deciding}))
        steps += self._grouped({binding.module for binding in deciding})
        return (*steps, *map(str, [*denied, *allowed]))

    def _inherited(self, wanted: set[str]) -> Iterator[str]:
        reached = {plain_text(each) for each in self.bindings.tenants.of(tenant_text(self.tenant))}
        if reached == {EVERYONE} and not wanted:
            yield f"tenant {self.tenant} inherits from nobody"
        for line in self._lines("g2"):
            member, parent = line.values
            if member in {self.tenant, *reached} and self._leads(parent, wanted, "g2"):
                yield f"tenant {member} inherits from {parent} (line {line.number})"

    def _grouped(self, wanted: set[str]) -> Iterator[str]:
        shown = quoted(self.module_name)
        own = (name_text(self.module_name), digest_text(self.module_digest))
        groups = {plain_text(each) for typed in own for each in self.bindings.modules.of(typed)}
        if not groups and not wanted:
            yield f"module {shown} is in no group, neither by its name nor by its digest"
        for line in self._lines("g"):
            member, group = line.values
            if group not in groups or not self._leads(group, wanted, "g"):
                continue
            if member in groups:
                yield f"group {member} is in group {group} (line {line.number})"
            elif member == self.module_digest:
                yield f"module {shown} is in group {group} by its digest (line {line.number})"
            elif glob(self.module_name, member):
                how = f"its name matches {member}" if is_glob(member) else "by its name"
                yield f"module {shown} is in group {group}: {how} (line {line.number})"

    def _leads(self, start: str, wanted: set[str], kind: str) -> bool:
        """Whether `start` is one of `wanted` or belongs to one; if nothing is wanted, it is."""
        if not wanted:
            return True
        links, typed = (
            (self.bindings.tenants, tenant_text) if kind == "g2" else (self.bindings.modules, group_text)
        )
        return start in wanted or any(plain_text(each) in wanted for each in links.of(typed(start)))

    def _lines(self, kind: str) -> Iterator[Line]:
        return (line for line in self.bindings.lines if line.kind == kind)


def _binding(line: Line) -> Binding:
    tenant, module, policy, effect = line.values
    return Binding(line.number, plain_text(tenant), plain_text(module), policy, effect)
