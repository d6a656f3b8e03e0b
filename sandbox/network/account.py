"""What a broker saw, kept where the cell can't reach it: refusals, requests, totals.

It is one line of JSON each, in pages that the supervisor holds, so that it outlives the broker. INVARIANT: it
has room for `MAX_REFUSALS` refusals and as many requests; more are counted. Where it can't be written, the
broker does nothing any more.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Final

MAX_REFUSALS: Final = 1_000
MAX_BYTES: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Refused:
    """Something that the broker did not do; `is_forged`: no monitor would have asked for it."""

    op: str
    protocol: str
    place: str  # `192.0.2.1:443`, or a name
    rule: str
    is_forged: bool


@dataclass(frozen=True, slots=True)
class Made:
    """A request that was made, and what became of it."""

    request: str  # `GET https://api.example.com/v1`
    rule: str
    status: int  # 0: there was no answer
    bytes_out: int  # of its body
    bytes_in: int


@dataclass(slots=True)
class Account:
    """What the broker saw, as its supervisor reads it."""

    refused: tuple[Refused, ...] = ()
    made: tuple[Made, ...] = ()
    counts: Counter[str] = field(default_factory=Counter)  # by kind
    walls: tuple[str, ...] = ()  # that stood around the broker
    is_complete: bool = False  # the broker came to its end


class Ledger:
    """Where a broker writes its account."""

    def __init__(self, fd: int) -> None:
        """Write to `fd`, a file of its own."""
        self._fd = fd
        self._kept = self._kept_made = 0
        self.counts: Counter[str] = Counter()

    def refused(self, found: Refused) -> None:
        """Put a refusal on record; raises OSError."""
        self.counts["forged" if found.is_forged else "refused"] += 1
        if self._kept < MAX_REFUSALS:
            self._kept += 1
            self._write(asdict(found))

    def made(self, found: Made) -> None:
        """Put on record what became of a request; raises OSError."""
        if self._kept_made < MAX_REFUSALS:
            self._kept_made += 1
            self._write({"made": asdict(found)})

    def walls(self, stood: tuple[str, ...]) -> None:
        """Say which walls stand around the broker; raises OSError."""
        self._write({"walls": stood})

    def close(self) -> None:
        """Write the totals; raises OSError."""
        self._write({"totals": dict(self.counts)})

    def _write(self, line: dict[str, Any]) -> None:
        text = json.dumps(line).encode() + b"\n"
        if os.write(self._fd, text) != len(text):
            raise OSError("the account took less than a line")


def read_account(fd: int) -> Account:
    """Read what was written, as far as it can be read."""
    found = Account()
    refused: list[Refused] = []
    made: list[Made] = []
    for line in os.pread(fd, MAX_BYTES, 0).splitlines():
        try:
            raw = json.loads(line)
            if "totals" in raw:
                found.counts = Counter({str(name): int(count) for name, count in raw["totals"].items()})
                found.is_complete = True
            elif "made" in raw:
                made.append(Made(**raw["made"]))
            elif "walls" in raw:
                found.walls = tuple(str(name) for name in raw["walls"])
            else:
                refused.append(Refused(**raw))
        except (ValueError, TypeError, AttributeError):  # cut off: the broker was ended while it wrote
            break
    found.refused, found.made = tuple(refused), tuple(made)
    if not found.is_complete:
        found.counts.update("forged" if each.is_forged else "refused" for each in refused)
    return found
