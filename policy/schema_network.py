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


GrantedPlace = Annotated[NonEmpty, _text("bad-host", parse_granted)]
RefusedPlace = Annotated[NonEmpty, _text("bad-host", parse_refused)]
HostPattern = Annotated[NonEmpty, _text("bad-host", parse_pattern)]
Ports = Annotated[NonEmpty, _text("bad-port", parse_ports)]
GrantedUrl = Annotated[NonEmpty, _text("bad-url", parse_granted_origin)]
RefusedUrl = Annotated[NonEmpty, _text("bad-url", parse_origin)]
PathGlob = Annotated[NonEmpty, _text("bad-path", parse_path_glob)]
ListenUrl = Annotated[NonEmpty, _text("bad-listener", parse_listener)]
Method = Annotated[NonEmpty, AfterValidator(_method)]
HeaderName = Annotated[NonEmpty, AfterValidator(_header)]


class Model(BaseModel):
    """What all sections have in common: exact types, no unknown keys, no changes."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class SocketRule(Model):
    """One grant of addresses for TCP or UDP."""

    id: RuleName | None = None
    to: GrantedPlace
    ports: Filled[Ports]
    private: NetworkVerdict | None = None
    i_understand: Understood | None = None

    @model_validator(mode="after")
    def _is_meant(self) -> Self:
        if self.to == "*" and self.i_understand is None:
            raise fault("bad-host", _WIDE)
        return self


class NetworkDeny(Model):
    """One refusal of addresses or URLs; without `ports` of all ports, without `methods` of all methods."""

    id: RuleName | None = None
    to: RefusedPlace | None = None
    ports: Many[Ports] = ()
    url: RefusedUrl | None = None
    methods: Many[Method] = ()
    paths: Many[PathGlob] = ()

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

    names: Many[HostPattern] = ()
    max_queries: CountLimit = 32
    pin: Flag = True
    i_understand: Understood | None = None

    @model_validator(mode="after")
    def _is_meant(self) -> Self:
        if "*" in self.names and self.i_understand is None:
            raise fault("bad-host", _WIDE)
        return self


class Credential(Model):
    """A secret that the host puts into a request."""

    from_: Annotated[NonEmpty, AfterValidator(_secret)] = Field(alias="from")
    as_: Annotated[NonEmpty, AfterValidator(_placement)] = Field(alias="as")


class HeaderRule(Model):
    """Headers that a guest may not send."""

    deny: Many[HeaderName] = ()


class HttpRule(Model):
    """One grant of HTTP requests; without `paths` of all paths."""

    id: RuleName | None = None
    url: GrantedUrl
    access: Literal["read-only", "read-write", "full"] | None = None
    methods: Many[Method] = ()
    paths: Many[PathGlob] = ()
    headers: Section[HeaderRule] = HeaderRule()
    max_request_bytes: ByteLimit | None = None
    max_response_bytes: ByteLimit | None = None
    redirects: Literal["recheck", "refuse"] | None = None
    credential: Credential | None = None
    i_understand: Understood | None = None

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

    tcp: Many[SocketRule] = ()
    udp: Many[SocketRule] = ()
    deny: Many[NetworkDeny] = ()
    dns: Dns | None = None
    http: Many[HttpRule] = ()
    listen: Many[ListenUrl] = ()
    private: NetworkVerdict = "deny"


class NetworkCeiling(Model):
    """What of the network may be granted at most; what is not named may not be granted at all."""

    schemes: Many[Literal["tcp", "udp", "http", "https"]] = ()
    ports: Many[Ports] = ()
    never: Many[RefusedPlace] = ()
    private: Literal["deny", "allow-listed", "allow"] = "deny"
    listen: Literal["none", "loopback", "any"] = "none"
