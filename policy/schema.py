"""The policy document as typed values: every key, its type, its default and what it means.

Text of single fields is read in `fields.py`, faults become findings in `document.py`, and how a run is kept
stands in `schema_run.py`. A key that is not named here is an error, and an empty section grants nothing.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from policy.fields import (
    Access,
    AllowUri,
    AnyText,
    ByteLimit,
    CountLimit,
    DenyUri,
    Digest,
    Filled,
    Flag,
    GuestMount,
    Instant,
    Many,
    NonEmpty,
    OneOrMany,
    PolicyName,
    RandomSource,
    RelativeGlob,
    RuleName,
    Section,
    Text,
    Version,
)
from policy.schema_network import Model, Network
from policy.schema_run import AuditSection, ClocksSection, Resources, RuntimeSection, StdioSection
from policy.schema_temporal import TemporalRule
from policy.schema_test import Case


class Naming(Model):
    """What a document is called, and who answers for it."""

    name: PolicyName = Field(description="What others call it: bindings, `extends`, records and reports.")
    description: Text = Field(default="", description="What it is for, in a sentence or two; for people.")
    owner: Text = Field(default="", description="Who answers for it; for people.")
    labels: Section[dict[str, Text]] = Field(
        default_factory=dict,
        description="Keys and values of the organisation's own, such as `trust: untrusted`. A boundary "
        "may ask for a digest where a label stands.",
    )
    reason: Text = Field(default="", description="Why it was changed last; for people.")


class Metadata(Naming):
    """Who answers for the policy, and until when it holds."""

    expires: Instant | None = Field(
        default=None, description="The first instant at which the policy is refused."
    )


class Match(Model):
    """Which modules the policy is for."""

    digest: OneOrMany[Digest] = Field(
        default=(), description="The modules, each by the SHA-256 of its bytes."
    )
    name: OneOrMany[NonEmpty] = Field(
        default=(), description="Globs over the names of modules, such as `*.wasm`."
    )
    signer: OneOrMany[NonEmpty] = Field(default=(), description="Who must have signed the module.")
    tenant: OneOrMany[NonEmpty] = Field(default=(), description="Globs over the tenants that it is for.")


class StorageAllow(Model):
    """One grant of files."""

    id: RuleName | None = Field(
        default=None,
        description="Name of the rule in records; unique in the document. Without it one is made from "
        "the rule.",
    )
    uri: AllowUri = Field(
        description="What is granted: a directory with everything below it, one file, or scratch space."
    )
    mount: GuestMount | None = Field(
        default=None,
        description="Where the guest finds it. Without it that is the path on the host; `tmp://` needs it.",
    )
    access: Many[Access] = Field(description="The rights that are granted.")
    include: Many[RelativeGlob] = Field(
        default=(),
        description="Globs relative to the rule's root; only what one of them matches is granted. "
        "Empty: everything.",
    )
    exclude: Many[RelativeGlob] = Field(
        default=(), description="Globs relative to the rule's root that are left out, with all below."
    )
    max_bytes: ByteLimit | None = Field(
        default=None,
        description="Bytes that a run may write through this rule. Nothing: only "
        "`resources.limits.disk` counts.",
    )
    max_files: CountLimit | None = Field(
        default=None,
        description="Files and directories that a run may make through this rule. Nothing: only "
        "`resources.limits.files` counts.",
    )


class StorageDeny(Model):
    """One refusal of files, which wins over every grant; without `access` it refuses everything."""

    id: RuleName | None = Field(
        default=None,
        description="Name of the rule in records; unique in the document. Without it one is made from "
        "the rule.",
    )
    uri: DenyUri = Field(
        description="What is refused: a path or a glob over whole host paths, or over `tmp://name/…`."
    )
    access: Filled[Access] | None = Field(
        default=None, description="The rights that are refused. Without it all seven are."
    )


class Storage(Model):
    """Files and directories."""

    allow: Many[StorageAllow] = Field(default=(), description="Grants of files and directories.")
    deny: Many[StorageDeny] = Field(default=(), description="Refusals, which win over every grant.")


class EnvironmentAllow(Model):
    """One environment variable."""

    id: RuleName | None = Field(default=None, description="Name of the rule; for people.")
    key: AnyText = Field(
        description="Name of the variable: not empty, without `=`, NUL and wildcards; each once."
    )
    value: AnyText | None = Field(
        default=None,
        description="Its value. A variable without one would be taken from the host, which this version "
        "does not do.",
    )
    from_: NonEmpty | None = Field(
        default=None, alias="from", description="The secret that the value is taken from, as `secret://name`."
    )


class Environment(Model):
    """The environment of the guest."""

    allow: Many[EnvironmentAllow] = Field(
        default=(), description="Variables of the guest. Those of the host are never passed on."
    )


class NnModel(Model):
    """One model that may be loaded."""

    name: NonEmpty = Field(description="Name of the model, as the guest asks for it.")
    digest: Digest = Field(description="The model, by the SHA-256 of its bytes.")
    backend: NonEmpty = Field(description="What runs it, such as `onnx`.")


class Nn(Model):
    """Neural networks."""

    models: Many[NnModel] = Field(default=(), description="Models that may be loaded.")
    max_calls: CountLimit | None = Field(
        default=None, description="How often a run may ask a model. Nothing: no bound."
    )
    max_tensor_bytes: ByteLimit | None = Field(
        default=None, description="Bytes of the largest tensor that is passed in or out. Nothing: no bound."
    )


class HostFunction(Model):
    """One import outside WASI."""

    id: RuleName | None = Field(default=None, description="Name of the rule in records.")
    name: NonEmpty = Field(description="Glob over `module/name` of the import.")
    args: Many[NonEmpty] = Field(default=(), description="What its arguments must satisfy.")


class Permissions(Model):
    """Everything that is granted."""

    storage: Section[Storage] = Field(default=Storage(), description="Files and directories.")
    network: Section[Network] = Field(default=Network(), description="Sockets, names and requests.")
    environment: Section[Environment] = Field(default=Environment(), description="Environment variables.")
    args: Many[AnyText] = Field(
        default=(),
        description="First arguments of the guest; they follow its own name, which is that of the "
        "module file.",
    )
    extra_args: Flag = Field(default=True, description="Whether the caller may add arguments after these.")
    stdio: Section[StdioSection] = Field(default=StdioSection(), description="The three standard streams.")
    clocks: Section[ClocksSection] = Field(default=ClocksSection(), description="What the clocks say.")
    random: RandomSource = Field(
        default="real",
        description="Random bytes: `real`, `seeded:<hex>` (the same in every run), or `none`. A seed of "
        "fewer than 32 bytes is stretched with SHA-256.",
    )
    nn: Section[Nn] = Field(default=Nn(), description="Neural networks.")
    host_functions: Many[HostFunction] = Field(
        default=(), description="Imports outside WASI that are granted."
    )


class Shared(Model):
    """What a policy and a baseline have in common."""

    version: Version = Field(description="Version of the format.")
    metadata: Metadata = Field(description="What the document is called, and who answers for it.")
    extends: Many[NonEmpty] = Field(
        default=(),
        description="Baselines by name. Their rules and values hold here too; this document's own "
        "values replace theirs.",
    )
    permissions: Section[Permissions] = Field(default=Permissions(), description="What is granted.")
    rules: Many[TemporalRule] = Field(
        default=(), description="Rules over time: once something has happened, something else is refused."
    )
    resources: Section[Resources] = Field(default=Resources(), description="What a run may use.")
    runtime: Section[RuntimeSection] = Field(default=RuntimeSection(), description="How the module is run.")
    audit: Section[AuditSection] = Field(
        default=AuditSection(), description="How the trail of a run is kept."
    )
    tests: Many[Case] = Field(
        default=(), description="Calls and the verdicts that are expected; `wasmgate policy test` runs them."
    )


class PolicyModel(Shared):
    """A document of kind ModulePolicy."""

    kind: Literal["ModulePolicy"] = Field(
        default="ModulePolicy", description="What the document is; a ModulePolicy says what modules may do."
    )
    match: Match | None = Field(
        default=None,
        description="Which modules the policy is for, and which tenants. Keys narrow each other. A "
        "stored policy needs a `digest` or a `name`.",
    )
    mode: Literal["enforce", "audit", "learn"] = Field(
        default="enforce",
        description="`enforce` refuses; `audit` lets happen what lies inside every boundary and records "
        "it as `would_deny`; `learn` refuses, and also mounts what the boundary allows, so that more is "
        "seen.",
    )
    when_unenforceable: Literal["refuse", "warn"] = Field(
        default="refuse",
        description="Whether a part that this version does not enforce is an error, or is run without "
        "with a warning.",
    )


class BaselineModel(Shared):
    """A document of kind Baseline: what it is for, and how strictly, is said by those that extend it."""

    kind: Literal["Baseline"] = Field(
        description="A Baseline holds what several policies have in common; it is not run by itself."
    )

    @property
    def match(self) -> Match | None:
        """No modules: a baseline is never run by itself."""
        return None

    @property
    def mode(self) -> Literal["enforce", "audit", "learn"]:
        """How it is studied by itself."""
        return "enforce"

    @property
    def when_unenforceable(self) -> Literal["refuse", "warn"]:
        """What holds when nobody says otherwise."""
        return "refuse"
