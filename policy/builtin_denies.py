"""The paths that no policy can grant: secrets and the machine's own interfaces.

How a deny rule is matched lives in `path_rules.py`. The list is the same on every machine, and a
denied path takes everything below it along.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from policy.globs import Glob, parse_glob
from policy.plan import Rule, RuleId, RuleKind


@dataclass(frozen=True, slots=True)
class BuiltinDeny:
    """One rule that is always there, before all others."""

    id: RuleId
    globs: tuple[str, ...]  # over absolute host paths, without the slash in front
    what: str

    def parsed(self) -> tuple[Glob, ...]:
        """The globs, ready to match."""
        return tuple(parse_glob(text) for text in self.globs)

    def rule(self) -> Rule:
        """The rule, as a plan holds it."""
        return Rule(
            id=self.id,
            kind=RuleKind.BUILTIN,
            field="",
            summary=f"{self.what} ({', '.join('/' + text for text in self.globs)}) cannot be granted",
            hint="no policy can allow this: copy what is needed to a directory of its own",
        )


def _homes(*tails: str) -> tuple[str, ...]:
    return tuple(f"{home}/{tail}" for tail in tails for home in ("root", "home/*"))


BUILTIN_DENIES: Final = (
    BuiltinDeny(RuleId("builtin.proc"), ("proc/**",), "the kernel's view of processes"),
    BuiltinDeny(RuleId("builtin.sys"), ("sys/**",), "the kernel's view of the machine"),
    BuiltinDeny(RuleId("builtin.dev"), ("dev/**",), "devices"),
    BuiltinDeny(
        RuleId("builtin.passwords"),
        ("etc/shadow", "etc/shadow-", "etc/gshadow", "etc/gshadow-"),
        "password hashes",
    ),
    BuiltinDeny(RuleId("builtin.sudoers"), ("etc/sudoers", "etc/sudoers.d/**"), "who may become root"),
    BuiltinDeny(RuleId("builtin.host-keys"), ("etc/ssh/ssh_host_*",), "the machine's SSH keys"),
    BuiltinDeny(RuleId("builtin.ssh"), _homes(".ssh/**"), "personal SSH keys"),
    BuiltinDeny(RuleId("builtin.aws"), _homes(".aws/**"), "cloud credentials"),
    BuiltinDeny(RuleId("builtin.gcloud"), _homes(".config/gcloud/**"), "cloud credentials"),
    BuiltinDeny(RuleId("builtin.gnupg"), _homes(".gnupg/**"), "personal keys"),
    BuiltinDeny(
        RuleId("builtin.docker"), ("run/docker.sock", "var/run/docker.sock"), "the container engine's socket"
    ),
)
