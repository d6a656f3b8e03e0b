"""What a compliance report says, as values: the one source of its page and of its JSON.

Where they come from is `report_gathering.py`, how they are drawn `report_charts.py` and `report_page.py`.
INVARIANT: every number of the page is here, and nothing here is markup.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

OUT_OF = ("ok", "notes", "failed", "incomplete", "not made")
"""Results of a verification, by the class of the page that shows them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """The time and the tenants that a report is about."""

    begin: str  # RFC 3339; included
    end: str  # not included
    tenant: str | None  # None: all of them
    bucket_s: int  # of the chart over time


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Who made a report, when, and of which log."""

    at: str
    by: str
    version: str
    origin: str | None
    checkpoint_size: int | None
    checkpoint_root: str | None
    key: str | None
    leaves: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The numbers at the top."""

    calls: int
    refusals: int
    bytes_in: int
    bytes_out: int
    executions: int
    modules: int
    policies: int
    tenants: int
    records: int  # rows of sealed segments that have something of the period
    source: str  # `rollup`, `scan` or `mixed`
    is_truncated: bool  # a list was too long to be counted whole


@dataclass(frozen=True, slots=True)
class Bucket:
    """Calls by kind in one piece of time."""

    begin: str
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Refused:
    """Refusals of a module by a rule."""

    module: str
    rule: str
    decision: str
    count: int


@dataclass(frozen=True, slots=True)
class Example:
    """One refusal, with where it is found."""

    ref: str  # exec_id:seq
    link: str
    at: str
    tenant: str
    call: str
    target: str
    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class PolicyUse:
    """One policy, as it was in force."""

    name: str
    digest: str
    runs: int
    first: str
    last: str
    unenforced: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Noted:
    """One event of the control plane."""

    at: str
    event: str
    actor: str
    tenant: str | None
    leaf: int | None
    what: str


@dataclass(frozen=True, slots=True)
class Missing:
    """Records that are missing, on record."""

    at: str
    ref: str
    reason: str
    leaf: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What of the period is sealed, and what is not there."""

    segments: int
    pruned_segments: int
    unsealed_bytes: int
    first: str | None
    last: str | None
    gaps: tuple[Missing, ...]
    damage: tuple[Noted, ...]
    switches: tuple[Noted, ...]  # when recording began and ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the log was told not to keep, so that it cannot say it."""

    summary_calls: int  # calls that share a row with others
    masked_calls: int
    unenforced_runs: int


@dataclass(frozen=True, slots=True)
class Reader:
    """Who read or exported the log, and how often."""

    actor: str
    event: str
    times: int
    rows: int
    last: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What the stand-alone verifier found, over the whole log."""

    result: str
    state: str  # one of `OUT_OF`
    began: str
    took_ms: int
    checked: dict[str, int]
    errors: int
    unchecked: int
    notes: int
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Control:
    """One control of a catalogue: what of it the report supports, with figures, and what not."""

    framework: str
    number: str
    title: str
    shows: str
    lacks: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything."""

    period: Period
    made: Made
    totals: Totals
    timeline: tuple[Bucket, ...]
    refused: tuple[Refused, ...]
    examples: tuple[Example, ...]
    outcomes: dict[str, int]
    policies: tuple[PolicyUse, ...]
    policy_changes: tuple[Noted, ...]
    coverage: Coverage
    limits: Limits
    readers: tuple[Reader, ...]
    keys: tuple[Noted, ...]
    retention: tuple[Noted, ...]
    holds: tuple[dict[str, str | None], ...]
    verification: Verification
    controls: tuple[Control, ...] = ()

    def as_json(self) -> dict[str, object]:
        """Give all of it as JSON values."""
        return {"schema": "wasmgate.report.v1", **asdict(self)}
