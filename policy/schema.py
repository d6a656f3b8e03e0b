"""The policy document as typed values: every key, its type and its default.

Text of single fields is read in `fields.py`, and faults become findings in `document.py`. A key
that is not named here is an error, and an empty section grants nothing.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from policy.fields import (
    Access,
    AllowUri,
    ByteLimit,
    CountLimit,
    Days,
    DenyUri,
    Digest,
    Filled,
    Flag,
    GuestMount,
    HostCallsLimit,
    Instant,
    Many,
    MemoryLimit,
    Milliseconds,
    MonotonicClock,
    NonEmpty,
    OneOrMany,
    OnFull,
    OpenFilesLimit,
    PolicyName,
    RandomSource,
    RelativeGlob,
    Resolution,
    RuleName,
    Section,
    StackLimit,
    Text,
    Version,
    WallClock,
)
from policy.schema_network import Model, Network
from policy.schema_temporal import TemporalRule
from policy.schema_test import Case

MIB = 2**20


class Naming(Model):
    """What a document is called, and who answers for it."""

    name: PolicyName
    description: Text = ""
    owner: Text = ""
    labels: Section[dict[str, Text]] = Field(default_factory=dict)
    reason: Text = ""


class Metadata(Naming):
    """Who answers for the policy, and until when it holds."""

    expires: Instant | None = None


class Match(Model):
    """Which modules the policy is for."""

    digest: OneOrMany[Digest] = ()
    name: OneOrMany[NonEmpty] = ()
    signer: OneOrMany[NonEmpty] = ()
    tenant: OneOrMany[NonEmpty] = ()


class StorageAllow(Model):
    """One grant of files."""

    id: RuleName | None = None
    uri: AllowUri
    mount: GuestMount | None = None
    access: Many[Access]  # empty in mode `learn` only
    include: Many[RelativeGlob] = ()
    exclude: Many[RelativeGlob] = ()
    max_bytes: ByteLimit | None = None
    max_files: CountLimit | None = None


class StorageDeny(Model):
    """One refusal of files, which wins over every grant; without `access` it refuses everything."""

    id: RuleName | None = None
    uri: DenyUri
    access: Filled[Access] | None = None


class Storage(Model):
    """Files and directories."""

    allow: Many[StorageAllow] = ()
    deny: Many[StorageDeny] = ()


class EnvironmentAllow(Model):
    """One environment variable."""

    id: RuleName | None = None
    key: str
    value: str | None = None
    from_: NonEmpty | None = Field(None, alias="from")


class Environment(Model):
    """The environment of the guest."""

    allow: Many[EnvironmentAllow] = ()


class StdioSection(Model):
    """The three standard streams."""

    stdin: Literal["none", "inherit", "caller"] = "none"
    stdout: Literal["none", "inherit", "capture"] = "capture"
    stderr: Literal["none", "inherit", "capture"] = "capture"


class ClocksSection(Model):
    """What the clocks say."""

    wall: WallClock = "real"
    monotonic: MonotonicClock = "real"
    resolution: Resolution = 1_000


class NnModel(Model):
    """One model that may be loaded."""

    name: NonEmpty
    digest: Digest
    backend: NonEmpty


class Nn(Model):
    """Neural networks."""

    models: Many[NnModel] = ()
    max_calls: CountLimit | None = None
    max_tensor_bytes: ByteLimit | None = None


class HostFunction(Model):
    """One import outside WASI."""

    id: RuleName | None = None
    name: NonEmpty
    args: Many[NonEmpty] = ()


class Permissions(Model):
    """Everything that is granted."""

    storage: Section[Storage] = Storage()
    network: Section[Network] = Network()
    environment: Section[Environment] = Environment()
    args: Many[str] = ()
    extra_args: Flag = True
    stdio: Section[StdioSection] = StdioSection()
    clocks: Section[ClocksSection] = ClocksSection()
    random: RandomSource = "real"
    nn: Section[Nn] = Nn()
    host_functions: Many[HostFunction] = ()


class LimitsSection(Model):
    """What a run may use; sizes in bytes, times in milliseconds."""

    memory: MemoryLimit = 64 * MIB
    cpu: Milliseconds = 5_000
    timeout: Milliseconds = 10_000
    fuel: CountLimit = -1
    module: ByteLimit = 64 * MIB
    compile: Milliseconds = 30_000
    stack: StackLimit = 512 * 2**10
    tables: CountLimit = 4
    table_elements: CountLimit = 10_000
    instances: CountLimit = 8
    memories: CountLimit = 2
    stdout: ByteLimit = 1 * MIB
    stderr: ByteLimit = 256 * 2**10
    disk: ByteLimit = 16 * MIB
    files: CountLimit = 256
    open_files: OpenFilesLimit = 64
    connections: CountLimit = 4
    net_in: ByteLimit = 8 * MIB
    net_out: ByteLimit = 8 * MIB
    host_calls: HostCallsLimit = 1_000_000


class Resources(Model):
    """What a run may use."""

    limits: Section[LimitsSection] = LimitsSection()


class RuntimeSection(Model):
    """How the module is run."""

    abi: Literal["auto", "wasi-0.1", "wasi-0.2"] = "auto"
    engine: Literal["cranelift", "pulley"] = "cranelift"
    isolation: NonEmpty = "process"
    cache: Flag = True


class AuditRule(Model):
    """An exception for some calls."""

    call: NonEmpty
    level: Literal["counts", "summary", "calls"] | None = None
    payload: NonEmpty | None = None


class AuditSection(Model):
    """How the trail of a run is kept."""

    level: Literal["counts", "summary", "calls"] = "calls"
    payload: NonEmpty = "none"
    mask: OneOrMany[NonEmpty] = ("default",)
    sync: Literal["batch", "deny", "all"] = "deny"
    on_full: OnFull = 10_000
    timestamps: Literal["auto", "exact", "coarse"] = "auto"
    retain: Days = 90
    rules: Many[AuditRule] = ()


class Shared(Model):
    """What a policy and a baseline have in common."""

    version: Version
    metadata: Metadata
    extends: Many[NonEmpty] = ()
    permissions: Section[Permissions] = Permissions()
    rules: Many[TemporalRule] = ()
    resources: Section[Resources] = Resources()
    runtime: Section[RuntimeSection] = RuntimeSection()
    audit: Section[AuditSection] = AuditSection()
    tests: Many[Case] = ()


class PolicyModel(Shared):
    """A document of kind ModulePolicy."""

    kind: Literal["ModulePolicy"] = "ModulePolicy"
    match: Match | None = None
    mode: Literal["enforce", "audit", "learn"] = "enforce"
    when_unenforceable: Literal["refuse", "warn"] = "refuse"


class BaselineModel(Shared):
    """A document of kind Baseline: what it is for, and how strictly, is said by those that extend it."""

    kind: Literal["Baseline"]

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
