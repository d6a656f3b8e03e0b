"""Facts about many records as columns, one entry a fact; texts are kept once and named by number.

One fact as a value is `policy.facts.Fact`; `api/` fills columns from the log, and `verdicts.py` judges them.
INVARIANT: every number that names a text lies within its texts, or is -1 for none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from policy.calls import CALL_CODES
from policy.facts import Fact

Numbers: TypeAlias = npt.NDArray[np.integer]
Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]

NONE: Final = -1
UNKNOWN_CALL: Final = 255
"""The code of a call that does not exist."""

DECISIONS: Final = ("allow", "deny", "would_deny", "limit", "none")
"""Words of a recorded decision; a column holds the index."""

REASONS: Final = (
    "",
    "rule",
    "escape",
    "symlink",
    "handle",
    "file_type",
    "budget",
    "stopped",
    "clock",
    "widens",
    "too_long",
    "?",
)
"""Which check refused, as records say it; `?` is every other word."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FactColumns:
    """Facts by column; `texts` are bytes of host paths, `tmp://…` paths, streams and clocks."""

    call: Numbers  # index into `policy.calls.CALLS`, or UNKNOWN_CALL
    wants: Numbers  # mask of rights
    target: Numbers  # index into `texts`, or NONE
    target2: Numbers
    decision: Numbers  # index into DECISIONS
    reason: Numbers  # index into REASONS
    missing: Numbers  # mask with the right that was missing, or 0
    is_masked: Bools
    flags: Ints
    rule: Numbers  # index into `rules`, or NONE
    module: Numbers  # index into `modules`
    execution: Numbers  # index into `executions`, or NONE where executions are not kept apart
    count: Ints
    done: Ints  # of `count`, how many calls had the errno 0
    bytes_in: Ints
    bytes_out: Ints
    texts: pa.LargeBinaryArray
    rules: tuple[str, ...]
    modules: tuple[str, ...]
    executions: tuple[str, ...]
    evidence: pa.Array  # text: one of the records, `EXECUTION:SEQ`

    def __len__(self) -> int:
        """How many facts there are."""
        return len(self.call)

    @staticmethod
    def of(
        facts: Sequence[Fact], *, executions: Sequence[str] = (), modules: Sequence[str] = ()
    ) -> FactColumns:
        """Columns of facts that are at hand; whose they are, where that is known, one name each."""
        texts, rules, runs, names = _Words(), _Words(), _Words(), _Words()
        owners: Sequence[str | None] = executions or [None] * len(facts)
        return FactColumns(
            call=_ints(CALL_CODES.get(fact.call, UNKNOWN_CALL) for fact in facts),
            wants=_ints(int(fact.wants) for fact in facts),
            target=_ints(texts.add(fact.target) for fact in facts),
            target2=_ints(texts.add(fact.target2) for fact in facts),
            decision=_ints(_place(DECISIONS, fact.decision) for fact in facts),
            reason=_ints(_place(REASONS, fact.reason) for fact in facts),
            missing=_ints(int(fact.missing or 0) for fact in facts),
            is_masked=np.array([fact.is_masked for fact in facts], np.bool_),
            flags=_ints(fact.flags for fact in facts),
            rule=_ints(rules.add(fact.rule or None) for fact in facts),
            module=_ints(names.add(name) for name in modules or [""] * len(facts)),
            execution=_ints(runs.add(name) for name in owners),
            count=_ints(fact.count for fact in facts),
            done=_ints(fact.count if fact.decision in {"allow", "would_deny"} else 0 for fact in facts),
            bytes_in=_ints(fact.bytes_in for fact in facts),
            bytes_out=_ints(fact.bytes_out for fact in facts),
            texts=pa.array(
                [text.encode("utf-8", "surrogateescape") for text in texts.index], pa.large_binary()
            ),
            rules=tuple(rules.index),
            modules=tuple(names.index),
            executions=tuple(runs.index),
            evidence=pa.array([fact.evidence for fact in facts], pa.string()),
        )


def by_call(*names: str) -> Bools:
    """A table that says of each code of a call, the unknown one included, whether it is one of these."""
    found = np.zeros(UNKNOWN_CALL + 1, np.bool_)
    found[[CALL_CODES[name] for name in names]] = True
    return found


@dataclass(slots=True)
class _Words:
    """Distinct texts by number."""

    index: dict[str, int] = field(default_factory=dict)

    def add(self, text: str | None) -> int:
        return NONE if text is None else self.index.setdefault(text, len(self.index))


def _place(words: tuple[str, ...], word: str) -> int:
    return words.index(word) if word in words else len(words) - 1


def _ints(values: Iterable[int]) -> Ints:
    return np.fromiter(values, np.int64)
