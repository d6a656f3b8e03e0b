"""Rules over time, as typed values: what starts one, and what is refused from then on.

The rest of a document is in `schema.py`; what such a rule becomes is said in `temporal.py`. INVARIANT: a rule
has exactly one trigger, and does something.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from policy.fields import ByteLimit, Count, DenyUri, Many, RuleName, fault
from policy.globs import GlobError
from policy.schema_network import Model
from policy.shapes import hosts, quantities, rules
from policy.units import UnitError, parse_duration
from policy.uris import parse_deny

Denial = Literal[
    "storage",
    "storage.read",
    "storage.list",
    "storage.create",
    "storage.write",
    "storage.append",
    "storage.delete",
    "storage.symlink",
    "network",
    "network.tcp",
    "network.udp",
    "network.http",
    "network.dns",
    "network.listen",
    "nn",
]
"""What a rule over time can refuse."""

_HOST = re.compile(r"\*|(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|[0-9A-Fa-f:.]+(/[0-9]{1,3})?")
_MS = 1_000_000


def _watched(value: str) -> str:
    if "://" not in value and not value.startswith("fs:"):
        # `storage` would stand for paths in a plan, and is no host that anybody has
        if _HOST.fullmatch(value) and value.lower() != "storage":
            return value
        raise fault("bad-target", "fs:///…, tmp://…, a host such as *.example.com, an address, or *")
    try:
        parse_deny(value)
    except GlobError as err:
        raise fault("bad-target", err.expected, err.suggestion) from None
    return value


def _window(value: object) -> int:
    expected = "run, or a duration of whole milliseconds, at least 1ms"
    if value == "run":
        return 0
    if not isinstance(value, str):
        raise fault("bad-quantity", expected)
    try:
        found = parse_duration(value)
    except UnitError as err:
        raise fault("bad-quantity", expected, err.suggestion) from None
    if found < _MS or found % _MS:
        raise fault("bad-quantity", expected)
    return found // _MS


def _bounded(value: int) -> int:
    if value < 0:
        raise fault("bad-quantity", "a size such as 8Mi: a budget that is unlimited starts nothing")
    return value


Watched = Annotated[str, AfterValidator(_watched), hosts.WATCHED]
Window = Annotated[int, BeforeValidator(_window), quantities.WINDOW]
Budget = Annotated[ByteLimit, AfterValidator(_bounded), quantities.BUDGET]


class BytesIn(Model):
    """More than so many bytes came in."""

    from_: Watched = Field(alias="from", description="Where they come from.")
    over: Budget = Field(description="How many, at most.")
    window: Window = Field(default=0, description="In which time; `run` is the whole run.")


class BytesOut(Model):
    """More than so many bytes went out."""

    to: Watched = Field(description="Where they go.")
    over: Budget = Field(description="How many, at most.")
    window: Window = Field(default=0, description="In which time; `run` is the whole run.")


class Calls(Model):
    """More than so many calls were made."""

    to: Watched = Field(description="What they are about.")
    over: Count = Field(description="How many, at most.")
    window: Window = Field(default=0, description="In which time; `run` is the whole run.")


class When(Model):
    """What starts the rule: one of these."""

    model_config = ConfigDict(json_schema_extra=rules.WHEN)

    opened: DenyUri | None = Field(default=None, description="A path that was opened.")
    bytes_in: BytesIn | None = Field(default=None, description="More bytes came in than a budget allows.")
    bytes_out: BytesOut | None = Field(default=None, description="More bytes went out than a budget allows.")
    calls: Calls | None = Field(default=None, description="More calls were made than a budget allows.")

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        given = [
            each for each in (self.opened, self.bytes_in, self.bytes_out, self.calls) if each is not None
        ]
        if len(given) != 1:
            raise fault("bad-trigger", "exactly one of opened, bytes_in, bytes_out, calls")
        return self


class Then(Model):
    """What happens from then on, to the end of the run."""

    model_config = ConfigDict(json_schema_extra=rules.THEN)

    deny: Many[Denial] = Field(default=(), description="What is refused.")
    for_: Literal["run"] = Field(
        default="run", alias="for", description="For how long: to the end of the run."
    )
    raise_: Literal["finding/low", "finding/medium", "finding/high"] | None = Field(
        default=None, alias="raise", description="A finding in the log, and how severe it is."
    )

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not self.deny and self.raise_ is None:
            raise fault("empty-rule", "deny, raise, or both")
        return self


class TemporalRule(Model):
    """A rule over time."""

    id: RuleName | None = Field(
        default=None,
        description="Name of the rule in records; unique in the document. Without it one is made from "
        "the rule.",
    )
    when: When = Field(description="What starts it: exactly one of the keys below.")
    then: Then = Field(description="What holds from then on.")
