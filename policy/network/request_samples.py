"""The requests that are enough to tell two plans apart.

Places they go to come from `cells.py`, paths from `path_samples.py`. A URL with an address is decided by that
address; one with a name by the name, and by the address that it leads to as far as that refuses. INVARIANT:
of every combination of what a name says and what an address says, one is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from policy.network.cells import (
    Coverage,
    address_cells,
    name_cells,
    port_cells,
    unnamed_cell,
)
from policy.network.path_samples import Class, PathSamples
from policy.network.ports import ALL_PORTS, Range
from policy.network.requests import method_bit
from policy.plan import Plan, RuleKind
from policy.plan_network import RequestRow, Scheme, Zone
from policy.question import Question

_EMPTY = RequestRow(0, 0, 0, 0, 0)
_DOMAINS: tuple[Range, ...] = tuple((each.slot(ALL_PORTS[0]), each.slot(ALL_PORTS[1])) for each in Scheme)

Effect = tuple[int, ...]
"""What decides: for either plan whether a zone refuses, how a rule refuses, and where its paths start."""


@dataclass(slots=True)
class RequestSamples:
    """Makes the questions for two plans."""

    plans: tuple[Plan, Plan]
    _paths: PathSamples = field(init=False)
    _methods: list[str] = field(init=False)
    _denying: tuple[dict[int, bool], dict[int, bool]] = field(default_factory=lambda: ({}, {}))

    def __post_init__(self) -> None:
        """Bring together what both plans name."""
        a, b = self.plans
        self._paths = PathSamples((a.network.paths, b.network.paths))
        named = sorted({*a.network.methods, *b.network.methods, "GET"})
        self._methods = [*named, next(f"X{n}" for n in range(len(named) + 1) if f"X{n}" not in named)]

    def questions(self) -> Iterator[Question]:
        """All of them."""
        yield from self._by_address()
        names = _Names()
        yield from self._by_name(names)
        yield from self._by_both(names)

    def _by_address(self) -> Iterator[Question]:
        a, b = (plan.network.http for plan in self.plans)
        for cell in address_cells(a, b):
            for domain in _DOMAINS:
                lists = [a.rows[cell.classes[0]], b.rows[cell.classes[1]]]
                for ports, rows in port_cells(lists, domain):
                    starts = tuple((side, (row or _EMPTY).start) for side, row in enumerate(rows))
                    for method, path, _ in self._asked(starts):
                        yield Question(call="http", method=method, url=_url(str(cell.text), ports[0], path))

    def _by_name(self, names: _Names) -> Iterator[Question]:
        a, b = (plan.network.http for plan in self.plans)
        unnamed = unnamed_cell(a, b)
        for cell in name_cells(a.names, b.names):
            for domain in _DOMAINS:
                lists = [a.rows[cell.classes[0]], b.rows[cell.classes[1]]]
                elsewhere = [a.rows[unnamed.classes[0]], b.rows[unnamed.classes[1]]]
                for ports, rows in port_cells([*lists, *elsewhere], domain):
                    own = [row or _EMPTY for row in rows[:2]]
                    starts = tuple((side, row.start) for side, row in enumerate(own))
                    refusals = tuple(self._level(side, row.refuse) for side, row in enumerate(own))
                    key = (*refusals, *(row.start for row in own))
                    names.starts.setdefault(key, Coverage[str]()).add(ports, cell.text)
                    for method, path, verdicts in self._asked(starts):
                        effect = tuple(max(pair) for pair in zip(refusals, verdicts, strict=True))
                        given = names.verdicts.setdefault(effect, Coverage[str]())
                        given.add(ports, f"{method} {cell.text} {path}")
                        yield Question(call="http", method=method, url=_url(cell.text, ports[0], path))

    def _by_both(self, names: _Names) -> Iterator[Question]:
        for effect, where in self._effects().items():
            if not any(effect[4:]):
                for given in names.verdicts.values():
                    met = where.meet(given)
                    if met:
                        slot, address, text = met
                        method, name, path = text.split(" ")
                        yield Question(
                            call="http", method=method, url=_url(name, slot, path), address=address
                        )
                continue
            for key, given in names.starts.items():
                met = where.meet(given)
                if met:
                    slot, address, name = met
                    starts = ((0, key[2]), (1, key[3]), (0, effect[4]), (1, effect[5]))
                    for method, path, _ in self._asked(starts):
                        yield Question(
                            call="http", method=method, url=_url(name, slot, path), address=address
                        )

    def _effects(self) -> dict[Effect, Coverage[str]]:
        """What an address says to URLs with a name: whether its zone, a rule, or a path refuses."""
        a, b = (plan.network.http for plan in self.plans)
        found: dict[Effect, Coverage[str]] = {}
        for cell in address_cells(a, b):
            zones = tuple(self._is_shut(side, zone) for side, zone in enumerate(cell.zones))
            for domain in _DOMAINS:
                lists = [a.rows[cell.classes[0]], b.rows[cell.classes[1]]]
                for ports, rows in port_cells(lists, domain):
                    own = [row or _EMPTY for row in rows]
                    refusals = (self._level(side, row.refuse) for side, row in enumerate(own))
                    starts = (
                        row.start if self._may_deny(side, row.start) else 0 for side, row in enumerate(own)
                    )
                    effect = (*zones, *refusals, *starts)
                    found.setdefault(effect, Coverage[str]()).add(ports, str(cell.text))
        return found

    def _is_shut(self, side: int, zone: Zone) -> int:
        is_open = zone is Zone.PRIVATE and self.plans[side].network.is_private_open
        return int(zone is not Zone.PUBLIC and not is_open)

    def _level(self, side: int, rule: int) -> int:
        """0: no refusal; 2: one that mode audit lifts; 3: one that nothing lifts."""
        return 0 if not rule else 3 if self.plans[side].rules[rule].kind is RuleKind.BOUNDARY else 2

    def _may_deny(self, side: int, start: int) -> bool:
        """Whether some path from `start` is refused by a rule."""
        known = self._denying[side]
        if start not in known:
            paths = self._paths.paths(((side, start),))
            known[start] = any(
                rule and not allowed >> bit & 1
                for _, ((allowed, rules),) in paths
                for bit, rule in enumerate(rules)
            )
        return known[start]

    def _asked(self, starts: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, str, tuple[int, int]]]:
        """Methods and paths that are decided in all different ways, with what the first two starts say."""
        for path, classes in self._paths.paths(starts):
            seen = set[tuple[tuple[bool, int], ...]]()
            for method in self._methods:
                outcome = tuple(
                    self._outcome(side, found, method)
                    for (side, _), found in zip(starts, classes, strict=True)
                )
                if outcome not in seen:
                    seen.add(outcome)
                    verdicts = [1 if is_allowed else 2 if rule else 0 for is_allowed, rule in outcome]
                    yield method, path, (verdicts[0], verdicts[1])

    def _outcome(self, side: int, found: Class, method: str) -> tuple[bool, int]:
        allowed, rules = found
        bit = method_bit(method, self.plans[side].network.methods)
        return bool(allowed >> bit & 1), rules[bit] if bit < len(rules) else 0


@dataclass(slots=True)
class _Names:
    """What names say to requests, with a name for each: by starts, and by outcome."""

    starts: dict[Effect, Coverage[str]] = field(default_factory=dict)
    verdicts: dict[Effect, Coverage[str]] = field(default_factory=dict)  # `METHOD name path`


def _url(host: str, slot: int, path: str) -> str:
    scheme, port = divmod(slot, 0x10000)
    shown = f"[{host}]" if ":" in host else host
    default = {Scheme.HTTP: 80, Scheme.HTTPS: 443}[Scheme(scheme)]
    return f"{Scheme(scheme).name.lower()}://{shown}{'' if port == default else f':{port}'}{path}"
