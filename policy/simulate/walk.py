"""Walks many paths through a plan's automaton at once: one step of all of them for each place in the text.

One path is walked in `policy/automaton.py`, which says what the tables mean. INVARIANT: both end in the same
state for every path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from policy.plan import PathAutomaton
from policy.simulate.columns import Ints

_BYTES: Final = 256
_MOST_CELLS: Final = 1 << 25  # of the table of all steps: 128 MiB


@dataclass(frozen=True, slots=True, eq=False)
class Walker:
    """An automaton as arrays; `steps` is a table by state and kind of byte, or None where it is too large."""

    default: npt.NDArray[np.int32]
    kinds: npt.NDArray[np.intp]  # by byte: bytes of one kind lead to the same states everywhere
    steps: npt.NDArray[np.int32] | None  # flat: state times the number of kinds, and the kind
    width: int  # how many kinds there are
    keys: Ints  # by edge: its state times 256, and its first byte
    ends: Ints  # by edge: its state times 256, and its last byte
    goals: npt.NDArray[np.int32]

    @staticmethod
    def of(automaton: PathAutomaton, *, most_cells: int = _MOST_CELLS) -> Walker:
        """Lay the tables out; with more than `most_cells` steps each is searched for instead."""
        states = np.array(automaton.states, np.int64).reshape(-1, 5)
        edges = np.array(automaton.edges, np.int64).reshape(-1, 3)
        owners = np.repeat(np.arange(len(states)), states[:, 1])
        places = _places(states)
        low, high, goals = (edges[places, column] for column in range(3))
        borders = np.unique(np.concatenate([[0], low, high + 1]))
        borders = borders[borders < _BYTES]
        kinds = np.searchsorted(borders, np.arange(_BYTES), side="right") - 1
        default = states[:, 3].astype(np.int32)
        width = len(borders)
        steps = None
        if len(states) * width <= most_cells:
            spans = kinds[high] - kinds[low] + 1
            first = np.repeat(owners * width + kinds[low] - _starts(spans), spans)
            steps = np.repeat(default, width)
            steps[first + np.arange(int(spans.sum()))] = np.repeat(goals, spans)
        return Walker(
            default,
            kinds,
            steps,
            width,
            owners * _BYTES + low,
            owners * _BYTES + high,
            goals.astype(np.int32),
        )

    def walk(self, start: int, texts: npt.NDArray[np.uint8], at: Ints, length: Ints) -> npt.NDArray[np.int32]:
        """The state after each of the texts `texts[at : at + length]`, from the state `start`."""
        order = np.argsort(-length, kind="stable")
        lengths, places = length[order], at[order]
        states = np.full(len(order), start, np.int32)
        ends = np.searchsorted(-lengths, -np.arange(int(lengths[0]) if len(lengths) else 0), side="left")
        for position, active in enumerate(ends.tolist()):
            states[:active] = self._step(states[:active], texts[places[:active] + position])
        result = np.empty_like(states)
        result[order] = states
        return result

    def _step(self, states: npt.NDArray[np.int32], read: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
        if self.steps is not None:
            return np.asarray(self.steps[states.astype(np.intp) * self.width + self.kinds[read]])
        if not len(self.keys):
            return self.default[states]
        wanted = states.astype(np.int64) * _BYTES + read
        edge = np.maximum(np.searchsorted(self.keys, wanted, side="right") - 1, 0)
        is_on = (self.keys[edge] <= wanted) & (wanted <= self.ends[edge])
        return np.where(is_on, self.goals[edge], self.default[states])


def _starts(spans: Ints) -> Ints:
    return np.cumsum(spans) - spans


def _places(states: Ints) -> Ints:
    """The edges of all states, in the order of the states."""
    counts = states[:, 1]
    return np.repeat(states[:, 0] - _starts(counts), counts) + np.arange(int(counts.sum()))
