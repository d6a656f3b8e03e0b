"""Tests of policies as typed values: a call that is given, and the verdict that is expected.

They stand in a document of kind PolicyTest, or beside the rules that they are about; the other kinds are in
`schema.py` and `schema_boundary.py`. Which of a call's fields belong together is said in `question.py`.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator

from policy.fields import Access, Digest, Many, NonEmpty, RuleName, Text, fault
from policy.places import Plain
from policy.schema_network import Model


def _one_port(value: object) -> object:
    if not isinstance(value, Plain) or not re.fullmatch(r"[0-9]{1,5}", value):
        raise fault("bad-port", "a port 1-65535")
    if not 1 <= int(value) <= 65_535:
        raise fault("bad-port", "a port 1-65535")
    return int(value)


class Given(Model):
    """One call, and for whom it is made."""

    call: NonEmpty
    module: NonEmpty = "any"
    tenant: NonEmpty | None = None
    uri: NonEmpty | None = None  # on the host: `fs:///…` or `tmp://…`
    target: NonEmpty | None = None  # as the guest names it
    target2: NonEmpty | None = None
    access: Many[Access] = ()
    host: NonEmpty | None = None
    resolves: NonEmpty | None = None  # the address that `host` leads to
    address: NonEmpty | None = None
    port: Annotated[int, BeforeValidator(_one_port)] | None = None
    protocol: Literal["tcp", "udp"] = "tcp"
    method: NonEmpty | None = None
    url: NonEmpty | None = None
    digest: Digest | None = None
    after: Many[RuleName] = ()  # rules over time that have started


class Case(Model):
    """One test."""

    name: NonEmpty
    given: Given
    expect: Literal["allow", "deny", "would_deny"]
    rule: NonEmpty | None = None  # the rule that must decide
    reason: Text = ""  # why it is expected, for people
