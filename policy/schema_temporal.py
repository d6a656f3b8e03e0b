"""Rules over time, as typed values: what starts one, and what is refused from then on.

The rest of a document is in `schema.py`; what such a rule becomes is said in `temporal.py`. INVARIANT: a rule
has exactly one trigger, and does something.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from policy.fields import ByteLimit, Count, DenyUri, Many, RuleName, fault
from policy.globs import GlobError
from policy.schema_network import Model
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


Watched = Annotated[str, AfterValidator(_watched)]
Window = Annotated[int, BeforeValidator(_window)]
Budget = Annotated[ByteLimit, AfterValidator(_bounded)]


class BytesIn(Model):
    """More than so many bytes came in."""

    from_: Watched = Field(alias="from")
    over: Budget
    window: Window = 0


class BytesOut(Model):
    """More than so many bytes went out."""

    to: Watched
    over: Budget
    window: Window = 0


class Calls(Model):
    """More than so many calls were made."""

    to: Watched
    over: Count
    window: Window = 0


class When(Model):
    """What starts the rule: one of these."""

    opened: DenyUri | None = None
    bytes_in: BytesIn | None = None
    bytes_out: BytesOut | None = None
    calls: Calls | None = None

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

    deny: Many[Denial] = ()
    for_: Literal["run"] = Field("run", alias="for")
    raise_: Literal["finding/low", "finding/medium", "finding/high"] | None = Field(None, alias="raise")

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not self.deny and self.raise_ is None:
            raise fault("empty-rule", "deny, raise, or both")
        return self


class TemporalRule(Model):
    """A rule over time."""

    id: RuleName | None = None
    when: When
    then: Then
