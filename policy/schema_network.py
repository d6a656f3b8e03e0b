"""The network section of a policy document, as typed values.

The rest of the document is in `schema.py`. Nothing of it can be enforced yet, which
`checks/not_enforceable_yet.py` says; its shape is checked all the same.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from policy.fields import ByteLimit, CountLimit, Filled, Flag, Many, NonEmpty, Port, RuleName, Section

NetworkVerdict = Literal["deny", "allow"]


class Model(BaseModel):
    """What all sections have in common: exact types, no unknown keys, no changes."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class SocketRule(Model):
    """One grant of addresses for TCP or UDP."""

    id: RuleName | None = None
    to: NonEmpty
    ports: Filled[Port]
    private: NetworkVerdict | None = None
    i_understand: Literal["any-destination"] | None = None


class NetworkDeny(Model):
    """One refusal of addresses or URLs."""

    id: RuleName | None = None
    to: NonEmpty | None = None
    ports: Many[Port] = ()
    url: NonEmpty | None = None
    methods: Many[NonEmpty] = ()
    paths: Many[NonEmpty] = ()


class Dns(Model):
    """Names that may be looked up."""

    names: Many[NonEmpty] = ()
    max_queries: CountLimit = 32
    pin: Flag = True


class Credential(Model):
    """A secret that the host puts into a request."""

    from_: NonEmpty = Field(alias="from")
    as_: NonEmpty = Field(alias="as")


class HeaderRule(Model):
    """Headers that a guest may not send."""

    deny: Many[NonEmpty] = ()


class HttpRule(Model):
    """One grant of HTTP requests."""

    id: RuleName | None = None
    url: NonEmpty
    access: Literal["read-only", "read-write", "full"] | None = None
    methods: Many[NonEmpty] = ()
    paths: Many[NonEmpty] = ()
    headers: Section[HeaderRule] = HeaderRule()
    max_request_bytes: ByteLimit | None = None
    max_response_bytes: ByteLimit | None = None
    redirects: Literal["recheck", "refuse"] | None = None
    credential: Credential | None = None


class Network(Model):
    """Sockets, names and HTTP."""

    tcp: Many[SocketRule] = ()
    udp: Many[SocketRule] = ()
    deny: Many[NetworkDeny] = ()
    dns: Dns | None = None
    http: Many[HttpRule] = ()
    listen: Many[NonEmpty] = ()
    private: NetworkVerdict = "deny"
