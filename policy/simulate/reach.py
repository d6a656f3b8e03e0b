"""Where the targets of recorded calls lie in a plan's mounts, and what each mount says of them.

A target that one person names is resolved in `policy/targets.py`; here it is done for all distinct targets of
a log at once. INVARIANT: a target lies in exactly the mounts that `policy.targets.resolve` gives for it, in
the same order, with the same class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from policy.aliases import rights_elsewhere
from policy.globs import MAX_PATH
from policy.plan import LIVE, Plan
from policy.simulate.columns import NONE, Bools, Ints
from policy.simulate.judge import CLOCKS, STREAM_CALLS
from policy.simulate.walk import Walker

_SCHEME: Final = b"tmp:/"
_ADDED: Final = len("fs://")  # what a host path is asked about with
_WORDS: Final = (*STREAM_CALLS, *CLOCKS)
_ODD: Final = r"//|/\.\.?(/|$)|/$"


@dataclass(frozen=True, slots=True, eq=False)
class Reach:
    """What one mount says of each target."""

    kind: npt.NDArray[np.int32]  # class of the target in this mount, or NONE where it lies outside
    is_live: Bools  # something is granted there or below
    elsewhere: int  # rights that other mounts of the same directory may give


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """All distinct targets, and behind them one that is none, which the number NONE leads to."""

    reaches: tuple[Reach, ...]  # by mount of the plan
    is_path: Bools
    is_too_long: Bools
    rights: Ints  # by class
    rules: Ints  # by class and bit of a right: index into the plan's rules
    words: dict[str, int]  # where streams and clocks are among the targets

    @staticmethod
    def of(plan: Plan, texts: pa.LargeBinaryArray) -> Targets:
        """Walk all targets through the plan."""
        texts = pa.concat_arrays([texts, pa.array([b""], texts.type)])
        is_scratch = _mask(pc.starts_with(texts, _SCHEME + b"/"))
        is_path = is_scratch | _mask(pc.starts_with(texts, b"/"))
        length = np.asarray(pc.binary_length(texts)).astype(np.int64)
        paths = _normal(
            pc.if_else(pa.array(is_scratch), pc.binary_replace_slice(texts, 0, len(_SCHEME), b""), texts)
        )
        walker = Walker.of(plan.automaton)
        states = np.array(plan.automaton.states, np.int64).reshape(-1, 5)
        reaches = []
        for mount in plan.mounts:
            base = _base(mount.host or f"/{mount.scratch}")
            inside = (is_scratch if mount.scratch else is_path & ~is_scratch) & _below(paths, base)
            ended = np.full(len(texts), NONE, np.int64)
            rows = np.flatnonzero(inside)
            ended[rows] = walker.walk(mount.start, *_spans(paths, rows, len(base)))
            kind = np.where(inside, states[ended, 2], NONE).astype(np.int32)
            is_live = inside & ((states[ended, 4] & LIVE) != 0)
            reaches.append(Reach(kind, is_live, int(rights_elsewhere(plan, mount))))
        classes = plan.automaton.classes
        return Targets(
            tuple(reaches),
            is_path,
            length + np.where(is_scratch, 0, _ADDED) >= MAX_PATH,
            np.array([each.rights for each in classes], np.int64),
            np.array([each.rules for each in classes], np.int64).reshape(len(classes), -1),
            {word: place for word in _WORDS if (place := pc.index(texts, word.encode()).as_py()) >= 0},
        )

    def union(self) -> Ints:
        """The rights that some mount gives, by target."""
        found = np.zeros(len(self.is_path), np.int64)
        for reach in self.reaches:
            found |= np.where(reach.kind >= 0, self.rights[reach.kind], 0)
        return found


def _mask(column: pa.Array) -> Bools:
    return np.asarray(column, dtype=np.bool_)


def _base(path: str) -> bytes:
    names = [name for name in path.encode("utf-8", "surrogateescape").split(b"/") if name]
    return b"".join(b"/" + name for name in names)


def _normal(paths: pa.LargeBinaryArray) -> pa.LargeBinaryArray:
    """Take `.`, `..` and doubled slashes out, where there are any; nothing is left of the root itself."""
    odd = _mask(pc.match_substring_regex(paths, _ODD))
    if not odd.any():
        return paths
    found = paths.filter(pa.array(odd))
    while True:
        before = found
        for pattern, put in (
            (r"/+", b"/"),
            (r"(/\.)+(/|$)", rb"\2"),
            (r"^(/\.\.)+(/|$)", rb"\2"),
            (r"/$", b""),
        ):
            found = pc.replace_substring_regex(found, pattern, put)
        found = pc.replace_substring_regex(found, r"/([^/.]|\.[^/.]|\.\.[^/])[^/]*/\.\.(/|$)", rb"\2")
        if found.equals(before):
            return pc.replace_with_mask(paths, pa.array(odd), found)


def _below(paths: pa.LargeBinaryArray, base: bytes) -> Bools:
    is_deeper = _mask(pc.starts_with(paths, base + b"/"))
    return is_deeper | _mask(pc.equal(paths, pa.scalar(base, paths.type)))


def _spans(paths: pa.LargeBinaryArray, rows: Ints, skipped: int) -> tuple[npt.NDArray[np.uint8], Ints, Ints]:
    """The bytes of all paths, and where each of `rows` begins in them behind its base, and how long it is."""
    _, offsets, content = paths.buffers()
    ends = np.frombuffer(offsets, np.int64)[paths.offset : paths.offset + len(paths) + 1]
    texts = np.frombuffer(content, np.uint8) if content is not None else np.empty(0, np.uint8)
    at = ends[rows] + skipped
    return texts, at, ends[rows + 1] - at
