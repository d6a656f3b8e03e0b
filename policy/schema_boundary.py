"""Boundaries and documents of tests, as typed values: every key, its type and its default.

Policies and baselines are in `schema.py`, single tests in `schema_test.py`, and what a ceiling means in
`boundary.py`. INVARIANT: a ceiling over storage or the network that is not written allows nothing of it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from policy.fields import (
    Access,
    ByteLimit,
    Count,
    CountLimit,
    Filled,
    Flag,
    HostCallsLimit,
    Many,
    MemoryLimit,
    Milliseconds,
    NeverUri,
    NonEmpty,
    OpenFilesLimit,
    RootUri,
    Section,
    StackLimit,
    Version,
    fault,
)
from policy.schema import Match, Naming
from policy.schema_network import Model, NetworkCeiling
from policy.schema_test import Case


def _label(value: str) -> str:
    key, equals, _ = value.partition("=")
    if not key or not equals:
        raise fault("bad-label", "a label with its value, such as trust=untrusted")
    return value


class StorageCeiling(Model):
    """Where files may be granted at most, and with which rights."""

    roots: Many[RootUri] = ()
    access: Many[Access] = ()
    never: Many[NeverUri] = ()


class LimitsCeiling(Model):
    """How high a limit may be at most; one that is not named has no ceiling."""

    memory: MemoryLimit | None = None
    cpu: Milliseconds | None = None
    timeout: Milliseconds | None = None
    fuel: CountLimit | None = None
    module: ByteLimit | None = None
    compile: Milliseconds | None = None
    stack: StackLimit | None = None
    tables: CountLimit | None = None
    table_elements: CountLimit | None = None
    instances: CountLimit | None = None
    memories: CountLimit | None = None
    stdout: ByteLimit | None = None
    stderr: ByteLimit | None = None
    disk: ByteLimit | None = None
    files: CountLimit | None = None
    open_files: OpenFilesLimit | None = None
    connections: CountLimit | None = None
    net_in: ByteLimit | None = None
    net_out: ByteLimit | None = None
    host_calls: HostCallsLimit | None = None
    unlimited: Literal["allowed", "forbidden"] = "allowed"


class Requirements(Model):
    """What a policy must say."""

    digest_for: Many[Annotated[NonEmpty, AfterValidator(_label)]] = ()
    audit_level: Literal["counts", "summary", "calls"] | None = None  # at least
    isolation: NonEmpty | None = None
    signed_policy: Flag = False


class Ceiling(Model):
    """The most that a policy in its scope may grant."""

    storage: Section[StorageCeiling] = StorageCeiling()
    network: Section[NetworkCeiling] = NetworkCeiling()
    limits: Section[LimitsCeiling] = LimitsCeiling()
    require: Section[Requirements] = Requirements()
    modes: Filled[Literal["enforce", "audit", "learn"]] | None = None  # None: every mode


class BreakGlass(Model):
    """Who may go around approvals in an emergency, and what follows."""

    roles: Many[NonEmpty] = ()
    max_duration: Milliseconds | None = None
    second_person: Flag = True
    audit_payload: NonEmpty = "full"
    review_within: Milliseconds | None = None


class ChangeControl(Model):
    """How many people must agree to a change."""

    approvals: Section[dict[str, Count]] = Field(default_factory=dict)
    auto_approve: Literal["never", "no-new-access"] = "never"
    break_glass: BreakGlass | None = None


class Generalise(Model):
    """How far learning may go beyond what was seen."""

    min_siblings: Count = 6
    forbid_if_unobserved_matches: Many[NonEmpty] = ()


class Learn(Model):
    """What policies are learned from."""

    from_: Literal["denials", "records"] = Field("denials", alias="from")
    min_runs: Count = 1
    generalise: Section[Generalise] = Generalise()
    output: Literal["draft"] = "draft"


class Anchor(Model):
    """A place outside that the log's state is written to."""

    kind: Literal["file", "webhook"]
    path: NonEmpty | None = None
    url: NonEmpty | None = None
    every: NonEmpty


class BoundaryModel(Model):
    """A document of kind Boundary. It has no `expires`: a ceiling that ran out would open everything."""

    version: Version
    kind: Literal["Boundary"]
    metadata: Naming
    match: Match | None = None
    ceiling: Section[Ceiling] = Ceiling()
    when_unenforceable: Literal["refuse", "warn"] = "refuse"
    change_control: ChangeControl | None = None
    learn: Learn | None = None
    anchors: Many[Anchor] = ()
    tests: Many[Case] = ()


class PolicyTestModel(Model):
    """A document of kind PolicyTest."""

    version: Version
    kind: Literal["PolicyTest"]
    metadata: Naming
    policy: NonEmpty  # name or file of the policy that the tests are about
    tests: Filled[Case]
