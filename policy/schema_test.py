"""Tests of policies as typed values: a call that is given, and the verdict that is expected.

They stand in a document of kind PolicyTest, or beside the rules that they are about; the other kinds are in
`schema.py` and `schema_boundary.py`. Which of a call's fields belong together is said in `question.py`.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from policy.fields import Access, Digest, Many, NonEmpty, RuleName, Text, fault
from policy.places import Plain
from policy.schema_network import Model
from policy.shapes import quantities


def _one_port(value: object) -> object:
    if not isinstance(value, Plain) or not re.fullmatch(r"[0-9]{1,5}", value):
        raise fault("bad-port", "a port 1-65535")
    if not 1 <= int(value) <= 65_535:
        raise fault("bad-port", "a port 1-65535")
    return int(value)


OnePort = Annotated[int, BeforeValidator(_one_port), quantities.PORT]


class Given(Model):
    """One call, and for whom it is made."""

    call: NonEmpty = Field(
        description="Name of the call, such as `path_open`, `connect`, `http` or `resolve`."
    )
    module: NonEmpty = Field(
        default="any", description="Name of the module that makes it; `any` for whichever."
    )
    tenant: NonEmpty | None = Field(default=None, description="For whom it runs.")
    uri: NonEmpty | None = Field(
        default=None, description="What it is about, on the host: `fs:///…` or `tmp://…`."
    )
    target: NonEmpty | None = Field(default=None, description="What it is about, as the guest names it.")
    target2: NonEmpty | None = Field(default=None, description="The second path of a rename or a link.")
    access: Many[Access] = Field(default=(), description="The rights that it needs.")
    host: NonEmpty | None = Field(default=None, description="The name that is asked for.")
    resolves: NonEmpty | None = Field(default=None, description="The address that `host` leads to.")
    address: NonEmpty | None = Field(default=None, description="The address that is asked for.")
    port: OnePort | None = Field(default=None, description="The port.")
    protocol: Literal["tcp", "udp"] = Field(default="tcp", description="`tcp` or `udp`.")
    method: NonEmpty | None = Field(default=None, description="The method of a request.")
    url: NonEmpty | None = Field(default=None, description="The URL of a request.")
    digest: Digest | None = Field(default=None, description="The model, by the SHA-256 of its bytes.")
    after: Many[RuleName] = Field(default=(), description="Rules over time that have started, by their ids.")


class Case(Model):
    """One test."""

    name: NonEmpty = Field(description="What is tested, as a sentence.")
    given: Given = Field(description="The call, and who makes it.")
    expect: Literal["allow", "deny", "would_deny"] = Field(
        description="The verdict: `allow`, `deny` or `would_deny`."
    )
    rule: NonEmpty | None = Field(default=None, description="The rule that must decide.")
    reason: Text = Field(default="", description="Why it is expected; for people.")
