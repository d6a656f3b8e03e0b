"""The network and neural-network tables of a plan.

What fills them is `policy/network/`; the rest of a plan is in `plan.py`. Like a plan they hold
integers, tuples, bytes and identifiers only, and their defaults grant nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, NamedTuple, TypeVar

NO_RULE = 0
"""An index in `Plan.rules` that stands for no rule; what no rule decides, the default at 0 refuses."""


class Zone(IntEnum):
    """What kind of network an address belongs to; of two kinds the larger number is the stricter."""

    PUBLIC = 0
    PRIVATE = 1
    RESERVED = 2
    MULTICAST = 3
    LINK_LOCAL = 4
    LOOPBACK = 5
    METADATA = 6

    @property
    def is_hard(self) -> bool:
        """Whether only a rule that names an address of it literally reaches it."""
        return self > Zone.PRIVATE


class Scheme(IntEnum):
    """The two schemes of a request; `slot` joins one with a port."""

    HTTP = 0
    HTTPS = 1

    def slot(self, port: int) -> int:
        """One number for this scheme and `port`."""
        return self * 0x10000 + port


class PortRow(NamedTuple):
    """What decides the ports from `low` to `high` at an address or a name; rules by index, or `NO_RULE`.

    Rows of a class are sorted by port and do not overlap; a port in no row is decided by no rule.
    """

    low: int
    high: int
    hard: int  # the built-in rule of the zone, where no rule names the address (rows of addresses only)
    refuse: int  # the first boundary or deny rule
    grant: int  # the first allow rule that holds there
    lift: int  # the first allow rule that holds for private addresses too (rows of names only)


class RequestRow(NamedTuple):
    """What decides requests to the slots (`Scheme.slot`) from `low` to `high` at an address or a name."""

    low: int
    high: int
    hard: int  # as in `PortRow`
    refuse: int  # the first boundary or deny rule that refuses the destination, whatever is asked of it
    start: int  # state of the path automaton for the path `/`; 0 is dead


Row = TypeVar("Row", PortRow, RequestRow)


@dataclass(frozen=True, slots=True)
class NameTable:
    """A deterministic automaton over the labels of a name, from the last to the first.

    Row `i` of `states` is `(first_edge, n_edges, exact, below)`: the class of the name that ends here,
    and the class of names with more labels of which the next is on no edge. An edge is
    `(label, target)`, sorted by label within a state. State 0 is the root.
    """

    states: tuple[tuple[int, int, int, int], ...] = ((0, 0, 0, 0),)
    edges: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Destinations(Generic[Row]):
    """Where one protocol may lead: every address and every name has a class, and a class has rows.

    `starts` begins at 0, rises, and covers all 128-bit addresses: range `i` ends before `starts[i + 1]`.
    IPv4 addresses stand at `::ffff:a.b.c.d`. Class 0 has no rows.
    """

    starts: tuple[int, ...] = (0,)
    zones: tuple[int, ...] = (Zone.PUBLIC,)  # of each range
    classes: tuple[int, ...] = (0,)  # of each range
    elsewhere: int = 0  # class of a public address that no rule names
    names: NameTable = field(default_factory=NameTable)
    rows: tuple[tuple[Row, ...], ...] = ((),)


@dataclass(frozen=True, slots=True)
class Request:
    """What an allow rule for requests asks of them besides what its place in the automaton says."""

    rule: int
    denied_headers: tuple[str, ...]  # lower case, sorted
    max_request_bytes: int  # -1: no bound of its own
    max_response_bytes: int
    follows_redirects: bool  # each hop is decided anew
    credential: str  # `secret://…`, or empty
    credential_as: str  # `header:…`, or empty


@dataclass(frozen=True, slots=True)
class RequestAutomaton:
    """The states of all path automata of requests, in the shape of `policy.plan.PathAutomaton`.

    A class is `(methods, rules)`: the mask of the methods that are allowed, and for each bit the rule
    that decided it.
    """

    states: tuple[tuple[int, int, int, int, int], ...] = ((0, 0, 0, 0, 3),)
    edges: tuple[tuple[int, int, int], ...] = ()
    classes: tuple[tuple[int, tuple[int, ...]], ...] = ((0, (0,)),)


@dataclass(frozen=True, slots=True)
class Lookups:
    """The names that may be looked up; a class has a row for port 0 alone."""

    names: NameTable = field(default_factory=NameTable)
    rows: tuple[tuple[PortRow, ...], ...] = ((),)
    max_queries: int = 0
    pin: bool = True  # a rule by name is met only by addresses that a lookup of this run returned


@dataclass(frozen=True, slots=True)
class Listener:
    """A place where the guest may listen."""

    protocol: str  # `tcp` or `udp`
    address: int
    port: int  # 0: any free one
    rule: int


class Builtin(IntEnum):
    """The built-in refusals of the network; each has a rule in every plan."""

    PRIVATE = 0
    RESERVED = 1
    MULTICAST = 2
    LINK_LOCAL = 3
    LOOPBACK = 4
    METADATA = 5
    ADDRESS = 6  # not an address in its canonical form
    NAME = 7  # not a name in its canonical form
    PORT = 8
    REQUEST = 9  # not a URL in its canonical form
    METHOD = 10  # CONNECT, TRACE, TRACK


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """Which addresses, names and requests the guest may reach; nothing by default.

    `methods` names the methods that have a bit of their own, in order; the bit after them is for all others.
    """

    builtins: tuple[int, ...] = ()  # the rule of each `Builtin`
    tcp: Destinations[PortRow] = field(default_factory=Destinations)
    udp: Destinations[PortRow] = field(default_factory=Destinations)
    http: Destinations[RequestRow] = field(default_factory=Destinations)
    methods: tuple[str, ...] = ()
    paths: RequestAutomaton = field(default_factory=RequestAutomaton)
    requests: tuple[Request, ...] = ()  # by rising rule
    lookups: Lookups = field(default_factory=Lookups)
    listeners: tuple[Listener, ...] = ()  # sorted by protocol, address, port
    is_private_open: bool = False  # private addresses need no rule that says so
    no_listening: int = NO_RULE  # the boundary's rule that refuses to listen
    is_loopback_spared: bool = False  # it leaves addresses of loopback


def opens_sockets(network: NetworkPlan) -> bool:
    """Whether some rule grants a socket a use: without one, each call that is about sockets is refused."""
    tables = (network.tcp.rows, network.udp.rows, network.lookups.rows)
    granted = (row.grant or row.lift for table in tables for rows in table for row in rows)
    return bool(network.listeners) or any(granted)


def makes_requests(network: NetworkPlan) -> bool:
    """Whether some rule grants requests: without one, each call that is about requests is refused."""
    return bool(network.requests)


def has_network(network: NetworkPlan) -> bool:
    """Whether some rule grants either: without one, a run has no broker."""
    return opens_sockets(network) or makes_requests(network)


@dataclass(frozen=True, slots=True)
class Model:
    """A model that the guest may load."""

    digest: str
    name: str
    backend: str
    rule: int


@dataclass(frozen=True, slots=True)
class NnPlan:
    """Which models the guest may load; none by default."""

    models: tuple[Model, ...] = ()  # sorted by digest, one for each
    max_calls: int = -1  # -1: not bounded
    max_tensor_bytes: int = -1
