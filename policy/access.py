"""Which role may do what with the service and its log, and how far that reaches.

casbin decides it (`authz.py`) from a model and lines as `policies/access` has them; which key has which roles
is known to whoever asks. INVARIANT: what no line allows is denied, and a role that cannot be decided on
reaches nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NoReturn

from policy.authz import Allow, Enforcer, load_enforcer, load_model
from policy.errors import Finding, PolicyError
from policy.rule_lines import NAME, NAME_WANTED, Column, Line, Lines, Shapes, cycles, read_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PERMISSIONS = (
    "read",  # records, receipts, totals and the tail
    "export",  # records as files
    "control",  # control-plane events
    "proof",  # checkpoints, tiles of hashes, proofs
    "entries",  # entries of the transparency log, which are of all tenants
    "verify",
    "hash",  # what a masked value would be stored as
    "status",
    "retain",  # what is kept, held and deleted
    "modules",
    "policies",
    "run",
    "output",  # what guests wrote to their standard streams
)
"""Everything that can be allowed."""

MODEL = """\
[request_definition]
r = role, permission, reach
[policy_definition]
p = role, permission, reach, eft
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = g(r.role, p.role) && r.permission == p.permission && r.reach == p.reach
"""

ROLES = """\
p, auditor, read, all, allow
p, auditor, control, all, allow
p, auditor, proof, all, allow
p, auditor, entries, all, allow
p, auditor, verify, all, allow
p, auditor, hash, all, allow
p, auditor, status, all, allow
p, auditor, policies, all, allow
p, tenant-auditor, read, own, allow
p, tenant-auditor, control, own, allow
p, tenant-auditor, proof, own, allow
p, tenant-auditor, verify, own, allow
p, tenant-auditor, hash, own, allow
p, exporter, export, all, allow
p, exporter, export, own, allow
p, runner, modules, all, allow
p, runner, policies, all, allow
p, runner, run, all, allow
p, runner, run, own, allow
p, runner, output, all, allow
p, runner, output, own, allow
g, operator, auditor
g, operator, exporter
g, operator, runner
p, operator, retain, all, allow
"""
"""What holds where nobody says otherwise; `policies/access/roles.csv` is the same with reasons."""

_REQUEST = ("role", "permission", "reach")
_LINE = ("role", "permission", "reach", "eft")
_ROLE = Column("role", NAME, NAME_WANTED)
_SHAPES: Shapes = {
    "p": (
        _ROLE,
        Column("permission", re.compile("|".join(PERMISSIONS)), f"one of {', '.join(PERMISSIONS)}"),
        Column("reach", re.compile(r"all|own"), "all or own"),
        Column("effect", re.compile(r"allow|deny"), "allow or deny"),
    ),
    "g": (_ROLE, Column("role", NAME, f"the role that it has every line of, {NAME_WANTED}")),
}


class Reach(Enum):
    """How far a permission reaches."""

    NONE = "none"
    OWN = "own"  # what belongs to the tenants of the key
    ALL = "all"  # what belongs to any tenant

    def __bool__(self) -> NoReturn:
        """Refuse to be taken for yes or no."""
        raise TypeError("match on NONE, OWN and ALL: a reach has no truth value")


@dataclass(frozen=True, slots=True)
class Access:
    """Every line, and what decides with them."""

    lines: tuple[Line, ...]
    enforcer: Enforcer

    @property
    def roles(self) -> tuple[str, ...]:
        """Give the roles that a line is about, by name."""
        return tuple(sorted({line.values[0] for line in self.lines}))

    def reach(self, roles: Iterable[str], permission: str) -> Reach:
        """Say how far whoever has all these roles gets; one role that is denied it denies it for all."""
        asked = tuple(roles)
        for reach in (Reach.ALL, Reach.OWN):
            if self._is_allowed(asked, permission, reach):
                return reach
        return Reach.NONE

    def _is_allowed(self, roles: tuple[str, ...], permission: str, reach: Reach) -> bool:
        found = [self.enforcer.allows((role, permission, reach.value)) for role in roles]
        is_allowed = False
        for each in found:
            match each:
                case Allow():
                    is_allowed = True
                case _ if each.line is not None or each.is_failure:
                    return False
                case _:
                    pass
        return is_allowed


def load_access(
    model_text: str = MODEL, text: str = ROLES, *, model_file: str = "model.conf", file: str = "roles.csv"
) -> Access:
    """Read a model and lines of roles; the built-in ones when none are given.

    Raises:
        PolicyError: with everything that is wrong with either.
    """
    lines, faults = read_lines(text, file=file, shapes=_SHAPES)
    findings = [*faults, *_cycles(lines, Lines.of(text, file))]
    try:
        model = load_model(model_text, file=model_file)
    except PolicyError as err:
        raise PolicyError((*err.findings, *findings)) from None
    if (model.request, model.line, model.links) != (_REQUEST, _LINE, ("g",)):
        problem = f"expected `r = {', '.join(_REQUEST)}`, `p = {', '.join(_LINE)}` and `g = _, _`"
        findings.append(Finding(id="bad-model", file=model_file, line=0, column=0, field="", problem=problem))
    if findings:
        raise PolicyError(tuple(findings))
    return Access(lines, load_enforcer(model, lines))


def _cycles(lines: tuple[Line, ...], source: Lines) -> Iterator[Finding]:
    pairs: dict[str, tuple[str, ...]] = {}
    numbers: dict[tuple[str, str], int] = {}
    for line in lines:
        if line.kind == "g":
            member, parent = line.values
            pairs[member] = (*pairs.get(member, ()), parent)
            numbers[member, parent] = line.number
    for ring in cycles(pairs):
        problem = f"a cycle: role {', which has the lines of '.join(ring)}".replace(", which", " ", 1)
        yield source.finding("cycle", numbers[ring[-2], ring[-1]], problem.replace("  ", " "))
