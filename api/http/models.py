"""What callers may send: bodies, and the parameters of a query.

What is answered is in `views.py`; what the values mean is decided by `api/service.py`. INVARIANT: whatever is
not declared here is refused, and nothing is taken for another type.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema, model_validator
from pydantic.config import JsonDict
from pydantic.json_schema import SkipJsonSchema

from audit.columns import CODES
from audit.filters import DEFAULT_LIMIT, MAX_LIMIT
from audit.store import TENANT

MAX_ARGS = 256
MAX_ARG = 4_096
MAX_ARGS_BYTES = 131_072  # as much as Linux takes for one argument
MAX_STDIN_BYTES = 4 << 20
MAX_POLICY = 1 << 20  # characters; the reader of policies takes as many bytes
MAX_LISTED = 1_000

EXECUTION_ID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
DIGEST = r"^sha256:[0-9a-f]{64}$"
NAME = r"^[A-Za-z0-9][A-Za-z0-9._+@-]{0,199}$"
POLICY = r"^(sha256:[0-9a-f]{64}|[A-Za-z0-9][A-Za-z0-9._-]{0,99})$"
BASE64 = r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
TENANT_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
NO_NUL = r"^[^\x00]*$"

ExecutionIdText = Annotated[str, Field(pattern=EXECUTION_ID)]
DigestText = Annotated[str, Field(pattern=DIGEST)]
ModuleName = Annotated[str, Field(pattern=NAME)]
TenantName = Annotated[str, Field(pattern=TENANT_NAME)]
PolicyReference = Annotated[str, Field(pattern=POLICY)]
Argument = Annotated[str, Field(max_length=MAX_ARG, pattern=NO_NUL)]
Base64 = Annotated[str, Field(max_length=-(-MAX_STDIN_BYTES // 3) * 4, pattern=BASE64)]
FilterText = Annotated[str, Field(min_length=1, max_length=4_096)]
Moment = Annotated[
    str,
    Field(min_length=1, max_length=40),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "pattern": "^[0-9]{1,18}$"}]}
    ),
]
Cursor = Annotated[str, Field(min_length=1, max_length=1_024, description="`next` of the page before.")]
# a query has text only; here, and nowhere else, text is read as a number
Limit = Annotated[int, Field(strict=False, ge=1, le=MAX_LIMIT, description="Records in one answer.")]
Decision = Literal["none", "allow", "deny", "would_deny", "modified", "limit"]

_ONE_POLICY = "not both `policy` and `policy_document`"
_ONE_POLICY_SCHEMA: JsonDict = {
    "oneOf": [
        {
            "required": ["policy"],
            "properties": {"policy": {"type": "string"}, "policy_document": {"type": "null"}},
        },
        {
            "required": ["policy_document"],
            "properties": {"policy": {"type": "null"}, "policy_document": {"type": ["string", "object"]}},
        },
        {"properties": {"policy": {"type": "null"}, "policy_document": {"type": "null"}}},
    ]
}


class Edge(BaseModel):
    """Strict, closed and frozen: the only kind of model at this edge."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class RunRequest(Edge):
    """A run that is asked for."""

    model_config = ConfigDict(json_schema_extra=_ONE_POLICY_SCHEMA)

    module: DigestText = Field(description="Digest of a module that was handed over.")
    tenant: TenantName = Field(default=TENANT, description="For whom it runs.")
    policy: PolicyReference | None = Field(
        default=None,
        description="Name or digest of a policy that is kept here; with neither this nor a document, the"
        " bindings that are kept here say which policy governs the module for the tenant.",
    )
    policy_document: (
        Annotated[str, Field(min_length=1, max_length=MAX_POLICY)] | dict[str, JsonValue] | None
    ) = Field(
        default=None,
        description="A policy document for this run only: the text of one, YAML or JSON, or a JSON object.",
    )
    args: Annotated[tuple[Argument, ...], Field(max_length=MAX_ARGS)] = Field(
        default=(),
        description=f"The guest's arguments after the policy's own; {MAX_ARGS_BYTES} bytes at most.",
    )
    stdin: Base64 | None = Field(
        default=None,
        description=f"Standard input in base64, {MAX_STDIN_BYTES} bytes at most, if the policy grants it.",
    )
    invoke: Annotated[str, Field(min_length=1, max_length=200, pattern=NO_NUL)] | None = Field(
        default=None, description="Export to call instead of `_start`."
    )
    name: ModuleName | None = Field(default=None, description="Name to run the module under.")
    wait: bool = Field(default=True, description="Whether to answer when the run is over, or at once.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.policy is not None and self.policy_document is not None:
            raise ValueError(_ONE_POLICY)
        if sum(len(arg.encode()) + 1 for arg in self.args) > MAX_ARGS_BYTES:
            raise ValueError(f"at most {MAX_ARGS_BYTES} bytes of arguments")
        return self


class UploadQuery(Edge):
    """How a module is handed over."""

    name: ModuleName | SkipJsonSchema[None] = Field(
        default=None, description="Name that policies may match; the first one stays."
    )


class ModuleQuery(Edge):
    """How a module is looked at."""

    policy: PolicyReference | SkipJsonSchema[None] = Field(
        default=None, description="Policy to compare the imports with."
    )


class CheckQuery(Edge):
    """How a policy is checked."""

    stored: Literal["true", "false"] = Field(
        default="false",
        description="Whether to check it as a stored policy, which must say which modules it is for.",
    )


class ExecutionsQuery(Edge):
    """Which executions are wanted."""

    module: FilterText | SkipJsonSchema[None] = Field(
        default=None, description="Digest, or a name a module was run under."
    )
    limit: Annotated[
        int, Field(strict=False, ge=1, le=MAX_LISTED, description="Executions in one answer.")
    ] = 100
    cursor: Cursor | SkipJsonSchema[None] = None


class DenseQuery(Edge):
    """Which records of one execution are wanted; by position or by cursor, not both."""

    after_seq: Annotated[int, Field(strict=False, ge=-1, lt=1 << 63)] | SkipJsonSchema[None] = Field(
        default=None, description="Only records with a larger sequence number; not together with `cursor`."
    )
    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | SkipJsonSchema[None] = None


class StatsQuery(Edge):
    """Which records are counted; all that is given must hold."""

    execution: ExecutionIdText | SkipJsonSchema[None] = None
    module: FilterText | SkipJsonSchema[None] = Field(
        default=None, description="Digest, or a name a module was run under."
    )
    call: FilterText | SkipJsonSchema[None] = Field(
        default=None, description="Glob over the call's name, as `path_*`."
    )
    decision: Decision | SkipJsonSchema[None] = None
    path_prefix: FilterText | SkipJsonSchema[None] = Field(
        default=None, description="Beginning of a path that was touched."
    )
    from_: Moment | SkipJsonSchema[None] = Field(
        default=None, alias="from", description="First time, RFC 3339 or nanoseconds since 1970."
    )
    to: Moment | SkipJsonSchema[None] = Field(default=None, description="Time that is not included any more.")


assert set(CODES) == set(get_args(Decision))
