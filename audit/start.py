"""What is known of an execution before its first host call, as the log keeps it.

Records of host calls live in frames of their own (`wal.py`), the summary at the end in
`receipt.py`. Records name rules and mounts by number; the names are here. INVARIANT:
`ExecutionStart.from_json(start.to_json()) == start`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from audit import canonical
from audit.identity import ExecutionId, execution_id
from audit.store import TENANT
from audit.terms import AuditTerms
from audit.text import to_text
from audit.times import to_ns, to_rfc3339


@dataclass(frozen=True, slots=True)
class MountPoint:
    """A directory that the guest finds open when it starts."""

    guest: str  # as the guest names it: `/in`; as stored, see `text.py`
    base: str  # what targets below it start with: `/srv/in` or `tmp://out`; as stored

    @staticmethod
    def of(guest: str, base: str) -> MountPoint:
        """Make one of paths as the operating system gives them."""
        return MountPoint(to_text(os.fsencode(guest)), to_text(os.fsencode(base)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionStart:
    """Everything that the records of one execution share."""

    exec_id: ExecutionId
    started_at_ns: int
    module_digest: str  # `sha256:…`
    module_name: str
    policy_name: str
    policy_digest: str  # `sha256:…`
    plan_digest: str  # `sha256:…`
    mode: str  # `enforce`, `audit` or `learn`
    layout_version: int  # of the records, see `sandbox.monitor.layout`
    record_bytes: int = 64
    rules: tuple[str, ...] = ()  # rule ids; records name one by its index
    mounts: tuple[MountPoint, ...] = ()
    retain_days: int = 90
    tenant: str = TENANT  # for whom it ran
    unenforced: tuple[str, ...] = ()  # fields of the policy that it accepted to run without
    audit: AuditTerms = field(default_factory=AuditTerms)  # what is kept of its calls
    host: tuple[tuple[str, str], ...] = ()  # facts about the machine and the engine, sorted by name

    def to_json(self) -> bytes:
        """Give the canonical JSON."""
        # Most runs have none, and logs of older versions do not know the field.
        unenforced = {"unenforced": self.unenforced} if self.unenforced else {}
        return canonical.dumps(
            {
                "exec_id": self.exec_id,
                "tenant": self.tenant,
                "started_at": to_rfc3339(self.started_at_ns),
                "module": {"digest": self.module_digest, "name": self.module_name},
                "policy": {"name": self.policy_name, "digest": self.policy_digest},
                "plan_digest": self.plan_digest,
                "mode": self.mode,
                "layout_version": self.layout_version,
                "record_bytes": self.record_bytes,
                "rules": self.rules,
                "mounts": [{"guest": mount.guest, "base": mount.base} for mount in self.mounts],
                "retain_days": self.retain_days,
                "audit": self.audit.to_json(),
                "host": dict(self.host),
                **unenforced,
            }
        )

    @staticmethod
    def from_json(text: bytes | memoryview) -> ExecutionStart:
        """Read it back; FormatError if a field is missing or of another type."""
        read = canonical.loads("start", text)
        module, policy, host = read.child("module"), read.child("policy"), read.child("host")
        return ExecutionStart(
            exec_id=execution_id(read.text("exec_id")),
            started_at_ns=to_ns(read.text("started_at")),
            module_digest=module.text("digest"),
            module_name=module.text("name"),
            policy_name=policy.text("name"),
            policy_digest=policy.text("digest"),
            plan_digest=read.text("plan_digest"),
            mode=read.text("mode"),
            layout_version=read.integer("layout_version"),
            record_bytes=read.integer("record_bytes"),
            rules=read.texts("rules"),
            mounts=tuple(
                MountPoint(item.text("guest"), item.text("base")) for item in read.children("mounts")
            ),
            retain_days=read.integer("retain_days"),
            unenforced=read.texts("unenforced") if "unenforced" in read.fields else (),
            audit=AuditTerms.from_json(read.child("audit")),
            tenant=tenant_of(read),
            host=tuple(sorted((name, host.text(name)) for name in host.fields)),
        )


def tenant_of(read: canonical.Document) -> str:
    """The tenant that a start or a receipt names; those from before there were tenants name none."""
    return read.optional_text("tenant") or TENANT
