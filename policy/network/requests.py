"""The paths and methods of requests as one automaton, with a start for each set of origins.

Where an origin leads is in the tables of `destinations.py`; automata as such are made in `policy/dfa.py`.
INVARIANT: a denied path takes everything below it along, and a denial wins over every grant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from policy.automaton import walk
from policy.dfa import determinise
from policy.network.request_paths import KNOWN, parse_path_glob
from policy.nfa import Mark, Nfa, mark, unmark
from policy.plan import PathClass
from policy.plan_network import RequestAutomaton

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from policy.plan import Right

MAX_METHODS: Final = 40
"""Methods with a bit of their own; a policy that names more is refused."""


@dataclass(frozen=True, slots=True)
class RequestRule:
    """One rule as the automaton sees it."""

    rule: int
    origin: int  # the rules of one origin share a root
    methods: int  # mask
    paths: tuple[str, ...]  # empty: every path
    is_grant: bool


def method_names(lists: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """The methods that have a bit of their own where rules name these; `*` is none."""
    named = {method for methods in lists for method in methods if method != "*"}
    return tuple(sorted(named.union(KNOWN)))


def method_mask(methods: tuple[str, ...], names: tuple[str, ...]) -> int:
    """The bits of `methods`; `*` is all of them and the bit of those that have no name."""
    if "*" in methods:
        return (1 << (len(names) + 1)) - 1
    return sum(1 << names.index(method) for method in set(methods))


def method_bit(method: str, names: tuple[str, ...]) -> int:
    """The number of the bit of `method`."""
    return names.index(method) if method in names else len(names)


@dataclass(frozen=True, slots=True)
class Requests:
    """The automaton, and the start of each set of origins."""

    automaton: RequestAutomaton
    starts: dict[frozenset[int], int]


def compile_requests(rules: list[RequestRule], sets: Iterable[frozenset[int]], bits: int) -> Requests:
    """The automaton with a start for each of `sets`, in that order; `bits` is how many methods there are.

    Raises:
        TooManyStatesError: when the paths interlock too much.
    """
    nfa = Nfa()
    roots: dict[int, int] = {}
    for rule in rules:
        root = roots.get(rule.origin)
        if root is None:
            root = roots[rule.origin] = nfa.root()
        _add(nfa, root, rule)
    meaning = _Meaning(
        {rule.rule: rule.methods for rule in rules if not rule.is_grant},
        {rule.rule: rule.methods for rule in rules if rule.is_grant},
        bits,
    )
    ordered = list(sets)
    threads = [frozenset[int]().union(*(nfa.closure(roots[each]) for each in origins)) for origins in ordered]
    found = determinise(nfa, threads, meaning, [""] * len(threads))
    table = found.automaton
    classes = tuple((each.rights, each.rules) for each in table.classes)
    automaton = RequestAutomaton(table.states, table.edges, classes)
    return Requests(automaton, dict(zip(ordered, found.starts, strict=True)))


def _add(nfa: Nfa, root: int, rule: RequestRule) -> None:
    if not rule.paths:
        nfa.add_cover(root, (), rule.rule, Mark.MATCH)
    for text in rule.paths:
        glob = parse_path_glob(text)
        if rule.is_grant:
            nfa.add(root, glob, rule.rule, Mark.MATCH)
        else:
            nfa.add_cover(root, glob, rule.rule, Mark.MATCH)


@dataclass(frozen=True, slots=True)
class _Meaning:
    """Says what the marks of a path mean for each method; masks of methods by the rule's index."""

    deny: Mapping[int, int]
    allow: Mapping[int, int]
    bits: int

    def covers(self) -> dict[int, tuple[int, int]]:
        """What each denial settles for all paths below; the first in the evaluation ranks first."""
        return {mark(owner, Mark.MATCH): (owner, methods) for owner, methods in self.deny.items()}

    def affects(self) -> dict[int, int]:
        """What each rule can change where it is not settled."""
        return {**self.deny, **self.allow}

    def classify(self, marks: frozenset[int]) -> PathClass:
        """The class of a path with these marks; indices rise in the order of evaluation."""
        owners = sorted({unmark(code)[0] for code in marks})
        deciders = [0] * self.bits
        allowed = 0
        for table, is_grant in ((self.deny, False), (self.allow, True)):
            for owner in owners:
                methods = table.get(owner, 0)
                for bit in range(self.bits):
                    if methods >> bit & 1 and not deciders[bit]:
                        deciders[bit] = owner
                        allowed |= is_grant << bit
        return PathClass(allowed, tuple(deciders))

    def outside(self, marks: frozenset[int]) -> list[tuple[int, int, Right]]:
        """Nothing: what a boundary refuses is refused with the destination."""
        del marks
        return []


def request_class(
    automaton: RequestAutomaton, start: int, segments: tuple[bytes, ...]
) -> tuple[int, tuple[int, ...]]:
    """Mask and deciders of the path that `segments` make from `start`."""
    return automaton.classes[automaton.states[walk(automaton, start, segments)][2]]
