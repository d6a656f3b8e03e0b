"""The storage section of a document, resolved: absolute roots, guest mounts, rule ids.

What the rules mean for a path lives in `path_rules.py`. Nothing here looks at a disk, so a root
that does not exist is found only when a run starts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from policy.builtin_denies import BUILTIN_DENIES
from policy.digest import Json, canonical
from policy.errors import Finding
from policy.globs import parse_relative
from policy.path_rules import ALL_RIGHTS, AllowRule, DenyRule, MountRules
from policy.plan import UNLIMITED, Right, Rule, RuleId, RuleKind
from policy.uris import AllowTarget, Extent, Space, parse_allow, parse_deny

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policy.document import PolicyDocument
    from policy.places import Path
    from policy.schema import StorageAllow, StorageDeny

ALLOW_PATH: Path = ("permissions", "storage", "allow")
DENY_PATH: Path = ("permissions", "storage", "deny")


@dataclass(frozen=True, slots=True)
class Grant:
    """One allow rule with its place settled."""

    path: Path  # in the document
    field: str  # the same, as a person reads it
    id: RuleId
    section: StorageAllow
    rights: Right
    space: Space
    root: str  # absolute host directory, or the name of a scratch directory
    guest: str  # guest path of that directory
    file: str  # name of the one file that is granted, or empty

    @property
    def uri(self) -> str:
        """What is granted, as a person writes it."""
        if self.space is Space.SCRATCH:
            return f"tmp://{self.root}"
        return f"{self.root.rstrip('/')}/{self.file}" if self.file else self.root

    @property
    def guest_path(self) -> str:
        """Where the guest finds it."""
        return f"{self.guest.rstrip('/')}/{self.file}" if self.file else self.guest

    @property
    def has_own_id(self) -> bool:
        """Whether the document gives it its id."""
        return self.section.id is not None

    def rule(self) -> Rule:
        """The rule, as a plan holds it."""
        section = self.section
        is_elsewhere = self.uri != self.guest_path
        what = f"{self.uri}, which the guest finds at {self.guest_path}" if is_elsewhere else self.uri
        globs = f", only {', '.join(section.include)}" if section.include else ""
        globs += f", but not {', '.join(section.exclude)}" if section.exclude else ""
        return Rule(
            id=self.id,
            kind=RuleKind.ALLOW,
            field=self.field,
            summary=f"allows {words(self.rights)} on {what}{globs}",
            hint="",
            max_bytes=UNLIMITED if section.max_bytes is None else section.max_bytes,
            max_files=UNLIMITED if section.max_files is None else section.max_files,
        )

    def allow_rule(self, index: int) -> AllowRule:
        """The rule as paths see it, with its place in the plan."""
        include = tuple(parse_relative(text) for text in self.section.include)
        exclude = tuple(parse_relative(text) for text in self.section.exclude)
        return AllowRule(index, self.rights, self.file, include, exclude)


@dataclass(frozen=True, slots=True)
class Refusal:
    """One deny rule of the document."""

    path: Path
    field: str
    id: RuleId
    section: StorageDeny
    rights: Right

    @property
    def has_own_id(self) -> bool:
        """Whether the document gives it its id."""
        return self.section.id is not None

    def rule(self) -> Rule:
        """The rule, as a plan holds it."""
        return Rule(
            id=self.id,
            kind=RuleKind.DENY,
            field=self.field,
            summary=f"refuses {words(self.rights)} on {self.section.uri} and below",
            hint=f"remove or narrow {self.field}: a deny rule wins over every allow rule",
        )


@dataclass(frozen=True, slots=True)
class GuestMount:
    """A mount: where the guest finds it, and the rules of what it holds."""

    guest: str
    rules: MountRules
    is_optional: bool = False  # mounted to learn what is refused, whether it is there or not


@dataclass(slots=True)
class Storage:
    """All of it, and what is wrong with it."""

    grants: list[Grant] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def mounts(self, first_index: int) -> list[GuestMount]:
        """The mounts by guest path; allow rules count from `first_index`."""
        by_guest: dict[str, list[tuple[int, Grant]]] = {}
        for index, grant in enumerate(self.grants, first_index):
            by_guest.setdefault(grant.guest, []).append((index, grant))
        return [_guest_mount(guest, members) for guest, members in sorted(by_guest.items())]

    def denies(self, base_dir: str, first_builtin: int) -> tuple[DenyRule, ...]:
        """Built-in denies, which count from `first_builtin`, and those of the document after them."""
        found = [
            DenyRule(first_builtin + offset, ALL_RIGHTS, Space.HOST, glob, is_hard=True)
            for offset, deny in enumerate(BUILTIN_DENIES)
            for glob in deny.parsed()
        ]
        first = first_builtin + len(BUILTIN_DENIES)
        for offset, refusal in enumerate(self.refusals):
            target = parse_deny(refusal.section.uri)
            found.append(DenyRule(first + offset, refusal.rights, target.space, target.absolute(base_dir)))
        return tuple(found)


def _guest_mount(guest: str, members: list[tuple[int, Grant]]) -> GuestMount:
    _, first = members[0]
    rules = tuple(grant.allow_rule(index) for index, grant in members)
    return GuestMount(guest, MountRules(first.space, first.root, rules))


def resolve_storage(document: PolicyDocument, base_dir: str) -> Storage:
    """The storage rules of `document`, whose folder is the absolute `base_dir`."""
    storage = Storage()
    section = document.model.permissions.storage
    for index, allow in enumerate(section.allow):
        grant = _resolve(document, allow, (*ALLOW_PATH, index), base_dir)
        if isinstance(grant, Grant):
            storage.grants.append(grant)
        else:
            storage.findings.append(grant)
    for index, deny in enumerate(section.deny):
        rights = rights_of(deny.access) if deny.access else ALL_RIGHTS
        path: Path = (*DENY_PATH, index)
        field_name = document.source.field(path)
        storage.refusals.append(Refusal(path, field_name, rule_id("deny", deny), deny, rights))
    storage.findings.extend(_conflicts(document, storage.grants))
    return storage


def _resolve(document: PolicyDocument, allow: StorageAllow, path: Path, base_dir: str) -> Grant | Finding:
    target = parse_allow(allow.uri)
    if target.space is Space.SCRATCH:
        if allow.mount is None:
            problem = "a tmp:// rule needs a `mount`: scratch has no path of its own"
            return document.source.finding("mount-missing", path, problem=problem)
        root, guest, file = target.segments[0], allow.mount, ""
    else:
        root = target.host_path(base_dir)
        guest, file = (root if allow.mount is None else allow.mount), ""
        if target.extent is Extent.FILE:
            fault = _file_fault(allow, target, guest)
            if fault is not None:
                key, problem = fault
                return document.source.finding("file-rule", (*path, key), problem=problem)
            root, guest, file = _split_file(root, guest)
    rights = rights_of(allow.access)
    field_name = document.source.field(path)
    return Grant(path, field_name, rule_id("allow", allow), allow, rights, target.space, root, guest, file)


def _split_file(whole: str, guest_whole: str) -> tuple[str, str, str]:
    root, _, file = whole.rpartition("/")
    return root or "/", guest_whole.rpartition("/")[0] or "/", file


def _file_fault(allow: StorageAllow, target: AllowTarget, guest_whole: str) -> tuple[str, str] | None:
    name = target.segments[-1]
    if guest_whole.rpartition("/")[2] != name:
        return "mount", f"a file keeps its name: the mount of this rule must end in /{name}"
    for key, globs in (("include", allow.include), ("exclude", allow.exclude)):
        if globs:
            return key, f"a rule for one file takes no {key}; for a directory, end the uri in /**"
    return None


def _conflicts(document: PolicyDocument, grants: list[Grant]) -> list[Finding]:
    """Guest paths that two different directories are to be mounted at."""
    first: dict[str, Grant] = {}
    found: list[Finding] = []
    for grant in grants:
        other = first.setdefault(grant.guest, grant)
        if (other.space, other.root) != (grant.space, grant.root):
            taken = f"is taken by {other.id}, which puts {_place(other)} there, not {_place(grant)}"
            problem = f"the guest path {grant.guest} {taken}"
            where = (*grant.path, "mount" if grant.section.mount else "uri")
            found.append(document.source.finding("mount-conflict", where, problem=problem))
    return found


def _place(grant: Grant) -> str:
    return grant.root if grant.space is Space.HOST else f"tmp://{grant.root}"


def rights_of(access: Sequence[str]) -> Right:
    """The mask of the rights named in `access`."""
    mask = Right(0)
    for name in access:
        mask |= Right[name.upper()]
    return mask


def words(rights: Right) -> str:
    """`read, list` for a mask of rights."""
    return ", ".join(right.name.lower() for right in Right if right in rights and right.name)


def rule_id(prefix: str, section: StorageAllow | StorageDeny) -> RuleId:
    """The rule's own id, or one made of all that it says."""
    if section.id is not None:
        return RuleId(section.id)
    dumped = section.model_dump(mode="json", exclude={"id"})
    if dumped["access"]:
        dumped["access"] = sorted(set(dumped["access"]))
    stable: dict[str, Json] = {key: None if value is None else str(value) for key, value in dumped.items()}
    return RuleId(f"{prefix}-{hashlib.sha256(canonical(stable)).hexdigest()[:8]}")
