"""Boundaries and documents of tests, as typed values: every key, its type and its default.

Policies and baselines are in `schema.py`, single tests in `schema_test.py`, and what a ceiling means in
`boundary.py`. INVARIANT: a ceiling over storage or the network that is not written allows nothing of it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

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
from policy.schema_run import IsolationWord, WallWord
from policy.schema_test import Case
from policy.shapes import texts


def _label(value: str) -> str:
    key, equals, _ = value.partition("=")
    if not key or not equals:
        raise fault("bad-label", "a label with its value, such as trust=untrusted")
    return value


def _most(name: str) -> Any:  # noqa: ANN401  # as pydantic types its `Field`
    """A ceiling over one limit."""
    return Field(
        default=None, description=f"The most that `resources.limits.{name}` may say. Without it, no ceiling."
    )


Label = Annotated[NonEmpty, AfterValidator(_label), texts.LABEL]


class StorageCeiling(Model):
    """Where files may be granted at most, and with which rights."""

    roots: Many[RootUri] = Field(default=(), description="Where files may be granted. Without it, nowhere.")
    access: Many[Access] = Field(default=(), description="Which rights may be granted. Without it, none.")
    never: Many[NeverUri] = Field(default=(), description="What is refused whatever a policy grants.")


class LimitsCeiling(Model):
    """How high a limit may be at most; one that is not named has no ceiling."""

    memory: MemoryLimit | None = _most("memory")
    cpu: Milliseconds | None = _most("cpu")
    timeout: Milliseconds | None = _most("timeout")
    fuel: CountLimit | None = _most("fuel")
    module: ByteLimit | None = _most("module")
    compile: Milliseconds | None = _most("compile")
    stack: StackLimit | None = _most("stack")
    tables: CountLimit | None = _most("tables")
    table_elements: CountLimit | None = _most("table_elements")
    instances: CountLimit | None = _most("instances")
    memories: CountLimit | None = _most("memories")
    stdout: ByteLimit | None = _most("stdout")
    stderr: ByteLimit | None = _most("stderr")
    disk: ByteLimit | None = _most("disk")
    files: CountLimit | None = _most("files")
    open_files: OpenFilesLimit | None = _most("open_files")
    connections: CountLimit | None = _most("connections")
    net_in: ByteLimit | None = _most("net_in")
    net_out: ByteLimit | None = _most("net_out")
    host_calls: HostCallsLimit | None = _most("host_calls")
    unlimited: Literal["allowed", "forbidden"] = Field(
        default="allowed", description="Whether a limit may be `unlimited`."
    )


class Requirements(Model):
    """What a policy must say."""

    digest_for: Many[Label] = Field(
        default=(), description="Policies with one of these labels must name digests in `match`."
    )
    audit_level: Literal["counts", "summary", "calls"] | None = Field(
        default=None, description="The audit level that a policy must have at least."
    )
    isolation: IsolationWord | None = Field(
        default=None, description="The isolation that a policy must have, or a stronger one."
    )
    walls: Many[WallWord] = Field(
        default=(), description="Walls that a policy must name in `runtime.require_walls`."
    )
    signed_policy: Flag = Field(default=False, description="Whether a policy must be signed.")


class Ceiling(Model):
    """The most that a policy in its scope may grant."""

    storage: Section[StorageCeiling] = Field(
        default=StorageCeiling(), description="The most of files. What is not written is not allowed."
    )
    network: Section[NetworkCeiling] = Field(
        default=NetworkCeiling(), description="The most of the network. What is not written is not allowed."
    )
    limits: Section[LimitsCeiling] = Field(
        default=LimitsCeiling(), description="The highest limits. One that is not named has no ceiling."
    )
    require: Section[Requirements] = Field(default=Requirements(), description="What a policy must say.")
    modes: Filled[Literal["enforce", "audit", "learn"]] | None = Field(
        default=None, description="Modes that a policy may have. Without it, every mode."
    )


class BreakGlass(Model):
    """Who may go around approvals in an emergency, and what follows."""

    roles: Many[NonEmpty] = Field(default=(), description="Who may.")
    max_duration: Milliseconds | None = Field(default=None, description="For how long.")
    second_person: Flag = Field(default=True, description="Whether a second person must agree.")
    audit_payload: NonEmpty = Field(default="full", description="The audit payload while it lasts.")
    review_within: Milliseconds | None = Field(
        default=None, description="By when somebody must have looked at it."
    )


class ChangeControl(Model):
    """How many people must agree to a change."""

    approvals: Section[dict[str, Count]] = Field(
        default_factory=dict, description="How many people must agree, by kind of change."
    )
    auto_approve: Literal["never", "no-new-access"] = Field(
        default="never", description="Which changes need nobody: `never` or `no-new-access`."
    )
    break_glass: BreakGlass | None = Field(
        default=None, description="Who may go around approvals in an emergency."
    )


class Generalise(Model):
    """How far learning may go beyond what was seen."""

    min_siblings: Count = Field(default=6, description="How many names of one directory make a glob.")
    forbid_if_unobserved_matches: Many[NonEmpty] = Field(
        default=(),
        description="Globs over names; a generalisation that would take one of them in unseen is not made.",
    )


class Learn(Model):
    """What policies are learned from."""

    from_: Literal["denials", "records"] = Field(
        default="denials",
        alias="from",
        description="Whether a policy is learned from `denials` or from all `records`.",
    )
    min_runs: Count = Field(default=1, description="In how many runs something must have been seen.")
    generalise: Section[Generalise] = Field(
        default=Generalise(), description="How far learning goes beyond what was seen."
    )
    output: Literal["draft"] = Field(default="draft", description="What comes of it.")


class Anchor(Model):
    """A place outside that the log's state is written to."""

    kind: Literal["file", "webhook"] = Field(description="`file` or `webhook`.")
    path: NonEmpty | None = Field(default=None, description="The file.")
    url: NonEmpty | None = Field(default=None, description="The address.")
    every: NonEmpty = Field(description="How often: a count of records or a duration.")


class BoundaryModel(Model):
    """A document of kind Boundary. It has no `expires`: a ceiling that ran out would open everything."""

    version: Version = Field(description="Version of the format.")
    kind: Literal["Boundary"] = Field(description="A Boundary is a ceiling for the policies in its scope.")
    metadata: Naming = Field(description="What the document is called, and who answers for it.")
    match: Match | None = Field(
        default=None, description="The modules and tenants whose policies must lie inside. Without it, all."
    )
    ceiling: Section[Ceiling] = Field(default=Ceiling(), description="The most that a policy may grant.")
    when_unenforceable: Literal["refuse", "warn"] = Field(
        default="refuse",
        description="Whether a part that this version does not enforce is an error or a warning.",
    )
    change_control: ChangeControl | None = Field(
        default=None, description="How many people must agree to a change."
    )
    learn: Learn | None = Field(
        default=None, description="How far policies that are learned inside it may go."
    )
    anchors: Many[Anchor] = Field(
        default=(), description="Places outside that the state of the log is written to."
    )
    tests: Many[Case] = Field(
        default=(), description="Calls and the verdicts that are expected of every policy inside it."
    )


class PolicyTestModel(Model):
    """A document of kind PolicyTest."""

    version: Version = Field(description="Version of the format.")
    kind: Literal["PolicyTest"] = Field(
        description="A PolicyTest holds tests of a policy that stands elsewhere."
    )
    metadata: Naming = Field(description="What the document is called, and who answers for it.")
    policy: NonEmpty = Field(description="Name or file of the policy that the tests are about.")
    tests: Filled[Case] = Field(description="Calls and the verdicts that are expected.")
