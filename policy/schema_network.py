"""The network section of a policy document, and of a ceiling, as typed values.

The rest of the document is in `schema.py`; what hosts, ports and URLs mean in `policy/network/`. A text that
passes here compiles: what two rules mean together is found by `policy/network/compile.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from policy.fields import ByteLimit, CountLimit, Filled, Flag, Many, NonEmpty, RuleName, Section, fault
from policy.globs import GlobError
from policy.network.addresses import AddressError
from policy.network.listeners import ListenerError, parse_listener
from policy.network.names import HostNameError, parse_pattern
from policy.network.places import parse_granted, parse_refused
from policy.network.ports import PortError, parse_ports
from policy.network.request_paths import TUNNELS, is_method, parse_path_glob
from policy.network.urls import UrlError, parse_granted_origin, parse_origin
from policy.shapes import hosts, quantities, rules

if TYPE_CHECKING:
    from collections.abc import Callable

NetworkVerdict = Literal["deny", "allow"]
Understood = Literal["any-destination"]

_WIDE = "`i_understand: any-destination` beside a host that is a bare `*`, or the names of the hosts"


def _text(rule: str, parse: Callable[[str], object]) -> AfterValidator:
    def read(value: str) -> str:
        try:
            parse(value)
        except AddressError as err:
            raise fault("bad-address", err.expected, err.suggestion) from None
        except (HostNameError, PortError, UrlError, ListenerError, GlobError) as err:
            raise fault(rule, err.expected, err.suggestion) from None
        return value

    return AfterValidator(read)


def _method(value: str) -> str:
    if value == "*":
        return value
    if value.upper() in TUNNELS:
        raise fault(
            "bad-method", f"a method other than {', '.join(sorted(TUNNELS))}, which are never granted"
        )
    if not is_method(value):
        raise fault(
            "bad-method",
            "a method in capitals such as GET, or * for every method",
            value.upper() if is_method(value.upper()) else "",
        )
    return value


def _header(value: str) -> str:
    if not value.isascii() or not value.replace("-", "").replace("_", "").isalnum():
        raise fault("bad-header", "the name of a header, such as Authorization")
    return value


def _secret(value: str) -> str:
    if not value.startswith("secret://") or len(value) == len("secret://"):
        raise fault("bad-credential", "secret:// and the name of a secret")
    return value


def _placement(value: str) -> str:
    if not value.startswith("header:"):
        raise fault("bad-credential", "header: and the name of a header, such as header:Authorization")
    _header(value.removeprefix("header:"))
    return value


GrantedPlace = Annotated[NonEmpty, _text("bad-host", parse_granted), hosts.PLACE]
RefusedPlace = Annotated[NonEmpty, _text("bad-host", parse_refused), hosts.PLACE]
HostPattern = Annotated[NonEmpty, _text("bad-host", parse_pattern), hosts.HOST_PATTERN]
Ports = Annotated[NonEmpty, _text("bad-port", parse_ports), quantities.PORTS]
GrantedUrl = Annotated[NonEmpty, _text("bad-url", parse_granted_origin), hosts.URL]
RefusedUrl = Annotated[NonEmpty, _text("bad-url", parse_origin), hosts.URL]
PathGlob = Annotated[NonEmpty, _text("bad-path", parse_path_glob), hosts.PATH_GLOB]
ListenUrl = Annotated[NonEmpty, _text("bad-listener", parse_listener), hosts.LISTENER]
Method = Annotated[NonEmpty, AfterValidator(_method), hosts.METHOD]
HeaderName = Annotated[NonEmpty, AfterValidator(_header), hosts.HEADER]
Secret = Annotated[NonEmpty, AfterValidator(_secret), hosts.SECRET]
Placement = Annotated[NonEmpty, AfterValidator(_placement), hosts.PLACEMENT]


class Model(BaseModel):
    """What all sections have in common: exact types, no unknown keys, no changes."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class SocketRule(Model):
    """One grant of addresses for TCP or UDP."""

    model_config = ConfigDict(json_schema_extra=rules.SOCKET_RULE)

    id: RuleName | None = Field(
        default=None,
        description="Name of the rule in records; unique in the document. Without it one is made from "
        "the rule.",
    )
    to: GrantedPlace = Field(description="Whom the guest may reach.")
    ports: Filled[Ports] = Field(description="On which ports.")
    private: NetworkVerdict | None = Field(
        default=None,
        description="Whether its names may lead to private addresses. Without it, what "
        "`permissions.network.private` says.",
    )
    i_understand: Understood | None = Field(default=None, description="Needed where `to` is a bare `*`.")

    @model_validator(mode="after")
    def _is_meant(self) -> Self:
        if self.to == "*" and self.i_understand is None:
            raise fault("bad-host", _WIDE)
        return self


class NetworkDeny(Model):
    """One refusal of addresses or URLs; without `ports` of all ports, without `methods` of all methods."""

    model_config = ConfigDict(json_schema_extra=rules.DENY_RULE)

    id: RuleName | None = Field(
        default=None,
        description="Name of the rule in records; unique in the document. Without it one is made from "
        "the rule.",
    )
    to: RefusedPlace | None = Field(
        default=None, description="Whom the guest may not reach; either this or `url`."
    )
    ports: Many[Ports] = Field(
        default=(), description="On which ports. Without it, on all; only beside `to`."
    )
    url: RefusedUrl | None = Field(
        default=None, description="The host whose requests are refused; either this or `to`."
    )
    methods: Many[Method] = Field(
        default=(), description="Which methods. Without it, all; only beside `url`."
    )
    paths: Many[PathGlob] = Field(default=(), description="Which paths. Without it, all; only beside `url`.")

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        if (self.to is None) == (self.url is None):
            raise fault("bad-deny", "either `to` or `url` in a rule that refuses")
        if self.to is not None and (self.methods or self.paths):
            raise fault("bad-deny", "`methods` and `paths` beside a `url`: a refused `to` is refused whole")
        if self.url is not None and self.ports:
            raise fault("bad-deny", "the port inside the `url`, as https://api.example.com:8443")
        return self


class Dns(Model):
    """Names that may be looked up."""

    model_config = ConfigDict(json_schema_extra=rules.DNS)

    names: Many[HostPattern] = Field(default=(), description="Names that may be looked up.")
    max_queries: CountLimit = Field(default=32, description="How often a run may ask.")
    pin: Flag = Field(
        default=True, description="Whether the first answer for a name holds for the whole run."
    )
    i_understand: Understood | None = Field(default=None, description="Needed where a name is a bare `*`.")

    @model_validator(mode="after")
    def _is_meant(self) -> Self:
        if "*" in self.names and self.i_understand is None:
            raise fault("bad-host", _WIDE)
        return self


class Credential(Model):
    """A secret that the host puts into a request."""

    from_: Secret = Field(
        alias="from", description="The secret that the host puts in; the guest never sees it."
    )
    as_: Placement = Field(alias="as", description="Where it is put.")


class HeaderRule(Model):
    """Headers that a guest may not send."""

    deny: Many[HeaderName] = Field(default=(), description="Headers that the guest may not send.")


class HttpRule(Model):
    """One grant of HTTP requests; without `paths` of all paths."""

    model_config = ConfigDict(json_schema_extra=rules.HTTP_RULE)

    id: RuleName | None = Field(
        default=None,
        description="Name of the rule in records; unique in the document. Without it one is made from "
        "the rule.",
    )
    url: GrantedUrl = Field(description="The scheme, host and port of the requests.")
    access: Literal["read-only", "read-write", "full"] | None = Field(
        default=None,
        description="Short for a list of methods: `read-only` (GET, HEAD, OPTIONS), `read-write` (also "
        "POST, PUT, PATCH) or `full`; either this or `methods`.",
    )
    methods: Many[Method] = Field(default=(), description="Methods of the requests; either this or `access`.")
    paths: Many[PathGlob] = Field(default=(), description="Globs over their paths. Without it, all.")
    headers: Section[HeaderRule] = Field(default=HeaderRule(), description="What their headers may be.")
    max_request_bytes: ByteLimit | None = Field(
        default=None, description="Bytes of the largest request. Nothing: no bound of its own."
    )
    max_response_bytes: ByteLimit | None = Field(
        default=None, description="Bytes of the largest response. Nothing: no bound of its own."
    )
    redirects: Literal["recheck", "refuse"] | None = Field(
        default=None, description="Whether a redirect is decided anew (`recheck`) or refused."
    )
    credential: Credential | None = Field(
        default=None, description="A secret that the host puts into the request."
    )
    i_understand: Understood | None = Field(
        default=None, description="Needed where the host of `url` is a bare `*`."
    )

    @model_validator(mode="after")
    def _is_meant(self) -> Self:
        if parse_origin(self.url).is_any and self.i_understand is None:
            raise fault("bad-host", _WIDE)
        if self.access is not None and self.methods:
            raise fault(
                "bad-method", "either `access` or `methods`: the first is short for a list of the second"
            )
        return self


class Network(Model):
    """Sockets, names and HTTP."""

    tcp: Many[SocketRule] = Field(default=(), description="Addresses that may be connected to.")
    udp: Many[SocketRule] = Field(default=(), description="Addresses that may be sent to.")
    deny: Many[NetworkDeny] = Field(
        default=(), description="Addresses and URLs that are refused, whatever is granted."
    )
    dns: Dns | None = Field(default=None, description="Names that may be looked up.")
    http: Many[HttpRule] = Field(default=(), description="Requests that may be made.")
    listen: Many[ListenUrl] = Field(default=(), description="Sockets that are handed over for listening.")
    private: NetworkVerdict = Field(
        default="deny",
        description="Whether private addresses may be reached through names and networks. Loopback, "
        "link-local, metadata and multicast addresses must be named literally.",
    )


class NetworkCeiling(Model):
    """What of the network may be granted at most; what is not named may not be granted at all."""

    schemes: Many[Literal["tcp", "udp", "http", "https"]] = Field(
        default=(), description="What may be granted: `tcp`, `udp`, `http`, `https`."
    )
    ports: Many[Ports] = Field(default=(), description="Ports that may be granted.")
    never: Many[RefusedPlace] = Field(
        default=(), description="Hosts and addresses that are refused whatever a policy grants."
    )
    private: Literal["deny", "allow-listed", "allow"] = Field(
        default="deny",
        description="Private addresses: refused (`deny`), only where a rule says `private: allow` "
        "(`allow-listed`), or as the policy says (`allow`).",
    )
    listen: Literal["none", "loopback", "any"] = Field(
        default="none", description="Where a policy may listen: `none`, `loopback` or `any`."
    )
