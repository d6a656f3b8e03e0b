"""Decides what a run may do with the network, by the very code that explains it: `policy.network.decide`.

What is done then is `sockets.py`. A connection has no name, only an address. INVARIANT: a name that a rule
grants opens an address only when a permitted lookup of this run returned that address for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from policy.decisions import Allow, Deny, UnknownCallError, in_mode
from policy.network.addresses import format_address
from policy.network.decide import decide_network
from policy.plan import Mode, RuleKind
from policy.question import Question
from sandbox.network.protocol import Protocol, Verdict

if TYPE_CHECKING:
    from policy.plan import Plan
    from sandbox.network.http_head import RequestHead

MAX_PINS: Final = 4_096  # addresses that names were found to have; further ones are not remembered
_REFUSING: Final = frozenset({RuleKind.DENY, RuleKind.BOUNDARY, RuleKind.TEMPORAL})


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of a question."""

    verdict: Verdict
    rule: int = 0  # index in `Plan.rules`

    @property
    def happens(self) -> bool:
        """Whether it is done."""
        return self.verdict in {Verdict.ALLOW, Verdict.WOULD_DENY}


class Decider:
    """The decisions of one run; remembers which names led where."""

    def __init__(self, plan: Plan) -> None:
        """Decide by the network tables of `plan`."""
        self._plan = plan
        self._index = {rule.id: index for index, rule in reversed(list(enumerate(plan.rules)))}
        self._names: dict[int, dict[str, None]] = {}

    def pin(self, name: str, addresses: tuple[int, ...]) -> None:
        """Remember that a permitted lookup of `name` returned these."""
        for address in addresses:
            if address in self._names or len(self._names) < MAX_PINS:
                self._names.setdefault(address, {})[name] = None

    def reach(self, protocol: Protocol, address: int, port: int) -> Decided:
        """Whether this address may be connected, or sent a datagram, to.

        It is asked about as an address alone, and as what each name that was looked up led to. A rule that
        refuses one of these refuses it; else a rule that grants one of these grants it; else it is refused
        for the reason that it is refused as an address.
        """
        asked = Question(
            call="connect",
            protocol="tcp" if protocol is Protocol.TCP else "udp",
            address=format_address(address),
            port=port,
        )
        plain = self._ask(asked)
        found = [plain, *(self._ask(replace(asked, host=name)) for name in self._names.get(address, ()))]
        for decision in found:
            if isinstance(decision, Deny) and self._kind(decision) in _REFUSING:
                return self._told(decision)
        return self._told(next((each for each in found if isinstance(each, Allow)), plain))

    def bind(self, protocol: Protocol, address: int, port: int) -> Decided:
        """Whether this place may be bound, and listened on."""
        return self._told(
            self._ask(
                Question(
                    call="listen",
                    protocol="tcp" if protocol is Protocol.TCP else "udp",
                    address=format_address(address),
                    port=port,
                )
            )
        )

    def lookup(self, name: str) -> Decided:
        """Whether this name may be looked up."""
        return self._told(self._ask(Question(call="resolve", host=name)))

    def request(self, head: RequestHead, address: int | None) -> Decided:
        """Whether this request may be made, to this address; None: where its host is has still to be seen."""
        return self._told(
            self._ask(
                Question(
                    call="http",
                    method=head.method,
                    url=head.url,
                    address=None if address is None else format_address(address),
                    headers=tuple(sorted({name for name, _ in head.fields})),
                )
            )
        )

    @property
    def has_any(self) -> bool:
        """Whether the plan has a rule that lets some datagram out."""
        return len(self._plan.network.udp.rows) > 1 or self._plan.mode is Mode.AUDIT

    def _ask(self, question: Question) -> Allow | Deny:
        try:
            return decide_network(self._plan, question)
        except UnknownCallError as err:  # nothing that is asked here lacks what decides it
            return Deny(self._plan.rules[0].id, str(err), is_final=True)

    def _kind(self, decision: Deny) -> RuleKind:
        return self._plan.rules[self._index.get(decision.rule_id, 0)].kind

    def _told(self, decision: Allow | Deny) -> Decided:
        rule = self._index.get(decision.rule_id, 0)
        match in_mode(self._plan, decision):
            case Allow():
                return Decided(Verdict.ALLOW, rule)
            case Deny():
                return Decided(Verdict.FINAL if self._plan.rules[rule].kind.is_final else Verdict.DENY, rule)
            case _:
                return Decided(Verdict.WOULD_DENY, rule)
