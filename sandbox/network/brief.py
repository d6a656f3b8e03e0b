"""What a broker is told of a plan: its rules and its network tables, as JSON that reads back as the same.

What they mean is decided by `policy/network/`. It comes from the supervisor and crosses no border of trust;
it is written field by field because nothing that can name code is used for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

from policy.plan import (
    Clocks,
    Limits,
    Mode,
    PathAutomaton,
    PathClass,
    Plan,
    Random,
    Rule,
    Runtime,
    SourceKind,
    Stdio,
)
from policy.plan_audit import Audit
from policy.plan_network import NetworkPlan, NnPlan, Scheme

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Supplies:
    """What an operator gives brokers beside plans: no cell ever has any of it."""

    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """By `secret://` and their names."""
    ca_certificates: str = ""  # as PEM, that servers are checked by; empty: those of the machine


Supplier = Callable[[Plan], Supplies]
"""Gives what an operator has for a plan; raises OSError."""


@dataclass(frozen=True, slots=True)
class Brief:
    """All that decisions on the network rest on, and the limits of a run."""

    mode: Mode
    rules: tuple[Rule, ...]
    network: NetworkPlan
    connections: int
    net_in_bytes: int
    net_out_bytes: int
    open_sockets: int
    secrets: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # those that the plan names
    ca_certificates: str = ""

    @staticmethod
    def of(plan: Plan, supplies: Supplies | None = None) -> Brief:
        """Take what is needed from a plan, and from what the operator supplies."""
        limits, given = plan.limits, supplies or Supplies()
        named = {each.credential for each in plan.network.requests if each.credential in given.secrets}
        return Brief(
            mode=plan.mode,
            rules=plan.rules,
            network=plan.network,
            connections=limits.connections,
            net_in_bytes=limits.net_in_bytes,
            net_out_bytes=limits.net_out_bytes,
            open_sockets=limits.open_files,
            secrets=tuple((name, given.secrets[name]) for name in sorted(named)),
            ca_certificates=given.ca_certificates,
        )

    @property
    def needs_tls(self) -> bool:
        """Whether some request may go over TLS."""
        if self.mode is Mode.AUDIT:
            return bool(self.network.requests)
        return any(
            row.start and row.high >= Scheme.HTTPS.slot(0) for rows in self.network.http.rows for row in rows
        )

    def to_json(self) -> bytes:
        """The text for the broker's process."""
        return json.dumps(_plain(self)).encode()

    @staticmethod
    def from_json(text: bytes) -> Brief:
        """Read it back."""
        found: Brief = _typed(Brief, json.loads(text), {})
        return found


def _plain(value: object) -> object:
    """A value as lists, numbers and texts; dataclasses and tuples by position."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if is_dataclass(value):
        return [_plain(getattr(value, each.name)) for each in fields(value)]
    return value


def _typed(kind: Any, value: Any, known: dict[Any, Any]) -> Any:  # noqa: ANN401  # types as values
    """The value of this type that `_plain` made `value` of; `known` has what type variables stand for."""
    kind = known.get(kind, kind)
    origin, args = get_origin(kind), get_args(kind)
    if origin is tuple:
        inner = args[:1] * len(value) if args[-1] is Ellipsis else args
        return tuple(_typed(each, item, known) for each, item in zip(inner, value, strict=True))
    if origin is not None:  # a table of rows of some kind
        known = dict(zip(_variables(origin), args, strict=True))
        kind = origin
    if is_dataclass(kind) or hasattr(kind, "_fields"):
        hints = get_type_hints(kind)
        names = [each.name for each in fields(kind)] if is_dataclass(kind) else kind._fields
        made = [_typed(hints[name], item, known) for name, item in zip(names, value, strict=True)]
        return kind(*made)  # pyright: ignore[reportCallIssue]  # a class, which is all that is asked for here
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    return value


def _variables(kind: Any) -> tuple[TypeVar, ...]:  # noqa: ANN401  # as above
    variables: tuple[TypeVar, ...] = kind.__parameters__
    return variables


def study(brief: Brief) -> Plan:
    """A plan that decides about the network as the one that `brief` is of, and grants nothing else."""
    return Plan(
        name="",
        policy_digest="",
        plan_digest="",
        mode=brief.mode,
        match_digests=(),
        match_names=(),
        match_tenants=(),
        match_signers=(),
        rules=brief.rules,
        denied_calls=(),
        mounts=(),
        automaton=PathAutomaton(((0, 0, 0, 0, 0),), (), (PathClass(0, (0,) * 7),)),
        temporal=(),
        network=brief.network,
        nn=NnPlan(),
        environment=(),
        args=(),
        is_extra_args_allowed=False,
        stdio=Stdio(),
        clocks=Clocks(SourceKind.NONE, 0, SourceKind.NONE),
        random=Random(SourceKind.NONE),
        limits=Limits(*(0,) * 20),
        runtime=Runtime(),
        audit=Audit(),
        may_run=False,
    )
